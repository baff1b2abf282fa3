"""What this layer's tests share: fakes that google-auth finds, and no pauses, where a test asks for them."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from google.auth import _exponential_backoff
from google.auth.compute_engine import _metadata

from tests.support.google_cloud import Metadata


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let google-auth try again at once."""
    no_sleep = SimpleNamespace(sleep=lambda _: None)
    monkeypatch.setattr(_exponential_backoff, "time", no_sleep)


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch, no_pauses: None) -> Iterator[Metadata]:  # noqa: ARG001  (a fixture for what it does)
    """Start the platform's metadata server."""
    server = Metadata()
    host = f"127.0.0.1:{server.port}"
    monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", host)
    monkeypatch.setenv("GCE_METADATA_IP", host)
    monkeypatch.setenv("K_SERVICE", "get-call")
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nowhere")  # where a developer's own login is
    yield server
    server.close()
