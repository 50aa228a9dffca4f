"""Changes of text files: whatever stands there, nothing else is changed, and all comes back."""

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infill_ls.cli.setup import helix, jsonc, lisp
from infill_ls.cli.setup.change import Change, taken_out, undone

LINES = st.lists(st.sampled_from(["a\n", "b\n", "\n", "}\n", "c\r\n", "\u2028x\n"]), max_size=12)
TEXTS = st.text('"\\\\{}[]:,/* é', max_size=3)
SCALARS = st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
OBJECTS = st.dictionaries(
    TEXTS, SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(TEXTS, SCALARS, max_size=2)
)


@settings(deadline=None)
@given(LINES, LINES, st.sampled_from(["", "end"]))
def test_a_change_that_nothing_was_added_to_comes_back_exactly(
    old: list[str], new: list[str], tail: str
) -> None:
    change = Change(path=Path("x"), before="".join(old) + tail, after="".join(new) + tail)

    assert undone(change.after, change.edits) == change.before


@settings(deadline=None)
@given(LINES, st.lists(st.sampled_from(["mine\n", "yours\n"]), max_size=4))
def test_what_was_added_is_taken_out_from_among_other_lines(
    lines: list[str], more: list[str]
) -> None:
    old = "".join(lines)
    change = Change(path=Path("x"), before=old, after=old + "first\nsecond\n")
    now = "".join(more) + change.after + "".join(more)

    assert taken_out(now, change.edits) == "".join(more) + old + "".join(more)
    assert taken_out(now + "first\nsecond\n", change.edits) is None
    assert taken_out(now.replace("second", "2nd"), change.edits) is None


@settings(max_examples=40, deadline=None)
@given(OBJECTS, st.sampled_from([None, 2, "\t"]), st.sampled_from(["", "// x {\n", "/* } */\n"]))
def test_a_key_more_changes_no_other(
    value: dict[str, object], indent: object, comment: str
) -> None:
    text = f"{comment}{json.dumps(value, indent=indent)}{comment}"
    once = jsonc.with_key(text, ["ours", "infill-ls"], {"on": [True, "x"]})
    twice = jsonc.with_key(once, ["ours", "other"], None)

    assert jsonc.parse(text).value == value
    assert jsonc.parse(once).value == {**value, "ours": {"infill-ls": {"on": [True, "x"]}}}
    assert jsonc.parse(twice).value["ours"] == {"other": None, "infill-ls": {"on": [True, "x"]}}
    assert jsonc.value_at(twice, ["ours", "other"]) == (None,)
    less = jsonc.without_key(twice, ["ours", "other"])
    assert jsonc.parse(less).value == jsonc.parse(once).value
    assert jsonc.parse(jsonc.without_key(less, ["ours", "infill-ls"])).value == value
    for key in value:
        left = jsonc.without_key(text, [key])
        assert jsonc.parse(left).value == {name: it for name, it in value.items() if name != key}
        assert comment in left


def test_a_file_with_comments_alone_gets_an_object() -> None:
    for text in ("", "\n", "// nothing yet", "/* nothing */\n"):
        made = jsonc.with_key(text, ["a"], 1)

        assert made.startswith(text)
        assert jsonc.parse(made).value == {"a": 1}


def test_a_key_goes_with_its_comma_and_its_line_alone() -> None:
    for text, left in (
        ('{"a": 1, "b": 2, "c": 3}', '{"a": 1, "c": 3}'),
        ('{"a": 1, "b": 2}', '{"a": 1}'),
        (
            '{\n  // of a\n  "a": 1,\n  "b": {\n  }, // of b\n}\n',
            '{\n  // of a\n  "a": 1,\n  // of b\n}\n',
        ),
        ('{\r\n  "b": 2,\r\n  "a": 1\r\n}', '{\r\n  "a": 1\r\n}'),
        ('{\n  "a": 1, // of a\n  "b": 2\n}', '{\n  "a": 1 // of a\n}'),
    ):
        assert jsonc.without_key(text, ["b"]) == left
    assert jsonc.without_key('{"x": {"y": {"b": 1}}}', ["x", "y", "b"]) == "{}"
    assert jsonc.without_key('{"x": { // y\n"b": 1}}', ["x", "b"]) == '{"x": { // y\n}}'


def test_servers_of_a_language_stay_in_their_order() -> None:
    asked = {"python": ["pylsp", "ruff"], "go": ["gopls"], "c": []}
    for text, python in (
        ("", ["pylsp", "ruff"]),
        ('[[language]]\nname = "python"\n', ["pylsp", "ruff"]),
        ('[[language]]\r\nname = "python"\r\nindent = { tab-width = 4 }\r\n', ["pylsp", "ruff"]),
        ('[[language]]\nname = "python"\nlanguage-servers = ["a" # ]"\n]\n', ["a"]),
        ("[[language]]\nname = 'python'\nlanguage-servers = []\n", []),
        (
            '[[language]]\nscope = "x"\nname = "python"\nlanguage-servers = ["a",\n "b",\n]\n',
            ["a", "b"],
        ),
        (
            '[[language]]\nname = "python"\nlanguage-servers = [{ name = "a", except-features = '
            '["x"] }]\n[language.auto-pairs]\n"(" = ")"\n',
            [{"name": "a", "except-features": ["x"]}],
        ),
    ):
        made = helix.with_server(text, ["C:\\infill-ls", "--connect"], asked)
        languages = {each["name"]: each for each in tomllib.loads(made)["language"]}

        assert languages["python"]["language-servers"] == [*python, "infill-ls"]
        assert languages["go"]["language-servers"] == ["gopls", "infill-ls"]
        assert languages["c"]["language-servers"] == ["infill-ls"]
        assert helix.with_server(made, ["C:\\infill-ls", "--connect"], asked) == made
        edits = Change(path=Path("x"), before=text, after=made).edits
        for written, kept in (
            ("".join(edit.new for edit in edits), text),
            ("", made),
        ):  # known by the record, or by nothing
            left = tomllib.loads(helix.without_server(made, written))
            own = {each["name"] for each in tomllib.loads(kept).get("language", [])}
            assert {each["name"] for each in left.get("language", [])} == own
            assert "infill-ls" not in str(left)


@given(st.lists(st.sampled_from(["(a)", "", ";; b", "'(c . d)"])), st.sampled_from(["\n", "\r\n"]))
def test_a_block_goes_whatever_is_said_in_it(lines: list[str], newline: str) -> None:
    text = newline.join(["(first)", *lines, ""])
    made = lisp.with_block(text, ("infill-ls",)).replace("0.2", "0.5") + "(mine)"

    assert lisp.without_block(made) == text + "(mine)"
    assert lisp.without_block(text) == text
    with pytest.raises(lisp.LispError, match="there is none of ;; <<<"):
        lisp.without_block(made.replace(lisp.END, ""))


def test_servers_that_helix_names_are_read_with_and_without_colours() -> None:
    for health, servers in (
        ("Configured language servers: None\nConfigured debug adapter: None\n", []),
        (
            "Configured language server: \n  ✓ a-b.c: /x\n  ✘ d: 'd' not found in $PATH\nX: y\n",
            ["a-b.c", "d"],
        ),
        ("Language 'x' not found\n", None),
    ):
        assert helix.listed_servers(health) == servers
