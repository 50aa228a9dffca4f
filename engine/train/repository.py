"""A folder of somebody's code as holes to be filled: what fine-tuning learns from.

What the language server leaves alone is left alone here: ignored files and those with secrets.
Then the corpus's filters decide, without those that keep benchmarks out.
"""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infill_engine.request import InfillRequest
from infill_ls.ignore import IgnorePolicy, ignored
from train.corpus.reject import LANGUAGE_OF, MAX_BYTES, path_reason, text_reason
from train.corpus.scrub import scrubbed
from train.holes import HoleDrawer, parse
from train.spans import pieces_of

LONGEST = 400  # characters of a hole
HELD_OUT = 10  # one file in so many is kept to measure by


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file that is learned from, or measured by where it is `held_out`."""

    path: str
    language: str
    text: str
    held_out: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A span of a file, and what stands around it."""

    prefix: str
    middle: str
    suffix: str
    language: str
    path: str

    @property
    def request(self) -> InfillRequest:
        """As the engine is asked for it; a span within a line stays in it."""
        lines = None if "\n" in self.middle else 1
        return InfillRequest(
            prefix=self.prefix, suffix=self.suffix, language_id=self.language, max_lines=lines
        )


def sources(folder: Path) -> tuple[list[Source], Counter[str]]:
    """The files that are used, and how many others are left out for which reason."""
    policy = IgnorePolicy(folders=(str(folder.resolve()),), remote=True)
    found: list[Source] = []
    left_out: Counter[str] = Counter()
    seen: set[str] = set()
    for path in sorted(folder.resolve().rglob("*")):
        language = LANGUAGE_OF.get(path.suffix)
        if language is None or ".git" in path.parts or not path.is_file():
            continue
        name = path.relative_to(folder.resolve()).as_posix()
        reason, text = _reason(path, name, language, policy)
        digest = hashlib.sha1(" ".join(text.split()).encode()).hexdigest()
        if not reason and digest in seen:
            reason = "copy"
        if reason:
            left_out[reason] += 1
            continue
        seen.add(digest)
        held_out = int(hashlib.sha1(name.encode()).hexdigest(), 16) % HELD_OUT == 0
        found.append(Source(path=name, language=language, text=scrubbed(text), held_out=held_out))
    return found, left_out


def _reason(path: Path, name: str, language: str, policy: IgnorePolicy) -> tuple[str, str]:
    """Why a file is left out, or "", and its text."""
    if reason := path_reason(name, ""):
        return reason, ""
    if path.stat().st_size > MAX_BYTES:
        return "size", ""
    try:
        text = path.read_text(encoding="utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError):
        return "characters", ""
    if ignored(policy, str(path), text):
        return "ignored or secret", text
    return text_reason(text, language, name), text


def gaps(found: Sequence[Source], seed: int) -> Iterator[Gap]:
    """Spans of the files, over and over, in an order that the seed decides."""
    rng = random.Random(seed)
    order = list(found)
    while order:
        rng.shuffle(order)
        for source in order:
            yield from of_file(source, rng, 2)


def of_file(source: Source, rng: random.Random, most: int) -> list[Gap]:
    """A few spans of one file, of the kinds that the embedded model learns from too."""
    root = parse(source.text, source.language, source.path)
    drawer = HoleDrawer(source.text, root, pieces_of(source.text), rng)
    spans = sorted(span for span in drawer.drawn(LONGEST) if span[0] < span[1])
    return [
        Gap(
            prefix=source.text[:start],
            middle=source.text[start:end],
            suffix=source.text[end:],
            language=source.language,
            path=source.path,
        )
        for start, end, _ in rng.sample(spans, min(most, len(spans)))
    ]


def export(found: Sequence[Source], form: str, count: int, target: Path, seed: int) -> int:
    """The same holes as conversations, a line of JSON each, for other trainers; how many there are.

    "unsloth" has `messages`, "nemo" `input` and `output`, as their fine-tuning reads them. The
    model is asked as `models/diffusion_gemma` asks it: how the file ends is told, how it begins is
    what it has said already, so that it goes on with the hole.
    """
    from infill_engine.models.diffusion_gemma.text import fenced

    written = 0
    with target.open("w", encoding="utf-8") as file:
        for gap in gaps(found, seed):
            if written == count:
                break
            ending = f" It ends like this:\n{fenced(gap.suffix, gap.language)}"
            task = f"Write the {gap.language} file, without any explanation.{ending}"
            whole = f"```{gap.language}\n{gap.prefix}{gap.middle}{gap.suffix}\n```"
            asked = {"role": "user", "content": task}
            said = {"role": "assistant", "content": whole}
            line = (
                {"messages": [asked, said]}
                if form == "unsloth"
                else {"input": task, "output": whole}
            )
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            written += 1
    return written
