"""What is offered as the next edit beside what people edited next, through the real server.

    python -m benchmarks.next_edit [--limit N] [--cache DIR] [--judge JUDGE ...] [--deadline-ms MS]
    python -m benchmarks.next_edit --fit [--cache DIR]

A file of the older release is opened, the first hunk of what differs is made as the user's edit,
and the next edit is asked for. It is right where it makes one place exactly what the newer release
has there: a later hunk, or whole lines of one. Files that differ in one hunk alone say how often
something is offered where nothing is due. The last line is JSON.

`--fit` fits how likely a proposal of each rule is right, on other packages.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.next_edit.fit import CALIBRATION, fitted
from benchmarks.next_edit.pairs import Pair, pairs
from benchmarks.progress import counted, say
from benchmarks.report import Goal
from infill_engine import EngineConfig, InfillError
from infill_ls.cli.bench.latency import arguments
from infill_ls.cli.bench.scores import percentile
from infill_ls.cli.bench.wire import SECONDS, ServerError, ServerProcess
from infill_ls.cli.machine import busy_cpus, commit, this_machine
from infill_ls.documents import Document
from infill_ls.settings import Settings

PAIRS = 300
RIGHT, WRONG, BOUND_MS = 25.0, 10.0, 300.0
METHOD = "textDocument/copilotInlineEdit"
Place = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Of one pair: whether something was offered, and right, and the milliseconds of the answer, of
    which the server computed `cpu_ms`; `lines` says that each of its hunks is one line in either
    version, or none."""

    offered: bool
    right: bool
    ms: float
    cpu_ms: float
    lines: bool


class Editor:
    """What an editor says to a language server."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._number = 0

    def sample(self, pair: Pair) -> Sample:
        """The first hunk is made, and what is offered then looked at."""
        self._number += 1
        uri = f"file:///bench/{self._number}/{pair.name.rpartition('/')[2]}"
        self._server.open(uri, pair.language_id, pair.old)
        change = {"range": _range(*edit_range(pair)), "text": "".join(pair.hunks[0].lines)}
        document = {"uri": uri, "version": 2}
        about = {"textDocument": document, "contentChanges": [change]}
        self._server.notify("textDocument/didChange", about)
        at = {"line": pair.cursor_line, "character": 0}
        started, before = time.perf_counter(), cpu_ms(self._server.pid)
        answer = self._server.request(METHOD, {"textDocument": document, "position": at})
        ms, computed = (time.perf_counter() - started) * 1e3, cpu_ms(self._server.pid) - before
        self._server.close(uri)
        edit = next(iter(answer["edits"]), None)
        return Sample(
            offered=edit is not None,
            right=edit is not None and pair.right(made(pair.edited, edit)),
            ms=ms,
            cpu_ms=computed,
            lines=all(hunk.end - hunk.start <= 1 >= len(hunk.lines) for hunk in pair.hunks),
        )


def cpu_ms(pid: int) -> float:
    """What a process has computed so far; NaN where the system does not tell."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    found = [int(each.read_text().split()[0]) for each in threads]
    return sum(found) / 1e6 if found else float("nan")


def edit_range(pair: Pair) -> tuple[Place, Place]:
    first, lines = pair.hunks[0], pair.old.splitlines(keepends=True)
    if first.end == len(lines) and lines and not lines[-1].endswith("\n"):
        return (first.start, 0), (first.end - 1, len(lines[-1].encode("utf-16-le")) // 2)
    return (first.start, 0), (first.end, 0)


def _range(start: Place, end: Place) -> dict[str, Any]:
    return {
        name: {"line": line, "character": character}
        for name, (line, character) in (("start", start), ("end", end))
    }


def made(text: str, edit: dict[str, Any]) -> str:
    """The text with an edit of the server's made."""
    document = Document(uri="", version=0, language_id="", text=text)
    ends = (edit["range"][name] for name in ("start", "end"))
    start, end = (document.offset_at(at["line"], at["character"], "utf-16") for at in ends)
    return str(text[:start] + edit["text"] + text[end:])


def samples(config: EngineConfig, given: Sequence[Pair], deadline_ms: int) -> list[Sample]:
    tick, found = counted("pairs", len(given)), []
    with ServerProcess(arguments(config)) as server:
        server.initialize({"deadlineMs": deadline_ms})
        _loaded(server)
        editor = Editor(server)
        for pair in given:
            found.append(editor.sample(pair))
            tick()
    return found


def _loaded(server: ServerProcess) -> None:
    """Until the model says something."""
    uri, given_up = "file:///bench/first.py", time.monotonic() + SECONDS
    server.open(uri, "python", "import os\n\npath = os.path.join(")
    while not server.complete(uri, 2, 20, invoked=True):
        if time.monotonic() > given_up:
            raise ServerError("There never was an answer.")
        time.sleep(0.1)


def figures(several: Sequence[Sample], single: Sequence[Sample]) -> dict[str, Any]:
    """Shares of the pairs."""
    ms = [each.ms for each in (*several, *single)]
    of_lines = [each for each in several if each.lines]
    return {
        "right": _share(several, "right"),
        "wrong": _share(several, "offered") - _share(several, "right"),
        "one_line_hunks": {
            "pairs": len(of_lines),
            "right": _share(of_lines, "right"),
            "wrong": _share(of_lines, "offered") - _share(of_lines, "right"),
        },
        "nothing_due": {"pairs": len(single), "nothing_offered": 1 - _share(single, "offered")},
        "p50": percentile(ms, 0.5),
        "p95": percentile(ms, 0.95),
        "cpu_p95": percentile([each.cpu_ms for each in (*several, *single)], 0.95),
    }


def _share(found: Sequence[Sample], name: str) -> float:
    return sum(getattr(each, name) for each in found) / max(len(found), 1)


def measure(cache: Path, judges: Sequence[str], limit: int, deadline_ms: int) -> dict[str, Any]:
    machine, revision, busy = this_machine(), commit(), busy_cpus()
    several, single = pairs(cache, limit, say)
    if not several:
        raise InfillError("no package could be fetched; pip and npm say why when they are asked")
    result: dict[str, Any] = {
        "benchmark": "next_edit",
        "machine": asdict(machine),
        "busy_cpus": busy,
        "commit": revision,
        "deadline_ms": deadline_ms,
        "pairs": len(several),
        "judge": {},
    }
    for judge in judges:
        found = samples(EngineConfig(judge=judge), [*several, *single], deadline_ms)
        result["judge"][judge] = figures(found[: len(several)], found[len(several) :])
    return result


def reached(result: dict[str, Any]) -> list[Goal]:
    judge, found = next(iter(result["judge"].items()))
    return [
        Goal(
            name=f"second edits offered rightly, judge {judge}",
            value=100 * found["right"],
            bound=RIGHT,
            unit="%",
        ),
        Goal(
            name="wrong ones of 100 first edits",
            value=100 * found["wrong"],
            bound=WRONG,
            at_most=True,
        ),
        Goal(name="an answer, p95", value=found["p95"], bound=BOUND_MS, at_most=True, unit="ms"),
    ]


def show(result: dict[str, Any]) -> None:
    print(f"{result['pairs']} files with two to eight hunks between two releases")
    if result["busy_cpus"] > 0.5:
        print(f"Other programs kept {result['busy_cpus']:.1f} CPUs busy: times are not the best.")
    heads = ("right %", "wrong %", "p50 ms", "p95 ms", "p95 CPU")
    print(f"{'':<44}" + "".join(f"{head:>9}" for head in heads))
    for judge, found in result["judge"].items():
        shares = (report.percent(found[name]) for name in ("right", "wrong"))
        times = (report.number(found[name], 1) for name in ("p50", "p95", "cpu_p95"))
        print(f"  {'judge ' + judge:<42}" + "".join(f"{each:>9}" for each in (*shares, *times)))
        lines = found["one_line_hunks"]
        shares = (report.percent(lines[name]) for name in ("right", "wrong"))
        name = f"  of them {lines['pairs']} with hunks of one line"
        print(f"  {name:<42}" + "".join(f"{each:>9}" for each in shares))
        due = found["nothing_due"]
        share = report.percent(due["nothing_offered"])
        print(f"    nothing offered in {share} % of {due['pairs']} files with one hunk")
    print()


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.next_edit", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--limit", type=int, default=PAIRS, help=f"pairs, default {PAIRS}")
    parser.add_argument("--cache", type=Path, help="a folder that keeps what is fetched")
    parser.add_argument("--judge", nargs="+", default=["auto"], help='"off": the rules alone')
    parser.add_argument("--deadline-ms", type=int, default=Settings().deadline_ms)
    parser.add_argument("--fit", action="store_true", help=f"write {CALIBRATION.name}")
    options = parser.parse_args(given)
    if options.limit < 1:
        raise SystemExit(f"--limit {options.limit} must be at least 1")
    cache = options.cache or Path(tempfile.gettempdir()) / "infill-next-edit"
    if options.fit:
        text = json.dumps(fitted(cache, say), indent=1)
        CALIBRATION.write_text(text + "\n", encoding="utf-8")
        print(text, file=sys.stderr)
        return
    try:
        result = measure(cache, options.judge, options.limit, options.deadline_ms)
    except (InfillError, ValueError) as error:
        raise SystemExit(str(error)) from None
    report.conclude(result, show, reached(result))


if __name__ == "__main__":
    main()
