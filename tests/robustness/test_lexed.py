"""In languages without a grammar what stood there is shown again, and what is open is not."""

import random
import re

import pytest

from infill_ls.completion.pipeline import InfillOptions, infill_at
from infill_ls.syntax.language import language_of
from infill_ls.syntax.lexer import lex
from infill_ls.syntax.trees import Trees
from tests.infill_ls.scripted import Scripted
from tests.infill_ls.syntax.lexed_sources import LEXED
from tests.infill_ls.syntax.sources import document


def shown(source: str, cursor: int, text: str, name: str) -> list[str]:
    where = document(source, name), cursor
    found = infill_at(Scripted(*[text] * 3), *where, InfillOptions(), trees=Trees())
    return [each.text for each in found.candidates]


@pytest.mark.parametrize("name", LEXED)
def test_what_stood_there_is_shown(name: str) -> None:
    """The ends of lines, from the beginning of any word or bracket on."""
    source = LEXED[name]
    for match in re.finditer(r"(?m)(?<![^\s(\[{=,.])[^\s].*$", source):
        for start in (
            match.start(),
            *(match.start() + m.end() for m in re.finditer(" ", match[0])),
        ):
            text = source[start : match.end()]
            rest = source[:start] + source[match.end() :]

            assert shown(rest, start, text, name) == [text.rstrip()], (text, source[:start][-40:])


@pytest.mark.parametrize("name", [name for name in LEXED if name not in ("latex", "ini")])
def test_what_leaves_a_bracket_or_quote_open_is_not(name: str) -> None:
    source = LEXED[name]
    found = lex(source, language_of(name))
    kinds = found.kinds(len(source))
    ends = [m.start() for m in re.finditer(r"(?<=\w)\n", source) if kinds[m.start() - 1] == " "]
    rng = random.Random(name)
    for cursor in rng.sample(ends, min(len(ends), 4)):
        for text in (' "a', " (a, [b", " a)"):
            after = shown(source, cursor, text, name)

            assert text not in after, source[max(cursor - 40, 0) : cursor]
