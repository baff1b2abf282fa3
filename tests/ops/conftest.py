"""What the tests of deploy.sh share."""

from pathlib import Path

import pytest

from tests.support.cloud import Cloud, a_cloud


@pytest.fixture(scope="session")
def new_cloud(tmp_path_factory: pytest.TempPathFactory) -> Cloud:
    return a_cloud(tmp_path_factory.mktemp("new") / "cloud")


@pytest.fixture
def cloud(new_cloud: Cloud, tmp_path: Path) -> Cloud:
    """An empty project, and a clone that has deployed nothing."""
    return new_cloud.copied_to(tmp_path / "cloud")
