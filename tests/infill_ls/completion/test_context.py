"""The window round the cursor: bounded, at line ends, and still while the user types."""

import random

import pytest

from infill_engine.request import Hole
from infill_ls.completion.context import (
    Context,
    InfillOptions,
    context_at,
    indentation_of,
    request_for,
    warm_request,
)
from infill_ls.documents import Document
from infill_ls.syntax.language import language_of

LINES = "".join(f"value_{i} = compute({i})\n" for i in range(2000))


def at(source: str, language_id: str = "python") -> Context:
    before, after = source.split("‸")
    document = Document(uri="file:///a", version=7, language_id=language_id, text=before + after)
    return context_at(document, len(before))


def around(text: str, offset: int) -> Context:
    return context_at(Document(uri="a", version=1, language_id="python", text=text), offset)


def test_both_sides_of_a_small_file_are_whole() -> None:
    context = at("a = 1\nb = ‸2\nc = 3\n")

    assert context.prefix == "a = 1\nb = "
    assert context.suffix == "2\nc = 3\n"
    assert context.line_before == "b = "
    assert context.line_after == "2"
    assert (context.offset, context.version, context.uri) == (10, 7, "file:///a")


@pytest.mark.parametrize("source", ["‸", "a‸", "‸a", "\n‸", "‸\n", "😀‸😀"])
def test_the_ends_of_a_file(source: str) -> None:
    context = at(source)

    assert source == context.prefix + "‸" + context.suffix


def test_an_offset_past_the_end_is_the_end() -> None:
    context = around("abc", 99)

    assert (context.prefix, context.suffix, context.offset) == ("abc", "", 3)


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_both_sides_have_lf_line_ends(newline: str) -> None:
    context = at("a\nb‸\nc\n".replace("\n", newline))

    assert ("a\nb", "\nc\n", newline) == (context.prefix, context.suffix, context.newline)


def test_a_window_is_bounded_and_cut_at_line_ends() -> None:
    rng = random.Random(1)
    for _ in range(200):
        offset = rng.randrange(len(LINES))
        context = around(LINES, offset)

        assert LINES[:offset].endswith(context.prefix)
        assert LINES[offset:].startswith(context.suffix)
        assert len(context.prefix) <= 24_000
        assert len(context.suffix) <= 12_000
        assert len(context.prefix) > 22_000 or len(context.prefix) == offset
        assert len(context.suffix) > 10_900 or context.suffix == LINES[offset:]
        start = offset - len(context.prefix)
        assert start == 0 or LINES[start - 1] == "\n"
        assert context.suffix == LINES[offset:] or context.suffix.endswith("\n")


def test_a_line_longer_than_the_window_is_cut_within() -> None:
    text = "x" * 60_000
    context = around(text, 30_000)

    assert 22_000 < len(context.prefix) <= 24_000
    assert 10_900 < len(context.suffix) <= 12_000


def test_typing_moves_neither_end_of_the_window() -> None:
    offset, typed = 30_000, "result = function(argument, other)\n    " * 3
    starts, suffixes = set(), set()
    for count in range(len(typed)):
        text = LINES[:offset] + typed[:count] + LINES[offset:]
        context = around(text, offset + count)
        starts.add(offset + count - len(context.prefix))
        suffixes.add(context.suffix)

    assert len(suffixes) == 1
    assert len(starts) <= 2  # a step every 1,500 characters


@pytest.mark.parametrize(
    ("source", "language_id", "expected"),
    [
        ("def f():\n    x\n‸", "python", "    "),
        ("def f():\n  x\n  if y:\n    z\n‸", "python", "  "),
        ("def f():\n\tx\n‸", "python", "\t"),
        ("‸x\n", "python", "    "),
        ("‸x\n", "javascript", "  "),
        ("‸x\n", "go", "\t"),
        ("‸x\n", "klingon", "    "),
        ("/**\n * a\n * b\n */\nf() {\n    a;\n}\n‸", "java", "    "),
        ("f() {\n\ta;\n}\n\ng() {\n    ‸\n}\n", "c", "    "),
        ("f() {\n    a;\n}\n\ng() {\n\t‸\n}\n", "c", "\t"),
        ("‸\nf() {\n\ta;\n\tb;\n}\n", "c", "\t"),
    ],
)
def test_one_level_of_indentation(source: str, language_id: str, expected: str) -> None:
    before, after = source.split("‸")

    assert expected == indentation_of(before, after, language_of(language_id))


def test_a_request_has_one_hole_and_all_that_is_asked_for() -> None:
    options = InfillOptions(
        max_lines=3, max_tokens=9, num_candidates=2, num_choices=5, seed=4, neighbours=("a",)
    )
    request = request_for(at("x = ‸\n"), options)

    assert request.middle == (Hole(max_tokens=9),)
    assert (request.prefix, request.suffix, request.language_id) == ("x = ", "\n", "python")
    assert (request.max_lines, request.num_candidates, request.num_choices) == (3, 2, 5)
    assert (request.seed, request.neighbours) == (4, ("a",))


def test_the_menus_selection_is_pinned_at_the_start() -> None:
    request = request_for(at("x.‸\n"), InfillOptions(selected="append"))

    assert request.middle == ("append", Hole())


def test_what_is_warmed_is_what_will_be_asked_for() -> None:
    document = Document(uri="a", version=1, language_id="python", text=LINES)
    options = InfillOptions()

    assert request_for(context_at(document, 999), options) == warm_request(document, 999, options)
