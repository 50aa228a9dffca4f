"""Which files to leave alone: those with secrets, ignored ones, too large ones.

Such a file is neither completed nor shown to the model as context of another one, whoever asks.
Neither is a link to one.

What is ignored is said in .gitignore files and what git reads beside them, in .infillignore files,
which have the last word over those, and in the setting `disabledFiles`, which has the last word
over all. A file that is committed although a pattern names it counts as ignored here: git's index
is not read.
"""

import os
import posixpath
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from infill_ls.git_config import Stamp, stamp_of, text_of
from infill_ls.git_excludes import exclude_files
from infill_ls.gitignore import PatternError, Rule, deciding, expanded, last_met, rule_of, rules_of
from infill_ls.secret_files import names_secrets
from infill_ls.secret_texts import secret_in
from infill_ls.uris import path_of

OWN_FILE = ".infillignore"
_MAX_RULES = 2000  # of one ignore file; real ones have a hundredth
_MAX_DEPTH = 200  # real ones have a tenth, and every folder is looked into
# Windows and macOS do not tell upper from lower case, and neither does git there.
_FOLD = sys.platform in ("win32", "darwin")
_LOCAL = re.compile(r"(file|vscode-notebook-cell):|[A-Za-z]:[/\\]|[^:]*$", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:/")
# Their own names, those of git's outside of a repository, and those that people give to such.
_IGNORE_FILE = re.compile(
    r"(.*/)?(\.[^/]*gitignore[^/]*|\.infillignore|\.git/info/exclude|git/ignore|git/config"
    r"|\.gitconfig)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnorePolicy:
    """What decides beside the files themselves.

    `disabled_files` and `max_file_size` are the user's settings, `folders` the absolute paths of
    the workspace. Where the model is on a server (`remote`), a text with what looks like a secret
    is left alone too.
    """

    disabled_files: tuple[str, ...] = ()
    max_file_size: int | None = None
    folders: tuple[str, ...] = ()
    remote: bool = False


def ignored(policy: IgnorePolicy, uri: str, text: str) -> str:
    """Why this document is left alone; empty when it is not."""
    largest = policy.max_file_size
    if largest is not None and len(text) > largest:
        return f"larger than maxFileSize ({len(text)} > {largest} characters)"
    path = path_of(uri)
    if path and (why := _ignored_path(policy, path, local=_LOCAL.match(uri) is not None)):
        return why
    if policy.remote and (found := secret_in(uri, text)):
        return f"it holds what looks like {found}, and the model is not on this machine"
    return ""


def ignored_file(policy: IgnorePolicy, path: str) -> str:
    """The same of a file on this disk by its path alone, for what is read beside a document."""
    return _ignored_path(policy, path, local=True)


def is_ignore_file(path: str) -> bool:
    """Whether other files may be ignored, or no longer, once this one was written or removed."""
    return _IGNORE_FILE.fullmatch(path) is not None


def look_anew() -> None:
    """What was found on the disk holds no longer: an ignore file has changed."""
    for found in (_decided, _rules, exclude_files):
        found.cache_clear()


def _ignored_path(policy: IgnorePolicy, path: str, *, local: bool) -> str:
    """What was found on the disk holds for a second: then a changed ignore file is read again."""
    if path.count("/") > _MAX_DEPTH:
        return f"in more than {_MAX_DEPTH} folders"
    return _decided(policy, _rooted(path), local, int(time.monotonic()))


@lru_cache(maxsize=1024)
def _decided(policy: IgnorePolicy, path: str, local: bool, second: int) -> str:
    target = _rooted(os.path.realpath(_on_disk(path))) if local else path
    paths = (path,) if target == path else (path, target)
    if any(map(names_secrets, paths)):
        return "a file that may hold secrets"
    for each in paths:
        rules, around = _rules(policy, each[: each.rindex("/") + 1], local, second)
        rule = around or last_met(rules, each)
        if rule and rule.ignores:
            return f"ignored by {rule.source}: {rule.text}"
    return ""


@lru_cache(maxsize=256)
def _rules(
    policy: IgnorePolicy, folder: str, local: bool, second: int
) -> tuple[tuple[Rule, ...], Rule | None]:
    """What may be about a file in this folder, the weakest first: as in git the last one decides.
    And which of them ignores the folder itself.

    Ignore files count from the root of the repository, or of the workspace where there is none;
    our own from whichever is further up.
    """
    above = [folder[: at.end()] for at in re.finditer("/", folder)]
    folders = (*policy.folders, *(map(os.path.realpath, policy.folders) if local else ()))
    roots = {_rooted(root).rstrip("/") + "/" for root in folders}
    workspace = next((each for each in reversed(above) if each in roots), None)
    repository = next((each for each in reversed(above) if local and _exists(each + ".git")), None)
    root = workspace or repository or folder
    top = min(root, repository or root, key=len)
    rules: list[Rule] = []
    if local:
        for path, name in exclude_files(_on_disk(repository or ""), second):
            rules += _read(path, repository or root, name)
        for name, start in ((".gitignore", repository or root), (OWN_FILE, top)):
            for each in above:
                if each.startswith(start):
                    rules += _read(_on_disk(each + name), each, name)
    rules += _disabled(policy.disabled_files, workspace or repository or "/")
    return tuple(rules), deciding(rules, folder)


def _read(path: str, folder: str, name: str) -> tuple[Rule, ...]:
    stamp = stamp_of(path)
    return _parsed(path, folder, name, stamp) if stamp else ()


@lru_cache(maxsize=128)
def _parsed(path: str, folder: str, name: str, stamp: Stamp) -> tuple[Rule, ...]:
    """The rules of an ignore file as it is at this time; they are relative to the folder."""
    del stamp  # it makes a changed file another one
    lines = text_of(path).split("\n")[:_MAX_RULES]
    return tuple(rules_of(lines, base=folder, source=name, fold=_FOLD))


@lru_cache(maxsize=16)
def _disabled(patterns: tuple[str, ...], root: str) -> tuple[Rule, ...]:
    """Relative to `root`, and those with a slash, a drive or `~/` in front absolute as well.

    The case of letters is of no account: a file too many is left alone rather than one too few.
    """
    return tuple(_disabled_rules(patterns, root))


def _disabled_rules(patterns: tuple[str, ...], root: str) -> Iterator[Rule]:
    for pattern in patterns:
        for glob in expanded(pattern):
            bare = glob.removeprefix("!")
            readings = [(glob, root)]
            if bare.startswith("~/"):
                bare = re.sub(r"([\\*?[])", r"\\\1", _rooted(os.path.expanduser("~"))) + bare[1:]
            if _DRIVE.match(bare):
                bare = f"/{bare}"
            if bare.startswith("/"):
                readings.append(("!" * glob.startswith("!") + bare, "/"))
            for text, base in readings:
                try:
                    rule = rule_of(text, base=base, source="disabledFiles", fold=True)
                except PatternError:
                    continue  # said when the settings were read
                if rule:
                    yield replace(rule, text=pattern)


def _rooted(path: str) -> str:
    """With slashes, one of them in front, and without `.` and `..`."""
    path = path.replace(os.sep, "/")
    return posixpath.normpath(path if path.startswith("/") else f"/{path}")


def _on_disk(path: str) -> str:
    """As the system wants it: a drive has no slash in front."""
    return path[1:] if _DRIVE.match(path, 1) else path


def _exists(path: str) -> bool:
    return os.path.lexists(_on_disk(path))
