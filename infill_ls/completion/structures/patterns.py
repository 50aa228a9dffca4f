"""Whether a regular expression matches a text, and the string nearest to a text that several do.

An expression becomes an automaton of characters. All the ways through it are gone at once, so that
no text takes exponentially long, as it may with Python's `re`. The cheapest way, where a character
that is kept costs nothing and one that is changed, added or left out costs one, is found by
Dijkstra's algorithm. Knows nothing of JSON.
"""

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count, product

# What `re` itself parses by; it has kept this form through all versions that are supported.
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

_MOST_NODES, _MOST_STATES = 4_000, 60_000
LONGEST_MADE = _MOST_NODES  # characters
_MOST_NEAR = 48  # characters of the text that are compared
_PREFERRED = "a0A-_. /:@" + "".join(map(chr, range(33, 127)))
_ANY = 0x10FFFF


class UnsupportedPattern(Exception):
    """The sentence says what of the pattern is meant."""


class UnreadablePattern(UnsupportedPattern):
    """It is no regular expression."""


@dataclass(frozen=True, slots=True)
class _Chars:
    """A class of characters: ranges and categories, or all but these."""

    items: tuple[tuple[int, int] | str, ...]
    negated: bool = False

    def __contains__(self, char: str) -> bool:
        return any(_within(char, item) for item in self.items) != self.negated

    def matches(self, char: str) -> bool:
        """As in `re`, whose categories have all of Unicode: of a text that is there. What is made
        is right for dialects with ASCII's, too."""
        return any(_matches(char, item) for item in self.items) != self.negated

    def samples(self) -> Iterator[str]:
        """Some of them, fit for a text, the plainest first."""
        yield from (char for char in _PREFERRED if char in self)
        for item in self.items:
            if isinstance(item, tuple) and not self.negated:
                yield from (chr(code) for code in item if _printable(code))


def _printable(code: int) -> bool:
    return code >= 32 and chr(code).isprintable()


def _within(char: str, item: tuple[int, int] | str) -> bool:
    match item:
        case "digit":
            return char in "0123456789"
        case "word":
            return char == "_" or (char.isascii() and char.isalnum())
        case "space":
            return char in " \t\n\r\f\v"
        case "not digit":
            return not char.isdecimal()
        case "not word":
            return not (char == "_" or char.isalnum())
        case "not space":
            return not char.isspace()
    assert isinstance(item, tuple), item
    return item[0] <= ord(char) <= item[1]


def _matches(char: str, item: tuple[int, int] | str) -> bool:
    match item:
        case "digit":
            return char.isdecimal()
        case "word":
            return char == "_" or char.isalnum()
        case "space":
            return char.isspace()
    return _within(char, item)


@dataclass(frozen=True, slots=True)
class _Look:
    """From `start` to `final`, beginning so many characters `behind` the place."""

    start: int
    final: int
    negated: bool
    behind: int


# Of `re`; a dialect that has fewer characters in a category than Python is satisfied as well.
_CATEGORIES = {
    op.CATEGORY_DIGIT: "digit",
    op.CATEGORY_NOT_DIGIT: "not digit",
    op.CATEGORY_WORD: "word",
    op.CATEGORY_NOT_WORD: "not word",
    op.CATEGORY_SPACE: "space",
    op.CATEGORY_NOT_SPACE: "not space",
}
_NAMED = {
    op.ASSERT: "a lookahead or lookbehind",
    op.ASSERT_NOT: "a negative lookahead or lookbehind",
    op.GROUPREF: "a back reference",
    op.AT: "a word boundary",
    op.SUBPATTERN: "flags",
}
_EVERY = _Chars(((0, _ANY),))
# Edges that read nothing.
_FREE, _START, _END, _BOUNDARY, _INSIDE = "free", "start", "end", "boundary", "inside"


@dataclass(slots=True)
class _Automaton:
    """`edges[node]` leads on by a class of characters, or by reading nothing: anywhere, only at the
    start, only at the end, where words begin, end or neither, or where a look says so. It begins at
    node 0; `final` is where it may stop. No text is made by what is `unmade`."""

    edges: list[list[tuple[_Chars | _Look | str, int]]] = field(default_factory=lambda: [[]])
    final: int = 0
    unmade: str = ""

    def node(self) -> int:
        if len(self.edges) >= _MOST_NODES:
            raise UnsupportedPattern("it repeats too much")
        self.edges.append([])
        return len(self.edges) - 1

    def read(self, at: int, chars: _Chars | _Look | str) -> int:
        to = self.node()
        self.edges[at].append((chars, to))
        return to

    def all_of(self, parsed: Any, at: int) -> int:
        for operation, argument in parsed:
            at = self._one(operation, argument, at)
        return at

    def _one(self, operation: Any, argument: Any, at: int) -> int:
        match operation:
            case op.LITERAL:
                return self.read(at, _Chars(((argument, argument),)))
            case op.NOT_LITERAL:
                return self.read(at, _Chars(((argument, argument),), negated=True))
            case op.ANY:
                return self.read(at, _Chars(((10, 10),), negated=True))
            case op.IN:
                return self.read(at, _class(argument))
            case op.SUBPATTERN if not (argument[1] or argument[2]):
                return self.all_of(argument[-1], at)
            case op.BRANCH:
                to = self.node()
                for branch in argument[1]:
                    self.edges[self.all_of(branch, self.read(at, _FREE))].append((_FREE, to))
                return to
            case op.MAX_REPEAT | op.MIN_REPEAT:
                least, most, repeated = argument
                return self._repeated(least, most, repeated, at)
            case op.AT if argument in (op.AT_BEGINNING, op.AT_BEGINNING_STRING):
                return self.read(at, _START)
            case op.AT if argument in (op.AT_END, op.AT_END_STRING):
                # As in JavaScript and so in JSON Schema; Python's `$` lets a line feed follow.
                return self.read(at, _END)
            case op.AT if argument in (op.AT_BOUNDARY, op.AT_NON_BOUNDARY):
                self.unmade = f"it has {_NAMED[operation]}"
                return self.read(at, _BOUNDARY if argument is op.AT_BOUNDARY else _INSIDE)
            case op.ASSERT | op.ASSERT_NOT:
                self.unmade = f"it has {_NAMED[operation]}"
                direction, parsed = argument
                start = self.node()
                final = self.all_of(parsed, start)
                behind = parsed.getwidth()[0] if direction < 0 else 0
                negated = operation is op.ASSERT_NOT
                return self.read(at, _Look(start, final, negated, behind))
        raise UnsupportedPattern(f"it has {_NAMED.get(operation, str(operation).lower())}")

    def _repeated(self, least: int, most: Any, parsed: Any, at: int) -> int:
        for _ in range(least):
            before, at = at, self.all_of(parsed, at)
            if at == before:  # of nothing any number is the same
                return at
        if most is op.MAXREPEAT:
            loop = self.read(at, _FREE)
            self.edges[self.all_of(parsed, loop)].append((_FREE, loop))
            return loop
        to = self.node()
        self.edges[at].append((_FREE, to))
        for _ in range(most - least):
            before, at = at, self.all_of(parsed, at)
            if at == before:
                break
            self.edges[at].append((_FREE, to))
        return to


def _class(items: Any) -> _Chars:
    kept: list[tuple[int, int] | str] = []
    for operation, argument in items:
        match operation:
            case op.LITERAL:
                kept.append((argument, argument))
            case op.RANGE:
                kept.append(argument)
            case op.CATEGORY:
                kept.append(_CATEGORIES[argument])
    return _Chars(tuple(kept), negated=items[0][0] is op.NEGATE)


@lru_cache(maxsize=1024)
def _automaton(pattern: str) -> _Automaton:
    """Of a pattern that may stand anywhere in the string, as JSON Schema has it. Raises
    UnsupportedPattern."""
    try:
        parsed = _parser.parse(pattern)
    except Exception as error:
        raise UnreadablePattern(f"it cannot be read: {error}") from None
    if parsed.state.flags & ~op.SRE_FLAG_UNICODE:
        raise UnsupportedPattern("it has flags")
    automaton = _Automaton()
    automaton.edges[0].append((_EVERY, 0))
    at = automaton.all_of(parsed, automaton.read(0, _FREE))
    automaton.edges[at].append((_EVERY, at))
    automaton.final = at
    return automaton


def check(pattern: str) -> None:
    """Raises UnsupportedPattern, and of those UnreadablePattern where it is no expression."""
    _automaton(pattern)


def is_plain(pattern: str) -> bool:
    """Whether `re` matches it in reasonable time, too: it branches or repeats twice at most, and
    repeats single characters."""
    return _num_choices(_parser.parse(pattern)) <= 2


def _num_choices(parsed: Any) -> float:
    found = 0.0
    for operation, argument in parsed:
        if operation is op.SUBPATTERN:
            found += _num_choices(argument[-1])
        elif operation is op.BRANCH:
            found += 1 + sum(map(_num_choices, argument[1]))
        elif operation in (op.MAX_REPEAT, op.MIN_REPEAT):
            single = [each for each, _ in argument[2]] in ([op.LITERAL], [op.IN], [op.ANY])
            found += 1 if single else math.inf
        elif operation in (op.ASSERT, op.ASSERT_NOT):
            found = math.inf
    return found


def is_found(pattern: str, text: str) -> bool:
    """Whether the pattern matches anywhere in the text, in a time that grows with the product of
    their lengths. Raises UnsupportedPattern."""
    automaton = _automaton(pattern)
    return bool(_begins(automaton, 0, automaton.final, text, {}, everywhere=False))


def _begins(
    automaton: _Automaton,
    start: int,
    final: int,
    text: str,
    looks: dict[int, int],
    *,
    everywhere: bool,
) -> int:
    """A bit for each place in the text from which a way leads from one node to the other; unless
    `everywhere`, of the first place alone. `looks` has the same of looks, by their start."""

    def passes(edge: _Look | str, at: int) -> bool:
        if isinstance(edge, _Look):
            if edge.start not in looks:
                looks[edge.start] = _begins(
                    automaton, edge.start, edge.final, text, looks, everywhere=True
                )
            begin = at - edge.behind
            return (begin >= 0 and bool(looks[edge.start] >> begin & 1)) != edge.negated
        if edge in (_BOUNDARY, _INSIDE):
            before, behind = text[max(at - 1, 0) : at], text[at : at + 1]
            changes = _is_word(before) != _is_word(behind)
            return changes == (edge == _BOUNDARY)
        return edge == _FREE or at == (0 if edge == _START else len(text))

    found, nodes = 0, dict[int, int]()  # of each node the places from which it was reached
    for at in range(len(text) + 1):
        if everywhere or at == 0:
            nodes[start] = nodes.get(start, 0) | 1 << at
        waiting = [*nodes]
        while waiting:
            node = waiting.pop()
            for edge, to in automaton.edges[node]:
                new = nodes[node] & ~nodes.get(to, 0)
                if new and not isinstance(edge, _Chars) and passes(edge, at):
                    nodes[to] = nodes.get(to, 0) | new
                    waiting.append(to)
        found |= nodes.get(final, 0)
        if at == len(text) or (found and not everywhere):
            break
        read = dict[int, int]()
        for node, places in nodes.items():
            for edge, to in automaton.edges[node]:
                if isinstance(edge, _Chars) and edge.matches(text[at]):
                    read[to] = read.get(to, 0) | places
        nodes = read
    return found


def _is_word(char: str) -> bool:
    return bool(char) and _matches(char, "word")


def nearest(
    patterns: Sequence[str], near: str = "", *, begin: str = "", least: int = 0, most: int = _ANY
) -> str | None:
    """The string of `least` to `most` characters that begins with `begin`, goes on as much like
    `near` as may be, and is found by every pattern; None where there is none, or none is found in
    reasonable time. Raises UnsupportedPattern.
    """
    if least > most or least > LONGEST_MADE:
        return None
    automata = [_automaton(pattern) for pattern in patterns]
    for unmade in (each.unmade for each in automata if each.unmade):
        raise UnsupportedPattern(unmade)
    text = begin + near[:_MOST_NEAR]
    found = _cheapest(automata, text, len(begin), least, _ANY)
    if found is not None and len(found) > most:
        found = _cheapest(automata, text, len(begin), least, most)
    return found


# Nodes, whether the end was claimed, how much of the text and of the string there is.
_State = tuple[tuple[int, ...], bool, int, int]


def _cheapest(
    automata: Sequence[_Automaton], text: str, pinned: int, least: int, most: int
) -> str | None:
    # Longer ones are not told apart where nothing depends on it: that keeps the states few.
    counted = max(most if most < _ANY else least, 1)
    order = count()  # of equal costs the first
    start: _State = (tuple(0 for _ in automata), False, 0, 0)
    queue: list[tuple[float, int, _State, Any]] = [(0.0, next(order), start, None)]
    seen = set[_State]()
    final = tuple(automaton.final for automaton in automata)
    while queue and len(seen) < _MOST_STATES:
        cost, _, state, path = heapq.heappop(queue)
        if state in seen:
            continue
        seen.add(state)
        nodes, _, used, length = state
        if nodes == final and used == len(text) and length >= least:
            return _spelled(path)
        for price, step, char in _steps(automata, state, text, pinned, counted, most):
            if step not in seen:
                way = path if char is None else (char, path)
                heapq.heappush(queue, (cost + price, next(order), step, way))
    return None


def _spelled(path: Any) -> str:
    chars = []
    while path is not None:
        char, path = path
        chars.append(char)
    return "".join(reversed(chars))


def _steps(
    automata: Sequence[_Automaton],
    state: _State,
    text: str,
    pinned: int,
    counted: int,
    most: int,
) -> Iterator[tuple[float, _State, str | None]]:
    nodes, ended, used, length = state
    for at, automaton in enumerate(automata):
        for edge, to in automaton.edges[nodes[at]]:
            if edge is _FREE or (edge is _START and length == 0) or edge is _END:
                moved = (*nodes[:at], to, *nodes[at + 1 :])
                yield 0.0, (moved, ended or edge is _END, used, length), None
    char = text[used] if used < len(text) else None
    if char is not None and used >= pinned:
        yield 1.0, (nodes, ended, used + 1, length), None
    if ended or length >= most:
        return
    longer = min(length + 1, counted)
    reading = [
        [(edge, to) for edge, to in automaton.edges[node] if isinstance(edge, _Chars)]
        for automaton, node in zip(automata, nodes, strict=True)
    ]
    for edges in product(*reading):
        classes = [edge for edge, _ in edges if isinstance(edge, _Chars)]
        to_nodes = tuple(to for _, to in edges)
        if char is not None and all(char in each for each in classes):
            yield 0.0, (to_nodes, False, used + 1, longer), char
            if used < pinned:
                continue
        elif used < pinned:
            continue
        for price, other in _others(classes, char):
            yield 1.0, (to_nodes, False, used, longer), other
            if char is not None:
                yield price, (to_nodes, False, used + 1, longer), other


def _others(classes: Sequence[_Chars], char: str | None) -> Iterator[tuple[float, str]]:
    """A character in all classes, and what it costs in place of another one: its other case, else
    the plainest."""
    if char is not None:
        for variant in (char.lower(), char.upper()):
            if len(variant) == 1 and all(variant in each for each in classes):
                yield 0.2, variant
                return
    first = classes[0] if classes else _EVERY
    for sample in first.samples():
        if all(sample in each for each in classes):
            yield 1.0, sample
            return
