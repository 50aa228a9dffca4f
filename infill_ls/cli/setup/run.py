"""The conversation: what was found, what would be written, whether to, and what came of it."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from infill_ls.cli import files
from infill_ls.cli.characters import visible
from infill_ls.cli.errors import FILE, NOTHING, FileError, UsageError, complain
from infill_ls.cli.setup import programs
from infill_ls.cli.setup.change import Change
from infill_ls.cli.setup.editors import EDITORS, Editor, Plan, uninstalling
from infill_ls.cli.setup.places import Places, here
from infill_ls.cli.setup.record import (
    Record,
    Written,
    add,
    read_record,
    remove,
    remove_empty,
    save,
    write_record,
)
from infill_ls.cli.setup.removal import without
from infill_ls.cli.view import BOLD, DIM, console_of

_GONE = "What setup wrote is not there any more"
_STYLES = {"+": "green", "-": "red", "@": DIM}

Ask = Callable[[str, str], bool]  # a question, and what is not done where it is denied


def run_setup(arguments: argparse.Namespace, places: Places | None = None) -> int:
    places = places or here()
    console = console_of(sys.stdout)
    ask = _asking(arguments, console)
    if arguments.undo:
        return _undo(arguments.editors, places, console, ask)
    if places.passing:
        raise UsageError(
            "This infill-ls is gone when uvx or pipx has cleaned up, and an editor would look for "
            "it in vain: first install it, by uv tool install infill-ls or pipx install infill-ls."
        )
    editors = _wanted(arguments.editors, places)
    if not editors:
        complain(
            "No editor was found here: neither on PATH nor by its configuration. Known are "
            f"{', '.join(each.name for each in EDITORS)}; name one to set it up all the same."
        )
        return NOTHING
    codes = [_set_up(editor, places, console, ask) for editor in editors]
    return max(codes)


def _wanted(names: Sequence[str], places: Places) -> list[Editor]:
    known = {each.name: each for each in EDITORS}
    return [known[n] for n in names] if names else [e for e in EDITORS if e.found(places)]


def _asking(arguments: argparse.Namespace, console: Console) -> Ask:
    """Yes to all, no to all, or whatever the user says."""
    if arguments.yes or arguments.show:
        return lambda question, deed: bool(arguments.yes and not arguments.show)
    command = ["infill-ls setup", *["--undo"] * arguments.undo, "--yes", *arguments.editors]

    def ask(question: str, deed: str) -> bool:
        if not sys.stdin.isatty():
            does = f"{' '.join(command)} does it"
            console.print(Text(f"  Nothing was {deed}; {does}.", DIM), soft_wrap=True)
            return False
        console.print(Text(f"  {question} [y/N] ", BOLD), end="")
        agreed = sys.stdin.readline().strip().lower() in ("y", "yes")
        if not agreed:
            console.print(Text(f"  Nothing was {deed}.", DIM))
        return agreed

    return ask


def _set_up(editor: Editor, places: Places, console: Console, ask: Ask) -> int:
    console.print(Text(f"\n{editor.title}", BOLD))
    try:
        plan = editor.plan(editor, places)
        if plan.by_hand:
            _say(plan.by_hand, console)
            return 0
        if not (plan.changes or plan.commands):
            _say("is set up already.", console)
            return 0
        _show(plan, console)
        question, deed = ("Write this?", "written") if plan.changes else ("Run this?", "run")
        if not ask(question, deed):
            return 0
        _carry_out(editor, plan, places)
    except FileError as error:
        complain(error)
        return FILE
    except OSError as error:  # no editor keeps the next one from being set up
        complain(f"{editor.title} was left as it is: {error}.")
        return FILE
    _say("done; start the editor anew.", console, "green")
    for note in plan.notes:
        _say(note, console, DIM)
    return 0


def _say(text: str, console: Console, style: str = "") -> None:
    """Lines that stay whole, for somebody may copy them; a terminal breaks them itself."""
    console.print(Text(f"  {visible(text)}", style), soft_wrap=True)


def _show(plan: Plan, console: Console) -> None:
    for change in plan.changes:
        _print_diff(change.diff, console)
    for command in plan.commands:
        _say(programs.line(command.run), console)


def _print_diff(lines: Sequence[str], console: Console) -> None:
    for line in lines:
        _say(line, console, _STYLES.get(line[:1], ""))


def _carry_out(editor: Editor, plan: Plan, places: Places) -> None:
    """Each change is recorded before it is made, so that none is ever forgotten."""
    record = read_record(places.record)
    for change in plan.changes:
        then = add(record, [Written.of(change, editor.name)], [])
        with _recorded(places.record, record, then):
            save(change.path, change.after, expected=change.before)
        record = then
    for command in plan.commands:
        then = add(record, [], [command.undo])
        with _recorded(places.record, record, then):
            programs.run(command.run)
        record = then


@contextmanager
def _recorded(path: Path, before: Record, after: Record) -> Iterator[None]:
    """What was not done is taken out of the record again. Where that was interrupted it stays:
    nobody knows what was done by then, and to take back what is not there does no harm."""
    write_record(path, after)
    try:
        yield
    except FileError:
        write_record(path, before)
        raise


def _undo(names: Sequence[str], places: Places, console: Console, ask: Ask) -> int:
    """Of the editors that are named, or of all."""
    record = read_record(places.record)
    known = {each for editor in EDITORS if editor.name in names for each in editor.programs}
    changes = [each for each in record.written if not names or each.editor in names]
    commands = [each for each in record.undo_commands if not names or Path(each[0]).stem in known]
    if not (changes or commands):
        console.print(Text("Setup has written nothing that is still there."))
        return 0
    code = 0
    for path in dict.fromkeys(each.path for each in reversed(changes)):
        written = [each for each in changes if each.path == path]
        try:
            if not _take_back(path, written, console, ask):
                continue
        except (FileError, OSError) as error:
            complain(error)
            code = FILE
            continue
        for each in reversed(written):
            remove_empty(each.folders)
        record = replace(record, written=tuple(w for w in record.written if w not in written))
        write_record(places.record, record)
    for command in reversed(commands):
        try:
            if not _uninstall(command, places, console, ask):
                continue
        except FileError as error:
            complain(error)
            code = FILE
            continue
        left = tuple(each for each in record.undo_commands if each != command)
        record = replace(record, undo_commands=left)
        write_record(places.record, record)
    return code


def _uninstall(command: Sequence[str], places: Places, console: Console, ask: Ask) -> bool:
    """False where the user said no. Raises FileError."""
    now = uninstalling(command, places)
    console.print(Text(f"\n  {visible(programs.line(now or command))}"), soft_wrap=True)
    if not now:
        _say(f"{_GONE}; nothing is to be run.", console)
        return True
    if not ask("Run this?", "run"):
        return False
    programs.run(now)
    return True


def _take_back(path: Path, written: Sequence[Written], console: Console, ask: Ask) -> bool:
    """Of one file, the oldest change first; False where the user said no. Raises FileError."""
    console.print(Text(f"\n{visible(str(path))}", BOLD), soft_wrap=True)
    data = files.read_if_there(path)
    text = "" if data is None else files.decoded(data, path)
    before = _restored(path, text, written)
    if data is None or before == text:
        _say(f"{_GONE}.", console)
        return True
    _print_diff(Change(path=path, before=text, after=before).diff, console)
    if not ask("Take this back?", "taken back"):
        return False
    # A link that the user has put there since stays, and its target.
    is_empty = "".join(before.split()) in ("", "{}")
    if written[0].created and is_empty and not path.is_symlink():
        remove(path)
    else:
        save(path, before, expected=text)
    _say("done.", console, "green")
    return True


def _restored(path: Path, text: str, written: Sequence[Written]) -> str:
    """The file without these changes, the latest of which is taken back first. Raises FileError."""
    stale = False
    for each in reversed(written):
        before = each.restored(text)
        stale |= before is None
        text = text if before is None else before
    if not stale:
        return text
    lines = "".join(edit.new for each in written for edit in each.edits)
    return without(written[0].editor, path, text, lines)
