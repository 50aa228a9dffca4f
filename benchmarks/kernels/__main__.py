"""What products and passes of the routines for CPUs cost in one thread, beside what bounds them.

    python -m benchmarks.kernels [--quick] [--level LEVEL] [--form FORM] [--rows N ...]
                                 [--json FILE]

Of every level that this CPU has, each form of weights and each matrix of the embedded model and of
SmolLM2-135M: ms of the processor, GFLOP/s, GB/s and the share of the bound (see `products`), the
best of some runs; then torch's, then a whole Llama beside llama.cpp (`pip install xllamacpp gguf`).
With --form one form alone, and neither torch nor a Llama. The last line is JSON. --quick is for
seeing that it runs.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.kernels import llama, products
from benchmarks.kernels.llama import Sizes, Speed
from benchmarks.kernels.products import FORMS, ROWS, SHAPES, Shape
from benchmarks.progress import say
from infill_kernels.native import native
from infill_ls.cli.bench.report import as_line
from infill_ls.cli.files import new_file
from infill_ls.cli.machine import busy_cpus, commit, counted, this_machine


@dataclass(frozen=True, slots=True)
class Plan:
    """`seconds` is for each figure, `weights` the bytes that copies of a matrix have at least."""

    shapes: tuple[Shape, ...]
    rows: tuple[int, ...]
    weights: float
    seconds: float
    sizes: Sizes
    prompt: int
    tokens: int


FULL = Plan(SHAPES, ROWS, products.WEIGHTS_AT_LEAST, 0.1, llama.SMOLLM2_135M, 512, 64)
QUICK = Plan(
    (SHAPES[1], SHAPES[6]),
    (1, 16),
    0.0,
    0.001,
    Sizes(layers=2, width=128, heads=2, kv=1, ff=128, vocabulary=512),
    32,
    4,
)


def measure(plan: Plan, only: str | None, form: str | None) -> dict[str, Any]:
    machine, revision, busy = this_machine(), commit(), busy_cpus()
    found = products.levels()
    if not found:
        raise SystemExit(f"there are no routines for this CPU: {native()[1]}")
    wanted = [level for level in found if only in (None, level.name)]
    if not wanted:
        names = ", ".join(level.name for level in found)
        raise SystemExit(f"--level {only} is none of this CPU's: {names}")
    forms = {at: name for at, name in FORMS.items() if form in (None, name)}
    copied, read = products.copy_rate(plan.seconds), products.read_rate(plan.seconds)
    rates = {
        level.name: {
            name: rate / 1e9
            for at, name in forms.items()
            if (rate := products.product_rate(level, at, plan.seconds))
        }
        for level in wanted
    }
    times = []
    for level in wanted:
        say(level.name)
        given = (plan.shapes, plan.rows, read, plan.weights, plan.seconds, forms)
        times += [each.figures() for each in products.of_level(level, *given)]
    speeds, missing = list[Speed](), ""
    if form is None:
        say("torch")
        given_torch = (plan.shapes, plan.rows, plan.weights, plan.seconds)
        times += [each.figures() for each in products.of_torch(*given_torch)]
        say("a whole Llama")
        model = llama.Llama(plan.sizes)
        for threads in (1, 2):
            ours = (model, threads, plan.prompt, plan.tokens, plan.seconds)
            speeds.append(llama.our_speed(*ours))
        try:
            speeds += llama.speeds_of_llama_cpp(model, plan.prompt, plan.tokens, plan.seconds)
        except ImportError as error:
            missing = f"llama.cpp was not measured ({error}); pip install xllamacpp gguf"
    return {
        "benchmark": "kernels",
        "machine": asdict(machine),
        "busy_cpus": busy,
        "commit": revision,
        "kernels": native()[1],
        "copy_gbs": copied / 1e9,
        "read_gbs": read / 1e9,
        "peak_gflops": rates,
        "products": times,
        "llama": [asdict(each) for each in speeds],
        "llama_parameters": asdict(plan.sizes),
        "missing": missing,
    }


def show(result: Mapping[str, Any]) -> Iterable[str]:
    yield f"one thread, kernels: {result['kernels']}, commit {result['commit']}"
    if result["busy_cpus"] > 0.5:
        yield (
            f"Other programs kept {result['busy_cpus']:.1f} CPUs busy. Times are the processor's, "
            "but caches and memory were shared."
        )
    yield (
        f"memory: copies {result['copy_gbs']:.1f} GB/s, reads {result['read_gbs']:.1f}; "
        "products in registers, GFLOP/s:"
    )
    for level, rates in result["peak_gflops"].items():
        each = ", ".join(f"{form} {rate:.0f}" for form, rate in rates.items())
        yield f"  {level}: {each}"
    yield ""
    heads = ("rows", "ms", "GFLOP/s", "GB/s", "of bound")
    yield f"{'product':<44}" + "".join(f"{head:>9}" for head in heads)
    for each in result["products"]:
        name = f"{each['by']} {each['form']}, {each['model']} {each['matrix']}"
        size = f"{each['outputs']}x{each['inputs']}"
        share = "–" if math.isnan(each["of_bound"]) else f"{each['of_bound']:.2f}"
        yield (
            f"{name:<33}{size:>11}{each['rows']:>9}{each['ms']:>9.3f}{each['gflops']:>9.1f}"
            f"{each['gbs']:>9.1f}{share:>9}"
        )
    yield ""
    if not result["llama"]:
        return
    sizes = result["llama_parameters"]
    yield (
        f"a Llama of {sizes['layers']} layers of {sizes['width']}, vocabulary "
        f"{sizes['vocabulary']}, tokens/s"
    )
    for speed in result["llama"]:
        yield (
            f"  {speed['by']:<10} {speed['form']:<5} {counted(speed['threads'], 'thread'):<10}"
            f"{speed['prompt']} tokens at once {speed['prefill']:>7.0f}   "
            f"one by one behind them {speed['decode']:>6.1f}"
        )
    if result["missing"]:
        yield f"  {result['missing']}"
    yield ""


def given_rows(rows: Iterable[int]) -> str:
    return " ".join(map(str, rows))


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernels", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="a little of everything, no figures")
    parser.add_argument("--level", help="one level alone, such as avx2")
    parser.add_argument("--form", choices=FORMS.values(), help="one form of weights alone")
    parser.add_argument("--rows", type=int, nargs="+", help=f"rows of x ({given_rows(ROWS)})")
    parser.add_argument(
        "--json", type=new_file, metavar="FILE", help="writes the last line there too"
    )
    options = parser.parse_args(given)
    plan = QUICK if options.quick else FULL
    if options.rows:
        if min(options.rows) < 1:
            raise SystemExit(f"--rows {given_rows(options.rows)}: each is at least 1")
        plan = replace(plan, rows=tuple(options.rows))
    result = measure(plan, options.level, options.form)
    print(this_machine())
    for line in show(result):
        print(line)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.flush()
    print(as_line(result))


if __name__ == "__main__":
    main()
