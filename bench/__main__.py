"""`make bench`: five servers before one emulator, the same load on each, in turn."""

import argparse
import json
from functools import partial
from pathlib import Path
from random import Random

from google.cloud import firestore

from bench import node, pages
from bench.calls import store_calls
from bench.capacity import kept
from bench.documents import worst_documents
from bench.load import check_installed
from bench.measure import Bench
from bench.report import Results, deployed_python, is_deployed, machine, report
from bench.servers import SERVERS
from bench.upstreams import counting_proxy, google_cloud
from local.emulator import firestore_emulator, install
from local.seed import PROJECT
from local.signer import new_signer
from local.stack import BUCKET, SIGNER, seeded, until_interrupted
from ops.capacity import RESULTS

ROUNDS, SECONDS = 5, 3


def main() -> None:
    """Run until done or interrupted."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of each measurement")
    parser.add_argument("--output", type=Path, help="a folder for the results, in place of docs/")
    options = parser.parse_args()
    if options.output is None and (options.rounds, options.seconds) != (ROUNDS, SECONDS):
        parser.error("give --output: docs/ holds the results of a run of the default length.")
    until_interrupted(partial(_run, options))


def _run(options: argparse.Namespace, folder: Path) -> None:
    check_installed()
    node.install()
    results: Results = {
        **machine(),
        "rounds": options.rounds,
        "documents": {what: cost._asdict() for what, cost in worst_documents()},
    }
    if not is_deployed(results["machine"]["python"]):
        print(f"warning: the function is deployed on Python {deployed_python()}, not on this one")
    # With Java's second compiler: the emulator works hard for minutes, and is not what is measured.
    find = partial(install, java_options=())
    with firestore_emulator(find) as emulator, google_cloud(folder) as (cloud, keyless):
        keys = seeded(emulator)
        store_calls(firestore.Client(PROJECT))
        settings = {
            "RECORDINGS_BUCKET": BUCKET,
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "FIRESTORE_EMULATOR_HOST": emulator,
        }
        key_file = folder / "signer.json"
        key_file.write_text(json.dumps(new_signer(SIGNER)[0]))
        signing = {"RECORDING_SIGNER_KEY_FILE": str(key_file)}
        bench = Bench(options.seconds, folder, keys, settings | signing, settings | keyless)
        print("counting upstream calls …", flush=True)
        with counting_proxy(emulator) as (proxy, host):
            bench.count_upstream_calls(host, lambda: proxy.calls + cloud.iam.signatures)
        bench.warm_up_emulator(options.seconds)
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds} …", flush=True)
            bench.measure_round(Random(number).sample(list(SERVERS), len(SERVERS)))
    results["figures"] = bench.figures
    text = json.dumps(results, indent=1) + "\n"
    if options.output is None:
        RESULTS.write_text(text, "utf-8")
        print("simulating …", flush=True)
        pages.simulate_and_write()
    else:
        options.output.mkdir(exist_ok=True)
        (options.output / "results.json").write_text(text, "utf-8")
    print(report(results, kept()))


if __name__ == "__main__":
    main()
