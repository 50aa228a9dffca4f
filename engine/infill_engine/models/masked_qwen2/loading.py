"""From files to a `Network` on a device, one tensor at a time; no other code is run."""

import math
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from infill_engine.config import EngineConfig
from infill_engine.errors import ModelError
from infill_engine.models.adapter import Adapter, read_adapter
from infill_engine.models.checkpoint import Checkpoint, first_line, weight_files
from infill_engine.models.finite import check_finite, not_finite
from infill_engine.models.hub import find_checkpoint
from infill_engine.models.masked_qwen2.checkpoint import (
    EMBEDDING,
    HEAD,
    NORM,
    Qwen2Sizes,
    inspect_checkpoint,
    narrowed,
    sizes_of,
)
from infill_engine.models.masked_qwen2.network import Layer, Matrix, Network
from infill_engine.models.placement import check_memory, chosen_device, too_large
from infill_engine.models.quantised import check_stored, quantise, stored_as
from infill_engine.progress import LoadProgress, silent
from infill_kernels import Fp8, Int4, dequantise

# On a GPU, beside the weights: one wide matrix, keys and values, the head's output.
WORK_SPACE = 3 << 29


def load_network(
    checkpoint: Checkpoint, config: EngineConfig, progress: LoadProgress = silent
) -> Network:
    """The weights on their device, quantised on the way when that is asked for. Sets the threads.

    Raises ModelError when the files are damaged or the machine is too small.
    """
    device = chosen_device(config, mps=True)
    torch.set_num_threads(config.threads or min(4, torch.get_num_threads()))
    if checkpoint.format == "fp8" and device.type == "mps":
        raise ModelError("Apple's GPUs have no fp8; set dtype to int4 or bfloat16")
    check_memory(checkpoint, checkpoint.need, checkpoint.dtype, device, WORK_SPACE)
    sizes = sizes_of(checkpoint.folder, checkpoint.config)
    adapter = read_adapter(Path(config.adapter).expanduser()) if config.adapter else None
    if adapter is not None and checkpoint.stored:
        raise ModelError(
            f"{checkpoint.folder} is {checkpoint.stored} already, and an adapter is added before "
            "that; name the bf16 weights, with dtype "
            f"{checkpoint.stored}"
        )
    try:
        found = _read(checkpoint, sizes, device, progress, adapter)
    except torch.OutOfMemoryError as error:
        raise too_large(checkpoint, checkpoint.need, checkpoint.dtype, device, None) from error
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"{checkpoint.folder} cannot be loaded: {first_line(error)}; download it again"
        ) from error
    table, norm = found.matrices.pop(EMBEDDING), found.vectors.pop(NORM)
    head = found.matrices.pop(HEAD, table)
    return Network(sizes, table, head, norm, [found.layer(at) for at in range(sizes.layers)])


class _Tensors:
    """What was read, by name; `layer` takes it out."""

    def __init__(self) -> None:
        self.matrices: dict[str, Matrix] = {}
        self.vectors: dict[str, Tensor] = {}

    def layer(self, at: int) -> Layer:
        prefix = f"model.layers.{at}."
        attention, mlp = f"{prefix}self_attn.", f"{prefix}mlp."
        bias = [self.vectors.pop(f"{attention}{name}_proj.bias") for name in "qkv"]
        return Layer(
            query_key_value=_stacked([self._taken(f"{attention}{name}_proj") for name in "qkv"]),
            query_key_value_bias=torch.cat(bias),
            out=self._taken(f"{attention}o_proj"),
            gate_up=_stacked([self._taken(f"{mlp}{name}_proj") for name in ("gate", "up")]),
            down=self._taken(f"{mlp}down_proj"),
            input_norm=self.vectors.pop(f"{prefix}input_layernorm.weight"),
            post_attention_norm=self.vectors.pop(f"{prefix}post_attention_layernorm.weight"),
        )

    def _taken(self, name: str) -> Matrix:
        return self.matrices.pop(f"{name}.weight")


def _read(
    checkpoint: Checkpoint,
    sizes: Qwen2Sizes,
    device: torch.device,
    progress: LoadProgress,
    adapter: Adapter | None = None,
) -> _Tensors:
    tied = bool(checkpoint.config.get("tie_word_embeddings"))
    wanted = sizes.shapes(tied)
    missing = sorted(wanted)
    found = _Tensors()
    dtype = getattr(torch, checkpoint.computed)
    stage = f"quantising to {checkpoint.asked}" if checkpoint.asked else "loading weights"
    for path in weight_files(checkpoint.folder):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a dictionary
                if name not in wanted:
                    continue  # a tied head, scales, what other classes keep
                tensor = file.get_tensor(name)
                if adapter is not None:
                    tensor = adapter.merged(name, tensor)
                kept_in = narrowed(name, checkpoint.format) if checkpoint.format else None
                if kept_in == "fp8" and device.type == "mps":
                    # Nothing there has eight-bit floats: the table and the head stay wide.
                    if checkpoint.stored:
                        eight = Fp8(tensor, file.get_tensor(f"{name}_scale"))
                        tensor = dequantise(eight, dtype)[0]
                    kept_in = None
                if kept_in is not None:
                    if checkpoint.stored:
                        scale = file.get_tensor(f"{name}_scale")
                        check_stored(name, kept_in, tensor, scale, wanted[name], path)
                        made = stored_as(kept_in, tensor.to(device), scale.to(device))
                    else:
                        made, error = quantise(tensor[None].to(dtype), kept_in, device)
                        if not math.isfinite(error):
                            raise not_finite(name, path)
                    found.matrices[name] = made
                elif tuple(tensor.shape) != wanted[name]:
                    raise ModelError(
                        f"{name} in {path} is {list(tensor.shape)}, config.json says "
                        f"{list(wanted[name])}; download both again"
                    )
                else:
                    tensor = tensor.to(device, dtype)
                    check_finite(name, tensor, path)
                    if tensor.dim() == 1:
                        found.vectors[name] = tensor
                    else:
                        found.matrices[name] = tensor
                if name not in missing:
                    raise ModelError(
                        f"{name} in {path} is in another file of the folder too; keep one copy of "
                        "the weights there"
                    )
                missing.remove(name)
                progress(stage, 1 - len(missing) / len(wanted))
    if adapter is not None and (unknown := sorted(adapter.pairs.keys() - wanted.keys())):
        raise ModelError(
            f"the adapter is also of {unknown[0]}, which {checkpoint.folder} has not; name the "
            "model that it was trained on"
        )
    if missing:
        raise ModelError(
            f"{checkpoint.folder} lacks {len(missing)} weights, {missing[0]} for one; download it "
            "again"
        )
    return found


def _stacked(matrices: list[Matrix]) -> Matrix:
    """Matrices [N, K] of one format as one, its rows those of all."""
    plain = [each for each in matrices if isinstance(each, Tensor)]
    if len(plain) == len(matrices):
        return torch.cat(plain)
    fours = [each for each in matrices if isinstance(each, Int4)]
    if fours:
        return Int4(
            torch.cat([each.codes for each in fours], 1),
            torch.cat([each.scale for each in fours], 2),
        )
    eights = [each for each in matrices if isinstance(each, Fp8)]
    return Fp8(
        torch.cat([each.codes for each in eights], 1),
        torch.cat([each.scale for each in eights], 1),
    )


@torch.inference_mode()
def noise_logits(folder: Path, device: str) -> Tensor:
    """Logits [64, V] of a canvas of noise after a prompt of noise, on the CPU."""
    config = EngineConfig(model=str(folder), device=device)
    network = load_network(inspect_checkpoint(find_checkpoint(str(folder)), config), config)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(network.sizes.vocab_size, (1, 192), generator=generator)
    positions = torch.arange(192, device=network.device)[None]
    hidden = network.hidden(ids.to(network.device), positions)
    return network.logits(hidden[0, 128:]).cpu()
