"""Items go in at the cursor, in the client's units and the document's line ends."""

import random

import pytest

from infill_ls.completion.candidate import Candidate
from infill_ls.completion.worker import QueryLimits
from infill_ls.documents import Document, Encoding
from infill_ls.server import lsp
from infill_ls.server.features.inline import insertion_point
from infill_ls.server.items import to_item
from tests.infill_ls.engines import draft

LIMITS = QueryLimits(
    max_lines=6, max_tokens=None, num_candidates=1, seconds=0.3, min_confidence=0.0
)


def marked(text: str) -> tuple[Document, int]:
    """The cursor is at ‸."""
    before, after = text.split("‸")
    uri = "file:///a.py"
    return Document(uri=uri, version=1, language_id="python", text=before + after), len(before)


def candidate(text: str) -> Candidate:
    return Candidate(text=text, score=1.0, parses=True, draft=draft(text, 1, True))


def applied(document: Document, item: lsp.InlineCompletionItem, encoding: Encoding) -> str:
    """What an editor makes of the document when the item is accepted."""
    assert item.range is not None
    assert isinstance(item.insert_text, str)
    start, end = item.range.start, item.range.end
    return document.replaced(
        document.offset_at(start.line, start.character, encoding),
        document.offset_at(end.line, end.character, encoding),
        item.insert_text,
        version=2,
    ).text


def vscode_shows(document: Document, item: lsp.InlineCompletionItem, encoding: Encoding) -> bool:
    """VS Code's rule: one line is replaced, by a text that holds what is replaced in its order."""
    assert item.range is not None
    assert isinstance(item.insert_text, str)
    start, end = item.range.start, item.range.end
    replaced = document.text[
        document.offset_at(start.line, start.character, encoding) : document.offset_at(
            end.line, end.character, encoding
        )
    ]
    letters = iter(item.insert_text.split("\n")[0])
    subsequence = all(letter in letters for letter in replaced)
    return start.line == end.line and subsequence and len(item.insert_text) <= 5000


def test_the_range_is_empty_at_the_cursor() -> None:
    document, offset = marked("x = (‸)\n")
    item = to_item(candidate("1"), document, offset, "utf-16")

    at = lsp.Position(0, 5)
    assert item == lsp.InlineCompletionItem(insert_text="1", range=lsp.Range(at, at))


@pytest.mark.parametrize(("encoding", "column"), [("utf-8", 30), ("utf-16", 21), ("utf-32", 20)])
def test_columns_are_in_the_clients_units(encoding: Encoding, column: int) -> None:
    document, offset = marked('s = "日本語😀é"; return ‸')
    item = to_item(candidate("s"), document, offset, encoding)

    assert item.range is not None
    assert item.range.start == item.range.end == lsp.Position(0, column)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_end_as_the_documents_lines_do(newline: str) -> None:
    document, offset = marked(f"def f():‸{newline}{newline}")
    item = to_item(candidate("\n    a\n    b"), document, offset, "utf-16")

    assert item.insert_text == f"{newline}    a{newline}    b"


def test_with_a_menu_the_item_extends_its_selection_in_its_range() -> None:
    document, offset = marked("x.pri‸\n")
    at = lsp.Range(lsp.Position(0, 2), lsp.Position(0, 5))
    point = insertion_point(
        document, offset, LIMITS, lsp.SelectedCompletionInfo(at, "print"), "utf-16"
    )

    assert point is not None
    assert (point.query.selected, point.start, point.end) == ("nt", 2, 5)
    item = to_item(candidate("nt(y)"), document, offset, "utf-16", start=point.start, end=point.end)
    assert item == lsp.InlineCompletionItem(insert_text="print(y)", range=at)
    assert applied(document, item, "utf-16") == "x.print(y)\n"


def test_a_selection_that_replaces_the_rest_of_the_word_takes_it_out_of_the_suffix() -> None:
    document, offset = marked("x.pri‸vate\n")
    at = lsp.Range(lsp.Position(0, 2), lsp.Position(0, 9))
    point = insertion_point(
        document, offset, LIMITS, lsp.SelectedCompletionInfo(at, "print"), "utf-16"
    )

    assert point is not None
    assert (point.query.document.text, point.query.offset, point.query.selected) == (
        "x.pri\n",
        5,
        "nt",
    )
    item = to_item(candidate("nt(y)"), document, offset, "utf-16", start=point.start, end=point.end)
    assert applied(document, item, "utf-16") == "x.print(y)\n"


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        ((0, 2), (0, 5), "Private"),  # another case than typed
        ((0, 0), (0, 1), "xy"),  # not at the cursor
        ((0, 2), (1, 0), "print"),  # over several lines
    ],
)
def test_a_selection_that_does_not_continue_the_text_gets_nothing(
    start: tuple[int, int], end: tuple[int, int], text: str
) -> None:
    document, offset = marked("x.pri‸\n")
    at = lsp.Range(lsp.Position(*start), lsp.Position(*end))
    info = lsp.SelectedCompletionInfo(at, text)

    assert insertion_point(document, offset, LIMITS, info, "utf-16") is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_accepting_any_item_inserts_the_candidate_and_vscode_would_show_it(
    encoding: Encoding,
) -> None:
    rng = random.Random(encoding)
    for _ in range(200):
        text = "".join(rng.choices(["a", "é", "日", "😀", " ", "\n", "\f", "\u2028"], k=30))
        document, _ = marked(text + "‸")
        at = rng.randint(0, len(text))
        inserted = "".join(rng.choices(["b", "😀", "\n", " "], k=rng.randint(1, 8)))
        item = to_item(candidate(inserted), document, at, encoding)

        assert applied(document, item, encoding) == text[:at] + inserted + text[at:]
        assert vscode_shows(document, item, encoding)
