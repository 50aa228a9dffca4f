"""What the command line says of arguments that it cannot take, and what numbers and addresses are.

argparse would print a page; here it is one sentence, with what was probably meant.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn

from infill_ls.cli.errors import USAGE
from infill_ls.cli.position import file_position

COMMAND = "COMMAND"
INFILL_JSON = (
    "print one JSON object; in it `join` is the mean log-probability of the first tokens of what "
    "follows behind the text, and `rejected` why there is no text"
)


class Parser(argparse.ArgumentParser):
    """Of the whole command line, or of a command, which answers for its own options."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As `parse_args` does: what is unknown is said by the command that does not know it, and
        before what stands behind it is taken for something else."""
        if self._subparsers is None:
            for word in takewhile(lambda each: each != "--", args):
                name = word.partition("=")[0]
                known = any(each.startswith(name) for each in self._option_string_actions)
                if name.startswith("--") and " " not in name and not known:
                    self._refuse([word])
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self._refuse(unknown)
        return known, unknown

    def _refuse(self, unknown: Sequence[str]) -> NoReturn:
        name = unknown[0].partition("=")[0]
        shown = (each for each in self._actions if each.help != argparse.SUPPRESS)
        options = [option for each in shown for option in each.option_strings]
        guess = meant(name, options) if name.startswith("-") else ""
        self.error(f"unrecognized arguments: {' '.join(unknown)}{guess}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        if action.metavar == COMMAND:
            raise argparse.ArgumentError(None, _no_command(str(value), action.choices))
        choices = ", ".join(map(str, action.choices))
        raise argparse.ArgumentError(
            action,
            f"invalid choice: {value!r} (choose from {choices}){meant(value, action.choices)}",
        )

    def error(self, message: str) -> NoReturn:
        """One sentence and where to read on, rather than the whole usage."""
        end = "" if message.endswith((".", "?")) else "."
        self.exit(USAGE, f"infill-ls: {message}{end} See {self.prog} --help.\n")


def meant(word: str, names: Iterable[str]) -> str:
    """A question after a sentence, or nothing where no name is like the word."""
    by_letters = {name.lstrip("-"): name for name in names}  # every option begins alike
    close = get_close_matches(word.lstrip("-").lower(), by_letters, n=1)
    return f". Did you mean {by_letters[close[0]]}?" if close else ""


def _no_command(word: str, commands: Iterable[str]) -> str:
    try:
        return f"{word} is a place, and no command: infill-ls infill {file_position(word)}"
    except argparse.ArgumentTypeError:
        if Path(word).is_file():
            return f"{word} is a file, and no command: infill-ls infill {word}:LINE:COL"
    return f"there is no command {word!r}{meant(word, commands)}"


def count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def number_from(least: float, most: float = sys.float_info.max) -> Callable[[str], float]:
    """For argparse: what reads a number from `least` to `most`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            upper = "" if most == sys.float_info.max else f" to {most:g}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least:g}{upper}")
        return value

    return read


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not _is_port(port):
        example = text if _is_port(text) else port if _is_port(port) else "8012"
        raise argparse.ArgumentTypeError(
            f"{text!r} is not HOST:PORT, for example 127.0.0.1:{example}"
        )
    return host.removeprefix("[").removesuffix("]"), int(port)


def deadline_ms(text: str) -> int:
    from infill_ls.settings import BY_FIELD  # not needed for a start

    option = BY_FIELD["deadline_ms"]
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else None
    if number is None or not option.accepts(number):
        raise argparse.ArgumentTypeError(f"{text!r} is not {option.allowed}")
    return number


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) < 65536


def one_of(text: str, names: Sequence[str]) -> str:
    if text.lower() not in names:
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of {', '.join(names)}{meant(text, names)}"
        )
    return text.lower()
