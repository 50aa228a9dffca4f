"""How a command ends when it does not end well: the errors, and the exit code of each."""

import sys

from infill_engine import InfillError
from infill_ls.cli.characters import visible

NOTHING, USAGE, FILE, MODEL, INTERRUPTED, NO_READER = 1, 2, 3, 4, 130, 141
EXIT_CODES = """\
exit codes:
  0    done
  1    the model had nothing to offer at that place, or in some of the holes
  2    the command line is wrong: an option, a position outside the file
  3    the file cannot be read or written, or is to be left alone
  4    there is no usable model
  130  stopped by Ctrl-C
"""


class UsageError(InfillError):
    """The command line asks for what cannot be."""


class FileError(InfillError):
    """A file cannot be read or written, or is not to be touched."""


def complain(message: object) -> None:
    """One sentence on standard error; what a server or a file says in it does nothing there."""
    print(f"infill-ls: {visible(str(message))}", file=sys.stderr)
