"""Puts the plugins for editors into the wheel, where `infill-ls setup` finds them.

VS Code's extension is there if it was built before (`make release` does); an editable install has
all of them in the checkout.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PLUGINS = "infill_ls/plugins"


class EditorPlugins(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or version == "editable":
            return
        editors = Path(self.root) / "editors"
        included = build_data["force_include"]
        for name in ("plugin", "lua", "doc"):
            included[str(editors / "neovim" / name)] = f"{PLUGINS}/neovim/{name}"
        for extension in sorted((editors / "vscode").glob("infill-ls-*.vsix"))[-1:]:
            included[str(extension)] = f"{PLUGINS}/infill-ls.vsix"
