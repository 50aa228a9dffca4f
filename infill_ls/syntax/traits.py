"""What there is to know about a language: its grammar, what is a comment and a string in it, and
how its blocks go on and end."""

import logging
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the server answers `initialize` without it
    import tree_sitter

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """`grammar_function` is the module of a PyPI package and the function in it; "" for none.

    `indentation` is used where a file shows none of its own. `line_comment` is "" where the
    language has none, and begins one only behind white space where it is `spaced`; `comment` is
    what opens and closes one within a line or over several. `quotes` are those that make strings,
    longest first; in a language without `'` among them that is a character or an apostrophe, if
    `characters`. Plain strings go on over line ends where there are `long_strings`. In `prose`
    brackets and quotes need no partner. `interpolation` are pairs of a quote and what begins code
    in its string; `regexes` are literals between slashes, `nested_comments` ones that hold further
    ones. `tags` says by whose rules tags need a partner. A "lenient" grammar takes brackets and
    quotes without a partner, as text or as a shell's, a "partial" one besides does not know all
    dialects: in a file that it cannot read, brackets and quotes alone decide. `embeds` says how
    other languages stand in it, `templates` whose tags do.
    `carry_on` are the words that continue a block at the indentation of the line that opened it
    (`else`), `close` those that end it (`end`).
    """

    id: str
    grammar_function: str = ""
    line_comment: str = ""
    spaced: bool = False
    comment: tuple[str, str] | None = None
    quotes: tuple[str, ...] = ('"',)
    long_strings: bool = False
    characters: bool = True
    prose: bool = False
    interpolation: tuple[tuple[str, str], ...] = ()
    regexes: bool = False
    nested_comments: bool = False
    tags: Literal["html", "jsx", ""] = ""
    strictness: Literal["strict", "lenient", "partial"] = "strict"
    embeds: Literal["fences", "scripts", "bodies", ""] = ""
    templates: Literal["tags", "expressions", ""] = ""
    indentation: str = "    "
    aliases: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    file_names: tuple[str, ...] = ()
    carry_on: frozenset[str] = frozenset()
    close: frozenset[str] = frozenset()

    def __hash__(self) -> int:
        """Of its name alone: what is kept of texts is looked up by it, again and again."""
        return hash(self.id)

    @property
    def grammar(self) -> "tree_sitter.Language | None":
        """Imported at the first use; None where there is none to be had."""
        return _load(self.grammar_function)


@cache
def _load(grammar_function: str) -> "tree_sitter.Language | None":
    if not grammar_function:
        return None
    import tree_sitter

    module, _, function = grammar_function.partition(":")
    try:
        return tree_sitter.Language(getattr(import_module(module), function)())
    except (ImportError, AttributeError, ValueError) as error:
        # Not installed, renamed, or built for another tree-sitter: complete without the check.
        _log.warning("no syntax check with %s: %s", module, error)
        return None
