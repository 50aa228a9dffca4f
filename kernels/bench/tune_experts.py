"""Tries launches of the expert products on the GPU at hand, for each format and canvas length.

    python -m bench.tune_experts [--cells 64 256] [--formats bf16 fp8 int4]   (in kernels/)

What wins belongs into `infill_kernels.experts.config`. Here both products take the same launch.
"""

import argparse
import itertools
from functools import partial
from unittest import mock

import torch

from bench.bench_ops import timed
from bench.shapes import CHOSEN, EXPERTS, FORMATS, HIDDEN, WIDE, random
from infill_kernels import experts
from infill_kernels.experts import Config
from infill_kernels.tile import layout

TOKENS, ROWS, INPUTS, WARPS, STAGES = (16, 32, 64), (64, 128), (64, 128), (4, 8), (3, 4, 6)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=["bf16", "fp8", "int4"])
    options = parser.parse_args()

    def of(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
        return random(shape, dtype)

    for form, cells in itertools.product(options.formats, options.cells):
        gate_up = FORMATS[form](of, EXPERTS, 2 * HIDDEN, WIDE)
        down = FORMATS[form](of, EXPERTS, WIDE, HIDDEN)
        given = of(cells, WIDE), of(cells, CHOSEN, dtype=torch.int64)
        weights = of(cells, CHOSEN, dtype=torch.float32)
        run = partial(experts.moe_parts, *given, weights, gate_up, down)
        found = []
        for tokens, rows, inputs, warps, stages in itertools.product(
            TOKENS, ROWS, INPUTS, WARPS, STAGES
        ):
            if form == "int4" and inputs != INPUTS[0]:
                continue
            launch = Config(rows, tokens, inputs, warps, stages)
            with mock.patch.object(experts, "config", lambda *_, launch=launch: launch):
                try:
                    ms = timed(run, 7)
                except Exception as error:  # does not fit: another one will
                    print(f"{form} {cells} {launch}: {type(error).__name__}")
                    continue
            found.append((ms, launch))
        kind = layout(gate_up, given[0].dtype).format
        default = [tuple(experts.config(cells * CHOSEN / EXPERTS, kind, two)) for two in (2, 1)]
        for ms, launch in sorted(found)[:5]:
            print(f"{form} {cells} {1e3 * ms:8.1f} us  {tuple(launch)}  default {default}")


if __name__ == "__main__":
    main()
