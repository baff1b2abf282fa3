"""What a worker's tests share: a Firestore emulator, sample calls, keys, the function served."""

import os

# gRPC reads this when it is loaded: its lines on every emulator that ends would break up pytest's dots.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import functools
import hashlib
import itertools
import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import trustme
from google.cloud import firestore
from hypothesis.configuration import set_hypothesis_home_dir

from local.emulator import firestore_emulator, installed, is_googles, running_emulator
from local.install import LocalStackError
from local.seed import sample_calls, seed
from local.signer import new_signer
from tests.support.figures import FIGURES, FUZZED
from tests.support.google_cloud import GoogleCloud
from tests.support.project import PROJECT, SIGNER, Emulator, PutCall, PutKey
from tests.support.serving import ROOT, Service, measure_served_functions_alone, served
from tests.support.storage import Storage

# `make test` runs the same cases each time, `make fuzz` new and many more. A case that fails is
# printed as a line to paste, so no database of them is kept.
set_hypothesis_home_dir(ROOT / ".local" / "hypothesis")
hypothesis.settings.register_profile("all", deadline=None, database=None, print_blob=True)
hypothesis.settings.register_profile(
    "bounded", hypothesis.settings.get_profile("all"), max_examples=80, derandomize=True
)
hypothesis.settings.register_profile(
    "fuzz", hypothesis.settings.get_profile("all"), max_examples=2_000
)
hypothesis.settings.load_profile("bounded")

# What the tests leave stays in the clone.
TEMPORARY = ROOT / ".local" / "pytest"
NOT_RUN = ROOT / ".local" / "tests-not-run"
TEMPORARY.mkdir(parents=True, exist_ok=True)
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(TEMPORARY))

LACKED = ("needs the gcloud CLI", "needs Google's emulator")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="let the tests in tests/faults run long")


def pytest_configure(config: pytest.Config) -> None:
    """Install the emulator before there are workers, which would all install it at once."""
    if getattr(config.option, "numprocesses", None):
        ensure_emulator()
    else:
        measure_served_functions_alone()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs more than this machine has; in CI it fails instead."""
    if any("emulator" in getattr(item, "fixturenames", ()) for item in items):
        ensure_emulator()
    if os.environ.get("CI") == "true":
        return
    for item in items:
        if reason := lacking(item):
            item.add_marker(pytest.mark.skip(reason=reason))


def lacking(item: pytest.Item) -> str | None:
    """Return what a test needs and this machine lacks."""
    gcloud, googles = LACKED
    if item.get_closest_marker("gcloud") and not shutil.which("gcloud"):
        return gcloud
    if item.get_closest_marker("google_emulator") and not has_googles_emulator():
        return googles
    return None


def ensure_emulator() -> None:
    """Install the emulator where it is missing; where none can be had, say so and end."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # the first process has done it
    try:
        if running_emulator() is None:
            installed()  # `make test` has looked for a better one, and said which it is
    except LocalStackError as error:
        pytest.exit(str(error), returncode=1)


@functools.cache
def has_googles_emulator() -> bool:
    running = running_emulator()
    return is_googles(running) if running else installed().is_googles


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> bool:
    """Tell whether to run long, as `make soak` does."""
    return bool(request.config.getoption("--soak"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what a worker of `make test` counted and measured to the process that shows it."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["fuzzed"], output["figures"] = dict(FUZZED), FIGURES


def pytest_testnodedown(node: Any, error: object) -> None:
    if not error:  # a worker that crashed hands over nothing, and fails the run
        FUZZED.update(node.workeroutput["fuzzed"])
        FIGURES.extend(node.workeroutput["figures"])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for what, number in sorted(FUZZED.items()):
        terminalreporter.write_line(f"fuzzed: {number:,} {what}")
    for figure in FIGURES:
        terminalreporter.write_line(figure)
    skipped = [report.longrepr for report in terminalreporter.stats.get("skipped", [])]
    reasons = [where[2] for where in skipped if isinstance(where, tuple)]
    lacked = [reason for reason in reasons if reason.endswith(LACKED)]
    if lacked:
        terminalreporter.write_line(
            f"{len(lacked)} tests need Google's emulator or the gcloud CLI: not run"
        )
    if any(reason.endswith("Google's emulator") for reason in lacked):
        NOT_RUN.touch()  # for the Makefile, which then cannot ask for every line of call_api


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """Start an emulator, and store the sample calls in it."""
    with firestore_emulator(installed) as host:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FIRESTORE_EMULATOR_HOST", host)
            client = firestore.Client(PROJECT)
        with closing(client):
            yield Emulator(host, client, seed(client))


@pytest.fixture(scope="session")
def emulator_host(emulator: Emulator) -> str:
    return emulator.host


@pytest.fixture(scope="session")
def database(emulator: Emulator) -> firestore.Client:
    return emulator.database


@pytest.fixture(scope="session")
def keys(emulator: Emulator) -> dict[str, str]:
    """Return an API key of each org, by org."""
    return emulator.keys


@pytest.fixture(scope="session")
def acme_key(emulator: Emulator) -> str:
    return emulator.keys["org_acme"]


@pytest.fixture(scope="session")
def globex_key(emulator: Emulator) -> str:
    return emulator.keys["org_globex"]


@pytest.fixture(scope="session")
def put_call(emulator: Emulator) -> PutCall:
    """Store call 77 anew under an ID of its own, with the changes, without the fields left out."""
    ids = itertools.count(1000)

    def put(
        changes: dict[str, Any] | None = None,
        *,
        without: tuple[str, ...] = (),
        at: int | None = None,
    ) -> int:
        call_id = next(ids) if at is None else at
        document = sample_calls()[77] | {"id": call_id} | (changes or {})
        for name in without:
            del document[name]
        emulator.database.document("calls", str(call_id)).set(document)
        return call_id

    return put


@pytest.fixture(scope="session")
def put_key(emulator: Emulator) -> PutKey:
    """Store a new key's record, with these fields, and return the key."""

    def put(fields: dict[str, Any], key: str | None = None) -> str:
        key = key or secrets.token_urlsafe()
        digest = hashlib.sha256(key.encode()).hexdigest()
        emulator.database.document("api_keys", digest).set(fields)
        return key

    return put


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a service account's key file."""
    contents, _ = new_signer(SIGNER)
    file = tmp_path_factory.mktemp("signer") / "key.json"
    file.write_text(json.dumps(contents))
    return file


@pytest.fixture(scope="session")
def settings(emulator: Emulator, key_file: Path) -> dict[str, str]:
    """Set what a function on this machine needs, and no more."""
    return emulator.settings | {"RECORDING_SIGNER_KEY_FILE": str(key_file)}


@pytest.fixture(scope="session")
def keyless_settings(emulator: Emulator) -> dict[str, str]:
    """Set the same without a key file, so that links are signed through IAM."""
    return emulator.settings


@pytest.fixture(scope="session")
def service(settings: dict[str, str], keys: dict[str, str]) -> Iterator[Service]:
    """Serve the function; at the end, its whole log must be free of secrets."""
    with served(settings) as running:
        yield running
        output = running.output()
    secret = [*keys.values(), "X-Goog-Signature", "मदद", "Traceback"]
    assert [text for text in secret if text in output] == []


@pytest.fixture
def noon() -> datetime:
    return datetime(2026, 3, 25, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def gateway_service(settings: dict[str, str]) -> Iterator[Service]:
    with served(settings | {"BEHIND_API_GATEWAY": "true"}) as running:
        yield running


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Make the authority that certifies the fakes of Google's hosts."""
    return trustme.CA()


@pytest.fixture(scope="session")
def authority_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return file


@pytest.fixture
def storage() -> Iterator[Storage]:
    with closing(Storage()) as server:
        yield server


@pytest.fixture(scope="module")
def shared_cloud(authority: trustme.CA, authority_file: Path) -> Iterator[GoogleCloud]:
    with closing(GoogleCloud(authority, str(authority_file))) as cloud:
        yield cloud


@pytest.fixture
def cloud(shared_cloud: GoogleCloud) -> Iterator[GoogleCloud]:
    """The Google Cloud of the `keyless` function, which works again after the test."""
    yield shared_cloud
    shared_cloud.iam.planned.clear()
    shared_cloud.iam.seconds, shared_cloud.iam.lasting = 0.0, None


@pytest.fixture(scope="module")
def keyless(shared_cloud: GoogleCloud, keyless_settings: dict[str, str]) -> Iterator[Service]:
    """Serve the function without a key; at the end, its whole log must be free of secrets."""
    with served(keyless_settings | shared_cloud.environment) as service:
        assert shared_cloud.metadata.connections == 0, "contacted before the first request"
        assert shared_cloud.proxy.connections == 0, "contacted before the first request"
        yield service
        output = service.output()
    secrets = ["s3cret", shared_cloud.metadata.token(), "X-Goog-Signature"]
    assert [secret for secret in secrets if secret in output] == []
