"""Where a checkpoint's files are: a folder here, or on the Hugging Face hub when that is said."""

import re
from pathlib import Path
from typing import Any

from infill_engine.config import HUB
from infill_engine.errors import ModelError
from infill_engine.models.checkpoint import first_line, kind_of, lacking
from infill_engine.progress import LoadProgress, silent

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# The small files say whether the large ones are worth having.
DESCRIPTIONS = ("*.json", "*.jinja", "merges.txt")
WEIGHTS = "*.safetensors"


def find_checkpoint(model: str, progress: LoadProgress = silent) -> Path:
    """The folder of a checkpoint: `model` itself, or "hub:OWNER/NAME", which is downloaded.

    Raises ModelError when there is none. Nothing is fetched unless "hub:" is written.
    """
    check_name(model)
    if model.startswith(HUB):
        return _downloaded(model.removeprefix(HUB), progress)
    return Path(model).expanduser()


def check_name(model: str) -> None:
    """Raises ModelError where it is neither a folder here nor what the hub could have."""
    if model.startswith(HUB):
        if not HUB_ID.fullmatch(model.removeprefix(HUB)):
            raise ModelError(f"{model} names no model of the hub; write {HUB}OWNER/NAME")
        return
    folder = Path(model).expanduser()
    if not folder.is_dir():
        remote = f", or {HUB}{model} to download it from the hub" if HUB_ID.fullmatch(model) else ""
        raise ModelError(f"no such folder: {folder}; name a folder that holds a model{remote}")


def _downloaded(name: str, progress: LoadProgress) -> Path:
    """The folder that the files of OWNER/NAME are in."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise lacking(error) from error
    stage = f"downloading {name}"
    progress(stage, 0.0)
    try:
        found = snapshot_download(name, allow_patterns=[*DESCRIPTIONS], ignore_patterns=["*/*"])
        kind_of(Path(found))
        found = snapshot_download(
            name,
            allow_patterns=[*DESCRIPTIONS, WEIGHTS],
            ignore_patterns=["*/*"],
            tqdm_class=_reporting_bar(stage, progress),
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(
            f"{HUB}{name} cannot be downloaded ({first_line(error)}); check the name, the network, "
            "and that its licence was accepted with the token in use"
        ) from error
    progress(stage, 1.0)
    return Path(found)


def _reporting_bar(stage: str, progress: LoadProgress) -> Any:
    """The hub's own progress bar, which also reports the share of bytes that are there."""
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    bar: Any = tqdm

    class ProgressBar(bar):  # type: ignore[misc]
        most = 0.0

        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self._of_bytes = named.get("unit") == "B"
            self._came = float(named.get("initial") or 0)

        def update(self, n: float | None = 1) -> Any:
            # Counted here, because a bar that is switched off counts nothing.
            self._came += n or 0
            # The hub learns of some files late, and their total grows.
            if self._of_bytes and self.total and self._came / self.total > ProgressBar.most:
                ProgressBar.most = min(1.0, self._came / self.total)
                progress(stage, ProgressBar.most)
            return super().update(n)

    return ProgressBar
