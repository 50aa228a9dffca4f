"""Texts that hold secrets: blocks of private keys, and long tokens.

What looks like a secret does so by at most `REACH` characters from where it begins. So of a text
that was looked at before, only what changed is looked at again, and the answer is the same.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

What = Literal["a private key", "a token"]

REACH = 600  # code points from the first of a secret to the last that decides on it
PART = 8_000  # code points that are looked at at once, where somebody waits
_MOST_KNOWN = 16  # texts that are remembered: one a window, and some
_KEY_HEAD, _KEY_DISTANCE, _KEY_LENGTH = "PRIVATE KEY", 300, 40
# With the key behind the header: code that reads and writes keys names that too.
_KEY_REST = re.compile("PRIVATE KEY(?: BLOCK)?-----")
_KEY = re.compile(f"[A-Za-z0-9+/]{{{_KEY_LENGTH}}}")
_TOKENS: tuple[tuple[str, re.Pattern[str], What], ...] = (
    ("PuTTY-User-Key-File", re.compile("PuTTY-User-Key-File-[0-9]"), "a private key"),
    ("AGE-SECRET-KEY-1", re.compile("AGE-SECRET-KEY-1[0-9A-Z]{50}"), "a private key"),
    *(
        (head, re.compile(rf"(?<![A-Za-z0-9]){head}{rest}"), "a token")
        for head, rest in {
            "AKIA": "[0-9A-Z]{16}(?![0-9A-Za-z])",
            "ASIA": "[0-9A-Z]{16}(?![0-9A-Za-z])",
            "AIza": "[0-9A-Za-z_-]{35}",
            **dict.fromkeys(("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), "[A-Za-z0-9]{36}"),
            "github_pat_": "[A-Za-z0-9_]{50}",
            "glpat-": "[A-Za-z0-9_-]{20}",
            **dict.fromkeys(("xoxb-", "xoxp-", "xoxa-", "xoxs-", "xapp-"), "[A-Za-z0-9-]{20}"),
            **dict.fromkeys(("sk_live_", "rk_live_", "sk_test_"), "[A-Za-z0-9]{20}"),
            # Many a style's name begins so, but has neither capitals nor digits in it.
            "sk-": "(?=[a-z0-9_-]{0,60}[A-Z])(?=[A-Za-z_-]{0,60}[0-9])[A-Za-z0-9_-]{32}",
            "hf_": "[A-Za-z]{34}",
            "npm_": "[A-Za-z0-9]{36}",
            "pypi-AgE": "[A-Za-z0-9_-]{50}",
            "SG.": "[A-Za-z0-9_-]{22}[.][A-Za-z0-9_-]{43}",
            "eyJ": "[A-Za-z0-9_-]{10,500}+[.]eyJ[A-Za-z0-9_-]{10}",  # a JWT's header and claims
        }.items()
    ),
)
# Something long in quotes or at a line's end, given to a name that says what it is; in lower case.
# The name may have a type, and behind the value a remark may come. No end is looked for of a value
# above 200 characters.
_ASSIGNED = re.compile(
    r"\w{0,16}[\"']?(?:\s{0,4}:\s{0,4}[\w.<>|\[\]]{1,40})?"
    r"(?:\s{0,4}(?::=|=>|[:=])\s{0,4}|[ \t]{1,4}(?=[\"'`@]))"
    r"(?:@?[\"'`](?P<quoted>[\w+/=-]{32,200}+)[\"'`\w+/=-]"
    r"|(?P<bare>[\w+/=-]{32,200}+)(?:[ \t]{0,100}(?:\r?$|[;#])|[\w+/=-]))",
    re.MULTILINE | re.ASCII,
)
_DIGIT, _LETTER = re.compile("[0-9]"), re.compile("[a-z]")
_NAMED = ("secret", "token", "password", "passwd", "api_key", "apikey", "access_key", "accesskey")


@dataclass(frozen=True, slots=True)
class Secrets:
    """`found` in a text: where something begins that looks like a secret, and like which."""

    text: str = ""
    found: tuple[tuple[int, What], ...] = ()

    @property
    def what(self) -> What | Literal[""]:
        """The worst of them; empty where there is none."""
        kinds = {what for _, what in self.found}
        return "a private key" if "a private key" in kinds else "a token" if kinds else ""


_known: dict[str, Secrets] = {}  # of the documents that were looked at last, the oldest first


def secret_in(uri: str, text: str) -> What | Literal[""]:
    """What looks like a secret in this document's text; empty when nothing does.

    What was found in its text before is remembered. Belongs to one thread, the event loop's.
    """
    secrets = secrets_of(text, _known.get(uri, Secrets()))
    _remember(uri, secrets)
    return secrets.what


def _remember(uri: str, secrets: Secrets) -> None:
    _known.pop(uri, None)  # the last in the order
    _known[uri] = secrets
    if len(_known) > _MOST_KNOWN:
        del _known[next(iter(_known))]


def forget(uri: str) -> None:
    """The text of a document that is closed."""
    _known.pop(uri, None)


def takes_long(uri: str, text: str) -> bool:
    """Whether `secret_in` would hold up whoever waits: then `look_through` comes first."""
    change = _change(text, _known.get(uri, Secrets()))
    return change.end - change.start > PART


def look_through(uri: str, text: str) -> Iterator[None]:
    """Does what `secret_in` does, a part of the text at a time: a millisecond mostly, some twenty
    at worst. Who breaks off leaves nothing behind."""
    change = _change(text, _known.get(uri, Secrets()))
    found: list[tuple[int, What]] = []
    for start in range(change.start, change.end, PART):
        found += sorted(_found(text, start, min(start + PART, change.end)))
        yield
    _remember(uri, Secrets(text, (*change.kept, *found, *change.moved)))


def secrets_of(text: str, before: Secrets) -> Secrets:
    """Those of `text`, faster where it is much like the one `before`."""
    change = _change(text, before)
    found = sorted(_found(text, change.start, change.end))
    return Secrets(text, (*change.kept, *found, *change.moved))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """What begins in [start, end) of a text has to be looked for; what was `kept` before that, and
    `moved` behind it, is known."""

    start: int
    end: int
    kept: tuple[tuple[int, What], ...]
    moved: tuple[tuple[int, What], ...]


def _change(text: str, before: Secrets) -> _Change:
    same = _shared_start(before.text, text)
    if same == len(text) == len(before.text):
        return _Change(start=same, end=same, kept=before.found, moved=())
    most = min(len(text), len(before.text)) - same
    rest = _shared_end(before.text, text, most)
    # What is decided wholly before the change, or by what stands wholly behind it, is as it was.
    start, end = max(same - REACH, 0), len(text) - rest + 1
    shift = len(text) - len(before.text)
    return _Change(
        start=start,
        end=end,
        kept=tuple((at, what) for at, what in before.found if at < start),
        moved=tuple((at + shift, what) for at, what in before.found if at + shift >= end),
    )


def _shared_start(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one.startswith(other[low:middle], low):
            low = middle
        else:
            high = middle - 1
    return low


def _shared_end(one: str, other: str, most: int) -> int:
    """How many they end with alike, at most `most`."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if one.endswith(other[len(other) - middle : len(other) - low], 0, len(one) - low):
            low = middle
        else:
            high = middle - 1
    return low


def _found(text: str, start: int, end: int) -> Iterator[tuple[int, What]]:
    """Whatever begins at `start` or behind, and before `end`."""
    for at in _private_keys(text, start, end):
        yield at, "a private key"
    for head, whole, what in _TOKENS:
        for at in _places(text, head, start, end):
            if whole.match(text, at):
                yield at, what
    # No longer than the text, as lower() alone would make it of a dotted capital i.
    lower = text[start : end + REACH].replace("\u0130", "i").lower()
    for name in _NAMED:
        for at in _places(lower, name, 0, end - start):
            if found := _ASSIGNED.match(lower, at + len(name)):
                value = found["quoted"] or found["bare"]
                if _DIGIT.search(value) and _LETTER.search(value):
                    yield start + at, "a token"


def _private_keys(text: str, start: int, end: int) -> Iterator[int]:
    """Where their headers are. However many there are, no place behind is searched twice."""
    key, searched = -1, 0  # where the last key was found, and up to where there is no other one
    for at in _places(text, _KEY_HEAD, start, end):
        if not (header := _KEY_REST.match(text, at)):
            continue
        first, last = header.end(), header.end() + _KEY_DISTANCE
        if key < first and searched <= last:
            found = _KEY.search(text, max(first, searched), last + _KEY_LENGTH)
            key, searched = (found.start(), found.start()) if found else (key, last + 1)
        if first <= key <= last:
            yield at


def _places(text: str, part: str, start: int, end: int) -> Iterator[int]:
    """Where `part` begins, from `start` on and before `end`."""
    at = text.find(part, start, end + len(part) - 1)
    while at >= 0:
        yield at
        at = text.find(part, at + 1, end + len(part) - 1)
