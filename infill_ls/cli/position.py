"""FILE:LINE:COL on the command line."""

import argparse
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePosition:
    """`line` and `column` from 1, in characters, as compilers print them."""

    path: Path
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


def file_position(text: str) -> FilePosition:
    """FILE:LINE:COL as an argument of the command line."""
    path, *numbers = text.rsplit(":", 2)
    if len(numbers) != 2 or not path or not all(n.isascii() and n.isdigit() for n in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is not FILE:LINE:COL, for example app.py:12:5")
    line, column = map(int, numbers)
    if line < 1 or column < 1:
        raise argparse.ArgumentTypeError(f"{text!r} counts from 0; lines and columns start at 1")
    return FilePosition(path=Path(path), line=line, column=column)
