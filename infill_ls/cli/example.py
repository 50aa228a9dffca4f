"""`infill-ls try`: a hole in a file of its own, filled before your eyes. Needs no file of yours."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rich.text import Text

from infill_engine import Engine, EngineConfig
from infill_ls.cli.errors import NOTHING, complain
from infill_ls.cli.infill import offset_of, shown
from infill_ls.cli.position import FilePosition
from infill_ls.cli.setup.places import is_passing
from infill_ls.cli.view import DIM, console_of
from infill_ls.documents import Document

# A method's head is missing on the line that the mark stands on.
HOLE = "<hole>"
EXAMPLE = f'''\
"""Discounts of a shop."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fixed:
    amount: float = 0.0

    def price(self, item_price: float, item_count: int) -> float:
        return item_price * item_count - self.amount


@dataclass(frozen=True)
class Percent:
    share: float = 0.0

    {HOLE}
        return item_price * item_count * (1.0 - self.share)


@dataclass(frozen=True)
class FromCount:
    minimum: int = 10
    share: float = 0.1

    def price(self, item_price: float, item_count: int) -> float:
        if item_count < self.minimum:
            return item_price * item_count
        return item_price * item_count * (1.0 - self.share)
'''


def show_example(
    arguments: argparse.Namespace, config: EngineConfig, load: Callable[[EngineConfig], Engine]
) -> int:
    before, _, after = EXAMPLE.partition(HOLE)
    lines = before.split("\n")
    position = FilePosition(path=Path("discounts.py"), line=len(lines), column=len(lines[-1]) + 1)
    document = Document(
        uri="untitled:discounts.py", version=0, language_id="python", text=before + after
    )
    arguments.position = position
    infilled, _ = shown(arguments, document, offset_of(document, position), config, load)
    if not infilled.candidates:
        complain("There is nothing to offer, which is not to be expected: see infill-ls doctor.")
        return NOTHING
    console_of(sys.stdout).print(Text(f"\n{next_step()}", DIM))
    return 0


def next_step() -> str:
    if is_passing(Path(sys.prefix)):
        return "To keep it: uv tool install infill-ls, then infill-ls setup for your editors."
    return "Next: infill-ls setup, which puts it into your editors."
