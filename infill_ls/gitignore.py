"""Patterns as in .gitignore: which of them a path meets, and what git would say of it.

Our own translation, and not the library pathspec: of 400 random trees it contradicted
`git check-ignore` on 69, it fails on `[z-a]`, and on `*a*a*a*a*a*b` it takes seconds for a long
name. Here a pattern takes time in proportion to the path. `git help ignore` is the source of the
rules; `**` between slashes is any number of folders, and a last `/` means folders only.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

# POSIX names of characters in brackets, which git knows for ASCII alone.
_CLASSES = {
    "alnum": "a-zA-Z0-9", "alpha": "a-zA-Z", "blank": " \\t", "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~", "punct": "!-/:-@\\[-`{-~",
    "space": "\\s", "upper": "A-Z", "xdigit": "0-9a-fA-F",
}  # fmt: skip
_BRACES = re.compile(r"(?<!\\)\{([^{}]*,[^{}]*)\}")
_MAX_EXPANDED = 100
_MAX_LENGTH = 4096
# What git takes, and what no file can meet all the same or was meant otherwise.
_MISTAKES = (
    (re.compile("#"), "it begins a comment; write \\# for the character"),
    (
        re.compile(r".*\\[\w.~-]"),
        "a backslash only quotes what follows it; write / between folders",
    ),
    (re.compile(r".*//"), "it has two slashes in a row"),
    (re.compile(r"!?(.*/)?\.\.?(/|$)"), "no path has . or .. in it; write the names of folders"),
)


class PatternError(ValueError):
    """A pattern that no path can ever meet; says why."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern: `ignores` is False for one with `!` in front. `source` says where it stands.

    `base` is the folder that it is relative to, with a slash at its end.
    """

    source: str
    text: str
    base: str
    ignores: bool
    folders_only: bool
    by_name: bool
    regex: re.Pattern[str]

    def meets(self, path: str) -> bool:
        """Whether the pattern is about this very path, which ends in a slash if it is a folder."""
        if not path.startswith(self.base) or (self.folders_only and not path.endswith("/")):
            return False
        relative = path[len(self.base) :].rstrip("/")
        name = relative.rpartition("/")[2] if self.by_name else relative
        return bool(name) and self.regex.fullmatch(name) is not None


def rule_of(line: str, *, base: str = "/", source: str = "", fold: bool = False) -> Rule | None:
    """The rule in a line; None in an empty one and a comment. `fold` makes upper case lower.

    Raises PatternError for a pattern that no path can meet.
    """
    text = _trimmed(line)
    if not text or text.startswith("#"):
        return None
    if len(text) > _MAX_LENGTH:
        raise PatternError("it is longer than any path")
    glob = text.removeprefix("!")
    folders_only = glob.endswith("/")
    glob = glob.removesuffix("/")
    by_name = "/" not in glob
    glob = glob.removeprefix("/")
    if not glob:
        raise PatternError("it names nothing")
    return Rule(
        source=source,
        text=text,
        base=base,
        ignores=not text.startswith("!"),
        folders_only=folders_only,
        by_name=by_name,
        regex=re.compile(_path(_segments(glob)), re.DOTALL | (re.IGNORECASE if fold else 0)),
    )


def rules_of(lines: Iterable[str], *, base: str, source: str, fold: bool) -> Iterator[Rule]:
    """The rules of a file, without those that no path can meet: git too passes them over."""
    for line in lines:
        try:
            rule = rule_of(line, base=base, source=source, fold=fold)
        except PatternError:
            continue
        if rule:
            yield rule


def expanded(pattern: str) -> list[str]:
    """The patterns that `{one,other}` stands for, which git has not and editors have."""
    patterns = [pattern]
    for _ in range(_MAX_EXPANDED):
        at, found = next(
            ((i, m) for i, each in enumerate(patterns) if (m := _BRACES.search(each))), (0, None)
        )
        if found is None or len(patterns) > _MAX_EXPANDED:
            break
        head, tail = patterns[at][: found.start()], patterns[at][found.end() :]
        patterns[at : at + 1] = [head + part + tail for part in found[1].split(",")]
    return patterns


def mistake_in(pattern: str) -> str:
    """Why no file that was meant can meet a pattern that a person wrote; empty if one can."""
    for glob in expanded(pattern):
        for mistake, why in _MISTAKES:
            if mistake.match(glob):
                return why
        try:
            if rule_of(glob) is None:
                return "it names nothing"
        except PatternError as error:
            return str(error)
    many = any(map(_BRACES.search, expanded(pattern)))
    return f"it stands for more than {_MAX_EXPANDED} patterns" if many else ""


def deciding(rules: Sequence[Rule], path: str) -> Rule | None:
    """The rule that ignores this file (an absolute path with slashes); None when none does.

    As in git the last rule that meets a path decides, and nothing within an ignored folder can be
    taken back: so the outermost folder comes first, the file itself last.
    """
    at = 0
    while at >= 0:
        at = path.find("/", at + 1)
        part = path[: at + 1] if at >= 0 else path
        last = last_met(rules, part)
        if last and last.ignores:
            return last
    return None


def last_met(rules: Sequence[Rule], path: str) -> Rule | None:
    """The last rule that is about this very path, whatever is said of the folders round it."""
    return next((rule for rule in reversed(rules) if rule.meets(path)), None)


def glob_meets(glob: str, path: str, *, fold: bool = False) -> bool:
    """As git compares a pattern with a path that is no file to be ignored: with all of it."""
    if glob.startswith("/") and not path.startswith("/"):
        return False
    try:
        regex = _path(_segments(glob.removeprefix("/")))
    except PatternError:
        return False
    flags = re.DOTALL | (re.IGNORECASE if fold else 0)
    return re.fullmatch(regex, path.removeprefix("/"), flags) is not None


def _trimmed(line: str) -> str:
    """Without the line's end and the spaces before it, but for one that a backslash quotes."""
    line = line.removesuffix("\n").removesuffix("\r")
    end = len(line.rstrip(" "))
    quotes = end - len(line[:end].rstrip("\\"))
    return line[: end + (quotes % 2 and end < len(line))]


def _path(segments: Sequence[str]) -> str:
    """Slashes are met by slashes alone.

    What stands between two `**` is looked for from the left and never again: the first place
    where it fits leaves most for the rest.
    """
    runs: list[list[str]] = [[]]
    for segment in segments:
        if segment == "**":
            runs.append([])
        else:
            runs[-1].append(segment)
    head, *rest = ["/".join(run) for run in runs]
    if not rest:
        return head
    *middle, tail = rest
    regex = head + "/" if head else ""
    regex += "".join(f"(?>(?:[^/]+/)*?{run}/)" for run in middle if run)
    return regex + (f"(?:[^/]+/)*{tail}" if tail else ".+")


def _segments(glob: str) -> list[str]:
    """For what stands between slashes a regular expression, but for `**`.

    A slash in brackets divides nothing, and one behind a backslash is a slash.
    """
    segments, pieces, start, at = [], [""], 0, 0
    while at < len(glob):
        character, at = glob[at], at + 1
        if glob.startswith(("/", "\\/"), at - 1):
            segments.append("**" if glob[start : at - 1] == "**" else _joined(pieces))
            at += character == "\\"
            pieces, start = [""], at
        elif character == "*":
            pieces.append("")
        elif character == "?":
            pieces[-1] += "[^/]"
        elif character == "[":
            brackets, at = _brackets(glob, at)
            pieces[-1] += brackets
        elif character == "\\":
            if at == len(glob):
                raise PatternError("it ends in a backslash, which quotes nothing")
            pieces[-1] += re.escape(glob[at])
            at += 1
        else:
            pieces[-1] += re.escape(character)
    last = "**" if glob[start:] == "**" else _joined(pieces)
    return [*segments, last]


def _joined(pieces: Sequence[str]) -> str:
    """With `*` between the pieces; each is looked for as a run is in `_path`."""
    head, *rest = pieces
    if not rest:
        return head
    *middle, tail = rest
    return head + "".join(f"(?>[^/]*?{piece})" for piece in middle if piece) + f"[^/]*{tail}"


def _brackets(glob: str, at: int) -> tuple[str, int]:
    """What stands behind a `[`, as a regular expression, and the offset behind its `]`."""
    negated = glob[at : at + 1] in ("!", "^")
    at += negated
    taken, first = "", at
    while glob[at : at + 1] != "]" or at == first:
        if glob.startswith("[:", at) and (end := glob.find(":]", at + 2)) >= 0:
            name, at = glob[at + 2 : end], end + 2
            if name not in _CLASSES:
                raise PatternError(f"[:{name}:] is no class of characters")
            taken += _CLASSES[name]
            continue
        low, at = _member(glob, at)
        high = low
        if glob[at : at + 1] == "-" and glob[at + 1 : at + 2] not in ("]", ""):
            high, at = _member(glob, at + 1)
        # Of a range that runs backwards git takes the first character alone.
        taken += f"{re.escape(low)}-{re.escape(high)}" if low <= high else re.escape(low)
    if negated:
        return f"[^/{taken}]", at + 1
    return (f"(?!/)[{taken}]" if taken else "(?!)"), at + 1


def _member(glob: str, at: int) -> tuple[str, int]:
    at += glob[at : at + 1] == "\\"
    if at >= len(glob):
        raise PatternError("its [ is not closed; write \\[ for the character itself")
    return glob[at], at + 1
