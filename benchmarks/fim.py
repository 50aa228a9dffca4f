"""How long an answer takes over HTTP (`--fim`), beside the language server's for the same hole.

    python -m benchmarks.fim [--places N] [--model NAME] [--judge JUDGE] [--deadline-ms MS]

Two servers with the same model, one on stdio and one over HTTP, are asked at the same places in the
standard library with 6,000 characters of context: once where the cursor comes to rest, which is not
counted, and then after every character that is typed. Who is asked first changes with every
character, so that whatever else the machine does falls on both. HTTP clients connect anew for every
request, as curl does. The last line is JSON.
"""

import argparse
import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from typing import Any

from benchmarks import report
from benchmarks.progress import counted
from benchmarks.report import Goal
from infill_engine import EngineConfig, InfillError
from infill_ls.cli.bench.cases import Case, python_cases
from infill_ls.cli.bench.latency import PREFIX_CHARS, SUFFIX_CHARS, arguments, long_enough
from infill_ls.cli.bench.scores import percentile
from infill_ls.cli.bench.wire import ROOT, SECONDS, ServerError, ServerProcess
from infill_ls.cli.machine import busy_cpus, commit, this_machine
from infill_ls.fim.service import LOADING
from infill_ls.settings import Settings

PLACES, TYPED = 40, 3  # characters at each
KEY_SECONDS = 0.1  # between characters; REST_SECONDS for what servers do while nobody waits
REST_SECONDS = 0.3
BOUND_MS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """A place whose line ends with `typed`, which is typed there bit by bit."""

    uri: str
    before: str
    typed: str
    after: str

    def position(self, num_typed: int) -> tuple[int, int]:
        """Line and character, in UTF-16 units."""
        before = self.before + self.typed[:num_typed]
        line = before.rpartition("\n")[2]
        return before.count("\n"), len(line.encode("utf-16-le")) // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Of one typed character, from the request to the answer; `same` text or none at all."""

    lsp_ms: float
    fim_ms: float
    same: bool


def holes(cases: Sequence[Case], count: int) -> list[Hole]:
    """At the same distance from both ends of their text."""
    return [
        Hole(
            uri=f"file:///bench/{at}.py",
            before=case.prefix[-PREFIX_CHARS:],
            typed=case.reference[:TYPED],
            after=case.suffix[:SUFFIX_CHARS],
        )
        for at, case in enumerate(long_enough(cases)[:count])
    ]


class Editor:
    """What an editor says to a language server."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server

    def rest(self, hole: Hole) -> None:
        self._server.open(hole.uri, "python", hole.before + hole.after)
        self.ask(hole, 0)

    def type(self, hole: Hole, num_typed: int) -> None:
        at, version = hole.position(num_typed - 1), num_typed + 1
        self._server.insert(hole.uri, version, *at, hole.typed[num_typed - 1])

    def ask(self, hole: Hole, num_typed: int) -> str:
        items = self._server.complete(hole.uri, *hole.position(num_typed), invoked=False)
        return str(items[0]["insertText"]) if items else ""


class HttpClient:
    """What a plugin says to the endpoint: all of it with every request."""

    def __init__(self, port: int, deadline_ms: int) -> None:
        self.port = port
        self._deadline_ms = deadline_ms

    def rest(self, hole: Hole) -> None:
        self.ask(hole, 0)

    def type(self, hole: Hole, num_typed: int) -> None:
        pass

    def ask(self, hole: Hole, num_typed: int) -> str:
        body = {
            "input_prefix": hole.before + hole.typed[:num_typed],
            "input_suffix": hole.after,
            "input_extra": [{"filename": "bench.py", "text": hole.before}],
            "t_max_predict_ms": self._deadline_ms,
        }
        return str(self._json("/infill", body)["content"])

    def loaded(self) -> None:
        given_up = time.monotonic() + SECONDS
        while (health := self._json("/health")).get("status") != "ok":
            if not (why := health["error"]["message"]).startswith(LOADING):
                raise ServerError(why)
            if time.monotonic() > given_up:
                raise ServerError("The model was not loaded in time.")
            time.sleep(0.1)

    def _json(self, path: str, body: Any = None) -> Any:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        with contextlib.closing(connection):
            if body is None:
                connection.request("GET", path)
            else:
                connection.request("POST", path, json.dumps(body))
            return json.loads(connection.getresponse().read())


@contextlib.contextmanager
def fim_server(config: EngineConfig, deadline_ms: int) -> Iterator[HttpClient]:
    path = os.pathsep.join(filter(None, [str(ROOT), *sys.path]))
    process = subprocess.Popen(
        [sys.executable, "-m", "infill_ls", *arguments(config), "--fim", "127.0.0.1:0"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    try:
        assert process.stderr, "it is a pipe"
        said = process.stderr.readline()
        if not (found := re.search(r":(\d+)$", said)):
            raise ServerError(f"the server has ended. It said: {said}")
        client = HttpClient(int(found[1]), deadline_ms)
        client.loaded()
        yield client
    finally:
        process.terminate()
        process.communicate()


def samples(config: EngineConfig, places: Sequence[Hole], deadline_ms: int) -> list[Sample]:
    found = []
    tick = counted("places", len(places))
    started = ServerProcess(arguments(config)), fim_server(config, deadline_ms)
    with started[0] as server, started[1] as http:
        server.initialize({"deadlineMs": deadline_ms})
        editor = Editor(server)
        _loaded(server, places)
        for hole in places:
            for client in (editor, http):
                client.rest(hole)
            time.sleep(REST_SECONDS)
            for num_typed in range(1, TYPED + 1):
                time.sleep(KEY_SECONDS)
                clients = (editor, http) if len(found) % 2 else (http, editor)
                found.append(_sample(clients, hole, num_typed))
            tick()
    return found


def _loaded(server: ServerProcess, places: Sequence[Hole]) -> None:
    """Until there was a text, which there is not at every place."""
    given_up = time.monotonic() + SECONDS
    for number, hole in enumerate(itertools.cycle(places)):
        uri = f"file:///bench/first{number % len(places)}.py"
        if number < len(places):
            server.open(uri, "python", hole.before + hole.after)
        if server.complete(uri, *hole.position(0), invoked=True):
            return
        if time.monotonic() > given_up:
            raise ServerError("There never was an answer.")
        time.sleep(0.1)


def _sample(clients: Sequence[Editor | HttpClient], hole: Hole, num_typed: int) -> Sample:
    ms: dict[type, float] = {}
    texts: dict[type, str] = {}
    for client in clients:
        started = time.perf_counter()
        client.type(hole, num_typed)
        texts[type(client)] = client.ask(hole, num_typed)
        ms[type(client)] = (time.perf_counter() - started) * 1e3
    return Sample(lsp_ms=ms[Editor], fim_ms=ms[HttpClient], same=texts[Editor] == texts[HttpClient])


def measure(config: EngineConfig, count: int, deadline_ms: int) -> dict[str, Any]:
    machine, revision, busy = this_machine(), commit(), busy_cpus()
    places = holes(python_cases(60 * count), count)
    found = samples(config, places, deadline_ms)
    lsp, fim = [each.lsp_ms for each in found], [each.fim_ms for each in found]
    return {
        "benchmark": "fim",
        "machine": asdict(machine),
        "busy_cpus": busy,
        "commit": revision,
        "deadline_ms": deadline_ms,
        "places": len(places),
        "keys": len(found),
        "same_text": sum(each.same for each in found) / len(found),
        "lsp": {"p50": percentile(lsp, 0.5), "p95": percentile(lsp, 0.95)},
        "fim": {"p50": percentile(fim, 0.5), "p95": percentile(fim, 0.95)},
        "difference_p50": percentile([f - m for f, m in zip(fim, lsp, strict=True)], 0.5),
    }


def reached(result: dict[str, Any]) -> list[Goal]:
    return [
        Goal(
            name="over HTTP more than by LSP for the same hole, p50",
            value=result["difference_p50"],
            bound=BOUND_MS,
            at_most=True,
            unit="ms",
        )
    ]


def show(result: dict[str, Any]) -> None:
    print(f"{result['keys']} characters typed at {result['places']} places")
    if result["busy_cpus"] > 0.5:
        print(f"Other programs kept {result['busy_cpus']:.1f} CPUs busy: times are not the best.")
    print(f"{'from a typed character to the answer':<44}{'p50 ms':>9}{'p95 ms':>9}")
    for name, of in (("language server, stdio", "lsp"), ("over HTTP, a connection each", "fim")):
        figures = (report.number(result[of][share], 1) for share in ("p50", "p95"))
        print(f"  {name:<42}" + "".join(f"{figure:>9}" for figure in figures))
    print(f"  {'HTTP more, of each pair':<42}{report.number(result['difference_p50'], 1):>9}")
    print(f"the same text, or none: {report.percent(result['same_text'])} %\n")


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fim", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--model", default="default")
    parser.add_argument("--judge", default="auto")
    parser.add_argument("--places", type=int, default=PLACES, help=f"default {PLACES}")
    parser.add_argument(
        "--deadline-ms",
        type=int,
        default=Settings().deadline_ms,
        help="of both, for a busy machine",
    )
    options = parser.parse_args(given)
    if options.places < 1:
        raise SystemExit(f"--places {options.places} must be at least 1")
    try:
        config = EngineConfig(model=options.model, judge=options.judge)
        result = measure(config, options.places, options.deadline_ms)
    except (InfillError, ValueError) as error:
        raise SystemExit(str(error)) from None
    report.conclude(result, show, reached(result))


if __name__ == "__main__":
    main()
