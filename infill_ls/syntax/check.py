"""Does a text fit at the cursor, as far as the file's grammar is concerned? Knows nothing of
engines or editors. Offsets are bytes of UTF-8, but for the spans of a verdict.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tree_sitter import Node, Tree

from infill_engine.budget import UNLIMITED, Budget
from infill_ls.syntax import bash, javascript, python
from infill_ls.syntax.brackets import CLOSERS, OPENERS, balance, fits, tolerated
from infill_ls.syntax.edits import tree_edit
from infill_ls.syntax.language import Language
from infill_ls.syntax.lexer import closed_at, comment_lacks_end, lex
from infill_ls.syntax.parse import Problem, children, parse_code, path_to, problems, utf8
from infill_ls.syntax.readable import is_readable
from infill_ls.syntax.rules import Fault, first_fault
from infill_ls.syntax.tokens import kinds
from infill_ls.syntax.trees import ParsePoint

_SCRIPTS = ("javascript", "javascriptreact", "typescript", "typescriptreact")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the parser says of a text at a cursor.

    `valid`: it adds no syntax error. `clean`: nothing is wrong where it stands. `spans` are the
    parts of the text to blame, in code points of it; empty ones where something is missing.
    `reason` is for people who ask why nothing is shown.
    """

    valid: bool
    clean: bool
    spans: tuple[tuple[int, int], ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inserted:
    """A text at a cursor: it is [start, end) of the source, whose tree and problems these are.
    `without` is the tree of the file without it, told of the edit, where this tree was made of
    it."""

    text: str
    start: int
    end: int
    source: bytes
    tree: Tree
    problems: tuple[Problem, ...]
    without: Tree | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """Why a text does not fit, and what of the source is to blame."""

    reason: str
    blamed: tuple[Problem, ...]


def check(point: ParsePoint, text: str, *, budget: Budget = UNLIMITED) -> Verdict:
    """Whether `text` at the cursor adds a syntax error.

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

    Raises BudgetSpent.
    """
    inserted = _inserted(point, text, budget)
    fault = _fault(point, inserted, budget)
    if fault is not None:
        spans = _spans(inserted, fault.blamed, budget)
        return Verdict(valid=False, clean=False, spans=spans, reason=fault.reason)
    here = _around(point.before, point.after, inserted.end)
    clean = not any(problem.touches(*here) for problem in inserted.problems)
    return Verdict(valid=True, clean=clean)


def _inserted(point: ParsePoint, text: str, budget: Budget) -> _Inserted:
    added = utf8(text)
    start, end = len(point.before), len(point.before) + len(added)
    source = point.before + added + point.after
    old = None
    if point.broken:
        tree = point.reparser.parse(source, point.language, budget=budget)
    else:
        old = point.tree.copy()
        old.edit(*tree_edit(point.before + point.after, source, start, start, end))
        parser = point.reparser.parser
        tree = parse_code(parser, source, point.language, budget=budget, old=old)
    found = problems(tree, source, point.language, budget=budget)
    return _Inserted(
        text=text,
        start=start,
        end=end,
        source=source,
        tree=tree,
        problems=found,
        without=old if is_readable(point.language) else None,
    )


def _fault(point: ParsePoint, inserted: _Inserted, budget: Budget) -> _Fault | None:
    """The first thing that is wrong with the text; None where nothing is."""
    if inserted.problems:
        if not point.broken:
            return _Fault(reason="a new syntax error", blamed=inserted.problems)
        if not _in_unknown_dialect(point) and (worse := _worse(point, inserted)) is not None:
            return worse
    elif (runs_on := _runs_on(point, inserted)) is not None:
        return runs_on
    if not _means_the_same(point, inserted, budget):
        blamed = Problem(inserted.start, inserted.end, False, "meaning")
        return _Fault(reason="what follows would mean something else", blamed=(blamed,))
    if point.language.strictness != "strict" and not _fits(point, inserted.text):
        blamed = Problem(inserted.end, inserted.end, False, "bracket")
        return _Fault(reason="brackets or quotes do not match", blamed=(blamed,))
    wrong = _refused(point, inserted, budget)
    if wrong is not None:
        blamed = Problem(wrong.start, wrong.end, False, "SyntaxError")
        return _Fault(reason=f"the language refuses it: {wrong.message}", blamed=(blamed,))
    return None


def _refused(point: ParsePoint, inserted: _Inserted, budget: Budget) -> Fault | None:
    """What the language does not take, though its grammar does."""
    tree, span = inserted.tree, (inserted.start, inserted.end)
    if point.is_part:
        return None
    if point.language.id == "python":
        return python.fault(tree, inserted.source, span, point.tree, budget=budget)
    if point.language.id == "shellscript":
        return bash.fault(tree, span, point.tree, budget=budget)
    if point.language.id in _SCRIPTS:
        return first_fault(tree, span, javascript.RULES, budget=budget)
    return None


def _in_unknown_dialect(point: ParsePoint) -> bool:
    """Is more wrong than what somebody types at the cursor, in the eyes of a partial grammar?"""
    if point.language.strictness != "partial":
        return False
    here = _around(point.before, point.after, len(point.before))
    return any(not problem.touches(*here) for problem in point.problems)


def _worse(point: ParsePoint, inserted: _Inserted) -> _Fault | None:
    """Why a text makes a broken file worse, and which problems say so; None where it does not."""
    then, now = point.problems, inserted.problems
    start, end = inserted.start, inserted.end
    here = _around(point.before, point.after, end)
    at_cursor = [p for p in then if p.touches(*_around(point.before, point.after, start))]
    touching = [problem for problem in now if problem.touches(*here)]
    missing = {problem.kind for problem in at_cursor if problem.missing}
    within = [
        problem
        for problem in now
        if start <= problem.start
        and problem.end <= end
        and not (problem.missing and problem.kind in missing)
    ]
    blamed = tuple(within or touching or now)
    more = len(now) > len(then) or _num_visible(now) > _num_visible(then)
    if more or len(touching) > len(at_cursor) or within:
        return _Fault(reason="a new syntax error", blamed=blamed)
    if _file_bytes(now, start, end) > _file_bytes(then, start, start):
        return _Fault(reason="more of the file becomes unreadable", blamed=blamed)
    if not _brackets_fit(point, inserted.text):
        return _Fault(reason="brackets do not match", blamed=blamed)
    return None


def _num_visible(found: Iterable[Problem]) -> int:
    return sum(problem.visible for problem in found)


def _around(before: bytes, after: bytes, end: int) -> tuple[int, int]:
    """The cursor, or what was put there up to `end`, with the white space on both sides."""
    return len(before.rstrip()), end + len(after) - len(after.lstrip())


def _file_bytes(found: Iterable[Problem], start: int, end: int) -> int:
    """How many bytes outside of [start, end) lie in ERROR nodes."""
    total, reached = 0, 0
    for problem in sorted(found, key=lambda problem: problem.start):
        if not problem.visible:
            continue
        low, high = max(problem.start, reached), problem.end
        total += max(0, min(high, start) - low) + max(0, high - max(low, end))
        reached = max(reached, high)
    return total


def _fits(point: ParsePoint, text: str) -> bool:
    return fits(point.before.decode(), text, point.after.decode(), point.language)


def _brackets_fit(point: ParsePoint, text: str) -> bool:
    before, after = point.before.decode(), point.after.decode()
    state = balance(before, point.language).state
    own = balance(text, point.language, state)
    if not own.faults and own.state == state:
        return True
    faults_then = balance(before + after, point.language).faults
    faults_now = balance(before + text + after, point.language).faults
    most = tolerated(before, text, after, point.language)
    if own.closers and own.openers and faults_now and most == faults_then:
        return faults_now < faults_then
    return faults_now <= most


# What may end a line though the construct goes on, `[[a]]` and `{{ a }}` included.
_MAY_END = OPENERS | CLOSERS | {",", ";", "]]", "}}", "%}"}


def _runs_on(point: ParsePoint, inserted: _Inserted) -> _Fault | None:
    """Does the text end in the middle of something that the next line then completes?

    Not where that line is indented as the inside of what the text leaves unfinished, nor where
    the line before the cursor's runs on into the next one without the text as well.
    """
    end = inserted.start + len(utf8(inserted.text).rstrip())
    nothing_follows = not point.after.partition(b"\n")[0].strip()
    if point.broken or end == inserted.start or not nothing_follows:
        return None
    source = inserted.source
    last = _unfinished(inserted.tree, source, end, point.language)
    if last is None:
        return None
    begun = last.parent or last
    following = len(source) - len(point.after.lstrip())
    if following < len(source) and _depth(source, following) > _depth(source, begun.start_byte):
        return None
    if last.type == ":" and point.language.id == "python":
        return None  # a block that is not there is for Python's own parser to find
    before = point.before.rstrip(b" \t")
    if before.endswith(b"\n") and _ends_unfinished(point):
        return None
    blamed = Problem(last.start_byte, end, False, last.type)
    return _Fault(reason="it runs on into the next line", blamed=(blamed,))


# So many bytes behind the cursor are compared: what changes its meaning does so at once.
_COMPARED = 1_000


def _means_the_same(point: ParsePoint, inserted: _Inserted, budget: Budget) -> bool:
    """Is what follows the cursor code, string or comment as it was?"""
    if point.broken:
        return True  # the rest of a broken line may well have been half a comment
    after = point.after[:_COMPARED]
    if point.language.strictness != "strict":
        after = after.partition(b"\n")[0]  # such a grammar may have taken the next lines for these
    low, high = 0, len(after)
    if inserted.without is not None:  # elsewhere all is within what it was in
        changed = inserted.without.changed_ranges(inserted.tree)
        low = max(low, min((each.start_byte - inserted.end for each in changed), default=high))
        high = min(high, max((each.end_byte - inserted.end for each in changed), default=low))
    if low >= high:
        return True
    start, end, after = inserted.start, inserted.end, after[low:high]
    was = kinds(point.tree, start + low, start + high, budget=budget)
    now = kinds(inserted.tree, end + low, end + high, budget=budget)
    # Whether a line end is part of a comment is the grammar's affair.
    pairs = zip(was, now, after, strict=True)
    if was == now or all(then == here or chr(each).isspace() for then, here, each in pairs):
        return True
    return not point.after.partition(b"\n")[0].strip() and _lacks_end(point)


def _lacks_end(point: ParsePoint) -> bool:
    """Has what the cursor stands in taken in what follows, because it is not closed yet?"""
    language, after = point.language, point.after.decode()
    state = lex(point.before.decode(), language).state
    if state.kind == "heredoc":
        return closed_at(after, language, state) == len(after)
    return state.kind == "comment" and comment_lacks_end(after, language, state.open[-1].close)


def _ends_unfinished(point: ParsePoint) -> bool:
    """Whether the line before the cursor's does."""
    source = point.before + point.after
    return _unfinished(point.tree, source, len(point.before.rstrip()), point.language) is not None


def _unfinished(tree: Tree, source: bytes, end: int, language: Language) -> Node | None:
    """The token that ends at `end`, if what it belongs to does not; its line end is no part."""
    if end == 0:
        return None
    last = tree.root_node.descendant_for_byte_range(end - 1, end)
    if last is None or last.is_named or last.end_byte != end or last.type in _MAY_END:
        return None
    parent = last.parent
    if parent is None or not source[end : parent.end_byte].strip() or _labels(last, parent):
        return None
    return None if _within_block(last, language) else last


def _within_block(word: Node, language: Language) -> bool:
    """`else` and its like, which stand alone on a line where a word ends the block."""
    outer = word.parent and word.parent.parent
    ends = outer.child(outer.child_count - 1) if outer is not None else None
    return word.type in language.carry_on and ends is not None and ends.type in language.close


def _depth(source: bytes, offset: int) -> int:
    """Columns of the indentation of the line that holds `offset`."""
    start = source.rfind(b"\n", 0, offset) + 1
    line = source[start : source.find(b"\n", start) + 1 or len(source)]
    return len(line[: len(line) - len(line.lstrip(b" \t"))].expandtabs(4))


def _labels(colon: Node, parent: Node) -> bool:
    """`case 1:`, `private:` and their like; not the colon of a type or of a condition."""
    words = ("case", "default", "label", "switch", "access", "mapping", "clause", "list", "body")
    return colon.type == ":" and any(word in parent.type for word in words)


def _spans(
    inserted: _Inserted, blamed: Iterable[Problem], budget: Budget
) -> tuple[tuple[int, int], ...]:
    """The parts of problems that lie in the text, in code points of it."""
    added = inserted.source[inserted.start : inserted.end]
    narrowed = {part for problem in blamed for part in _narrowed(inserted, problem, budget)}
    return tuple(sorted({_span(added, problem, inserted.start) for problem in narrowed}))


def _narrowed(inserted: _Inserted, problem: Problem, budget: Budget) -> list[Problem]:
    """Of an ERROR node that begins before the text, the tokens in the text that fit nowhere."""
    start, end = inserted.start, inserted.end
    if problem.missing or problem.start >= start:
        return [problem]
    path = path_to(inserted.tree, problem.start, problem.end, budget)
    error = next((node for node in reversed(path) if node.is_error), None)
    loose = [
        Problem(child.start_byte, child.end_byte, False, child.type)
        for child in (children(error, budget) if error is not None else ())
        if not child.is_named and start <= child.start_byte and child.end_byte <= end
    ]
    return loose or [problem]


def _span(added: bytes, problem: Problem, start: int) -> tuple[int, int]:
    """The part of a problem that lies in the text, in code points of it."""
    low = min(max(problem.start - start, 0), len(added))
    high = min(max(problem.end - start, low), len(added))
    return len(added[:low].decode("utf-8", "ignore")), len(added[:high].decode("utf-8", "ignore"))
