"""The call page's pure modules, tested in Node.js without a browser."""

import subprocess

from local.runtimes import node
from tests.support.serving import ROOT

TESTS = sorted((ROOT / "tests" / "site" / "pure").glob("*.test.mjs"))
# What the first flag allows is the default from Node.js 20.19 and 22.7 on.
COMMAND = ["--experimental-detect-module", "--no-warnings", "--test", "--test-reporter=dot"]


def test_the_pure_modules_pass_their_tests() -> None:
    done = subprocess.run(
        [node(), *COMMAND, *map(str, TESTS)], capture_output=True, text=True, check=False
    )
    assert TESTS
    assert done.returncode == 0, done.stdout + done.stderr
