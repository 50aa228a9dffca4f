"""Brackets of a piece of text outside of its strings and comments, in every language: which closers
a text lacks or has too many of.
"""

from dataclasses import dataclass
from functools import lru_cache

from infill_ls.syntax.language import Language
from infill_ls.syntax.lexer import START, State, closed_at, comment_lacks_end, lex
from infill_ls.syntax.lexical import Open

PAIRS = {"(": ")", "[": "]", "{": "}"}
OPENERS, CLOSERS = frozenset(PAIRS), frozenset(PAIRS.values())
_OPENER_OF = {closer: opener for opener, closer in PAIRS.items()}
_MOST_LINES = 200  # of one statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What a text leaves open to both sides.

    `closers` close what was opened before it and stand at the offsets `closers_at`, `openers` wait
    for what comes after it, both in the order of the text; `mismatched` counts openers that
    another kind's closer cut off. `state` is what else is still open at the end.
    """

    closers: str
    closers_at: tuple[int, ...]
    openers: str
    mismatched: int
    state: State

    @property
    def faults(self) -> int:
        """How many brackets lack their partner."""
        return len(self.closers) + len(self.openers) + self.mismatched


@lru_cache(maxsize=16)  # it keeps the texts
def balance(text: str, language: Language, state: State = START) -> Balance:
    """`state` is what is open where the text starts. Takes time in proportion to the text, whatever
    its brackets and quotes are."""
    found = lex(text, language, state)
    closers: list[int] = []
    stack: list[str] = []
    num_open = dict.fromkeys(PAIRS, 0)  # by kind: the stack itself can be thousands deep
    mismatched = 0
    for at in found.brackets:
        bracket = text[at]
        if bracket in OPENERS:
            stack.append(bracket)
            num_open[bracket] += 1
            continue
        opener = _OPENER_OF[bracket]
        if not num_open[opener]:
            closers.append(at)
            continue
        while (last := stack.pop()) != opener:
            num_open[last] -= 1
            mismatched += 1
        num_open[opener] -= 1
    return Balance(
        closers="".join(text[at] for at in closers),
        closers_at=tuple(closers),
        openers="".join(stack),
        mismatched=mismatched,
        state=found.state,
    )


def followed(first: Balance, then: Balance) -> str:
    """The openers that are left open by two texts, one behind the other."""
    stack = list(first.openers)
    for closer in then.closers:
        while stack and stack.pop() != _OPENER_OF[closer]:
            pass
    return "".join(stack) + then.openers


def tolerated(before: str, text: str, after: str, language: Language, state: State = START) -> int:
    """How many brackets may lack their partner with the text in its place: as many as without it.

    In a file that is broken, a text may close what its line leaves open, though a closer far below
    passed for the partner: then as many as with those closers alone. `state` is what is open where
    `before` starts.
    """
    then = balance(before + after, language, state).faults
    closing = _closing(before, text, after, language, state)
    if closing in ("", *PAIRS.values()) and not then:
        return then  # each has its partner
    return balance(before + closing + after, language, state).faults


def _closing(before: str, text: str, after: str, language: Language, state: State) -> str:
    """The first closers of the text that belong to openers on its own line, and to a comment or
    string before the cursor, where what follows in the same statement closes none of them."""
    above, newline, line = before.rpartition("\n")
    at_line = balance(above + newline, language, state).state
    opened = balance(line, language, at_line)
    own = balance(text, language, opened.state)
    rest = _rest_of_statement(line, after)
    inner = opened.state.open[-1] if opened.state.open else None
    closing = ""
    if inner is not None and own.state.open == opened.state.open[:-1] and not inner.deep:
        if not _lacks_end(inner, rest, after, language, opened.state):
            return ""
        closing = inner.close
    elif balance(rest, language, opened.state).closers[:1] == own.closers[:1]:
        return ""
    for opener, closer in zip(reversed(opened.openers), own.closers, strict=False):
        if PAIRS[opener] != closer:
            break
        closing += closer
    return closing


def _lacks_end(inner: Open, rest: str, after: str, language: Language, state: State) -> bool:
    if inner.kind == "comment":
        return comment_lacks_end(after, language, inner.close)
    return closed_at(rest, language, state) == len(rest)


def _rest_of_statement(line: str, after: str) -> str:
    """The rest of the cursor's line and the lines that are indented more than it, or close."""
    depth = len(line) - len(line.lstrip())
    first, *below = after.split("\n", _MOST_LINES)[:_MOST_LINES]
    kept = [first]
    for each in below:
        content = each.lstrip()
        if content and len(each) - len(content) <= depth and content[0] not in CLOSERS:
            break
        kept.append(each)
    return "\n".join(kept)


def fits(before: str, text: str, after: str, language: Language, state: State = START) -> bool:
    """Is everything that the text opens closed by itself or by what follows, a string that may
    not go on over line ends on its line; or was as much without a partner before? `state` is what
    is open where `before` starts."""
    here = balance(before, language, state).state
    own = balance(text, language, here)
    if own.state == here and not own.faults:
        return True
    rest = after.partition("\n")[0]
    left_open = balance(text + rest, language, here).state
    if left_open.ends_with_line(language) and left_open != balance(rest, language, here).state:
        return False
    now = balance(before + text + after, language, state)
    if now.faults > tolerated(before, text, after, language, state):
        return False
    return own.state == here or not now.state.open
