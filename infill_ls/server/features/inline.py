"""What an inline completion request is about, whether to serve it, and a line on how it went.

Pure functions from LSP's parameters and a snapshot; nothing here waits or remembers.
"""

from dataclasses import dataclass

from lsprotocol import types as T

from infill_ls.completion.requests import Answer
from infill_ls.completion.worker import Ask, Limits
from infill_ls.documents import Document, Encoding
from infill_ls.ignore import IgnorePolicy, ignored
from infill_ls.server.params import InfillParams
from infill_ls.settings import Settings

INVOKED = T.InlineCompletionTriggerKind.Invoked


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the answer goes: [start, end) of the document is replaced, the cursor is in it."""

    ask: Ask
    document: Document
    start: int
    end: int


def refusal(settings: Settings, policy: IgnorePolicy, document: Document) -> str:
    """Why nothing is suggested in this document; empty when something is."""
    if not settings.enable:
        return "off"
    if document.language_id in settings.disabled_languages:
        return f"language {document.language_id} is off"
    return ignored(policy, document.uri, document.text)


def untimely(settings: Settings, document: Document, offset: int, invoked: bool) -> str:
    """Why nothing is suggested at this place while typing; empty when something is."""
    if invoked or settings.trigger == "automatic":
        return ""
    if settings.trigger == "onDemand":
        return "on demand only"
    line_end = document.line_end(document.lines.line_of(offset))
    return "not at the line's end" if document.text[offset:line_end].strip() else ""


def limits_of(settings: Settings, *, invoked: bool) -> Limits:
    measured = settings.min_confidence is None
    return Limits(
        max_lines=settings.max_lines_invoked if invoked else settings.max_lines,
        max_tokens=settings.max_tokens,
        num_candidates=settings.num_candidates if invoked else 1,
        seconds=(settings.deadline_invoked_ms if invoked else settings.deadline_ms) / 1000,
        min_confidence=0.0 if invoked and measured else settings.min_confidence,
    )


def place_of(
    document: Document,
    offset: int,
    limits: Limits,
    selection: T.SelectedCompletionInfo | None,
    encoding: Encoding,
) -> Place | None:
    """With an open menu the answer must extend its selection, in the selection's range.

    None when it cannot: the selection lies elsewhere, or replaces what was typed before the
    cursor by something else.
    """
    if selection is None:
        ask = Ask(document=document, offset=offset, limits=limits)
        return Place(ask=ask, document=document, start=offset, end=offset)
    at = selection.range
    start = document.offset_at(at.start.line, at.start.character, encoding)
    end = document.offset_at(at.end.line, at.end.character, encoding)
    typed = document.text[start:offset]
    if not (start <= offset <= end and at.start.line == at.end.line):
        return None
    if not selection.text.startswith(typed):
        return None
    after = (
        document.replaced(offset, end, "", version=document.version) if end > offset else document
    )
    selected = selection.text[len(typed) :]
    ask = Ask(document=after, offset=offset, limits=limits, selected=selected)
    return Place(ask=ask, document=document, start=start, end=end)


def report(params: InfillParams, document: Document | None, answer: Answer, ms: float) -> str:
    """One line a request; of the text only how long it is."""
    kind = "invoked" if params.context.trigger_kind == INVOKED else "automatic"
    version = document.version if document else "?"
    line = f"{kind} v{version}: {answer.how}, {len(answer.candidates)} items, {ms:.0f} ms"
    infilled = answer.infilled
    if infilled is None:
        return line
    took = infilled.ms
    if draft := infilled.draft:
        line += (
            f"; {draft.steps} steps, {draft.tokens} tokens, "
            f"{draft.tokens_per_forward:.1f} tokens per forward"
        )
    line += (
        f"; ms: context {took.context:.1f}, encode {took.encode:.1f}, "
        f"denoise {took.denoise:.1f}, validate {took.validate:.1f}, total {took.total:.1f}"
    )
    return line + (f"; nothing shown: {infilled.rejected}" if infilled.rejected else "")
