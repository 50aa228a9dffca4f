"""`infill-ls infill`: one place of one file, infilled, shown, and with --apply written."""

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infill_engine import Draft, Engine, EngineConfig, EngineInfo
from infill_ls.cli import files
from infill_ls.cli.arguments import meant
from infill_ls.cli.characters import visible
from infill_ls.cli.errors import NOTHING, FileError, UsageError, complain
from infill_ls.cli.position import FilePosition
from infill_ls.completion.pipeline import Infilled, InfillOptions, Trees, infill_at
from infill_ls.completion.worker import CHOICES_INVOKED
from infill_ls.documents import Document
from infill_ls.ignore import IgnorePolicy, ignored
from infill_ls.syntax.language import LANGUAGES, is_known, language_id_of


def infill(
    arguments: argparse.Namespace, config: EngineConfig, load: Callable[[EngineConfig], Engine]
) -> int:
    position: FilePosition = arguments.position
    data = files.read(position.path)
    document = document_of(position.path, data, arguments.language)
    if not arguments.force:
        refuse_ignored(position.path, document, remote=config.is_remote)
    offset = offset_of(document, position)
    infilled, info = shown(arguments, document, offset, config, load)
    if arguments.json:
        print(json.dumps(as_json(infilled, info, position), ensure_ascii=False))
    if not infilled.candidates:
        why = f" ({infilled.rejected})" if infilled.rejected else ""
        complain(f"There is nothing to offer at {position}{why}.")
        return NOTHING
    if arguments.apply:
        inserted = infilled.candidates[0].text.replace("\n", document.newline)
        new = files.with_inserted(data, document.text[:offset], inserted)
        note = files.replace(position.path, data, new)
        wrote = f"wrote {visible(str(position.path))}" + (f"; {note}" if note else "")
        print(wrote, file=sys.stderr)
    return 0


def document_of(path: Path, data: bytes, language: str | None) -> Document:
    """A file as an editor would open it. Raises FileError where it is no text; a language that is
    not known is said, for it is likely to be misspelt."""
    if language and not is_known(language):
        guess = meant(language, (each.id for each in LANGUAGES)) or "."
        complain(
            f"{language} is no language known here: only brackets and quotes are checked{guess}"
        )
    return Document(
        uri=path.absolute().as_uri(),
        version=0,
        language_id=language or language_id_of(str(path.absolute())),
        text=files.decoded(data, path),
    )


def refuse_ignored(path: Path, document: Document, *, remote: bool) -> None:
    """Raises FileError for a file that is ignored or may hold secrets."""
    if why := ignored(IgnorePolicy(remote=remote), document.uri, document.text):
        raise FileError(f"{path} is left alone: {why}. --force infills it all the same.")


def offset_of(document: Document, position: FilePosition) -> int:
    """Of code points. Raises UsageError for a position outside the file."""
    if position.line > document.num_lines:
        raise UsageError(
            f"Line {position.line} is past the end of {position.path}, which has "
            f"{document.num_lines} lines."
        )
    length = len(document.line_text(position.line - 1))
    if position.column > length + 1:
        raise UsageError(
            f"Column {position.column} is past the end of line {position.line} of "
            f"{position.path}; the line ends at column {length + 1}."
        )
    return document.offset_at(position.line - 1, position.column - 1, "utf-32")


def shown(
    arguments: argparse.Namespace,
    document: Document,
    offset: int,
    config: EngineConfig,
    load: Callable[[EngineConfig], Engine],
) -> tuple[Infilled, EngineInfo]:
    """Infills, and shows it as far as the arguments say: in place where the terminal can."""
    options = InfillOptions(
        max_lines=arguments.max_lines,
        num_candidates=arguments.candidates,
        num_choices=CHOICES_INVOKED,
        seed=arguments.seed,
    )

    def run(engine: Engine, watch: Callable[[Draft], None] | None) -> Infilled:
        return infill_at(engine, document, offset, options, trees=Trees(), watch=watch)

    if arguments.json and not arguments.watch:
        engine = load(config)
        return run(engine, None), engine.describe()

    from infill_ls.cli import frames, view

    console = view.console_of(sys.stderr if arguments.json else sys.stdout)
    around = view.Surroundings(
        title=str(arguments.position),
        language_id=document.language_id,
        prefix=_with_line_feeds(document.text[:offset]),
        suffix=_with_line_feeds(document.text[offset:]),
    )
    if arguments.watch and view.is_live(console):
        with view.Player(console) as player:
            player.show(lambda: frames.waiting(around, console))
            engine = load(config)
            info = engine.describe()
            infilled = run(
                engine, lambda draft: player.show(lambda: frames.step(around, draft, console))
            )
            player.show(lambda: frames.result(around, infilled, info, console))
        return infilled, info
    engine = load(config)
    info = engine.describe()
    infilled = run(engine, frames.step_printer(console) if arguments.watch else None)
    if infilled.candidates and not arguments.json:
        console.print(frames.result(around, infilled, info, console))
    return infilled, info


def _with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def as_json(infilled: Infilled, info: EngineInfo, position: FilePosition) -> dict[str, Any]:
    """What `--json` prints. The range is what the text replaces: nothing, at the place itself."""
    best = infilled.candidates[0] if infilled.candidates else None
    draft = infilled.draft
    here = {"line": position.line, "column": position.column}
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
            "judge": _number(ms.judge, 1),
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
