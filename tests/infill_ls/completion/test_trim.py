"""What is left of an engine's text: nothing that stands there already, nothing out of scope."""

import pytest

from infill_ls.completion.context import Context, context_at
from infill_ls.completion.repetition import repeated
from infill_ls.completion.trim import allowed_lines, trimmed
from infill_ls.documents import Document


def context_of(source: str, language_id: str = "python") -> Context:
    before, after = source.split("‸")
    document = Document(uri="file:///a", version=1, language_id=language_id, text=before + after)
    return context_at(document, len(before))


def check(source: str, text: str, expected: str, language_id: str = "python") -> None:
    context = context_of(source, language_id)
    result = trimmed(text, context)

    assert expected == result
    assert not result or not repeated(result, context)


# The complaints that every peer has got: code repeated, brackets doubled. Numbers are their
# threads, see protocol-and-peers: cody, continue, llama.vim, kilocode, tabnine, minuet.
@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        # cody 334: an extra }
        ("if (a) {\n  ‸\n}\n", "b();\n}", "b();"),
        ("a = {‸}\n", "1}", "1"),
        ("a = {‸};\n", "b: 1};", "b: 1"),
        # cody 264, VCR 11402: the next line again
        ("a = 1\n‸\nb = 2\n", "c = 3\nb = 2", "c = 3"),
        ("a = 1\n‸\n\n\nb = 2\n", "b = 2", ""),
        ("def f():\n    ‸\n    return x\n", "x = 1\n    return x", "x = 1"),
        ("def f():\n    ‸\n    return x\n", "return x", ""),
        ("def f():\n    ‸\n    return x\n", "x = 1\n    return x\n\n\ndef g():", "x = 1"),
        # cody 872: a lone bracket
        ("f(‸)\n", ")", ""),
        ("f(a‸)\n", ")", ""),
        ("a[‸]\n", "]", ""),
        # continue 4721: the rest of the line
        ("f(a, ‸b, c)\n", "d, b, c)", "d, "),
        ("return ‸self.total + tax\n", "self.total + tax", ""),
        ("x = ‸foo(bar)\n", "baz + foo(bar)", "baz + "),
        # llama.vim 71, 53, 52: lines that come next but one
        ("a()\n‸\nb = get_b()\nc = get_c()\n", "d()\nc = get_c()", "d()"),
        # kilocode 3386: an auto-closed bracket
        ("print(‸)\n", "a)", "a"),
        ("print(‸)\n", "a, b);", "a, b"),
        ("print(f(‸))\n", "a))", "a"),
        ("print(‸)\n", "a)\nprint(b)", "a"),
        # quotes that the editor closed
        ('print("‸")\n', 'hello"', "hello"),
        ('print("‸")\n', 'hello")', "hello"),
        ("x = '‸'\n", "a'", "a"),
        ("x = [1, ‸, 3]\n", "2,", "2"),
        ("x = a‸;\n", " + b;", " + b"),
        # VSC 136452: half of a word that stands there
        ("self.assert‸Equal(a, b)\n", "NotEqual", "Not"),
        ("for x ‸in range(3):\n", "in", ""),
    ],
)
def test_what_follows_the_cursor_is_not_said_again(source: str, text: str, expected: str) -> None:
    check(source, text, expected)


# minuet 44: the filter eats good text.
@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("print(‸)\n", "foo(x)"),
        ("print(‸)\n", "[f(a) for a in b]"),
        ("x = {‸}\n", "'a': {}"),
        ('print("‸")\n', "it is (a)"),
        ("x = ‸\ny = 2\n", "1"),
        ("if a:\n    ‸\nelse:\n    pass\n", "b = 1"),
        ("if a:\n    ‸\n    pass\n", "while b:\n        c()"),
        ("‸\nimport os\n", "import sys"),
        ("a.‸b()\n", "c()."),
        ("x = ‸y\n", "not "),
        ("foo(‸, b)\n", "a"),
        ("x = f(‸\n", "a)"),
        ("def f():\n    ‸\n\n\ndef g():\n    return 1\n", "return 1"),
        ("a(‸);\nb();\n", "c()"),
        ("import warn‸\n", "ings"),
        ("import ‸\nwarnings.warn(x)\n", "warnings"),
        ("self.x = x\nself.y = y\n‸\n", "self.z = z"),
    ],
)
def test_text_that_belongs_there_is_left_alone(source: str, text: str) -> None:
    check(source, text, text)


def test_a_nested_closer_is_another_line_than_the_closer_that_follows() -> None:
    source = "function f() {\n  ‸\n}\n"

    check(source, "if (a) {\n    b();\n  }", "if (a) {\n    b();\n  }", "javascript")
    check(source, "b();\n}", "b();", "javascript")
    check("class A {\n  int f() { ‸\n}\n", "return 1; }", "return 1; }", "java")
    check("class A {\n  int f() {\n    b();\n  ‸\n}\n", "}", "}", "java")
    check("a {\n  {% if b %}\n  c\n{‸\n}\n", "% endif %}", "% endif %}", "jinja")
    check("def f\n  ‸\nend\n", "if a\n    b\n  end", "if a\n    b\n  end", "ruby")
    check("def f\n  ‸\nend\n", "b\nend", "b", "ruby")
    check("<ul>\n  ‸\n</ul>\n", "<li>\n    a\n  </li>\n</ul>", "<li>\n    a\n  </li>", "html")
    inner = "{% if c %}\n    b\n  {% endif %}"
    check("{% if a %}\n  ‸\n{% endif %}\n", inner + "\n{% endif %}", inner, "jinja")
    check(
        "{#if a}\n  ‸\n{/if}\n",
        "{#if b}\n    c\n  {/if}\n{/if}",
        "{#if b}\n    c\n  {/if}",
        "svelte",
    )


@pytest.mark.parametrize(
    ("source", "text", "language_id"),
    [
        ("{% if a %}‸\n", "\n  b\n{% else %}\n  c\n{% endif %}", "jinja"),
        ("{% for a in b %}‸\n", "\n  b\n{%- empty -%}\n  c\n{%- endfor -%}", "htmldjango"),
        ("{#if a}‸\n", "\n  b\n{:else}\n  c\n{/if}", "svelte"),
        ("if a then‸\n", "\n    b()\nelse\n    c()\nend", "lua"),
        # what is indented less because it stands in a string
        ("f() {\n    ‸\n    g\n}\n", "cat <<EOF\nit's\n  a\nEOF", "shellscript"),
        ("f() {\n    ‸\n    g\n}\n", "cat <<EOF\na\nEOF\n    h", "shellscript"),
        ("def f\n  ‸\nend\n", "x = <<A\nb\nA\n  g(x)", "ruby"),
        ("def f():\n    ‸\n    return x\n", 'x = """a\nb\n"""', "python"),
        ("function f() {\n  ‸\n  return x;\n}\n", "const x = `a\nb\n`;", "javascript"),
        ("fn f() {\n    ‸\n}\n", 'let x = r#"a\nb"c\n"#;', "rust"),
    ],
)
def test_a_block_goes_on_to_its_end(source: str, text: str, language_id: str) -> None:
    check(source, text, text, language_id)


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        ("    return ‸\n", "return x", "x"),
        ("result = compute(‸\n", "result = compute(a, b)", "a, b)"),
        ("total_price = 1\n‸\n", "total_price = 1", ""),
        ("a = 1\nresult = self.‸\n", "result = self.total", "total"),
        ("x‸\n", "x.y", "x.y"),
    ],
)
def test_what_stands_before_the_cursor_is_not_said_again(
    source: str, text: str, expected: str
) -> None:
    check(source, text, expected)


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        # dedent ends the block
        ("def f():\n    ‸\n", "a = 1\n    b = 2\nc = 3", "a = 1\n    b = 2"),
        ("def f():‸\n", "\n    a = 1\n    return a\nf()", "\n    a = 1\n    return a"),
        ("def f():‸\n", "\n    a = 1\n\n    return a\n\n\ndef g():\n    pass", None),
        # the next definition is another matter
        ("‸\n", "x = 1\ndef f():\n    pass", "x = 1"),
        ("‸\n", "x = 1\nsuspend fun f() {\n}", "x = 1"),
        ("‸\n", "x = 1\nobject = 2", "x = 1\nobject = 2"),
        ("‸\n", "x = 1\n\n\ny = 2", "x = 1"),
        ("class A:\n    ‸\n", "def f(self):\n        pass\n\n    def g(self):\n        pass", None),
        # but what goes on goes on
        ("‸\n", "if a:\n    b\nelse:\n    c", "if a:\n    b\nelse:\n    c"),
        ("‸\n", "f(\n    a,\n)", "f(\n    a,\n)"),
        ("‸\n", "# a function\ndef f():\n    pass", "# a function\ndef f():\n    pass"),
        ("‸\n", "@a\ndef f():\n    pass", "@a\ndef f():\n    pass"),
        ("def f():\n    ‸\n", "if a:\n        b\n\n        c\n    d", None),
    ],
)
def test_a_text_ends_with_its_statement_or_block(
    source: str, text: str, expected: str | None
) -> None:
    whole = {
        "\n    a = 1\n\n    return a\n\n\ndef g():\n    pass": "\n    a = 1\n\n    return a",
        "def f(self):\n        pass\n\n    def g(self):\n        pass": (
            "def f(self):\n        pass"
        ),
        "if a:\n        b\n\n        c\n    d": "if a:\n        b\n\n        c\n    d",
    }
    check(source, text, whole[text] if expected is None else expected)


def test_a_closer_that_the_file_lacks_ends_the_text() -> None:
    source = "function f() {\n  if (a) {\n    ‸\n\nfunction g() {}\n"

    check(source, "b();\n  }\n}\n\nlet c;", "b();\n  }", "javascript")


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        # what is there already
        ("def f():\n    ‸\n", "    return 1", "return 1"),
        ("def f():\n    ‸\n", "\n    return 1", "return 1"),
        ("def f():\n    if a:\n    ‸\n", "    return 1", "    return 1"),
        ("def f():\n‸\n", "    return 1", "    return 1"),
        ("def f():\n    x\n‸\n", "    y", "    y"),
        ("x\n‸\n", "    y", "y"),
        ("def f():\n    x\n    ‸\n", "\ny", ""),
        # tabs and spaces
        ("def f():\n\t‸\n", "if a:\n        b", "if a:\n\t\tb"),
        ("def f():\n    ‸\n", "if a:\n\t\tb", "if a:\n        b"),
        ("def f():\n  x\n  ‸\n", "if a:\n\t\tb", "if a:\n    b"),
    ],
)
def test_a_text_is_indented_as_the_file_is(source: str, text: str, expected: str) -> None:
    check(source, text, expected)


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        ("x = ‸\n", "1  \n\n", "1"),
        ("f(‸)\n", "a ", "a"),
        ("x = ‸\n", " \n\t\n", ""),
        ("x = ‸\n", "", ""),
        ("x = ‸\n", "a   \nb = 2\t\n", "a\nb = 2"),
        ("x = ‸+ 1\n", "a ", "a "),
        ("x = ‸\n", "a\r\nb = 1\r\n", "a\nb = 1"),
        ("x = ‸\n", "foo + ba\ufffd", "foo +"),
        ("x = ‸\n", "foo\nb = \ufffd\ufffd", "foo"),
        ("x = ‸\n", "\ufffd", ""),
        ("x = ‸\n", "a\x00b", ""),
        ("x = '‸'\n", "😀é", "😀é"),
    ],
)
def test_only_clean_text_is_left(source: str, text: str, expected: str) -> None:
    check(source, text, expected)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        *(("", 5), (")", 5), (");", 5), ("):", 5), ("})", 5), ('")', 5), ("  ", 5), (") {", 5)),
        *(("</p>", 5), ("/>", 5), ("a", 1), (" + b", 1), (", b)", 1), (") + c", 1), ("# c", 1)),
    ],
)
def test_in_the_middle_of_a_line_a_text_has_one_line(rest: str, expected: int) -> None:
    context = context_of(f"f(‸{rest}\nx\n")

    assert expected == allowed_lines(context, 5)
    if expected == 1:
        assert trimmed("p,\nq", context) in ("p,", "p")


def test_no_more_lines_than_wanted() -> None:
    text = "a = 1\nb = 2\nc = 3"

    assert trimmed(text, context_of("‸\n"), 2) == "a = 1\nb = 2"
    assert trimmed(text, context_of("‸\n"), None) == text


def test_a_loop_is_left_after_its_first_round() -> None:
    check("‸\n", "a(b)\na(b)\na(b)\na(b)", "a(b)")
    check("‸\n", "x\na(b)\nc(d)\na(b)\nc(d)\na(b)\nc(d)", "x\na(b)\nc(d)")
    check("‸\n", "a(b)\na(b)\nc", "a(b)\na(b)\nc")


def test_a_text_is_no_longer_than_an_editor_shows() -> None:
    text = "\n".join(f"a{i} = {i}" for i in range(2000))
    result = trimmed(text, context_of("‸\n"))

    assert 3900 < len(result) < 5000
    assert text.startswith(result + "\n")
