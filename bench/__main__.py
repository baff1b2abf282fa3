"""`make bench`: five servers before one emulator, the same load on each, in turn."""

import argparse
import json
from functools import partial
from pathlib import Path

from google.cloud import firestore

from bench import capacity, node
from bench.measure import Bench, store_hour
from bench.pages import PAGES, write_tables
from bench.plot import plot
from bench.report import machine, report
from bench.results import Results
from bench.servers import SERVERS
from bench.upstreams import upstreams
from local.emulator import firestore_emulator
from local.seed import PROJECT
from local.signer import new_signer
from local.stack import BUCKET, SIGNER, seeded, until_interrupted

ROUNDS, SECONDS = 5, 0.8


def main() -> None:
    """Run until done or interrupted."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement")
    parser.add_argument("--output", type=Path, help="a folder for the results, in place of docs/")
    options = parser.parse_args()
    if options.output is None and (options.rounds, options.seconds) != (ROUNDS, SECONDS):
        parser.error("give --output: docs/ holds the results of a run of the default length.")
    until_interrupted(partial(_run, options))


def _run(options: argparse.Namespace, folder: Path) -> None:
    node.install()
    with firestore_emulator() as emulator, upstreams(emulator, folder) as upstream:
        key = seeded(emulator)["org_acme"]
        store_hour(firestore.Client(PROJECT))
        bench = Bench(options.seconds, folder, key, _settings(emulator, folder), upstream)
        print("counting upstream calls …", flush=True)
        servers = bench.counted()
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds} …", flush=True)
            bench.measure(_rotated(list(SERVERS), number), servers)
    results = {**machine(), "rounds": options.rounds, "servers": servers}
    if options.output is None:
        capacity.RESULTS.write_text(_as_json(results))
        update_pages(PAGES, results)
    else:
        options.output.mkdir(exist_ok=True)
        (options.output / "results.json").write_text(_as_json(results))
        (options.output / "results.svg").write_text(plot(results))
        (options.output / "results.md").write_text(report(results))
    print(report(results))


def update_pages(docs: Path, results: Results) -> None:
    """Put the results into the pages that show them or are calculated from them."""
    (docs / "performance.svg").write_text(plot(results))
    write_tables(docs / "performance.md", "make bench", report(results))
    write_tables(docs / "capacity.md", capacity.COMMAND, capacity.printed(results))


def _as_json(results: Results) -> str:
    return json.dumps(results, indent=1) + "\n"


def _rotated(names: list[str], by: int) -> list[str]:
    by %= len(names)
    return names[by:] + names[:by]


def _settings(emulator: str, folder: Path) -> dict[str, str]:
    key_file = folder / "signer.json"
    key_file.write_text(json.dumps(new_signer(SIGNER)[0]))
    return {
        "RECORDINGS_BUCKET": BUCKET,
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "FIRESTORE_EMULATOR_HOST": emulator,
        "RECORDING_SIGNER_KEY_FILE": str(key_file),
    }


if __name__ == "__main__":
    main()
