"""What the tests of deploy.sh share."""

from pathlib import Path

import pytest

from tests.support.cloud import Cloud, a_cloud


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return a_cloud(tmp_path / "cloud")
