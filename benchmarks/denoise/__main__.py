"""A denoising step of DiffusionGemma: transformers' reference and ours, in one run.

    python -m benchmarks.denoise [--canvas 32 64 128 256] [--formats bf16 fp8 int4] [--context 2000]

On a GPU it builds the 26B-A4B shape with random weights, tensor by tensor: some 80 GB with a
quantised copy beside it. On a CPU the shape is small, and only correctness means anything. First it
checks on a model of fewer layers that ours is no further from the float32 truth than the reference
is. Then it times both loops whole, with sampling, renoising and stopping in them.

The floor is what a step has to read over the measured copy bandwidth, or what it has to multiply
over the measured matrix rate, whichever is longer. The last line is JSON.
"""

import argparse
import dataclasses
import gc
import warnings
from typing import Any

import torch
from torch import Tensor

from benchmarks.denoise.accuracy import check
from benchmarks.denoise.floor import bandwidth, experts_touched, matrix_rate
from benchmarks.denoise.loops import Cost, cost, our_loop, reference_loop, timed
from benchmarks.denoise.models import FORMATS, build, converted, random_tokens
from benchmarks.denoise.shape import REAL, SMALL, Spec, least
from infill_engine import EngineConfig, ModelError
from infill_engine.models.diffusion_gemma.network import Network
from infill_engine.models.placement import chosen_device
from infill_kernels import backend
from infill_ls.cli.arguments import count
from infill_ls.cli.bench.report import as_line
from infill_ls.cli.machine import commit, this_machine

# How much further from the truth than the reference ours may be: both round, in other places.
SLACK = 1.25
# Title, figure, width and digits of each column behind canvas and format.
COLUMNS = (
    ("reference", "reference_ms", 10, 2), ("ours", "ours_ms", 8, 2), ("step", "step_ms", 8, 2),
    ("times", "speedup", 8, 1), ("floor", "floor_ms", 8, 2), ("over", "over_floor", 8, 2),
    ("GB", "gigabytes", 7, 3), ("kernels", "reference_kernels", 9, 0),
    ("ours", "ours_kernels", 7, 0), ("syncs", "reference_syncs", 8, 1),
    ("ours", "ours_syncs", 7, 1), ("tok/s", "tokens_per_second", 9, 0),
)  # fmt: skip


def release_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def header() -> str:
    titles = "".join(f"{title:>{width}}" for title, _, width, _ in COLUMNS)
    return f"{'canvas':>6} {'format':15}{titles}"


def line(row: dict[str, Any]) -> str:
    def number(value: float | None, width: int, digits: int) -> str:
        return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"

    numbers = "".join(number(row[name], width, digits) for _, name, width, digits in COLUMNS)
    return f"{row['canvas']:6} {row['format']:15}{numbers}"


def reference_costs(model: Any, prompt: Tensor, canvases: list[int], steps: int) -> dict[int, Cost]:
    """What a step of the reference costs, by canvas."""
    costs = {}
    for cells in canvases:
        costs[cells] = cost(reference_loop(model, prompt, cells), steps, prompt.device)
        release_memory()
    return costs


def measure(
    spec: Spec,
    device: torch.device,
    canvases: list[int],
    formats: list[str],
    context: int,
    steps: int,
) -> list[dict[str, Any]]:
    """A row of figures for each format and canvas, printed as it comes."""
    copied, multiplied = bandwidth(device), matrix_rate(device)
    print(f"copies {copied / 1e9:.1f} GB/s, bf16 products {multiplied / 1e12:.2f} TFLOP/s")
    print(
        "ms per step: the reference's loop, ours, our model step alone; over: ours over the floor;"
        "\nkernels and host syncs per step; tok/s: a canvas in 16 steps\n"
    )
    print(header())
    model = build(spec, device, torch.bfloat16, seed=0)
    prompt = random_tokens(spec, context, device)
    theirs = reference_costs(model, prompt, canvases, steps)
    plain = Network(model)
    memory = plain.encode(prompt)
    rows = []
    for name in formats:
        network = converted(plain, name)
        for cells in canvases:
            loop, step_alone = our_loop(network, memory, cells)
            ours = cost(loop, 2 * steps, device)
            step_ms = timed(step_alone, 2 * steps, device)
            touched = experts_touched(plain, memory, cells)
            moved, operations = least(spec, cells, context, touched, name)
            floor = 1e3 * max(moved / copied, operations / multiplied)
            row = {
                "canvas": cells,
                "format": name,
                **theirs[cells].named("reference"),
                **ours.named("ours"),
                "step_ms": step_ms,
                "speedup": theirs[cells].ms / ours.ms,
                "floor_ms": floor,
                "over_floor": ours.ms / floor,
                "gigabytes": moved / 1e9,
                "experts_touched": touched,
                "tokens_per_second": cells / (16 * ours.ms / 1e3),
            }
            print(line(row), flush=True)
            rows.append(row)
            del loop, step_alone
            release_memory()
        del network
        release_memory()
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.denoise", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--canvas", type=count, nargs="+", default=[32, 64, 128, 256], metavar="N", help="cells"
    )
    parser.add_argument(
        "--formats", nargs="+", choices=FORMATS, default=["bf16", "fp8", "int4"], help="of experts"
    )
    parser.add_argument("--context", type=count, metavar="N", help="tokens of prompt (2000)")
    parser.add_argument("--steps", type=count, metavar="N", help="steps that are timed (12)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    options = parser.parse_args(arguments)
    try:
        device = chosen_device(EngineConfig(device=options.device))
    except ModelError as error:
        parser.error(str(error))
    real = device.type == "cuda"
    spec = REAL if real else SMALL
    context = options.context or (2000 if real else 60)
    steps = options.steps or (12 if real else 3)
    warnings.filterwarnings("ignore", category=UserWarning)
    print(f"{this_machine()}, torch {torch.__version__} on {device}, commit {commit()}")
    print(f"kernels: {backend.NAME} ({backend.REASON})")
    print(f"{spec.layers} layers, {context} tokens of context")
    with torch.inference_mode():
        errors = check(spec, device, options.formats)
    release_memory()
    for name, error in errors.items():
        print(f"error of {name:15} ours {error['ours']:.4f}, reference {error['reference']:.4f}")
    wrong = [
        name
        for name, error in errors.items()
        if not error["ours"] <= SLACK * error["reference"] + 1e-3
    ]
    rows = []
    if not wrong:
        rows = measure(spec, device, options.canvas, options.formats, context, steps)
    report = {
        "benchmark": "denoise",
        "machine": dataclasses.asdict(this_machine()),
        "device": str(device),
        "commit": commit(),
        "kernels": backend.NAME,
        "spec": dataclasses.asdict(spec),
        "context": context,
        "errors": errors,
        "results": rows,
    }
    print(as_line(report))
    if wrong:
        names = ", ".join(wrong)
        raise SystemExit(f"{names}: further from the truth than the reference; nothing was timed")


if __name__ == "__main__":
    main()
