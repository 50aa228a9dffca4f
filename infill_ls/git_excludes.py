"""Where git is told what to ignore, beside .gitignore files: `core.excludesFile`, `info/exclude`.

`git help gitignore` and `git help config` are the sources of the rules. git is not run: of its
configuration this one key is read. What `includeIf` names is left out; its conditions are many.
"""

import os
import re
import stat
from collections.abc import Iterator
from functools import lru_cache

_MAX_BYTES = 256 * 1024  # of one file; real ones have a hundredth
_MAX_CONFIGS = 32  # that are read, with those that they include
_SECTION = re.compile(r"\s*\[\s*([^\]\s\"]+)\s*(\"[^\n]*\")?\s*\]")
_ENTRY = re.compile(r"\s*([A-Za-z][\w-]*)\s*=(.*)", re.DOTALL)
# A line goes on behind a backslash at its end that is not itself quoted.
_GOES_ON = re.compile(r"(?<!\\)((?:\\\\)*)\\\r?\n")
_PIECE = re.compile(r"\\(.)|\"((?:\\.|[^\"\\])*)\"|([#;].*)|([^\"\\#;]+)", re.DOTALL)

Stamp = tuple[int, int]


def stamp_of(path: str) -> Stamp | None:
    """What a changed file has another one of; None where there is no file to be read."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (found.st_mtime_ns, found.st_size) if stat.S_ISREG(found.st_mode) else None


def text_of(path: str) -> str:
    """The beginning of a file, and nothing where it cannot be read."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES).removeprefix(b"\xef\xbb\xbf")
    except (OSError, ValueError):
        return ""
    return data.decode("utf-8", "surrogateescape")


@lru_cache(maxsize=32)
def exclude_files(repository: str, second: int) -> tuple[tuple[str, str], ...]:
    """Their paths, and what to call them, the weakest first. `repository` is the top folder of a
    work tree with a slash at its end, or "" for what counts everywhere. What was found holds for a
    second."""
    del second
    home = os.path.expanduser("~")
    shared = os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    git = _git_folder(repository) if repository else ""
    chosen = os.environ.get("GIT_CONFIG_GLOBAL")
    configs = ["/etc/gitconfig"]
    configs += [f"{shared}/git/config", f"{home}/.gitconfig"] if chosen is None else [chosen]
    configs += [f"{git}/config"] if git else []
    named = f"{shared}/git/ignore"
    seen: set[str] = set()
    for config in configs:
        for value in _excludes_files(config, seen):
            named = value  # as of every key the last one counts, and an empty one means none
    files = []
    if named:
        path = os.path.join(repository or home, os.path.expanduser(named))
        files.append((path, "core.excludesFile"))
    if git:
        files.append((f"{git}/info/exclude", ".git/info/exclude"))
    return tuple(files)


def _git_folder(repository: str) -> str:
    """Of a submodule and of a linked work tree it is elsewhere, and a file says where. All work
    trees of a repository share one."""
    folder = f"{repository}.git"
    if stamp_of(folder) is None:
        return folder
    said = re.match(r"gitdir:[ ]*([^\r\n]+)", text_of(folder))
    if said is None:
        return folder
    folder = os.path.join(repository, said[1])
    common = f"{folder}/commondir"
    return os.path.join(folder, text_of(common).strip()) if stamp_of(common) else folder


def _excludes_files(config: str, seen: set[str]) -> Iterator[str]:
    stamp = stamp_of(config)
    if stamp is None or config in seen or len(seen) >= _MAX_CONFIGS:
        return
    seen.add(config)
    for section, value in _entries(config, stamp):
        if section == "core":
            yield value
        else:
            included = os.path.join(os.path.dirname(config), os.path.expanduser(value))
            yield from _excludes_files(included, seen)


@lru_cache(maxsize=32)
def _entries(config: str, stamp: Stamp) -> tuple[tuple[str, str], ...]:
    """`core.excludesFile` ("core") and `include.path` ("include"), as they come."""
    del stamp  # it makes a changed file another one
    found: list[tuple[str, str]] = []
    section = ""
    for line in _GOES_ON.sub(r"\1", text_of(config)).split("\n"):
        if header := _SECTION.match(line):
            section = "" if header[2] else header[1].lower()
            line = line[header.end() :]
        entry = _ENTRY.match(line)
        if entry and (section, entry[1].lower()) in (("core", "excludesfile"), ("include", "path")):
            found.append((section, _value(entry[2])))
    return tuple(found)


def _value(text: str) -> str:
    """Without its quotes and the comment behind it."""
    said = ""
    for piece in _PIECE.finditer(text):
        if piece[3]:
            break
        quoted, inside, _, plain = piece.groups(default="")
        said += quoted + re.sub(r"\\(.)", r"\1", inside) + plain
    return said.strip()
