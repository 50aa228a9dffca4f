"""A source as the grammar of its language can read it: what is right there, but not to the
grammar, is said in other words. Nothing moves. Sources are bytes of UTF-8.
"""

import re
from collections.abc import Callable

from infill_ls.syntax.language import Language
from infill_ls.syntax.sql import plain_sql
from infill_ls.syntax.templates import without_tags

# One in a class is a syntax error to the grammar.
_FUN_INTERFACE = re.compile(r"\bfun(?=\s+interface\b)")


def _kotlin(text: str) -> str:
    return _FUN_INTERFACE.sub("   ", text)


_IN_OTHER_WORDS: dict[str, Callable[[str], str]] = {"kotlin": _kotlin, "sql": plain_sql}


def is_readable(language: Language) -> bool:
    """Whether the grammar reads sources of the language as they are."""
    return not language.templates and language.id not in _IN_OTHER_WORDS


def readable(source: bytes, language: Language) -> bytes:
    """As long as the source; takes time in proportion to it."""
    if language.templates:
        return without_tags(source, language)
    say = _IN_OTHER_WORDS.get(language.id)
    return source if say is None else say(source.decode("latin-1")).encode("latin-1")
