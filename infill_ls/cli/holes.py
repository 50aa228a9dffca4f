"""`infill-ls infill --holes FILE`: every hole of a file, filled together."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infill_engine import Draft, Engine, EngineConfig, EngineInfo
from infill_ls.cli import files
from infill_ls.cli.characters import visible
from infill_ls.cli.errors import NOTHING, complain
from infill_ls.cli.infill import document_of, refuse_ignored
from infill_ls.cli.machine import counted
from infill_ls.completion.context import InfillOptions
from infill_ls.completion.holes import HolesFilled, fill_holes, structure_of
from infill_ls.completion.markers import markers
from infill_ls.completion.structures.json_text import DocumentError
from infill_ls.completion.worker import CHOICES_INVOKED
from infill_ls.documents import Document


def infill_holes(
    arguments: argparse.Namespace, config: EngineConfig, load: Callable[[EngineConfig], Engine]
) -> int:
    path: Path = arguments.holes
    data = files.read(path)
    document = document_of(path, data, arguments.language)
    if not arguments.force:
        refuse_ignored(path, document, remote=config.is_remote)
    if not structure_of(document) and not markers(document):
        complain(f"There is no hole in {path}; mark what to fill with ___, or with a TODO stub.")
        return NOTHING
    started = time.perf_counter()
    engine = load(config)
    options = InfillOptions(
        max_lines=arguments.max_lines, num_choices=CHOICES_INVOKED, seed=arguments.seed
    )
    try:
        result = fill_holes(engine, document, (), options, watch=_watch(arguments))
    except DocumentError as error:
        raise DocumentError(f"{path}: {error}") from None
    text = filled_text(document, result)
    if arguments.json:
        ms = 1000 * (time.perf_counter() - started)
        print(json.dumps(_as_json(document, result, text, ms, engine.describe())))
    elif not arguments.apply:
        print(text, end="" if text.endswith("\n") else "\n")
    if result.left:
        complain(
            f"Of {counted(result.holes, 'hole')} in {path}, {result.left} could not be filled."
        )
    if not (result.replacements or result.left):
        complain(f"There is nothing to fill in {path}.")
        return NOTHING
    if arguments.apply and result.replacements:
        new = files.with_replaced(data, document.text, text)
        note = files.replace(path, data, new)
        filled = f"{result.holes - result.left} of {counted(result.holes, 'hole')} filled"
        wrote = f"wrote {visible(str(path))}: {filled}" + (f"; {note}" if note else "")
        print(wrote, file=sys.stderr)
    return NOTHING if result.left else 0


def filled_text(document: Document, result: HolesFilled) -> str:
    parts, end = [], 0
    for each in result.replacements:
        parts += [document.text[end : each.start], each.text]
        end = each.end
    return "".join([*parts, document.text[end:]])


def _watch(arguments: argparse.Namespace) -> Callable[[Draft], None] | None:
    if not arguments.watch:
        return None
    from infill_ls.cli import frames, view

    return frames.step_printer(view.console_of(sys.stderr))


def _as_json(
    document: Document, result: HolesFilled, text: str, ms: float, info: EngineInfo
) -> dict[str, Any]:
    """Lines and columns as on the command line: from 1, columns in characters."""

    def place(offset: int) -> dict[str, int]:
        line, column = document.position_at(offset, "utf-32")
        return {"line": line + 1, "column": column + 1}

    return {
        "text": text,
        "replacements": [
            {"range": {"start": place(each.start), "end": place(each.end)}, "text": each.text}
            for each in result.replacements
        ],
        "holes": result.holes,
        "left": result.left,
        "ms": round(ms, 1),
        "model": info.model,
        "device": info.device,
    }
