"""Prompts to fill in the middle, as models were trained on them: a client writes both sides of the
cursor into one text with special tokens between them, and here it is taken apart again.

Both orders are read: prefix, suffix, middle (PSM) and suffix, prefix, middle (SPM). What stands
behind the token of the middle is how the middle begins, and so belongs before the cursor; that is
the other form of SPM as well, `<prefix><suffix>SUFFIX<middle>PREFIX`. A special token between two
quotes of one kind is text, as in this file, unless the prompt makes no sense otherwise.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from infill_engine.errors import InfillError


class PromptError(InfillError):
    """The prompt holds special tokens of a kind or in an order that nobody writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """The text on both sides of the cursor, and the path of the file where the prompt names it."""

    before: str
    after: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Spelling:
    """The special tokens of some models. `spaced` ones have a blank between them and the text,
    which is no part of it; where there is no `middle`, the prompt ends with the prefix."""

    models: str
    prefix: str
    suffix: str
    middle: str
    spaced: bool = False

    @property
    def form(self) -> str:
        if not self.middle:
            return f"{self.suffix}SUFFIX{self.prefix}PREFIX"
        gap = " " if self.spaced else ""
        return f"{self.prefix}{gap}PREFIX{gap}{self.suffix}SUFFIX{gap}{self.middle}"


SPELLINGS = (
    Spelling("Qwen, CodeGemma, Granite 4", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    Spelling("StarCoder, StableCode", "<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    Spelling("SantaCoder", "<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    Spelling("CodeLlama", "<PRE>", "<SUF>", "<MID>", spaced=True),
    Spelling("DeepSeek", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    Spelling("GLM", "<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
    Spelling("Seed", "<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>"),
    Spelling("Codestral", "[PREFIX]", "[SUFFIX]", ""),
)
# Whatever looks like one: of a model that is not known, or misspelt. Names between such brackets
# are nothing else, and so are those between the plain ones of HTML and generics that say "fim".
_ANY = re.compile(
    r"<\W?fim[^<>\s]{1,20}>"
    r"|<(?:[|｜][^<>\s|｜]{0,20}|\[[^<>\s\]]{0,20})(?<![^\W_])"
    r"(?:prefix|suffix|middle|pre|suf|mid)(?![^\W_])[^<>\s|｜\]]{0,20}(?:[|｜]|\])>",
    re.IGNORECASE,
)
_FILE = re.compile(r"<\|file_sep\|>|<\|file_separator\|>|<file_sep>|<filename>")
_PATH = re.compile(r"[^\n<]{1,300}")
_QUOTES = "'\"`"


def taken_apart(prompt: str) -> Prompt | None:
    """None where the prompt holds no special token: then all of it stands before the cursor.

    Raises PromptError where it holds some, but nobody's, or some of a spelling and not all.
    """
    splits = [split for each in SPELLINGS if (split := _split(prompt, each)) is not None]
    if splits:
        # What is a prompt ends with its token of the middle, or begins with its first one.
        best = min(splits, key=lambda split: (bool(split.rest), split.start))
        return Prompt(
            before=best.before + best.rest, after=best.after, path=_path(prompt[: best.start])
        )
    for found in _ANY.finditer(prompt):
        if not _quoted(prompt, found.start(), found.end()):
            raise PromptError(_complaint(prompt, found.group()))
    for each in SPELLINGS:
        if token := _begun(prompt, each):
            raise PromptError(_complaint(prompt, token))
    return None


def _begun(prompt: str, spelling: Spelling) -> str:
    """The first token of a prompt that was meant to be one: of one token alone, or of words that a
    text may hold anywhere, nobody can say."""
    tokens = [each for each in (spelling.prefix, spelling.suffix, spelling.middle) if each]
    found = sorted(
        (at, token)
        for token in tokens
        for at in _places(prompt, token)[:1]
        if not _quoted(prompt, at, at + len(token))
    )
    if len(found) < 2 or (not spelling.middle and found[0][0]):
        return ""
    return found[0][1]


class _Split(NamedTuple):
    """`start` is where the first special token stands; `rest` what follows the middle's."""

    start: int
    before: str
    after: str
    rest: str = ""


def _split(prompt: str, spelling: Spelling) -> _Split | None:
    if not spelling.middle:
        return _split_in_two(prompt, spelling)
    prefixes, suffixes = (_places(prompt, each) for each in (spelling.prefix, spelling.suffix))
    middles = _places(prompt, spelling.middle)
    if not (prefixes and suffixes and middles):
        return None
    end = middles[-1]
    first, second = spelling.prefix, spelling.suffix
    firsts, seconds = prefixes, suffixes
    if suffixes[0] < prefixes[0]:
        first, second, firsts, seconds = second, first, seconds, firsts
    start = firsts[0]
    inner = [at for at in seconds if start < at < end]
    ends = (start, start + len(first)), (end, end + len(spelling.middle))
    if not inner or any(_quoted(prompt, *each) for each in ends):
        return None
    texts = [
        prompt[start + len(first) : inner[0]],
        prompt[inner[0] + len(second) : end],
        prompt[end + len(spelling.middle) :],
    ]
    if spelling.spaced and first == spelling.prefix and texts[0].startswith(" "):
        one, two, rest = texts
        texts = [one[1:].removesuffix(" "), two.removesuffix(" "), rest.removeprefix(" ")]
    if first == spelling.suffix:
        return _Split(start, texts[1], texts[0], texts[2])
    return _Split(start, *texts)


def _split_in_two(prompt: str, spelling: Spelling) -> _Split | None:
    """Its tokens are words that many texts hold, so the first has to be at the very start."""
    at = [each for each in _places(prompt, spelling.prefix) if each >= len(spelling.suffix)]
    if not prompt.startswith(spelling.suffix) or not at:
        return None
    return _Split(0, prompt[at[0] + len(spelling.prefix) :], prompt[len(spelling.suffix) : at[0]])


def _places(prompt: str, token: str) -> list[int]:
    """Where it stands unquoted; where that is nowhere, where it stands at all."""
    found = [each.start() for each in re.finditer(re.escape(token), prompt)]
    return [at for at in found if not _quoted(prompt, at, at + len(token))] or found


def _quoted(prompt: str, start: int, end: int) -> bool:
    around = prompt[start - 1 : start] if start else "", prompt[end : end + 1]
    return around[0] == around[1] and around[0] in _QUOTES and bool(around[0])


def _path(head: str) -> str:
    """Of the file that is written: what is before it are others of the repository."""
    names = list(_FILE.finditer(head))
    found = _PATH.match(head, names[-1].end()) if names else None
    return found.group().strip() if found else ""


def _complaint(prompt: str, token: str) -> str:
    for each in SPELLINGS:
        if token in (each.prefix, each.suffix, each.middle):
            lacking = [t for t in (each.prefix, each.suffix, each.middle) if t not in prompt]
            what = f"lacks {' and '.join(lacking)}" if lacking else "has them in another order"
            return f"The prompt has {token}, but {what}. Write {each.form}, or {_OTHERWISE}"
    forms = ", ".join(f"{each.form} ({each.models})" for each in SPELLINGS)
    return f"The prompt has {token}, which no known model reads. Known are {forms}; or {_OTHERWISE}"


_OTHERWISE = 'send the text before the cursor as "prompt" and the text after it as "suffix".'
