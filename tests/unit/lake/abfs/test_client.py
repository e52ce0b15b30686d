"""What a connection makes of the client, without a network."""

import pytest

from noria.azure import AzureConnection
from noria.errors import InputError, StorageError
from noria.lake import Lake, open_lake
from noria.lake.abfs.client import file_system
from noria.lake.abfs.url import AbfsUrl

URL = "abfss://lake@noria.dfs.core.windows.net/folder"
KEY = "c2VjcmV0" * 8


def lake(**extra: str) -> Lake:
    return open_lake(URL, AzureConnection("adls_default", login="app", password="s3cret", extra=extra))


def account_url(**extra: str) -> str:
    place = AbfsUrl.parse(URL)
    return str(file_system(place, AzureConnection("adls_default", extra=extra)).service_client.url)


def test_the_host_is_the_urls_unless_the_connection_names_another_of_the_same_account() -> None:
    assert account_url() == "https://noria.blob.core.windows.net/"
    assert account_url(account_host="noria.privatelink.example:8443") == "https://noria.privatelink.example:8443/"
    with pytest.raises(InputError, match=r"account_host .* 'other'; expected account 'noria'"):
        account_url(account_host="other.blob.core.windows.net")


def test_a_connection_string_names_the_endpoint() -> None:
    text = f"AccountName=noria;AccountKey={KEY};BlobEndpoint=http://127.0.0.1:10000/noria;"
    assert account_url(connection_string=text) == "http://127.0.0.1:10000/noria/"


def test_a_connection_string_of_another_account_is_refused() -> None:
    with pytest.raises(InputError, match=r"'other'; expected account 'noria'") as caught:
        lake(connection_string=f"AccountName=other;AccountKey={KEY}").exists("x")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("text", [f"AccountKey={KEY}", KEY, f"AccountName=noria;{KEY}"])
def test_a_connection_string_that_is_none_is_not_shown(text: str) -> None:
    with pytest.raises(InputError, match="connection_string") as caught:
        lake(connection_string=text).exists("x")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("connection", "named"),
    [
        (AzureConnection("adls_default", extra={"account_key": KEY}), "extra.account_key"),
        (AzureConnection("adls_default", extra={"sas_token": KEY}), "extra.sas_token"),
        (AzureConnection.parse("adls_default", f"adls://:{KEY}@noria"), "a password without a login"),
    ],
)
def test_a_key_is_not_passed_over_for_another_identity(connection: AzureConnection, named: str) -> None:
    with pytest.raises(InputError, match=rf"has {named}, which is not used.*extra\.connection_string") as caught:
        open_lake(URL, connection).exists("x")
    assert KEY not in str(caught.value)


def test_no_secret_is_shown() -> None:
    lake_ = lake(tenantId="t", connection_string=f"AccountName=noria;AccountKey={KEY}")
    for text in (repr(lake_), lake_.root, lake_.url("x"), str(vars(lake_))):
        assert KEY not in text and "s3cret" not in text


@pytest.mark.parametrize("path", ["a?versionid=1", "a#b"])
def test_what_adlfs_would_take_for_another_path_is_refused(path: str) -> None:
    with pytest.raises(StorageError, match="without \\? and #"):
        lake().replace(path, b"")


def test_all_lakes_of_an_account_share_one_client() -> None:
    place, other = AbfsUrl.parse(URL), AbfsUrl.parse(URL.replace("lake@", "other@"))
    same = [AzureConnection("adls_default", extra={"tenantId": "t"}) for _ in range(2)]
    assert file_system(place, same[0]) is file_system(other, same[1])
    assert file_system(place, same[0]) is not file_system(place, AzureConnection("adls_default"))
