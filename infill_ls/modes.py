"""When something is suggested in one document: the setting `trigger`, and the entries of `modes`
that know better for a language, or for files by patterns as in .gitignore.

An entry is `WHAT: MODE`; the last one that is about a document decides, as in a .gitignore.
"""

import posixpath
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from infill_ls.documents import Document
from infill_ls.gitignore import PatternError, Rule, deciding, expanded, mistake_in, rule_of
from infill_ls.settings import TRIGGERS, Settings
from infill_ls.uris import path_of

# What no language id has: by these WHAT is known to be a pattern.
_PATTERN = "/*?.["


def settings_at(settings: Settings, document: Document, folders: Sequence[str]) -> Settings:
    """The settings with the `trigger` that holds for the document; `folders` are the absolute
    paths of the workspace."""
    if not settings.modes:
        return settings
    path = (path_of(document.uri) or "").replace("\\", "/")
    mode = _mode(settings.modes, document.language_id, path, tuple(folders))
    return replace(settings, trigger=mode or settings.trigger)


def mistake_in_mode(entry: str) -> str:
    """Why an entry can say nothing, as the end of a sentence; empty where it can."""
    what, _, mode = (part.strip() for part in entry.rpartition(":"))
    if not what:
        return 'it is not of the form "WHAT: MODE", with a language id or a pattern of files'
    if mode not in TRIGGERS:
        return f'"{mode}" is none of {", ".join(TRIGGERS)}'
    return mistake_in(what) if _is_pattern(what) else ""


def languages_in(modes: Sequence[str]) -> tuple[str, ...]:
    """The language ids that entries are about."""
    named = (entry.rpartition(":")[0].strip() for entry in modes if not mistake_in_mode(entry))
    return tuple(what for what in named if not _is_pattern(what))


def _is_pattern(what: str) -> bool:
    return any(each in what for each in _PATTERN)


@lru_cache(maxsize=256)
def _mode(modes: tuple[str, ...], language: str, path: str, folders: tuple[str, ...]) -> str:
    """What the last entry says that is about a file; "" where none is."""
    path = path if path.startswith("/") else f"/{path}"
    roots = (f"{posixpath.normpath('/' + folder.lstrip('/'))}/" for folder in folders)
    root = max((each for each in roots if path.startswith(each)), key=len, default="/")
    for entry in reversed(modes):
        what, _, mode = (part.strip() for part in entry.rpartition(":"))
        if _is_pattern(what):
            about = any(deciding([rule], path) for rule in _rules(what, root))
        else:
            about = what.lower() == language.lower()
        if about and mode in TRIGGERS:
            return mode
    return ""


def _rules(pattern: str, root: str) -> list[Rule]:
    rules = []
    for glob in expanded(pattern):
        try:
            rule = rule_of(glob, base=root, source="modes", fold=True)
        except PatternError:  # said when the settings were read
            continue
        if rule is not None:
            rules.append(rule)
    return rules
