"""Settings of registries and of the key that signs verdicts; what jobs are told of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from noria.errors import InputError
from noria.settings import Settings
from noria.verdicts import CONNECTION, Keyring
from noria.workspace import Workspace

KEY = "k" * 40
CONNECTIONS = {
    "JSON": f'{{"conn_type": "generic", "password": "{KEY}"}}',
    "URI": f"generic://:{KEY}@",
}
AZURE = {"NORIA_PROFILE": "azure", "NORIA_LAKE_URL": "abfss://lake@account.dfs.core.windows.net"}


def test_production_is_the_registry_of_candidates_unless_another_is_set(tmp_path: Path) -> None:
    assert Settings.from_env({}, home=tmp_path).production_url == ""
    url = "postgresql://noria:s3cret@db/production"
    settings = Settings.from_env({"NORIA_MLFLOW_PRODUCTION_URL": url}, home=tmp_path)
    assert settings.production_url == url
    assert settings.registry_url == f"sqlite:///{tmp_path}/registry/mlflow.db"
    assert "s3cret" not in repr(settings)
    assert Settings.from_env(settings.child_environment()).production_url == url, "jobs promote there as well"
    assert settings.with_home(tmp_path / "other").production_url == url


@pytest.mark.parametrize("form", CONNECTIONS)
def test_the_key_is_taken_from_its_connection_and_told_to_nobody(form: str, tmp_path: Path) -> None:
    settings = Settings.from_env({**AZURE, "AIRFLOW_CONN_NORIA_VERDICTS": CONNECTIONS[form]}, home=tmp_path)
    assert Workspace.open(settings).keyring == Keyring((KEY,))
    assert not (tmp_path / "keys").exists()
    assert KEY not in repr(settings) + repr(Workspace.open(settings))
    child = settings.child_environment()
    assert not [name for name, value in child.items() if KEY in value]
    with pytest.raises(InputError, match=CONNECTION):
        _ = Workspace.open(Settings.from_env(child)).keyring


def test_a_key_of_its_own_is_for_the_local_profile_alone(tmp_path: Path) -> None:
    first = Workspace.open(Settings.from_env({}, home=tmp_path)).keyring
    assert Workspace.open(Settings.from_env({}, home=tmp_path)).keyring == first
    assert (tmp_path / "keys" / "verdicts.key").is_file()
    with pytest.raises(InputError, match=f"no connection {CONNECTION}"):
        _ = Workspace.open(Settings.from_env(AZURE, home=tmp_path)).keyring
