"""Fine-tunes DiffusionGemma, DreamOn, Open-dCoder or their like on a folder of code, to fill holes.

    PYTHONPATH=.:engine:kernels python -m train.finetune --model hub:Dream-org/DreamOn-v0-7B \\
        --data ~/src/mine --out ~/mine-adapter --dtype int4
    infill-ls infill FILE:LINE:COL --model hub:Dream-org/DreamOn-v0-7B --dtype int4 \\
        --adapter ~/mine-adapter

Trains LoRA beside the matrices, which stay as they are, and of all but DiffusionGemma may have 4
bits. One file in ten is kept to measure by. `--plan` says what memory it takes, without `--model`
that of the published ones; `--export unsloth FILE` or `--export nemo FILE` writes the same holes
for other trainers.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path

import torch

from infill_engine import EngineConfig, InfillRequest, ModelError
from infill_engine.local import LocalEngine
from infill_engine.models.adapter import Adapter, write_adapter
from infill_engine.models.checkpoint import kind_of
from infill_engine.models.hub import find_checkpoint
from infill_engine.models.masked_qwen2.denoiser import MaskedQwen2, load_masked_qwen2
from infill_engine.models.masked_qwen2.network import Lora, Matrix, Network
from train import tuning_memory
from train.hole_objective import Example, loss_of, noised
from train.recipe import Pair, Recipe, Tuner, exact
from train.repository import Gap, Source, export, gaps, of_file, sources

# The matrices that are stacked into one, by the layer's field.
STACKED: dict[str, tuple[str, ...]] = {
    "query_key_value": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}


def attach(network: Network, recipe: Recipe) -> dict[str, Pair]:
    """Puts LoRA beside every matrix of the blocks; the pairs by the matrices' names."""
    sizes, generator = network.sizes, torch.Generator().manual_seed(recipe.seed)
    shapes = sizes.shapes(tied=True)
    pairs: dict[str, Pair] = {}
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
            made[field] = Lora(base, tuple(parts), recipe.scale)
        network.layers[at] = replace(layer, **made)
    network.recomputes = True
    return pairs


def example(denoiser: MaskedQwen2, gap: Gap, tokens: int, rng: random.Random) -> Example:
    """As the engine lays a request out, within so many tokens."""
    sides = denoiser.text.sides(gap.request, prefix=2 * tokens // 3, suffix=tokens // 3)
    middle = denoiser.middle(gap.middle, sides)
    return noised(sides.prefix_ids, middle, sides.suffix_ids, denoiser.text, rng)


class MaskedTuner:
    """Implements `Tuner` for a masked Qwen2. Raises ModelError where it is no network of torch."""

    def __init__(self, denoiser: MaskedQwen2, recipe: Recipe) -> None:
        if not isinstance(denoiser.network, Network):
            raise ModelError("only torch trains here; leave device unset, or set cpu, cuda or mps")
        self._denoiser, self._network, self._recipe = denoiser, denoiser.network, recipe
        self._source = random.Random(recipe.seed)
        self.pairs = attach(denoiser.network, recipe)

    def backward(self, batch: Sequence[Gap]) -> float:
        denoiser, tokens = self._denoiser, self._recipe.tokens
        examples = [example(denoiser, gap, tokens, self._source) for gap in batch]
        loss = loss_of(self._network, examples, denoiser.text)
        loss.backward()
        return float(loss.detach())

    def asked(self, gap: Gap) -> InfillRequest:
        return gap.request

    def exact(self, measured: Sequence[Gap]) -> float:
        return exact(LocalEngine(self._denoiser), measured, self.asked) / max(1, len(measured))


def finetune(
    tuner: Tuner,
    found: Sequence[Source],
    out: Path,
    recipe: Recipe,
    model: str,
    say: Callable[[str], None] = print,
) -> list[dict[str, float]]:
    """Trains, and writes the adapter after every `recipe.every` steps; the lines of its log.

    Raises ModelError where there is nothing to learn from, or the loss is no number any more.
    """
    learned = [each for each in found if not each.held_out]
    kept = [each for each in found if each.held_out] or learned
    if not learned:
        raise ModelError("no file of the folder is left to learn from; see the reasons above")
    rng = random.Random(recipe.seed)
    measured = [gap for each in kept for gap in of_file(each, rng, 4)]
    measured = rng.sample(measured, min(recipe.measured, len(measured)))
    parameters = [each for pair in tuner.pairs.values() for each in pair]
    optimiser = torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=0.0)
    log: list[dict[str, float]] = []
    stream, started, losses = gaps(learned, recipe.seed), time.monotonic(), []
    out.mkdir(parents=True, exist_ok=True)
    for step in range(recipe.steps + 1):
        if step % recipe.every == 0 or step == recipe.steps:
            adapter = Adapter(rank=recipe.rank, scale=recipe.scale, pairs=tuner.pairs)
            write_adapter(out, adapter, model)
            line = {
                "step": float(step),
                "loss": sum(losses) / len(losses) if losses else float("nan"),
                "exact": tuner.exact(measured),
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
        optimiser.zero_grad()
        losses.append(tuner.backward([*islice(stream, recipe.batch)]))
        if not math.isfinite(losses[-1]):
            raise ModelError(f"the loss is {losses[-1]} at step {step + 1}; take a lower --rate")
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
    return log


def tuner_of(config: EngineConfig, recipe: Recipe) -> Tuner:
    if kind_of(find_checkpoint(config.model)) == "masked_qwen2":
        return MaskedTuner(load_masked_qwen2(config), recipe)
    from train.gemma_tuning import GemmaTuner

    return GemmaTuner(config, recipe)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.finetune", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--model", help="a folder, or hub:OWNER/NAME")
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
    for name in ("steps", "batch", "tokens", "rank", "alpha", "rate", "warmup", "every"):
        if not 0 < given[name] < math.inf:
            parser.error(f"--{name} {given[name]} is no positive number")
    if given["export"] and given["export"][0] not in ("unsloth", "nemo"):
        parser.error(f"--export {given['export'][0]} is none of unsloth, nemo")
    if given["out"] is not None and given["out"].exists() and not given["out"].is_dir():
        parser.error(f"--out {given['out']} is a file; name a folder for the adapter")
    recipe = Recipe(**{spec.name: given[spec.name] for spec in fields(Recipe)})
    if given["plan"] and given["model"] is None:
        for name, parts in tuning_memory.published(recipe).items():
            rest = ", ".join(f"{part} {size:.1f}" for part, size in parts.items() if part != "all")
            print(f"{parts['all']:8.1f} GiB  {name} ({rest})")
        return
    if given["model"] is None:
        parser.error("--model is missing, a checkpoint's folder or hub:OWNER/NAME")
    config = EngineConfig(model=given["model"], dtype=given["dtype"], device=given["device"])
    if given["plan"]:
        for name, size in tuning_memory.plan(config, recipe).items():
            print(f"{size:8.2f} GiB  {name}")
        return
    if given["data"] is None:
        parser.error("--data DIR is missing, the folder of code")
    if not given["data"].is_dir():
        parser.error(f"--data {given['data']} is no folder; name the folder of code")
    found, left_out = sources(given["data"])
    print(f"{len(found)} files, {sum(each.held_out for each in found)} of them to measure by")
    for reason, count in left_out.most_common():
        print(f"{count:8} left out: {reason}")
    if given["export"]:
        form, target = given["export"]
        print(f"{export(found, form, given['count'], Path(target), recipe.seed)} holes in {target}")
        return
    if given["out"] is None:
        parser.error("--out DIR is missing, where the adapter goes")
    finetune(tuner_of(config, recipe), found, given["out"], recipe, given["model"])


if __name__ == "__main__":
    try:
        main()
    except ModelError as error:
        raise SystemExit(str(error)) from None
