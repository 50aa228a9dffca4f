"""Makes a checkpoint with weights in 8 or 4 bits, and says what that costs.

    python -m infill_engine.models.quantise hub:Dream-org/DreamOn-v0-7B ./dreamon-int4 \\
        --format int4

Of a DiffusionGemma it is the experts that are made smaller, of a masked Qwen2 every matrix. A
DiffusionGemma may be in NVFP4, which is made wide first.

Reads one tensor at a time and writes files of 4 GiB, so it needs little more memory than that.
Then it runs both models on the same canvas, if the machine holds them, and prints how far their
logits are apart.
"""

import argparse
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from infill_engine.config import EngineConfig, Format
from infill_engine.errors import InfillError, ModelError
from infill_engine.models.checkpoint import (
    METHOD,
    MODELOPT_CONFIG,
    Checkpoint,
    Narrowed,
    is_nvfp4,
    kind_of,
    read_config,
    weight_files,
)
from infill_engine.models.diffusion_gemma import checkpoint as gemma
from infill_engine.models.diffusion_gemma.loading import noise_logits as gemma_logits
from infill_engine.models.finite import not_finite
from infill_engine.models.hub import find_checkpoint
from infill_engine.models.masked_qwen2 import checkpoint as qwen
from infill_engine.models.masked_qwen2.loading import noise_logits as qwen_logits
from infill_engine.models.nvfp4 import Nvfp4Files
from infill_engine.models.quantised import FORMATS, quantise
from infill_engine.models.writing import write_whole

SHARD_BYTES = 4 << 30
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitError:
    """How far a quantised model's logits are from the original's on the same canvas.

    `relative` is the root mean square error over the spread of the originals, `divergence` the
    mean KL divergence in nats, `agreement` the share of cells with the same best token.
    """

    relative: float
    divergence: float
    agreement: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is to be known of a model in order to quantise it.

    `logits` loads the weights and gives those [R, V] of a canvas of noise after a prompt of noise,
    on the CPU.
    """

    narrowed: Narrowed
    inspect: Callable[[Path, EngineConfig], Checkpoint]
    logits: Callable[[Path, str], Tensor]


MODELS = {
    "diffusion_gemma": Model(
        narrowed=gemma.narrowed, inspect=gemma.inspect_checkpoint, logits=gemma_logits
    ),
    "masked_qwen2": Model(
        narrowed=qwen.narrowed, inspect=qwen.inspect_checkpoint, logits=qwen_logits
    ),
}


def quantise_checkpoint(source: Path, target: Path, name: Format) -> Iterator[tuple[str, float]]:
    """Writes `target`; yields each quantised tensor's name and relative root mean square error.

    Raises ModelError when `source` holds nothing to quantise, or what the format cannot store.
    """
    model, description = MODELS[kind_of(source)], read_config(source)
    nvfp4 = is_nvfp4(source, description.get("quantization_config") or {})
    if "quantization_config" in description and not nvfp4:
        method = description["quantization_config"].get("quant_method")
        raise ModelError(f"{source} is quantised already ({method}); start from the bf16 weights")
    if target.exists() and any(target.iterdir()):
        raise ModelError(f"{target} is not empty; name a new folder")
    # Says what does not fit before anything is written.
    checkpoint = model.inspect(source, EngineConfig(dtype=name))
    target.mkdir(parents=True, exist_ok=True)
    writer = ShardWriter(target)
    num_made = 0
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    read = tensors(source)
    if nvfp4:
        files = Nvfp4Files(weight_files(source))
        read = files.tensors(getattr(torch, checkpoint.computed))
    for key, tensor in read:
        kept_in = model.narrowed(key, name)
        if kept_in is None:
            writer.add({key: tensor})
            continue
        # A matrix is a stack of one.
        found, error = quantise(tensor.view(-1, *tensor.shape[-2:]), kept_in, device)
        if not math.isfinite(error):
            raise not_finite(key, source)
        writer.add({key: found.codes.cpu(), f"{key}_scale": found.scale.cpu()})
        num_made += 1
        yield key, error
    if not num_made:
        raise ModelError(f"{source} has no tensors that are quantised; download it again")
    writer.close()
    description["quantization_config"] = {"quant_method": METHOD, "format": name}
    others = (INDEX, MODELOPT_CONFIG)  # of the source's weights
    for path in source.iterdir():
        if path.suffix in (".json", ".jinja", ".model", ".md", ".txt") and path.name not in others:
            shutil.copyfile(path, target / path.name)
    (target / "config.json").write_text(json.dumps(description, indent=2), encoding="utf-8")


def tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """All tensors of a checkpoint, one at a time."""
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118 - not a dictionary
                    yield key, file.get_tensor(key)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"cannot read {path}: {error}; download it again") from error


class ShardWriter:
    """Collects tensors and writes them as safetensors files of a few GiB, with their index."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: dict[str, Tensor] = {}
        self._files: list[tuple[Path, list[str]]] = []
        self._bytes = self._total = 0

    def add(self, together: Mapping[str, Tensor]) -> None:
        """Into one file, for codes are read with their scales."""
        size = sum(tensor.numel() * tensor.element_size() for tensor in together.values())
        if self._waiting and self._bytes + size > SHARD_BYTES:
            self._flush()
        self._waiting |= {key: tensor.contiguous() for key, tensor in together.items()}
        self._bytes += size
        self._total += size

    def close(self) -> None:
        self._flush()
        where: dict[str, str] = {}
        for number, (path, keys) in enumerate(self._files, 1):
            name = f"model-{number:05}-of-{len(self._files):05}.safetensors"
            path.rename(self._folder / name)
            where |= dict.fromkeys(keys, name)
        index = {"metadata": {"total_size": self._total}, "weight_map": where}
        (self._folder / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")

    def _flush(self) -> None:
        path = self._folder / f"part-{len(self._files)}.safetensors"
        waiting = self._waiting
        write_whole(path, lambda partial: save_file(waiting, partial, metadata={"format": "pt"}))
        self._files.append((path, list(self._waiting)))
        self._waiting, self._bytes = {}, 0


def compare(original: Tensor, quantised: Tensor) -> LogitError:
    """Logits [R, V] of both."""
    true, other = original.log_softmax(-1), quantised.log_softmax(-1)
    error = (original - quantised).square().mean().sqrt() / original.std()
    return LogitError(
        relative=float(error),
        divergence=float((true.exp() * (true - other)).sum(-1).mean()),
        agreement=float((true.argmax(-1) == other.argmax(-1)).float().mean()),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m infill_engine.models.quantise",
        description=__doc__.split("\n\n")[0],
    )
    parser.add_argument("source", help="folder of a model, or hub:OWNER/NAME to download one")
    parser.add_argument("target", type=Path, help="new folder")
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument("--device", default="auto", help="where to compare logits")
    parser.add_argument("--no-logits", action="store_true", help="do not run the two models")
    given = parser.parse_args(arguments)
    try:
        source = find_checkpoint(given.source)
        worst: dict[str, float] = {}
        for key, error in quantise_checkpoint(source, given.target, given.format):
            worst[key] = error
            print(f"{error:9.5f}  {key}", flush=True)
        mean = sum(worst.values()) / len(worst)
        print(f"{mean:9.5f}  mean relative error of {len(worst)} tensors")
        before, after = (
            sum(path.stat().st_size for path in folder.glob("*.safetensors"))
            for folder in (source, given.target)
        )
        print(f"{before / 2**30:.2f} GiB -> {after / 2**30:.2f} GiB in {given.target}")
        # What is in NVFP4 is loaded in four bits as well, so that there is nothing to compare with.
        nvfp4 = is_nvfp4(source, read_config(source).get("quantization_config") or {})
        if not given.no_logits and not nvfp4:
            try:
                # One after the other: the machine may hold only one of them.
                logits = MODELS[kind_of(source)].logits
                original = logits(source, given.device)
                apart = compare(original, logits(given.target, given.device))
            except ModelError as failure:
                print(f"logits not compared: {failure}")
            else:
                print(
                    f"logits: relative error {apart.relative:.5f}, KL {apart.divergence:.5f} nats, "
                    f"same best token in {apart.agreement:.1%} of cells"
                )
    except InfillError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{given.target} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
