"""The shell scripts pass the linters."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cloud import DEPLOY_SCRIPTS
from tests.support.serving import ROOT


@pytest.mark.parametrize(
    "script", [*DEPLOY_SCRIPTS, ROOT / "tests/support/fake_gcloud"], ids=lambda path: path.name
)
def test_the_shell_scripts_pass_shellcheck_and_shfmt(script: Path) -> None:
    for tool in (["shellcheck"], ["shfmt", "--indent=2", "--case-indent", "--diff"]):
        found = shutil.which(
            tool[0], path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        )
        assert found, f"{tool[0]} is missing: it is one of the development dependencies"
        checked = subprocess.run(
            [found, *tool[1:], script], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout
