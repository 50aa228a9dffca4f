"""Fine-tuning a masked Qwen2 for holes: LoRA beside its matrices, and the hole objective."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from infill_engine import InfillRequest, ModelError
from infill_engine.local import LocalEngine
from infill_engine.models.masked_qwen2.denoiser import MaskedQwen2
from infill_engine.models.masked_qwen2.network import Lora, Matrix, Network
from train.hole_objective import Example, loss_of, noised
from train.recipe import Pair, Recipe, check_rank, share
from train.repository import Gap
from train.stopping import never

# The matrices that are stacked into one, by the layer's field.
STACKED: dict[str, tuple[str, ...]] = {
    "query_key_value": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}


def attach(network: Network, recipe: Recipe) -> dict[str, Pair]:
    """Puts LoRA beside every matrix of the blocks; the pairs by the matrices' names.

    Raises ModelError where the recipe's rank is too high for them.
    """
    sizes, generator = network.sizes, torch.Generator().manual_seed(recipe.seed)
    shapes = sizes.shapes(tied=True)
    check_rank(recipe, [shape for key, shape in shapes.items() if key.endswith("_proj.weight")])
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

    def noise_state(self) -> Tensor:
        return torch.tensor(self._source.getstate()[1])

    def set_noise_state(self, state: Tensor) -> None:
        self._source.setstate((random.Random.VERSION, tuple(state.tolist()), None))

    def asked(self, gap: Gap) -> InfillRequest:
        return gap.request

    def exact(self, measured: Sequence[Gap], stopped: Callable[[], bool] = never) -> float | None:
        return share(LocalEngine(self._denoiser), measured, self.asked, stopped)
