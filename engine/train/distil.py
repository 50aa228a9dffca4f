"""Few-step self-distillation: the model learns to say in few steps what it says in many.

    PYTHONPATH=engine:kernels python -m train.distil --weights FILE --minutes 20

The weights' own averaged model is the teacher. It decodes a batch's canvases in a dozen
entropy-bound steps at temperature 0; the student learns from the states on the way, and from those
that its own first proposals lead to, wrong ones included: the truth everywhere, and where the
teacher was right and sure, the teacher's whole distribution at the moment it decided (SDTT,
2410.21035; dParallel, 2509.26488). Everything else is `train.train`'s: log, checkpoints, resuming,
export.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint as recomputed

from infill_engine.models.two_sided.network import TwoSidedNetwork, load_network
from infill_engine.models.two_sided.training_pass import TrainingOps
from infill_engine.models.two_sided.weights import read_weights
from infill_engine.tokenizer import END, MASK
from infill_ls.cli.files import new_folder
from train import checkpoint
from train.batches import VISIBLE_WEIGHT, BatchShape, batch, tensors
from train.config import TrainConfig, add_options, chosen, shards_folder
from train.decode import CHUNK, Decoded, decode, forbidden
from train.loader import shards_of
from train.objective import Losses, losses
from train.train import Recipe, train
from train.windows import ShardSet

PLAIN = 0.25  # of the canvases keep the noise they were drawn with
FIRST = 0.35  # of the teacher's states, those where nothing is decided yet
OWN = 0.5  # of the canvases seen before go on from the student's own proposals
STUDENT_STEPS = 4  # what the student's own steps are cut to
SURE = 0.5  # nats; of what the teacher decides with less entropy, the distribution is learned
STEPS = (1, 2, 3, 4, 6, 12)  # in which exact match is measured


def divergences(hidden: Tensor, embed: Tensor, other: Tensor, other_embed: Tensor) -> Tensor:
    """KL(own || other) of each cell, nats: hidden, other [n, D] -> [n]. Keeps no logits."""

    def part(own: Tensor, theirs: Tensor) -> Tensor:
        mine = F.linear(own, embed.to(own.dtype)).float().log_softmax(-1)
        reference = F.linear(theirs, other_embed).float().log_softmax(-1)
        return (mine.exp() * (mine - reference)).sum(-1)

    pairs = zip(hidden.split(CHUNK), other.split(CHUNK), strict=True)
    found = [recomputed(part, *pair, use_reentrant=False) for pair in pairs]
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
        self.own = self.with_proposals(student, found.hidden.detach(), noisy)
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
    def with_proposals(self, student: TwoSidedNetwork, hidden: Tensor, noisy: Tensor) -> Tensor:
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
    model: TwoSidedNetwork, shards: ShardSet, *, tokens: int, batches: int, shape: BatchShape
) -> dict[str, float]:
    """Share of canvases without pins that are exactly right when decoded in so many steps."""
    rng = np.random.default_rng(4321)
    right, count = dict.fromkeys(STEPS, 0), 0
    for _ in range(batches):
        vocab_size = model.config.vocab_size
        drawn = batch(shards, rng, tokens=tokens, shape=shape, vocab_size=vocab_size)
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
    train(student, data, out, config, weights=weights, recipe=Recipe(objective=objective))
    state = checkpoint.load(out / "checkpoint.pt", config.device)
    student.load_state_dict(state["average"])
    held_out = shards_of(data, network, "val.npz")
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
        prog="python -m train.distil", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--weights", type=Path, required=True, help="a *.safetensors file")
    parser.add_argument("--data", type=shards_folder, default="data/shards")
    parser.add_argument("--out", type=new_folder, default="artifacts/distil")
    parser.add_argument("--teacher-steps", type=int, default=12)
    parser.add_argument("--teacher-weight", type=float, default=0.5)
    parser.add_argument("--canvases", type=int, default=1024, help="to measure on, at the end")
    add_options(parser, DEFAULTS)
    options = vars(parser.parse_args())
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
