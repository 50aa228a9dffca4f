"""What has to stand where for each editor: a table of editors, and a plan for each."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infill_ls.cli import files
from infill_ls.cli.errors import FileError
from infill_ls.cli.setup import helix as helix_toml
from infill_ls.cli.setup import jsonc, lisp, programs
from infill_ls.cli.setup.change import Change
from infill_ls.cli.setup.places import Places
from infill_ls.cli.setup.plugins import EXTENSION, neovim_plugin, vscode_extension

FIM_PORT = 8012  # the one that llama.vim asks
FIM_URL = f"http://127.0.0.1:{FIM_PORT}/v1/completions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program of the editor's that makes the change itself, and the one that takes it back."""

    run: tuple[str, ...]
    undo: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Without changes and commands everything is there already, or `by_hand` says what to do."""

    changes: tuple[Change, ...] = ()
    commands: tuple[Command, ...] = ()
    notes: tuple[str, ...] = ()
    by_hand: str = ""


class SetupError(FileError):
    """An editor's configuration is left as it is: why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Editor:
    """`programs` are its names on PATH; `folder` is its configuration's, which says as well that
    the editor is there. `plan` raises SetupError."""

    name: str
    title: str
    programs: tuple[str, ...]
    folder: Callable[[Places], Path]
    plan: Callable[["Editor", Places], Plan]
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def found(self, places: Places) -> bool:
        return bool(self.program(places)) or os.path.isdir(self.folder(places))

    def program(self, places: Places) -> str | None:
        """On PATH, or where the system's own installer puts it."""
        usual = [path for path in self.extra.get(places.system, ()) if os.path.isfile(path)]
        return places.program(*self.programs) or next(iter(usual), None)


def _read(path: Path) -> str | None:
    """A file as it is, None where there is none. Raises SetupError."""
    try:
        data = files.read_if_there(path)
        return None if data is None else files.decoded(data, path)
    except FileError as error:
        raise SetupError(str(error)) from error


def _change(path: Path, before: str | None, after: str) -> tuple[Change, ...]:
    return () if before == after else (Change(path=path, before=before, after=after),)


def _unreadable(path: Path, error: Exception) -> SetupError:
    return SetupError(
        f"{path} cannot be read: {error}. It was left as it is; mend it, then run infill-ls setup "
        "again."
    )


# -- Neovim --------------------------------------------------------------------------------------

NEOVIM_MARK = "-- Written by `infill-ls setup`"
_NEOVIM = (
    f"{NEOVIM_MARK}; `infill-ls setup --undo` takes it away.\n"
    + """\
-- To choose for yourself: vim.g.infill_ls = {{ tab = true }} in your init.lua, see :help infill_ls.
local plugin = {plugin}
if vim.uv and vim.uv.fs_stat(plugin) and not vim.g.loaded_infill_ls then
  vim.opt.runtimepath:append(plugin){program}
  vim.cmd.source(plugin .. '/plugin/infill_ls.lua')
end
"""
)
_NEOVIM_PROGRAM = """
  vim.g.infill_ls = vim.g.infill_ls or {{ cmd = {{ {command} }} }}"""


def _neovim_folder(places: Places) -> Path:
    name = places.variables.get("NVIM_APPNAME") or "nvim"
    return (places.local if places.system == "win32" else places.config) / name


def _neovim(editor: Editor, places: Places) -> Plan:
    """A file of our own, which Neovim reads whatever manages its plugins."""
    path = _neovim_folder(places) / "plugin" / "infill_ls.lua"
    before = _read(path)
    if before is not None and not before.startswith(NEOVIM_MARK):
        raise SetupError(f"{path} is not ours; move it away, then run infill-ls setup again.")
    by_path = Path(places.command).is_absolute()
    program = _NEOVIM_PROGRAM.format(command=_lua(places.command)) if by_path else ""
    after = _NEOVIM.format(plugin=_lua(str(neovim_plugin())), program=program)
    return Plan(
        changes=_change(path, before, after),
        notes=("Alt-l accepts; :help infill_ls has the other keys.",),
    )


def _lua(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# -- VS Code -------------------------------------------------------------------------------------


def _vscode(editor: Editor, places: Places) -> Plan:
    program = editor.program(places)
    if program is None:
        return Plan(
            by_hand="The program `code` is not on PATH: in VS Code, run the command Shell Command: "
            "Install 'code' command in PATH, then infill-ls setup again."
        )
    extension = vscode_extension()
    if extension is None:
        return Plan(
            by_hand="This infill-ls was built without the extension; editors/vscode/README.md says "
            "how to make and install it."
        )
    return Plan(
        commands=(
            Command(
                run=(program, "--install-extension", str(extension), "--force"),
                undo=(program, "--uninstall-extension", EXTENSION),
            ),
        ),
        notes=("Tab accepts.",),
    )


def uninstalling(undo: Sequence[str], places: Places) -> tuple[str, ...]:
    """The command that takes an extension back, by the program as it is found now; empty where
    there is none any more, or it says that the extension is not installed."""
    name = Path(undo[0]).stem
    found = (each.program(places) for each in EDITORS if name in each.programs)
    program = shutil.which(undo[0]) or next(found, None)
    if program is None:
        return ()
    with contextlib.suppress(FileError):  # the command itself will say what is wrong
        if EXTENSION not in programs.run([program, "--list-extensions"]).lower().split():
            return ()
    return (program, *undo[1:])


# -- Emacs ---------------------------------------------------------------------------------------


def _emacs_folder(places: Places) -> Path:
    home = places.roaming if places.system == "win32" else places.home
    old, new = home / ".emacs.d", places.config / "emacs"
    return new if os.path.isdir(new) and not os.path.isdir(old) else old


def _emacs(editor: Editor, places: Places) -> Plan:
    folder = _emacs_folder(places)
    candidates = [folder.parent / ".emacs.el", folder.parent / ".emacs", folder / "init.el"]
    existing = [path for path in candidates if os.path.isfile(path)]
    path = next(iter(existing), folder / "init.el")
    before = _read(path)
    notes = (
        "It takes lsp-mode 10 or later (M-x package-install RET lsp-mode); C-<return> accepts.",
    )
    if before is not None and lisp.START in before:
        return Plan(notes=notes)
    try:
        after = lisp.with_block(before or "", (places.command, "--connect"))
    except lisp.LispError as error:
        raise _unreadable(path, error) from error
    return Plan(changes=_change(path, before, after), notes=notes)


# -- Helix ---------------------------------------------------------------------------------------


def _helix_folder(places: Places) -> Path:
    return (places.roaming if places.system == "win32" else places.config) / "helix"


def _helix(editor: Editor, places: Places) -> Plan:
    program = editor.program(places)
    path = _helix_folder(places) / "languages.toml"
    before = _read(path)
    # Its own answer would be no better than its configuration, which is looked at first.
    try:
        helix_toml.with_server(before or "", ("infill-ls",), {})
    except helix_toml.TomlError as error:
        raise _unreadable(path, error) from error
    if program is None:
        raise SetupError(
            "Helix is not on PATH, and only it knows the language servers that it starts; put hx "
            "on PATH, then run infill-ls setup again."
        )
    servers = {
        language: [each for each in listed if each != helix_toml.SERVER]
        for language in helix_toml.LANGUAGES
        if (listed := helix_toml.configured_servers(program, language)) is not None
    }
    if not servers:
        raise SetupError(
            f"{program} --health names no language server; is it Helix 23.10 or later?"
        )
    try:
        after = helix_toml.with_server(before or "", (places.command, "--connect"), servers)
    except helix_toml.TomlError as error:
        raise SetupError(
            f"{path} was left as it is: {error}. editors/README.md says what to put there by hand."
        ) from error
    return Plan(
        changes=_change(path, before, after),
        notes=("Helix has no ghost text: the infill is in the completion menu, and at space a.",),
    )


# -- Those with JSON -----------------------------------------------------------------------------


def _json(path: Path, keys: Sequence[str], value: Any, *, notes: tuple[str, ...]) -> Plan:
    before = _read(path)
    try:
        there = jsonc.value_at(before or "", keys)
        if there == (value,):
            return Plan(notes=notes)
        if there:
            raise SetupError(
                f"{path} has {'.'.join(keys)} already, as {json.dumps(*there)}, and was left as it "
                f"is. Ours would be {json.dumps(value)}."
            )
        after = jsonc.with_key(before or "", keys, value)
    except jsonc.JsoncError as error:
        raise _unreadable(path, error) from error
    return Plan(changes=_change(path, before, after), notes=notes)


def _zed(editor: Editor, places: Places) -> Plan:
    value = {
        "provider": "open_ai_compatible_api",
        "open_ai_compatible_api": {
            "api_url": FIM_URL,
            "model": "infill",
            "prompt_format": "qwen",
            "max_output_tokens": 64,
        },
    }
    starts = f"Zed starts no server for it: run {places.command} --fim 127.0.0.1:{FIM_PORT}."
    return _json(
        _zed_folder(places) / "settings.json", ["edit_predictions"], value, notes=(starts,)
    )


def _zed_folder(places: Places) -> Path:
    return places.roaming / "Zed" if places.system == "win32" else places.config / "zed"


def _sublime(editor: Editor, places: Places) -> Plan:
    path = _sublime_folder(places) / "Packages" / "User" / "LSP.sublime-settings"
    command = [places.command, "--connect"]
    value = {"enabled": True, "command": command, "selector": "source"}
    note = "It takes the package LSP; the infill is in the completion menu."
    return _json(path, ["clients", "infill-ls"], value, notes=(note,))


def _sublime_folder(places: Places) -> Path:
    return places.support("Sublime Text")


def _kate(editor: Editor, places: Places) -> Plan:
    server = {
        "command": [places.command, "--connect"],
        "rootIndicationFileNames": [".git"],
        "highlightingModeRegex": "^Python$",
    }
    shown = json.dumps({"servers": {"python": server}})
    return Plan(
        by_hand="Kate has one server for a language, so ours would take the place of yours, and "
        "nothing is written. If that is wanted: Settings, Configure Kate, LSP Client, User Server "
        f"Settings:\n  {shown}"
    )


EDITORS: tuple[Editor, ...] = (
    Editor(name="neovim", title="Neovim", programs=("nvim",), folder=_neovim_folder, plan=_neovim),
    Editor(
        name="vscode",
        title="VS Code",
        programs=("code", "code-insiders", "codium", "code-server"),
        folder=lambda places: places.support("Code"),
        plan=_vscode,
        extra={
            "darwin": ("/Applications/Visual Studio Code.app/Contents/Resources/app/bin/code",),
        },
    ),
    Editor(name="emacs", title="Emacs", programs=("emacs",), folder=_emacs_folder, plan=_emacs),
    Editor(
        name="helix", title="Helix", programs=("hx", "helix"), folder=_helix_folder, plan=_helix
    ),
    Editor(name="zed", title="Zed", programs=("zed", "zeditor"), folder=_zed_folder, plan=_zed),
    Editor(
        name="sublime",
        title="Sublime Text",
        programs=("subl",),
        folder=_sublime_folder,
        plan=_sublime,
    ),
    Editor(
        name="kate",
        title="Kate",
        programs=("kate",),
        folder=lambda places: places.config / "kate",
        plan=_kate,
    ),
)
