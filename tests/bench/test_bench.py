"""The benchmark: the peers do the same as the function, what measures is right, a run yields all."""

import gzip
import itertools
import json
import os
import re
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from copy import deepcopy
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from google.cloud import firestore
from starlette.applications import Starlette
from starlette.requests import Request as ServedRequest
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from bench import node
from bench.__main__ import main
from bench.calls import HOUR, LARGE, SMALL, store_calls, transcript
from bench.capacity import kept
from bench.load import Wrk, check_installed, load, memory_under_slow_readers
from bench.measure import CASES, COMPLETE, KEYLESS_CASES, OWN_CASES, STARTS
from bench.report import GROUPS, OURS, TARGETS, Results, report
from bench.servers import FRAMEWORK, SERVERS, Request, Running, running
from call_api.firestore.documents import MAX_DOCUMENT_BYTES
from local.install import LocalStackError
from local.recordings import recordings_server
from local.seed import SAMPLES
from local.stack import app_served
from tests.support.project import BUCKET, SIGNER, PutKey
from tests.support.serving import ROOT

LOADED = {
    *("requests_per_second", "p50_ms", "p99_ms"),
    *("cpu_ms", "kib", "server_cores", "wrk_cores"),
}


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    check_installed()
    node.install()


@pytest.fixture(scope="module")
def run(emulator_host: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, str]:
    """Run the benchmark as short as can be; its results, and what it printed."""
    folder = tmp_path_factory.mktemp("bench")
    options = ["--rounds=1", "--seconds=1", f"--output={folder}"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *options],
        cwd=ROOT,
        env=os.environ | {"FIRESTORE_EMULATOR_HOST": emulator_host},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "results.json").read_text()), done.stdout


@pytest.fixture(scope="module")
def results(run: tuple[Results, str]) -> Results:
    return run[0]


def test_a_run_yields_every_figure(results: Results) -> None:
    assert results["date"] == datetime.now(UTC).date().isoformat()
    assert set(results["machine"]) == {"cpu", "cores", "memory_gib", "system", "python", "node"}
    expected: dict[str, set[str]] = {
        server: {"cold_start/key_s", "memory/load_mib"} for server in SERVERS
    }
    for server in COMPLETE:
        expected[server] |= {"cold_start/keyless_s", "memory/slow_readers_mib"}
        expected[server] |= {
            f"upstream_calls/{name}" for name in ("key", "key_first", "keyless", "keyless_first")
        }
    expected[OURS] |= {
        f"{asked}/{crowd}/{each}"
        for asked in ("neighbour", "apart")
        for crowd in ("turns", "hour")
        for each in ("p50_ms", "p99_ms", "errors", "crowd_refused")
    }
    expected[OURS] |= {"upstream_calls/unchanged"}
    for name, case in (CASES | KEYLESS_CASES | OWN_CASES).items():
        for server in case.servers:
            expected[server] |= {f"{name}/{n}/{each}" for n in case.clients for each in LOADED}

    assert {server: set(found) for server, found in results["figures"].items()} == expected
    for found in results["figures"].values():
        for name, values in found.items():
            assert len(values) == (STARTS if name.startswith("cold_start/") else 1), name
        may_be_zero = ("/errors", "/crowd_refused")
        assert [n for n in found if found[n][0] <= 0 and not n.endswith(may_be_zero)] == []
        assert 0.1 < found["cold_start/key_s"][0] < 30
        assert 20 < found["memory/load_mib"][0] < 1000


def test_the_worst_documents_are_measured(results: Results) -> None:
    for what, cost in results["documents"].items():
        assert 256 < cost["kib"] <= MAX_DOCUMENT_BYTES / 1024
        assert cost["owner_ms"] > 0
        for name in ("validate_ms", "render_ms"):
            assert (cost[name] is None) is ("nulls" in what)  # those are refused


def test_upstream_calls_are_counted(results: Results) -> None:
    counted = {
        server: {
            name.partition("/")[2]: rounds[0]
            for name, rounds in results["figures"][server].items()
            if name.startswith("upstream_calls/")
        }
        for server in COMPLETE
    }
    peers = {"key_first": 2, "key": 2, "keyless_first": 3, "keyless": 3}

    assert counted == {
        "function": {"key_first": 2, "key": 1, "keyless_first": 3, "keyless": 2, "unchanged": 1},
        "tutorial": peers,
        "node": peers,
    }


def test_every_figure_of_the_report_is_measured(run: tuple[Results, str]) -> None:
    results, printed = run
    ours = results["figures"][OURS]

    assert printed.endswith(f"{report(results, kept())}\n")
    named = [figure for group in GROUPS.values() for _, figure, _ in group]
    assert [figure for figure in named if figure not in ours] == []
    assert len(re.findall(r"\| (?:holds|\*\*missed\*\*.*) \|", printed)) == len(TARGETS)


def test_a_short_run_does_not_replace_what_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--rounds=1"])
    with pytest.raises(SystemExit):
        main()

    assert "give --output" in capsys.readouterr().err


def test_without_wrk_the_start_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LocalStackError, match="the load generator wrk: apt-get install wrk"):
        check_installed()


def request_for(call_id: int, key: str, status: HTTPStatus = HTTPStatus.OK) -> Request:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return Request(f"/v2/calls/{call_id}", headers, status)


@pytest.fixture(scope="module")
def servers(
    settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Running]]:
    """Run each server that answers in full."""
    folder = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        found = {name: stack.enter_context(running(name, settings, folder)) for name in COMPLETE}
        for server in found.values():
            server.wait_until_it_listens()
        yield found


@pytest.fixture(scope="module")
def answers(
    servers: dict[str, Running], database: firestore.Client, acme_key: str
) -> dict[str, dict[int, dict[str, Any]]]:
    """Ask each for the calls of acme."""
    store_calls(database)
    return {
        name: {
            call_id: json.loads(server.ask(request_for(call_id, acme_key)))
            for call_id in (SMALL, HOUR, LARGE)
        }
        for name, server in servers.items()
    }


@pytest.mark.parametrize("name", ["tutorial", "node"])
@pytest.mark.parametrize(("call_id", "turns"), [(SMALL, 3), (HOUR, 1_800), (LARGE, 15_500)])
def test_the_peers_answer_what_the_function_does(
    name: str, call_id: int, turns: int, answers: dict[str, dict[int, dict[str, Any]]]
) -> None:
    ours, theirs = answers["function"][call_id], answers[name][call_id]

    assert list(theirs) == list(ours)
    assert theirs | {"recording_url": ""} == ours | {"recording_url": ""}
    assert len(theirs["transcript"]) == turns


@pytest.mark.parametrize("name", COMPLETE)
@pytest.mark.parametrize("call_id", [SMALL, HOUR])
def test_the_link_of_each_opens_the_recording(
    name: str, call_id: int, answers: dict[str, dict[int, dict[str, Any]]], key_file: Path
) -> None:
    link = answers[name][call_id]["recording_url"]
    key = load_pem_private_key(json.loads(key_file.read_text())["private_key"].encode(), None)
    assert isinstance(key, RSAPrivateKey)
    app = recordings_server(
        {unquote(urlsplit(link).path): SAMPLES / "tone.wav"},
        {SIGNER: key.public_key()},
        lambda: datetime.now(UTC),
    )
    reply = TestClient(app).get(link)

    assert reply.status_code == 200, reply.text
    assert link.startswith(f"https://storage.googleapis.com/{BUCKET}/recordings/")
    assert "X-Goog-Expires=3600" in link
    disposition = f'inline; filename="call-{call_id}.wav"'
    assert reply.headers["Content-Disposition"] == disposition


@pytest.mark.parametrize("name", COMPLETE)
def test_each_refuses_who_may_not_see_the_call(
    name: str, servers: dict[str, Running], keys: dict[str, str], put_key: PutKey
) -> None:
    past = datetime(2026, 1, 1, tzinfo=UTC)
    acme = {"org_id": "org_acme"}
    for key, call_id, status in [
        ("", SMALL, HTTPStatus.UNAUTHORIZED),
        ("unknown", SMALL, HTTPStatus.UNAUTHORIZED),
        (put_key(acme | {"expires_at": past}), SMALL, HTTPStatus.UNAUTHORIZED),
        (put_key(acme | {"revoked_at": past}), SMALL, HTTPStatus.UNAUTHORIZED),
        (keys["org_globex"], SMALL, HTTPStatus.FORBIDDEN),
        (keys["org_acme"], 99999, HTTPStatus.NOT_FOUND),
    ]:
        servers[name].ask(request_for(call_id, key, status))


@pytest.mark.parametrize("name", ["function", "limit", "floor"])
def test_servers_under_uvicorn_have_the_same_parser(name: str, settings: dict[str, str]) -> None:
    code = """
import main
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn_worker import UvicornWorker

config = Config(lambda _: None, http=UvicornWorker.CONFIG_KWARGS["http"])
config.load()
print(issubclass(config.http_protocol_class, H11Protocol))
"""
    source, _ = SERVERS[name]
    python = FRAMEWORK.with_name("python")
    printed = subprocess.run(
        [python, "-c", code], cwd=source, env=settings, capture_output=True, text=True, check=True
    )

    assert printed.stdout == "True\n"


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with (
        running("floor", {"FUNCTION_TARGET": "missing"}, tmp_path) as server,
        pytest.raises(LocalStackError, match=r"(?s)^floor did not start.*named .missing"),
    ):
        server.wait_until_it_listens()


@pytest.mark.parametrize(("languages", "ratio"), [(["english"], 4.2), (["hindi"], 3.8)])
def test_a_transcript_compresses_like_speech(languages: list[str], ratio: float) -> None:
    """Its turns differ, and gzip's fastest level finds what it finds in natural text."""
    turns = transcript(900, languages, words=(5, 15))
    text = json.dumps(turns, ensure_ascii=False, separators=(",", ":")).encode()

    assert len({turn["content"] for turn in turns}) == 900
    assert len(text) / len(gzip.compress(text, 1)) == pytest.approx(ratio, rel=0.05)
    assert turns == transcript(900, languages, words=(5, 15))


@contextmanager
def listening_on(port: int, tmp_path: Path) -> Iterator[Running]:
    """Take a server of this test for one that was started; its process does nothing."""
    log = tmp_path / "log"
    log.touch()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield Running("server", process, port, log)
        process.communicate(b"\n")


@contextmanager
def answering(tmp_path: Path, *statuses: int, seconds: float = 0.0) -> Iterator[Running]:
    """Serve 2,000 bytes to each request, with these statuses in turn."""
    asked = itertools.cycle(statuses)

    def answer(_: ServedRequest) -> Response:
        time.sleep(seconds)  # a slow server is what is served here
        return Response(b"x" * 2_000, next(asked))

    with (
        app_served(Starlette(routes=[Route("/", answer)])) as url,
        listening_on(int(url.rpartition(":")[2]), tmp_path) as server,
    ):
        yield server


ROOT_REQUEST = Request("/", {})


def test_the_load_counts_and_times_what_is_answered(tmp_path: Path) -> None:
    with answering(tmp_path, 200, seconds=0.02) as server:
        found = load(server, ROOT_REQUEST, clients=4, seconds=1)

    assert 20 < found["p50_ms"] <= found["p99_ms"]
    assert 4_000 / found["p99_ms"] < found["requests_per_second"] < 4_000 / 20
    assert found["kib"] == pytest.approx(2.1, abs=0.1)
    assert 0 <= found["wrk_cores"] < 1


@pytest.mark.parametrize("statuses", [[500], [200, 503]])
def test_the_load_fails_on_any_other_answer(statuses: list[int], tmp_path: Path) -> None:
    with (
        answering(tmp_path, *statuses) as server,
        pytest.raises(LocalStackError, match=r"^server (?:answered 500|refused \d+ of \d+)"),
    ):
        load(server, ROOT_REQUEST, clients=2, seconds=1)


@contextmanager
def handling(handler: type[socketserver.BaseRequestHandler], tmp_path: Path) -> Iterator[Running]:
    """Have each connection handled in a thread."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as listener:
        threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True).start()
        with listening_on(listener.server_address[1], tmp_path) as server:
            yield server
        listener.shutdown()


def test_the_load_fails_where_connections_do(tmp_path: Path) -> None:
    class Close(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)

    with (
        handling(Close, tmp_path) as server,
        Wrk(server, ROOT_REQUEST, clients=2, seconds=1) as run,
        pytest.raises(LocalStackError, match=r"^server broke off: .*\"broken\": [1-9]"),
    ):
        run.counted()


def test_a_run_of_wrk_that_nobody_waits_for_is_ended(tmp_path: Path) -> None:
    started, seconds = time.monotonic(), 60
    with answering(tmp_path, 200) as server, Wrk(server, ROOT_REQUEST, clients=1, seconds=seconds):
        pass

    assert time.monotonic() - started < seconds


def test_slow_readers_ask_and_do_not_read(tmp_path: Path) -> None:
    sent: list[int] = []
    answer = b"x" * 10_000_000

    class Send(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            assert self.request.recv(1000).startswith(b"GET / HTTP/1.1\r\n")
            at = 0
            with suppress(OSError):  # when the client leaves
                while at < len(answer):
                    at += self.request.send(answer[at : at + 10_000])
            sent.append(at)

    with handling(Send, tmp_path) as server:
        before = server.memory_mib()
        most = memory_under_slow_readers(server, ROOT_REQUEST, clients=4, seconds=0.2)

    assert most >= before > 1
    assert len(sent) == 4
    assert max(sent) < len(answer)


def made_up(results: Results, **ours: list[float]) -> Results:
    """Return results where every figure is 10.0 in three rounds, but for these of ours."""
    made = deepcopy(results)
    for found in made["figures"].values():
        found.update((name, [10.0] * 3) for name in found)
    made["figures"][OURS].update(ours)
    return made


@pytest.mark.parametrize(
    ("what", "figure", "rounds", "measured", "holds"),
    [
        ("requests/s at 16 clients, to the tutorial", "small/16/requests_per_second", [20, 27, 99], "2.7 (2 to 9.9)", True),
        ("requests/s at 16 clients, to the tutorial", "small/16/requests_per_second", [20, 26, 99], "2.6 (2 to 9.9)", False),
        ("p50 at one client, to the limit", "small/1/p50_ms", [1, 16, 16], "1.6 (0.1 to 1.6)", False),
        ("CPU of a one-hour call, compressed, to the tutorial", "hour_gzip/4/cpu_ms", [2, 2.8, 5], "0.28 (0.2 to 0.5)", True),
        ("memory after the load, to the tutorial", "memory/load_mib", [9, 9, 99], "0.9 (0.9 to 9.9)", True),
        ("another org's p99 beside 40 clients of a one-hour call, ms", "neighbour/hour/p99_ms", [9, 41, 70], "41 (9 to 70)", False),
        ("another org's errors beside 15,500 turns", "neighbour/turns/errors", [0, 0, 0], "0", True),
    ],
)  # fmt: skip
def test_a_target_holds_by_the_median_of_the_rounds(
    what: str, figure: str, rounds: list[float], measured: str, holds: bool, results: Results
) -> None:
    made = made_up(results, **{figure: rounds})
    (target,) = (target for target in TARGETS if target.what == what)
    (line,) = (
        line
        for line in report(made, kept()).splitlines()
        if line.startswith(f"| {what} | {target.bound} |")
    )

    assert target.holds(made) is holds
    said = "holds" if holds else f"**missed**: {target.why_missed}"
    assert line.endswith(f"| {measured} | {said} |")


def test_a_page_says_which_python_is_deployed_where_another_one_was_measured(
    results: Results,
) -> None:
    made = made_up(results)
    made["machine"]["python"] = "3.13.9"
    assert "Python 3.13.9, Node.js" in report(made, kept())

    made["machine"]["python"] = "3.11.7"
    assert "Python 3.11.7 (the function is deployed on 3.13), Node.js" in report(made, kept())


def test_the_first_table_answers_the_three_questions(results: Results) -> None:
    ours = {
        "small/16/requests_per_second": [900.0, 1234.0, 2000.0],
        "small/1/p50_ms": [1.0, 2.5, 9.0],
        "neighbour/turns/p99_ms": [20.0, 36.0, 99.0],
    }
    rates = {10: 2.9, 100: 2.1, 1_000: 2.0}
    rows = [row._replace(dollars_million=rates.get(row.rate, 9.9)) for row in kept()]
    head, _, fast, cost, beside, *_ = report(made_up(results, **ours), rows).splitlines()

    assert head == "|  |  |  |"
    assert re.search(
        r"^\| How fast is it\? \| \*\*1,234 requests/s\*\* .* 123\.4 times .* 2\.5 ms \|$", fast
    )
    assert re.search(
        r"^\| What do .*\? \| \*\*\$2\.10\*\* .* 100 .* \$2\.90 at 10, .* \$2\.00 at 1,000", cost
    )
    assert re.search(r"^\| Beside .*\? \| \*\*36 ms\*\* .* \d+ errors \|$", beside)


def test_rounds_are_compared_in_pairs(results: Results) -> None:
    made = made_up(results, **{"cold_start/key_s": [10.0, 30.0, 20.0]})
    made["figures"]["tutorial"]["cold_start/key_s"] = [10.0, 30.0, 40.0]
    (target,) = (target for target in TARGETS if target.figure == "cold_start/key_s")

    assert target.measured(made) == [1.0, 1.0, 0.5]
