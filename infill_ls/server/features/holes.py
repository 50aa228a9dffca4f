"""Filling every hole of a document at once: what is marked, or what a person selected.

Work of the engine's thread in steps, between which whoever types comes first, and one edit. A
document that changes meanwhile ends it, and so does whoever takes it back. What it needs is
imported when it is asked for: it brings the grammars.
"""

import asyncio
import json
import re
import tomllib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from infill_engine import Budget, BudgetSpent, Engine, InfillError
from infill_ls.completion.runs import Run
from infill_ls.completion.worker import CHOICES_INVOKED
from infill_ls.documents import Document, Encoding
from infill_ls.server import lsp
from infill_ls.server.items import to_range
from infill_ls.server.session import DocumentSnapshot, Session

if TYPE_CHECKING:
    from infill_ls.completion.holes import HolesFilled
    from infill_ls.completion.markers import Marker
    from infill_ls.completion.steps import Steps

# For all of them together; whoever asks for that waits, and an edit ends it.
SECONDS = 60.0
# In larger documents no action is offered: to look for what is missing takes too long.
_LARGEST = 50_000
_EMPTY_IN_YAML = re.compile(r"[:-][ \t]*$", re.MULTILINE)


def title(document: Document) -> str:
    """What an action that fills the holes of a document is called, "" where it has none. Found
    within milliseconds: what is missing in a structure is only guessed."""
    from infill_ls.completion.holes import structure_of
    from infill_ls.completion.markers import markers

    if len(document.text) > _LARGEST:
        return ""
    if structure := structure_of(document):
        return "Fill in what is missing" if _unfinished(document.text, structure) else ""
    count = len(markers(document))
    return f"Infill all {count} holes" if count > 1 else "Infill the hole" if count else ""


def _unfinished(text: str, language_id: str) -> bool:
    if "___" in text or language_id == "yaml":
        return "___" in text or bool(_EMPTY_IN_YAML.search(text))
    try:
        if language_id == "toml":
            tomllib.loads(text)
        else:
            json.loads(text)
    except (ValueError, RecursionError):
        return True
    return False


async def infill_holes(
    session: Session, snapshot: DocumentSnapshot, ranges: Sequence[lsp.Range]
) -> tuple[list[lsp.TextEdit], str]:
    """The edits, and why there are none, or fewer than holes."""
    from infill_ls.completion.context import InfillOptions
    from infill_ls.completion.holes import filling_holes

    document, encoding = snapshot.document, snapshot.encoding
    chosen = _chosen(document, ranges, encoding)
    around = session.surroundings(document, chosen[0].start if chosen else 0)
    options = InfillOptions(
        max_lines=snapshot.settings.max_lines_invoked,
        num_choices=CHOICES_INVOKED,
        neighbours=around.neighbours,
        elsewhere=around.elsewhere,
    )
    run = Run(session.requests, SECONDS)
    budget = Budget(
        deadline=run.deadline,
        cancelled=lambda: run.stopped() or not session.is_current(snapshot),
    )

    def work(engine: Engine) -> "Steps[HolesFilled]":
        return filling_holes(engine, document, chosen, options, budget=budget)

    try:
        result = await asyncio.wrap_future(session.worker.perform(work))
    except BudgetSpent:
        return [], "The text changed meanwhile, so it was left as it is."
    except InfillError as error:
        return [], str(error)
    finally:
        run.stop()
    if result is None:
        return [], "The model is not loaded yet."
    edits = [
        lsp.TextEdit(range=to_range(document, each.start, each.end, encoding), new_text=each.text)
        for each in result.replacements
    ]
    return edits, _outcome(result)


def _chosen(document: Document, ranges: Sequence[lsp.Range], encoding: Encoding) -> "list[Marker]":
    """The marked holes within the ranges; where there are none, the ranges themselves."""
    from infill_ls.completion.markers import markers, selected

    spans = [
        (
            document.offset_at(each.start.line, each.start.character, encoding),
            document.offset_at(each.end.line, each.end.character, encoding),
        )
        for each in ranges
    ]
    spans = [(min(span), max(span)) for span in spans if span[0] != span[1]]
    if not spans:
        return []
    within = [
        each
        for each in markers(document)
        if any(start <= each.start and each.end <= end for start, end in spans)
    ]
    return within or selected(document, spans)


def _outcome(result: "HolesFilled") -> str:
    if not result.holes and not result.replacements:
        return "There is nothing to fill here; mark what to fill with ___."
    if not result.replacements:
        return "The model has nothing to offer for these holes."
    if result.left:
        return f"{result.left} of {result.holes} holes could not be filled."
    return ""
