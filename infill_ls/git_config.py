"""git's configuration, as far as it says which files to ignore: its files, with those that they
include, and one key of them.

`git help config` is the source of the rules; git is not run. Of the conditions of `includeIf`
`hasconfig:remote.*.url:` is left out: git reads all files twice for it, and who ignores other files
where a repository comes from somewhere else has never been seen.
"""

import os
import re
import stat
from dataclasses import dataclass, field
from functools import lru_cache

from infill_ls.gitignore import glob_meets

_MAX_BYTES = 256 * 1024  # of one file; real ones have a hundredth
_MAX_DEPTH = 10  # of files that include one another, as in git, which then gives up
_MAX_CONFIGS = 100  # that are read for one repository
_SECTION = re.compile(r"\s*\[\s*([^\]\s\"]+)\s*(?:\"((?:\\.|[^\"\\\n])*)\")?\s*\]")
_ENTRY = re.compile(r"\s*([A-Za-z][\w-]*)\s*(?:=(.*))?\Z", re.DOTALL)
# A line goes on behind a backslash at its end that is not itself quoted.
_GOES_ON = re.compile(r"(?<!\\)((?:\\\\)*)\\\r?\n")
_PIECE = re.compile(r"\\(.)|\"((?:\\.|[^\"\\])*)\"|([#;].*)|([^\"\\#;]+)", re.DOTALL)
_TRUE = ("true", "yes", "on", "1", "")
_BRANCH = re.compile(r"ref:\s*refs/heads/([^\r\n]+)")

Stamp = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class GitFolder:
    """Of one work tree: the `.git` folder of its own, and that of the repository, which holds what
    its work trees share. `said` is where the first was found, links not followed."""

    own: str
    shared: str
    said: str


@dataclass(slots=True, kw_only=True)
class _Reading:
    """Of one repository's configuration; `num_left` files of it may still be read."""

    git: GitFolder | None
    num_left: int = _MAX_CONFIGS
    found: list[str] = field(default_factory=list)


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


def git_folder(repository: str) -> GitFolder:
    """Of a submodule and of a linked work tree it is elsewhere, and a file says where. All work
    trees of a repository share one. `repository` is the top folder with a slash at its end."""
    folder = f"{repository}.git"
    said = re.match(r"gitdir:[ ]*([^\r\n]+)", text_of(folder)) if stamp_of(folder) else None
    if said is not None:
        folder = os.path.join(repository, said[1])
    common = f"{folder}/commondir"
    shared = os.path.join(folder, text_of(common).strip()) if stamp_of(common) else folder
    return GitFolder(own=os.path.realpath(folder), shared=shared, said=folder)


def excludes_file(git: GitFolder | None) -> str | None:
    """`core.excludesFile` as it was written: of every key the last one counts, and an empty one
    means none. None where no file says it."""
    home = os.path.expanduser("~")
    shared = os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    chosen = os.environ.get("GIT_CONFIG_GLOBAL")
    configs = []
    if os.environ.get("GIT_CONFIG_NOSYSTEM", "0").lower() not in ("1", "true", "yes", "on"):
        configs.append(os.environ.get("GIT_CONFIG_SYSTEM") or "/etc/gitconfig")
    configs += [f"{shared}/git/config", f"{home}/.gitconfig"] if chosen is None else [chosen]
    if git is not None:
        own = f"{git.shared}/config"
        configs.append(own)
        if any(key == "worktreeconfig" and value.lower() in _TRUE for key, value in _of(own)):
            configs.append(f"{git.own}/config.worktree")
    reading = _Reading(git=git)
    for config in configs:
        _read(config, reading, _MAX_DEPTH + 1)
    return reading.found[-1] if reading.found else None


def _read(config: str, reading: _Reading, depth: int) -> None:
    reading.num_left -= 1
    for key, value in _of(config):
        if not depth or reading.num_left <= 0:
            break
        if key == "excludesfile":
            reading.found.append(value)
        elif key == "include" or (key.startswith("if ") and _holds(key[3:], config, reading.git)):
            included = os.path.join(os.path.dirname(config), os.path.expanduser(value))
            _read(included, reading, depth - 1)


def _of(config: str) -> tuple[tuple[str, str], ...]:
    stamp = stamp_of(config)
    return _entries(config, stamp) if stamp else ()


@lru_cache(maxsize=64)
def _entries(config: str, stamp: Stamp) -> tuple[tuple[str, str], ...]:
    """`core.excludesFile`, `include.path` ("include"), `includeIf.<condition>.path` ("if" and the
    condition) and `extensions.worktreeConfig`, as they come."""
    del stamp  # it makes a changed file another one
    found: list[tuple[str, str]] = []
    section, condition = "", ""
    for line in _GOES_ON.sub(r"\1", text_of(config)).split("\n"):
        if header := _SECTION.match(line):
            section, named = header[1].lower(), header[2]
            condition = re.sub(r"\\(.)", r"\1", named or "")
            if (named is None) == (section == "includeif"):
                section = ""  # of the others one with a name is something else
            line = line[header.end() :]
        entry = _ENTRY.match(line)
        if entry is None:
            continue
        name, value = (section, entry[1].lower()), _value(entry[2] or "")
        if name in (("core", "excludesfile"), ("extensions", "worktreeconfig")):
            found.append((name[1], value))
        elif name == ("include", "path"):
            found.append(("include", value))
        elif name == ("includeif", "path"):
            found.append((f"if {condition}", value))
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


def _holds(condition: str, config: str, git: GitFolder | None) -> bool:
    """Whether a file is included that `config` includes on this condition."""
    kind, _, pattern = condition.partition(":")
    if git is None:
        return False
    if kind == "onbranch":
        branch = _BRANCH.match(text_of(f"{git.own}/HEAD"))
        return branch is not None and glob_meets(_all_below(pattern), branch[1])
    if kind not in ("gitdir", "gitdir/i"):
        return False
    fold, beside, pattern = kind == "gitdir/i", "", _all_below(pattern)
    if pattern.startswith("~"):
        name, slash, rest = pattern.partition("/")
        pattern = os.path.realpath(os.path.expanduser(name)) + slash + rest
    elif pattern.startswith("./"):
        beside, pattern = os.path.dirname(os.path.realpath(config)), pattern[2:]
    pattern = pattern.replace(os.sep, "/")
    if not (beside or os.path.isabs(pattern)):
        pattern = f"**/{pattern}"
    return any(_meets(pattern, beside, each, fold) for each in (git.own, git.said))


def _all_below(pattern: str) -> str:
    return f"{pattern}**" if pattern.endswith("/") else pattern


def _meets(pattern: str, beside: str, folder: str, fold: bool) -> bool:
    """Within the folder `beside`, if one is given, of which no character is a pattern's."""
    folder = os.path.abspath(folder).replace(os.sep, "/")
    if not beside:
        return glob_meets(pattern, folder, fold=fold)
    start = beside.replace(os.sep, "/").rstrip("/") + "/"
    head, rest = folder[: len(start)], folder[len(start) :]
    same = head.lower() == start.lower() if fold else head == start
    return same and glob_meets(pattern, rest, fold=fold)
