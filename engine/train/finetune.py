"""Fine-tunes DiffusionGemma, DreamOn, Open-dCoder or their like on a folder of code, to fill holes.

    PYTHONPATH=.:engine:kernels python -m train.finetune --model hub:Dream-org/DreamOn-v0-7B \\
        --data ~/src/mine --out ~/mine-adapter --dtype int4
    infill-ls infill FILE:LINE:COL --model hub:Dream-org/DreamOn-v0-7B --dtype int4 \\
        --adapter ~/mine-adapter

Trains LoRA beside the matrices, which stay as they are, and of all but DiffusionGemma may have 4
bits. One file in ten is kept to measure by. Ctrl-C ends a run behind its step or measured hole, and
the same command goes on with it. `--plan` says what memory it takes, without `--model` that of the
published ones; `--export unsloth FILE` or `--export nemo FILE` writes the same holes for other
trainers.
"""

import argparse
import json
import math
import random
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import get_args

import torch

from infill_engine import EngineConfig, InfillError, ModelError
from infill_engine.config import HUB, Dtype
from infill_engine.models.adapter import Adapter, write_adapter
from infill_engine.models.checkpoint import kind_of
from infill_engine.models.hub import check_name, find_checkpoint
from infill_engine.models.masked_qwen2.denoiser import load_masked_qwen2
from infill_engine.models.placement import chosen_device
from infill_ls.cli.files import new_file, new_folder
from infill_ls.cli.machine import counted
from train import tuning_memory
from train.masked_tuning import MaskedTuner
from train.recipe import HELP, Recipe, Tuner
from train.repository import Source, export, gaps, of_file, sources
from train.stopping import never, stoppable
from train.tuning_state import STATE, Run, restore, save, standing

INTERRUPTED = 130
AT_LEAST_0 = ("measured", "seed")


def finetune(
    tuner: Tuner,
    found: Sequence[Source],
    out: Path,
    recipe: Recipe,
    model: str,
    say: Callable[[str], None] = print,
    stopped: Callable[[], bool] = never,
) -> Run:
    """Trains, or goes on with a run that stopped, and gives back how far it is.

    The adapter is written after every `recipe.every` steps, with what it takes to go on, and where
    `stopped` says so after a step; a measuring that it ends gives no line. Raises ModelError where
    there is nothing to learn from, the folder has another run, or the loss is no number any more.
    """
    learned = [each for each in found if not each.held_out]
    kept = [each for each in found if each.held_out] or learned
    if not learned:
        raise ModelError("no file is left to learn from; name a folder with more code")
    rng = random.Random(recipe.seed)
    measured = [gap for each in kept for gap in of_file(each, rng, 4)]
    measured = rng.sample(measured, min(recipe.measured, len(measured)))
    parameters = [each for pair in tuner.pairs.values() for each in pair]
    optimiser = torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=0.0)
    adapter = Adapter(rank=recipe.rank, scale=recipe.scale, pairs=tuner.pairs)
    out.mkdir(parents=True, exist_ok=True)
    run = standing(out, model, recipe)
    if run.step:
        restore(out, tuner, optimiser)
        say(f"{run.step:6} goes on from here")
    stream = islice(gaps(learned, recipe.seed), run.step * recipe.batch, None)
    started = time.monotonic() - run.seconds

    def write() -> None:
        run.seconds = round(time.monotonic() - started, 1)
        write_adapter(out, adapter, model)
        save(out, run, tuner, optimiser, model, recipe)

    while True:
        ends, logged = run.step == recipe.steps, run.log and run.log[-1]["step"] == run.step
        due = (run.step % recipe.every == 0 or ends) and not logged
        if due:
            write()  # to measure may take minutes
            line = {"step": float(run.step), "seconds": run.seconds}
            if run.losses:
                line["loss"] = sum(run.losses) / len(run.losses)
            if measured:
                exact = tuner.exact(measured, stopped)
                if exact is None:
                    return run  # as it was just written; the same command measures
                line["exact"] = exact
            run.log.append(line)
            run.losses = []
            say(_told(line))
            (out / "log.jsonl").write_text("".join(json.dumps(each) + "\n" for each in run.log))
        stops = ends or stopped()
        if due or stops:
            write()
        if ends:
            (out / STATE).unlink()
        if stops:
            return run
        share = min(1.0, (run.step + 1) / recipe.warmup) * (1 - run.step / recipe.steps)
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * share
        optimiser.zero_grad()
        try:
            loss = tuner.backward([*islice(stream, recipe.batch)])
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"out of memory at step {run.step + 1}; take fewer --tokens or a smaller --batch, "
                "and see --plan"
            ) from error
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, 1.0))
        if not math.isfinite(loss + norm):
            raise ModelError(_no_number(loss, norm, run.step, model))
        optimiser.step()
        run.losses.append(loss)
        run.step += 1


def _told(line: dict[str, float]) -> str:
    loss = f" loss {line['loss']:7.3f}" if "loss" in line else " " * 13
    exact = f"  exact {line['exact']:6.1%}" if "exact" in line else ""
    return f"{line['step']:6.0f}{loss}{exact}".rstrip()


def _no_number(loss: float, norm: float, step: int, model: str) -> str:
    where = f"the loss is {loss} and its gradient's norm {norm} at step {step + 1}"
    if step == 0:
        return (
            f"{where}, before anything is learned: {model} overflows in this dtype or is damaged; "
            "set --dtype float32, or download it again"
        )
    return f"{where}; take a lower --rate, with another --out"


def tuner_of(config: EngineConfig, recipe: Recipe) -> Tuner:
    if kind_of(find_checkpoint(config.model)) == "masked_qwen2":
        return MaskedTuner(load_masked_qwen2(config), recipe)
    from train.gemma_tuning import GemmaTuner

    return GemmaTuner(config, recipe)


def check_model(config: EngineConfig) -> None:
    """Raises ModelError where model or device cannot be had; nothing is read of weights, and
    nothing fetched."""
    check_name(config.model)
    here = not config.model.startswith(HUB)
    gemma = here and kind_of(find_checkpoint(config.model)) == "diffusion_gemma"
    chosen_device(config, mps=not gemma)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m train.finetune",
        description=(__doc__ or "").partition("\n")[0],
        epilog="A run takes --model, --data and --out, --export only --data, --plan nothing.",
    )
    made.add_argument("--model", help="a folder, or hub:OWNER/NAME")
    made.add_argument("--data", type=Path, metavar="DIR", help="the folder of code")
    made.add_argument("--out", type=new_folder, metavar="DIR", help="the adapter's folder")
    made.add_argument(
        "--dtype",
        choices=get_args(Dtype),
        default="auto",
        help="of the weights that stay (auto: as stored)",
    )
    made.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (auto)")
    made.add_argument("--plan", action="store_true", help="say what memory a run takes")
    made.add_argument(
        "--export", nargs=2, metavar=("FORM", "FILE"), help="write holes for unsloth or nemo"
    )
    made.add_argument("--count", type=int, default=2000, metavar="N", help="holes to export (2000)")
    for spec in fields(Recipe):
        made.add_argument(
            f"--{spec.name}",
            type=type(spec.default),
            default=spec.default,
            metavar="N",
            help=f"{HELP[spec.name]} ({spec.default})",
        )
    return made


def checked(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options that a run can have; says otherwise what is wrong, and ends."""
    options = (asks := parser()).parse_args(arguments)
    given = vars(options)
    for name in ("count", *(spec.name for spec in fields(Recipe))):
        if name in AT_LEAST_0:
            if given[name] < 0:
                asks.error(f"--{name} {given[name]} is less than 0")
        elif not 0 < given[name] < math.inf:
            asks.error(f"--{name} {given[name]} is no positive number")
    if options.export:
        form, target = options.export
        if form not in ("unsloth", "nemo"):
            asks.error(f"--export {form} is none of unsloth, nemo")
        try:
            new_file(target)
        except argparse.ArgumentTypeError as error:
            asks.error(f"--export: {error}")
    if options.plan:
        return options
    if options.data is None:
        asks.error("--data DIR is missing, the folder of code")
    if not options.data.is_dir():
        asks.error(f"--data {options.data} is no folder; name the folder of code")
    if options.export:
        return options
    if options.model is None:
        asks.error("--model is missing, a checkpoint's folder or hub:OWNER/NAME")
    if options.out is None:
        asks.error("--out DIR is missing, where the adapter goes")
    return options


def looked_through(folder: Path) -> list[Source]:
    """The files of a folder, of which at least one is learned from; a ModelError otherwise."""
    found, left_out = sources(folder)
    kept = sum(each.held_out for each in found)
    print(f"{counted(len(found), 'file')}, {kept} of them to measure by")
    for reason, count in left_out.most_common():
        print(f"{count:8} left out: {reason}")
    if kept == len(found):
        raise ModelError(_nothing_learned(folder, kept, left_out))
    return found


def _nothing_learned(folder: Path, kept: int, left_out: Counter[str]) -> str:
    if kept:
        return f"{folder} has {counted(kept, 'file')}, all of it kept to measure by; add more code"
    if left_out:
        return f"of {folder} all files are left out, for the reasons above; name another folder"
    return f"{folder} has no file of a language that is known here; name a folder of code"


def main(arguments: Sequence[str] | None = None) -> int:
    options = checked(arguments)
    recipe = Recipe(**{spec.name: getattr(options, spec.name) for spec in fields(Recipe)})
    if options.plan and options.model is None:
        for name, parts in tuning_memory.published(recipe).items():
            rest = ", ".join(f"{part} {size:.1f}" for part, size in parts.items() if part != "all")
            print(f"{parts['all']:8.1f} GiB  {name} ({rest})")
        return 0
    config = EngineConfig(model=options.model or "", dtype=options.dtype, device=options.device)
    if options.plan:
        for name, size in tuning_memory.plan(config, recipe).items():
            print(f"{tuning_memory.told(size)}  {name}")
        return 0
    if not options.export:
        check_model(config)  # before what takes minutes
        standing(options.out, options.model, recipe)
    found = looked_through(options.data)
    if options.export:
        form, target = options.export
        learned = [each for each in found if not each.held_out]
        count = export(learned, form, options.count, Path(target), recipe.seed)
        print(f"{counted(count, 'hole')} in {target}")
        return 0
    tuner = tuner_of(config, recipe)
    with stoppable() as stopped:
        run = finetune(tuner, found, options.out, recipe, options.model, stopped=stopped)
    tries = ["infill-ls", "infill", "FILE:LINE:COL", "--model", options.model]
    for name in ("dtype", "device"):
        if getattr(options, name) != "auto":
            tries += [f"--{name}", getattr(options, name)]
    ended = not (options.out / STATE).exists()
    if not ended:
        print(f"stopped behind step {run.step} of {recipe.steps}; the same command goes on")
    print(f"adapter in {options.out}; it fills holes by")
    print("    " + shlex.join([*tries, "--adapter", str(options.out)]))
    return 0 if ended else INTERRUPTED


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InfillError as error:
        raise SystemExit(f"train.finetune: {error}") from None
    except OSError as error:
        raise SystemExit(f"train.finetune: {error.filename or ''} {error.strerror}") from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
