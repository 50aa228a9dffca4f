"""`infill-ls`: the server for editors, and one infill, the doctor and the bench for people.

The only module that reads the environment and writes to the terminal. What is slow to import is
imported where it is needed: the server answers `initialize` before any of it.
"""

import argparse
import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, get_args

from infill_engine import (
    Draft,
    Engine,
    EngineConfig,
    EngineInfo,
    InfillError,
    RequestError,
    load_engine,
)
from infill_engine.config import Dtype
from infill_ls import __version__
from infill_ls.cli import view as terminal
from infill_ls.cli.view import Painter, Terminal
from infill_ls.documents import Document

if TYPE_CHECKING:
    from infill_ls.completion.pipeline import Infilled, InfillOptions

NOTHING, USAGE, FILE, MODEL, INTERRUPTED, NO_READER = 1, 2, 3, 4, 130, 141
EXIT_CODES = """\
exit codes:
  0    done
  1    the model had nothing to offer at that place
  2    the command line is wrong: an option, a position outside the file
  3    the file cannot be read or written
  4    there is no usable model
  130  stopped by Ctrl-C
"""
EXAMPLES = """\
examples:
  infill-ls                               serve an editor on stdio
  infill-ls infill app.py:12:5 --watch    watch a hole being filled
  infill-ls infill app.py:12:5 --apply    and put the text into the file
  infill-ls doctor                        what runs here, and how fast
"""
REMOTE_OPTIONS = {
    "remote_key_env": ("V", "the environment variable with the server's key"),
    "remote_key_file": ("F", "the file with the server's key"),
    "remote_ca_file": ("F", "certificates (PEM) to trust instead of the system's"),
    "remote_client_cert": ("F", "the certificate (PEM) to show to a server that asks for one"),
    "remote_client_key": ("F", "its key, where that is not in the same file"),
    "remote_tokenizer": ("F", "the served model's tokenizer.json"),
}
MODEL_OPTIONS = (
    *("model", "device", "threads", "dtype", *REMOTE_OPTIONS),
    *("remote_model", "remote_timeout", "remote_concurrency", "remote_trust_env"),
)
MAX_LINES = 20
BOM = b"\xef\xbb\xbf"

Load = Callable[[EngineConfig], Engine]


class UsageError(InfillError):
    """The command line asks for what cannot be."""


class FileError(InfillError):
    """A file cannot be read or written."""


def main(argv: Sequence[str] | None = None, *, load: Load = load_engine) -> int:
    """Runs one command and returns its exit code; `load` makes the engine."""
    for stream in (sys.stdout, sys.stderr):
        _never_fail_to_encode(stream)
    try:
        arguments = parser().parse_args(argv)
    except SystemExit as exit_:  # argparse has said what there is to say
        return int(exit_.code or 0)
    try:
        return int(arguments.run(arguments, load))
    except (UsageError, RequestError) as error:
        return _complain(error, USAGE)
    except FileError as error:
        return _complain(error, FILE)
    except InfillError as error:  # ModelError, and what else an engine has to say
        return _complain(error, MODEL)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `infill-ls ... | head`: nobody reads on, and that is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER


def parser() -> argparse.ArgumentParser:
    # Without defaults: those of a command would undo what stands before it.
    model = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    group = model.add_argument_group("model")
    group.add_argument(
        "--model",
        metavar="M",
        help="the embedded one (default), a folder or hub id of weights, or the URL of a server",
    )
    group.add_argument("--device", choices=("auto", "cpu", "cuda"))
    group.add_argument(
        "--threads", type=_count, metavar="N", help="CPU threads; by default what is fastest"
    )
    group.add_argument(
        "--dtype", choices=get_args(Dtype), help="what a large model's weights are kept in"
    )
    for name, (metavar, about) in REMOTE_OPTIONS.items():
        group.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=about)
    group.add_argument("--remote-model", metavar="NAME", help="the model of a server with several")
    group.add_argument(
        "--remote-timeout", type=float, metavar="S", help="seconds for one request to the server"
    )
    group.add_argument(
        "--remote-concurrency", type=_count, metavar="N", help="requests to the server at a time"
    )
    group.add_argument(
        "--remote-trust-env",
        action="store_true",
        help="go to the server by the proxies of the environment",
    )
    top = _Parser(
        prog="infill-ls",
        usage="infill-ls [OPTIONS] [infill | doctor | bench] ...",
        description="A language server that infills code from both sides of the cursor.\n"
        "Without a command it serves an editor on stdio.",
        epilog=f"{EXAMPLES}\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[model],
    )
    top.add_argument("--version", action="version", version=f"infill-ls {__version__}")
    server = top.add_argument_group("server")
    where = server.add_mutually_exclusive_group()
    where.add_argument("--stdio", action="store_true", help="serve on stdio, the default")
    where.add_argument(
        "--tcp", type=_address, metavar="HOST:PORT", help="serve every editor that connects there"
    )
    server.add_argument("--log-file", type=Path, metavar="F", help="append the log to F")
    server.add_argument(
        "--log-level", default="warning", choices=("debug", "info", "warning", "error")
    )
    server.add_argument(
        "--clientProcessId", type=_count, metavar="N", help="end when the process N has ended"
    )
    top.set_defaults(run=serve)

    commands = top.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
    _add_infill(commands, model)
    doctor = _command(commands, model, "doctor", "say what runs here, how fast, and what to do")
    doctor.add_argument("--json", action="store_true", help="print one JSON object")
    doctor.set_defaults(run=run_doctor)
    bench = _command(commands, model, "bench", "measure latency and quality; last line JSON")
    bench.add_argument("--json", action="store_true", help="print the JSON line alone")
    bench.add_argument(
        "--cases", type=_count, metavar="N", help="how many places to infill for quality"
    )
    bench.add_argument("--quick", action="store_true", help="less of everything, within a minute")
    bench.set_defaults(run=run_bench)
    return top


def _add_infill(commands: Any, model: argparse.ArgumentParser) -> None:
    infill = _command(commands, model, "infill", "fill one place in a file")
    infill.add_argument(
        "place",
        type=_place,
        metavar="FILE:LINE:COL",
        help="both from 1; columns count characters, and one past the last is the line's end",
    )
    infill.add_argument("--json", action="store_true", help="print one JSON object")
    infill.add_argument(
        "--watch", action="store_true", help="show the canvas settling step by step"
    )
    infill.add_argument("--apply", action="store_true", help="put the text into the file")
    infill.add_argument(
        "--max-lines", type=_count, default=MAX_LINES, metavar="N", help=f"default {MAX_LINES}"
    )
    infill.add_argument(
        "--candidates", type=_count, default=1, metavar="N", help="how many texts to look for"
    )
    infill.add_argument("--seed", type=int, default=0, metavar="N", help="default 0")
    infill.add_argument(
        "--language", metavar="L", help="an LSP language id; by default the file's name says it"
    )
    infill.set_defaults(run=run_infill)


def _command(
    commands: Any, model: argparse.ArgumentParser, name: str, about: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[model],
    )
    return command


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence and where to read on, rather than the whole usage."""
        self.exit(USAGE, f"infill-ls: {message}. See {self.prog} --help.\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`line` and `column` from 1, in characters, as compilers print them."""

    path: Path
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


def _place(text: str) -> Place:
    path, *numbers = text.rsplit(":", 2)
    if len(numbers) != 2 or not path or not all(n.isascii() and n.isdigit() for n in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is not FILE:LINE:COL, for example app.py:12:5")
    line, column = map(int, numbers)
    if line < 1 or column < 1:
        raise argparse.ArgumentTypeError(f"{text!r} counts from 0; lines and columns start at 1")
    return Place(path=Path(path), line=line, column=column)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, for example 127.0.0.1:9257")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _config(arguments: argparse.Namespace) -> EngineConfig:
    chosen = {name: vars(arguments)[name] for name in MODEL_OPTIONS if name in arguments}
    try:
        return EngineConfig(**chosen)
    except ValueError as error:
        raise UsageError(f"{error}.") from None


def _complain(error: InfillError, code: int) -> int:
    print(f"infill-ls: {error}", file=sys.stderr)
    return code


def _never_fail_to_encode(stream: TextIO) -> None:
    """A terminal that cannot show a character shows another; it is no reason to fail."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")


def this_terminal(stream: TextIO, environ: Mapping[str, str]) -> Terminal:
    """See no-color.org for NO_COLOR; FORCE_COLOR is its opposite, for pagers and recordings."""
    tty = stream.isatty() and environ.get("TERM") != "dumb"
    size = shutil.get_terminal_size((80, 24))
    colour = bool(environ.get("FORCE_COLOR")) or tty
    return Terminal(
        width=max(size.columns, terminal.MIN_WIDTH),
        height=size.lines,
        colour=colour and not environ.get("NO_COLOR"),
        live=tty,
    )


def serve(arguments: argparse.Namespace, load: Load) -> int:
    from infill_ls.server.processes import run_stdio, run_tcp

    _log_to(arguments.log_file, arguments.log_level)
    config = _config(arguments)
    if not arguments.tcp:
        return run_stdio(config, load=load, client_process_id=arguments.clientProcessId)
    host, port = arguments.tcp
    try:
        return run_tcp(host, port, config, load=load)
    except OSError as error:
        raise UsageError(
            f"{host}:{port} cannot be served: {error.strerror or error}. "
            "Choose another port, or end what uses it."
        ) from error


def _log_to(path: Path | None, level: str) -> None:
    """Standard output belongs to the protocol, so the log goes to a file or standard error."""
    try:
        handler = logging.FileHandler(path, encoding="utf-8") if path else logging.StreamHandler()
    except OSError as error:
        raise FileError(f"The log file {path} cannot be written: {error.strerror}.") from error
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(handlers=[handler], level=level.upper(), format=form)


def run_infill(arguments: argparse.Namespace, load: Load) -> int:
    from infill_ls.completion.pipeline import InfillOptions
    from infill_ls.syntax.language import language_id_of

    place: Place = arguments.place
    data = read(place.path)
    document = Document(
        uri=place.path.absolute().as_uri(),
        version=0,
        language_id=arguments.language or language_id_of(place.path.name),
        text=decoded(data, place.path),
    )
    offset = offset_of(document, place)
    options = InfillOptions(
        max_lines=arguments.max_lines, num_candidates=arguments.candidates, seed=arguments.seed
    )
    page = Page(
        place=place,
        document=document,
        offset=offset,
        screen=this_terminal(sys.stderr if arguments.json else sys.stdout, os.environ),
    )
    config = _config(arguments)
    if arguments.watch and page.screen.live:
        infilled, info = _watched_in_place(page, config, load, options, result=not arguments.json)
    else:
        watch = None
        if arguments.watch:
            watch = page.printer(sys.stderr if arguments.json else sys.stdout)
        engine = load(config)
        info = engine.describe()
        infilled = _infill(engine, page, options, watch)
        if infilled.candidates and not arguments.json:
            print("\n".join(page.result(infilled, info)))
    if arguments.json:
        print(json.dumps(as_json(infilled, info, place), ensure_ascii=False))
    if not infilled.candidates:
        why = f" ({infilled.rejected})" if infilled.rejected else ""
        return _complain(InfillError(f"There is nothing to offer at {place}{why}."), NOTHING)
    if arguments.apply:
        inserted = infilled.candidates[0].text.replace("\n", document.newline)
        write(place.path, data, document.text[:offset], inserted)
        print(f"wrote {place.path}", file=sys.stderr)
    return 0


def _infill(
    engine: Engine, page: "Page", options: "InfillOptions", watch: Callable[[Draft], None] | None
) -> "Infilled":
    from infill_ls.completion.pipeline import Trees, infill_at

    return infill_at(engine, page.document, page.offset, options, trees=Trees(), watch=watch)


def _watched_in_place(
    page: "Page", config: EngineConfig, load: Load, options: "InfillOptions", *, result: bool
) -> "tuple[Infilled, EngineInfo]":
    """The file at once, then every step in its place, then the result."""
    with Painter(sys.stderr if not result else sys.stdout) as painter:
        painter.show(page.waiting)
        engine = load(config)
        info = engine.describe()
        infilled = _infill(
            engine, page, options, lambda draft: painter.show(lambda: page.step(draft))
        )
        painter.show(lambda: page.result(infilled, info))
    return infilled, info


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise FileError(f"There is no file {path}.{_meant(path)}") from None
    except IsADirectoryError:
        raise FileError(f"{path} is a folder; name a file in it.") from None
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}.") from error


def _meant(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    except OSError:
        return f" The folder {path.parent} cannot be read either."
    close = get_close_matches(path.name, names, n=1)
    return f" Did you mean {path.parent / close[0]}?" if close else ""


def decoded(data: bytes, path: Path) -> str:
    """Line ends as they are; without the byte order mark, which no editor counts as a column."""
    try:
        return data.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path} is not UTF-8 text: byte 0x{error.object[error.start]:02x} at "
            f"{error.start + len(data) - len(error.object)} is not. Convert it first."
        ) from None


def offset_of(document: Document, place: Place) -> int:
    if place.line > document.num_lines:
        raise UsageError(
            f"Line {place.line} is past the end of {place.path}, which has "
            f"{document.num_lines} lines."
        )
    length = len(document.line_text(place.line - 1))
    if place.column > length + 1:
        raise UsageError(
            f"Column {place.column} is past the end of line {place.line} of {place.path}; "
            f"the line ends at column {length + 1}."
        )
    return document.offset_at(place.line - 1, place.column - 1, "utf-32")


def write(path: Path, data: bytes, before: str, inserted: str) -> None:
    """Puts the text into the file; every other byte stays, and a newer file is not overwritten."""
    if read(path) != data:
        raise FileError(f"{path} has changed meanwhile and was left alone; run the command again.")
    at = len(data) - len(data.removeprefix(BOM)) + len(before.encode())
    try:
        path.write_bytes(data[:at] + inserted.encode() + data[at:])
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror}.") from error


def as_json(infilled: "Infilled", info: EngineInfo, place: Place) -> dict[str, Any]:
    """What `--json` prints. The range is what the text replaces: nothing, at the place itself."""
    best = infilled.candidates[0] if infilled.candidates else None
    draft = infilled.draft
    here = {"line": place.line, "column": place.column}
    ms = infilled.ms
    return {
        "text": best.text if best else "",
        "range": {"start": here, "end": here},
        "steps": draft.steps if draft else 0,
        "tokens": draft.tokens if draft else 0,
        "tokens_per_forward": _number(draft.tokens_per_forward if draft else 0.0, 2),
        "mean_entropy": _number(draft.mean_entropy if draft else None, 4),
        "join": _number(draft.join if draft else None, 4),
        "parses": best.parses if best else None,
        "ms": {
            "total": _number(ms.total, 1),
            "encode": _number(ms.encode, 1),
            "denoise": _number(ms.denoise, 1),
            "validate": _number(ms.validate, 1),
        },
        "model": info.model,
        "device": info.device,
        "candidates": [
            {"text": each.text, "score": _number(each.score, 4), "parses": each.parses}
            for each in infilled.candidates
        ],
        "rejected": infilled.rejected,
    }


def _number(value: float | None, digits: int) -> float | None:
    """JSON has no NaN."""
    return None if value is None or not math.isfinite(value) else round(value, digits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The file around the place, as it is drawn before, during and after."""

    place: Place
    document: Document
    offset: int
    screen: Terminal

    def waiting(self) -> list[str]:
        cursor = terminal.Piece("▏", terminal.MARK, True)
        return self._page([cursor], [self._dim("  reading the model ..."), ""])

    def step(self, draft: Draft) -> list[str]:
        return self._page(terminal.settling(draft), terminal.progress(draft, terminal=self.screen))

    def result(self, infilled: "Infilled", info: EngineInfo) -> list[str]:
        if not infilled.candidates:
            return self._page([], [self._dim("  nothing to show"), ""])
        best = infilled.candidates[0]
        draft, ms = best.draft, infilled.ms
        verdict = {
            True: self.screen.paint("✓ no new syntax error", terminal.INFILL),
            False: self.screen.paint("✗ a new syntax error", terminal.WARN),
            None: self.screen.paint("syntax not checked: no grammar", terminal.WARN),
        }[best.parses]
        steps = (
            f"{draft.tokens} tokens in {draft.steps} steps, {draft.tokens_per_forward:.1f} a step"
        )
        times = (
            f"  {ms.total:.0f} ms: encode {ms.encode:.0f}, denoise {ms.denoise:.0f}, "
            f"validate {ms.validate:.0f}   {info.model} on {info.device}"
        )
        others = [
            f"  {self._dim(str(number))}  {self._one_line(each.text)}"
            for number, each in enumerate(infilled.candidates[1:], 2)
        ]
        return self._page(
            terminal.filled(best.text), [f"  {verdict}   {steps}", self._dim(times), *others]
        )

    def printer(self, stream: TextIO) -> Callable[[Draft], None]:
        """One line a step, for logs and pipes. The last draft of a run says its step again."""
        said = ""

        def show(draft: Draft) -> None:
            nonlocal said
            line = terminal.step_line(draft, terminal=self.screen)
            if line != said:
                print(line, file=stream, flush=True)
            said = line

        return show

    def _page(self, hole: Sequence[terminal.Piece], footer: Sequence[str]) -> list[str]:
        text = self.document.text
        room = min(terminal.MAX_LINES, self.screen.height - len(footer) - 5)
        code = terminal.view(
            _lf(text[: self.offset]),
            hole,
            _lf(text[self.offset :]),
            terminal=self.screen,
            room=room,
        )
        language = self.document.language_id
        title = terminal.fitted(str(self.place), self.screen.width - len(language) - 4)
        head = f" {self.screen.paint(title, terminal.BOLD)}  {self._dim(language)}"
        return ["", head, "", *code, "", *footer]

    def _one_line(self, text: str) -> str:
        return self.screen.paint(text.replace("\n", "↵"), terminal.INFILL)

    def _dim(self, text: str) -> str:
        return self.screen.paint(text, terminal.DIM)


def _lf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def run_doctor(arguments: argparse.Namespace, load: Load) -> int:
    from infill_ls.cli.doctor import examine, report

    findings = examine(_config(arguments), load)
    if arguments.json:
        print(json.dumps(findings.as_json(), ensure_ascii=False))
    else:
        print("\n".join(report(findings, this_terminal(sys.stdout, os.environ))))
    return MODEL if findings.model_error else 0


def run_bench(arguments: argparse.Namespace, load: Load) -> int:
    from infill_ls.cli.bench import FULL, QUICK, run
    from infill_ls.cli.bench.report import Page as Report
    from infill_ls.cli.bench.report import as_line

    plan = QUICK if arguments.quick else FULL
    if arguments.cases:
        plan = replace(plan, cases=arguments.cases)
    stream = sys.stderr if arguments.json else sys.stdout
    result = run(_config(arguments), load, plan, Report(stream, this_terminal(stream, os.environ)))
    print(as_line(result))
    return 0
