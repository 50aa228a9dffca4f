"""What a large workspace costs: memory, and the time of answers while it is read.

    python -m benchmarks.workspace [--files N] [--characters N] [--answers N]

The standard library is cut into so many files of at most so many characters, a folder each hundred.
A server that has answered with its model and judge is told of the folder that they are in. Before
that, while it reads them, again and again, and once it has, it is asked what it answers without the
model, in a comment; what reading adds is the difference. It is asked no faster than a burst of
requests, which is waited for on purpose. Once all is read the model is asked, so that files are
chosen and looked through.
The last line is JSON.
"""

import argparse
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.progress import say
from benchmarks.report import Goal
from benchmarks.soak.editor import Text
from benchmarks.typing.systems import said_of
from infill_engine import InfillError
from infill_ls.cli.bench.scores import percentile
from infill_ls.cli.bench.wire import ServerError, ServerProcess
from infill_ls.cli.machine import busy_cpus, commit, resident_mb, this_machine
from infill_ls.completion.requests import BURST_SECONDS

FILES, CHARACTERS, ANSWERS = 5_000, 6_000, 300
FOLDER = 100  # files
SECONDS, EACH = 120.0, 2 * BURST_SECONDS  # for all to be read; from one answer to the next
MORE_MB, LATER_MS = 60, 5
HERE = "import os\n\n\ndef joined(parts):\n    # how they are joined: \n    return "


def pieces(count: int, most: int) -> Iterator[str]:
    """So many files, of the standard library's Python text in order, cut at line ends."""
    left = count
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if "site-packages" in path.parts:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        while text.strip() and left:
            cut = text.rfind("\n", 0, most) + 1 or most
            yield text[:cut]
            text, left = text[cut:], left - 1
    if left:
        raise ServerError(f"the standard library makes {count - left} files of {most} characters")


def written(folder: Path, count: int, most: int) -> int:
    """How many characters there are."""
    size = 0
    for number, text in enumerate(pieces(count, most)):
        path = folder / f"part{number // FOLDER}" / f"piece{number}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        size += len(text)
    return size


class Asker:
    """Asks at one place, as often as wanted."""

    def __init__(self, server: ServerProcess, folder: Path) -> None:
        self._server = server
        self._text = Text((folder / "here.py").as_uri(), "python", HERE, len(HERE))
        server.open(self._text.uri, "python", HERE)

    def by_the_model(self) -> bool:
        """Asks at the end, with one character more each time; whether a judge has looked."""
        text = self._text
        self._server.logged.clear()
        self._server.complete(text.uri, *text.position(), invoked=True)
        time.sleep(1.0)  # what it says ahead, and the judge that is loaded then
        text.version += 1
        self._server.insert(text.uri, text.version, *text.position(), "x")
        text.text, text.cursor = text.text + "x", text.cursor + 1
        return said_of(self._server.logged)[1]

    def ms(self) -> float:
        """In the comment, where no model is asked."""
        at = self._text.text.index("joined: ") + len("joined: ")
        line = self._text.text.count("\n", 0, at)
        character = at - self._text.text.rfind("\n", 0, at) - 1
        started = time.perf_counter()
        self._server.complete(self._text.uri, line, character, invoked=False)
        return (time.perf_counter() - started) * 1e3


def measure(count: int, most: int, answers: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="infill-workspace-") as name, ServerProcess() as server:
        folder = Path(name).resolve() / "files"
        folder.mkdir()
        size = written(folder, count, most)
        say(f"{count} files, {size / 1e6:.1f} MB")
        server.initialize({"deadlineInvokedMs": 60_000}, workspace_folders=True)
        asker, until = Asker(server, folder), time.monotonic() + SECONDS
        while not asker.by_the_model():
            if time.monotonic() > until:
                raise ServerError(f"no judge was loaded within {SECONDS:.0f} s")
        alone = [asker.ms() for _ in _paced(answers)]
        before, read = _memory(server), 0.0
        while_reading, seconds = list[float](), 0.0
        while len(while_reading) < answers:
            if seconds:  # once is too short a time
                server.change_folders([], [folder.as_uri()])
                time.sleep(1.0)
            started = time.monotonic()
            while_reading += _asked_while_reading(server, asker, folder)
            seconds = seconds or time.monotonic() - started
            read = read or _memory(server)
        asker.by_the_model()
        asker.by_the_model()  # by then files are chosen
        chosen = _memory(server)
        after = [asker.ms() for _ in _paced(answers)]
    quiet = [*alone, *after]
    return {
        "benchmark": "workspace",
        "machine": asdict(this_machine()),
        "busy_cpus": busy_cpus(),
        "commit": commit(),
        "files": count,
        "characters": size,
        "seconds": seconds,
        "resident_mb": {"before": before, "read": read, "chosen": chosen},
        "ms": {
            name: {"p50": percentile(of, 0.5), "p99": percentile(of, 0.99), "answers": len(of)}
            for name, of in (("reading", while_reading), ("quiet", quiet))
        },
    }


def _asked_while_reading(server: ServerProcess, asker: Asker, folder: Path) -> list[float]:
    """Milliseconds of answers from when the server is told of the folder until it has read it."""
    server.logged.clear()
    server.change_folders([folder.as_uri()], [])
    until, found = time.monotonic() + SECONDS, list[float]()
    for _ in _paced():
        found.append(asker.ms())
        if said := next((each for each in [*server.logged] if each.startswith("workspace: ")), ""):
            say(said)
            return found
        if time.monotonic() > until:
            break
    raise ServerError(f"the workspace was not read within {SECONDS:.0f} s")


def _paced(most: int | None = None) -> Iterator[int]:
    number = 0
    while most is None or number < most:
        yield number
        number += 1
        time.sleep(EACH)


def _memory(server: ServerProcess) -> float:
    time.sleep(1.0)
    return resident_mb(server.pid) or float("nan")


def reached(result: dict[str, Any]) -> list[Goal]:
    memory, ms = result["resident_mb"], result["ms"]
    more = max(memory["read"], memory["chosen"]) - memory["before"]
    later = [ms["reading"][share] - ms["quiet"][share] for share in ("p50", "p99")]
    names = ("memory for the workspace", "answers later while it is read, p50", "the same, p99")
    return [
        Goal(name=names[0], value=more, bound=MORE_MB, at_most=True, unit="MB"),
        *(
            Goal(name=name, value=value, bound=LATER_MS, at_most=True, unit="ms")
            for name, value in zip(names[1:], later, strict=True)
        ),
    ]


def show(result: dict[str, Any]) -> None:
    memory = result["resident_mb"]
    print(
        f"{result['files']} files, {result['characters'] / 1e6:.1f} MB, read in "
        f"{result['seconds']:.1f} s; resident {memory['before']:.0f} MB before, "
        f"{memory['read']:.0f} MB then, {memory['chosen']:.0f} MB with files chosen"
    )
    if result["busy_cpus"] > 0.5:
        print(f"Other programs kept {result['busy_cpus']:.1f} CPUs busy: times are not the best.")
    for name, of in result["ms"].items():
        times = f"p50 {of['p50']:.1f}, p99 {of['p99']:.1f} ms"
        print(f"  {of['answers']:>5} answers, {name}: {times}")
    print()


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.workspace", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--files", type=int, default=FILES, help=f"default {FILES}")
    parser.add_argument("--characters", type=int, default=CHARACTERS, help="of a file, at most")
    parser.add_argument("--answers", type=int, default=ANSWERS, help="while nothing is read")
    options = parser.parse_args(given)
    for name in ("files", "characters", "answers"):
        if getattr(options, name) < 1:
            raise SystemExit(f"--{name} {getattr(options, name)} must be at least 1")
    try:
        result = measure(options.files, options.characters, options.answers)
    except InfillError as error:
        raise SystemExit(str(error)) from None
    report.conclude(result, show, reached(result))


if __name__ == "__main__":
    main()
