"""Which packages the corpus is made of, and which are kept out of training by their names."""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

PACKAGES = Path(__file__).parent / "packages.txt"
HELD_OUT_BYTE = 13  # first byte of sha256(name) below this: never in training
VALIDATION_BYTE = 20  # from HELD_OUT_BYTE to below this: validation
HELD_OUT_NAMES = frozenset({
    "boltons", "cytoolz", "funcy", "glom", "humanize", "inflection", "more-itertools", "networkx",
    "parse", "pydash", "sortedcontainers", "textdistance", "toolz",
})  # fmt: skip
BENCHMARK_NAMES = re.compile(
    r"^(?:human-?eval.*|evalplus.*|bigcodebench.*|mxeval.*|multipl-e.*|lm-eval.*|opencompass.*|"
    r"mbpp.*|code-?eval.*)$"
)


class Package(NamedTuple):
    """A package of an index, "pypi" or "npm"."""

    source: str
    name: str

    @property
    def file_name(self) -> str:
        """The name with the slash of an npm scope replaced."""
        return self.name.replace("/", "+")


def normalised(name: str) -> str:
    """A project name as the package index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def first_byte(name: str) -> int:
    """The byte of the hold-out rule."""
    return hashlib.sha256(normalised(name).encode()).digest()[0]


def held_out(name: str) -> bool:
    """Whether training must never see a package, by its name."""
    name = normalised(name)
    return (
        first_byte(name) < HELD_OUT_BYTE
        or name in HELD_OUT_NAMES
        or BENCHMARK_NAMES.match(name) is not None
    )


def is_validation(name: str) -> bool:
    """Whether a package is kept for validation, whole."""
    return HELD_OUT_BYTE <= first_byte(name) < VALIDATION_BYTE


def package_list(path: Path) -> list[Package]:
    """The packages of a list of "SOURCE NAME" lines, without those that the rule holds out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    packages = [Package(*line.split()) for line in lines if line.strip() and line[0] != "#"]
    return [package for package in packages if not held_out(package.name)]
