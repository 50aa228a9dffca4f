"""What is in a checkpoint's folder, whichever model it holds: read and checked before any tensor.

Code that came with a checkpoint is never run: its config.json says what it is, and that is all.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from infill_engine.config import EngineConfig, Format
from infill_engine.errors import ModelError
from infill_engine.remedies import installing, named

# In a quantised checkpoint's config.json, the name of our own way to do it.
METHOD = "infill"
# Bytes of a number as it is computed with.
WIDTHS = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
# Bits of a weight; int4 has a 16-bit scale for each 32.
BITS: dict[str, float] = {"fp8": 8.0, "int4": 4.5}
# Weights of one scale for int4, twice.
INT4_MULTIPLE = 64
TOKENIZER_CONFIG = "tokenizer_config.json"
MODELOPT_CONFIG = "hf_quant_config.json"

# What a config.json has beside plain values.
OBJECTS = ("text_config", "quantization_config", "rope_parameters", "rope_scaling")

Kind = Literal["diffusion_gemma", "masked_qwen2"]
# Which format a tensor is kept in, by its name, where weights are asked for in a format.
Narrowed = Callable[[str, Format], Format | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A folder of files, and how its weights are to be had.

    narrowed    what `stored` and `asked` are of: "experts" or "weights"
    stored      the format that those are in, or are made from NVFP4, None as the rest
    asked       the format that `EngineConfig.dtype` wants them in, None as they are
    computed    the dtype that is computed in, as torch calls it
    parameters  how many weights there are
    need        the memory in bytes that they take when loaded
    nvfp4       whether the files are in NVFP4, so that `stored` is made as they are read
    """

    folder: Path
    config: dict[str, Any]
    narrowed: str
    stored: Format | None
    asked: Format | None
    computed: str
    parameters: int
    need: int
    nvfp4: bool = False

    @property
    def format(self) -> Format | None:
        """What is narrowed once loaded."""
        return self.stored or self.asked

    @property
    def dtype(self) -> str:
        """What is computed in, and what weights are stored in when that differs."""
        return f"{self.computed}, {self.narrowed} {self.format}" if self.format else self.computed


def read_json(path: Path) -> dict[str, Any]:
    """What a file of JSON says, nothing where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json; a ModelError where there is none."""
    try:
        description = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} has no config.json that can be read ({first_line(error)}); name a folder "
            "that transformers' save_pretrained() or a download has filled"
        ) from error
    if not isinstance(description, dict):
        return {}
    for name in OBJECTS:
        if not isinstance(description.get(name) or {}, dict):
            raise ModelError(
                f"{folder}/config.json has {name} {description[name]!r}, which is no object; "
                "download it again"
            )
    return cast(dict[str, Any], description)


def kind_of(folder: Path) -> Kind:
    """Which of the models that are run here a folder holds; a ModelError where none.

    DreamOn's files call it "Dream"; Open-dCoder's say "qwen2", as any autoregressive Qwen2 does,
    and only a mask among the tokens tells that it is none.
    """
    kind = read_config(folder).get("model_type")
    if kind == "diffusion_gemma":
        return "diffusion_gemma"
    if kind == "Dream" or (kind == "qwen2" and mask_token(folder)):
        return "masked_qwen2"
    if kind == "qwen2":
        raise ModelError(
            f"{folder} holds a Qwen2 without a mask token, which writes from left to right; as a "
            "GGUF file it can be a judge (--judge FILE.gguf), and Open-dCoder or DreamOn infill"
        )
    raise ModelError(
        f"{folder} holds a model of type {kind!r}; only diffusion_gemma, Dream and qwen2 with a "
        "mask token are run in this process"
    )


def mask_token(folder: Path) -> str | None:
    """The text of the token that stands for noise, where the tokenizer names one."""
    for name in (TOKENIZER_CONFIG, "special_tokens_map.json"):
        token = read_json(folder / name).get("mask_token")
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str):
            return token
    return None


def weight_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if files:
        return files
    pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
    remedy = "pickled weights are never read, convert them" if pickled else "download it again"
    raise ModelError(f"no *.safetensors in {folder}; {remedy}")


def inspect_weights(
    folder: Path,
    description: dict[str, Any],
    config: EngineConfig,
    *,
    narrowed: str,
    narrows: Narrowed,
    widens: bool = False,
) -> Checkpoint:
    """Reads the headers, and checks that the weights are there and can be had as asked for.

    `widens` says whether weights in NVFP4 are read. Raises ModelError otherwise, with the remedy.
    """
    files = weight_files(folder)
    stored, asked = _formats(folder, description, config)
    computed = _computed_dtype(folder, description, config)
    nvfp4 = is_nvfp4(folder, description.get("quantization_config") or {})
    shapes = dict(tensor_shapes(files))
    if nvfp4:
        if not widens:
            raise ModelError(
                f"{folder} is in NVFP4, which is read of DiffusionGemma alone; take the bf16 "
                "weights with dtype int4"
            )
        from infill_engine.models.nvfp4 import Nvfp4Files

        shapes = dict(Nvfp4Files(files).shapes())
    parameters = need = 0
    for name, shape in shapes.items():
        if name.endswith("_scale") and not nvfp4:
            continue
        kept_in = narrows(name, stored or asked or "fp8") if stored or asked else None
        made_here = nvfp4 or not stored
        if kept_in == "int4" and made_here and shape[-1] % INT4_MULTIPLE:
            raise ModelError(
                f"{name} has {shape[-1]} inputs, no multiple of the {INT4_MULTIPLE} that int4 "
                "needs; take fp8 instead"
            )
        # Two codes of int4 share a byte.
        weights = math.prod(shape) * (2 if kept_in == "int4" and not made_here else 1)
        parameters += weights
        need += int(weights * (BITS[kept_in] / 8 if kept_in else WIDTHS[computed]))
    return Checkpoint(
        folder=folder,
        config=description,
        narrowed=narrowed,
        stored=stored,
        asked=asked,
        computed=computed,
        parameters=parameters,
        need=need,
        nvfp4=nvfp4,
    )


def _formats(
    folder: Path, description: dict[str, Any], config: EngineConfig
) -> tuple[Format | None, Format | None]:
    """What weights are stored in, and what they are asked for in."""
    quantised = description.get("quantization_config") or {}
    asked = cast(Format, config.dtype) if config.dtype in get_args(Format) else None
    if is_nvfp4(folder, quantised):
        # As few bits as there are in the files.
        return asked or ("int4" if config.dtype == "auto" else None), None
    if quantised and quantised.get("quant_method") != METHOD:
        raise ModelError(
            f"{folder} is quantised by {quantised.get('quant_method')!r}, which is not read here; "
            "take the bf16 weights, or make your own with python -m infill_engine.models.quantise"
        )
    stored: Format | None = quantised.get("format")
    if stored not in (None, *get_args(Format)):
        raise ModelError(
            f"{folder} is stored as {stored!r}, which this version does not know; download it "
            "again, or make it anew with python -m infill_engine.models.quantise"
        )
    if stored and config.dtype not in ("auto", stored):
        raise ModelError(f"{folder} is {stored} already; leave dtype unset, not {config.dtype!r}")
    return stored, asked


def _computed_dtype(folder: Path, description: dict[str, Any], config: EngineConfig) -> str:
    if config.dtype == "int8":
        raise ModelError(
            f"{named('dtype', 'int8')} is of the embedded model; set fp8, int4 or leave it unset"
        )
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


def is_nvfp4(folder: Path, quantised: dict[str, Any]) -> bool:
    """Whether config.json's `quantization_config`, or ModelOpt's own file, say so."""
    if quantised.get("quant_method") == METHOD:
        return False
    told = read_json(folder / MODELOPT_CONFIG)
    return "nvfp4" in json.dumps([quantised, told]).lower()


def tensor_shapes(files: list[Path]) -> Iterator[tuple[str, list[int]]]:
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
        f"this model needs {error.name or 'transformers'} ({first_line(error)}); "
        f"{installing('gpu')} adds it"
    )


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__
