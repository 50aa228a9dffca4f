"""Trains the autoregressive baseline as the two-sided model is: shards, optimisers, accounting.

    PYTHONPATH=engine:kernels python -m train.ar_baseline --out artifacts/ar-baseline --minutes 30

A row is one window in the baseline's reading order (suffix, prefix, middle, end), or, for a part of
the rows, the window as it stands. Every token is predicted; those of the middle and its end weigh
more. Logs JSON lines to OUT/log.jsonl and resumes from OUT/checkpoint.pt, as `train.train` does;
when the clock has run out, the averaged weights are written to TARGET/ar-baseline.safetensors
(TARGET is OUT unless given), which the benchmarks load by its path, and from a person's data folder
as "ar-baseline".
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.ar_baseline.engine import NAME
from benchmarks.ar_baseline.files import FILE
from benchmarks.ar_baseline.reading import ContextCache, in_reading_order, states
from benchmarks.ar_baseline.writing import Rules, write
from infill_engine.denoiser import Sides
from infill_engine.models.two_sided.config import PREFIX, TwoSidedConfig
from infill_engine.models.two_sided.induction import stream_induction_hints
from infill_engine.models.two_sided.network import TwoSidedNetwork
from infill_engine.models.two_sided.plain import of_module
from infill_engine.models.two_sided.training_pass import TrainingOps
from infill_engine.tokenizer import BOS, END, EOS, FIRST_LEARNED, FIRST_TAG, PAD
from infill_ls.cli.files import new_folder
from train import batches, checkpoint
from train import train as two_sided
from train.batches import BatchShape, Floats, Ints
from train.config import TrainConfig, add_options, chosen, shards_folder
from train.export import write_weights
from train.objective import FusedHead, Losses, Objective, weighted_mean
from train.validation import tail_holes
from train.windows import ShardSet, window_spans

# Of a middle's tokens, and of its end, in the loss; any other token counts 1.
MIDDLE_WEIGHT = 4.0
PLAIN = 0.1  # of the rows stay as they are


# `tokens` are positions a step. `canvas` bounds the spans as it does for canvases; short rows are
# there for their ends, of which a row has one.
DEFAULTS = TrainConfig(
    tokens=10_240,
    shapes=(
        BatchShape(row=128, canvas=16, share=0.30),
        BatchShape(row=256, canvas=16, share=0.20),
        BatchShape(row=256, canvas=32, share=0.10),
        BatchShape(row=512, canvas=16, share=0.18),
        BatchShape(row=512, canvas=64, share=0.12),
        BatchShape(row=1024, canvas=32, share=0.10),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineBatch:
    """B rows of N tokens. Weights are 0 where nothing is predicted."""

    rows: Ints  # [B, N]
    hints: Ints  # [B, N, 4]
    cursor: Ints  # [B], the last token before the middle; N where there is none
    weight: Floats  # [B, N], of the token after each
    middle: Floats  # [B, N], 1 where that token is of a middle or ends it
    lengths: Ints  # [B], without padding


def laid_out(rows: list[tuple[list[int], int]], size: int) -> BaselineBatch:
    """A batch of (ids, cursor) pairs, padded to `size` tokens; a cursor past the ids is none."""
    B = len(rows)
    ids, hints = np.full((B, size), PAD, np.int64), np.zeros((B, size, 4), np.int64)
    cursor = np.full(B, size, np.int64)
    weight, middle = np.zeros((B, size), np.float32), np.zeros((B, size), np.float32)
    for b, (row, at) in enumerate(rows):
        n = len(row)
        ids[b, :n], hints[b, :n, :2] = row, stream_induction_hints(row)
        weight[b, : n - 1] = 1.0
        if at < n:
            cursor[b] = at
            middle[b, at : n - 1] = 1.0
            weight[b, at : n - 1] = MIDDLE_WEIGHT
    lengths = np.array([len(row) for row, _ in rows], np.int64)
    return BaselineBatch(
        rows=ids, hints=hints, cursor=cursor, weight=weight, middle=middle, lengths=lengths
    )


def opened(ids: list[int], tag: int, start: int, end: int) -> tuple[list[int], int]:
    """A window with the hole [start, end), in reading order: its row and its cursor."""
    sides = Sides(prefix_ids=(BOS, tag, *ids[:start]), suffix_ids=(*ids[end:], EOS))
    before = in_reading_order(sides)
    return [*before, *ids[start:end], END], len(before) - 1


def batch(
    shards: ShardSet,
    rng: np.random.Generator,
    *,
    tokens: int,
    shape: BatchShape,
    vocab_size: int = 0,
) -> BaselineBatch:
    """A batch of about `tokens` positions, one window a row; nothing is drawn from `vocab_size`."""
    rows = []
    for _ in range(max(1, tokens // shape.row)):
        # One more than the window's own sentinels: the end of the middle.
        shard, language, low, high, early = shards.window(rng, shape.row - 1)
        ids, tag = shard.tokens[low:high].tolist(), FIRST_TAG + language
        if rng.random() < PLAIN:
            rows.append(([BOS, tag, EOS, *ids], shape.row))
            continue
        spans = window_spans(shard, low, high, early, rng, 2, shape.canvas)
        start, end = spans[int(rng.integers(2))]
        rows.append(opened(ids, tag, start - low, end - low))
    return laid_out(rows, shape.row)


def losses(
    model: TwoSidedNetwork, data: Mapping[str, Tensor], *, dtype: torch.dtype, ops: TrainingOps
) -> Losses:
    """`data` are a batch's tensors on the model's device; the end counts as one of the middle."""
    rows, weight, middle = data["rows"], data["weight"].flatten(), data["middle"].flatten()
    hidden = states(model, rows, data["cursor"], data["hints"], dtype=dtype, ops=ops)  # [B, N, D]
    total, each = FusedHead.apply(  # type: ignore[no-untyped-call]
        hidden.flatten(0, 1), model.embed, rows.roll(-1, 1).flatten(), weight / weight.sum()
    )
    context = (weight > 0).float() - middle
    parts = {
        "middle": weighted_mean(each, middle),
        "context": weighted_mean(each, context),
    }
    return Losses(total, parts, hidden, rows.numel())


@torch.no_grad()
def validate(
    model: TwoSidedNetwork, shards: ShardSet, config: TrainConfig, steps: int = 2, holes: int = 4
) -> dict[str, float]:
    """Nats per token on the windows and the first spans of the two-sided model's validation."""
    rng = np.random.default_rng(1234)
    size, canvas = (512, 32) if config.tokens >= 512 else (128, 16)
    sums: dict[str, list[float]] = defaultdict(list)
    for _ in range(steps):
        data = batches.batch(
            shards,
            rng,
            tokens=min(8192, config.tokens),
            shape=BatchShape(row=size, canvas=canvas, share=1.0),
            vocab_size=model.config.vocab_size,
        )
        for m in range(min(holes, data.start.shape[1])):
            rows = [
                opened(row[2 : n - 1].tolist(), int(row[1]), int(a) - 2, int(z) - 2)
                for row, n, a, z in zip(
                    data.rows, data.lengths, data.start[:, m], data.end[:, m], strict=True
                )
            ]
            dtype = getattr(torch, config.dtype)
            found = {
                name: each.to(model.device)
                for name, each in batches.tensors(laid_out(rows, size + 1)).items()
            }
            parts = losses(model, found, dtype=dtype, ops=TrainingOps()).parts
            for name, value in parts.items():
                sums[name].append(float(value))
    return {name: round(sum(values) / len(values), 4) for name, values in sums.items()}


def exact_match(model: TwoSidedNetwork, shards: ShardSet, count: int) -> dict[str, float]:
    """Greedy rest-of-line infill of `tail_holes`, 16 tokens at most."""
    right = tried = 0
    forbidden = torch.zeros(model.config.vocab_size)
    forbidden[:FIRST_LEARNED] = -torch.inf
    forbidden[END] = 0.0
    ends = torch.arange(model.config.vocab_size) == END
    network = of_module(model)
    rules = Rules(
        forbidden=forbidden,
        ends=ends,
        breaks=[0] * model.config.vocab_size,
        most=16,
    )
    for prefix, middle, suffix in tail_holes(shards, count):
        sides = Sides(prefix_ids=tuple(prefix), suffix_ids=tuple(suffix))
        *_, found = write(network, ContextCache(network.cache(PREFIX)), sides, rules)
        tried += 1
        right += found.ids == middle
    return {"tail_exact": round(right / max(1, tried), 4), "tail_count": tried}


def objective(config: TrainConfig, ops: TrainingOps) -> Objective:
    dtype = getattr(torch, config.dtype)
    return lambda model, data, progress: losses(model, data, dtype=dtype, ops=ops)


AR_BASELINE = two_sided.Recipe(
    draw=batch, objective=objective, validate=validate, exact_match=exact_match
)


def train(
    model: TwoSidedNetwork,
    data: Path,
    out: Path,
    config: TrainConfig,
    *,
    weights: Path | None = None,
) -> dict[str, float]:
    """`train.train` of a baseline, which may start as the forward stream of two-sided `weights`."""
    return two_sided.train(model, data, out, config, weights=weights, recipe=AR_BASELINE)


def export(run: Path, target: Path) -> Path:
    """Writes the run's averaged weights, in half precision, to TARGET/ar-baseline.safetensors."""
    state = checkpoint.load(run / "checkpoint.pt")
    metadata = {
        "architecture": NAME,
        "config": TwoSidedConfig(**state["config"]).to_json(),
        "licence": "Apache-2.0",
        "date": state["date"],
        **{name: str(state[name]) for name in ("step", "seen", "positions", "seconds")},
    }
    arrays = {name: tensor.half().contiguous().numpy() for name, tensor in state["average"].items()}
    write_weights(target / FILE, arrays, metadata)
    return target / FILE


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.ar_baseline", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--data", type=shards_folder, default="data/shards")
    parser.add_argument("--out", type=new_folder, default="artifacts/ar-baseline")
    parser.add_argument("--target", type=Path, help="folder of the weights; OUT unless given")
    parser.add_argument("--weights", type=Path, help="start from two-sided weights")
    add_options(parser, TwoSidedConfig(), DEFAULTS)
    options = vars(parser.parse_args())
    network, config = chosen(options, TwoSidedConfig()), chosen(options, DEFAULTS)
    torch.manual_seed(config.seed)
    torch.set_num_threads(options["threads"])
    model = TwoSidedNetwork(network)
    final = train(model, options["data"], options["out"], config, weights=options["weights"])
    print(json.dumps(final))
    print(export(options["out"], options["target"] or options["out"]))


if __name__ == "__main__":
    main()
