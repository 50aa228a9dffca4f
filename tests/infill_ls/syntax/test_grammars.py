"""What the parser of every language says of a text at a cursor, in a whole and in a broken file."""

import pytest

from infill_ls.syntax.check import Verdict
from infill_ls.syntax.language import LANGUAGES
from tests.infill_ls.syntax.sources import num_problems, verdict

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
    "jsonc": (
        ('{\n  // a\n  "a": ‸\n}\n', '[1, {"c": 3}]', '[1, {"c": 3}]]', '[1, {"c": 3}'),
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


DIALECT = "\\echo for psql\nCREATE FUNCTION f() RETURNS void\nAS 'a' LANGUAGE C;\n‸\n"


def test_where_a_grammar_cannot_read_a_file_brackets_and_quotes_decide() -> None:
    assert verdict(DIALECT, "\\quit", "sql").valid
    assert verdict(DIALECT, "SELECT f(1);", "sql").valid
    assert not verdict(DIALECT, "SELECT f(1;", "sql").valid
    assert not verdict(DIALECT, "SELECT 'f(1);", "sql").valid
    assert not verdict("SELECT 1;\n‸\n", "\\quit", "sql").valid
