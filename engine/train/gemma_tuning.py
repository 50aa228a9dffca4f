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

from collections.abc import Sequence
from dataclasses import replace
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from infill_engine import EngineConfig, Hole, InfillRequest, ModelError
from infill_engine.local import LocalEngine
from infill_engine.models.diffusion_gemma.checkpoint import inspect_checkpoint, read_defaults
from infill_engine.models.diffusion_gemma.denoiser import (
    CANVAS_LENGTHS,
    TAIL_TOKENS,
    DiffusionGemma,
)
from infill_engine.models.diffusion_gemma.loading import load_model
from infill_engine.models.diffusion_gemma.network import Network
from infill_engine.models.diffusion_gemma.text import GemmaText
from infill_engine.models.hub import find_checkpoint
from train.recipe import NOISE_LEVELS, Pair, Recipe
from train.repository import Gap

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


class GemmaTuner:
    """Implements `Tuner`. Raises ModelError where the weights are none that learn."""

    def __init__(self, config: EngineConfig, recipe: Recipe) -> None:
        folder = find_checkpoint(config.model)
        checkpoint = inspect_checkpoint(folder, config)
        if checkpoint.format is not None:
            raise ModelError(
                f"experts in {checkpoint.format} pass no gradient on; take the bf16 weights of "
                "DiffusionGemma and leave dtype unset"
            )
        self._model = load_model(checkpoint, config)
        self._config, self._checkpoint, self._recipe = config, checkpoint, recipe
        self._vocab = int(self._model.config.text_config.vocab_size)
        images = [checkpoint.config.get(f"{name}_token_id") for name in ("boi", "eoi", "image")]
        no_text = [token for token in images if isinstance(token, int)]
        self._text = GemmaText(folder / "tokenizer.json", self._vocab, no_text=no_text)
        self._defaults = read_defaults(folder)
        noise = torch.ones(self._vocab, dtype=torch.bool)
        noise[sorted(self._text.special)] = False
        self._noise = noise.nonzero()[:, 0]
        self._generator = torch.Generator().manual_seed(recipe.seed)
        self._encoder = self._model.model.encoder.language_model
        named = signature(type(self._encoder).forward).parameters
        self._cache_parameter = "cache" if "cache" in named else "past_key_values"
        self.pairs: dict[str, Pair] = {}
        layers = zip(self._encoder.layers, self._model.model.decoder.layers, strict=True)
        for at, passes in enumerate(layers):
            for part, names in MATRICES.items():
                for name in names:
                    key = f"model.decoder.layers.{at}.{part}.{name}.weight"
                    self._attach(key, [getattr(layer, part) for layer in passes], name)

    def _attach(self, key: str, parents: Sequence[Any], name: str) -> None:
        """One pair for both passes; full layers have no values of their own."""
        if getattr(parents[0], name) is None:
            return
        outputs, inputs = getattr(parents[0], name).weight.shape
        down = torch.randn(self._recipe.rank, inputs, generator=self._generator) / inputs**0.5
        pair = self.pairs[key] = (
            down.to(self._model.device).requires_grad_(),
            torch.zeros(outputs, self._recipe.rank, device=self._model.device).requires_grad_(),
        )
        for parent in parents:
            setattr(parent, name, Beside(getattr(parent, name), pair, self._recipe.scale))

    def backward(self, batch: Sequence[Gap]) -> float:
        """The mean loss, in nats a token of the middles; one prompt after another."""
        total = 0.0
        for gap in batch:
            loss = self._loss(gap) / len(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total

    def exact(self, measured: Sequence[Gap]) -> float:
        """The share of middles that the engine says as they were, their lengths being given."""
        engine = LocalEngine(self.denoiser())
        right = 0
        for gap in measured:
            drafts = [*engine.infill(self.asked(gap))]
            right += bool(drafts) and drafts[-1].text == gap.middle
            engine.forget()
        return right / max(1, len(measured))

    def denoiser(self) -> DiffusionGemma:
        """With what is learned by now."""
        network = Network(self._model)
        return DiffusionGemma(network, self._text, self._config, self._defaults, self._checkpoint)

    def asked(self, gap: Gap) -> InfillRequest:
        hole = Hole(max_tokens=max(1, len(self._text.encode(gap.middle))))
        return replace(gap.request, middle=(hole,))

    def _loss(self, gap: Gap) -> Tensor:
        """Of a middle that is too long for a canvas, its beginning."""
        tokens, text = self._recipe.tokens, self._text
        sides = text.sides(
            gap.request,
            prefix=2 * tokens // 3,
            suffix=tokens // 3,
            neighbours=0,
            tail=max(CANVAS_LENGTHS),
        )
        middle = text.encode(sides.healed_prefix.decode() + gap.middle) or [text.pad]
        cut = middle[:LONGEST]
        width = next(each for each in CANVAS_LENGTHS if each >= len(cut) + TAIL_TOKENS)
        behind = [*middle[LONGEST:], *sides.suffix_ids, *[text.pad] * width]
        device = self._model.device
        clean = torch.tensor([*cut, *behind[: width - len(cut)]], device=device)
        hole = torch.arange(width, device=device) < len(cut)
        return self.loss_of(torch.tensor([sides.prefix_ids]), clean, hole)

    def loss_of(self, prompt: Tensor, clean: Tensor, hole: Tensor) -> Tensor:
        """prompt [1, S], clean [T], hole [T] bool."""
        device, generator = self._model.device, self._generator
        drawn = torch.rand((), generator=generator)
        levels = ((torch.arange(NOISE_LEVELS) + drawn) / NOISE_LEVELS)[:, None]
        noisy = torch.rand(NOISE_LEVELS, len(clean), generator=generator) < levels
        picked = torch.randint(len(self._noise), noisy.shape, generator=generator)
        canvas = torch.where(noisy.to(device) & hole, self._noise[picked].to(device), clean)
        said: Tensor | None = None
        cache = self.encoded(prompt, NOISE_LEVELS)
        if torch.rand((), generator=generator) < SELF_CONDITIONING:
            with torch.no_grad():
                logits = self.logits(canvas, prompt.shape[1], cache)
            said = self._told(logits, levels.to(device), clean, hole)
        logits = self.logits(canvas, prompt.shape[1], cache, said)
        target = clean[hole].expand(NOISE_LEVELS, -1)
        return cross_entropy(logits[:, hole].flatten(0, 1).float(), target.flatten())

    def encoded(self, prompt: Tensor, rows: int) -> Any:
        """Keys and values of a prompt [1, S], for so many canvases."""
        from transformers import DynamicCache

        cache: Any = DynamicCache(config=self._model.config.get_text_config(decoder=True))
        positions = torch.arange(prompt.shape[1], device=self._model.device)[None]
        self._encoder(
            input_ids=prompt.to(self._model.device),
            position_ids=positions,
            **{self._cache_parameter: cache},
        )
        cache.batch_repeat_interleave(rows)
        return cache

    def logits(self, canvas: Tensor, start: int, cache: Any, said: Tensor | None = None) -> Tensor:
        """Canvases [R, T] behind `start` tokens -> [R, T, V]."""
        positions = start + torch.arange(canvas.shape[1], device=canvas.device)
        logits: Tensor = self._model(
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
        told = (logits / temperature).masked_fill(~hole[:, None], -torch.inf)
        told[:, ~hole, clean[~hole]] = 0.0
        return told.to(self._model.dtype)
