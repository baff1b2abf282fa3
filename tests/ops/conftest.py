"""What the tests of deploy.sh share."""

import functools
import itertools
from pathlib import Path

import pytest

from tests.support.cloud import COMMANDS, After, Cloud, a_cloud


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> After:
    """Run each series of steps once; the project is to be copied, and not to be changed."""

    @functools.cache
    def after(*steps: str) -> Cloud:
        home = tmp_path_factory.mktemp("after") / "cloud"
        if not steps:
            return a_cloud(home)
        cloud = after(*steps[:-1]).copied_to(home)
        if steps[-1] in COMMANDS:
            (home / "log").write_text("")
            cloud.succeed(steps[-1])
        else:
            cloud.add(steps[-1])
        return cloud

    return after


@pytest.fixture
def after(once: After, tmp_path: Path) -> After:
    """Return a project of the test's own."""
    homes = (tmp_path / f"cloud-{number}" for number in itertools.count())
    return lambda *steps: once(*steps).copied_to(next(homes))


@pytest.fixture
def cloud(after: After) -> Cloud:
    """An empty project, and a clone that has deployed nothing."""
    return after()


@pytest.fixture
def deployed(after: After) -> Cloud:
    """A project that has the public function."""
    return after("function")
