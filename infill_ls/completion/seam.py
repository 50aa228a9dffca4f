"""Does the text after the cursor keep its meaning with a text before it? Told by tokens, in every
language alike. Pure functions of text and context.
"""

import re

from infill_ls.completion.context import Context
from infill_ls.completion.lines import first_filled, has_words
from infill_ls.syntax.lexer import at_end, lex
from infill_ls.syntax.regions import spoils_fence

_WORD = re.compile(r"\w+")
# What closes something, a tag or a template included; arrows close nothing.
_CLOSER = re.compile(r"(?:[/%?\]-]*>+|[%}]*\}+|\]+|\)+|;)")
_ARROW = re.compile(r"[-=]>")
_TOKEN = re.compile(r"\w+|[^\w\s]")
# So many letters of one or two kinds in a row are no word, so often a token or a few come in loops.
_STUTTER, _ROUNDS = 8, 5


def misfit(text: str, context: Context) -> str:
    """Why the text cannot stand before what follows the cursor, in words; "" where it can."""
    rest = context.line_after
    if loops(text):
        return "it goes round in circles"
    if spoils_fence(text, context.region, context.line_before, rest):
        return "it spoils the fence"
    if not rest.strip():
        return ""
    word = _WORD.match(rest)
    if word and context.line_before[-1:].isalnum():
        if text.startswith(word[0]) or word[0].startswith(text):
            return "it repeats the rest of the word"
    elif word and _WORD.match(text[-1:]):
        return "it grows together with the next word"
    if _begins_with_closer_of(text.lstrip(), rest.lstrip()):
        return "it repeats a closer that follows"
    if not context.line_before.strip() and (why := _glued(text, rest, context)):
        return why
    return "" if _lexed_as_it_was(text, context) else "what follows would mean something else"


def loops(text: str) -> bool:
    """Does the text say the same token, or the same few, again and again?"""
    tokens = [match[0] for match in _TOKEN.finditer(text)]
    # A colour such as #ffffffff is none.
    if any(_stutters(t) for before, t in zip(["", *tokens], tokens, strict=False) if before != "#"):
        return True
    for period in (1, 2, 3, 4):
        same = 0
        for index in range(period, len(tokens)):
            same = same + 1 if tokens[index] == tokens[index - period] else 0
            enough = same == period * (_ROUNDS - 1)
            if enough and any(_says(token) for token in tokens[index - period + 1 : index + 1]):
                return True
    return False


def _stutters(token: str) -> bool:
    size = len(token)
    if size < _STUTTER or not (token.isalpha() or _is_rule(token)):
        return False
    return any(token == (token[:period] * size)[:size] for period in (1, 2))


def _says(token: str) -> bool:
    return len(token) > 1 and (token.isalpha() or _is_rule(token))


def _is_rule(token: str) -> bool:
    return not token.strip("_")


def _begins_with_closer_of(text: str, rest: str) -> bool:
    closer = _CLOSER.match(rest)
    return closer is not None and not _ARROW.match(rest) and text.startswith(closer[0])


def _glued(text: str, rest: str, context: Context) -> str:
    """At a line's beginning: is the text a line of its own, which has no room there?"""
    following = first_filled(context.suffix, 2)[1:]
    if following and has_words(text) and text.strip() == following[0].strip():
        return "it repeats the next line"
    if text.rstrip().endswith(":") or (rest.startswith(("- ", "* ")) and text.strip()):
        return "it is a line of its own"
    return ""


def _lexed_as_it_was(text: str, context: Context) -> bool:
    """Does code stay code, a string a string, and nothing become a comment? Where there is a tree
    without errors, the check asks that, but of what grammars take without its end: comments, and a
    quote as part of a word, though in JSX it may well be text."""
    language = context.language
    above, newline, before = context.code_before.rpartition("\n")
    rest = context.code_after.partition("\n")[0]
    state, tail = at_end(above + newline, language, context.opening)
    tail = tail or ";"  # a file begins as what follows a statement
    here = lex(before, language, state, before=tail)
    behind = lex(text, language, here.state, before=here.tail)
    then = lex(before + rest, language, state, before=tail)
    if then.within_character(len(before)):
        return False  # it holds no more than one
    comments = "comment" in (here.state.kind, *(kind for _, _, kind in behind.pieces))
    quotes = not language.tags and not here.state.quote and bool(behind.state.quote)
    if context.parsed and not comments and not quotes:
        return True
    if not state.open and (then.broken_off or then.state.ends_with_line(language)):
        return True  # of a line that lacks a quote nobody knows what is what
    now = lex(before + text + rest, language, state, before=tail)
    was, is_now = then.kinds(len(before + rest)), now.kinds(len(before + text + rest))
    same = was[len(before) :] == is_now[len(before + text) :]
    return same and (then.state, then.broken_off) == (now.state, now.broken_off)
