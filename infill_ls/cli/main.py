"""`infill-ls`: the server for editors, and one infill, the doctor and the bench for people.

Arguments in, a command run, an exit code out. What a command needs is imported when it runs: the
server answers `initialize` before any of it.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO, get_args

from infill_engine import Engine, EngineConfig, InfillError, RequestError, load_engine
from infill_engine.config import Dtype
from infill_ls import __version__
from infill_ls.cli.arguments import (
    COMMAND,
    INFILL_JSON,
    Parser,
    count,
    one_of,
)
from infill_ls.cli.errors import (
    FILE,
    INTERRUPTED,
    MODEL,
    NO_READER,
    NOTHING,
    USAGE,
    FileError,
    UsageError,
    complain,
    exit_codes,
)
from infill_ls.cli.position import file_position
from infill_ls.cli.serve import add_server_options

EXAMPLES = """\
examples:
  infill-ls try                           see a hole being filled
  infill-ls setup                         put it into your editors
  infill-ls                               serve an editor on stdio
  infill-ls --connect                     the same, with one model for all windows
  infill-ls --fim 127.0.0.1:8012          serve llama.vim, Zed and others over HTTP
  infill-ls infill app.py:12:5 --watch    watch a hole being filled
  infill-ls infill app.py:12:5 --apply    and put the text into the file
  infill-ls infill --holes app.py --apply fill everything marked ___ in a file
  infill-ls json --schema S.json doc.json finish a JSON document so that it satisfies a schema
  infill-ls explain app.py:12:5           why that is shown, or why nothing is
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
    *("model", "judge", "adapter", "device", "threads", "dtype", *REMOTE_OPTIONS),
    *("remote_model", "remote_timeout", "remote_concurrency", "remote_trust_env"),
)
WRONG_PLACE = "the command line is wrong, or a place outside the file"
MAX_LINES = 20
EDITORS = ("neovim", "vscode", "emacs", "helix", "zed", "sublime", "kate")

Load = Callable[[EngineConfig], Engine]


def main(argv: Sequence[str] | None = None, *, load: Load = load_engine) -> int:
    """Runs one command and returns its exit code; `load` makes the engine."""
    for stream in (sys.stdout, sys.stderr):
        _never_fail_to_encode(stream)
    try:
        arguments = parser().parse_args(argv)
    except SystemExit as exit_:  # argparse has said what there is to say
        return int(exit_.code or 0)
    try:
        return int(arguments.run(arguments, _config(arguments), load))
    except InfillError as error:
        complain(error)
        return _exit_code(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `infill-ls ... | head`: nobody reads on, and that is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER


def _exit_code(error: InfillError) -> int:
    match error:
        case UsageError() | RequestError():
            return USAGE
        case FileError():
            return FILE
        case _:  # ModelError, and what else an engine has to say
            return MODEL


def parser() -> argparse.ArgumentParser:
    # Without defaults: those of a command would undo what stands before it.
    model = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    group = model.add_argument_group("model")
    group.add_argument(
        "--model",
        metavar="M",
        help="the embedded one (default), a folder of weights, hub:OWNER/NAME to download one, "
        "or the URL of a server, or several with commas between",
    )
    group.add_argument(
        "--judge",
        metavar="J",
        help="the language model that ranks and continues what the embedded one drafts: auto, off, "
        "a folder that holds one, or a GGUF file (FILE.gguf#exact: its own text first)",
    )
    group.add_argument(
        "--adapter",
        metavar="FOLDER",
        help="what fine-tuning added to DiffusionGemma, DreamOn or their like (LoRA)",
    )
    group.add_argument("--device", choices=("auto", "cpu", "cuda", "mps", "mlx"))
    group.add_argument(
        "--threads", type=count, metavar="N", help="CPU threads; by default what is fastest"
    )
    group.add_argument(
        "--dtype",
        choices=get_args(Dtype),
        help="the number format of the weights; auto is fastest, or as stored",
    )
    for name, (metavar, about) in REMOTE_OPTIONS.items():
        group.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=about)
    group.add_argument("--remote-model", metavar="NAME", help="the model of a server with several")
    group.add_argument(
        "--remote-timeout", type=float, metavar="S", help="seconds for one request to the server"
    )
    group.add_argument(
        "--remote-concurrency", type=count, metavar="N", help="requests to the server at a time"
    )
    group.add_argument(
        "--remote-trust-env",
        action="store_true",
        help="go to the server by the proxies of the environment",
    )
    codes = exit_codes(NOTHING, USAGE, FILE, MODEL, usage=f"{WRONG_PLACE}, or the schema")
    top = Parser(
        prog="infill-ls",
        usage="infill-ls [OPTIONS] "
        "[try | setup | serve | infill | explain | json | doctor | ...] ...",
        description="A language server that infills code from both sides of the cursor.\n"
        "Without a command it serves an editor on stdio.",
        epilog=f"{EXAMPLES}\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[model],
    )
    top.add_argument("--version", action="version", version=f"infill-ls {__version__}")
    add_server_options(top)
    top.set_defaults(run=serve)

    commands = top.add_subparsers(
        title="commands", metavar=COMMAND, parser_class=Parser, prog="infill-ls"
    )
    _add_example(commands, model)
    _add_setup(commands)
    serving = _command(
        commands,
        "serve",
        "serve editors, as without a command",
        exit_codes(USAGE, FILE, MODEL),
        model,
    )
    add_server_options(serving)
    serving.set_defaults(run=serve)
    _add_infill(commands, model)
    _add_json(commands, model)
    _add_explain(commands, model)
    stats = _command(
        commands, "stats", "say what was shown and accepted so far", exit_codes(USAGE, FILE)
    )
    stats.add_argument("--json", action="store_true", help="print one JSON object")
    stats.add_argument("--reset", action="store_true", help="forget it and begin anew")
    stats.set_defaults(run=run_stats)
    doctor = _command(
        commands,
        "doctor",
        "say what runs here, how fast, and what to do",
        exit_codes(USAGE, MODEL),
        model,
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON object")
    doctor.set_defaults(run=run_doctor)
    bench = _command(
        commands,
        "bench",
        "measure latency and quality; last line JSON",
        exit_codes(USAGE, MODEL),
        model,
    )
    bench.add_argument("--json", action="store_true", help="print the JSON line alone")
    bench.add_argument(
        "--cases", type=count, metavar="N", help="how many places to infill for quality"
    )
    bench.add_argument("--quick", action="store_true", help="less of everything, within a minute")
    bench.set_defaults(run=run_bench)
    updates = _command(
        commands,
        "update-check",
        "ask the package index for a newer release",
        exit_codes(NOTHING, USAGE, nothing="no newest release is known"),
    )
    updates.set_defaults(run=run_update_check)
    return top


def _add_infill(commands: Any, model: argparse.ArgumentParser) -> None:
    infill = _command(
        commands,
        "infill",
        "fill one place in a file",
        exit_codes(
            NOTHING,
            USAGE,
            FILE,
            MODEL,
            usage=WRONG_PLACE,
            nothing="the model had nothing to offer there, or in some of the holes",
        ),
        model,
    )
    infill.add_argument(
        "position",
        nargs="?",
        type=file_position,
        metavar="FILE:LINE:COL",
        help="both from 1; columns count characters, and one past the last is the line's end",
    )
    infill.add_argument(
        "--holes",
        type=Path,
        metavar="FILE",
        help="instead of a place, fill all that is marked in FILE: ___, and Python's pass and ... "
        "with a TODO; in JSON, YAML and TOML what is missing, so that it parses",
    )
    infill.add_argument("--json", action="store_true", help=INFILL_JSON)
    infill.add_argument(
        "--watch", action="store_true", help="show the canvas settling step by step"
    )
    infill.add_argument("--apply", action="store_true", help="put the text into the file")
    infill.add_argument(
        "--force", action="store_true", help="even a file that is ignored or may hold secrets"
    )
    infill.add_argument(
        "--max-lines", type=count, default=MAX_LINES, metavar="N", help=f"default {MAX_LINES}"
    )
    infill.add_argument(
        "--candidates", type=count, default=1, metavar="N", help="how many texts to look for"
    )
    infill.add_argument("--seed", type=int, default=0, metavar="N", help="default 0")
    infill.add_argument(
        "--language", metavar="L", help="an LSP language id; by default the file's name says it"
    )
    infill.set_defaults(run=run_infill)


def _add_json(commands: Any, model: argparse.ArgumentParser) -> None:
    finish = _command(
        commands,
        "json",
        "finish a JSON document, by a schema if there is one",
        exit_codes(
            USAGE, FILE, MODEL, usage="the command line is wrong, the document or the schema"
        ),
        model,
    )
    finish.add_argument(
        "file", type=Path, metavar="FILE", help="cut off, with ___ or nothing for values, or empty"
    )
    finish.add_argument(
        "--schema", type=Path, metavar="S", help="the JSON Schema that the document shall satisfy"
    )
    finish.add_argument(
        "--all", action="store_true", help="also the properties that the schema does not require"
    )
    finish.add_argument("--json", action="store_true", help="print one JSON object")
    finish.add_argument("--apply", action="store_true", help="put the text into the file")
    finish.add_argument(
        "--force", action="store_true", help="even a file that is ignored or may hold secrets"
    )
    finish.add_argument("--seed", type=int, default=0, metavar="N", help="default 0")
    finish.set_defaults(run=run_json)


def _add_example(commands: Any, model: argparse.ArgumentParser) -> None:
    example = _command(
        commands,
        "try",
        "watch a hole being filled in a file of our own",
        exit_codes(NOTHING, USAGE, MODEL, nothing="the model had nothing to offer"),
        model,
    )
    chosen = {"json": False, "watch": True, "max_lines": MAX_LINES, "candidates": 1, "seed": 0}
    example.set_defaults(run=run_example, **chosen)


def _add_setup(commands: Any) -> None:
    setup = _command(
        commands,
        "setup",
        "put it into the editors that are found here",
        exit_codes(NOTHING, USAGE, FILE, nothing="no editor was found"),
    )
    setup.add_argument(
        "editors",
        nargs="*",
        metavar="EDITOR",
        type=_editor,
        help=f"only these, found or not: {', '.join(EDITORS)}",
    )
    answer = setup.add_mutually_exclusive_group()
    answer.add_argument("--yes", action="store_true", help="write it without a question")
    answer.add_argument("--show", action="store_true", help="print it and write nothing")
    setup.add_argument("--undo", action="store_true", help="take back what setup has written")
    setup.set_defaults(run=run_setup)


def _add_explain(commands: Any, model: argparse.ArgumentParser) -> None:
    explain = _command(
        commands,
        "explain",
        "say why something is shown at a place, or not",
        exit_codes(
            NOTHING, USAGE, FILE, MODEL, usage=WRONG_PLACE, nothing="nothing is shown there"
        ),
        model,
    )
    explain.add_argument(
        "position", type=file_position, metavar="FILE:LINE:COL", help="both from 1"
    )
    explain.add_argument("--json", action="store_true", help="print one JSON object")
    explain.add_argument(
        "--invoked", action="store_true", help="as when asked for, rather than while typing"
    )
    explain.add_argument(
        "--deadline", type=count, metavar="MS", help="by default as an editor waits"
    )
    explain.add_argument(
        "--workspace", type=Path, metavar="DIR", help="the folder whose other files are of use"
    )
    explain.add_argument(
        "--language", metavar="L", help="an LSP language id; by default the file's name says it"
    )
    explain.set_defaults(run=run_explain)


def _command(
    commands: Any, name: str, about: str, codes: str, *parents: argparse.ArgumentParser
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=codes,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=parents,
    )
    return command


def _editor(text: str) -> str:
    return one_of(text, EDITORS)


def _config(arguments: argparse.Namespace) -> EngineConfig:
    chosen = {name: vars(arguments)[name] for name in MODEL_OPTIONS if name in arguments}
    try:
        return EngineConfig(**chosen)
    except ValueError as error:
        raise UsageError(f"{error}.") from None


def _never_fail_to_encode(stream: TextIO) -> None:
    """A terminal that cannot show a character shows another; it is no reason to fail."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")


def serve(arguments: argparse.Namespace, config: EngineConfig, load: Load) -> int:
    from infill_ls.cli.serve import serve

    return serve(arguments, config, load)


def run_infill(arguments: argparse.Namespace, config: EngineConfig, load: Load) -> int:
    if (arguments.position is None) == (arguments.holes is None):
        raise UsageError("Name one place as FILE:LINE:COL, or a file with --holes FILE.")
    if arguments.holes is not None:
        from infill_ls.cli.holes import infill_holes

        return infill_holes(arguments, config, load)
    from infill_ls.cli.infill import infill

    return infill(arguments, config, load)


def run_json(arguments: argparse.Namespace, config: EngineConfig, load: Load) -> int:
    from infill_ls.cli.finish import finish

    return finish(arguments, config, load)


def run_example(arguments: argparse.Namespace, config: EngineConfig, load: Load) -> int:
    from infill_ls.cli.example import show_example

    return show_example(arguments, config, load)


def run_setup(arguments: argparse.Namespace, config: EngineConfig, load: Load) -> int:
    from infill_ls.cli.setup.run import run_setup

    return run_setup(arguments)


def run_update_check(arguments: argparse.Namespace, config: EngineConfig, load: Load) -> int:
    from infill_ls.cli.updates import check_for_update

    return check_for_update()


def run_explain(arguments: argparse.Namespace, config: EngineConfig, load: Load) -> int:
    from infill_ls.cli.explain import explain

    return explain(arguments, config, load)


def run_stats(arguments: argparse.Namespace, config: EngineConfig, load: Load) -> int:
    from infill_ls.cli.stats import stats

    return stats(as_json=arguments.json, reset=arguments.reset)


def run_doctor(arguments: argparse.Namespace, config: EngineConfig, load: Load) -> int:
    from infill_ls.cli.doctor import examine

    findings = examine(config, load)
    if arguments.json:
        print(json.dumps(findings.as_json(), ensure_ascii=False))
    else:
        from infill_ls.cli.doctor_report import report
        from infill_ls.cli.view import console_of

        console_of(sys.stdout).print(report(findings))
    return MODEL if findings.model_error else 0


def run_bench(arguments: argparse.Namespace, config: EngineConfig, load: Load) -> int:
    from infill_ls.cli.bench import FULL, QUICK, run
    from infill_ls.cli.bench.report import Report, as_line
    from infill_ls.cli.view import console_of

    workload = QUICK if arguments.quick else FULL
    if arguments.cases:
        workload = replace(workload, cases=arguments.cases)
    report = Report(console_of(sys.stderr if arguments.json else sys.stdout))
    print(as_line(run(config, load, workload, report)))
    return 0
