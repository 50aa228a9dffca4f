"""What is in a checkpoint's folder: read and checked before any tensor is."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from infill_engine.config import EngineConfig, Format
from infill_engine.errors import ModelError
from infill_engine.models.diffusion_gemma.quantised import EXPERT_MATRICES, METHOD, fits

# Bytes of a number as it is computed with.
WIDTHS = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
# Bits of an expert's weight; int4 has a 16-bit scale for each 32.
BITS: dict[str, float] = {"fp8": 8.0, "int4": 4.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A folder of files, and how its weights are to be had.

    stored      the format that its experts are in, None as the rest
    asked       the format that `EngineConfig.dtype` wants experts in, None as they are
    computed    the dtype that is computed in, as torch calls it
    parameters  how many weights there are
    need        the memory in bytes that they take when loaded
    """

    folder: Path
    config: dict[str, Any]
    stored: Format | None
    asked: Format | None
    computed: str
    parameters: int
    need: int

    @property
    def experts(self) -> Format | None:
        """The format that experts are in once loaded."""
        return self.stored or self.asked

    @property
    def dtype(self) -> str:
        """What is computed in, and what the experts are stored in when that differs."""
        return f"{self.computed}, experts {self.experts}" if self.experts else self.computed


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationDefaults:
    """The loop's parameters as a checkpoint was published with them; temperatures from t_max to
    t_min, entropies in nats."""

    steps: int = 48
    entropy_bound: float = 0.1
    t_min: float = 0.4
    t_max: float = 0.8
    stop_entropy: float = 0.005


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json, when it is DiffusionGemma's; a ModelError otherwise."""
    try:
        description = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} has no config.json that can be read ({first_line(error)}); name a folder "
            "that transformers' save_pretrained() or a download has filled"
        ) from error
    kind = description.get("model_type") if isinstance(description, dict) else None
    if kind != "diffusion_gemma":
        raise ModelError(
            f"{folder} holds a model of type {kind!r}; only diffusion_gemma is run in this process"
        )
    return cast(dict[str, Any], description)


def read_defaults(folder: Path) -> GenerationDefaults:
    """What the checkpoint's generation_config.json says, and the published values otherwise."""
    try:
        told = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = {}
    default = GenerationDefaults()
    sampler = told.get("sampler_config") or {}
    return GenerationDefaults(
        steps=told.get("max_denoising_steps") or default.steps,
        entropy_bound=sampler.get("entropy_bound") or default.entropy_bound,
        t_min=told.get("t_min") or default.t_min,
        t_max=told.get("t_max") or default.t_max,
        stop_entropy=told.get("confidence_threshold") or default.stop_entropy,
    )


def inspect_checkpoint(folder: Path, config: EngineConfig) -> Checkpoint:
    """Reads the headers, and checks that the weights are there and can be had as asked for.

    Raises ModelError otherwise, with the remedy.
    """
    description = read_config(folder)
    files = _weight_files(folder)
    stored, asked = _formats(folder, description, config)
    computed = _computed_dtype(folder, description, config)
    made_here = asked if stored is None else None
    parameters = need = 0
    for name, shape in _tensors(files):
        matrix = name.rpartition(".")[2]
        expert = ".experts." in name and matrix in EXPERT_MATRICES
        if expert and made_here and not fits(made_here, shape[-1]):
            raise ModelError(
                f"{name} has {shape[-1]} inputs, no multiple of the 64 that {made_here} needs; "
                "take fp8 instead"
            )
        if name.endswith("_scale"):
            continue
        # Two codes of int4 share a byte.
        weights = math.prod(shape) * (2 if expert and stored == "int4" else 1)
        kept_in = (stored or asked) if expert else None
        parameters += weights
        need += int(weights * (BITS[kept_in] / 8 if kept_in else WIDTHS[computed]))
    return Checkpoint(
        folder=folder,
        config=description,
        stored=stored,
        asked=asked,
        computed=computed,
        parameters=parameters,
        need=need,
    )


def _weight_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if files:
        return files
    pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
    remedy = "pickled weights are never read, convert them" if pickled else "download it again"
    raise ModelError(f"no *.safetensors in {folder}; {remedy}")


def _formats(
    folder: Path, description: dict[str, Any], config: EngineConfig
) -> tuple[Format | None, Format | None]:
    """What the experts are stored in, and what they are asked for in."""
    quantised = description.get("quantization_config") or {}
    if quantised and quantised.get("quant_method") != METHOD:
        raise ModelError(
            f"{folder} is quantised by {quantised.get('quant_method')!r}, which is not read here; "
            "take the bf16 weights, or make your own with "
            "python -m infill_engine.models.diffusion_gemma.quantise"
        )
    stored: Format | None = quantised.get("format")
    asked = cast(Format, config.dtype) if config.dtype in get_args(Format) else None
    if stored and config.dtype not in ("auto", stored):
        raise ModelError(f"{folder} is {stored} already; leave dtype unset, not {config.dtype!r}")
    if (stored or asked) and description.get("tie_word_embeddings") is False:
        raise ModelError(
            f"{folder} keeps the experts of its two passes apart, which {stored or asked} cannot; "
            "leave dtype unset"
        )
    return stored, asked


def _computed_dtype(folder: Path, description: dict[str, Any], config: EngineConfig) -> str:
    if config.dtype == "int8":
        raise ModelError("dtype='int8' is of the embedded model; set fp8, int4 or leave it unset")
    computed = str(
        description.get("dtype")
        or description.get("text_config", {}).get("dtype")
        or description.get("torch_dtype")
        or "bfloat16"
    )
    if config.dtype in ("float32", "bfloat16"):
        computed = config.dtype
    if computed not in WIDTHS:
        raise ModelError(f"{folder} is stored as {computed}; set dtype to bfloat16 or float32")
    return computed


def _tensors(files: list[Path]) -> Iterator[tuple[str, list[int]]]:
    """Names and shapes in safetensors files, without reading their tensors."""
    for path in files:
        try:
            with path.open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(size) if size < 100_000_000 else b"")
                entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
                end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
                complete = path.stat().st_size == 8 + size + end
                found = [(name, entry["shape"]) for name, entry in entries.items()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{path} is no safetensors file; download it again") from error
        if not complete:
            raise ModelError(f"{path} is cut short; download it again")
        yield from found


def lacking(error: ImportError) -> ModelError:
    return ModelError(
        f"DiffusionGemma needs {error.name or 'transformers'} ({first_line(error)}); "
        "pip install 'infill-ls[gpu]'"
    )


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
