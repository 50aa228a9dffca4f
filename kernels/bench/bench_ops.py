"""Times every op beside its plain-torch reference and a copy of as many bytes, on the GPU at hand.

    python -m bench.bench_ops [--cells 32 64 128 256]       (in the folder kernels/)

An op earns its keep by being faster than its reference. The last line is JSON.
"""

import argparse
import json
from typing import Any

import torch

from bench.shapes import OpCase, cases, random
from infill_kernels.formats import GROUP

# The references of these are loops over experts in Python.
SLOW_REFERENCES = ("moe_parts",)


def timed(run: object, repeats: int = 20) -> float:
    """Median ms of a replayed graph: as in a captured step, the host is not in it."""
    assert callable(run)
    for _ in range(2):
        run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(4):
            run()
    event: Any = torch.cuda.Event
    times: list[float] = []
    for _ in range(repeats):
        begin, end = (event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 4)
    return sorted(times)[repeats // 2]


def bandwidth() -> float:
    source = torch.randint(0, 100, (2**30,), dtype=torch.int32, device="cuda")
    target = torch.empty_like(source)
    return 2 * 4 * 2**30 / timed(lambda: target.copy_(source)) * 1e3


def relative_error(case: OpCase) -> float:
    """Of the first tensor that comes back, against the reference's."""

    def first(value: object) -> torch.Tensor:
        while not isinstance(value, torch.Tensor):
            assert isinstance(value, tuple)
            value = value[0]
        return value.float()

    ours, reference = first(case.run()), first(case.reference())
    return float((ours - reference).norm() / reference.norm().clamp(min=1e-30))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[64, 256])
    options = parser.parse_args()
    torch.manual_seed(0)
    copied = bandwidth()
    print(f"{torch.cuda.get_device_name()}, copies {copied / 1e12:.2f} TB/s, group {GROUP}")
    print(
        f"{'cells':>5} {'op':26}{'us':>9}{'torch us':>10}{'floor us':>10}{'over':>7}{'error':>10}"
    )
    rows = []
    for cells in options.cells:
        for case in cases(cells, random):
            error = relative_error(case)
            ours = 1e3 * timed(case.run)
            slow = case.name.startswith(SLOW_REFERENCES)
            reference = None if slow else 1e3 * _try(case)
            floor = 1e6 * case.bytes / copied
            rows.append(
                {
                    "cells": cells,
                    "op": case.name,
                    "us": ours,
                    "reference_us": reference,
                    "floor_us": floor,
                    "error": error,
                }
            )
            shown = "-" if reference is None else f"{reference:.1f}"
            print(
                f"{cells:5} {case.name:26}{ours:9.1f}{shown:>10}{floor:10.1f}{ours / floor:7.1f}"
                f"{error:10.1e}",
                flush=True,
            )
            torch.cuda.empty_cache()
    print(json.dumps({"device": torch.cuda.get_device_name(), "bandwidth": copied, "rows": rows}))


def _try(case: OpCase) -> float:
    """A reference that waits for the host cannot be captured, and is not timed."""
    try:
        return timed(case.reference)
    except RuntimeError:
        torch.cuda.synchronize()
        return float("nan")


if __name__ == "__main__":
    main()
