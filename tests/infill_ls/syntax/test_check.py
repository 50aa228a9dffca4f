"""What a parser says of a text at a cursor: where it is broken, and where it is not."""

import random
import re

import pytest

from infill_ls.syntax.check import Verdict, check
from infill_ls.syntax.language import language_of
from infill_ls.syntax.trees import Trees
from tests.infill_ls.syntax.sources import SOURCES, document, num_problems, verdict

# --- no worse than before ------------------------------------------------------------------------

OPEN = "def f(a):\n    return g(‸\n\n\ndef h():\n    pass\n"


def test_an_open_bracket_that_the_text_closes() -> None:
    assert verdict(OPEN, "a, 1)").clean


@pytest.mark.parametrize("text", ["a", "a, b", "(a)", "a[1], b"])
def test_an_open_bracket_that_the_text_leaves_open_is_no_worse(text: str) -> None:
    found = verdict("int f(int a)\n{\n    return g(‸;\n}\n", text, "c")

    assert found.valid
    assert not found.clean


def test_an_open_bracket_and_another_one_is_worse() -> None:
    assert not verdict(OPEN, "a, (1").valid
    assert not verdict(OPEN, "a, [1, 2").valid


def test_an_error_that_moves_into_the_text_is_rejected() -> None:
    assert not verdict(OPEN, "a)(b").valid
    assert not verdict(OPEN, "a) = (").valid


@pytest.mark.parametrize("junk", [")) = (\n", "x = = 1\n", "a b c\n"])
@pytest.mark.parametrize("place", ["before", "after"])
def test_an_error_elsewhere_does_not_matter(place: str, junk: str) -> None:
    lines = "".join(f"a{i} = {i}\n" for i in range(5))
    source = (junk if place == "before" else "") + lines
    tail = lines + (junk if place == "after" else "")

    assert verdict(source + "x = ‸\n" + tail, "f(1)").valid
    assert verdict(source + "x = ‸\n" + tail, "f(1)").clean
    assert not verdict(source + "x = ‸\n" + tail, "f(1))").valid
    assert not verdict(source + "x = ‸\n" + tail, "f(1").valid


def test_an_error_elsewhere_may_not_grow() -> None:
    source = "x = ‸\ny = (1,\nz = 2\n"

    assert not verdict(source, "(").valid
    assert not verdict(source, '"""').valid


def test_a_missing_operand_may_stay_missing_only_at_the_same_place() -> None:
    source = "function f() {\n  return a + ‸;\n}\n"

    assert verdict(source, "b", "javascript").clean
    assert not verdict(source, "b +", "javascript").clean
    assert not verdict(source, "+ + (", "javascript").valid


@pytest.mark.parametrize(
    "name", [name for name in SOURCES if language_of(name).strictness != "partial"]
)
def test_what_is_valid_never_has_more_problems_than_before(name: str) -> None:
    source, rng = SOURCES[name], random.Random(name)
    tokens = re.findall(r"\w+|\s+|[^\w\s]", source)
    for _ in range(40):
        # A hole, often where something is lost that the file needs, and a text of its own tokens.
        start = rng.randrange(len(source))
        text = source[:start] + source[start + rng.choice((0, 0, 3, 12)) :]
        at = rng.randrange(len(tokens))
        piece = "".join(tokens[at : at + rng.randrange(1, 9)])
        point = Trees().point(document(text, name), start)
        assert point is not None
        if check(point, piece).valid:
            before = num_problems(text, name)
            after = num_problems(text[:start] + piece + text[start:], name)

            assert after <= before


# --- where tree-sitter is lenient ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("x = ‸\ny = 1\n", "a."),
        ("‸\ny = 1\n", "if x:"),
        ("def f():\n    ‸\n    return 1\n", "for a in b:"),
        ("def f():\n    x = 1\n‸\n    return 1\n", "        y = 2"),
        ("def f():\n    x = 1\n‸\n    return 1\n", "y = 2"),
        ("def f():\n    ‸\n    return 1\n", "if a:\n        b\n      c"),
        ("def f():\n    ‸\n    return 1\n", "try:\n        a()"),
        ("f(‸)\n", "a=1, 2"),
        ("‸\n", "print 'a'"),
        ("x = ‸\n", "08"),
        ("class A:\n    ‸\n", "def f(self):"),
        ("def f():\n    ‸x = 1\n", "g()"),
        ("x = a‸\n", "b c()"),
        ("def f():\n    if a‸\n        pass\n", ": b"),
        ("def f():\n    a\n‸    b = 1\n    while 1:\n        pass\n", "'c'."),
    ],
)
def test_python_is_asked_too(source: str, text: str) -> None:
    assert not verdict(source, text).valid


@pytest.mark.parametrize(
    ("begun", "text"),
    [
        ("if a", " > 1:"),
        ("for", " x in a:"),
        ("with open(", "a) as b:"),
        ("def g(", "self):"),
        ("else", ":"),
    ],
)
def test_the_block_of_what_somebody_begins_may_be_still_to_come(begun: str, text: str) -> None:
    source = f"def f(a):\n    if b:\n        b = 1\n    {begun}‸\n    return 1\n"

    assert verdict(source, text).clean
    assert not verdict(source, f"{text} b c").valid
    assert not verdict(source.replace(begun, ""), begun + text).valid


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("try:\n    ‸\n", "a()"),
        ("def f():\n    try:\n        ‸\n\n\ndef g():\n    pass\n", "a()"),
        ("print 'old'\nx = ‸\n", "1"),
        ("match x:\n    case 1:\n        ‸\n", "pass"),
        ("@a\n‸\ndef f():\n    pass\n", "@b"),
        ("if x:\n    ‸\nelse:\n    pass\n", "y = 1"),
        ("‸\n    return x\n", "def f(x):"),
        ("class A:\n    def f(self):\n        ‸\n\n    def g(self):\n        pass\n", "return 1"),
        ("x = {\n    'a': ‸\n}\n", "1,"),
        ("s = '''\n‸\n'''\n", "if x:"),
        ("# ‸\nx = 1\n", "if x:"),
    ],
)
def test_python_does_not_blame_a_text_for_what_is_not_its_fault(source: str, text: str) -> None:
    assert verdict(source, text).valid


@pytest.mark.parametrize(
    ("source", "text", "name"),
    [
        ("let x = ‸\nfoo();\n", "a.", "javascript"),
        ("let x = ‸\nfoo();\n", "a +", "javascript"),
        ("if (a) { b() }‸\nfoo();\n", " else", "javascript"),
        ("f() {\n  ‸\n  g\n}\n", "a &&", "shellscript"),
    ],
)
def test_a_text_does_not_run_on_into_the_next_line(source: str, text: str, name: str) -> None:
    assert not verdict(source, text, name).valid


@pytest.mark.parametrize(
    ("source", "text", "name"),
    [
        ("let x = a &&\n  ‸\n  c;\n", "b &&", "javascript"),
        ("switch (a) {\n  ‸\n    b();\n}\n", "case 1:", "javascript"),
        ("class A {\n‸\n  int b;\n};\n", "private:", "cpp"),
        ("a = [\n  ‸\n  2,\n]\n", "1,", "ruby"),
        ("‸\n    return a\n", "def f(a,\n      b):", "python"),
        ("‸\n  b();\n}\n", "if (a &&\n    c) {", "javascript"),
        ("def f():\n    ‸\n    return 1\n", "return", "python"),
        ("function f() {\n  ‸\n}\n", "return", "javascript"),
        ("class A {\n  ‸\n  void f() {}\n}\n", "@Override", "java"),
        ("‸\na = 1\n", "[[b]]", "toml"),
        ("ifdef A\nB = 1\n‸\nB = 2\nendif\n", "else", "makefile"),
        # a comment that took in all that follows
        ("/** ‸\nclass A {\n  /* b */\n}\n", "a */", "java"),
        ("/** ‸\nobject A\n", "a */", "scala"),
        ("cat <<EOF\na\n‸\ng\n", "EOF", "shellscript"),
    ],
)
def test_a_line_may_end_where_the_next_one_belongs_to_it(source: str, text: str, name: str) -> None:
    assert verdict(source, text, name).valid


@pytest.mark.parametrize(
    ("source", "text", "name"),
    [
        ("def f():\n ‸   g()\n", "# a", "python"),
        ("f(‸)\n", "a # b", "python"),
        ("  ‸f();\n", "// a", "javascript"),
        ("int a; ‸int b;\n", "/* a", "c"),
        ("int a;‸\nint b; /* c */\n", " /* d", "c"),
        ("a = 1;‸\nb(`c`, 2, `d`);\n", " e = `f", "javascript"),
    ],
)
def test_a_text_does_not_turn_what_follows_into_a_comment(
    source: str, text: str, name: str
) -> None:
    assert not verdict(source, text, name).valid


def test_a_comment_may_go_on() -> None:
    assert verdict("# a ‸ c\n", "b").valid
    assert verdict("x = 1 ‸\n", "# b").valid


# --- what is to blame ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "text", "blamed"),
    [
        ("x = ‸\n", "f(1))", ")"),
        ("x = ‸\n", "a + + b c", "b c"),
        ("ü = '😀'\nx = ‸\n", "'😀é' + ]", "]"),
        ("def f():\n    ‸\n    return 1\n", "a = 1\n    b = ]\n    c = 2", "]"),
    ],
)
def test_the_blamed_span_is_in_characters_of_the_text(source: str, text: str, blamed: str) -> None:
    found = verdict(source, text)

    assert not found.valid
    assert any(text[start:end].strip() in blamed.split() for start, end in found.spans)
    assert all(0 <= start <= end <= len(text) for start, end in found.spans)


@pytest.mark.parametrize("text", ["self, *", "a=1, b"])
def test_the_header_of_a_long_statement_is_asked_about_too(text: str) -> None:
    body = "".join(f"        x{i} = {i}\n" for i in range(80))
    source = f"class A:\n    def f(‸):\n{body}\n    y = 1\n"

    assert not verdict(source, text).valid
    assert verdict(source, "self, *, a").valid


@pytest.mark.parametrize("name", SOURCES)
def test_what_follows_from_the_last_tree_is_what_follows_from_a_fresh_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a line is typed; what is tried is right, half right and wrong."""
    rng, source = random.Random(name), SOURCES[name]
    lines = [match.span() for match in re.finditer(r"\S.*", source)]
    tried = []
    for start, end in rng.sample(lines, 4):
        for at in range(start, min(end, start + 8)):
            rest = source[at:end]
            ends = ("", ")", "'", "\n}", " /*")
            texts = (rest + rng.choice(ends), rng.choice(("x", "(", '"', "# b", "f(a)\ny")))
            tried += [(source[:at] + source[end:], at, text) for text in texts]

    def verdicts() -> list[Verdict]:
        trees, found = Trees(), []
        for version, (text, at, said) in enumerate(tried):
            point = trees.point(document(text, name, version), at)
            found += [check(point, said)] if point is not None else []
        return found

    by_change = verdicts()
    for module in ("reparse", "check"):
        monkeypatch.setattr(f"infill_ls.syntax.{module}.is_readable", lambda _: False)
    assert by_change == verdicts()
