"""openapi.yaml against the served function, by Schemathesis with all of its checks."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from ops.openapi import OPENAPI
from tests.support.figures import FUZZED
from tests.support.serving import ROOT, Service

HOOKS = ROOT / "tests" / "support" / "schemathesis_hooks.py"
PROFILE = settings()
ANY_ID, CALL_77 = "", '[parameters]\ncall_id = "77"\n'


@pytest.mark.parametrize(
    ("who", "parameters"),
    [("a good key", ANY_ID), ("a good key", CALL_77), ("nobody", ANY_ID)],
    ids=["any call by a good key", "call 77 by a good key", "any call by nobody"],
)
def test_the_function_keeps_what_openapi_yaml_promises(
    who: str, parameters: str, service: Service, acme_key: str, tmp_path: Path
) -> None:
    """With right and wrong requests, alone and, where a call is there to be found, one after another."""
    config = tmp_path / "schemathesis.toml"
    config.write_text(f"hooks = {str(HOOKS)!r}\n{parameters}")
    key = ["--header", f"Authorization: Bearer {acme_key}"] if who == "a good key" else []
    run = subprocess.run(
        [
            Path(sys.executable).with_name("st"),
            *("--config-file", config, "--no-color", "run", OPENAPI),
            *("--url", f"http://127.0.0.1:{service.port}", "--checks", "all"),
            *("--max-examples", str(PROFILE.max_examples // 20)),
            *("--generation-database", "none", *key),
            *("--phases", "examples,coverage,fuzzing" + (",stateful" if parameters else "")),
            *(["--seed", "1"] if PROFILE.derandomize else []),
        ],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    generated = re.search(r"([0-9,]+) generated", run.stdout)
    assert generated is not None, run.stdout
    FUZZED["requests by Schemathesis"] += int(generated[1].replace(",", ""))
