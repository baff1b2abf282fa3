"""`Accept-Encoding`: which values accept gzip."""

import pytest

from call_api.web.headers import accepts_gzip

ACCEPTING = [
    *("gzip", "GZIP", "x-gzip", "*", "gzip, deflate, br, zstd", "br;q=1.0, gzip;q=0.8, *;q=0.1"),
    *("gzip;q=1", "gzip;q=1.000", "gzip;Q=0.001", "gzip ; q=0.5", "\tgzip\t,", ",,gzip"),
    *("identity, gzip;q=0.1", "identity;q=0, gzip", "deflate, *", "*;q=0, gzip"),
    *("nonsense;;, gzip", "gzip;q=1, *;q=nonsense"),
]
NOT_ACCEPTING = [
    *("", "identity", "deflate, br", "gzip;q=0", "gzip;q=0.0", "gzip;q=0.000", "gzip;q=0, *"),
    *("gzip;q=0, x-gzip", "gzip, gzip;q=0", "gzip;q=0, gzip", "GZIP;q=0, gzip", "*;q=0"),
    *("gzip;q=2", "gzip;q=-1", "gzip;q=", "gzip;q", "gzip;q=0.0001", "gzip;q=1.5", "gzip;q=NaN"),
    *("gzip;q=\u0661", "gzip;level=1", "gzip;q=0;x=1, *", "gzip;q=0.0000, *", "gzip gzip"),
    *("gzipped", "xgzip", "XgzipX", '"gzip"', "gzip\xa0"),
]


@pytest.mark.parametrize("value", ACCEPTING)
def test_gzip_is_accepted(value: str) -> None:
    assert accepts_gzip([value])


@pytest.mark.parametrize("value", NOT_ACCEPTING)
def test_gzip_is_not_accepted(value: str) -> None:
    assert not accepts_gzip([value])


def test_no_header_does_not_accept_it() -> None:
    assert not accepts_gzip([])


def test_several_headers_are_one_list() -> None:
    assert accepts_gzip(["br", "gzip"])
    assert not accepts_gzip(["gzip;q=0", "*"])


def test_of_a_long_list_the_begin_counts() -> None:
    assert accepts_gzip(["br," * 49 + "gzip"])
    assert accepts_gzip(["gzip" + ",br" * 51])
    assert not accepts_gzip(["br," * 50 + "gzip"])
    assert not accepts_gzip(["," * 50, "gzip"])
