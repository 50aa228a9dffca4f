"""Homes of users with editors: what is there, what setup does to it, and files before and after."""

import argparse
from pathlib import Path

from infill_ls.cli.setup.places import Places
from infill_ls.cli.setup.run import run_setup

HEALTH = """\
Configured language servers:
  \x1b[32m✓\x1b[0m pylsp: /usr/bin/pylsp
  \x1b[31m✘\x1b[0m ruff: 'ruff' not found in $PATH
Configured debug adapter: None
Binary for formatter: 'None'
Highlight queries: ✓
"""
# Knows its extensions, writes down what else it is told, and refuses to take out what is not there.
CODE = """\
if [ "$1" = --list-extensions ]; then cat {log}.installed 2>/dev/null; exit 0; fi
echo "$*" >>{log}
case "$1" in
  --install-extension) echo Infill-LS.infill-ls >{log}.installed ;;
  --uninstall-extension) rm {log}.installed ;;
esac"""
ZED, EMACS = ".config/zed/settings.json", ".emacs.d/init.el"
HELIX, NEOVIM = ".config/helix/languages.toml", ".config/nvim/plugin/infill_ls.lua"
# What somebody might have there already: comments, commas, line ends, a byte order mark.
OWN = {
    EMACS: ';; mine ?( ?\\) "\n(setq a "(\\"" b ?\\")  ; (\n(defun ok? (x) [1 2])',
    HELIX: '# mine\n[[language]]\nname = "python"\nauto-format = true\n'
    'language-servers = [\n  "pylsp", # good\n]\n\n[[language]]\nname = "odd"\n',
    ZED: '\ufeff// mine\r\n{\r\n    "theme": "x", // dark\r\n    "a": [1, /* two */ 2,],\r\n}\r\n',
    ".config/sublime-text/Packages/User/LSP.sublime-settings": '{"clients": {"pyright": {}}}',
}


def put_program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def setup(places: Places, *editors: str, yes: bool = True, undo: bool = False) -> int:
    """With an answer that nobody is asked for: yes, or none because it is only shown."""
    options = {"editors": list(editors), "yes": yes, "show": not yes, "undo": undo}
    return run_setup(argparse.Namespace(**options), places)


def files_below(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def with_own_files(places: Places) -> dict[str, bytes]:
    for name, text in OWN.items():
        path = places.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return files_below(places.home)
