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
