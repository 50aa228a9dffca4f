"""The baseline's weights: by their path, or by name from a person's data folder."""

from pathlib import Path

from platformdirs import user_data_path
from safetensors import SafetensorError, safe_open

from benchmarks.ar_baseline.engine import NAME, ArBaselineEngine
from infill_engine.config import EngineConfig
from infill_engine.errors import ModelError
from infill_engine.models.two_sided.loading import load_model

NAMES = (NAME, "ar-twin")  # today's and the former: of `--model`, of files, in their metadata
FILE = f"{NAME}.safetensors"


def is_ar_baseline(model: str) -> bool:
    """Whether `model` is "ar-baseline", or a file that says of itself that it is one."""
    if model in NAMES:
        return True
    path = Path(model).expanduser()
    if not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("architecture") in NAMES
    except (OSError, SafetensorError):
        return False  # whoever loads it says what is wrong with it


def load_ar_baseline(config: EngineConfig) -> ArBaselineEngine:
    """The baseline in the file that `config.model` names, or in the first place where one is.

    Raises ModelError when there is none, saying where it was looked for, or it cannot be read.
    """
    path = Path(config.model).expanduser()
    if config.model in NAMES:
        folder = user_data_path("infill-ls", appauthor=False)
        places = [folder / f"{name}.safetensors" for name in NAMES]
        found = [place for place in places if place.is_file()]
        if not found:
            looked = " or ".join(map(str, places))
            raise ModelError(
                f"no weights of the autoregressive baseline at {looked}; "
                "a checkout of the project trains them: PYTHONPATH=engine:kernels python -m "
                f"train.ar_baseline --data data/shards --minutes 30 --target {folder}"
            )
        path = found[0]
    network, tokenizer = load_model(config, path)
    return ArBaselineEngine(network, tokenizer, config, str(path))
