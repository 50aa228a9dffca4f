"""What the judge's pilots read: windows of text, and holes as somebody leaves them who writes.

Knows token ids and no network. An example's weights say which tokens are learned, or counted.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infill_engine.judge.vocabulary import END_OF_TEXT, JudgeVocabulary
from train.corpus.packages import is_validation
from train.corpus.state import kept_files

LANGUAGES = frozenset({"python", "javascript", "typescript"})
LEAST = 1_500  # characters of a file
# Of a hole: how many lines are missing behind its own, in how many cases none is; the tokens of
# what stood in it that are learned, of what follows it that are read, and of what stands before it.
MOST_MISSING, NONE_MISSING = 8, 0.4
MIDDLE, SUFFIX, PREFIX = 48, 96, 256
CHARACTERS = 6  # a token has fewer, in text that is worth reading
READ = 0.25  # what a token counts that is read on the way to a hole


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A file to learn from, or to measure by."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """`weights` [n] of being said, of each of the tokens `ids` [n]; the first is never said."""

    name: str
    ids: list[int]
    weights: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A hole in a file: `goal` stood in it, and begins with the rest of the cursor's line."""

    name: str
    prefix: str
    goal: str
    suffix: str


def texts_of(root: Path) -> tuple[list[Text], list[Text]]:
    """Of a corpus' root the files to learn from and those to measure by: other packages."""
    learned: list[Text] = []
    measured: list[Text] = []
    for package, file in kept_files(root):
        if file.language in LANGUAGES and len(file.text) >= LEAST:
            into = measured if is_validation(package.name) else learned
            into.append(Text(name=f"{package.name}/{file.path}", text=file.text))
    return learned, measured


def windows(
    texts: Sequence[Text], vocabulary: JudgeVocabulary, size: int, draw: random.Random
) -> Iterator[Example]:
    """Windows of so many tokens without end, files in proportion to their length."""
    lengths = [len(each.text) for each in texts]
    while True:
        (text,) = draw.choices(texts, lengths)
        start = draw.randrange(max(1, len(text.text) - CHARACTERS * size // 2))
        start = text.text.find("\n", start) + 1 if start else 0
        ids = vocabulary.encode(text.text[start : start + CHARACTERS * size])[: size - 1]
        if len(ids) > size // 2:
            weights = [0.0, *[1.0] * len(ids)]
            yield Example(name=text.name, ids=[END_OF_TEXT, *ids], weights=weights)


def holes(texts: Sequence[Text], draw: random.Random) -> Iterator[Written]:
    """Holes without end, as `train.judge_calibration` makes them of lines that are written."""
    lengths = [len(each.text) for each in texts]
    while True:
        (text,) = draw.choices(texts, lengths)
        lines = text.text.splitlines(keepends=True)
        number = draw.randrange(len(lines))
        line = lines[number].rstrip("\r\n")
        if not line.strip():
            continue
        indentation = len(line) - len(line.lstrip())
        column = draw.randrange(indentation, len(line))
        missing = 0 if draw.random() < NONE_MISSING else draw.randrange(1, MOST_MISSING + 1)
        before = sum(map(len, lines[:number])) + column
        goal = line[column:] + "\n" + "".join(lines[number + 1 : number + 1 + missing])
        yield Written(
            name=text.name,
            prefix=text.text[:before],
            goal=goal.rstrip("\n"),
            suffix=text.text[before + len(goal.rstrip("\n")) :],
        )


def before_only(hole: Written, vocabulary: JudgeVocabulary) -> Example:
    """As the judge reads today: the prefix alone, as many tokens of it as `suffix_first` reads of
    both sides."""
    prefix, middle = _sides(hole, vocabulary)
    head = [END_OF_TEXT, *prefix[-(PREFIX + SUFFIX + 1) :]]
    return _example(hole, head, 0, middle)


def suffix_first(hole: Written, vocabulary: JudgeVocabulary) -> Example:
    """What follows the hole, the end of a text, what stands before it: typing still appends."""
    prefix, middle = _sides(hole, vocabulary)
    after = vocabulary.encode(hole.suffix[: CHARACTERS * SUFFIX].lstrip("\n"))[:SUFFIX]
    head = [END_OF_TEXT, *after, END_OF_TEXT]
    return _example(hole, head + prefix[-PREFIX:], len(head), middle)


def _sides(hole: Written, vocabulary: JudgeVocabulary) -> tuple[list[int], list[int]]:
    """The tokens before the hole and those of its goal: one that stands on both sides is the
    goal's, as it is healed."""
    before = hole.prefix[-CHARACTERS * (PREFIX + SUFFIX) :]
    ids = vocabulary.encode(before + hole.goal)
    size, at = len(before.encode()), 0
    while at < len(ids) and (size := size - len(vocabulary.token_bytes[ids[at]])) >= 0:
        at += 1
    return ids[:at], ids[at : at + MIDDLE]


def _example(hole: Written, head: list[int], read: int, middle: list[int]) -> Example:
    """`read` is where the prefix begins that is learned on the way, 0 where it is not."""
    weights = [READ if read and at >= read else 0.0 for at in range(len(head))]
    return Example(name=hole.name, ids=head + middle, weights=weights + [1.0] * len(middle))
