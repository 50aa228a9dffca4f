"""What is offered as the next edit beside what people edited next, through the real server.

    python -m benchmarks.next_edit [--limit N] [--cache DIR] [--judge JUDGE ...] [--deadline-ms MS]
    python -m benchmarks.next_edit --fit [--cache DIR]

A file of the older release is opened, the first hunk of what differs is made as the user's edit,
and the next edit is asked for. It is right where it makes one place exactly what the newer release
has there: a later hunk, or whole lines of one. Files that differ in one hunk alone say how often
something is offered where nothing is due.

That is done twice: with the file alone, and as somebody goes through the files of a release, by
their paths: those before it that differ a little, measured or not, are open, and all their hunks
were made. Every pair of releases has a server of its own. There it is asked for as well before the
first hunk, when the file was just opened: it is right where it makes any of them, and in files that
are the same in both releases nothing is due. The last line is JSON.

`--fit` fits how likely a proposal of each rule is right, on the packages of `packages.txt`. It
fetches some 900 archives, and takes a quarter of an hour once they are there.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.next_edit.fit import CALIBRATION, fitted
from benchmarks.next_edit.pairs import Pair, applied, by_release, pairs
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
ALONE, IN_TURN, OPENED = "alone", "in_turn", "opened"
JUDGED = re.compile(r"\bjudge (?!0\.0\b)\d")  # in the server's log, ms of an answer
HOW = {ALONE: "alone", IN_TURN: "in its turn", OPENED: "when it is opened"}
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
        self._number, self._uri = 0, ""

    def open(self, pair: Pair) -> Sample:
        """The file is opened, and what is offered then looked at. It stays open."""
        self._number += 1
        self._uri = f"file:///bench/{self._number}/{pair.name.rpartition('/')[2]}"
        self._server.open(self._uri, pair.language_id, pair.old)
        return self._asked(pair, 1, 0, pair.old, pair.begun)

    def sample(self, pair: Pair) -> Sample:
        """Of the file that is open, the first hunk is made, and what is offered then looked at."""
        self._edit(pair, 1)
        return self._asked(pair, 2, pair.cursor_line, pair.edited, pair.right)

    def _asked(
        self, pair: Pair, version: int, line: int, text: str, right: Callable[[str], bool]
    ) -> Sample:
        document = {"uri": self._uri, "version": version}
        at = {"line": line, "character": 0}
        started, before = time.perf_counter(), cpu_ms(self._server.pid)
        answer = self._server.request(METHOD, {"textDocument": document, "position": at})
        ms, computed = (time.perf_counter() - started) * 1e3, cpu_ms(self._server.pid) - before
        edit = next(iter(answer["edits"]), None)
        return Sample(
            offered=edit is not None,
            right=edit is not None and right(made(text, edit)),
            ms=ms,
            cpu_ms=computed,
            lines=all(hunk.end - hunk.start <= 1 >= len(hunk.lines) for hunk in pair.hunks),
        )

    def close(self) -> None:
        self._server.close(self._uri)

    def make_the_others(self, pair: Pair) -> None:
        """The other hunks of the file, as they stand."""
        for number in range(2, len(pair.hunks) + 1):
            self._edit(pair, number)

    def _edit(self, pair: Pair, number: int) -> None:
        """Makes one hunk, counted from 1."""
        about = {"uri": self._uri, "version": number + 1}
        start, end = edit_range(pair, number)
        change = {"range": _range(start, end), "text": "".join(pair.hunks[number - 1].lines)}
        changes = {"textDocument": about, "contentChanges": [change]}
        self._server.notify("textDocument/didChange", changes)


def cpu_ms(pid: int) -> float:
    """What a process has computed so far; NaN where the system does not tell."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    found = [int(each.read_text().split()[0]) for each in threads]
    return sum(found) / 1e6 if found else float("nan")


def edit_range(pair: Pair, number: int) -> tuple[Place, Place]:
    """Of a hunk, counted from 1, in the text with those before it."""
    hunk = pair.hunks[number - 1]
    before = applied(pair.old, pair.hunks[: number - 1])
    moved = before.count("\n") - pair.old.count("\n")
    start, end, lines = hunk.start + moved, hunk.end + moved, before.splitlines(keepends=True)
    if end == len(lines) and lines and not lines[-1].endswith("\n") and start < end:
        return (start, 0), (end - 1, len(lines[-1].encode("utf-16-le")) // 2)
    return (start, 0), (end, 0)


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


def alone(config: EngineConfig, given: Sequence[Pair], deadline_ms: int) -> list[Sample]:
    tick, found = counted("files", len(given)), []
    with ServerProcess(arguments(config)) as server:
        editor = _editor(server, config, deadline_ms)
        for pair in given:
            editor.open(pair)
            found.append(editor.sample(pair))
            editor.close()
            tick()
    return found


def in_turn(
    config: EngineConfig, given: Sequence[Pair], every: Sequence[Pair], deadline_ms: int
) -> tuple[list[Sample], list[Sample]]:
    """Those that are `given`, in the midst of `every`: when they are opened, and then. Those that
    are the same are opened alone."""
    opened, found = dict[str, Sample](), dict[str, Sample]()
    measured = {pair.name for pair in given}
    tick = counted("files in their turn", len(given))
    for files in by_release(every).values():
        last = max((at for at, pair in enumerate(files) if pair.name in measured), default=-1)
        if last < 0:
            continue
        with ServerProcess(arguments(config)) as server:
            editor = _editor(server, config, deadline_ms)
            for pair in files[: last + 1]:
                opened[pair.name] = editor.open(pair)
                if pair.hunks:
                    found[pair.name] = editor.sample(pair)
                    editor.make_the_others(pair)
                else:
                    editor.close()
                if pair.name in measured:
                    tick()
    both = [pair.name for pair in given]
    return [opened[name] for name in both], [found[name] for name in both if name in found]


def _editor(server: ServerProcess, config: EngineConfig, deadline_ms: int) -> Editor:
    """Once the model says something, and the judge has its say in it."""
    server.initialize({"deadlineMs": deadline_ms})
    uri, started = "file:///bench/first.py", time.monotonic()
    server.open(uri, "python", "import os\n\npath = os.path.join(")
    while not server.complete(uri, 2, 20, invoked=True):
        if time.monotonic() - started > SECONDS:
            raise ServerError("There never was an answer.")
        time.sleep(0.1)
    while config.judge != "off" and not any(map(JUDGED.search, server.logged)):
        if time.monotonic() - started > SECONDS:
            raise ServerError("There never was a judge.")
        server.complete(uri, 2, 20, invoked=True)
        time.sleep(0.1)
    server.close(uri)
    return Editor(server)


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
    several, single, same = pairs(cache, limit, say)
    others = pairs(cache, 10_000, lambda _: None)
    every = [*others[0], *others[1], *same]
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
        config, given = EngineConfig(judge=judge), [*several, *single]
        by_itself = alone(config, given, deadline_ms)
        opened, in_its_turn = in_turn(config, [*given, *same], every, deadline_ms)
        result["judge"][judge] = {
            ALONE: figures(by_itself[: len(several)], by_itself[len(several) :]),
            IN_TURN: figures(in_its_turn[: len(several)], in_its_turn[len(several) :]),
            OPENED: figures(opened[: len(given)], opened[len(given) :]),
        }
    return result


def reached(result: dict[str, Any]) -> list[Goal]:
    judge, both = next(iter(result["judge"].items()))
    found = both[IN_TURN]
    return [
        Goal(
            name=f"second edits offered rightly, a file in its turn, judge {judge}",
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
    for judge, both in result["judge"].items():
        for how, found in both.items():
            _show(f"judge {judge}, a file {HOW[how]}", found)
    print()


def _show(name: str, found: dict[str, Any]) -> None:
    shares = (report.percent(found[each]) for each in ("right", "wrong"))
    times = (report.number(found[each], 1) for each in ("p50", "p95", "cpu_p95"))
    print(f"  {name:<42}" + "".join(f"{each:>9}" for each in (*shares, *times)))
    lines = found["one_line_hunks"]
    shares = (report.percent(lines[each]) for each in ("right", "wrong"))
    name = f"  of them {lines['pairs']} with hunks of one line"
    print(f"  {name:<42}" + "".join(f"{each:>9}" for each in shares))
    due = found["nothing_due"]
    share = report.percent(due["nothing_offered"])
    print(f"    nothing offered in {share} % of {due['pairs']} files where nothing is due")


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
