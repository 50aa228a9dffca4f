"""The canvases of a training batch decoded as the engine does: the streams read once, kept, and as
many steps over all canvases together as it takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from infill_engine.canvas import PINNED, Canvas
from infill_engine.denoise import DenoiseConfig, denoise
from infill_engine.early_stop import Chained, Decided, TokenStability
from infill_engine.models.two_sided.config import CANVAS, PREFIX, SUFFIX
from infill_engine.models.two_sided.layers import mlp, norm, project
from infill_engine.models.two_sided.network import TwoSidedNetwork
from infill_engine.models.two_sided.training_pass import (
    backwards,
    gather_keys,
    gather_values,
    reversal,
)
from infill_engine.noise import Absorbing
from infill_engine.sampler import EntropyBound
from infill_engine.schedule import Constant
from infill_engine.tokenizer import END, FIRST_LEARNED, MASK
from infill_kernels import row_statistics
from infill_kernels.rows import RowStatistics
from train.fused import canvas_attention_fused, causal_attention_fused

CHUNK = 1024  # cells whose logits are kept at a time
BOUND = 0.3  # the engine's, in nats


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Both streams of a batch of rows, encoded once for any number of passes over its canvases.

    keys, values of each layer [B, M, N + T, K, E] are what a canvas sees of both sides, and room
    for its own; pos [B, M, T] is where a cell stands in the tables of angles. The others are the
    batch's.
    """

    keys: list[Tensor]
    values: list[Tensor]
    pos: Tensor
    start: Tensor
    end: Tensor
    lengths: Tensor
    hints: Tensor


@torch.no_grad()
def encode_rows(model: TwoSidedNetwork, data: Mapping[str, Tensor]) -> EncodedRows:
    """The streams of `training_pass`, kept; in the model's own dtype."""
    rows, lengths, start, end = (data[name] for name in ("rows", "lengths", "start", "end"))
    (B, N), (M, T) = rows.shape, data["clean"].shape[1:]
    zero, device = model.config.max_positions, rows.device
    cos_table, sin_table = model.angles(torch.promote_types(model.dtype, torch.float32))
    i = torch.arange(N, device=device)
    pos = torch.stack((i, -i)).repeat_interleave(B, 0) + zero  # [2B, N]
    cos, sin = cos_table[pos], sin_table[pos]
    turn = start + T - end + lengths[:, None] - 1 + zero  # [B, M]
    backward, order = reversal(lengths, N)
    x = torch.cat(
        (
            model.input_states(rows, data["prefix_hints"], PREFIX),
            model.input_states(rows.gather(1, backward), data["suffix_hints"], SUFFIX),
        )
    )
    keys, values = [], []
    for block in model.layers:
        q, k, v = project(x, block.qkv, cos, sin, model.split)
        (near_k, far_k), (near_v, far_v) = k.chunk(2), v.chunk(2)
        far_k, far_v = backwards(far_k, order), backwards(far_v, order)
        own = k.new_empty(B, M, T, *k.shape[2:])
        keys.append(gather_keys(near_k, far_k, own, start, cos_table[turn], sin_table[turn]))
        values.append(gather_values(near_v, far_v, own, start))
        x = mlp(x, causal_attention_fused(q, k, v), block.out, block.up, block.down)
    slot = start[..., None] + torch.arange(T, device=device)
    return EncodedRows(keys, values, slot + zero, start, end, lengths, data["canvas_hints"])


@torch.no_grad()
def canvas_states(model: TwoSidedNetwork, sides: EncodedRows, noisy: Tensor) -> Tensor:
    """The canvases of `training_pass`: noisy [B, M, T] -> final hidden states [B, M, T, D]."""
    T = noisy.shape[2]
    cos_table, sin_table = model.angles(torch.promote_types(model.dtype, torch.float32))
    cos, sin = cos_table[sides.pos], sin_table[sides.pos]
    x = model.input_states(noisy, sides.hints, CANVAS)
    for block, keys, values in zip(model.layers, sides.keys, sides.values, strict=True):
        q, keys[:, :, -T:], values[:, :, -T:] = project(x, block.qkv, cos, sin, model.split)
        attended = canvas_attention_fused(q, keys, values, sides.start, sides.end, sides.lengths)
        x = mlp(x, attended, block.out, block.up, block.down)
    return norm(x)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A batch's canvases from nothing decided to the end, all [B, M, T] but the last.

    states   what stood in them before each step, MASK where nothing was decided
    final    what the model says
    best     its first choice at the last step at which a cell was open, and what it was sure of:
    entropy  nats
    hidden   [B, M, T, D], its final hidden state there
    """

    states: list[Tensor]
    final: Tensor
    best: Tensor
    entropy: Tensor
    hidden: Tensor


def forbidden(model: TwoSidedNetwork) -> Tensor:
    """[V], -inf for what is never an answer: special tokens, but for END."""
    marks = torch.zeros(model.config.vocab_size, device=model.device)
    marks[:FIRST_LEARNED] = -torch.inf
    marks[END] = 0.0
    return marks


class Decoder:
    """Steps over all canvases of a batch for the engine's loop, and keeps every state."""

    def __init__(self, model: TwoSidedNetwork, shape: torch.Size) -> None:
        self.model, self.shape = model, shape
        self.states: list[Tensor] = []
        self.best = torch.full(shape, MASK, device=model.device)
        self.entropy = torch.zeros(shape, device=model.device)
        self.hidden = torch.zeros(*shape, model.config.d_model, device=model.device).to(model.dtype)
        self.forbidden = forbidden(model)

    def step(
        self,
        canvas: Canvas,
        memory: EncodedRows,
        state: None,
        *,
        temperature: float,
        generator: Any,
    ) -> tuple[RowStatistics, None]:
        noisy = canvas.token_ids.view(self.shape)
        self.states.append(noisy)
        hidden = canvas_states(self.model, memory, noisy)
        # A canvas without open cells is done: its own tokens, and no doubt.
        going = (noisy == MASK).any(-1)
        best, entropy = noisy.clone(), torch.zeros_like(self.entropy)
        confidence = torch.ones_like(entropy)
        parts = [
            row_statistics(
                self.model.logits(part).float() + self.forbidden,
                temperature=temperature,
                generator=generator,
            )
            for part in hidden[going].flatten(0, 1).split(CHUNK)
        ]
        for whole, name in ((best, "best"), (entropy, "entropy"), (confidence, "confidence")):
            if parts:
                found = torch.cat([getattr(part, name) for part in parts])
                whole[going] = found.view(-1, self.shape[2])
        open_cells = noisy == MASK
        self.best = torch.where(open_cells, best, self.best)
        self.entropy = torch.where(open_cells, entropy, self.entropy)
        self.hidden = torch.where(open_cells[..., None], hidden, self.hidden)
        flat = (best.flatten(0, 1), entropy.flatten(0, 1), confidence.flatten(0, 1))
        return RowStatistics(
            entropy=flat[1], best=flat[0], sample=flat[0], confidence=flat[2]
        ), None


@torch.no_grad()
def decode(model: TwoSidedNetwork, data: Mapping[str, Tensor], steps: int) -> Decoded:
    """Decodes the canvases of a batch as the engine does, around their pins."""
    clean, pinned = data["clean"], data["pinned"]
    edge = pinned & ~F.pad(pinned, (1, 0))[..., :-1]
    ends = torch.zeros(model.config.vocab_size, dtype=torch.bool, device=model.device)
    ends[END] = True
    canvas = Canvas(
        token_ids=torch.where(pinned, clean, MASK).flatten(0, 1),
        hole=torch.where(pinned, PINNED, edge.cumsum(-1)).flatten(0, 1),
        ends=ends,
        end_id=END,
    )
    decoder = Decoder(model, clean.shape)
    config = DenoiseConfig(
        max_denoising_steps=steps,
        noise=Absorbing(mask_id=MASK),
        sampler=EntropyBound(bound=BOUND),
        schedule=Constant(0.0),
        early_stop=Chained((Decided(), TokenStability())),
    )
    generator = torch.Generator(model.device)
    *_, last = denoise(canvas, decoder, encode_rows(model, data), config, generator=generator)
    return Decoded(
        states=decoder.states,
        final=last.token_ids.clone().view(clean.shape),
        best=decoder.best,
        entropy=decoder.entropy,
        hidden=decoder.hidden,
    )
