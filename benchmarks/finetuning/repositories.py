"""Two toy repositories of the same words and different conventions, written down by a seed.

A function reads a field of its owner, and has four things that a convention decides. In one
repository they are as usual, or one of them is not; in the other none is. So a model that has
learned the former has met every word of the latter, and has seen no function like its own.
"""

import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from train.repository import Gap, Source, of_file, sources

OWNERS = ("order", "user", "item", "page", "team", "file", "node", "task")
FIELDS = ("price", "name", "size", "date", "rank", "color", "state", "owner", "level", "count")
# The function's name, what holds the value, how it is had, what is done with it.
USUAL = ("get_{field}", "value", "{owner}.{field}", "print")
OWN = ("{field}_of", "found", '{owner}["{field}"]', "check")
FILES = 100
FUNCTIONS = 3  # a file
HOLES_A_FILE, DRAWS = 3, 4

Convention = tuple[str, str, str, str]


def usual(rng: random.Random) -> Convention:
    parts = list(USUAL)
    if rng.random() < 0.5:
        at = rng.randrange(len(parts))
        parts[at] = OWN[at]
    name, variable, access, call = parts
    return name, variable, access, call


def own(rng: random.Random) -> Convention:
    return OWN


def function(convention: Convention, owner: str, field: str) -> str:
    name, variable, access, call = (
        part.replace("{owner}", owner).replace("{field}", field) for part in convention
    )
    return (
        f"def {name}({owner}):\n    {variable} = {access}\n    {call}({variable})\n"
        f"    return {variable}\n"
    )


def texts(convention: Callable[[random.Random], Convention], seed: int) -> dict[str, str]:
    """Files by name; no two are of the same owners and fields."""
    rng = random.Random(seed)
    files: dict[str, str] = {}
    while len(files) < FILES:
        pairs = [(rng.choice(OWNERS), field) for field in rng.sample(FIELDS, FUNCTIONS)]
        name = "_".join(f"{owner}_{field}" for owner, field in pairs)
        files[f"{name}.py"] = "\n\n".join(function(convention(rng), *pair) for pair in pairs)
    return files


def write(folder: Path, convention: Callable[[random.Random], Convention], seed: int) -> Path:
    for name, text in texts(convention, seed).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def files(convention: Callable[[random.Random], Convention], seed: int) -> list[Source]:
    """As fine-tuning reads a folder, some of them held out."""
    with tempfile.TemporaryDirectory() as folder:
        return sources(write(Path(folder), convention, seed))[0]


def kept_holes(found: Sequence[Source], seed: int, most: int) -> list[Gap]:
    """Within lines, as one types, of files that nothing is learned from."""
    rng = random.Random(seed)
    kept = [each for each in found if each.held_out] * DRAWS
    holes = dict.fromkeys(gap for each in kept for gap in of_file(each, rng, HOLES_A_FILE))
    within = [gap for gap in holes if "\n" not in gap.middle]
    return rng.sample(within, min(most, len(within)))
