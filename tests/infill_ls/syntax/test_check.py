"""What a parser says of a text at a cursor: in every language, in whole and in broken files."""

import random
import re
import time
from pathlib import Path

import pytest
from tree_sitter import Parser, Tree

from infill_ls.documents import Document
from infill_ls.syntax.check import Place, Trees, Verdict, check, problems, utf8
from infill_ls.syntax.language import LANGUAGES, grammar, language, language_id_of

FILES = sorted((Path(__file__).parents[2] / "data" / "languages").iterdir())
SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in FILES}


def document(text: str, language_id: str = "python", version: int = 1) -> Document:
    return Document(
        uri=f"file:///{language_id}", version=version, language_id=language_id, text=text
    )


def marked(source: str, language_id: str) -> tuple[Document, int]:
    before, after = source.split("‸")
    return document(before + after, language_id), len(before)


def verdict(source: str, text: str, language_id: str = "python") -> Verdict:
    place = Trees().place(*marked(source, language_id))

    assert place is not None
    return check(place, text)


def fresh(text: str, language_id: str) -> Tree:
    found = grammar(language_id)
    assert found is not None
    return Parser(found).parse(utf8(text))


def num_problems(text: str, language_id: str) -> int:
    """By a walk over every node, which `problems` avoids."""
    count, stack = 0, [fresh(text, language_id).root_node]
    while stack:
        node = stack.pop()
        count += node.is_error or node.is_missing
        stack += node.children
    return count


# --- languages -----------------------------------------------------------------------------------


def test_every_language_with_a_grammar_has_a_source_file_without_errors() -> None:
    expected = {each.id for each in LANGUAGES if each.grammar}

    assert expected == set(SOURCES)
    assert not [name for name, text in SOURCES.items() if num_problems(text, name)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_name_tells_its_language(path: Path) -> None:
    assert path.stem == language_id_of(str(path))


@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        *(("javascriptreact", "javascript"), ("bash", "shellscript"), ("tsx", "typescriptreact")),
        *(("Python", "python"), ("c++", "cpp"), ("jsonc", "json"), ("klingon", ""), ("", "")),
    ],
)
def test_the_usual_names_of_a_language_are_known(alias: str, expected: str) -> None:
    assert expected == language(alias).id


def test_a_language_without_a_grammar_has_no_place_to_check() -> None:
    assert Trees().place(document("fn main(", "klingon"), 3) is None
    assert Trees().tree_for(document("# title", "markdown")) is None


# Where a text goes; one that fits; with a closer too many; with one too few; and the same file
# broken at the cursor: a text that mends it or is no worse, and one that is.
CASES = {
    "python": (
        ("def f(a):\n    x = ‸\n    return x\n", "g(a, [1])", "g(a, [1]))", "g(a, [1]"),
        ("def f(a):\n    x = g(‸\n    return x\n", "a, 1)", "a, 1))"),
    ),
    "javascript": (
        ("function f(a) {\n  const x = ‸;\n  return x;\n}\n", "g({ a })", "g({ a }))", "g({ a }"),
        ("function f(a) {\n  const x = g(‸;\n  return x;\n}\n", "a, 1)", "a, 1))"),
    ),
    "typescript": (
        (
            "function f(a: number): number {\n  const x: number[] = ‸;\n  return x[0];\n}\n",
            "[a, g<string>(a)]",
            "[a, g<string>(a)]]",
            "[a, g<string>(a)",
        ),
        ("class A {\n  f(a: number) {\n    return g(‸;\n  }\n}\n", "a)", "a))"),
    ),
    "typescriptreact": (
        (
            "const A = () => (\n  <ul>\n    ‸\n  </ul>\n);\n",
            "<li key={1}>one</li>",
            "<li key={1}>one</li></li>",
            "<li key={1}>one",
        ),
        ("const A = () => <a b={‸>c</a>;\n", "d}", "d}}"),
    ),
    "java": (
        (
            "class A {\n  int f(int a) {\n    ‸\n    return a;\n  }\n}\n",
            "if (a > 0) { a = g(a); }",
            "if (a > 0) { a = g(a); } }",
            "if (a > 0) { a = g(a);",
        ),
        ("class A {\n  int f(int a) {\n    return g(‸;\n  }\n}\n", "a, 1)", "a, 1))"),
    ),
    "go": (
        (
            "package p\n\nfunc f(a int) int {\n\t‸\n\treturn a\n}\n",
            "if a > 0 { a = g(a) }",
            "if a > 0 { a = g(a) } }",
            "if a > 0 { a = g(a)",
        ),
        ("package p\n\nfunc f(a int) int {\n\treturn g(‸\n}\n", "a, 1)", "a, 1))"),
    ),
    "rust": (
        (
            "fn f(a: usize) -> usize {\n    let x = ‸;\n    x\n}\n",
            "vec![a, g(a)]",
            "vec![a, g(a)]]",
            "vec![a, g(a)",
        ),
        ("fn f(a: usize) -> usize {\n    let x = g(‸;\n    x\n}\n", "a)", "a))"),
    ),
    "c": (
        (
            "int f(int a)\n{\n    ‸\n    return a;\n}\n",
            "if (a) { a = g(a); }",
            "if (a) { a = g(a); } }",
            "if (a) { a = g(a);",
        ),
        ("int f(int a)\n{\n    return g(‸;\n}\n", "a, 1)", "a, 1))"),
    ),
    "cpp": (
        (
            "int f(int a) {\n    auto x = ‸;\n    return x;\n}\n",
            "std::max({a, g(a)})",
            "std::max({a, g(a)}))",
            "std::max({a, g(a)}",
        ),
        ("int f(int a) {\n    return g(‸;\n}\n", "a, 1)", "a, 1))"),
    ),
    "csharp": (
        (
            "class A {\n    int F(int a) {\n        var x = ‸;\n        return x;\n    }\n}\n",
            "G(a, b => b[0])",
            "G(a, b => b[0]))",
            "G(a, b => b[0]",
        ),
        ("class A {\n    int F(int a) {\n        return G(‸;\n    }\n}\n", "a, 1)", "a, 1))"),
    ),
    "ruby": (
        (
            "def f(a)\n  ‸\n  a\nend\n",
            "a.each { |b| puts(b) }",
            "a.each { |b| puts(b) } }",
            "a.each { |b| puts(b)",
        ),
        ("def f(a)\n  g(‸\nend\n", "a, 1)", "a, 1))"),
    ),
    "php": (
        (
            "<?php\nfunction f($a) {\n    $x = ‸;\n    return $x;\n}\n",
            "g([$a, 1])",
            "g([$a, 1]))",
            "g([$a, 1]",
        ),
        ("<?php\nfunction f($a) {\n    return g(‸;\n}\n", "$a, 1)", "$a, 1))"),
    ),
    "shellscript": (
        ('f() {\n  ‸\n  echo "$1"\n}\n', 'g "$(h)"', 'g "$(h)")', 'g "$(h"'),
        ('f() {\n  x=$(‸\n  echo "$x"\n}\n', "g)", "g))"),
    ),
    "html": (
        ("<ul>\n  ‸\n</ul>\n", "<li><b>x</b></li>", "<li><b>x</b></li></li>", "<li><b>x</b"),
        ('<ul>\n  <li class="‸\n</ul>\n', 'a">x</li>', 'a">x</li></p>'),
    ),
    "css": (
        (
            "a {\n  ‸\n  color: red;\n}\n",
            "width: calc(1px + (2px));",
            "width: calc(1px + (2px)));",
            "width: calc(1px + (2px);",
        ),
        ("a {\n  width: calc(‸;\n}\n", "1px)", "1px))"),
    ),
    "json": (
        ('{\n  "a": ‸,\n  "b": 2\n}\n', '[1, {"c": 3}]', '[1, {"c": 3}]]', '[1, {"c": 3}'),
        ('{\n  "a": [‸,\n  "b": 2\n}\n', "1]", "1]]"),
    ),
    "yaml": (
        ("a:\n  - ‸\n  - two\nb: 3\n", "{c: [1, 2]}", "{c: [1, 2]}]", "{c: [1, 2]"),
        ("a: [‸\nb: 3\n", "1, 2]", "1, 2]]"),
    ),
    "toml": (
        ("[a]\nx = ‸\ny = 2\n", "[1, { z = 3 }]", "[1, { z = 3 }]]", "[1, { z = 3 }"),
        ("[a]\nx = [‸\n\n[b]\ny = 2\n", "1, 2]", "1, 2]]"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_text_that_fits_is_valid(name: str) -> None:
    (source, good, _, _), _ = CASES[name]

    assert Verdict(valid=True, clean=True) == verdict(source, good, name)


@pytest.mark.parametrize("name", CASES)
def test_a_closer_too_many_is_rejected(name: str) -> None:
    (source, _, extra, _), _ = CASES[name]

    assert not verdict(source, extra, name).valid


@pytest.mark.parametrize("name", CASES)
def test_a_closer_too_few_is_rejected(name: str) -> None:
    (source, _, _, lacking), _ = CASES[name]

    assert not verdict(source, lacking, name).valid


@pytest.mark.parametrize("name", CASES)
def test_in_a_broken_file_a_text_that_mends_it_is_clean(name: str) -> None:
    _, (source, mends, _) = CASES[name]

    assert num_problems(source.replace("‸", ""), name), "the file is broken at the cursor"
    assert Verdict(valid=True, clean=True) == verdict(source, mends, name)


@pytest.mark.parametrize("name", CASES)
def test_in_a_broken_file_another_error_is_rejected(name: str) -> None:
    _, (source, _, worse) = CASES[name]

    assert not verdict(source, worse, name).clean


def test_every_language_with_a_grammar_is_tried() -> None:
    assert {each.id for each in LANGUAGES if each.grammar} == set(CASES)


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


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_valid_never_has_more_problems_than_before(name: str) -> None:
    source, rng = SOURCES[name], random.Random(name)
    tokens = re.findall(r"\w+|\s+|[^\w\s]", source)
    for _ in range(40):
        # A hole, often where something is lost that the file needs, and a text of its own tokens.
        start = rng.randrange(len(source))
        text = source[:start] + source[start + rng.choice((0, 0, 3, 12)) :]
        at = rng.randrange(len(tokens))
        piece = "".join(tokens[at : at + rng.randrange(1, 9)])
        place = Trees().place(document(text, name), start)
        assert place is not None
        if check(place, piece).valid:
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


# --- trees ---------------------------------------------------------------------------------------


def edited(text: str, rng: random.Random) -> str:
    start = rng.randrange(len(text) + 1)
    end = min(len(text), start + rng.choice((0, 0, 0, 1, 4, 40)))
    piece = rng.choice(
        (
            rng.choice("()[]{}\"'`,;:.#=\n \t"),
            rng.choice(("😀", "é", "𝔘𝔫𝔦", "\r\n", "\r", "中文", "\u2028", "\0")),
            text[start : start + 30],
            text[rng.randrange(len(text) + 1) :][:60],
            "",
        )
    )
    return text[:start] + piece + text[end:]


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_tree_is_that_of_a_fresh_parse_after_any_edits(name: str, newline: str) -> None:
    rng, trees = random.Random(name + newline), Trees()
    text = original = SOURCES[name].replace("\n", newline)
    for version in range(25):
        parsed = trees.tree_for(document(text, name, version))

        assert parsed is not None
        assert utf8(text) == parsed.source
        assert str(fresh(text, name).root_node) == str(parsed.tree.root_node)
        assert num_problems(text, name) == sum(not p.hidden for p in problems(parsed.tree))
        assert fresh(text, name).root_node.end_point == parsed.tree.root_node.end_point
        text = edited(text, rng) if rng.random() < 0.8 else original


def test_a_closed_document_is_forgotten() -> None:
    trees = Trees()
    trees.tree_for(document("x = 1\n"))
    trees.forget("file:///python")
    trees.forget("file:///never opened")

    assert trees.tree_for(document("y = (\n")) is not None


def test_a_language_change_is_noticed() -> None:
    trees = Trees()
    first = Document(uri="a", version=1, language_id="json", text="[1]")
    second = Document(uri="a", version=2, language_id="python", text="[1]")

    assert trees.tree_for(first) is not None
    parsed = trees.tree_for(second)
    assert parsed is not None
    assert parsed.tree.root_node.type == "module"


# --- large files ---------------------------------------------------------------------------------

LARGE = {
    "python": "".join(
        f"def f{i}(a, b):\n    # {i}\n    x = [a, {{'k': b}}]\n    if x:\n"
        f"        return g(x, {i})\n    return None\n\n\n"
        for i in range(400)
    ),
    "java": "package a;\n\nclass A {\n"
    + "".join(
        f"  int f{i}(int a) {{\n    int x = g(a, {i});\n    return x;\n  }}\n\n" for i in range(600)
    )
    + "}\n",
    "json": "[\n" + ",\n".join(f'  {{"a": [{i}, 2], "b": "x"}}' for i in range(900)) + "\n]\n",
    "go": "package a\n\n"
    + "".join(f"func f{i}(a int) int {{\n\tx := g(a, {i})\n\treturn x\n}}\n\n" for i in range(600)),
    "php": "<?php\n\nnamespace A;\n\n"
    + "".join(f"function f{i}($a) {{\n    return g($a, [{i}]);\n}}\n\n" for i in range(600)),
    "yaml": "".join(f"k{i}:\n  - a: {i}\n    b: [1, 2]\n  - c\n" for i in range(900)),
    "css": "".join(f".a{i} > b {{\n  width: calc(1px + {i}px);\n}}\n\n" for i in range(600)),
}


@pytest.mark.parametrize("name", LARGE)
def test_in_a_large_file_the_excerpt_tells_what_the_whole_would(name: str) -> None:
    source, rng, trees = LARGE[name], random.Random(name), Trees()
    lines = [match.start() for match in re.finditer(r"(?<=\n)[ \t]*(?=\S)", source)]
    pieces = ["", "x", "g(x)", ")", "}", "g(", "{", '"', "x = 1", ",", "\n", "]", "return x"]
    seen = set()
    for version in range(25):
        trees.tree_for(document(source, name, 3 * version))
        at = rng.choice(lines)
        typed = rng.choice(("", "", "x = ", "g(")) + "\n"
        text = source[:at] + typed + source[at:]
        cursor, piece = at + len(typed) - 1, rng.choice(pieces)
        place = trees.place(document(text, name, 3 * version + 1), cursor)
        assert place is not None
        assert len(place.before) + len(place.after) < len(source) / 2
        before = num_problems(text, name)
        after = num_problems(text[:cursor] + piece + text[cursor:], name)
        seen.add(bool(before))

        assert bool(before) == place.broken
        if check(place, piece).valid:
            assert after <= before
        elif not before and name != "python":
            # Python's own parser and lines that run on into the next are stricter.
            assert after or "runs on" in check(place, piece).reason

    assert seen == {True, False}


def test_comments_in_a_header_do_not_make_it_a_list() -> None:
    many = "".join(f"    # comment {i}\n" for i in range(20))
    function = f"def f(a):\n{many}    x = 1\n    return x\n\n\n"
    source = function + LARGE["python"] + "def g(a):\n    x = ‸\n"

    assert verdict(source, "(1)").clean
    assert verdict(source.replace("‸", "(‸"), "1)").clean


def test_a_large_file_that_was_broken_from_the_start_is_checked_too() -> None:
    source = LARGE["java"].replace("int x = g(a, 300);", "int x = g(a, ‸")

    assert verdict(source, "300);", "java").clean
    assert not verdict(source, "300));", "java").valid


def timed(trees: Trees, text: str, cursor: int, piece: str, version: int) -> float:
    """Milliseconds of this thread, so that what else runs on the machine does not count."""
    after = document(text, "python", version)
    started = time.thread_time()
    place: Place | None = trees.place(after, cursor)
    assert place is not None
    check(place, piece)
    return 1000 * (time.thread_time() - started)


def test_following_an_edit_and_checking_a_text_is_quick_on_ten_thousand_lines() -> None:
    source = LARGE["python"] * 4
    lines = [match.end() for match in re.finditer(r"^ +(?=\w)", source, re.MULTILINE)]
    assert source.count("\n") > 10_000
    trees, rng, took = Trees(), random.Random(1), []
    for version in range(60):
        trees.tree_for(document(source, "python", 3 * version))
        at = rng.choice(lines)
        typed = rng.choice(("x = ", "x = g(", "if ", ""))
        text = source[:at] + typed + "\n    " + source[at:]
        took.append(timed(trees, text, at + len(typed), "g(a, b)", 3 * version + 1))

    # 4 ms is the aim, p99.
    assert sorted(took)[-2] < 12


@pytest.mark.parametrize("text", ["self, *", "a=1, b"])
def test_the_header_of_a_long_statement_is_asked_about_too(text: str) -> None:
    body = "".join(f"        x{i} = {i}\n" for i in range(80))
    source = f"class A:\n    def f(‸):\n{body}\n    y = 1\n"

    assert not verdict(source, text).valid
    assert verdict(source, "self, *, a").valid
