"""What a parser says of a text at a cursor: in every language, in whole and in broken files."""

import random
import re

import pytest

from infill_ls.syntax.check import Verdict, check
from infill_ls.syntax.language import LANGUAGES
from infill_ls.syntax.trees import Trees
from tests.infill_ls.syntax.sources import SOURCES, document, marked, num_problems


def verdict(source: str, text: str, language_id: str = "python") -> Verdict:
    point = Trees().point(*marked(source, language_id))

    assert point is not None
    return check(point, text)


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
    "javascriptreact": (
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
    "kotlin": (
        (
            "fun f(a: Int): Int {\n    val x = ‸\n    return x\n}\n",
            "listOf(a).map { it + 1 }[0]",
            "listOf(a).map { it + 1 }[0])",
            "listOf(a).map { it + 1",
        ),
        ("fun f(a: Int): Int {\n    return g(‸\n}\n", "a, 1)", "a, 1))"),
    ),
    "swift": (
        (
            "func f(a: Int) -> Int {\n    let x = ‸\n    return x\n}\n",
            "[a].map { $0 + 1 }[0]",
            "[a].map { $0 + 1 }[0])",
            "[a].map { $0 + 1",
        ),
        ("func f(a: Int) -> Int {\n    return g(‸\n}\n", "a, 1)", "a, 1))"),
    ),
    "dart": (
        (
            "int f(int a) {\n  final x = ‸;\n  return x;\n}\n",
            "g([a], b: (c) => c)",
            "g([a], b: (c) => c))",
            "g([a], b: (c) => c",
        ),
        ("int f(int a) {\n  return g(‸;\n}\n", "a, 1)", "a, 1))"),
    ),
    "lua": (
        (
            "local function f(a)\n    ‸\n    return a\nend\n",
            "if a then a = g({ a }) end",
            "if a then a = g({ a }) end end",
            "if a then a = g({ a })",
        ),
        ("local function f(a)\n    return g(‸\nend\n", "a, 1)", "a, 1))"),
    ),
    "scala": (
        (
            "object A {\n  def f(a: Int): Int = {\n    val x = ‸\n    x\n  }\n}\n",
            "List(a).map(b => b + 1).head",
            "List(a).map(b => b + 1)).head",
            "List(a).map(b => b + 1",
        ),
        ("object A {\n  def f(a: Int): Int = {\n    g(‸\n  }\n}\n", "a, 1)", "a, 1))"),
    ),
    "sql": (
        (
            "SELECT a, ‸\nFROM b\nWHERE a > 1;\n",
            "COALESCE(MAX(c), 'x') AS d",
            "COALESCE(MAX(c), 'x')) AS d",
            "COALESCE(MAX(c), 'x'",
        ),
        ("SELECT a FROM b WHERE c IN (‸;\n", "1, 2)", "1, 2))"),
    ),
    "makefile": (
        (
            "A = b\nC = ‸\n\nall: $(C)\n\techo $@\n",
            "$(patsubst %.c,%.o,$(A))",
            "$(patsubst %.c,%.o,$(A)))",
            "$(patsubst %.c,%.o,$(A)",
        ),
        ("A = $(wildcard ‸\n\nall:\n\techo\n", "*.c)", "*.c))"),
    ),
    "dockerfile": (
        (
            'FROM a\nRUN ‸\nCMD ["b"]\n',
            '(cd a && echo "$B")',
            '(cd a && echo "$B"))',
            '(cd a && echo "$B"',
        ),
        ('FROM a\nENV A="‸\nCMD ["b"]\n', 'x"', 'x""'),
    ),
    "vue": (
        (
            "<template>\n  <ul>\n    ‸\n  </ul>\n</template>\n",
            '<li v-if="a[0]">{{ b }}</li>',
            '<li v-if="a[0]">{{ b }}</li></li>',
            '<li v-if="a[0]">{{ b }',
        ),
        ('<template>\n  <li :a="‸\n</template>\n', 'b">x</li>', 'b">x</li></p>'),
    ),
    "htmldjango": (
        (
            "<ul>\n  ‸\n</ul>\n",
            "{% if a %}<li>{{ f(b) }}</li>{% endif %}",
            "{% if a %}<li>{{ f(b) }}</li>{% endif %}{% endif %}",
            "{% if a %}<li>{{ f(b) }}</li>",
        ),
        ('<ul>\n  <li a="‸\n</ul>\n', '{{ b }}">x</li>', '{{ b }">x</li>'),
    ),
    "svelte": (
        (
            "<ul>\n  ‸\n</ul>\n",
            "{#if a}<li>{f(b)}</li>{/if}",
            "{#if a}<li>{f(b)}</li>{/if}}",
            "{#if a}<li>{f(b)}</li>",
        ),
        ("<ul>\n  <li>{a.‸\n</ul>\n", "b}</li>", "b}}</li>"),
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
    assert {each.id for each in LANGUAGES if each.grammar_function} == set(CASES)


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


@pytest.mark.parametrize("text", ["self, *", "a=1, b"])
def test_the_header_of_a_long_statement_is_asked_about_too(text: str) -> None:
    body = "".join(f"        x{i} = {i}\n" for i in range(80))
    source = f"class A:\n    def f(‸):\n{body}\n    y = 1\n"

    assert not verdict(source, text).valid
    assert verdict(source, "self, *, a").valid
