"""What follows the cursor keeps its meaning, in languages with a grammar and without."""

import pytest

from infill_ls.completion.context import Context, context_at
from infill_ls.completion.pipeline import InfillOptions, infill_at
from infill_ls.completion.seam import loops, misfit
from infill_ls.documents import Document
from infill_ls.syntax.trees import Trees
from tests.infill_ls.scripted import Scripted


def document(source: str, language_id: str) -> tuple[Document, int]:
    before, after = source.split("‸")
    text = before + after
    return Document(uri="a", version=1, language_id=language_id, text=text), len(before)


def context_of(source: str, language_id: str = "python") -> Context:
    return context_at(*document(source, language_id))


@pytest.mark.parametrize(
    ("source", "text", "language_id"),
    [
        # the rest of the word is there
        ("nam‸e = 1\n", "e", "python"),
        ("self.cou‸nts[x]\n", "nts.get", "python"),
        # two words grow together
        ("  ‸int b;\n", "int a", "c"),
        # the string ends, and what follows is a comment or code
        ('u = "http:‸//b.test/";\n', '//a.test/";', "javascript"),
        ('b = "‸#eee"\n', '#fff"', "python"),
        # code becomes a string
        ("x = f(‸) + 1\n", 'a, "b', "python"),
        # a file begins with a regular expression, not with a division
        ("‸a = b / c;\n", "/", "javascript"),
        # closers that no list of brackets knows
        ("<template‸>\n", ">", "vue"),
        ("<img ‸/>\n", "/>", "vue"),
        ("{% if b ‸%}\n", "%}", "jinja"),
        ("List<List<int‸>> b;\n", ">>", "dart"),
        # a line of its own, where there is no room for one
        ("a:\n  ‸- v1\n", "- v2", "yaml"),
        ("‸apis:\n  keys\n", "keys:", "yaml"),
        ("  ‸a = 1;\n  total += 2;\n", "total += 2;", "c"),
    ],
)
def test_what_spoils_what_follows_does_not_fit(source: str, text: str, language_id: str) -> None:
    assert misfit(text, context_of(source, language_id))


@pytest.mark.parametrize(
    ("source", "text", "language_id"),
    [
        ("self.assert‸Equal(a)\n", "Not", "python"),
        ("x = ‸y\n", "not ", "python"),
        ("x = f(‸, b)\n", "'a'", "python"),
        ('u = "http:‸/b";\n', "//a.test", "javascript"),
        ("x‸, y\n", ", z", "python"),
        ("a ‸+ b\n", "+ c ", "python"),
        ("x = ‸\n", "# all of it", "python"),
        ("a => ‸=> b\n", "c ", "javascript"),
        ("<b‸>\n", ' class="a"', "vue"),
        ('print(‸")\n', '"hello', "python"),
        ("‸value = 1\n", "self.", "python"),
        ("- ‸v1\n", "the ", "yaml"),
    ],
)
def test_what_leaves_it_alone_fits(source: str, text: str, language_id: str) -> None:
    assert misfit(text, context_of(source, language_id)) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("bbbbbbbb", True), ("x = lalalalala", True), ("foo foo foo foo foo", True)),
        *(("self.a.self.a.self.a.self.a.self.a.", True), ("the cat the cat " * 3, True)),
        *(("0, 0, 0, 0, 0, 0, 0, 0", False), ("#ffffffff", False), ("========", False)),
        *(("a, b, c, a, b, c", False), ("\n\n\n\n\n\n", False), ("x = [[0] * n] * n", False)),
    ],
)
def test_a_loop_is_no_text(text: str, expected: bool) -> None:
    assert loops(text) == expected


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        ("x = ‸\n", "f(a)", "f(a)"),
        ("x = ‸\n", "f(a", "f(a)"),
        ("x = f(‸\n", "a)", "a)"),
        ("f {\n  ‸\n}\n", "g(a, [1])", "g(a, [1])"),
        # open to the end, and nothing closes it
        ("x = ‸\n", 'say("hello', "say"),
        ("x = ‸\n", "{\n  a\n", ""),
    ],
)
def test_without_a_grammar_brackets_and_quotes_are_closed(
    source: str, text: str, expected: str
) -> None:
    where = document(source, "klingon")
    shown = infill_at(Scripted(text), *where, InfillOptions(), trees=Trees()).candidates

    assert expected == (shown[0].text if shown else "")


@pytest.mark.parametrize(
    ("source", "text", "language_id"),
    [
        ("x = a.replace(‸) + b\n", '/["', "javascript"),
        ("<<~A\n  b\n‸A\nc\n", "d ", "ruby"),
        ("/*\n * a *‸/\nint b;\n", "c", "c"),
        ("char a = '\\‸'';\n", '"', "c"),
        ("/* a\n /* b */\n c ‸*/ d\n", "*/", "rust"),
        ('f(‸)\ng("\'")\n/* a */\n', "a, /* b", "javascript"),
    ],
)
@pytest.mark.parametrize("broken", ["", "\n) = (\n"])
def test_a_regex_heredoc_or_long_comment_stays_what_it_is(
    source: str, text: str, language_id: str, broken: str
) -> None:
    where = document(source + broken, language_id)
    shown = infill_at(Scripted(*[text] * 3), *where, InfillOptions(), trees=Trees()).candidates

    assert text.strip() not in [each.text.strip() for each in shown]


@pytest.mark.parametrize(
    ("source", "text", "language_id"),
    [
        ("x = a.replace(/[/\"']/g, ‸) + b;\n", "'c'", "javascript"),
        ("x = `a ${b.map((c) => `${‸}`)} d`;\n", "c['it']", "javascript"),
        ("/* it's\n * \"a\n */\nint b = f(‸);\n", '"c", 1', "c"),
        ("cat <<EOF\nit's ‸ a\nEOF\n", '"b"', "shellscript"),
        ("x = <<~A\n  it's\nA\ny = f(‸)\n", "'a'", "ruby"),
        ("fn f() -> char { /* a /* ' */ \" */ g(‸) }\n", '\'"\', "b"', "rust"),
    ],
)
@pytest.mark.parametrize("broken", ["", "\n) = (\n"])
def test_behind_a_regex_heredoc_or_long_comment_code_is_code(
    source: str, text: str, language_id: str, broken: str
) -> None:
    where = document(source + broken, language_id)
    shown = infill_at(Scripted(*[text] * 3), *where, InfillOptions(), trees=Trees()).candidates

    assert [each.text for each in shown][:1] == [text]


@pytest.mark.parametrize(
    ("source", "text", "language_id"),
    [
        # a quote is part of a word to the grammar
        ("a {\n  b: v‸ar(--c) d;\n}\n", '"', "css"),
        ("attr_reader :a, :‸b\n", "`", "ruby"),
        # and a comment part of a regular expression
        ("x = a.replace(/b/‸g, c);\n", "/**/", "javascript"),
        # a symbol becomes a key and its value, or another way round
        ("f(a[‸:b])\n", "c", "ruby"),
        # a variable becomes words, words a variable
        ("a:\n\techo $‸(B)\n", "c", "makefile"),
        ("a:\n\techo ‸b\n", "c $", "makefile"),
        ("echo $‸{A}\n", "b", "shellscript"),
        # code in a string becomes its text, or says how it is written
        ('x = f"{‸b}"\n', "a:", "python"),
        ('var x = $"{‸b}";\n', "a:", "csharp"),
        ('let a = "\\(‸c.d())"\n', "b)", "swift"),
    ],
)
def test_what_the_grammar_takes_for_right_may_still_change_what_follows(
    source: str, text: str, language_id: str
) -> None:
    where = document(source, language_id)
    shown = infill_at(Scripted(*[text] * 3), *where, InfillOptions(), trees=Trees()).candidates

    assert [each.text for each in shown] == []


def test_a_quote_in_the_text_of_an_element_opens_nothing() -> None:
    where = document("x = <p>‸here</p>;\n", "javascriptreact")
    shown = infill_at(Scripted('12" or '), *where, InfillOptions(), trees=Trees()).candidates

    assert [each.text for each in shown] == ['12" or ']


def test_a_comment_that_begins_before_the_window_is_known() -> None:
    source = "/* a\n" + 'it\'s "not" over (\n' * 3_000 + "the ‸ end */\nint f(;\n"
    where = document(source, "scss")
    shown = infill_at(Scripted("b's (c"), *where, InfillOptions(), trees=Trees()).candidates

    assert [each.text for each in shown] == ["b's (c"]
