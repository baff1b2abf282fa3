"""Mutate call_api, run the tests against every mutant, and hold the survivors against the list.

mutmut makes the mutants and runs, for each of them, the tests that reach it; here it is given what
these need, and its results are judged. With names (`call_api.web.api.*`), those mutants alone are run
and judged. The last whole run knows which tests reach them, so tests added since are not run.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from local.emulator import firestore_emulator, install

AT_LEAST = 95.0  # per cent
RUNS_AT_A_TIME = 7  # they wait more than they compute
MUTMUT = str(Path(sys.executable).with_name("mutmut"))
MUTANTS = Path("mutants")
# The exit status of a run. mutmut itself counts an internal error of pytest as killed, and one that
# leaves pytest as timed out, which would hide what is wrong here: these are "not run".
RESULTS = {0: "survived", 1: "killed", 33: "no tests", 36: "timeout"}
EQUIVALENT = Path(__file__).with_name("equivalent.toml")


class Change(NamedTuple):
    """What a mutant changes; unlike its number, this stays when the function is edited elsewhere."""

    function: str
    was: str
    becomes: str


def main(names: Sequence[str]) -> None:
    run(names)
    results = {
        mutant: RESULTS.get(status, f"not run (exit status {status})")
        for file in MUTANTS.glob("call_api/**/*.meta")
        for mutant, status in json.loads(file.read_text("utf-8"))["exit_code_by_key"].items()
        if not names or any(fnmatch(mutant, name) for name in names)
    }
    if not results:
        sys.exit("No mutant has such a name.")
    count = Counter(results.values())
    killed = 100 * (count["killed"] + count["timeout"]) / len(results)

    faults = []
    unused = equivalent()
    left = {m: r for m, r in results.items() if r not in {"killed", "timeout"}}
    for mutant, result in left.items():
        what = change(mutant)
        if unused[what]:
            unused[what] -= 1
        else:
            faults.append(f"{mutant}: {result}\n  - {what.was}\n  + {what.becomes}")
    listed = len(left) - len(faults)
    notes = []
    if not names:  # what is not run may survive as well
        functions = {what.function for what in unused.elements()}
        dead = {change(m) for m in results.keys() - left.keys() if function_of(m) in functions}
        for what in unused.elements():
            if what in dead:  # with so many runs at a time, a test may fail for the load alone
                notes.append(f"{what} was killed, though {EQUIVALENT} lists it.")
            else:
                faults.append(f"{EQUIVALENT} lists what is no mutant:\n  {what}")
        if killed < AT_LEAST:
            faults.append(f"Less than {AT_LEAST} % are killed.")

    for line in notes + faults:
        sys.stdout.write(f"\n{line}\n")
    sys.stdout.write(
        f"\n{len(results)} mutants: {count['killed']} killed, {count['timeout']} timed out (which"
        f" counts as killed), {len(left)} left, {listed} of them listed as equivalent."
        f" {killed:.1f} % killed.\n"
    )
    sys.exit(1 if faults else 0)


def run(names: Sequence[str]) -> None:
    """Run mutmut; anew for all mutants, since what it caches knows nothing of changed tests."""
    if not names:
        shutil.rmtree(MUTANTS, ignore_errors=True)
    # Each run has an emulator to itself: in one for all of them, they would mix up their calls.
    os.environ.pop("FIRESTORE_EMULATOR_HOST", None)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hosts = [stack.enter_context(firestore_emulator(install)) for _ in range(RUNS_AT_A_TIME)]
        given = {"MUTANT_EMULATORS": " ".join(hosts), "MUTANT_SCRATCH": str(scratch)}
        command = [MUTMUT, "run", f"--max-children={RUNS_AT_A_TIME}", *names]
        if subprocess.run(command, env=os.environ | given, check=False).returncode:
            sys.exit("mutmut could not run the tests: do they pass?")


def mutmut(*arguments: str) -> str:
    done = subprocess.run([MUTMUT, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def change(mutant: str) -> Change:
    # `mutmut show` prints a unified diff, after a heading.
    lines = re.sub(r"\A(.*\n)*?@@.*\n", "", mutmut("show", mutant)).splitlines()
    was, becomes = (" ".join(line[1:].strip() for line in lines if line[:1] == s) for s in "-+")
    return Change(function_of(mutant), was, becomes)


def function_of(mutant: str) -> str:
    return mutant.rpartition("__mutmut_")[0]


def equivalent() -> Counter[Change]:
    """Return the mutants that no test can kill. A function may have the same line twice."""
    entries = tomllib.loads(EQUIVALENT.read_text("utf-8"))["mutant"]
    return Counter(Change(one["of"], one["was"], one["becomes"]) for one in entries)


if __name__ == "__main__":
    main(sys.argv[1:])
