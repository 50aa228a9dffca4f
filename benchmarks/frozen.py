"""What a masked model loses where text far from the hole is read once, and what a step gains.

    python -m benchmarks.frozen --model hub:Dream-org/DreamOn-v0-7B [--dtype int4] [--limit 50]

Lines of Python's standard library become holes; half of a hole's tokens stand there already, so
that far text that was read before it was filled is out of date. What is said of the other half is
compared with what is said where all text is read anew: how often the best token is the same, and
how far the distributions are apart (KL divergence, nats). The last line is JSON.
"""

import argparse
import random
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import get_args

import torch
from torch import Tensor

from infill_engine import EngineConfig, InfillRequest, ModelError
from infill_engine.config import Dtype
from infill_engine.models.checkpoint import kind_of
from infill_engine.models.hub import find_checkpoint
from infill_engine.models.masked_qwen2.denoiser import NEAR, MaskedQwen2, load_masked_qwen2
from infill_engine.models.masked_qwen2.stepping import Stepping
from infill_ls.cli.arguments import count
from infill_ls.cli.bench.report import as_line
from infill_ls.cli.machine import commit, this_machine

LEAST_CHARACTERS, MOST_CHARACTERS = 8, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Log-probabilities [C, V] of the cells that are still masked, and milliseconds of the pass."""

    log_probability: Tensor
    ms: float


def holes(seed: int) -> Iterator[tuple[InfillRequest, str]]:
    """Lines with all of their file around them, endlessly."""
    rng = random.Random(seed)
    files = sorted(Path(textwrap.__file__).parent.glob("*.py"))
    while True:
        text = rng.choice(files).read_text(encoding="utf-8")
        lines = text.split("\n")
        at = rng.randrange(len(lines))
        line = lines[at].strip()
        if LEAST_CHARACTERS <= len(line) <= MOST_CHARACTERS:
            start = sum(len(each) + 1 for each in lines[:at]) + lines[at].index(line)
            suffix = text[start + len(line) :]
            yield InfillRequest(prefix=text[:start], suffix=suffix, max_lines=1), line


@torch.inference_mode()
def said(denoiser: MaskedQwen2, request: InfillRequest, middle: str, near: int) -> Said:
    text, sides = denoiser.text, denoiser.sides(request)
    none = torch.zeros(denoiser.network.sizes.vocab_size, dtype=torch.bool)
    inner = Stepping(
        denoiser.network, none, mask=text.mask, absent=text.absent, expand=text.expand, near=near
    )
    memory = inner.encode(sides.prefix_ids, sides.suffix_ids)
    ids = denoiser.middle(middle, sides)
    masked = [at for at in range(len(ids)) if at % 2]
    cells = [text.mask if at % 2 else token for at, token in enumerate(ids)]
    row = torch.tensor([[*cells, *sides.suffix_ids[:near]]], device=denoiser.network.device)
    inner.read(memory, row)
    started = time.perf_counter()
    hidden, leads = inner.read(memory, row)
    logits = denoiser.network.logits(hidden[0, leads[0, masked]])
    found = logits.log_softmax(-1).cpu()
    return Said(log_probability=found, ms=1e3 * (time.perf_counter() - started))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.frozen", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--model", required=True, help="a folder of a masked Qwen2, or on the hub")
    parser.add_argument("--dtype", choices=get_args(Dtype), default="auto")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps or mlx (auto)")
    parser.add_argument("--adapter", help="a folder of what fine-tuning added")
    parser.add_argument("--limit", type=count, default=50, metavar="N", help="holes (50)")
    parser.add_argument(
        "--near", type=count, default=NEAR, metavar="N", help=f"tokens read anew a side ({NEAR})"
    )
    given = parser.parse_args(arguments)
    config = EngineConfig(
        model=given.model, dtype=given.dtype, device=given.device, adapter=given.adapter
    )
    try:
        if kind_of(find_checkpoint(given.model)) != "masked_qwen2":
            raise ModelError(f"{given.model} freezes nothing; name a masked Qwen2 such as DreamOn")
        denoiser = load_masked_qwen2(config)
    except ModelError as error:
        raise SystemExit(f"benchmarks.frozen: {error}") from None
    same: list[bool] = []
    apart: list[float] = []
    times: list[tuple[float, float]] = []
    cases = holes(seed=0)
    while len(times) < given.limit:
        request, middle = next(cases)
        frozen, whole = (said(denoiser, request, middle, near) for near in (given.near, 1_000_000))
        if not len(whole.log_probability):
            continue
        true, other = whole.log_probability, frozen.log_probability
        same += (true.argmax(-1) == other.argmax(-1)).tolist()
        apart += (true.exp() * (true - other)).sum(-1).tolist()
        times.append((frozen.ms, whole.ms))
    report = {
        "benchmark": "frozen",
        "model": given.model,
        "machine": str(this_machine()),
        "commit": commit(),
        "near": given.near,
        "cases": len(times),
        "same_best_token": sum(same) / len(same),
        "divergence": sum(apart) / len(apart),
        "ms_frozen": median(ms for ms, _ in times),
        "ms_whole": median(ms for _, ms in times),
    }
    print(
        f"same best token in {report['same_best_token']:.1%} of {len(same)} cells, "
        f"{report['divergence']:.4f} nats apart; a pass takes {report['ms_frozen']:.1f} ms in "
        f"place of {report['ms_whole']:.1f}"
    )
    print(as_line(report))


if __name__ == "__main__":
    main()
