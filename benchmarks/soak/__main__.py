"""Hours of editing in minutes: many editors, one shared server, and faults while it is measured.

    python -m benchmarks.soak --minutes 60

Editors type real files key by key, each through a relay of its own to one shared server, some of
them taking back what they overtake, some leaving without a word. Meanwhile processes are killed
and stopped, memory and disks run out, the model raises, and a remote server says nothing.

The last line is JSON: `requests`; `unanswered` after half a minute; `wrong_version`, answers that
do not fit the text that was asked about; `crashes` of the server that nobody asked for;
`worst_stall_ms`, the longest wait outside of faults, with `p99_ms` beside it, and `stalls`, when
those beyond the bar were; `resident_mb` of the server: at the start, once everything is loaded, in
the middle, when all but the first editor have gone, and when that has gone too (at the start and
before it goes it asks in every language and in long files: grammars stay where they are loaded, and
what is kept of the last places is full); `back_seconds`, from the server's death to an engine that
was asked about the text typed meanwhile; `keys_lost`, how often that did not come.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from benchmarks.soak import connect, faults
from benchmarks.soak.editor import (
    ANSWER_SECONDS,
    Editor,
    Request,
    Text,
    fill_memory,
    knows_text,
    type_files,
)
from benchmarks.soak.faults import FAULTS, Ground
from infill_ls.cli.bench.cases import modules
from infill_ls.cli.bench.scores import percentile
from infill_ls.cli.machine import commit, resident_mb, this_machine
from infill_ls.completion.worker import QUIET_SECONDS
from infill_ls.syntax.language import language_id_of

CASES = connect.ROOT / "tests" / "data" / "languages"
SETTLED_SECONDS, SETTLED_MB = 3.0, 1.0  # so long without growing by more
RECOVERY_SECONDS = 2.0  # after a fault, in which a wait is its consequence
LEAST_PAUSE = 6.0  # between two faults
STALL_MS = 400  # the server's deadline for what nobody asked for, and 100: the bar


@dataclass(slots=True)
class Tally:
    """What is counted. `faulty` are spans of time in which a wait has an excuse."""

    requests: list[Request] = field(default_factory=list)
    faulty: list[tuple[float, float]] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    keys_lost: int = 0
    crashes: int = 0
    complaints: list[str] = field(default_factory=list)

    def quiet(self, request: Request) -> bool:
        end = request.answered or request.sent
        return not any(start <= end and request.sent <= over for start, over in self.faulty)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--editors", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="default")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="infill-soak-") as folder:
        result = soak(Path(folder), options)
    print(json.dumps(result))
    return 0


def soak(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    chance = random.Random(options.seed)
    socket = folder / "shared.sock"
    relay, installed = connect.command(socket, options.model), connect.environment(folder)
    tally = Tally()

    def new_editor(
        command: Sequence[str] = relay, environment: Mapping[str, str] = MappingProxyType({})
    ) -> Editor:
        cancels = chance.random() < 0.5
        return Editor(command, {**installed, **environment}, cancels=cancels)

    ground = Ground(folder=folder, new_editor=new_editor)
    sources = files()
    first = new_editor()
    first.start(60.0)
    if not knows_text(first, ground.asked, 60.0):
        raise RuntimeError(f"the server never came up: {first.told}")
    settle_memory(first, ground.server_pid())
    fill_memory(first, sources)
    memory = {"start": resident_mb(ground.server_pid())}
    stop = threading.Event()
    editors = [new_editor() for _ in range(options.editors)]
    threads = []
    for number, editor in enumerate(editors):
        editor.start(60.0)
        seed = options.seed * 1000 + number
        job = (editor, sources, random.Random(seed), stop.is_set)
        threads.append(threading.Thread(target=type_files, args=job, daemon=True))
        threads[-1].start()

    began, until = time.monotonic(), time.monotonic() + 60 * options.minutes
    pause = max(LEAST_PAUSE, 60 * options.minutes / (4 * len(FAULTS)) - 8)
    number = 0
    while time.monotonic() < until:
        time.sleep(min(pause, max(0.0, until - time.monotonic())))
        if time.monotonic() >= until:
            break
        fault = FAULTS[number % len(FAULTS)]
        number += 1
        suffer(fault, ground, first, tally)
        if "middle" not in memory and time.monotonic() - began > 30 * options.minutes:
            memory["middle"] = resident_mb(ground.server_pid())
        say(f"{(time.monotonic() - began) / 60:5.1f} min  {fault.__name__}")
    stop.set()
    for thread in threads:
        thread.join(5.0)
    settle(editors, tally)
    for editor in editors:
        editor.leave()
    fill_memory(first, sources)
    memory.setdefault("middle", resident_mb(ground.server_pid()))
    time.sleep(QUIET_SECONDS + 2)
    memory["first_alone"] = resident_mb(ground.server_pid())
    first.leave()
    time.sleep(QUIET_SECONDS + 2)  # it lingers for longer
    memory["end"] = resident_mb(ground.server_pid())
    return report(tally, memory, options, number)


def settle_memory(editor: Editor, pid: int, timeout: float = 60.0) -> None:
    """Until it grows no more while a file is open: by then all is loaded that is loaded when nobody
    waits."""
    file = Text(f"file:///soak/{id(editor)}/settled.py", "python", "x = 1\n", 6)
    editor.open(file)
    editor.infill(file, invoked=True)
    until = time.monotonic() + timeout
    before, now = 0.0, resident_mb(pid)
    while now is not None and now > before + SETTLED_MB and time.monotonic() < until:
        time.sleep(SETTLED_SECONDS)
        before, now = now, resident_mb(pid)
    editor.close(file)


def suffer(fault: Callable[[Ground], None], ground: Ground, first: Editor, tally: Tally) -> None:
    """One fault, and how long it takes until the server has the text that is typed after it."""
    before, start = ground.server_pid(), time.monotonic()
    try:
        fault(ground)
    except Exception:  # what a fault brings to light is a result
        tally.complaints.append(f"{fault.__name__}: {traceback.format_exc(limit=2)}")
    over = time.monotonic()
    knows = knows_text(first, ground.asked, 10.0)
    back = time.monotonic() - over
    tally.keys_lost += not knows
    if fault is faults.server_killed:
        tally.back.append(back)
    elif ground.server_pid() != before:
        tally.crashes += 1
        tally.complaints.append(f"the server died of {fault.__name__}")
    tally.faulty.append((start, time.monotonic() + RECOVERY_SECONDS))


def settle(editors: Sequence[Editor], tally: Tally) -> None:
    """Waits for the last answers."""
    until = time.monotonic() + ANSWER_SECONDS
    for editor in editors:
        while any(r.answered is None for r in editor.requests.values()):
            if time.monotonic() > until or editor.dead:
                break
            time.sleep(0.05)
        tally.requests += editor.requests.values()
        tally.complaints += editor.told


def report(
    tally: Tally, memory: dict[str, float | None], options: argparse.Namespace, num_faults: int
) -> dict[str, object]:
    asked = tally.requests
    quiet = [r for r in asked if r.answered is not None and tally.quiet(r) and not r.invoked]
    waits = [1e3 * (r.answered - r.sent) for r in quiet if r.answered is not None]
    wrong = [r for r in asked if r.wrong]
    result: dict[str, object] = {
        "requests": len(asked),
        "unanswered": sum(r.answered is None for r in asked),
        "wrong_version": len(wrong),
        "crashes": tally.crashes,
        "worst_stall_ms": round(max(waits, default=0.0), 1),
        "stalls": stalls(quiet, tally),
        "p50_ms": round(percentile(waits, 0.5), 1),
        "p99_ms": round(percentile(waits, 0.99), 1),
        "shown": sum(r.shown for r in asked),
        "resident_mb": {name: value and round(value, 1) for name, value in memory.items()},
        "back_seconds": [round(seconds, 2) for seconds in tally.back],
        "keys_lost": tally.keys_lost,
        "faults": num_faults,
        "minutes": options.minutes,
        "editors": options.editors,
        "wrong": sorted({r.wrong for r in wrong})[:5],
        "complaints": sorted(set(tally.complaints))[:10],
        "commit": commit(),
        "cpu": this_machine().cpu,
    }
    return result


def stalls(quiet: Sequence[Request], tally: Tally) -> list[dict[str, float]]:
    """The longest waits beyond the bar, and how long after the first request and the last fault."""
    first = min((r.sent for r in tally.requests), default=0.0)
    found = [
        (1e3 * (r.answered - r.sent), r.sent)
        for r in quiet
        if r.answered is not None and 1e3 * (r.answered - r.sent) > STALL_MS
    ]
    return [
        {
            "ms": round(ms, 1),
            "minute": round((sent - first) / 60, 2),
            "after_fault_s": round(
                sent - max((end for _, end in tally.faulty if end <= sent), default=first), 1
            ),
        }
        for ms, sent in sorted(found, reverse=True)[:10]
    ]


def files() -> list[tuple[str, str, str]]:
    """Names, language ids and texts: the standard library, and a file of every language."""
    found = [(name.replace("/", "_"), "python", text) for name, text in modules().items()]
    for path in sorted(CASES.iterdir()):
        text = path.read_text(encoding="utf-8")
        if text.isascii():  # positions are counted in UTF-16, which this keeps simple
            found.append((path.name, language_id_of(path.name), text))
    return [(name, language, text) for name, language, text in found if text.isascii()]


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
