"""Items of the completion menu: what they insert, and what they show."""

import pytest

from infill_ls.documents import Document
from infill_ls.server import lsp
from infill_ls.server.features.menu import items_of
from infill_ls.server.greeting import ClientFeatures


def edits(source: str, text: str) -> list[tuple[lsp.Range, str]]:
    """Of the items for a text at ‸."""
    before, after = source.split("‸")
    document = Document(uri="file:///a.py", version=1, language_id="python", text=before + after)
    items = items_of(text, document, len(before), "utf-16", ClientFeatures(menu_markdown=True))
    found = [item.text_edit for item in items]
    assert all(isinstance(edit, lsp.TextEdit) for edit in found)
    return [(edit.range, edit.new_text) for edit in found if isinstance(edit, lsp.TextEdit)]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_end_as_the_documents_lines_do(newline: str) -> None:
    at = lsp.Range(lsp.Position(0, 0), lsp.Position(0, 3))

    assert edits(f"for‸{newline}{newline}", " x in y:\n    a\n    b") == [
        (at, f"for x in y:{newline}    a{newline}    b"),
        (at, "for x in y:"),
    ]


def test_what_is_shown_beside_the_menu_has_plain_line_ends() -> None:
    document = Document(uri="file:///a.py", version=1, language_id="python", text="f(\r\n")
    item = items_of("\n    a", document, 2, "utf-16", ClientFeatures())[0]

    assert isinstance(item.documentation, lsp.MarkupContent)
    assert item.documentation.value == "\n    a"
    assert "\r" not in item.label
