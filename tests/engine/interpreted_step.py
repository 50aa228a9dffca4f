"""Run by `diffusion_gemma/test_stepping.py` in a process of its own: a step over Triton kernels.

Prints the statistics of two steps for each weight format as JSON; with INFILL_KERNELS=torch those
of plain torch.
"""

import json

import torch

from infill_engine.canvas import Canvas
from infill_engine.models.diffusion_gemma.captured import CapturedStepping, direct
from infill_engine.models.diffusion_gemma.network import Network
from infill_engine.models.diffusion_gemma.quantised import quantise_model
from infill_kernels import backend
from tests.engine import tiny_gemma


def steps(form: str) -> list[list[object]]:
    model = tiny_gemma.model(
        0,
        inertia=0.9,
        moe_intermediate_size=64,
        num_experts=4,
        num_hidden_layers=2,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"],
    )
    if form != "dense":
        quantise_model(model, form, torch.device("cpu"), progress=lambda done: None)
    network = Network(model)
    generator = torch.Generator().manual_seed(0)
    prompt = torch.randint(3, 600, (1, 20), generator=generator)
    canvas = torch.randint(3, 600, (1, 8), generator=generator)
    hole = torch.zeros(1, 8, dtype=torch.int64)
    hole[:, 5:] = -1
    stepping = CapturedStepping(network, torch.arange(tiny_gemma.VOCAB) < 8, direct)
    memory = network.encode(prompt)
    state: object = None
    seen: list[list[object]] = []
    for step in range(2):
        stats, state = stepping.step(
            Canvas(token_ids=canvas, hole=hole),
            memory,
            state,
            temperature=0.7,
            generator=torch.Generator().manual_seed(step),
        )
        seen.append([stats.best.tolist(), stats.sample.tolist(), stats.entropy.tolist()])
    return seen


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.inference_mode():
        found = {form: steps(form) for form in ("dense", "fp8", "int4")}
    print(json.dumps({"kernels": backend.NAME, "steps": found}))
