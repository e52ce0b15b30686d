"""Addresses that every mail server takes, and no others."""

import pytest
from pydantic import ValidationError

from noria.alerts import to_message
from noria.alerts.alert import Alert
from noria.pipeline import Alerts


@pytest.mark.parametrize("address", ["anna@x.at", "a.b+n@mail.example.org", "o'neil_x@localhost", "a@xn--gre-6ka8i.at"])
def test_an_address_can_be_written_to(address: str) -> None:
    assert Alerts(emails=[address]).emails == (address,)
    assert to_message(Alert("students", "failed"), [address])["To"] == address


@pytest.mark.parametrize(
    "address",
    ["anna.@x.at", "a..b@x.at", "jörg@x.at", "a:b@x.at", "anna@größe.at", "a@x..at", "a@-x.at", "a@b@x.at"],
)
def test_an_odd_address_is_refused_where_it_is_written(address: str) -> None:
    with pytest.raises(ValidationError, match="pattern"):
        Alerts(emails=[address])
    with pytest.raises(ValueError, match="no address"):
        to_message(Alert("students", "failed"), [address])
