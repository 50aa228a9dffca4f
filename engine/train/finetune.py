"""Fine-tunes DreamOn, Open-dCoder or their like on a folder of code, to fill holes as it does.

    PYTHONPATH=.:engine:kernels python -m train.finetune --model hub:Dream-org/DreamOn-v0-7B \\
        --data ~/src/mine --out ~/mine-adapter --dtype int4
    infill-ls infill FILE:LINE:COL --model hub:Dream-org/DreamOn-v0-7B --dtype int4 \\
        --adapter ~/mine-adapter

Trains LoRA beside the matrices, which stay as they are and may have 4 bits. One file in ten is kept
to measure by. `--plan` says what memory it takes and does nothing; `--export unsloth FILE` or
`--export nemo FILE` writes the same holes for trainers of DiffusionGemma, which none here trains.
"""

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from infill_engine import EngineConfig, ModelError
from infill_engine.local import LocalEngine
from infill_engine.models.hub import find_checkpoint
from infill_engine.models.masked_qwen2.adapter import Adapter, write_adapter
from infill_engine.models.masked_qwen2.checkpoint import inspect_checkpoint, sizes_of
from infill_engine.models.masked_qwen2.denoiser import MaskedQwen2, load_masked_qwen2
from infill_engine.models.masked_qwen2.network import Lora, Matrix, Network
from train.hole_objective import Example, loss_of, noised
from train.repository import Gap, Source, export, gaps, of_file, sources

# The matrices that are stacked into one, by the layer's field.
STACKED: dict[str, tuple[str, ...]] = {
    "query_key_value": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A run. `tokens` bound an example's text; `rank` and `alpha` are LoRA's."""

    steps: int = 400
    batch: int = 8
    tokens: int = 768
    rank: int = 16
    alpha: float = 32.0
    rate: float = 2e-4
    warmup: int = 20
    seed: int = 0
    measured: int = 40
    every: int = 100


def attach(network: Network, recipe: Recipe) -> dict[str, tuple[Tensor, Tensor]]:
    """Puts LoRA beside every matrix of the blocks; the pairs by the matrices' names."""
    sizes, generator = network.sizes, torch.Generator().manual_seed(recipe.seed)
    shapes = sizes.shapes(tied=True)
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    scale = recipe.alpha / recipe.rank
    for at, layer in enumerate(network.layers):
        made: dict[str, Matrix] = {}
        for field, names in STACKED.items():
            parts = []
            for name in names:
                key = f"model.layers.{at}.{name}.weight"
                outputs, inputs = shapes[key]
                down = torch.randn(recipe.rank, inputs, generator=generator) / inputs**0.5
                pair = (
                    down.to(network.device).requires_grad_(),
                    torch.zeros(outputs, recipe.rank, device=network.device).requires_grad_(),
                )
                pairs[key] = pair
                parts.append(pair)
            base = getattr(layer, field)
            assert not isinstance(base, Lora), "LoRA is put beside a network once"
            made[field] = Lora(base, tuple(parts), scale)
        network.layers[at] = replace(layer, **made)
    network.recomputes = True
    return pairs


def examples(denoiser: MaskedQwen2, found: Sequence[Source], recipe: Recipe) -> Iterator[Example]:
    """Endless; as the engine lays a request out, within `recipe.tokens`."""
    rng = random.Random(recipe.seed)
    text = denoiser.text
    for gap in gaps(found, recipe.seed):
        sides = text.sides(gap.request, prefix=2 * recipe.tokens // 3, suffix=recipe.tokens // 3)
        middle = denoiser.middle(gap.middle, sides)
        yield noised(sides.prefix_ids, middle, sides.suffix_ids, text, rng)


def exact(denoiser: MaskedQwen2, measured: Sequence[Gap]) -> float:
    """The share of holes that are filled exactly, as the engine fills them."""
    engine = LocalEngine(denoiser)
    right = 0
    for gap in measured:
        drafts = [*engine.infill(gap.request)]
        right += bool(drafts) and drafts[-1].text == gap.middle
        engine.forget()
    return right / max(1, len(measured))


def finetune(
    denoiser: MaskedQwen2,
    found: Sequence[Source],
    out: Path,
    recipe: Recipe,
    model: str,
    say: Callable[[str], None] = print,
) -> list[dict[str, float]]:
    """Trains, and writes the adapter after every `recipe.every` steps; the lines of its log.

    Raises ModelError where there is nothing to learn from, or no network of torch.
    """
    network = denoiser.network
    if not isinstance(network, Network):
        raise ModelError("only torch trains here; leave device unset, or set cpu, cuda or mps")
    learned = [each for each in found if not each.held_out]
    kept = [each for each in found if each.held_out] or learned
    if not learned:
        raise ModelError("no file of the folder is left to learn from; see the reasons above")
    rng = random.Random(recipe.seed)
    measured = [gap for each in kept for gap in of_file(each, rng, 4)]
    measured = rng.sample(measured, min(recipe.measured, len(measured)))
    pairs = attach(network, recipe)
    parameters = [each for pair in pairs.values() for each in pair]
    optimiser = torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=0.0)
    pad = denoiser.text.mask
    log: list[dict[str, float]] = []
    stream, started, losses = examples(denoiser, learned, recipe), time.monotonic(), []
    out.mkdir(parents=True, exist_ok=True)
    for step in range(recipe.steps + 1):
        if step % recipe.every == 0 or step == recipe.steps:
            adapter = Adapter(rank=recipe.rank, scale=recipe.alpha / recipe.rank, pairs=pairs)
            write_adapter(out, adapter, model)
            line = {
                "step": float(step),
                "loss": sum(losses) / len(losses) if losses else float("nan"),
                "exact": exact(denoiser, measured),
                "seconds": round(time.monotonic() - started, 1),
            }
            log.append(line)
            losses = []
            say(f"{step:6} loss {line['loss']:7.3f}  exact {line['exact']:6.1%}")
            (out / "log.jsonl").write_text("".join(json.dumps(each) + "\n" for each in log))
        if step == recipe.steps:
            break
        share = min(1.0, (step + 1) / recipe.warmup) * (1 - step / recipe.steps)
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * share
        loss = loss_of(network, [*islice(stream, recipe.batch)], pad)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    return log


def plan(config: EngineConfig, recipe: Recipe) -> dict[str, float]:
    """What a run takes in GiB, by arithmetic from config.json and the files' headers."""
    checkpoint = inspect_checkpoint(find_checkpoint(config.model), config)
    sizes = sizes_of(checkpoint.folder, checkpoint.config)
    shapes = sizes.shapes(tied=True)
    learned = sum(
        recipe.rank * sum(shape) for name, shape in shapes.items() if name.endswith("_proj.weight")
    )
    width = 2 if checkpoint.computed != "float32" else 4
    tokens = recipe.batch * recipe.tokens
    # Each block keeps its input; one at a time is computed again, with what it keeps meanwhile.
    kept = tokens * sizes.width * sizes.layers * width
    block = tokens * (8 * sizes.width + 4 * sizes.hidden) * width
    block += recipe.batch * sizes.heads * recipe.tokens**2 * width
    widened = 3 * sizes.width * sizes.hidden * width if checkpoint.format else 0
    # A quarter of the text is masked at the most, and its logits are there twice.
    head = tokens / 4 * sizes.vocab_size * 4 * 2
    parts = {
        "weights": checkpoint.need,
        # Itself, its gradient and two moments, in float32.
        "LoRA": 16 * learned,
        "activations": kept + block + widened,
        "logits": head,
    }
    return {name: size / GIB for name, size in (parts | {"all": sum(parts.values())}).items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.finetune", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--model", required=True, help="a folder, or hub:OWNER/NAME")
    parser.add_argument("--data", type=Path, help="the folder of code")
    parser.add_argument("--out", type=Path, help="the adapter's folder")
    parser.add_argument("--dtype", default="auto", help="of the weights that stay: int4, fp8, auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--plan", action="store_true", help="say what memory a run takes")
    parser.add_argument("--export", nargs=2, metavar=("FORM", "FILE"), help="unsloth or nemo")
    parser.add_argument("--count", type=int, default=2000, help="holes to export")
    for spec in fields(Recipe):
        parser.add_argument(f"--{spec.name}", type=type(spec.default), default=spec.default)
    given = vars(parser.parse_args(arguments))
    recipe = Recipe(**{spec.name: given[spec.name] for spec in fields(Recipe)})
    config = EngineConfig(model=given["model"], dtype=given["dtype"], device=given["device"])
    if given["plan"]:
        for name, size in plan(config, recipe).items():
            print(f"{size:8.2f} GiB  {name}")
        return
    if given["data"] is None:
        parser.error("--data DIR is missing, the folder of code")
    found, left_out = sources(given["data"])
    print(f"{len(found)} files, {sum(each.held_out for each in found)} of them to measure by")
    for reason, count in left_out.most_common():
        print(f"{count:8} left out: {reason}")
    if given["export"]:
        form, target = given["export"]
        if form not in ("unsloth", "nemo"):
            parser.error(f"--export {form} is none of unsloth, nemo")
        print(f"{export(found, form, given['count'], Path(target), recipe.seed)} holes in {target}")
        return
    if given["out"] is None:
        parser.error("--out DIR is missing, where the adapter goes")
    finetune(load_masked_qwen2(config), found, given["out"], recipe, given["model"])


if __name__ == "__main__":
    try:
        main()
    except ModelError as error:
        raise SystemExit(str(error)) from None
