"""Whether something is suggested at a place, and how much: what the settings say of it, which are
those of the document (modes.py).

Pure functions of settings and a document; nothing here waits or remembers.
"""

from infill_ls.completion.worker import CHOICES_INVOKED, QueryLimits
from infill_ls.documents import Document
from infill_ls.ignore import IgnorePolicy, ignored
from infill_ls.settings import Settings


def refusal(settings: Settings, policy: IgnorePolicy, document: Document) -> str:
    """Why nothing is suggested in this document; empty when something is. What no other choice
    of language or mode would change comes first."""
    if not settings.enable:
        return "off"
    if why := ignored(policy, document.uri, document.text):
        return why
    if settings.trigger == "off":
        return "off for this language or these files"
    if document.language_id in settings.disabled_languages:
        name = document.language_id
        return f"language {name} is off (take it out of the setting disabledLanguages)"
    return ""


def untimely(settings: Settings, document: Document, offset: int, invoked: bool) -> str:
    """Why nothing is suggested at this place while typing; empty when something is."""
    if invoked or settings.trigger == "automatic":
        return ""
    if settings.trigger == "onDemand":
        return "on demand only"
    if settings.trigger == "subtle":
        return "held back until a key asks for it"
    line_end = document.line_end(document.lines.line_of(offset))
    return "not at the line's end" if document.text[offset:line_end].strip() else ""


def limits_of(settings: Settings, *, invoked: bool) -> QueryLimits:
    measured = settings.min_confidence is None
    return QueryLimits(
        max_lines=settings.max_lines_invoked if invoked else settings.max_lines,
        max_tokens=settings.max_tokens,
        num_candidates=settings.num_candidates if invoked else 1,
        num_choices=CHOICES_INVOKED if invoked else 1,
        seconds=(settings.deadline_invoked_ms if invoked else settings.deadline_ms) / 1000,
        min_confidence=0.0 if invoked and measured else settings.min_confidence,
    )
