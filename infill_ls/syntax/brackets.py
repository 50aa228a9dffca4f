"""Brackets and quotes of a piece of text, told apart from those in strings and comments by eye.

A parser knows better, but needs a whole file; this works on fragments, in every language, and is
exact enough to say which closers a text lacks or has too many of.
"""

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from infill_ls.syntax.language import Language

PAIRS = {"(": ")", "[": "]", "{": "}"}
OPENERS, CLOSERS = frozenset(PAIRS), frozenset(PAIRS.values())
_OPENER_OF = {closer: opener for opener, closer in PAIRS.items()}

_MULTI_LINE = frozenset({'"""', "'''", "`"})
_CHARACTER = r"'(?:\\[^\n]{1,8}?|[^\\'\n])'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What a text leaves open to both sides.

    `closers` close what was opened before it and stand at the offsets `closers_at`, `openers` wait
    for what comes after it, both in the order of the text; `mismatched` counts openers that
    another kind's closer cut off. `quote` is the string that is still open at the end.
    """

    closers: str
    closers_at: tuple[int, ...]
    openers: str
    mismatched: int
    quote: str

    @property
    def faults(self) -> int:
        """How many brackets lack their partner."""
        return len(self.closers) + len(self.openers) + self.mismatched


@lru_cache(maxsize=16)  # both sides are asked about again with every text; it keeps the texts
def balance(text: str, language: Language, quote: str = "") -> Balance:
    """`quote` is the string that is open where the text starts, "" for none. Takes time in
    proportion to the text, whatever its brackets and quotes are."""
    start = 0
    if quote:
        end = _string_end(quote, language).match(text)
        if end is None:
            return Balance(closers="", closers_at=(), openers="", mismatched=0, quote=quote)
        start = end.end()
    closers: list[int] = []
    stack: list[str] = []
    num_open = dict.fromkeys(PAIRS, 0)  # by kind: the stack itself can be thousands deep
    mismatched = 0
    open_quote = ""
    for match in _pattern(language).finditer(text, start):
        token = match.group()
        if token in OPENERS:
            stack.append(token)
            num_open[token] += 1
        elif token in CLOSERS:
            opener = _OPENER_OF[token]
            if not num_open[opener]:
                closers.append(match.start())
                continue
            while (last := stack.pop()) != opener:
                num_open[last] -= 1
                mismatched += 1
            num_open[opener] -= 1
        elif match.lastgroup is not None:
            open_quote = next(each for each in language.quotes if token.startswith(each))
    return Balance(
        closers="".join(text[at] for at in closers),
        closers_at=tuple(closers),
        openers="".join(stack),
        mismatched=mismatched,
        quote=open_quote,
    )


def lexed(text: str, language: Language, quote: str = "") -> tuple[str, bool]:
    """Of every character whether it is code " ", string "s" or comment "c"; and whether a string
    is still open at the end. `quote` is the string that is open where the text starts."""
    start = 0
    if quote:
        end = _string_end(quote, language).match(text)
        if end is None:
            return "s" * len(text), True
        start = end.end()
    kinds = ["s" * start]
    for match in _pattern(language).finditer(text, start):
        token = match.group()
        if token in OPENERS or token in CLOSERS:
            continue
        kind = "s" if token.startswith((*language.quotes, "'")) else "c"
        kinds += [" " * (match.start() - start), kind * len(token)]
        start = match.end()
        if kind == "s" and (match.lastgroup or text[start : start + 1] == "\n"):
            return "".join(kinds) + " " * (len(text) - start), True
    return "".join(kinds) + " " * (len(text) - start), False


def followed(first: Balance, then: Balance) -> str:
    """The openers that are left open by two texts, one behind the other."""
    stack = list(first.openers)
    for closer in then.closers:
        while stack and stack.pop() != _OPENER_OF[closer]:
            pass
    return "".join(stack) + then.openers


def fits(before: str, text: str, after: str, language: Language) -> bool:
    """Is everything that the text opens closed by itself or by what follows, a string that may
    not go on over line ends on its line; or was as much without a partner before?"""
    quote = balance(before, language).quote
    own = balance(text, language, quote)
    if own.quote == quote and not own.faults:
        return True
    rest = after.partition("\n")[0]
    left_open = balance(text + rest, language, quote).quote
    if left_open not in ("", balance(rest, language, quote).quote) and not _over_lines(
        left_open, language
    ):
        return False
    then, now = balance(before + after, language), balance(before + text + after, language)
    return now.faults <= then.faults and (own.quote == quote or not now.quote)


def string_end(text: str, language: Language, quote: str) -> int:
    """Where the string that is open at the text's start is closed; the text's length if nowhere."""
    end = _string_end(quote, language).match(text)
    if end is None:
        return len(text)
    return end.end() - (len(quote) if end.group().endswith(quote) else 0)


def _over_lines(quote: str, language: Language) -> bool:
    return quote in _MULTI_LINE or language.long_strings


def _inside(quote: str, language: Language) -> str:
    """A pattern for what may stand between two quotes."""
    if _over_lines(quote, language):
        return rf"(?:\\[\s\S]|(?!{quote})[^\\])*"
    return rf"(?:\\[\s\S]|[^\\\n{quote}])*"


@cache
def _string_end(quote: str, language: Language) -> re.Pattern[str]:
    line_end = "" if _over_lines(quote, language) else r"|(?=\n)"
    return re.compile(f"{_inside(quote, language)}(?:{quote}{line_end})")


@cache
def _pattern(language: Language) -> re.Pattern[str]:
    """Matches comments and strings whole, strings open at the end in a group, and brackets."""
    tokens: list[str] = []
    if language.comment:
        begin, end = (re.escape(each) for each in language.comment)
        tokens.append(rf"{begin}[\s\S]*?(?:{end}|\Z)")
    if language.line_comment:
        # A shell's `$#` is none.
        before = r"(?<![^\s;])" if language.spaced else ""
        tokens.append(rf"{before}{re.escape(language.line_comment)}[^\n]*")
    for index, quote in enumerate(language.quotes):
        inside = _inside(quote, language)
        tokens += [f"{quote}{inside}{quote}", rf"(?P<open{index}>{quote}{inside}\\?\Z)"]
        if not _over_lines(quote, language):
            tokens.append(f"{quote}{inside}(?=\n)")
    if language.characters and "'" not in language.quotes:
        tokens.append(_CHARACTER)
    return re.compile("|".join([*tokens, r"[()\[\]{}]"]))
