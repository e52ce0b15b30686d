import json
from decimal import Decimal
from pathlib import Path

import pytest

from noria.costs.sheet import PriceSheet, load_sheet
from noria.errors import SpecError
from noria.settings import Settings

SHEET = """
currency: EUR
machines:
  local: {per_vcpu_hour: 0.05, source: me, date: 2026-11-01}
  azureml/Standard_DS3_v2: {per_node_hour: 0.3, vcpus: 4, source: a page, date: 2026-11-01}
storage: {per_gb_month: 0.02, source: a page, date: 2026-11-01}
requests: {per_10000_reads: 0.005, per_10000_writes: 0.06, source: a page, date: 2026-11-01}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "costs.yaml"
    path.write_text(text)
    return path


def test_the_sheet_of_the_checkout_prices_all_that_noria_runs_on(tmp_path: Path) -> None:
    sheet = load_sheet(Settings.from_env({}, home=tmp_path).costs_file)
    assert {"local", "synapse", "azureml/Standard_DS3_v2"} <= set(sheet.machines)
    assert sheet.storage is not None and sheet.requests is not None
    assert all(price.vcpu_hour > 0 for price in sheet.machines.values())
    priced = [*sheet.machines.values(), sheet.storage, sheet.requests]
    assert all("https://" in price.source for price in priced)


def test_editors_know_the_keys_that_there_are(tmp_path: Path) -> None:
    file = Settings.from_env({}, home=tmp_path).costs_file
    stored = json.loads(file.with_name("costs.schema.json").read_text())
    assert stored == json.loads(json.dumps(PriceSheet.model_json_schema())), "run `make schema`"
    assert file.read_text().startswith("# yaml-language-server: $schema=costs.schema.json\n")


def test_a_node_is_priced_by_its_vcpus(tmp_path: Path) -> None:
    sheet = load_sheet(written(tmp_path, SHEET))
    assert sheet.machines["azureml/Standard_DS3_v2"].vcpu_hour == Decimal("0.075")
    assert sheet.name_of("azureml/STANDARD_DS3_V2") == "azureml/Standard_DS3_v2"
    assert sheet.name_of("azureml/other") == "azureml/other"
    assert sheet.price_of("azureml/STANDARD_ds3_v2") == Decimal("0.075"), "as it was spelled when it was metered"


def test_every_mistake_has_its_line_and_key(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "currency: euro\n"
        "machines:\n"
        "  local: {per_vcpu_hour: -1, source: me, date: 2026-13-01}\n"
        "  synapse: {per_vcpu_hour: 0.1, date: 2026-11-01}\n"
        "totals: {per_day: 1}\n",
    )
    with pytest.raises(SpecError) as caught:
        load_sheet(path)
    said = str(caught.value)
    for where in ("1: currency: got 'euro'", "3: machines.local.per_vcpu_hour", "3: machines.local.date"):
        assert f"{path}:{where}" in said
    assert f"{path}:4: machines.synapse.source: the key is missing" in said
    assert f"{path}:5: totals: unknown key; did you mean 'total'?" in said


@pytest.mark.parametrize(
    ("price", "said"),
    [
        ("source: me, date: 2026-11-01", "either per_vcpu_hour or per_node_hour"),
        ("per_vcpu_hour: 1, per_node_hour: 1, vcpus: 2, source: me, date: 2026-11-01", "either per_vcpu_hour or"),
        ("per_node_hour: 1, source: me, date: 2026-11-01", "per_node_hour and vcpus together"),
        ("per_vcpu_hour: 1, vcpus: 2, source: me, date: 2026-11-01", "per_node_hour and vcpus together"),
    ],
)
def test_a_machine_has_one_price(tmp_path: Path, price: str, said: str) -> None:
    path = written(tmp_path, f"currency: EUR\nmachines:\n  local: {{{price}}}\n")
    with pytest.raises(SpecError, match=said):
        load_sheet(path)


def test_a_sheet_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none\.yaml: cannot be read: .*\. NORIA_COSTS names it; without that setting"):
        load_sheet(tmp_path / "none.yaml")


def test_a_machine_stands_once_in_whatever_letters(tmp_path: Path) -> None:
    price = "{per_vcpu_hour: 1, source: me, date: 2026-11-01}"
    path = written(tmp_path, f"currency: EUR\nmachines:\n  local: {price}\n  synapse: {price}\n  Local: {price}\n")
    with pytest.raises(SpecError, match=r"costs\.yaml:5: machines\.Local: the same machine again"):
        load_sheet(path)
