"""Fine-tuning DiffusionGemma for holes: transformers' modules, canvases as our loop makes them.

    prompt ─► encoder, with its gradient ─► keys and values ─┐
    middle, some of its tokens random ones │ suffix, pinned ─┴► decoder ─► cross-entropy of the hole
                                                                  ▲
                  in half of the cases what it said itself before ┘

The noise is what the model was trained with: a canvas has a level t from 0 to 1, a cell of the hole
a random token with probability t, and all cells of the hole are learned, clean ones included. A
hole is as long as its middle, for its loop fills a hole to the last cell and knows no end. LoRA
stands beside the matrices of attention and of the dense MLP, whose weights both passes share;
experts, router, table and norms stay as they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from infill_engine import EngineConfig, Hole, InfillRequest, ModelError
from infill_engine.denoiser import Sides
from infill_engine.local import LocalEngine
from infill_engine.models.diffusion_gemma.checkpoint import inspect_checkpoint, read_defaults
from infill_engine.models.diffusion_gemma.denoiser import (
    CANVAS_LENGTHS,
    TAIL_TOKENS,
    DiffusionGemma,
)
from infill_engine.models.diffusion_gemma.loading import load_model
from infill_engine.models.diffusion_gemma.network import Network, cache_parameter
from infill_engine.models.diffusion_gemma.text import GemmaText
from infill_engine.models.hub import find_checkpoint
from train.recipe import NOISE_LEVELS, Pair, Recipe, check_rank, share
from train.repository import Gap
from train.stopping import never

MATRICES = {
    "self_attn": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "down_proj"),
}
LONGEST = max(CANVAS_LENGTHS) - TAIL_TOKENS  # tokens of a middle
SELF_CONDITIONING = 0.5


class Beside(nn.Module):
    """Stands in for a linear module, to whose output it adds what is learned."""

    def __init__(self, base: Any, pair: Pair, scale: float) -> None:
        super().__init__()
        self.base, self.pair, self.scale = base.requires_grad_(False), pair, scale
        self.out_features = base.out_features

    @property
    def weight(self) -> Tensor:
        """As it would be loaded: what reads weights alone sees what is learned as well."""
        down, up = self.pair
        weight: Tensor = self.base.weight
        return (weight.float() + self.scale * (up @ down)).to(weight.dtype).detach()

    def forward(self, x: Tensor) -> Tensor:
        down, up = (each.to(x.dtype) for each in self.pair)
        said: Tensor = self.base(x)
        return said + self.scale * (x @ down.T @ up.T)


class GemmaHoles:
    """The weights, and the loss of a hole. Raises ModelError where they are none that learn."""

    def __init__(self, config: EngineConfig, tokens: int, seed: int) -> None:
        folder = find_checkpoint(config.model)
        checkpoint = inspect_checkpoint(folder, config)
        if checkpoint.format is not None:
            raise ModelError(
                f"experts in {checkpoint.format} pass no gradient on; take the bf16 weights of "
                "DiffusionGemma and leave dtype unset"
            )
        self.model = load_model(checkpoint, config)
        self._config, self._checkpoint, self._tokens = config, checkpoint, tokens
        vocab = int(self.model.config.text_config.vocab_size)
        images = [checkpoint.config.get(f"{name}_token_id") for name in ("boi", "eoi", "image")]
        no_text = [token for token in images if isinstance(token, int)]
        self.text = GemmaText(folder / "tokenizer.json", vocab, no_text=no_text)
        self._defaults = read_defaults(folder)
        noise = torch.ones(vocab, dtype=torch.bool)
        noise[sorted(self.text.special)] = False
        self._noise = noise.nonzero()[:, 0]
        self._generator = torch.Generator().manual_seed(seed)
        self._encoder = self.model.model.encoder.language_model
        self._cache_parameter = cache_parameter(self._encoder)

    def backward(self, batch: Sequence[Gap]) -> float:
        """The mean loss, in nats a token of the middles; one prompt after another."""
        total = 0.0
        for gap in batch:
            loss = self._loss(gap) / len(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total

    def sides(self, request: InfillRequest) -> Sides:
        """As the engine lays a request out, within so many tokens."""
        tokens = self._tokens
        return self.text.sides(
            request,
            prefix=2 * tokens // 3,
            suffix=tokens // 3,
            neighbours=0,
            tail=max(CANVAS_LENGTHS),
        )

    def asked(self, gap: Gap) -> InfillRequest:
        """With the middle's length, which the loop fills to the last cell."""
        healed = self.sides(gap.request).healed_prefix
        # The engine adds a cell for what it takes back of the prefix.
        tokens = len(self.text.encode(healed.decode() + gap.middle)) - bool(healed)
        return replace(gap.request, middle=(Hole(max_tokens=max(1, tokens)),))

    def _loss(self, gap: Gap) -> Tensor:
        """Of a middle that is too long for a canvas, its beginning."""
        text, sides = self.text, self.sides(gap.request)
        middle = text.encode(sides.healed_prefix.decode() + gap.middle) or [text.pad]
        cut = middle[:LONGEST]
        width = next(each for each in CANVAS_LENGTHS if each >= len(cut) + TAIL_TOKENS)
        behind = [*middle[LONGEST:], *sides.suffix_ids, *[text.pad] * width]
        clean = torch.tensor([[*cut, *behind[: width - len(cut)]]]).expand(NOISE_LEVELS, -1)
        hole = torch.arange(width) < len(cut)
        return self.loss_of(torch.tensor([sides.prefix_ids]), clean, hole)

    def loss_of(self, prompt: Tensor, clean: Tensor, hole: Tensor) -> Tensor:
        """prompt [1, S], clean [R, T], whose levels lie evenly, hole [T] bool -> nats a token."""
        device, generator = self.model.device, self._generator
        clean, hole = clean.to(device), hole.to(device)
        drawn = torch.rand((), generator=generator)
        levels = ((torch.arange(len(clean)) + drawn) / len(clean))[:, None]
        noisy = torch.rand(clean.shape, generator=generator) < levels
        picked = torch.randint(len(self._noise), noisy.shape, generator=generator)
        canvas = torch.where(noisy.to(device) & hole, self._noise[picked].to(device), clean)
        said: Tensor | None = None
        cache = self.encoded(prompt, len(clean))
        if torch.rand((), generator=generator) < SELF_CONDITIONING:
            with torch.no_grad():
                logits = self.logits(canvas, prompt.shape[1], cache)
            said = self._told(logits, levels.to(device), clean, hole)
        logits = self.logits(canvas, prompt.shape[1], cache, said)
        return cross_entropy(logits[:, hole].flatten(0, 1).float(), clean[:, hole].flatten())

    def encoded(self, prompt: Tensor, rows: int) -> Any:
        """Keys and values of a prompt [1, S], for so many canvases."""
        from transformers import DynamicCache

        cache: Any = DynamicCache(config=self.model.config.get_text_config(decoder=True))
        positions = torch.arange(prompt.shape[1], device=self.model.device)[None]
        self._encoder(
            input_ids=prompt.to(self.model.device),
            position_ids=positions,
            **{self._cache_parameter: cache},
        )
        cache.batch_repeat_interleave(rows)
        return cache

    def logits(self, canvas: Tensor, start: int, cache: Any, said: Tensor | None = None) -> Tensor:
        """Canvases [R, T] behind `start` tokens -> [R, T, V]."""
        positions = start + torch.arange(canvas.shape[1], device=canvas.device)
        logits: Tensor = self.model(
            decoder_input_ids=canvas,
            decoder_position_ids=positions[None],
            self_conditioning_logits=said,
            **{self._cache_parameter: cache},
        ).logits
        return logits

    def _told(self, logits: Tensor, levels: Tensor, clean: Tensor, hole: Tensor) -> Tensor:
        """What a step is told of the one before: by its temperature, and pins as what they are."""
        defaults = self._defaults
        temperature = defaults.t_min + (defaults.t_max - defaults.t_min) * levels[..., None]
        told, pins = logits / temperature, (~hole).nonzero()[:, 0]
        told[:, pins] = -torch.inf
        told[torch.arange(len(told))[:, None], pins, clean[:, pins]] = 0.0
        return told.to(self.model.dtype)


class GemmaTuner(GemmaHoles):
    """Implements `Tuner`. Raises ModelError where the weights are none that learn, or the rank is
    too high for them."""

    def __init__(self, config: EngineConfig, recipe: Recipe) -> None:
        super().__init__(config, recipe.tokens, recipe.seed)
        self._recipe = recipe
        self.pairs: dict[str, Pair] = {}
        layers = zip(self._encoder.layers, self.model.model.decoder.layers, strict=True)
        places = [
            (f"model.decoder.layers.{at}.{part}.{name}.weight", parents, name)
            for at, passes in enumerate(layers)
            for part, names in MATRICES.items()
            for parents in [[getattr(layer, part) for layer in passes]]
            for name in names
            if getattr(parents[0], name) is not None  # full layers have no values of their own
        ]
        check_rank(recipe, [getattr(first, name).weight.shape for _, (first, _), name in places])
        for place in places:
            self._attach(*place)

    def _attach(self, key: str, parents: Sequence[Any], name: str) -> None:
        """One pair for both passes."""
        outputs, inputs = getattr(parents[0], name).weight.shape
        down = torch.randn(self._recipe.rank, inputs, generator=self._generator) / inputs**0.5
        pair = self.pairs[key] = (
            down.to(self.model.device).requires_grad_(),
            torch.zeros(outputs, self._recipe.rank, device=self.model.device).requires_grad_(),
        )
        for parent in parents:
            setattr(parent, name, Beside(getattr(parent, name), pair, self._recipe.scale))

    def noise_state(self) -> Tensor:
        return self._generator.get_state()

    def set_noise_state(self, state: Tensor) -> None:
        self._generator.set_state(state)

    def exact(self, measured: Sequence[Gap], stopped: Callable[[], bool] = never) -> float | None:
        return share(LocalEngine(self.denoiser()), measured, self.asked, stopped)

    def denoiser(self) -> DiffusionGemma:
        """With what is learned by now."""
        network = Network(self.model)
        return DiffusionGemma(network, self.text, self._config, self._defaults, self._checkpoint)
