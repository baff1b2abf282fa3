"""What is part of a V4 URL is encoded; the whole of it is checked in tests/adapters/test_signing.py."""

from datetime import UTC, datetime

from call_api.v4_urls import V4Urls

URLS = V4Urls("https://storage.googleapis.com", "bucket", 3600)
SIGNED_AT = datetime(2026, 3, 25, tzinfo=UTC)


def test_slashes_stay_in_the_path_and_are_encoded_in_the_query() -> None:
    url = URLS.unsigned("a/b~c", 'inline; filename="a/b"', "signer@example.com", SIGNED_AT).url

    path, _, query = url.partition("?")
    assert path.endswith("/bucket/a/b~c")
    assert query.endswith("=inline%3B%20filename%3D%22a%2Fb%22")
    assert "/" not in query
