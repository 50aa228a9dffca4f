"""Few-step self-distillation: the model learns to say in few steps what it says in many.

    PYTHONPATH=engine:kernels python -m train.distil --weights FILE --minutes 20

The weights' own averaged model is the teacher. It decodes a batch's canvases in a dozen
entropy-bound steps at temperature 0; the student learns from the states on the way, and from those
that its own first guesses lead to, wrong ones included: the truth everywhere, and where the teacher
was right and sure, the teacher's whole distribution at the moment it decided (SDTT, 2410.21035;
dParallel, 2509.26488). Everything else is `train.train`: log, checkpoints, resuming, export.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from infill_engine.canvas import PINNED, Canvas
from infill_engine.denoise import DenoiseConfig, denoise
from infill_engine.early_stop import Chained, Decided, TokenStability
from infill_engine.models.two_sided.layers import CANVAS, PREFIX, SUFFIX, Block, mlp, norm, project
from infill_engine.models.two_sided.network import TwoSidedNetwork
from infill_engine.models.two_sided.training_pass import (
    TrainingOps,
    backwards,
    gather_keys,
    gather_values,
)
from infill_engine.models.two_sided.weights import load_network, read_weights
from infill_engine.noise import Absorbing
from infill_engine.sampler import EntropyBound
from infill_engine.schedule import Constant
from infill_engine.tokenizer import END, FIRST_LEARNED, MASK
from infill_kernels import RowStatistics, row_statistics
from train.batches import VISIBLE_WEIGHT, Corpus, Shape, batch, tensors
from train.fused import canvas_attention_fused, causal_attention_fused
from train.train import (
    Losses,
    Task,
    TrainConfig,
    add_options,
    chosen,
    line_breaks,
    losses,
    train,
)

CHUNK = 1024  # cells whose logits are kept at a time
BOUND = 0.3  # the engine's, in nats
PLAIN = 0.25  # of the canvases keep the noise they were drawn with
FIRST = 0.35  # of the teacher's states, those where nothing is decided yet
OWN = 0.5  # of the canvases seen before go on from the student's own proposals
STUDENT_STEPS = 4  # what the student's own steps are cut to
SURE = 0.5  # nats; of what the teacher decides with less entropy, the distribution is learned
STEPS = (1, 2, 3, 4, 6, 12)  # in which exact match is measured


@dataclass(frozen=True, slots=True)
class Read:
    """Both streams of a batch of rows, read once, for any number of passes over its canvases.

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


def layers(model: TwoSidedNetwork) -> list[Block]:
    return [block for block in model.blocks if isinstance(block, Block)]


@torch.no_grad()
def read_rows(model: TwoSidedNetwork, data: Mapping[str, Tensor]) -> Read:
    """The streams of `training_pass`, kept; in the model's own dtype."""
    rows, lengths, start, end = (data[name] for name in ("rows", "lengths", "start", "end"))
    (B, N), (M, T) = rows.shape, data["clean"].shape[1:]
    zero, device = model.config.max_positions, rows.device
    cos_table, sin_table = model.angles(torch.promote_types(model.dtype, torch.float32))
    i = torch.arange(N, device=device)
    pos = torch.stack((i, -i)).repeat_interleave(B, 0) + zero  # [2B, N]
    cos, sin = cos_table[pos], sin_table[pos]
    turn = start + T - end + lengths[:, None] - 1 + zero  # [B, M]
    backward = (lengths[:, None] - 1 - i) % N
    order = (backward + N * torch.arange(B, device=device)[:, None]).flatten()
    x = torch.cat(
        (
            model.input_states(rows, data["prefix_hints"], PREFIX),
            model.input_states(rows.gather(1, backward), data["suffix_hints"], SUFFIX),
        )
    )
    keys, values = [], []
    for block in layers(model):
        q, k, v = project(x, block.qkv, cos, sin, model.split)
        (near_k, far_k), (near_v, far_v) = k.chunk(2), v.chunk(2)
        far_k, far_v = backwards(far_k, order), backwards(far_v, order)
        own = k.new_empty(B, M, T, *k.shape[2:])
        keys.append(gather_keys(near_k, far_k, own, start, cos_table[turn], sin_table[turn]))
        values.append(gather_values(near_v, far_v, own, start))
        x = mlp(x, causal_attention_fused(q, k, v), block.out, block.up, block.down)
    slot = start[..., None] + torch.arange(T, device=device)
    return Read(keys, values, slot + zero, start, end, lengths, data["canvas_hints"])


@torch.no_grad()
def fill_rows(model: TwoSidedNetwork, sides: Read, noisy: Tensor) -> Tensor:
    """The canvases of `training_pass`: noisy [B, M, T] -> final hidden states [B, M, T, D]."""
    T = noisy.shape[2]
    cos_table, sin_table = model.angles(torch.promote_types(model.dtype, torch.float32))
    cos, sin = cos_table[sides.pos], sin_table[sides.pos]
    x = model.input_states(noisy, sides.hints, CANVAS)
    for block, keys, values in zip(layers(model), sides.keys, sides.values, strict=True):
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
    hidden   [B, M, T, D], its state of mind there
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
    """Steps over all canvases of a batch for the engine's loop, and keeps what it saw."""

    def __init__(self, model: TwoSidedNetwork, shape: torch.Size) -> None:
        self.model, self.shape = model, shape
        self.states: list[Tensor] = []
        self.best = torch.full(shape, MASK, device=model.device)
        self.entropy = torch.zeros(shape, device=model.device)
        self.hidden = torch.zeros(*shape, model.config.d_model, device=model.device).to(model.dtype)
        self.forbidden = forbidden(model)

    def step(
        self, canvas: Canvas, memory: Read, state: None, *, temperature: float, generator: Any
    ) -> tuple[RowStatistics, None]:
        noisy = canvas.token_ids.view(self.shape)
        self.states.append(noisy)
        hidden = fill_rows(self.model, memory, noisy)
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
    *_, last = denoise(canvas, decoder, read_rows(model, data), config, generator=generator)
    return Decoded(
        states=decoder.states,
        final=last.token_ids.clone().view(clean.shape),
        best=decoder.best,
        entropy=decoder.entropy,
        hidden=decoder.hidden,
    )


def divergences(hidden: Tensor, embed: Tensor, other: Tensor, other_embed: Tensor) -> Tensor:
    """KL(own || other) of each cell, nats: hidden, other [n, D] -> [n]. Keeps no logits."""

    def part(own: Tensor, theirs: Tensor) -> Tensor:
        mine = F.linear(own, embed.to(own.dtype)).float().log_softmax(-1)
        reference = F.linear(theirs, other_embed).float().log_softmax(-1)
        return (mine.exp() * (mine - reference)).sum(-1)

    pairs = zip(hidden.split(CHUNK), other.split(CHUNK), strict=True)
    found = [checkpoint(part, *pair, use_reentrant=False) for pair in pairs]
    return torch.cat([hidden.new_zeros(0, dtype=torch.float32), *found])


class Distillation:
    """The objective of `train`: a batch comes several times, and is decoded at the first."""

    def __init__(
        self,
        teacher: TwoSidedNetwork,
        config: TrainConfig,
        *,
        steps: int,
        weight: float,
        ops: TrainingOps,
    ) -> None:
        self.teacher, self.config, self.steps, self.weight = teacher, config, steps, weight
        self.ops = ops
        self.draw = torch.Generator(teacher.device).manual_seed(config.seed)
        self.data: Mapping[str, Tensor] = {}
        self.decoded: Decoded
        self.own: Tensor | None = None  # [B, M, T], where the student's last step has led

    def __call__(
        self, student: TwoSidedNetwork, data: Mapping[str, Tensor], progress: float
    ) -> Losses:
        """progress is 0 to 1 of the clock."""
        if data is not self.data:
            self.data, self.own = data, None
            self.decoded = decode(self.teacher, data, self.steps)
        noisy = self.states(data)
        clean, pinned = data["clean"], data["pinned"]
        masked = noisy == MASK
        hidden = (masked | (noisy != clean)) & ~pinned
        ends = hidden & (clean == END)
        share = torch.where(ends, 1.0 / ends.sum(-1, keepdim=True).clamp_min(1), 1.0)
        visible = torch.where((clean == END) | pinned, 0.0, VISIBLE_WEIGHT)
        weight = torch.where(hidden, share, visible)
        found = losses(
            student,
            {
                **data,
                "noisy": noisy,
                "weight": weight,
                "all_mask": (masked | pinned).all(-1),
            },
            stream_weight=max(self.config.stream_weight),
            dtype=getattr(torch, self.config.dtype),
            ops=self.ops,
        )
        decoded = self.decoded
        sure = hidden & (decoded.best == clean) & (decoded.entropy < SURE)
        each = divergences(
            found.hidden[sure], student.embed, decoded.hidden[sure], self.teacher.embed
        )
        divergence = (each * weight[sure]).sum() / weight.sum()
        self.own = self.guessed(student, found.hidden.detach(), noisy)
        right = (decoded.final == clean).all(-1)
        return replace(
            found,
            total=found.total + self.weight * divergence,
            parts=found.parts
            | {
                "divergence": divergence.detach(),
                "sure": sure.sum() / hidden.sum().clamp_min(1),
                "teacher_exact": right.float().mean(),
            },
        )

    def states(self, data: Mapping[str, Tensor]) -> Tensor:
        """What the student is shown of each canvas: [B, M, T]."""
        states = torch.stack(self.decoded.states)  # [S, B, M, T]
        shape, device = states.shape[1:3], states.device

        def uniform() -> Tensor:
            return torch.rand(shape, generator=self.draw, device=device)

        going = (states == MASK).any(-1).sum(0)  # [B, M], steps until all was decided
        at = torch.where(uniform() < FIRST, 0, (uniform() * going).long())
        noisy = states.gather(0, at[None, ..., None].expand_as(states[:1]))[0]
        if self.own is not None:
            go_on = (uniform() < OWN) & (self.own == MASK).any(-1)
            noisy = torch.where(go_on[..., None], self.own, noisy)
        return torch.where((uniform() < PLAIN)[..., None], data["noisy"], noisy)

    @torch.no_grad()
    def guessed(self, student: TwoSidedNetwork, hidden: Tensor, noisy: Tensor) -> Tensor:
        """The canvases after the student's surest proposals, right or wrong: [B, M, T]."""
        open_cells = noisy == MASK
        best, sure = torch.zeros_like(noisy), torch.zeros(noisy.shape, device=noisy.device)
        embed, never = student.embed.to(hidden.dtype), forbidden(student)
        parts = [
            (F.linear(part, embed).float() + never).log_softmax(-1).max(-1)
            for part in hidden[open_cells].split(CHUNK)
        ]
        if parts:
            best[open_cells] = torch.cat([part.indices for part in parts])
            sure[open_cells] = torch.cat([part.values for part in parts]).exp()
        quota = -(-noisy.shape[-1] // STUDENT_STEPS)
        least = torch.where(open_cells, sure, -1.0).topk(quota).values[..., -1:]
        return torch.where(open_cells & (sure >= least), best, noisy)


def exact_by_steps(
    model: TwoSidedNetwork, corpus: Corpus, *, tokens: int, batches: int, shape: Shape
) -> dict[str, float]:
    """Share of canvases without pins that are exactly right when decoded in so many steps."""
    rng = np.random.default_rng(4321)
    right, count = dict.fromkeys(STEPS, 0), 0
    for _ in range(batches):
        vocab_size = model.config.vocab_size
        drawn = batch(corpus, rng, tokens=tokens, shape=shape, vocab_size=vocab_size)
        data = {name: each.to(model.device) for name, each in tensors(drawn).items()}
        whole = ~data["pinned"].any(-1)
        count += int(whole.sum())
        for steps in STEPS:
            final = decode(model, data, steps).final
            right[steps] += int((final == data["clean"]).all(-1)[whole].sum())
    return {str(steps): round(right[steps] / max(1, count), 4) for steps in STEPS} | {
        "canvases": count
    }


def distil(
    weights: Path,
    data: Path,
    out: Path,
    config: TrainConfig,
    *,
    steps: int = 12,
    weight: float = 0.5,
    canvases: int = 1024,
) -> dict[str, Any]:
    """Trains on from `weights`; returns exact match by steps, before and after.

    steps is how many the teacher takes, weight that of its distributions in the loss.
    """
    network, _, _ = read_weights(weights)
    dtype = getattr(torch, config.dtype)
    teacher = load_network(weights, dtype=dtype, device=config.device)

    def objective(config: TrainConfig, ops: TrainingOps) -> Distillation:
        return Distillation(teacher, config, steps=steps, weight=weight, ops=ops)

    student = TwoSidedNetwork(network)
    train(student, data, out, config, weights=weights, task=Task(objective=objective))
    state = torch.load(out / "checkpoint.pt", map_location=config.device, weights_only=True)
    student.load_state_dict(state["average"])
    held_out = Corpus([data / "val.npz"], line_breaks(data, network.vocab_size), teacher.table)
    shape = config.shapes[0]
    batches = -(-canvases // (config.tokens // shape.canvas))
    found = {}
    for name, model in (("before", teacher), ("after", student.to(dtype))):
        found[name] = exact_by_steps(
            model, held_out, tokens=config.tokens, batches=batches, shape=shape
        )
    with (out / "log.jsonl").open("a") as log:
        log.write(json.dumps({"event": "steps", **found}) + "\n")
    return found


# A run of its own starts where another one ended: small rates that fall from the first step on.
DEFAULTS = TrainConfig(
    minutes=20.0,
    muon_lr=0.004,
    adam_lr=6e-4,
    warmup_steps=20,
    decay=1.0,
    stream_weight=(0.3, 0.3),
    repeats=4,
    val_infills=0,
)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="train.distil", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--weights", type=Path, required=True, help="a *.safetensors file")
    parser.add_argument("--data", type=Path, default=Path("data/shards"))
    parser.add_argument("--out", type=Path, default=Path("artifacts/distil"))
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--teacher-steps", type=int, default=12)
    parser.add_argument("--teacher-weight", type=float, default=0.5)
    parser.add_argument("--canvases", type=int, default=1024, help="to measure on, at the end")
    add_options(parser, DEFAULTS)
    options = vars(parser.parse_args())
    if options["threads"]:
        torch.set_num_threads(options["threads"])
    found = distil(
        options["weights"],
        options["data"],
        options["out"],
        chosen(options, DEFAULTS),
        steps=options["teacher_steps"],
        weight=options["teacher_weight"],
        canvases=options["canvases"],
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
