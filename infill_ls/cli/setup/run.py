"""The conversation: what was found, what would be written, whether to, and what came of it."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from infill_ls.cli import files
from infill_ls.cli.characters import visible
from infill_ls.cli.errors import FILE, NOTHING, FileError, UsageError, complain
from infill_ls.cli.setup.change import Change
from infill_ls.cli.setup.editors import EDITORS, Editor, Plan, SetupError
from infill_ls.cli.setup.places import Places, here
from infill_ls.cli.setup.record import (
    Written,
    add,
    read_record,
    remove_empty,
    save,
    write_record,
)
from infill_ls.cli.view import BOLD, DIM, console_of

_SECONDS = 180.0  # for an editor to install an extension
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
            console.print(Text(f"  {visible(plan.by_hand)}"))
            return 0
        if not (plan.changes or plan.commands):
            console.print(Text("  is set up already."))
            return 0
        _show(plan, console)
        question, deed = ("Write this?", "written") if plan.changes else ("Run this?", "run")
        if not ask(question, deed):
            return 0
        _carry_out(editor, plan, places)
    except FileError as error:
        complain(error)
        return FILE
    console.print(Text("  done; start the editor anew.", "green"))
    for note in plan.notes:
        console.print(Text(f"  {note}", DIM))
    return 0


def _show(plan: Plan, console: Console) -> None:
    for change in plan.changes:
        _print_diff(change.diff, console)
    for command in plan.commands:
        console.print(Text(f"  {visible(_line(command.run))}"))


def _print_diff(lines: Sequence[str], console: Console) -> None:
    for line in lines:
        console.print(Text(f"  {visible(line)}", _STYLES.get(line[:1], "")), soft_wrap=True)


def _line(command: Sequence[str]) -> str:
    return subprocess.list2cmdline(command)


def _carry_out(editor: Editor, plan: Plan, places: Places) -> None:
    """Each change is recorded as soon as it is made, so that none is ever forgotten."""
    record = read_record(places.record)
    for change in plan.changes:
        written = Written.of(change, editor.name)
        save(change.path, change.after, expected=change.before)
        record = add(record, [written], [])
        write_record(places.record, record)
    for command in plan.commands:
        _run(command.run)
        record = add(record, [], [command.undo])
        write_record(places.record, record)


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
            cwd=Path.home(),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SetupError(f"{_line(command)} could not be run: {error}.") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise SetupError(f"{_line(command)} failed: {said}")


def _undo(names: Sequence[str], places: Places, console: Console, ask: Ask) -> int:
    """Of the editors that are named, or of all."""
    record = read_record(places.record)
    programs = {each for editor in EDITORS if editor.name in names for each in editor.programs}
    changes = [each for each in record.written if not names or each.editor in names]
    commands = [
        each for each in record.undo_commands if not names or Path(each[0]).stem in programs
    ]
    if not (changes or commands):
        console.print(Text("Setup has written nothing that is still there."))
        return 0
    code = 0
    for written in reversed(changes):
        try:
            if not _take_back(written, console, ask):
                continue
        except FileError as error:
            complain(error)
            code = FILE
            continue
        remove_empty(written.folders)
        record = replace(record, written=tuple(w for w in record.written if w is not written))
        write_record(places.record, record)
    for command in reversed(commands):
        console.print(Text(f"\n  {visible(_line(command))}"))
        if not ask("Run this?", "run"):
            continue
        try:
            _run(command)
        except SetupError as error:
            complain(error)
            code = FILE
            continue
        left = tuple(each for each in record.undo_commands if each != command)
        record = replace(record, undo_commands=left)
        write_record(places.record, record)
    return code


def _take_back(written: Written, console: Console, ask: Ask) -> bool:
    """False where the user said no. Raises FileError."""
    if not written.path.exists():
        return True
    text = files.decoded(files.read(written.path), written.path)
    before = written.restored(text)
    console.print(Text(f"\n{visible(str(written.path))}", BOLD))
    if before is None:
        lines = "\n".join(f"  {line}" for e in written.edits for line in e.new.splitlines())
        raise SetupError(
            f"{written.path} was changed since, so that what setup wrote cannot be told from the "
            f"rest; it was left as it is. Take out by hand:\n{lines}"
        )
    _print_diff(Change(path=written.path, before=text, after=before).diff, console)
    if not ask("Take this back?", "taken back"):
        return False
    if written.created and not before.strip():
        try:
            os.unlink(written.path)
        except OSError as error:
            raise FileError(f"{written.path} cannot be removed: {error.strerror}.") from error
    else:
        save(written.path, before, expected=text)
    console.print(Text("  done.", "green"))
    return True
