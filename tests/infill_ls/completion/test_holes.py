"""All holes of a document: which there are, and what goes into them together."""

import json
import tomllib

import pytest
import yaml

from benchmarks.structures.documents import documents
from infill_engine import Hole, InfillRequest
from infill_ls.completion.context import InfillOptions
from infill_ls.completion.holes import HolesFilled, fill_holes
from infill_ls.completion.markers import Marker, markers, selected
from infill_ls.completion.structures import yaml_text
from infill_ls.completion.structures.complete import completed, structured_task
from infill_ls.completion.structures.json_text import DocumentError
from infill_ls.documents import Document
from infill_ls.server.features.holes import title
from tests.infill_ls.completion.structures.proposing import Proposing, Say
from tests.infill_ls.scripted import Several


def document(text: str, language: str = "python") -> Document:
    return Document(uri=f"file:///a.{language}", version=1, language_id=language, text=text)


def filled(text: str, says: Say | str, language: str = "python", *chosen: Marker) -> str:
    given = document(text, language)
    return applied(given, fill_holes(Proposing(says), given, chosen, InfillOptions(max_lines=5)))


def applied(given: Document, result: HolesFilled) -> str:
    text = given.text
    for each in reversed(result.replacements):
        text = text[: each.start] + each.text + text[each.end :]
    return text


def marked(text: str, language: str = "python") -> list[str]:
    return [text[each.start : each.end] for each in markers(document(text, language))]


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("f(___, a___b, ____)", "python", ["___"]),
        ("def f():\n    # TODO: sum\n    pass\n", "python", ["pass"]),
        ("def f():\n    ...  # todo: sum\n", "python", ["...  # todo: sum"]),
        ("def f():\n    # done\n    pass\n", "python", []),
        ("class P:\n    def f(self): ...\n", "python", []),
        ("# TODO\nx = 1\npass\n", "python", []),
        ("# TODO\npass\n", "lua", []),
        ("text\n\n___\n\nand ___\n", "markdown", ["___"]),  # a line of it is a rule
        ("def f():\n    pass  # TODO ___\n", "python", ["pass  # TODO ___"]),
        (
            'def f():\n    """Use ___.\n\n    # TODO\n    pass\n    """\n    x = ___\n',
            "python",
            ["___"],
        ),
        ('f("___", "a ___ b", f"{___} ___")\n', "python", ["___"]),
        ("p = <p>Don't ___</p>\n", "javascriptreact", ["___"]),  # an apostrophe
        ("cat <<EOF\n___\nEOF\nx=___\n", "shellscript", ["___"]),
        ('{"a": "x ___", // ___\n"b": ___}', "jsonc", ["___", "___", "___"]),
    ],
)
def test_markers(text: str, language: str, expected: list[str]) -> None:
    assert marked(text, language) == expected


def test_a_selection_is_a_hole_and_holes_do_not_overlap() -> None:
    given = document("one two\nthree")

    assert selected(given, [(4, 10), (0, 3), (2, 5)]) == [
        Marker(start=0, end=3),
        Marker(start=4, end=10, lines=True),
    ]


def test_holes_on_their_lines_share_a_canvas_and_are_one_edit() -> None:
    engine = Proposing(lambda _, at: ("b", "a")[at])
    given = document("def add(a, ___):\r\n    return ___ + b\r\n")
    result = fill_holes(engine, given, (), InfillOptions())

    (request,) = engine.requests
    assert request.middle == (Hole(max_tokens=12), "):\n    return ", Hole(max_tokens=12))
    assert applied(given, result) == "def add(a, b):\r\n    return a + b\r\n"


def test_each_is_checked_with_the_others_in_it_and_tried_again_by_itself() -> None:
    def says(request: InfillRequest, at: int) -> str:
        jointly = len(request.middle) > 1
        return ("x)", "y")[at] if jointly else "z"

    text = filled("a = f(___)\nb = [___]\n", says)

    assert text == "a = f(x)\nb = [y]\n"  # what the suffix says is cut
    assert filled("a = (___)\nb = ___\n", lambda _, at: ")" if at else "2") == "a = (2)\nb = 2\n"


def test_a_stub_takes_lines_and_keeps_what_it_says_is_to_do() -> None:
    body = "total = sum(values)\n    return total"
    text = filled("def mean(values):\n    pass  # TODO: the mean\n", body)

    assert text == f"def mean(values):\n    # TODO: the mean\n    {body}\n"


def test_a_hole_with_nothing_right_stays() -> None:
    given = document("x = (___\n")
    result = fill_holes(Proposing(")))"), given, (), InfillOptions())

    assert (result.replacements, result.holes, result.left) == ((), 1, 1)


@pytest.mark.parametrize(
    ("text", "says", "expected"),
    [
        ("x = [___, (___)]\n", "_", None),
        ("print(___, file=___)\n", "_____", None),
        ("x = ___\n", "hex___", None),
        ("def f():\n    pass  # TODO\n", "...", None),
        ("x = ___\n", "[]", "x = []\n"),  # empty, and yet a value
        ("if x ___ y:\n    f()\n", "==", "if x == y:\n    f()\n"),
    ],
)
def test_underscores_and_marks_fill_nothing(text: str, says: str, expected: str | None) -> None:
    given = document(text)
    result = fill_holes(Proposing(says), given, (), InfillOptions(max_lines=5))

    assert applied(given, result) == (expected or text)
    assert result.left == (0 if expected else result.holes)


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("json", '{"a": ___, "b": 7, "c": [___]}', '{"a": null, "b": 7, "c": [null]}'),
        ("yaml", "a: ___\nb: 7\nc:\n  - ___\n", None),
        ("toml", "a = ___\nb = 7\nc = [___]\n", 'a = ""\nb = 7\nc = [""]\n'),
    ],
)
@pytest.mark.parametrize("says", ["", "hex___", '"hex___"', '"__"'])
def test_values_that_are_none_are_counted(
    language: str, text: str, expected: str | None, says: str
) -> None:
    given = document(text, language)
    result = fill_holes(Proposing(says), given, (), InfillOptions())

    assert (applied(given, result), result.left) == (expected or text, 2)


def test_of_several_texts_the_first_that_is_a_value_is_taken() -> None:
    given = document("x = ___\n")
    result = fill_holes(Several("_", "y"), given, (), InfillOptions(num_choices=3))

    assert applied(given, result) == "x = y\n"


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("json", '{"a": ___, "b": [', '{"a": 7, "b": []}'),
        ("yaml", "a:\nb: ___\nc:\n  - ", "a: 7\nb: 7\nc:\n  - 7"),
        ("yaml", "a: [1, {b: 'x", "a: [1, {b: 'x'}]"),
        ("yaml", "base: &one 1\nother: *o", "base: &one 1\nother: *one"),
        ("yaml", "a: 1\nke", "a: 1\nke: 7"),
        ("yaml", "a: |\n  key:\n  ___\n", "a: |\n  key:\n  ___\n"),  # that is text
        ("toml", "a = \nb = ___\n[t", "a = 7\nb = 7\n[t]"),
        ("toml", 'a = [1, { b = "x', 'a = [1, { b = "x" }]'),
        ("toml", "d = 1979-05", "d = 1979-05-01"),
        ("toml", "a = 1\na", "a = 1\na_2 = 7"),
        ("toml", "a = [\n  1, # c", "a = [\n  1, # c\n]"),
        ("toml", 'a = """x', 'a = """x"""'),
    ],
)
def test_structured_text_is_filled_and_closed(language: str, text: str, expected: str) -> None:
    assert filled(text, "7", language) == expected


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("json", '{\r\n  "a": 1,\n  "c": 3\n}\r\n', None),
        ("json", '{\r\n  "a": ___,\n\r\n "c": [', '{\r\n  "a": 7,\n\r\n "c": []\r\n}'),
        ("yaml", "a: 1\r\nb: 2\nc: 3\r\n", None),
        ("yaml", "a: ___\r\nb:\nc: 3\r", "a: 7\r\nb: 7\nc: 3\r"),
        ("toml", "a = 1\r\nb = 2\n", None),
        ("toml", "a = 1\r\nb = ___\nc = 2\r\n", "a = 1\r\nb = 7\nc = 2\r\n"),
    ],
)
def test_every_line_ends_as_it_did(language: str, text: str, expected: str | None) -> None:
    given = document(text, language)
    result = fill_holes(Proposing("7"), given, (), InfillOptions())

    assert applied(given, result) == (expected or text)
    assert bool(result.replacements) == bool(expected)


@pytest.mark.parametrize(
    ("name", "language"),
    [
        *(("a.jsonc", "jsonc"), ("tsconfig.json", "json"), ("x/.vscode/settings.json", "json")),
        ("tsconfig.build.json", "jsonc"),
    ],
)
def test_json_with_comments_is_filled_as_code_is(name: str, language: str) -> None:
    text = '{\n  // ours\n  "a": ___, /* b */\n}\n'
    given = Document(uri=f"file:///p/{name}", version=1, language_id=language, text=text)
    whole = given.replaced(19, 22, "1", version=2)

    result = fill_holes(Proposing("7"), given, (), InfillOptions())
    assert applied(given, result) == text.replace("___", "7")
    assert (title(given), title(whole)) == ("Infill the hole", "")
    lines = Document(uri="file:///a.jsonl", version=1, language_id="json", text="1\n2\n")
    assert title(lines) == ""


@pytest.mark.parametrize(
    ("language", "text", "says"),
    [
        ("yaml", "a: b: c\n", "Line 1, column 5"),
        ("toml", "a = 1\na = 2\n", "Cannot overwrite"),
        ("toml", "x = foo\ny = 1\n", "put it in quotes"),
        ("json", "{'a': 1}", "in quotes"),
    ],
)
def test_what_no_text_could_finish_is_a_sentence(language: str, text: str, says: str) -> None:
    with pytest.raises(DocumentError, match=says):
        filled(text, "7", language)


def test_no_end_is_tried_where_it_is_wrong_far_before(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(yaml_text, "is_yaml", lambda text: bool(tried.append(text)))

    for rows in (600, 6):
        with pytest.raises(DocumentError, match="Line 1, column 5"):
            structured_task("a: b: c\n" + "d: 1\n" * rows, "yaml")
        assert bool(tried) == (rows == 6)


PARSES = {"json": json.loads, "yaml": yaml.safe_load, "toml": tomllib.loads}


def test_random_documents_that_are_not_finished_parse_whatever_is_proposed() -> None:
    said = (
        "",
        "3",
        "a: b",
        "'",
        "true # c",
        "[1",
        '"x" y',
        "- z",
        "\\",
        "key = 1",
        "{",
        "2024-01-01",
    )
    for at, each in enumerate(documents(120)):
        task = structured_task(each.text, each.language_id)
        text = completed(Proposing(said[at % len(said)]), task).text

        PARSES[each.language_id](text)


@pytest.mark.parametrize("at", range(3))
def test_every_cut_of_a_document_can_be_finished(at: int) -> None:
    whole = documents(30)[at + 9 if at else 9]
    for end in range(0, len(whole.text) + 1, 1 + at % 2 * 3):  # PyYAML is slow
        text = completed(Proposing(""), structured_task(whole.text[:end], whole.language_id)).text

        PARSES[whole.language_id](text)
