"""The syntax trees of the open documents, and from them what a text at a cursor is checked with.

In a small file that is the whole of it; in a large one an excerpt, so that neither the size of a
file nor an error far away decides how long a check takes. Offsets are code points of the document
on the way in, bytes of UTF-8 within.
"""

from dataclasses import dataclass, field

from tree_sitter import Language as Grammar
from tree_sitter import Tree

from infill_engine.budget import UNLIMITED, Budget, BudgetSpent
from infill_ls.documents import Document
from infill_ls.syntax.excerpt import Excerpt, by_lines
from infill_ls.syntax.language import Language, language_of
from infill_ls.syntax.lexer import beginning, state_at
from infill_ls.syntax.outline import Outline
from infill_ls.syntax.parse import Problem, problems, utf8
from infill_ls.syntax.regions import Region, region_at
from infill_ls.syntax.reparse import Parse, Reparser

# Files up to this size are checked as they are: a fresh parse takes some milliseconds.
_WHOLE = 16_000
# So far from the cursor, in bytes, an error is where somebody types.
_NEAR = 200
# More than this cannot be checked in time.
_LARGEST = 64_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsePoint:
    """A cursor and the source round it, of a large file an excerpt; with the tree of it, and what
    is wrong there already. `is_part` says that it is no whole program, as in Markdown: what it
    needs may stand elsewhere."""

    language: Language
    before: bytes
    after: bytes
    tree: Tree
    problems: tuple[Problem, ...]
    is_part: bool
    reparser: Reparser = field(repr=False)

    @property
    def broken(self) -> bool:
        return bool(self.problems)

    @property
    def broken_before_cursor(self) -> bool:
        """Whether something is wrong well before the cursor. What is wrong there or behind it
        comes from what somebody types: an open bracket takes in all that follows."""
        return any(problem.end < len(self.before) - _NEAR for problem in self.problems)


class Trees:
    """What is kept of documents from one request to the next. Belongs to one thread."""

    def __init__(self) -> None:
        self._outlines: dict[str, tuple[Language, Outline]] = {}  # by URI, of large files only
        self._reparsers: dict[str, Reparser] = {}  # by grammar
        self._latest: tuple[Document, int, ParsePoint] | None = None

    def point(
        self, document: Document, offset: int, *, budget: Budget = UNLIMITED
    ) -> ParsePoint | None:
        """The cursor at `offset`, in the region that holds it; None where there is no grammar.

        Raises BudgetSpent, also where not even an excerpt is small enough: a line can be endless.
        """
        region = region_at(document.text, offset, language_of(document.language_id))
        grammar = region.language.grammar
        if grammar is None:
            return None
        latest = self._latest
        if latest is not None and latest[0] is document and latest[1] == offset:
            return latest[2]
        point = self._point(document, offset, region, grammar, budget)
        self._latest = document, offset, point
        return point

    def parse_ahead(self, document: Document, offset: int, *, budget: Budget) -> None:
        """Does what the next `point` near here needs, and looks what is open where; for when
        nobody waits. Raises BudgetSpent; what was done until then is not lost."""
        self.point(document, offset, budget=budget)
        if document.uri in self._outlines:
            self._outlines[document.uri][1].refresh(budget=budget)
        region = region_at(document.text, offset, language_of(document.language_id))
        code = document.text[region.start : region.end]
        state_at(code, region.language, beginning(code, region.language), budget=budget)

    def forget(self, uri: str) -> None:
        self._outlines.pop(uri, None)
        self._reparsers.clear()
        if self._latest is not None and self._latest[0].uri == uri:
            self._latest = None

    def _point(
        self, document: Document, offset: int, region: Region, grammar: Grammar, budget: Budget
    ) -> ParsePoint:
        language, code = region.language, document.text[region.start : region.end]
        reparser = self._reparsers.get(language.grammar_function)
        if reparser is None:
            reparser = self._reparsers[language.grammar_function] = Reparser(grammar)
        # Where something was wrong at the last key, something mostly is at this one.
        was_broken = self._latest is not None and self._latest[2].broken
        parse = reparser.parse_anew if was_broken else reparser.parse
        source, cursor = utf8(code), len(utf8(code[: offset - region.start]))
        if len(source) <= _WHOLE:
            self._outlines.pop(document.uri, None)
            whole = source[:cursor], source[cursor:]
            return _parse_point(region, whole, reparser, parse, budget)
        outline = self._outline(document.uri, language, grammar)
        outline.follow(source)
        # The other half is for the excerpt itself and for the check.
        excerpt = outline.excerpt(cursor, budget=budget.within(budget.left() / 2))
        by_tree = excerpt if excerpt is not None and _size(excerpt) <= _LARGEST else None
        point = None
        if by_tree is not None and outline.faultless:
            point = _parse_point(region, by_tree, reparser, parse, budget)
            if not point.broken_before_cursor:
                return point
        # No tree yet, or errors have led it or its excerpt astray.
        excerpt = by_lines(source, cursor, language, budget=budget)
        if _size(excerpt) <= _LARGEST:
            local = _parse_point(region, excerpt, reparser, parse, budget)
            if point is None or not local.broken:
                return local
        if by_tree is None:
            raise BudgetSpent
        return point or _parse_point(region, by_tree, reparser, parse, budget)

    def _outline(self, uri: str, language: Language, grammar: Grammar) -> Outline:
        known = self._outlines.get(uri)
        if known is None or known[0] != language:
            known = self._outlines[uri] = language, Outline(grammar)
        return known[1]


def _size(excerpt: Excerpt) -> int:
    return len(excerpt[0]) + len(excerpt[1])


def _parse_point(
    region: Region, excerpt: Excerpt, reparser: Reparser, parse: Parse, budget: Budget
) -> ParsePoint:
    language, (before, after) = region.language, excerpt
    tree = parse(before + after, language, budget=budget)
    return ParsePoint(
        language=language,
        before=before,
        after=after,
        tree=tree,
        problems=problems(tree, before + after, language, budget=budget),
        is_part=region.host.embeds in ("fences", "bodies") and region.language != region.host,
        reparser=reparser,
    )
