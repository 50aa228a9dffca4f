"""What follows the cursor keeps its meaning, as an independent lexer has it.

For every language with a source file: wherever the cursor is and whatever an engine says, what is
shown leaves the rest of the line what it was, code, string or comment, and repeats neither the
rest of a word nor the line below.
"""

import re
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Error, String

from infill_ls.completion.context import context_at
from infill_ls.completion.pipeline import InfillOptions, infill_at
from infill_ls.completion.seam import misfit
from infill_ls.syntax.check import check
from infill_ls.syntax.trees import Trees
from tests.infill_ls.scripted import Scripted
from tests.infill_ls.syntax.constructs import CONSTRUCTS
from tests.infill_ls.syntax.sources import SOURCES, document, fresh, num_problems

LEXERS = {
    "javascriptreact": "jsx",
    "jsonc": "json",
    "typescriptreact": "tsx",
    "shellscript": "bash",
    "svelte": "html",
}
JSX = {"javascriptreact", "typescriptreact"}
# Prose, tags and variables in strings: what is a string there depends on more than quotes.
PLAIN = {"html", "htmldjango", "svelte", "vue", "yaml", "php", "shellscript", "dart", "dockerfile"}
# There pygments knows words by their names, or by the character before them.
BY_NAME = {"css", "makefile", "ruby", "scala"}
SAID = ['"', "'", "`", "//", "#", "/*", "*/", ")", "]", "}", ">", ";", ",", "(", " ", "x", "\n"]


@cache
def lexer(name: str) -> Lexer:
    return get_lexer_by_name(LEXERS.get(name, name), stripnl=False, ensurenl=False)


def kinds(text: str, name: str) -> str:
    """Of every character: code, string, comment, or what the lexer does not understand."""
    found = []
    for token, piece in lexer(name).get_tokens(text):
        known = [(Comment.Preproc, " "), (Error, "?"), (Comment, "c"), (String, "s")]
        if name == "rust":
            known.insert(0, (String.Doc, "c"))
        found.append(next((k for each, k in known if token in each), " ") * len(piece))
    return "".join(found)


def offsets(source: str) -> st.SearchStrategy[int]:
    """Not `st.integers`, which draws numbers that it finds in whatever modules are imported: what
    is tried would depend on which tests ran before."""
    return st.sampled_from(range(len(source) + 1))


def in_markup(source: str, cursor: int, name: str) -> bool:
    """Is the cursor in the text of a JSX element, which pygments lexes as if it were code?"""
    at, node = len(source[:cursor].encode()), fresh(source, name).root_node
    while inner := [each for each in node.children if each.start_byte < at < each.end_byte]:
        node = inner[0]
    return node.type in ("jsx_element", "jsx_text")


@pytest.mark.parametrize("name", sorted(SOURCES))
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(data=st.data())
def test_the_rest_of_the_line_is_what_it_was(name: str, data: st.DataObject) -> None:
    source = SOURCES[name]
    cursor = data.draw(offsets(source))
    tokens = re.findall(r"\w+|[^\w\s]+", source)
    pieces = st.one_of(st.sampled_from(SAID), st.sampled_from(tokens))
    rest = source[cursor:].partition("\n")[0]
    text = "".join(data.draw(st.lists(pieces, min_size=1, max_size=6)))
    text += data.draw(st.sampled_from(["", "", rest, rest[:3], rest[:1]]))
    shown = infill_at(
        Scripted(*[text] * 3), document(source, name), cursor, InfillOptions(), trees=Trees()
    ).candidates
    if not shown:
        return
    text = shown[0].text
    after = source[:cursor] + text + source[cursor:]
    about = (source[max(0, cursor - 30) : cursor], text, rest)

    assert num_problems(after, name) == 0, about
    word = re.match(r"\w+", rest)
    splits = bool(word and re.search(r"\w\Z", source[:cursor]))
    if word and splits:
        assert not text.startswith(word[0]), about
    line = source[source.rfind("\n", 0, cursor) + 1 :]
    directive = name in ("c", "cpp") and line.lstrip().startswith("#")  # a file's name is a string
    if name in PLAIN or directive or not rest.strip() or (splits and name in BY_NAME):
        return
    if name == "sql" and text.count("/*") > 1:  # some of its dialects nest comments
        return
    if name == "makefile" and "#" in text:  # Make's comments are not a recipe's
        return
    if name in JSX and ("<" in text or in_markup(source, cursor, name)):
        return
    end = cursor + len(rest)
    then, now = kinds(source, name), kinds(after, name)
    then, now = then[cursor:end], now[cursor + len(text) : end + len(text)]
    assert then == now or "?" in then + now, about


OPENING = [
    *('"', "'", "`", '"""', "/", "/*", "*/", "//", "#", "${", "#{", "}", ")"),
    *("<<A", "\n", "a"),
]
# What pygments takes for something else than the language does.
MISREAD = {
    "c": ["`"],
    "php": ["/", "*/", "/*", "#{"],
    "ruby": ["${", "/*", "#{"],
    "rust": ["'"],
    "shellscript": ["#", "#{", "${", "/"],
}


def rest_of_line(source: str, cursor: int, text: str, name: str) -> tuple[str, str]:
    """The kinds of the rest of the cursor's line without the text and with it."""
    end = cursor + len(source[cursor:].partition("\n")[0])
    then = kinds(source, name)[cursor:end]
    now = kinds(source[:cursor] + text + source[cursor:], name)
    return then, now[cursor + len(text) : end + len(text)]


@pytest.mark.parametrize("name", sorted(CONSTRUCTS))
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_what_follows_is_what_it_was_in_regexes_heredocs_and_templates(
    name: str, data: st.DataObject
) -> None:
    source = CONSTRUCTS[name]
    edges = [m.start() + d for m in re.finditer(r"[\"'`/#*{}<]|EOF|HTML", source) for d in (0, 1)]
    opening = [each for each in OPENING if each not in MISREAD.get(name, "")]
    cursor = data.draw(st.one_of(st.sampled_from(edges), offsets(source)))
    text = "".join(data.draw(st.lists(st.sampled_from(opening), min_size=1, max_size=4)))
    where, trees = (document(source, name), cursor), Trees()
    shown = infill_at(Scripted(text), *where, InfillOptions(), trees=trees).candidates
    # What has no words is not shown; the check and the seam are asked about it all the same.
    point = trees.point(*where)
    assert point is not None, "all of these languages have a grammar"
    fits = text.strip() and check(point, text).valid and not misfit(text, context_at(*where))
    for each in (shown[0].text if shown else "", text if fits else ""):
        if name == "ruby" and "//" in each + source[cursor : cursor + 1]:
            continue  # an empty regular expression, or a division by one
        then, now = rest_of_line(source, cursor, each, name)
        about = (source[max(0, cursor - 30) : cursor], each, source[cursor : cursor + 30])
        assert then == now or "?" in then + now, about
