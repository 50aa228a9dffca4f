"""Does a text fit at the cursor, as far as the file's grammar is concerned? Knows tree-sitter,
nothing of engines or editors.

The tree of a whole file is kept per document and follows its edits. In a small file a candidate is
parsed within the whole of it; in a large one within an *excerpt*: the file without the statements,
members and list elements that lie far from the cursor. They are left out whole, so what is left is
a file of the same language, and what a parser says of it near the cursor holds for the whole.
(tree-sitter's incremental parse still walks every statement: 2 to 5 ms for 10,000 lines, and
50 to 200 ms where a bracket is open. An excerpt takes well under one.)

Everything is bytes of UTF-8 with LF line ends, except where a name or docstring says otherwise.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from tree_sitter import Node, Parser, Point, Tree

from infill_ls.documents import Document
from infill_ls.syntax import language as languages
from infill_ls.syntax import markup
from infill_ls.syntax import python as python_syntax
from infill_ls.syntax.brackets import CLOSERS, OPENERS, balance

# Files up to this size are checked as they are: a fresh parse takes about a millisecond.
_WHOLE = 16_000
# So many statements on each side of the cursor stay in an excerpt, and so many at each end of a
# list, where what is not a plain element stands (`<?php`, `package`, `use strict`).
_NEAR, _ENDS = 2, 2
# Files up to this size are checked whole where no excerpt can be trusted.
_AFFORDABLE = 64_000
# Nodes of up to so many children are looked at closely before some are left out as list elements.
_SHORT = 60
_SEPARATORS = frozenset({",", ";", "\n"})
# An outline whose edits since it was parsed span more than this is parsed anew.
_STALE = 8_000


_TAG = "tag"


@dataclass(frozen=True, slots=True)
class Problem:
    """An ERROR node, or a MISSING one, which has no width; in markup also a tag alone.

    `hidden` is one that a tree does not show: all that can be said is that it lies in this range.
    """

    start: int
    end: int
    missing: bool
    kind: str
    hidden: bool = False

    def touches(self, start: int, end: int) -> bool:
        return self.start <= end and start <= self.end


@dataclass(frozen=True, slots=True)
class Parsed:
    """A whole document: `source` is its text in UTF-8 with LF line ends."""

    source: bytes
    tree: Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The cursor's place in a file: what stands before and after it, and what is wrong there
    already. Of a large file only the excerpt that decides; then `whole` is the source and the
    cursor's offset in it, for second thoughts about a broken file that is not too large."""

    language_id: str
    before: bytes
    after: bytes
    whole: tuple[bytes, int] | None = None
    tree: Tree
    problems: tuple[Problem, ...]
    parser: Parser = field(repr=False)

    @property
    def broken(self) -> bool:
        return bool(self.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the parser says of a text at a place.

    `valid`: it adds no syntax error. `clean`: nothing is wrong where it stands. `spans` are the
    parts of the text to blame, in code points of it; empty ones where something is missing.
    `reason` is for people who ask why nothing is shown.
    """

    valid: bool
    clean: bool
    spans: tuple[tuple[int, int], ...] = ()
    reason: str = ""


class Trees:
    """The syntax trees of the open documents. Belongs to one thread."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._parsers: dict[str, Parser] = {}
        self._latest: tuple[Document, int, Place | None] | None = None

    def tree_for(self, document: Document) -> Parsed | None:
        """The tree of this text, whatever was parsed before; None where there is no grammar."""
        file = self._file(document)
        return None if file is None else file.parsed()

    def place(self, document: Document, offset: int) -> Place | None:
        """The place at `offset` (code points); None where there is no grammar."""
        if self._latest is not None and self._latest[0] is document and self._latest[1] == offset:
            return self._latest[2]
        place = self._place(document, offset)
        self._latest = document, offset, place
        return place

    def settle(self, document: Document) -> None:
        """Brings the tree of a file up to date that is right at its last place, so that the next
        place far from there need not; for when nobody waits."""
        if self._latest is not None and self._latest[0] is document:
            place, file = self._latest[2], self._file(document)
            if place is not None and not place.broken and file is not None:
                file.settle()

    def forget(self, uri: str) -> None:
        self._files.pop(uri, None)
        if self._latest is not None and self._latest[0].uri == uri:
            self._latest = None

    def _place(self, document: Document, offset: int) -> Place | None:
        file = self._file(document)
        if file is None:
            return None
        cursor = len(utf8(document.text[:offset]))
        if len(file.source) > _WHOLE:
            before, after = file.excerpt(cursor)
            tree = file.parser.parse(before + after)
            if not tree.root_node.has_error or file.may_be_broken:
                place = _place_of(document.language_id, before, after, tree, file.parser)
                affordable = len(file.source) <= _AFFORDABLE
                return replace(place, whole=(file.source, cursor)) if affordable else place
        # Small, or something was left out that the rest cannot do without.
        parsed = file.parsed()
        before, after = parsed.source[:cursor], parsed.source[cursor:]
        return _place_of(document.language_id, before, after, parsed.tree, file.parser)

    def _file(self, document: Document) -> "_File | None":
        grammar = languages.grammar(document.language_id)
        if grammar is None:
            return None
        name = languages.language(document.language_id).id
        file = self._files.get(document.uri)
        if file is None or file.language != name:
            parser = self._parsers.setdefault(name, Parser(grammar))
            file = self._files[document.uri] = _File(name, parser)
        file.follow(utf8(document.text))
        return file


def _place_of(language_id: str, before: bytes, after: bytes, tree: Tree, parser: Parser) -> Place:
    return Place(
        language_id=language_id,
        before=before,
        after=after,
        tree=tree,
        problems=tuple(_all_problems(tree, before + after, language_id)),
        parser=parser,
    )


def utf8(text: str) -> bytes:
    """Line ends become LF; half a surrogate pair, which UTF-8 cannot hold, a question mark."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.encode("utf-8", "replace")


def problems(tree: Tree) -> Iterator[Problem]:
    """Every ERROR and MISSING node, in no particular order."""
    stack = [tree.root_node]
    while stack:
        node = stack.pop()
        found = node.is_error or node.is_missing
        if found:
            yield Problem(node.start_byte, node.end_byte, node.is_missing, node.type)
        if node.has_error:
            # A skipped character is an ERROR node that has no error *in* it.
            inner = [n for n in node.children if n.has_error or n.is_error or n.is_missing]
            stack += inner
            if not inner and not found:
                # A line end that the grammar wants but does not name, for example.
                yield Problem(node.start_byte, node.end_byte, True, node.type, hidden=True)


def _all_problems(tree: Tree, source: bytes, language_id: str) -> Iterator[Problem]:
    yield from problems(tree)
    name = languages.language(language_id).id
    for start, end in markup.unmatched_tags(tree, source, name):
        yield Problem(start, end, False, _TAG)


# --- the check -----------------------------------------------------------------------------------


def check(place: Place, text: str) -> Verdict:
    """Whether `text` at the place adds a syntax error.

    In a file without errors: afterwards it has none either, and the text does not run on into
    the line after it (`x = a.` before `y = 1` parses as `x = a.y = 1`).

    In a file that is broken already, usually because somebody types there, the rule is *no worse
    than before*. Compared are the problems (ERROR and MISSING nodes) of the file without and with
    the text, both parsed from scratch, since what an incremental parse makes of a broken file
    depends on its past. All of these must hold:

    - there are not more of them;
    - not more of them touch the text than touched the cursor, white space around it included;
    - none lies within the text, unless it is a missing token that was missing at the cursor, so
      that an error does not move from the file into the text;
    - ERROR nodes cover no more of the file's own bytes;
    - not more brackets lack their partner; and a text that closes one of the file's brackets and
      leaves one of its own open must improve the whole.

    Errors elsewhere are on both sides of the comparison, or left out of both, and do not matter,
    unless the parser lost its way there and calls everything up to the cursor wrong.
    """
    added = utf8(text)
    start, end = len(place.before), len(place.before) + len(added)
    source = place.before + added + place.after
    if place.broken:
        tree = place.parser.parse(source)
    else:
        old = place.tree.copy()
        old.edit(*_edit(place.before + place.after, source, start, start, end))
        tree = place.parser.parse(source, old)
    now = list(_all_problems(tree, source, place.language_id))
    if place.broken and now:
        reason, blamed = _worse(place, text, now, start, end)
        if not reason and _worse_as_a_whole(place, added):
            reason, blamed = "a new syntax error", now
        here = _around(place.before, place.after, end)
        clean = not reason and not any(problem.touches(*here) for problem in now)
    else:
        reason, blamed = ("a new syntax error", now) if now else ("", [])
        clean = not now
    if not reason and not now:
        reason, blamed = _runs_on(place, tree, source, start + len(added.rstrip()))
    if not reason and _comments_out(place, tree, start, end):
        reason, blamed = "what follows becomes a comment", [Problem(start, end, False, "comment")]
    if not reason and languages.language(place.language_id).id == "python":
        fault = python_syntax.fault(tree, source, start, end, place.tree)
        if fault is not None:
            reason = f"Python: {fault.message}"
            blamed = [Problem(fault.start, fault.end, False, "SyntaxError")]
    if not reason:
        return Verdict(valid=True, clean=clean)
    blamed = [part for problem in blamed for part in _narrowed(tree, problem, start, end)]
    spans = tuple(sorted({_span(added, problem, start) for problem in blamed}))
    return Verdict(valid=False, clean=False, spans=spans, reason=reason)


def _worse(
    place: Place, text: str, now: list[Problem], start: int, end: int
) -> tuple[str, list[Problem]]:
    """Why a text makes a broken file worse, and which problems say so."""
    then = place.problems
    here = _around(place.before, place.after, end)
    at_cursor = [p for p in then if p.touches(*_around(place.before, place.after, start))]
    touching = [problem for problem in now if problem.touches(*here)]
    missing = {problem.kind for problem in at_cursor if problem.missing}
    within = [
        problem
        for problem in now
        if start <= problem.start
        and problem.end <= end
        and not (problem.missing and problem.kind in missing)
    ]
    blamed = within or touching or now
    more = len(now) > len(then) or _num_visible(now) > _num_visible(then)
    if more or len(touching) > len(at_cursor) or within:
        return "a new syntax error", blamed
    if _file_bytes(now, start, end) > _file_bytes(then, start, start):
        return "more of the file becomes unreadable", blamed
    if not _brackets_fit(place, text):
        return "brackets do not match", blamed
    return "", []


def _worse_as_a_whole(place: Place, added: bytes) -> bool:
    """Does a file of which only an excerpt was looked at have more problems?"""
    if place.whole is None:
        return False
    source, cursor = place.whole
    then = place.parser.parse(source)
    now = place.parser.parse(source[:cursor] + added + source[cursor:])
    return _num_visible(problems(now)) > _num_visible(problems(then))


def _num_visible(found: Iterable[Problem]) -> int:
    """What others count: neither hidden ones nor tags."""
    return sum(not problem.hidden and problem.kind != _TAG for problem in found)


def _around(before: bytes, after: bytes, end: int) -> tuple[int, int]:
    """The cursor, or what was put there up to `end`, with the white space on both sides."""
    return len(before.rstrip()), end + len(after) - len(after.lstrip())


def _file_bytes(found: Iterable[Problem], start: int, end: int) -> int:
    """How many bytes outside of [start, end) lie in ERROR nodes."""
    total, reached = 0, 0
    for problem in sorted(found, key=lambda problem: problem.start):
        if problem.kind == _TAG or problem.hidden:
            continue
        low, high = max(problem.start, reached), problem.end
        total += max(0, min(high, start) - low) + max(0, high - max(low, end))
        reached = max(reached, high)
    return total


def _brackets_fit(place: Place, text: str) -> bool:
    before, after = place.before.decode(), place.after.decode()
    quote = balance(before, place.language_id).quote
    own = balance(text, place.language_id, quote)
    if not own.faults and own.quote == quote:
        return True
    faults_then = balance(before + after, place.language_id).faults
    faults_now = balance(before + text + after, place.language_id).faults
    if own.closers and own.openers and faults_now:
        return faults_now < faults_then
    return faults_now <= faults_then


# What may end a line though the construct goes on.
_MAY_END = OPENERS | CLOSERS | {",", ";"}


def _runs_on(place: Place, tree: Tree, source: bytes, end: int) -> tuple[str, list[Problem]]:
    """Does the text end in the middle of something that the next line then completes?

    Not where that line is indented as the inside of what the text leaves unfinished, nor where
    the line before the cursor's runs on into the next one without the text as well.
    """
    if place.broken or end == len(place.before) or place.after.partition(b"\n")[0].strip():
        return "", []
    last = _unfinished(tree, end)
    if last is None:
        return "", []
    begun = last.parent or last
    following = len(source) - len(place.after.lstrip())
    if following < len(source) and _depth(source, following) > _depth(source, begun.start_byte):
        return "", []
    if last.type == ":" and languages.language(place.language_id).id == "python":
        return "", []  # a block that is not there is for Python's own parser to find
    before = place.before.rstrip(b" \t")
    if before.endswith(b"\n") and _unfinished(place.tree, len(before.rstrip())) is not None:
        return "", []
    return "it runs on into the next line", [Problem(last.start_byte, end, False, last.type)]


def _comments_out(place: Place, tree: Tree, start: int, end: int) -> bool:
    """Does the rest of the cursor's line belong to a comment that begins in the text?"""
    rest = place.after.partition(b"\n")[0]
    if place.broken or not rest.strip():
        return False  # the rest of a broken line may well have been half a comment
    first = end + len(rest) - len(rest.lstrip())
    node = tree.root_node.descendant_for_byte_range(first, first + 1)
    return node is not None and "comment" in node.type and start <= node.start_byte < end


def _unfinished(tree: Tree, end: int) -> Node | None:
    """The token that ends at `end`, if what it belongs to does not."""
    if end == 0:
        return None
    last = tree.root_node.descendant_for_byte_range(end - 1, end)
    if last is None or last.is_named or last.end_byte != end or last.type in _MAY_END:
        return None
    parent = last.parent
    return None if parent is None or parent.end_byte <= end or _labels(last, parent) else last


def _depth(source: bytes, offset: int) -> int:
    """Columns of the indentation of the line that holds `offset`."""
    start = source.rfind(b"\n", 0, offset) + 1
    line = source[start : source.find(b"\n", start) + 1 or len(source)]
    return len(line[: len(line) - len(line.lstrip(b" \t"))].expandtabs(4))


def _labels(colon: Node, parent: Node) -> bool:
    """`case 1:`, `private:` and their like; not the colon of a type or of a condition."""
    words = ("case", "default", "label", "switch", "access", "mapping", "clause", "list", "body")
    return colon.type == ":" and any(word in parent.type for word in words)


def _narrowed(tree: Tree, problem: Problem, start: int, end: int) -> list[Problem]:
    """Of an ERROR node that begins before the text, the tokens in the text that fit nowhere."""
    if problem.missing or problem.start >= start:
        return [problem]
    node = tree.root_node.descendant_for_byte_range(problem.start, problem.end)
    while node is not None and not node.is_error:
        node = node.parent
    loose = [
        Problem(child.start_byte, child.end_byte, False, child.type)
        for child in (node.children if node is not None else [])
        if not child.is_named and start <= child.start_byte and child.end_byte <= end
    ]
    return loose or [problem]


def _span(added: bytes, problem: Problem, start: int) -> tuple[int, int]:
    """The part of a problem that lies in the text, in code points of it."""
    low = min(max(problem.start - start, 0), len(added))
    high = min(max(problem.end - start, low), len(added))
    return len(added[:low].decode("utf-8", "ignore")), len(added[:high].decode("utf-8", "ignore"))


# --- following a document ------------------------------------------------------------------------


class _File:
    """One document's source, the tree of it, and an outline: the last tree without errors, moved
    along with the edits since."""

    def __init__(self, language: str, parser: Parser) -> None:
        self.language = language
        self.parser = parser
        self.source = b""
        self._tree: Tree | None = None  # of `source` exactly, where it is not None
        self._outline: Tree | None = None
        self._changed: tuple[int, int] | None = None  # bytes of `source` that the outline lacks

    def follow(self, source: bytes) -> None:
        """Takes note of an edit; nothing is parsed."""
        if source == self.source:
            return
        if self._outline is not None:
            start, old_end, new_end = _difference(self.source, source)
            self._outline.edit(*_edit(self.source, source, start, old_end, new_end))
            low, high = self._changed or (start, old_end)
            self._changed = min(low, start), max(high, old_end) + new_end - old_end
        self._tree = None
        self.source = source

    def parsed(self) -> Parsed:
        if self._tree is None:
            self._tree = self._parse()
            if not self._tree.root_node.has_error or self._outline is None:
                self._outline, self._changed = self._tree.copy(), None
        return Parsed(self.source, self._tree)

    def settle(self) -> None:
        if self._outline is None or self._changed is None:
            return
        tree = self.parser.parse(self.source, self._outline)
        if not tree.root_node.has_error:
            self._outline, self._changed = tree, None

    def _parse(self) -> Tree:
        if self._outline is not None:
            tree = self.parser.parse(self.source, self._outline)
            if not tree.root_node.has_error:
                return tree
        # What is reused of an old tree can change where errors are found: the text alone decides.
        return self.parser.parse(self.source)

    def excerpt(self, cursor: int) -> tuple[bytes, bytes]:
        """The source before and after the cursor without what is far from it."""
        low, high = self._changed or (0, 0)
        if self._outline is None or high - low > _STALE:
            self._outline, self._changed = self.parsed().tree.copy(), None
        if self._outline.root_node.has_error and self._changed is None:
            self._outline_without_line(cursor)
        root = self._outline.root_node
        if len(self.source) <= _AFFORDABLE and root.has_error:
            # The parser may have lost its way: its nodes are not what stands in the file.
            return self.source[:cursor], self.source[cursor:]
        near = [(cursor, cursor), self._changed or (cursor, cursor)]
        dispensable = sorted(_dispensable(root, near))
        return (
            _without(dispensable, self.source, 0, cursor),
            _without(dispensable, self.source, cursor, len(self.source)),
        )

    def _outline_without_line(self, cursor: int) -> None:
        """Tries for an outline without errors: broken files are mostly broken at the cursor."""
        start = self.source.rfind(b"\n", 0, cursor) + 1
        found = self.source.find(b"\n", cursor)
        end = found if found >= 0 else len(self.source)
        blank = b" " * (end - start)
        tree = self.parser.parse(self.source[:start] + blank + self.source[end:])
        if not tree.root_node.has_error:
            tree.edit(*_edit(self.source, self.source, start, end, end))
            self._outline, self._changed = tree, (start, end)

    @property
    def may_be_broken(self) -> bool:
        """False where the file is known to be free of errors: an excerpt then has none either,
        or it is a bad one."""
        return self._changed is not None or (
            self._outline is not None and self._outline.root_node.has_error
        )


def _without(ranges: list[tuple[int, int]], source: bytes, start: int, end: int) -> bytes:
    """[start, end) of the source without the ranges, which are in order and do not overlap."""
    parts: list[bytes] = []
    for low, high in ranges:
        if start <= low and high <= end:
            parts.append(source[start:low])
            start = high
    return b"".join([*parts, source[start:end]])


def _dispensable(root: Node, keep: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Ranges of whole list elements that are far from all of `keep`."""
    stack = [root]
    while stack:
        node = stack.pop()
        if node.end_byte - node.start_byte < 400:
            continue
        children = node.children
        kept = _kept(children, [each for each in keep if _touches(node, each)])
        stack.extend(child for child, stays in zip(children, kept, strict=True) if stays)
        first = 0
        while first < len(children):
            if kept[first]:
                first += 1
                continue
            last = first
            while last < len(children) and not kept[last]:
                last += 1
            run = _whole_elements(children[first:last])
            if run:
                yield run[0].start_byte, run[-1].end_byte
            first = last


def _touches(node: Node, span: tuple[int, int]) -> bool:
    return node.start_byte <= span[1] and span[0] <= node.end_byte


def _kept(children: list[Node], keep: list[tuple[int, int]]) -> list[bool]:
    """Which children of a node stay; `keep` are the places of interest that it touches."""
    count = len(children)
    ends, near = (_ENDS, _NEAR) if keep else (1, 0)
    if count <= 2 * (ends + near):
        return [True] * count
    kept = [index < ends or index >= count - ends for index in range(count)]
    if count <= _SHORT:
        # Not every node of many children is a list: comments make a function's many, too.
        kept = [stays or _has_role(children, i) for i, stays in enumerate(kept)]
    for start, end in keep:
        first = next((i for i, child in enumerate(children) if child.end_byte >= start), count)
        last = next((i for i in range(count - 1, -1, -1) if children[i].start_byte <= end), -1)
        low, high = min(first, last) - _NEAR, max(first, last) + _NEAR
        for index in range(max(low, 0), min(high + 1, count)):
            kept[index] = True
    return kept


def _has_role(children: list[Node], index: int) -> bool:
    """Is it a part that its parent has a name for, such as a body?"""
    parent = children[index].parent
    return parent is not None and parent.field_name_for_child(index) is not None


def _whole_elements(run: list[Node]) -> list[Node]:
    """As much of the run as can go: elements, each with its separator where the list has some."""
    separators = {node.type for node in run if not node.is_named}
    if not separators:
        return run
    if len(separators) > 1 or not separators <= _SEPARATORS:
        return []
    ends_named = not run[0].is_named
    while run and run[-1].is_named != ends_named:
        run = run[:-1]
    return run


def _difference(old: bytes, new: bytes) -> tuple[int, int, int]:
    """The one span that differs, at whole characters: its start, its end in old and in new."""
    start = _common_prefix(old, new)
    while start and _within_character(old, start):
        start -= 1
    tail = _common_suffix(old, new, min(len(old), len(new)) - start)
    while tail and _within_character(old, len(old) - tail):
        tail -= 1
    return start, len(old) - tail, len(new) - tail


def _within_character(source: bytes, index: int) -> bool:
    return index < len(source) and source[index] & 0xC0 == 0x80


def _common_prefix(old: bytes, new: bytes) -> int:
    low, high = 0, min(len(old), len(new))
    while low < high:
        middle = (low + high + 1) // 2
        if old[low:middle] == new[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common_suffix(old: bytes, new: bytes, limit: int) -> int:
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if old[len(old) - middle : len(old) - low] == new[len(new) - middle : len(new) - low]:
            low = middle
        else:
            high = middle - 1
    return low


def _edit(
    old: bytes, new: bytes, start: int, old_end: int, new_end: int
) -> tuple[int, int, int, Point, Point, Point]:
    row, line_start = old.count(b"\n", 0, start), old.rfind(b"\n", 0, start) + 1
    return (
        *(start, old_end, new_end),
        Point(row, start - line_start),
        _point(old, row, line_start, old_end),
        _point(new, row, line_start, new_end),
    )


def _point(source: bytes, row: int, line_start: int, offset: int) -> Point:
    """Row and column of an offset behind a known line's start, as tree-sitter counts them: LF
    ends a row, columns are bytes."""
    rows = source.count(b"\n", line_start, offset)
    if rows:
        line_start = source.rfind(b"\n", 0, offset) + 1
    return Point(row + rows, offset - line_start)
