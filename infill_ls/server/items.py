"""Candidates as LSP items. Always with a range on one line; the document's own line ends."""

from typing import TYPE_CHECKING

from infill_ls.documents import Document, Encoding
from infill_ls.server import lsp

if TYPE_CHECKING:
    from infill_ls.completion.candidate import Candidate


def to_item(
    candidate: "Candidate",
    document: Document,
    offset: int,
    encoding: Encoding,
    *,
    start: int | None = None,
    end: int | None = None,
    command: lsp.Command | None = None,
) -> lsp.InlineCompletionItem:
    """The candidate, which goes in at `offset`, as replacing [start, end) around it.

    By default the range is empty at the cursor. With a menu's selection it is the selection's
    range, and its typed part is repeated in the text, as LSP wants it.
    """
    start = offset if start is None else start
    end = offset if end is None else end
    assert start <= offset <= end, "the range holds the cursor"
    text = document.text[start:offset] + candidate.text.replace("\n", document.newline)
    return lsp.InlineCompletionItem(
        insert_text=text, range=to_range(document, start, end, encoding), command=command
    )


def to_range(document: Document, start: int, end: int, encoding: Encoding) -> lsp.Range:
    return lsp.Range(
        lsp.Position(*document.position_at(start, encoding)),
        lsp.Position(*document.position_at(end, encoding)),
    )
