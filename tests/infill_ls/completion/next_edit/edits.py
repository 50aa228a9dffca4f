"""Edits by two texts: what a user's was, and what is proposed after it."""

from infill_engine.budget import UNLIMITED
from infill_ls.completion.next_edit.calibration import SHOWN_FROM, weighed
from infill_ls.completion.next_edit.history import Edit, noted
from infill_ls.completion.next_edit.offer import NextEdit, likeliest, proposals, site_of
from infill_ls.completion.next_edit.source import Source
from infill_ls.documents import Change, Document, DocumentStore, Splice

URI = "file:///a.py"


def edited(old: str, new: str, language: str = "python") -> tuple[Document, tuple[Edit, ...]]:
    """The document after the change from one text to the other, and its one edit."""
    store = DocumentStore()
    store.open(URI, language, 1, old)
    edits: tuple[Edit, ...] = ()

    def seen(before: Document, splice: Splice) -> None:
        nonlocal edits
        edits = noted(edits, before.text, splice, 0.0)

    document = store.change(URI, 2, [Change(text=new)], "utf-16", seen)
    assert document is not None
    return document, edits


def proposed(old: str, new: str, language: str = "python") -> dict[str, str]:
    """By rule the document after the first proposal of each."""
    document, edits = edited(old, new, language)
    site = site_of(Source(document), edits[-1])
    found: dict[str, str] = {}
    for each in proposals(site, UNLIMITED) if site else ():
        lines = list(site.lines) if site else []
        lines[each.first : each.end] = each.lines
        found.setdefault(each.rule, "\n".join(lines))
    return found


def shown(document: Document, edits: tuple[Edit, ...]) -> NextEdit | None:
    """What is offered by the rules alone."""
    edit = likeliest(document, edits).edit
    likely = weighed(edit.confidence, edit.agreed, None) if edit else 0.0
    return edit if likely >= SHOWN_FROM else None


def offered(old: str, new: str, language: str = "python") -> str | None:
    """The document after what is offered; None where nothing is."""
    document, edits = edited(old, new, language)
    edit = shown(document, edits)
    return edit and document.text[: edit.start] + edit.text + document.text[edit.end :]
