"""`infill-ls stats`: what was shown and accepted on this machine, from the counts in the data
folder."""

import json
import sys
from typing import Any

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from infill_ls.cli.characters import visible
from infill_ls.cli.errors import FILE, FileError, complain
from infill_ls.cli.view import BOLD, DIM, console_of
from infill_ls.completion.acceptance import of_user, totals

COLUMNS = ("shown", "accepted", "dismissed", "characters")


def stats(*, as_json: bool, reset: bool) -> int:
    acceptance = of_user()
    acceptance.load()  # as it is now, whoever asked before
    if acceptance.complaint:
        complain(acceptance.complaint)
    if reset:
        try:
            acceptance.reset()
        except OSError as error:
            why = f"The counts in {acceptance.path} cannot be removed: {error.strerror}."
            raise FileError(why) from error
    counted = totals(acceptance)
    if as_json:
        print(json.dumps(counted, ensure_ascii=False))
    else:
        console_of(sys.stdout).print(report(counted))
    return FILE if acceptance.complaint and not as_json else 0


def report(counted: dict[str, Any]) -> Group:
    """A row a language, and what it comes to."""
    if not counted["languages"]:
        return Group(Text("Nothing has been shown in an editor yet, or it was reset."))
    table = Table.grid(padding=(0, 2))
    table.add_column()
    for _ in (*COLUMNS, "kept"):
        table.add_column(justify="right")
    table.add_row("", *(Text(each, DIM) for each in (*COLUMNS, "still there")))
    for name, of in counted["languages"].items():
        table.add_row(Text(visible(name)), *(f"{of[what]:,}" for what in COLUMNS), kept(of))
    everything = counted["all"]
    table.add_row(
        Text("in all", BOLD), *(f"{everything[what]:,}" for what in COLUMNS), kept(everything)
    )
    note = (
        f"since {counted['since']}; of characters that were accepted, how many were still there "
        "30 s later"
    )
    return Group(Text(), Padding(table, (0, 0, 0, 2)), Text(), Text(f"  {note}", DIM))


def kept(of: dict[str, int]) -> str:
    return f"{100 * of['kept'] / of['looked_at']:.0f} %" if of["looked_at"] else "-"
