"""What fine-tuning for holes is worth: a small model before and after, on a repository of its own.

    python -m benchmarks.finetuning [--steps N] [--limit N] [--out FOLDER]

The model (`base`, 0.12 million weights of DreamOn's form) knows one way to write things; LoRA
beside it learns another by `train.finetune`. Holes in lines of files that were kept are filled
before and after by the engine, as an editor asks for them; the adapter is read as `--adapter`
reads it. The last line is JSON.
"""

import argparse
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import report
from benchmarks.finetuning import repositories
from benchmarks.finetuning.pretraining import BASE, TOKENS
from benchmarks.progress import say
from infill_engine import EngineConfig, InfillError, load_engine
from infill_engine.models.masked_qwen2.denoiser import load_masked_qwen2
from infill_ls.cli.machine import commit
from train.finetune import MaskedTuner, finetune
from train.recipe import Recipe
from train.repository import Gap, Source, of_file, sources

SEED = 1
HOLES_A_FILE, DRAWS = 3, 4
# Nobody waits for a model that does not know where to end.
MOST_STEPS = 48
RECIPE = Recipe(
    steps=300, batch=8, tokens=TOKENS, rank=16, alpha=32.0, rate=1e-2, warmup=10, measured=0
)


def config(adapter: Path | None = None) -> EngineConfig:
    return EngineConfig(
        model=str(BASE),
        adapter=None if adapter is None else str(adapter),
        threads=1,
        max_denoising_steps=MOST_STEPS,
    )


def kept_holes(found: Sequence[Source], most: int) -> list[Gap]:
    """Within lines, as one types, of files that nothing is learned from."""
    rng = random.Random(SEED)
    kept = [each for each in found if each.held_out] * DRAWS
    holes = dict.fromkeys(gap for each in kept for gap in of_file(each, rng, HOLES_A_FILE))
    within = [gap for gap in holes if "\n" not in gap.middle]
    return rng.sample(within, min(most, len(within)))


def exact(adapter: Path | None, holes: Sequence[Gap]) -> int:
    """How many holes the engine fills as they were."""
    engine = load_engine(config(adapter))
    right = 0
    for gap in holes:
        drafts = [*engine.infill(gap.request)]
        right += bool(drafts) and drafts[-1].text == gap.middle
        engine.forget()
    return right


def measure(recipe: Recipe, limit: int, out: Path) -> dict[str, Any]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found, _ = sources(repositories.write(Path(folder), repositories.own, SEED))
    holes = kept_holes(found, limit)
    say(f"{len(found)} files, {len(holes)} holes to measure by")
    before = exact(None, holes)
    say(f"before: {before} exact")
    tuner = MaskedTuner(load_masked_qwen2(config()), recipe)
    log = finetune(tuner, found, out, recipe, str(BASE), say=lambda _: None)
    after = exact(out, holes)
    say(f"after {recipe.steps} steps: {after} exact")
    return {
        "benchmark": "finetuning",
        "commit": commit(),
        "cases": len(holes),
        "before": before / len(holes),
        "after": after / len(holes),
        "losses": [round(line["loss"], 3) for line in log[1:]],
        "steps": recipe.steps,
        "seconds": log[-1]["seconds"],
    }


def show(result: Mapping[str, Any]) -> None:
    print(
        f"\n{result['cases']} holes in lines of files that were kept, commit {result['commit']}\n"
        f"exact before  {result['before']:7.1%}\n"
        f"exact after   {result['after']:7.1%}  of {result['steps']} steps\n"
        f"loss, nats    {' '.join(map(str, result['losses']))}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.finetuning", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--steps", type=int, default=RECIPE.steps)
    parser.add_argument("--limit", type=int, default=60, help="holes")
    parser.add_argument("--out", type=Path, help="keep the adapter in this folder")
    options = parser.parse_args()
    if min(options.steps, options.limit) < 1:
        parser.error("--steps and --limit are 1 or more")
    try:
        with tempfile.TemporaryDirectory() as folder:
            out = options.out or Path(folder)
            every = max(1, options.steps // 5)
            recipe = replace(RECIPE, steps=options.steps, every=every)
            result = measure(recipe, options.limit, out)
        report.conclude(result, show, [])
    except InfillError as error:
        raise SystemExit(f"benchmarks.finetuning: {error}") from None


if __name__ == "__main__":
    main()
