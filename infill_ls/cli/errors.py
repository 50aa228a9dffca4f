"""How a command ends when it does not end well: the errors, and the exit code of each."""

import sys

from infill_engine import InfillError
from infill_ls.cli.characters import visible

NOTHING, USAGE, FILE, MODEL, INTERRUPTED, NO_READER = 1, 2, 3, 4, 130, 141


def exit_codes(
    *codes: int,
    nothing: str = "nothing came of it: no text to offer, no editor found, no newest release known",
    usage: str = "the command line is wrong",
) -> str:
    """A table for the help of a command that ends with these, or is done, or is interrupted."""
    meanings = {
        0: "done",
        NOTHING: nothing,
        USAGE: usage,
        FILE: "a file cannot be read or written, or is to be left alone",
        MODEL: "there is no usable model",
        INTERRUPTED: "stopped by Ctrl-C",
    }
    lines = (f"  {code:<5}{meanings[code]}" for code in (0, *codes, INTERRUPTED))
    return "\n".join(["exit codes:", *lines, ""])


class UsageError(InfillError):
    """The command line asks for what cannot be."""


class FileError(InfillError):
    """A file cannot be read or written, or is not to be touched."""


def complain(message: object) -> None:
    """One sentence on standard error; what a server or a file says in it does nothing there."""
    print(f"infill-ls: {visible(str(message))}", file=sys.stderr)
