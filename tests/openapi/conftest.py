import pytest

from tests.openapi import tools


@pytest.fixture(scope="session", autouse=True)
def _tools() -> None:
    tools.install()
