"""What is ours in an editor's file, known by its form: where the file was changed since setup wrote
into it, the record does not help."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infill_ls.cli.errors import FileError
from infill_ls.cli.setup import helix, jsonc, lisp
from infill_ls.cli.setup.editors import FIM_URL, NEOVIM_MARK


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """Where `mark` is not in a text, nothing of ours is. `named` says what is to be taken out by
    hand; `without` takes it out of a text, where there is something, and is told what was written.
    """

    mark: str
    named: str
    without: Callable[[str, str], str]


def without(editor: str, path: Path, text: str, written: str) -> str:
    """The text without what is ours, the same where nothing is. Raises FileError."""
    ours = _OURS.get(editor)
    if ours is None:
        raise FileError(f"{path} was changed since, and the record does not say for which editor.")
    if ours.mark not in text:
        return text
    try:
        return ours.without(text, written)
    except (jsonc.JsoncError, helix.TomlError, lisp.LispError) as error:
        raise FileError(
            f"{path} was changed since, and was left as it is: {error}. Take out by hand: "
            f"{ours.named}."
        ) from error


def _whole(text: str, written: str) -> str:
    """A file of our own."""
    return "" if text.startswith(NEOVIM_MARK) else text


def _key(path: Sequence[str], is_ours: Callable[[Any], bool]) -> Callable[[str, str], str]:
    def taken_out(text: str, written: str) -> str:
        while any(map(is_ours, jsonc.value_at(text, path))):
            text = jsonc.without_key(text, path)
        return text

    return taken_out


def _asks_us(predictions: Any) -> bool:
    """Or another provider, which the user has chosen since."""
    api = predictions.get("open_ai_compatible_api") if isinstance(predictions, dict) else None
    return isinstance(api, dict) and api.get("api_url") == FIM_URL


_OURS: Mapping[str, Ours] = {
    "neovim": Ours(mark=NEOVIM_MARK, named="all of it", without=_whole),
    "emacs": Ours(
        mark=lisp.START,
        named=f"the lines from {lisp.START} to {lisp.END}",
        without=lambda text, written: lisp.without_block(text),
    ),
    "helix": Ours(
        mark=helix.SERVER,
        named=f'the table [language-server.{helix.SERVER}], and "{helix.SERVER}" in the lists '
        "language-servers",
        without=helix.without_server,
    ),
    "zed": Ours(
        mark=FIM_URL,
        named='"edit_predictions" with all that is in it',
        without=_key(["edit_predictions"], _asks_us),
    ),
    "sublime": Ours(
        mark="infill-ls",
        named='"infill-ls" in "clients", with all that is in it',
        without=_key(["clients", "infill-ls"], lambda value: True),
    ),
}
