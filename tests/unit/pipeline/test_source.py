"""Sources as URIs."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from noria.errors import InputError
from noria.pipeline import Source, source_from_uri
from noria.verdicts import CONNECTION

SOURCE: TypeAdapter[Source] = TypeAdapter(Source)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("github://o/r/data.csv", {"owner": "o", "repo": "r", "path": "data.csv", "ref": "main"}),
        ("github://O-1/r.x/a/b/c.csv@v1.0", {"owner": "O-1", "repo": "r.x", "path": "a/b/c.csv", "ref": "v1.0"}),
        ("github://o/r/a/b.csv@feature/new/x", {"path": "a/b.csv", "ref": "feature/new/x"}),
        ("github://o/r/a%40b/my%20file.csv@main", {"path": "a@b/my file.csv", "ref": "main"}),
        ("github://o/r/a#1?.csv@main", {"path": "a#1?.csv", "ref": "main"}),
        ("https://host/a.csv?x=1", {"kind": "https", "url": "https://host/a.csv?x=1"}),
        (
            "https://host/a.csv?country_codes=de&keyword=x&code_page=1",
            {"url": "https://host/a.csv?country_codes=de&keyword=x&code_page=1"},
        ),
        ("http://127.0.0.1:8000/a.csv", {"kind": "https", "url": "http://127.0.0.1:8000/a.csv"}),
        ("file:///data/my%20file.csv", {"kind": "file", "path": "/data/my file.csv"}),
        ("file://localhost/data/a.csv", {"kind": "file", "path": "/data/a.csv"}),
        ("data/a.csv", {"kind": "file", "path": "data/a.csv"}),
        ("sample://students?rows=50&seed=3", {"kind": "sample", "rows": 50, "seed": 3}),
        ("sample://", {"kind": "sample", "generator": "students", "rows": 1000}),
    ],
)
def test_a_uri_becomes_a_source_and_its_uri_the_same_source(uri: str, expected: dict[str, object]) -> None:
    source = SOURCE.validate_python(source_from_uri(uri))
    assert {k: getattr(source, k) for k in expected} == expected
    again = SOURCE.validate_python(source_from_uri(source.uri))
    assert again.uri == source.uri
    if uri != "data/a.csv":
        assert again == source


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("github://owner", "lacks repo, path; expected github://owner/repo/path@ref"),
        ("github://owner/repo", "lacks path"),
        ("github://owner/repo/a.csv@", "lacks ref after the @"),
        ("github:///repo/a.csv", "lacks owner"),
        ("file://data/a.csv", "expected file:///absolute/path with three slashes"),
        ("file:///", "expected file:///absolute/path"),
        ("ftp://host/a.csv", "expected github://owner/repo/path@ref, https://"),
        ("s3://user:hunter2@bucket/a.csv", "source 's3://***@bucket/a.csv'"),
        ("", "expected github://"),
        ("  ", "expected github://"),
    ],
)
def test_a_bad_uri_says_what_was_expected(uri: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        source_from_uri(uri)
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("github://o/r/../../other/a.csv@main", "not relative to the repository"),
        ("github://o/r//a.csv@main", "not relative to the repository"),
        ("github://o!/r/a.csv@main", "pattern"),
        ("http://example.org/a.csv", "plain http is accepted for loopback addresses only"),
        ("https://me:hunter2@example.org/a.csv", "carries a user or password"),
        ("https://x.blob.core.windows.net/c/a.csv?sv=1&sig=hunter2", "carries a secret in its parameter 'sig'"),
        *(
            (f"https://example.org/a.csv?v=1&{name}=hunter2", f"carries a secret in its parameter {name!r}")
            for name in (
                "X-Amz-Signature",
                "X-Amz-Credential",
                "X-Amz-Security-Token",
                "X-Goog-Signature",
                "Signature",
                "code",
                "access_token",
                "api-key",
                "apikey",
                "client_secret",
            )
        ),
        ("sample://teachers", "Input should be 'students'"),
        ("sample://students?rows=0", "greater than or equal to 1"),
        ("sample://students?colour=red", "Extra inputs"),
    ],
)
def test_a_source_that_cannot_be_is_refused(uri: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SOURCE.validate_python(source_from_uri(uri))
    assert message in " ".join(e["msg"] for e in caught.value.errors())
    assert "hunter2" not in " ".join(e["msg"] for e in caught.value.errors())


@pytest.mark.parametrize("connection", [CONNECTION, CONNECTION.title()])
@pytest.mark.parametrize("kind", [{"kind": "https", "url": "https://x.org/a"}, source_from_uri("github://o/r/a.csv")])
def test_the_key_that_signs_verdicts_is_sent_to_no_source(kind: dict[str, object], connection: str) -> None:
    with pytest.raises(ValidationError, match="holds the key that signs verdicts; it is sent nowhere"):
        SOURCE.validate_python({**kind, "connection": connection})
