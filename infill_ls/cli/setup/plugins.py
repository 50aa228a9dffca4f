"""The plugins that come with the server: in its package, or in the checkout that it runs from."""

from pathlib import Path

EXTENSION = "infill-ls.infill-ls"  # as VS Code names it
_PACKAGE = Path(__file__).parents[2]
_SHIPPED = _PACKAGE / "plugins"  # put there when the wheel is built: hatch_build.py
_CHECKOUT = _PACKAGE.parent / "editors"


def neovim_plugin() -> Path:
    """The folder for Neovim's runtimepath."""
    checkout = _CHECKOUT / "neovim"
    return checkout if checkout.is_dir() else _SHIPPED / "neovim"


def vscode_extension() -> Path | None:
    """The packaged extension; None where this server was built without it."""
    built = sorted((_CHECKOUT / "vscode").glob("infill-ls-*.vsix"))
    shipped = _SHIPPED / "infill-ls.vsix"
    return built[-1] if built else shipped if shipped.is_file() else None
