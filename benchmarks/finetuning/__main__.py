"""What fine-tuning for holes is worth: a small model before and after, on a repository of its own.

    python -m benchmarks.finetuning [--form FORM] [--steps N] [--limit N] [--out FOLDER]

The model has the form of DreamOn (`base`, 0.12 million weights) or of DiffusionGemma (`gemma_base`,
0.16 million, with experts) and knows one way to write things; LoRA beside it learns another by
`train.finetune`. Holes in lines of files that were kept are filled before and after by the engine,
which reads the adapter as `--adapter` does. DiffusionGemma's form fills a hole to the last cell
and knows no end: its holes have their own lengths, and beside that those that the engine tries
when an editor asks. The last line is JSON.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import report
from benchmarks.finetuning import repositories
from benchmarks.finetuning.gemma_pretraining import GEMMA_BASE
from benchmarks.finetuning.pretraining import BASE, TOKENS
from benchmarks.progress import say
from infill_engine import EngineConfig, InfillError, InfillRequest, load_engine
from infill_ls.cli.files import new_folder
from infill_ls.cli.machine import commit
from train.finetune import finetune, tuner_of
from train.recipe import Recipe, exact
from train.repository import Gap

SEED = 1
RECIPE = Recipe(
    steps=300, batch=8, tokens=TOKENS, rank=16, alpha=32.0, rate=1e-2, warmup=10, measured=0
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A small model, how it is tuned, and how long it may denoise a hole."""

    base: Path
    recipe: Recipe
    max_denoising_steps: int | None = None

    def config(self, adapter: Path | None = None) -> EngineConfig:
        return EngineConfig(
            model=str(self.base),
            adapter=None if adapter is None else str(adapter),
            threads=1,
            max_denoising_steps=self.max_denoising_steps,
        )


FORMS = {
    # Nobody waits for a model that does not know where to end.
    "masked_qwen2": Form(base=BASE, recipe=RECIPE, max_denoising_steps=48),
    "diffusion_gemma": Form(base=GEMMA_BASE, recipe=replace(RECIPE, steps=120, batch=4)),
}


def measure(
    form: Form, recipe: Recipe, limit: int, out: Path, unaided: bool = False
) -> dict[str, Any]:
    """Shares of holes, also of those whose length the engine chooses where it is `unaided`."""
    torch.set_num_threads(1)
    found = repositories.files(repositories.own, SEED)
    holes = repositories.kept_holes(found, SEED, limit)
    say(f"{len(found)} files, {len(holes)} holes to measure by")
    tuner = tuner_of(form.config(), recipe)
    ways: dict[str, Callable[[Gap], InfillRequest]] = {"": tuner.asked}
    if unaided:
        ways["unaided_"] = lambda gap: gap.request
    shares: dict[str, float] = {}

    def fill(when: str, adapter: Path | None) -> None:
        engine = load_engine(form.config(adapter))
        for way, asked in ways.items():
            right = exact(engine, holes, asked)
            shares[way + when] = right / len(holes)
            say(f"{way}{when}: {right} exact")

    fill("before", None)
    log = finetune(tuner, found, out, recipe, str(form.base), say=lambda _: None).log
    fill("after", out)
    return {
        "benchmark": "finetuning",
        "commit": commit(),
        "cases": len(holes),
        **shares,
        "losses": [round(line["loss"], 3) for line in log[1:]],
        "steps": recipe.steps,
        "seconds": log[-1]["seconds"],
    }


def show(result: Mapping[str, Any]) -> None:
    unaided = (
        f"\nof holes whose length the engine chooses, {result['unaided_before']:.1%} before and "
        f"{result['unaided_after']:.1%} after"
        if "unaided_after" in result
        else ""
    )
    print(
        f"\n{result['cases']} holes in lines of files that were kept, {result['form']}, commit "
        f"{result['commit']}\n"
        f"exact before  {result['before']:7.1%}\n"
        f"exact after   {result['after']:7.1%}  of {result['steps']} steps{unaided}\n"
        f"loss, nats    {' '.join(map(str, result['losses']))}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.finetuning", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--form", choices=FORMS, default="masked_qwen2")
    parser.add_argument("--steps", type=int, help="of fine-tuning")
    parser.add_argument("--limit", type=int, default=60, help="holes")
    parser.add_argument("--out", type=new_folder, help="keep the adapter in this folder")
    options = parser.parse_args()
    form = FORMS[options.form]
    steps = form.recipe.steps if options.steps is None else options.steps
    if min(steps, options.limit) < 1:
        parser.error("--steps and --limit are 1 or more")
    try:
        with tempfile.TemporaryDirectory() as folder:
            recipe = replace(form.recipe, steps=steps, every=max(1, steps // 5))
            result = measure(
                form,
                recipe,
                options.limit,
                options.out or Path(folder),
                unaided=form.base == GEMMA_BASE,
            )
        report.conclude({"form": options.form, **result}, show, [])
    except InfillError as error:
        raise SystemExit(f"benchmarks.finetuning: {error}") from None


if __name__ == "__main__":
    main()
