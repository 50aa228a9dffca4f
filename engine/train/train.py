"""Trains the two-sided model by wall clock: streams and canvases in one loss.

    PYTHONPATH=engine:kernels python -m train.train --out artifacts/run --minutes 85

The schedule follows active minutes, so a stopped process (SIGSTOP) loses nothing. Checkpoints are
written by rename and found again: the same command resumes. New shards in the folder are read while
it runs. Logs a JSON line at a time to OUT/log.jsonl. On a GPU nothing but logging waits for it.
"""

import argparse
import json
import math
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from infill_engine.models.two_sided.layers import PREFIX, SUFFIX, TwoSidedConfig
from infill_engine.models.two_sided.network import TwoSidedNetwork
from infill_engine.models.two_sided.ngram_table import NgramTable, from_tensors
from infill_engine.models.two_sided.training_pass import TrainingOps, training_pass
from infill_engine.models.two_sided.weights import read_weights
from infill_engine.tokenizer import BOS, END, EOS, FIRST_LEARNED, FIRST_TAG, MASK, Tokenizer
from train.batches import Batches, Corpus, Shape, batch, tensors
from train.fused import canvas_attention_fused, causal_attention_fused
from train.shards import num_tokens

PAUSE = 30.0  # seconds on a CPU; a step that took longer was stopped or compiled: it counts as this

BatchT = TypeVar("BatchT")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """What a run is; logged as it is."""

    minutes: float = 85.0
    tokens: int = 8192  # document tokens a step
    shapes: tuple[Shape, ...] = (
        # Longer canvases are mostly END on mostly short spans, so that they are drawn less often.
        Shape(row=256, canvas=16, share=0.36),
        Shape(row=256, canvas=32, share=0.10),
        Shape(row=512, canvas=16, share=0.28),
        Shape(row=512, canvas=32, share=0.08),
        Shape(row=512, canvas=64, share=0.08),
        Shape(row=1024, canvas=32, share=0.10),
    )
    muon_lr: float = 0.02
    muon_decay: float = 0.01
    adam_lr: float = 3e-3
    warmup_steps: int = 40
    decay: float = 0.6  # the last part of the run, to zero
    clip: float = 1.0
    ema: float = 0.99
    stream_weight: tuple[float, float] = (1.0, 0.3)  # falls over the first 40 %
    seed: int = 0
    device: str = "cpu"
    dtype: str = "bfloat16"
    compile: bool = True
    workers: int = 0  # processes that make batches; 0 is a thread
    repeats: int = 1  # how often in a row a batch is learned from
    checkpoint_minutes: float = 4.0
    val_minutes: float = 6.0
    infill_from: float = 0.55  # exact match is measured from this part of the run on
    val_infills: int = 200
    max_steps: int = 0  # for tests; 0 is no limit


# Losses


def _cross_entropy_and_gradient(
    logits: Tensor, target: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """logits [n, V], target, weight [n] -> loss [n] and weight * d loss / d logits [n, V]."""
    exact = logits.float()
    lse = exact.logsumexp(-1, keepdim=True)
    columns = torch.arange(logits.shape[-1], device=logits.device)
    hit = columns == target[:, None]
    grad = (((exact - lse).exp() - hit.float()) * weight[:, None]).to(logits.dtype)
    loss = lse[:, 0] - exact.gather(-1, target[:, None])[:, 0]
    return loss, grad


class FusedHead(torch.autograd.Function):
    """Head and cross-entropy in chunks: full logits are never kept, and are computed once."""

    chunk = 2048  # rows at a time; `compiled_ops` gives a GPU more
    kernel: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]] = staticmethod(
        _cross_entropy_and_gradient
    )

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, embed: Tensor, target: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """hidden [n, D], embed [V, D] -> the weighted sum of losses, and each loss [n]."""
        table = embed.to(hidden.dtype)
        grad_embed, grad_hidden = torch.zeros_like(embed), torch.empty_like(hidden)
        losses = []
        for at in range(0, len(hidden), FusedHead.chunk):
            rows = slice(at, at + FusedHead.chunk)
            part, grad = FusedHead.kernel(hidden[rows] @ table.T, target[rows], weight[rows])
            losses.append(part)
            grad_hidden[rows] = grad @ table
            grad_embed += grad.T @ hidden[rows]
        ctx.save_for_backward(grad_hidden, grad_embed)
        each = torch.cat(losses)
        ctx.mark_non_differentiable(each)
        return (each * weight).sum(), each

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_hidden, grad_embed = ctx.saved_tensors
        return grad_hidden * grad.to(grad_hidden.dtype), grad_embed * grad, None, None


@dataclass(frozen=True, slots=True)
class Losses:
    """The loss to descend, its parts in nats per token for the log, and the canvases' states.

    total      scalar
    parts      detached scalars, on the model's device
    hidden     [B, M, T, D]; of a network without canvases those of its rows
    positions  how many were computed
    """

    total: Tensor
    parts: dict[str, Tensor]
    hidden: Tensor
    positions: int


Objective = Callable[[TwoSidedNetwork, Mapping[str, Tensor], float], Losses]


def losses(
    model: TwoSidedNetwork,
    data: Mapping[str, Tensor],
    *,
    stream_weight: float,
    dtype: torch.dtype,
    ops: TrainingOps,
) -> Losses:
    """`data` are a Batch's tensors on the model's device."""
    rows, lengths, noisy, weight = (data[name] for name in ("rows", "lengths", "noisy", "weight"))
    prefix, suffix, canvas = training_pass(
        model,
        rows,
        data["start"],
        data["end"],
        noisy,
        lengths,
        hints=(data["prefix_hints"], data["suffix_hints"], data["canvas_hints"]),
        dtype=dtype,
        ops=ops,
    )
    i = torch.arange(rows.shape[1], device=rows.device)
    backward = rows.gather(1, (lengths[:, None] - 1 - i) % rows.shape[1])
    # The last token of a row predicts nothing; padding neither.
    known = (i < lengths[:, None] - 1).float()
    known = known / known.sum()
    hidden = torch.cat((prefix.flatten(0, 1), suffix.flatten(0, 1), canvas.flatten(0, 2)))
    targets = (rows.roll(-1, 1), backward.roll(-1, 1), data["clean"])
    cell = weight / weight.sum().clamp_min(1e-6)
    weights = torch.cat(
        (stream_weight * known.flatten(), stream_weight * known.flatten(), cell.flatten())
    )
    total, each = FusedHead.apply(  # type: ignore[no-untyped-call]
        hidden, model.embed, torch.cat([target.flatten() for target in targets]), weights
    )
    n = rows.numel()
    all_mask = data["all_mask"][..., None].expand_as(cell).float()

    def mean(values: Tensor, share: Tensor) -> Tensor:
        return (values.detach() * share).sum() / share.sum().clamp_min(1e-9)

    canvas_each = each[2 * n :]
    return Losses(
        total,
        {
            "canvas": mean(canvas_each, cell.flatten()),
            "canvas_all_mask": mean(canvas_each, (cell * all_mask).flatten()),
            "prefix": mean(each[:n], known.flatten()),
            "suffix": mean(each[n : 2 * n], known.flatten()),
        },
        canvas,
        2 * n + noisy.numel(),
    )


# Optimisers


def orthogonalised(update: Tensor) -> Tensor:  # [L, rows, columns]
    """Newton-Schulz: every singular value towards 1 (KellerJordan/Muon, coefficients as there)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = update.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT.contiguous() if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    found: Tensor = (x.mT if tall else x).to(update.dtype)
    return found


class Muon(torch.optim.Optimizer):
    """Momentum, Nesterov, orthogonalised; matrices of one shape are updated as a batch."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, decay: float) -> None:
        super().__init__(params, {"lr": lr, "decay": decay, "momentum": 0.95})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for param in group["params"]:
                alike[param.shape].append(param)
            for shape, params in alike.items():
                updates = []
                for param in params:
                    assert param.grad is not None, "every matrix takes part in every step"
                    state = self.state[param]
                    if "momentum" not in state:
                        state["momentum"] = torch.zeros_like(param.grad)
                    state["momentum"].lerp_(param.grad, 1 - group["momentum"])
                    updates.append(param.grad.lerp(state["momentum"], group["momentum"]))
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for param, update in zip(params, orthogonalised(torch.stack(updates)), strict=True):
                    param.mul_(1 - group["lr"] * group["decay"])
                    param.add_(update, alpha=-group["lr"] * scale)


def optimisers(model: TwoSidedNetwork, config: TrainConfig) -> list[torch.optim.Optimizer]:
    matrices = [model.induction, *(param for block in model.blocks for param in block.parameters())]
    if model.config.ngram_table:
        matrices.append(model.ngram)
    within = {id(param) for param in matrices}
    others = [param for param in model.parameters() if id(param) not in within]
    return [
        Muon(matrices, config.muon_lr, config.muon_decay),
        torch.optim.AdamW(others, config.adam_lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def rate(step: int, progress: float, config: TrainConfig) -> float:
    """Warm-up by steps, then constant, then linear to zero: `progress` is 0 to 1 of the clock."""
    warm = min(1.0, (step + 1) / config.warmup_steps)
    return warm * min(1.0, max(0.0, 1.0 - progress) / config.decay)


# Validation


@torch.no_grad()
def validate(
    model: TwoSidedNetwork, corpus: Corpus, config: TrainConfig, batches: int = 2
) -> dict[str, float]:
    """Losses on windows that are the same at every call, in nats per token."""
    tokens = min(config.tokens, 16_384)
    sums: dict[str, list[float]] = defaultdict(list)
    rng = np.random.default_rng(1234)
    dtype = getattr(torch, config.dtype)
    row, canvas = (512, 32) if tokens >= 512 else (128, 16)
    for _ in range(batches):
        data = batch(
            corpus,
            rng,
            tokens=tokens,
            shape=Shape(row=row, canvas=canvas, share=1.0),
            vocab_size=model.config.vocab_size,
        )
        for name, t in (("canvas_all_mask", 1.0), ("canvas_half", 0.5)):
            draw = np.random.default_rng(7).random(data.clean.shape)
            masked = draw < t
            ends = masked & (data.clean == END)
            share = np.where(ends, 1.0 / np.maximum(1, ends.sum(-1, keepdims=True)), 1.0)
            changed = replace(
                data,
                noisy=np.where(masked, MASK, data.clean),
                weight=np.where(masked, share, 0.0).astype(np.float32),
            )
            found = losses(
                model,
                {name: each.to(model.device) for name, each in tensors(changed).items()},
                stream_weight=0.0,
                dtype=dtype,
                ops=TrainingOps(),
            ).parts
            sums[name].append(float(found["canvas"]))
            for other in ("prefix", "suffix"):
                if t == 1.0:
                    sums[other].append(float(found[other]))
    return {name: round(sum(values) / len(values), 4) for name, values in sums.items()}


@torch.inference_mode()
def infill_greedily(
    model: TwoSidedNetwork, prefix: list[int], suffix: list[int], *, canvas: int = 16, most: int = 6
) -> list[int]:
    """The engine's policy in its simplest form: canvas of masks, the surest cells first.

    prefix and suffix are token ids in reading order, sentinels included.
    """
    before, after = model.cache(PREFIX), model.cache(SUFFIX)
    model.push(before, prefix)
    model.push(after, suffix[::-1])
    context = model.canvas_context(before, after, 1, canvas)
    ids = torch.full((canvas,), MASK, device=model.device)
    quota = -(-canvas // most)
    for _ in range(most):
        logits = model.logits(model.step(context, ids[None]))[0]
        special = torch.arange(FIRST_LEARNED, device=model.device)
        logits[:, special[special != END]] = -torch.inf
        sure, best = logits.softmax(-1).max(-1)
        open_cells = ids == MASK
        chosen = open_cells & (sure > 0.9)
        ranked = torch.where(open_cells, sure, -1.0).topk(quota).indices
        chosen[ranked] = open_cells[ranked]
        ids = torch.where(chosen, best, ids)
        ends = (ids == END).nonzero()
        if len(ends):
            ids[int(ends[0]) :] = END
        if not bool((ids == MASK).any()):
            break
    found: list[int] = ids.tolist()
    return found[: found.index(END)] if END in found else found


def tail_holes(corpus: Corpus, count: int) -> Iterator[tuple[list[int], list[int], list[int]]]:
    """Rests of lines, the same at every call: prefix, middle and suffix in token ids.

    Spans of kind 0 of at most 14 tokens, with 384 + 128 of context between sentinels.
    """
    rng = np.random.default_rng(99)
    tried = attempts = 0
    while tried < count and attempts < 100 * count:
        attempts += 1
        shard, index, low, high = corpus.draw(rng)
        a, z = np.searchsorted(shard.span_start, (low, high))
        tails = np.arange(a, z)[shard.span_kind[a:z] == 0]
        if len(tails) == 0:
            continue
        span = tails[rng.integers(len(tails))]
        first, last = int(shard.span_start[span]), int(shard.span_end[span])
        if not 1 <= last - first <= 14:
            continue
        tokens = shard.tokens
        language = FIRST_TAG + int(shard.doc_language[index])
        prefix = [BOS, language, *tokens[max(low, first - 384) : first].tolist()]
        suffix = [*tokens[last : min(high, last + 128)].tolist(), EOS]
        tried += 1
        yield prefix, tokens[first:last].tolist(), suffix


def exact_match(
    model: TwoSidedNetwork, corpus: Corpus, count: int, *, most: int = 6
) -> dict[str, float]:
    """Greedy infill of `tail_holes`."""
    right = tried = 0
    for prefix, middle, suffix in tail_holes(corpus, count):
        tried += 1
        right += infill_greedily(model, prefix, suffix, most=most) == middle
    return {"tail_exact": round(right / max(1, tried), 4), "tail_count": tried}


# The run


def ahead(source: Iterable[BatchT]) -> Iterator[BatchT]:
    """Batches made in a thread, two ahead."""
    ready: queue.Queue[BatchT | Exception] = queue.Queue(2)

    def work() -> None:
        try:
            for data in source:
                ready.put(data)
        except Exception as error:
            ready.put(error)

    threading.Thread(target=work, daemon=True).start()
    while True:
        item = ready.get()
        if isinstance(item, Exception):
            raise item
        yield item


def batches(source: Batches, config: TrainConfig) -> Iterator[tuple[Mapping[str, Tensor], int]]:
    """Batches on the device and their document tokens, each `config.repeats` times."""
    on_gpu = config.device != "cpu"
    loader = DataLoader(
        source,
        batch_size=None,
        num_workers=config.workers,
        multiprocessing_context="spawn" if config.workers else None,
        prefetch_factor=4 if config.workers else None,
        pin_memory=on_gpu,
    )
    for data in loader if config.workers else ahead(loader):
        moved = {name: each.to(config.device, non_blocking=True) for name, each in data.items()}
        tokens = int(data["lengths"].sum())
        for _ in range(config.repeats):
            yield moved, tokens


def compiled_ops(config: TrainConfig) -> TrainingOps:
    """The parts of a pass for the device: fused attention on a GPU, plain products on a CPU."""
    ops = TrainingOps()
    fused: dict[str, Any] = {}
    if config.device != "cpu":
        FusedHead.chunk = 16_384
        fused = {
            "causal_attention": causal_attention_fused,
            "canvas_attention": canvas_attention_fused,
        }
    if config.compile:
        torch._dynamo.config.cache_size_limit = 64
        FusedHead.kernel = staticmethod(torch.compile(_cross_entropy_and_gradient, dynamic=False))
        compiled: Any = [torch.compile(piece, dynamic=False) for piece in ops]
        ops = TrainingOps(*compiled)
    return ops._replace(**fused)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def by_losses(config: TrainConfig, ops: TrainingOps) -> Objective:
    """`losses`, of which the streams' share falls over the first 40 % of the clock."""
    high, low = config.stream_weight

    def descended(model: TwoSidedNetwork, data: Mapping[str, Tensor], progress: float) -> Losses:
        return losses(
            model,
            data,
            stream_weight=max(low, high - (high - low) * progress / 0.4),
            dtype=getattr(torch, config.dtype),
            ops=ops,
        )

    return descended


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a run learns and how it is measured; everything here is the two-sided model's."""

    draw: Callable[..., Any] = batch
    objective: Callable[[TrainConfig, TrainingOps], Objective] = by_losses
    validate: Callable[[TwoSidedNetwork, Corpus, TrainConfig], dict[str, float]] = validate
    exact_match: Callable[[TwoSidedNetwork, Corpus, int], dict[str, float]] = exact_match


TWO_SIDED = Task()


def train(
    model: TwoSidedNetwork,
    data: Path,
    out: Path,
    config: TrainConfig,
    *,
    weights: Path | None = None,
    task: Task = TWO_SIDED,
) -> dict[str, float]:
    """Runs until the clock or `max_steps` ends it; returns the last logged losses.

    Parameters that require no gradient stay as they are, and out of the gradient's norm.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    if config.device != "cpu":
        torch.set_float32_matmul_precision("high")
    model.to(config.device)
    breaks = line_breaks(data, model.config.vocab_size)
    paths = sorted(data.glob("train-*.npz"))
    table = beside(data) if model.config.ngram_table else None
    held_out = Corpus([data / "val.npz"], breaks, table)
    optimizers = optimisers(model, config)
    step, seconds, positions, seen = 0, 0.0, 0, 0
    checkpoint = out / "checkpoint.pt"
    if weights is not None and not checkpoint.exists():
        start_from(model, weights)
    used = {name: param for name, param in model.named_parameters() if param.requires_grad}
    average = {name: param.detach().clone() for name, param in model.named_parameters()}
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=config.device, weights_only=True)
        model.load_state_dict(state["model"])
        average = state["average"]
        # TrainingOps that were copied from another machine hold none.
        for optimizer, saved in zip(optimizers, state.get("optimizers", ()), strict=False):
            optimizer.load_state_dict(saved)
        step, seconds, positions, seen = (
            state["step"], state["seconds"], state["positions"], state["seen"]
        )  # fmt: skip

    log = (out / "log.jsonl").open("a", buffering=1)

    def write(**line: object) -> None:
        log.write(json.dumps(line) + "\n")

    def save() -> None:
        save_checkpoint(
            checkpoint,
            {
                "config": asdict(model.config),
                "model": model.state_dict(),
                "average": average,
                "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                "step": step,
                "seconds": seconds,
                "positions": positions,
                "seen": seen,
                "train_config": json.dumps(asdict(config)),
                "date": time.strftime("%Y-%m-%d", time.gmtime()),
            },
        )

    descend = task.objective(config, compiled_ops(config))
    source = Batches(
        data,
        breaks,
        shapes=config.shapes,
        tokens=config.tokens,
        vocab_size=model.config.vocab_size,
        seed=(config.seed, step),
        draw=task.draw,
        table=table,
    )
    write(
        event="start",
        step=step,
        model=asdict(model.config),
        parameters=sum(param.numel() for param in used.values()),
        config=asdict(config),
        weights=str(weights) if weights else None,
        shards=len(paths),
        unique_tokens=sum(map(num_tokens, paths)),
        date=time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
    )
    parameters = list(used.values())
    averages = [average[name] for name in used]
    recent: dict[str, list[Tensor]] = defaultdict(list)
    last_line: dict[str, float] = {}
    pause = PAUSE if config.device == "cpu" else math.inf  # on a GPU every second counts
    last_save = last_val = seconds
    window_start, window_positions = seconds, positions
    mark = time.monotonic()
    shadow = TwoSidedNetwork(model.config).to(config.device)

    def measure(infills: int) -> dict[str, float]:
        shadow.load_state_dict(average)
        found = task.validate(shadow, held_out, config)
        return found | (task.exact_match(shadow, held_out, infills) if infills else {})

    for data_batch, tokens in batches(source, config):
        progress = seconds / 60 / config.minutes
        if progress >= 1 or (config.max_steps and step >= config.max_steps):
            break
        found = descend(model, data_batch, progress)
        found.total.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(parameters, config.clip)
        factor = rate(step, progress, config)
        for optimizer, lr in zip(optimizers, (config.muon_lr, config.adam_lr), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = lr * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        with torch.no_grad():
            decay = min(config.ema, (1 + step) / (10 + step))
            torch._foreach_lerp_(averages, parameters, 1 - decay)
        seen += tokens
        positions += found.positions
        for name, value in found.parts.items():
            recent[name].append(value)
        recent["norm"].append(norm)
        now = time.monotonic()
        seconds += min(pause, now - mark)
        mark = now
        if step % 20 == 0 or step == config.max_steps:
            last_line = {
                name: float(torch.stack(each).float().mean()) for name, each in recent.items()
            }
            recent.clear()
            write(
                step=step,
                minutes=round(seconds / 60, 2),
                positions_per_s=round((positions - window_positions) / (seconds - window_start)),
                lr=round(factor, 4),
                tokens=seen,
                **{name: round(value, 4) for name, value in last_line.items()},
            )
            window_start, window_positions = seconds, positions
            if (now_there := sorted(data.glob("train-*.npz"))) != paths:
                paths = now_there
                unique = sum(map(num_tokens, paths))
                write(event="shards", shards=len(paths), unique_tokens=unique)
        if seconds - last_val >= 60 * config.val_minutes:
            infills = config.val_infills if progress >= config.infill_from else 0
            write(event="val", step=step, minutes=round(seconds / 60, 2), **measure(infills))
            last_val = seconds
        if seconds - last_save >= 60 * config.checkpoint_minutes:
            save()
            last_save = seconds
        # Validation and saving count, for the clock is the budget.
        now = time.monotonic()
        seconds += min(pause, now - mark)
        mark = now
    save()
    final = measure(config.val_infills)
    write(
        event="end",
        step=step,
        minutes=round(seconds / 60, 2),
        positions=positions,
        tokens=seen,
        **final,
    )
    return last_line | {f"val_{name}": value for name, value in final.items()}


def start_from(model: TwoSidedNetwork, weights: Path) -> None:
    """The weights of a file; what it does not say of an n-gram table stays as it is, fresh."""
    state = model.state_dict()
    given = {name: tensor.float() for name, tensor in read_weights(weights)[1].items()}
    missing = [name for name in state if name not in given and not name.startswith("ngram")]
    assert not missing, f"{weights} has no {', '.join(missing)}"
    model.load_state_dict({name: given.get(name, each) for name, each in state.items()})


def beside(data: Path) -> NgramTable:
    """The table in the folder of the shards' folder, as `train.ngram_table` leaves it."""
    return from_tensors(load_file(data.parent / "table.safetensors"))


def line_breaks(data: Path, vocab_size: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """[V], the tokens that hold a line break, by the tokenizer beside the shards or the shipped."""
    marks = np.zeros(vocab_size, np.bool_)
    beside = data.parent / "tokenizer.json"
    path = beside if beside.exists() else DEFAULT_TOKENIZER
    if path.exists():
        marks[[i for i in Tokenizer(path).line_breaks() if i < vocab_size]] = True
    return marks


WEIGHTS = Path(__file__).parent.parent / "infill_engine" / "weights"
DEFAULT_TOKENIZER = WEIGHTS / "tokenizer.json"


def shapes_of(text: str) -> tuple[Shape, ...]:
    """Of "512x16:0.7,1024x64:0.3", row length x canvas length : share."""
    found = []
    for part in text.split(","):
        lengths, share = part.split(":")
        row, canvas = lengths.split("x")
        found.append(Shape(row=int(row), canvas=int(canvas), share=float(share)))
    return tuple(found)


def add_options(parser: argparse.ArgumentParser, defaults: TrainConfig) -> None:
    """An option for each setting of a run; `chosen` reads them."""
    parser.add_argument("--shapes", type=shapes_of, help="such as 512x16:0.7,1024x64:0.3")
    for spec in fields(TrainConfig):
        name, default = f"--{spec.name.replace('_', '-')}", getattr(defaults, spec.name)
        if isinstance(default, bool):
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=default)
        elif isinstance(default, int | float | str):
            parser.add_argument(name, type=type(default), default=default)


def chosen(options: Mapping[str, Any], defaults: TrainConfig) -> TrainConfig:
    """The configuration that parsed options name."""
    named = {spec.name: options.get(spec.name) for spec in fields(TrainConfig)}
    return replace(defaults, **{name: each for name, each in named.items() if each is not None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/shards"))
    parser.add_argument("--out", type=Path, default=Path("artifacts/run"))
    parser.add_argument("--weights", type=Path, help="start from these weights (safetensors)")
    parser.add_argument("--threads", type=int, default=0)
    for spec in fields(TwoSidedConfig):
        name = f"--{spec.name.replace('_', '-')}"
        if isinstance(spec.default, bool):
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=spec.default)
        else:
            parser.add_argument(name, type=type(spec.default), default=spec.default)
    add_options(parser, TrainConfig())
    options = vars(parser.parse_args())
    if options["threads"]:
        torch.set_num_threads(options["threads"])

    network = TwoSidedConfig(**{spec.name: options[spec.name] for spec in fields(TwoSidedConfig)})
    config = chosen(options, TrainConfig())
    torch.manual_seed(config.seed)
    train(
        TwoSidedNetwork(network),
        options["data"],
        options["out"],
        config,
        weights=options["weights"],
    )


if __name__ == "__main__":
    main()
