"""gzip: what comes out is what went in, and only a large body goes through a thread."""

import asyncio
import gzip
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from call_api.compression import MAX_INLINE_BYTES, MIN_BYTES, gzipped


async def gzipped_without_default_threads(body: bytes) -> bytes:
    """Compress where the event loop's own threads, which access tokens wait for, take no work."""
    busy = ThreadPoolExecutor()
    busy.shutdown()
    asyncio.get_running_loop().set_default_executor(busy)
    return await gzipped(body)


@pytest.mark.parametrize("size", [MIN_BYTES, MAX_INLINE_BYTES, MAX_INLINE_BYTES + 1, 2**22])
def test_a_body_is_whole_whatever_its_size(size: int) -> None:
    body = os.urandom(size)

    assert gzip.decompress(asyncio.run(gzipped_without_default_threads(body))) == body


def test_text_gets_smaller() -> None:
    body = b" ".join(str(n * n).encode() for n in range(10_000))

    assert len(asyncio.run(gzipped(body))) < len(body) / 2
