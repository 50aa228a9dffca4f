"""Makes a DiffusionGemma checkpoint with experts in 8 or 4 bits, and says what that costs.

    python -m infill_engine.models.diffusion_gemma.quantise \\
        hub:google/diffusiongemma-26B-A4B-it ./dg-int4 --format int4

Reads one tensor at a time and writes files of 4 GiB, so it needs little more memory than that.
Then it runs both models on the same canvas, if the machine holds them, and prints how far their
logits are apart.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from infill_engine.config import EngineConfig, Format
from infill_engine.errors import InfillError, ModelError
from infill_engine.models.diffusion_gemma.checkpoint import inspect_checkpoint, read_config
from infill_engine.models.diffusion_gemma.hub import find_checkpoint
from infill_engine.models.diffusion_gemma.loading import load_network
from infill_engine.models.diffusion_gemma.quantised import (
    EXPERT_MATRICES,
    FORMATS,
    METHOD,
    quantise,
)

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


def quantise_checkpoint(source: Path, target: Path, name: Format) -> Iterator[tuple[str, float]]:
    """Writes `target`; yields each expert matrix's name and relative root mean square error.

    Raises ModelError when `source` holds no experts, or none that the format can store.
    """
    description = read_config(source)
    if "quantization_config" in description:
        method = description["quantization_config"].get("quant_method")
        raise ModelError(f"{source} is quantised already ({method}); start from the bf16 weights")
    if target.exists() and any(target.iterdir()):
        raise ModelError(f"{target} is not empty; name a new folder")
    # Says what does not fit before anything is written.
    inspect_checkpoint(source, EngineConfig(dtype=name))
    target.mkdir(parents=True, exist_ok=True)
    writer = ShardWriter(target)
    num_experts = 0
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for key, tensor in tensors(source):
        if key.rpartition(".")[2] not in EXPERT_MATRICES or ".experts." not in key:
            writer.add(key, tensor)
            continue
        found, error = quantise(tensor, name, device)
        writer.add(key, found.codes.cpu())
        writer.add(f"{key}_scale", found.scale.cpu())
        num_experts += 1
        yield key, error
    if not num_experts:
        raise ModelError(
            f"{source} has no tensors named *.experts.{{{','.join(EXPERT_MATRICES)}}}; "
            "only DiffusionGemma checkpoints of transformers can be quantised"
        )
    writer.close()
    description["quantization_config"] = {"quant_method": METHOD, "format": name}
    for path in source.iterdir():
        if path.suffix in (".json", ".jinja", ".model", ".md") and path.name != INDEX:
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

    def add(self, key: str, tensor: Tensor) -> None:
        size = tensor.numel() * tensor.element_size()
        if self._waiting and self._bytes + size > SHARD_BYTES:
            self._flush()
        self._waiting[key] = tensor.contiguous()
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
        save_file(self._waiting, path, metadata={"format": "pt"})
        self._files.append((path, list(self._waiting)))
        self._waiting, self._bytes = {}, 0


@torch.inference_mode()
def read_logits(folder: Path, device: str, seed: int = 0) -> Tensor:
    """Logits [64, V] of a canvas of noise after a prompt of noise, on the CPU."""
    network = load_network(EngineConfig(model=str(folder), device=device))
    generator = torch.Generator().manual_seed(seed)
    prompt = torch.randint(network.vocab_size, (1, 128), generator=generator)
    canvas = torch.randint(network.vocab_size, (1, 64), generator=generator)
    memory = network.encode(prompt)
    context = network.context(memory, canvas.shape[1])
    hidden = network.decode(canvas.to(network.device), None, context)
    return network.logits(hidden[0]).cpu()


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
        prog="python -m infill_engine.models.diffusion_gemma.quantise",
        description=__doc__.split("\n\n")[0],
    )
    parser.add_argument(
        "source", help="folder of a bf16 DiffusionGemma, or hub:OWNER/NAME to download one"
    )
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
        print(f"{mean:9.5f}  mean relative error of {len(worst)} expert matrices")
        before, after = (
            sum(path.stat().st_size for path in folder.glob("*.safetensors"))
            for folder in (source, given.target)
        )
        print(f"{before / 2**30:.2f} GiB -> {after / 2**30:.2f} GiB in {given.target}")
        if not given.no_logits:
            try:
                # One after the other: the machine may hold only one of them.
                original = read_logits(source, given.device)
                apart = compare(original, read_logits(given.target, given.device))
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
