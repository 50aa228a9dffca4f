"""What the doctor found, as a page for people. Finds out nothing itself."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.text import Text

from infill_engine import EngineInfo, Probe
from infill_ls import __version__
from infill_ls.cli.characters import visible
from infill_ls.cli.doctor import Findings, Speed
from infill_ls.cli.machine import Machine, counted, version_of
from infill_ls.cli.view import DIM, WARN

# A label, empty where the line goes on from the one above, and what there is to say.
Row = tuple[str, str]


def report(findings: Findings) -> Group:
    """The facts, what was measured, and the advice."""
    blocks = [_machine_rows(findings.machine)]
    if findings.server:
        blocks.append(_server_rows(findings.server))
    elif findings.engine:
        blocks.append(_model_rows(findings.engine))
    if findings.engine:
        blocks[-1] += _limit_rows(findings.engine)
    if findings.speed:
        blocks.append(_speed_rows(findings.speed, on_server=findings.server is not None))
    return Group(Text(), *map(_block, blocks), _advice(findings))


@dataclass(frozen=True, slots=True)
class Rows:
    """Each label with what there is to say beside it; nothing is filled up with blanks."""

    rows: Sequence[Row]
    width: int  # of labels
    style: str
    gap: str = "  "

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.max_width - self.width - len(self.gap) - 2
        for label, value in self.rows:
            head = Text.assemble("  ", (label.rjust(self.width), self.style), self.gap)
            for line in broken(visible(value), room) or [""]:
                said = Text.assemble(head, line)
                said.rstrip()
                yield said
                head = Text(" " * len(head))


def broken(text: str, width: int) -> list[str]:
    """In lines; within a path behind a slash alone, as long as that fits."""
    line, lines = "", list[str]()
    for part in re.findall(r"[^\s/\\]*[\s/\\]*", text):
        if line and cell_len((line + part).rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += part
    return [each for whole in [*lines, line.rstrip()] for each in chop_cells(whole, max(width, 1))]


def _block(rows: list[Row]) -> Group:
    return Group(Rows(rows, max(9, *(len(label) for label, _ in rows)), DIM), Text())


def _advice(findings: Findings) -> Rows:
    marks = ("✗" if sentence == findings.model_error else "›" for sentence in findings.advice)
    return Rows([*zip(marks, findings.advice, strict=True)], 1, WARN, " ")


def _machine_rows(machine: Machine) -> list[Row]:
    memory = f", {machine.memory_mb / 1024:.0f} GB" if machine.memory_mb else ""
    extras = [(name, version_of(name)) for name in ("transformers", "triton")]
    versions = "".join(f", {name} {version}" for name, version in extras if version)
    return [
        ("infill-ls", f"{__version__}, Python {machine.python}"),
        ("torch", f"{machine.torch or 'not installed'}{versions}"),
        ("machine", f"{machine.cpu}, {machine.system}"),
        ("", f"{counted(machine.cores, 'core')}{memory}, {' '.join(machine.features) or '?'}"),
        ("GPU", machine.gpu or "none"),
    ]


def _model_rows(engine: EngineInfo) -> list[Row]:
    rows = [
        ("model", f"{engine.model}: {engine.parameters / 1e6:.1f} M parameters, {engine.dtype}"),
        ("", engine.source),
        ("runs on", f"{engine.device}, {counted(engine.threads, 'thread')}"),
    ]
    rows += [("adapter", engine.adapter)] if engine.adapter else []
    rows += [("kernels", engine.kernels)] if engine.kernels else []
    return [*rows, ("judge", engine.judge)] if engine.judge else rows


def _server_rows(server: Probe) -> list[Row]:
    version = f", version {server.version}" if server.version else ""
    rows = [("server", f"{server.label}{version}"), ("", server.url), ("model", server.model)]
    if server.max_model_len is not None:
        rows.append(("context", f"{server.max_model_len} tokens"))
    if server.canvas_length is not None:
        canvas = f"{server.canvas_length} tokens of a vocabulary of {server.vocab_size}"
        rows.append(("canvas", canvas))
    if server.tokenizer:
        where = "on this machine" if server.tokenizer == "local" else "on the server"
        rows.append(("tokenizer", where))
    what = "listing the models" if server.canvas_length is None else "one step of a small canvas"
    return [*rows, ("answers", f"{what} takes {server.milliseconds:.0f} ms")]


def _limit_rows(engine: EngineInfo) -> list[Row]:
    lengths = ", ".join(map(str, engine.canvas_lengths))
    canvases = f"canvases of {lengths} tokens, " if lengths else ""
    # A hole takes several canvases one after another, or not all of one.
    within = "a hole" if engine.max_tokens < max(engine.canvas_lengths, default=0) else "in all"
    sides = f"{engine.prefix_tokens} tokens before the cursor, {engine.suffix_tokens} after it"
    return [("reads", sides), ("fills", f"{canvases}at most {engine.max_tokens} {within}")]


def _speed_rows(speed: Speed, *, on_server: bool) -> list[Row]:
    encoded = "" if on_server else ", both sides encoded before"
    rows = [
        ("loading", f"{speed.load:.0f} ms; the first infill was there after {speed.first:.0f} ms"),
        ("one line", f"{speed.infill:.0f} ms{encoded}"),
    ]
    if speed.step is not None and speed.encode is not None:
        rows += [
            ("one step", f"{speed.step:.1f} ms, {speed.steps:.0f} steps for a line"),
            *([("judging", f"{speed.judge:.0f} ms of a line")] if speed.judge else []),
            ("encoding", f"{speed.encode:.0f} ms when neither side was encoded before"),
        ]
    held = f"{speed.resident_mb:.0f} MB" if speed.resident_mb else "unknown"
    return [*rows, ("memory", held)]
