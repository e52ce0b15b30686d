"""Where a lake on ADLS Gen2 is, and what a wrong URL says."""

import pytest

from noria.errors import InputError
from noria.lake import open_lake
from noria.lake.abfs.url import AbfsUrl


@pytest.mark.parametrize(
    ("url", "container", "account", "blob_host", "folder", "root"),
    [
        (
            "abfss://lake@noria.dfs.core.windows.net",
            "lake",
            "noria",
            "noria.blob.core.windows.net",
            "",
            "abfss://lake@noria.dfs.core.windows.net",
        ),
        (
            "abfss://lake@noria.dfs.core.windows.net/a//b/",
            "lake",
            "noria",
            "noria.blob.core.windows.net",
            "a/b",
            "abfss://lake@noria.dfs.core.windows.net/a/b",
        ),
        (
            "abfs://my-lake@noria.dfs.core.chinacloudapi.cn/x",
            "my-lake",
            "noria",
            "noria.blob.core.chinacloudapi.cn",
            "x",
            "abfs://my-lake@noria.dfs.core.chinacloudapi.cn/x",
        ),
        (
            "abfss://lake@devstoreaccount1.dfs.core.localhost:10000",
            "lake",
            "devstoreaccount1",
            "devstoreaccount1.blob.core.localhost:10000",
            "",
            "abfss://lake@devstoreaccount1.dfs.core.localhost:10000",
        ),
        ("abfss://lake@noria.blob.core.windows.net", "lake", "noria", "noria.blob.core.windows.net", "", None),
        (
            "abfss://lake@noria.z01.dfs.storage.azure.net",
            "lake",
            "noria",
            "noria.z01.blob.storage.azure.net",
            "",
            None,
        ),
    ],
)
def test_parts(url: str, container: str, account: str, blob_host: str, folder: str, root: str | None) -> None:
    place = AbfsUrl.parse(url)
    assert (place.container, place.account, place.blob_host, place.folder) == (container, account, blob_host, folder)
    assert str(place) == (root or url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("abfss://lake", "abfss://CONTAINER@ACCOUNT"),
        ("abfss://lake/folder", "abfss://CONTAINER@ACCOUNT"),
        ("abfss://noria.dfs.core.windows.net/lake", "abfss://CONTAINER@ACCOUNT"),
        ("abfss://lake@noria", "host follows the container"),
        ("abfss://@noria.dfs.core.windows.net", "host follows the container"),
        ("abfss://Lake_1@noria.dfs.core.windows.net", "3 to 63 small letters"),
        ("abfss://la@noria.dfs.core.windows.net", "3 to 63 small letters"),
        ("abfss://a--b@noria.dfs.core.windows.net", "single hyphens"),
        ("abfss://lake@noria.dfs.core.windows.net:port", "cannot be read"),
        ("abfss://lake@noria.dfs.core.windows.net/a/../b", "without '.' and '..'"),
    ],
)
def test_wrong_urls(url: str, said: str) -> None:
    with pytest.raises(InputError, match=said.replace(".", r"\.")):
        open_lake(url)


@pytest.mark.parametrize(
    "url",
    [
        "abfss://lake:s3cret@noria.dfs.core.windows.net/x",
        "abfss://lake@noria.dfs.core.windows.net/x?sv=2024&sig=s3cret",
        "abfss://lake@noria.dfs.core.windows.net/x#s3cret",
    ],
)
def test_a_secret_in_the_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(InputError, match="belong in the Airflow connection") as caught:
        open_lake(url)
    assert "s3cret" not in str(caught.value)
    assert "abfss://lake@noria.dfs.core.windows.net" in str(caught.value)
