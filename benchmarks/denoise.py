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
import copy
import dataclasses
import gc
import json
import platform
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, cast
from unittest import mock

import torch
from torch import Tensor

from infill_engine.canvas import Canvas
from infill_engine.denoise import DenoiseConfig, denoise
from infill_engine.early_stop import Chained, Entropy, TokenStability
from infill_engine.models.diffusion_gemma import denoiser as diffusion_gemma
from infill_engine.models.diffusion_gemma.captured import CapturedStepping
from infill_engine.models.diffusion_gemma.denoiser import FusedStepping, Memory, Network
from infill_engine.noise import Uniform
from infill_engine.sampler import EntropyBound
from infill_engine.schedule import Linear
from infill_kernels import (
    ExpertWeights,
    backend,
    dequantise,
    head_statistics,
    linear,
    probabilities,
    quantise_fp8,
    quantise_int4,
    top_experts,
)

# What a format says of the experts, and of every other matrix but the embedding table. The engine
# quantises experts alone.
FORMATS = {
    "bf16": ("bf16", "bf16"),
    "fp8": ("fp8", "bf16"),
    "int4": ("int4", "bf16"),
    "fp8, rest fp8": ("fp8", "fp8"),
    "int4, rest fp8": ("int4", "fp8"),
}
BYTES = {"bf16": 2.0, "fp8": 1.0, "int4": 0.5625}
HEAT = 0.6
# How much further from the truth than the reference ours may be: both round, in other places.
SLACK = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """The shape of a model."""

    vocab: int
    hidden: int
    mlp: int
    layers: int
    heads: int
    groups: int
    head_dim: int
    full_groups: int
    full_head_dim: int
    experts: int
    top_k: int
    expert_hidden: int
    window: int
    pattern: int  # the last of so many layers is full

    @property
    def full_layers(self) -> int:
        return self.layers // self.pattern


REAL = Spec(
    vocab=262144,
    hidden=2816,
    mlp=2112,
    layers=30,
    heads=16,
    groups=8,
    head_dim=256,
    full_groups=2,
    full_head_dim=512,
    experts=128,
    top_k=8,
    expert_hidden=704,
    window=1024,
    pattern=6,
)
SMALL = Spec(
    vocab=512,
    hidden=128,
    mlp=96,
    layers=4,
    heads=4,
    groups=2,
    head_dim=16,
    full_groups=1,
    full_head_dim=32,
    experts=8,
    top_k=2,
    expert_hidden=64,
    window=32,
    pattern=2,
)


def build(spec: Spec, device: torch.device, dtype: torch.dtype, seed: int) -> Any:
    """transformers' model of a shape with random weights, made on the device tensor by tensor.

    Logits and router scores are as far apart as a trained model's, or rounding would decide what
    is best and which experts are taken.
    """
    from transformers import DiffusionGemmaConfig, DiffusionGemmaForBlockDiffusion
    from transformers.models.gemma4 import Gemma4VisionConfig

    full = "full_attention"
    kinds = [
        full if (at + 1) % spec.pattern == 0 else "sliding_attention" for at in range(spec.layers)
    ]
    text: dict[str, Any] = {
        "vocab_size": spec.vocab,
        "hidden_size": spec.hidden,
        "intermediate_size": spec.mlp,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.groups,
        "head_dim": spec.head_dim,
        "num_global_key_value_heads": spec.full_groups,
        "global_head_dim": spec.full_head_dim,
        "num_experts": spec.experts,
        "top_k_experts": spec.top_k,
        "moe_intermediate_size": spec.expert_hidden,
        "sliding_window": spec.window,
        "max_position_embeddings": 262144,
        "layer_types": kinds,
        "use_bidirectional_attention": "vision",
    }
    vision = Gemma4VisionConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        patch_size=4,
        position_embedding_size=64,
    )
    config = DiffusionGemmaConfig(
        text_config=text,
        vision_config=vision,
        boi_token_id=spec.vocab - 3,
        eoi_token_id=spec.vocab - 2,
        image_token_id=spec.vocab - 1,
    )
    with torch.device("meta"):
        model: Any = DiffusionGemmaForBlockDiffusion(config)
    model.tie_weights()
    model.model.encoder.vision_tower = model.model.encoder.embed_vision = None
    generator = torch.Generator(device).manual_seed(seed)
    made: dict[int, torch.nn.Parameter] = {}
    for name, module in model.named_modules():
        for each, parameter in list(module._parameters.items()):
            if parameter is not None:
                if id(parameter) not in made:
                    fresh = torch.empty(parameter.shape, dtype=dtype, device=device)
                    _fill(fresh, f"{name}.{each}", generator)
                    made[id(parameter)] = torch.nn.Parameter(fresh, requires_grad=False)
                module._parameters[each] = made[id(parameter)]
        _fill_buffers(module, device, dtype)
    model.eval()
    model.generation_config.eos_token_id = None
    return model


def _fill(weight: Tensor, name: str, generator: torch.Generator) -> None:
    if ".q_norm." in name:
        # Scores of attention are not scaled, but by what this norm has learned.
        weight.fill_(weight.shape[0] ** -0.5)
    elif weight.ndim < 2:
        weight.fill_(8.0 if name.endswith(("decoder.norm.weight", "model.norm.weight")) else 1.0)
    else:
        spread = (
            1.0 if ".router." in name else 0.02 if "embed" in name else weight.shape[-1] ** -0.5
        )
        weight.normal_(0, spread, generator=generator)


def _fill_buffers(module: Any, device: torch.device, dtype: torch.dtype) -> None:
    if not any(buffer is not None and buffer.is_meta for buffer in module._buffers.values()):
        return
    if hasattr(module, "rope_init_fns"):
        module._buffers.update(type(module)(module.config).to(device)._buffers)
    for name, buffer in module._buffers.items():
        if buffer is not None and buffer.is_meta:
            value = module.scalar_embed_scale if name == "embed_scale" else 1.0
            module._buffers[name] = torch.full(buffer.shape, value, dtype=dtype, device=device)


def quantise(weight: Tensor, name: str) -> ExpertWeights:
    """[E, N, K] in a format, an expert at a time: quantising takes several times the memory."""
    if name == "bf16":
        return weight
    make = quantise_fp8 if name == "fp8" else quantise_int4
    pieces = [make(weight[at : at + 8]) for at in range(0, len(weight), 8)]
    return type(pieces[0])(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))


def converted(network: Network, name: str) -> Network:
    """The same network with matrices in another format."""
    experts, rest = FORMATS[name]

    def matrix(weight: Tensor) -> Any:
        return weight if rest == "bf16" else quantise(weight[None], rest)

    other = copy.copy(network)
    other.layers = [
        dataclasses.replace(
            layer,
            experts_gate_up=quantise(_dense(layer.experts_gate_up), experts),
            experts_down=quantise(_dense(layer.experts_down), experts),
            query_key_value=matrix(layer.query_key_value),
            out=matrix(layer.out),
            gate_up=matrix(layer.gate_up),
            down=matrix(layer.down),
        )
        for layer in network.layers
    ]
    return other


def _dense(weights: Any) -> Tensor:
    assert isinstance(weights, Tensor), "only what is not quantised yet can be converted"
    return weights


# ---- correctness


def reference_logits(model: Any, prompt: Tensor, canvas: Tensor) -> Tensor:
    """Logits of a second step, conditioned on the first: [T, V] float32."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    positions = torch.arange(prompt.shape[1] + canvas.shape[1], device=prompt.device)[None]
    model.model.encoder(
        input_ids=prompt, past_key_values=cache, position_ids=positions[:, : prompt.shape[1]]
    )
    soft = None
    for _ in range(2):
        logits = model(
            decoder_input_ids=canvas,
            decoder_position_ids=positions[:, prompt.shape[1] :],
            past_key_values=cache,
            self_conditioning_logits=soft,
        ).logits
        soft = (logits / HEAT).to(model.dtype)
    return cast(Tensor, logits[0].float())


def our_logits(network: Network, prompt: Tensor, canvas: Tensor) -> Tensor:
    """The same of ours, by the ops that `FusedStepping` uses."""
    memory = network.encode(prompt)
    context = network.context(memory, canvas.shape[1])
    heat = torch.full((1,), HEAT, device=prompt.device)
    seed = torch.zeros(1, dtype=torch.int64, device=prompt.device)
    soft = None
    for _ in range(2):
        raw = linear(network.decode(canvas, soft, context)[0], network.head)
        found = head_statistics(raw, heat, seed, cap=network.softcap)
        share = probabilities(
            raw, heat, found.log_sum_exp, dtype=network.dtype, cap=network.softcap
        )
        soft = ((share @ network.table) * network.embed_scale)[None]
    return torch.tanh(raw.float() / network.softcap) * network.softcap


def check(spec: Spec, device: torch.device, formats: list[str]) -> dict[str, dict[str, float]]:
    """For each format how far from the truth the logits of ours and of the reference are.

    The truth is the reference in float32 over the same weights, quantised and back.
    """
    spec = dataclasses.replace(spec, layers=spec.pattern)
    dtype = torch.bfloat16
    truth_model = build(spec, device, torch.float32, seed=1)
    model = build(spec, device, dtype, seed=2)
    prompt, canvas = (
        random_tokens(spec, 1500 if spec is REAL else 50, device),
        random_tokens(spec, 64, device),
    )
    found = {}
    exact = {name: weight.to(dtype) for name, weight in truth_model.state_dict().items()}
    for name in formats:
        experts, rest = FORMATS[name]
        _restore(model, exact)
        _restore(truth_model, exact)
        network = converted(Network(model), name)
        # Prompts are encoded by transformers' modules, whose weights take the way of the others.
        for target in (model, truth_model):
            _round_trip(target, experts, rest)
        truth = reference_logits(truth_model, prompt, canvas)
        found[name] = {
            "ours": middle_error(our_logits(network, prompt, canvas), truth),
            "reference": middle_error(reference_logits(model, prompt, canvas), truth),
        }
        del network
    return found


def middle_error(logits: Tensor, truth: Tensor) -> float:
    """Of the middle cell. Where rounding sends a cell to another expert, it is another cell."""
    return float(((logits - truth).norm(dim=-1) / truth.norm(dim=-1)).median())


def _restore(model: Any, weights: dict[str, Tensor]) -> None:
    for name, weight in model.state_dict().items():
        weight.copy_(weights[name])


def _round_trip(model: Any, experts: str, rest: str) -> None:
    """Quantises matrices and takes them back, in place."""
    for layer in model.model.decoder.layers:
        attention, mlp = layer.self_attn, layer.mlp
        for weight in (layer.experts.gate_up_proj, layer.experts.down_proj):
            _rounded(weight, experts)
        for module in (
            *(attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj),
            *(mlp.gate_proj, mlp.up_proj, mlp.down_proj),
        ):
            if module is not None:
                _rounded(module.weight[None], rest)


def _rounded(weight: Tensor, name: str) -> None:
    if name != "bf16":
        # Scales of 4 bits are in the dtype of what is quantised.
        weight.copy_(dequantise(quantise(weight.to(torch.bfloat16), name), torch.float32))


def random_tokens(spec: Spec, count: int, device: torch.device) -> Tensor:
    # Below the ids of images, which the encoder would look for.
    return torch.randint(3, spec.vocab - 4, (1, count), device=device)


# ---- what a loop costs

Loop = Callable[[int, Callable[[], None]], None]  # so many steps; calls back once in each


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one step."""

    ms: float
    kernels: float | None
    syncs: float | None


def reference_loop(model: Any, prompt: Tensor, num_cells: int) -> Loop:
    from transformers import LogitsProcessor, LogitsProcessorList

    class Mark(LogitsProcessor):
        def __init__(self, mark: Callable[[], None]) -> None:
            self._mark = mark

        def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
            self._mark()
            return scores

    def run(steps: int, mark: Callable[[], None]) -> None:
        model.config.canvas_length = num_cells
        model.generate(
            prompt,
            max_new_tokens=num_cells,
            max_denoising_steps=steps,
            confidence_threshold=1e-9,
            logits_processor=LogitsProcessorList([Mark(mark)]),
        )

    return run


def our_loop(network: Network, memory: Memory, num_cells: int) -> tuple[Loop, Loop]:
    """The whole loop, and its model step alone."""
    device = network.device
    stepping = CapturedStepping(network) if device.type == "cuda" else FusedStepping(network)
    canvas = Canvas(
        token_ids=torch.zeros(1, num_cells, dtype=torch.int64, device=device),
        hole=torch.zeros(1, num_cells, dtype=torch.int64, device=device),
    )
    generator = torch.Generator(device).manual_seed(0)

    def run(steps: int, mark: Callable[[], None]) -> None:
        config = DenoiseConfig(
            max_denoising_steps=steps,
            noise=Uniform(vocab_size=network.vocab_size),
            sampler=EntropyBound(),
            schedule=Linear(),
            early_stop=Chained((TokenStability(), Entropy(1e-9))),
        )
        for _ in denoise(canvas, stepping, memory, config, generator=generator):
            mark()

    @torch.inference_mode()
    def alone(steps: int, mark: Callable[[], None]) -> None:
        state: object = None
        for _ in range(steps):
            _, state = stepping.step(canvas, memory, state, temperature=HEAT, generator=generator)
            mark()

    return run, alone


def timed(loop: Loop, steps: int, device: torch.device) -> float:
    """Median ms between two marks, of which the first few are of a cold start."""
    cuda = device.type == "cuda"
    marks: list[Any] = []

    def mark() -> None:
        if cuda:
            event: Any = torch.cuda.Event
            marks.append(event(enable_timing=True))
            marks[-1].record()
        else:
            marks.append(time.perf_counter())

    loop(min(steps, 4), lambda: None)
    loop(steps + 1, mark)
    if cuda:
        torch.cuda.synchronize()
        return float(median(a.elapsed_time(b) for a, b in pairwise(marks)))
    return float(1e3 * median(b - a for a, b in pairwise(marks)))


def counted(loop: Loop, device: torch.device) -> tuple[float | None, float | None]:
    """Kernels launched and waits of the host in a step: those of six steps less those of two."""
    if device.type != "cuda":
        return None, None
    from torch.profiler import ProfilerActivity, profile

    loop(2, lambda: None)  # what is compiled and captured on the way is no part of a step
    kernels, waits = [], []
    for steps in (2, 6):
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
            loop(steps, lambda: None)
            torch.cuda.synchronize()
        events = profiled.events() or []
        on_device = [event for event in events if "CUDA" in str(event.device_type)]
        kernels.append(len([event for event in on_device if not event.name.startswith("Mem")]))
        waits.append(sum("Synchronize" in event.name for event in events))
    return (kernels[1] - kernels[0]) / 4, (waits[1] - waits[0]) / 4


def cost(loop: Loop, steps: int, device: torch.device) -> Cost:
    kernels, waits = counted(loop, device)
    return Cost(ms=timed(loop, steps, device), kernels=kernels, syncs=waits)


# ---- the floor


@contextmanager
def recorded() -> Iterator[list[Tensor]]:
    """The experts that every layer chooses, as long as it lasts."""
    chosen: list[Tensor] = []

    def watch(*args: Any, **named: Any) -> tuple[Tensor, Tensor]:
        experts, weights = top_experts(*args, **named)
        chosen.append(experts)
        return experts, weights

    with mock.patch.object(diffusion_gemma, "top_experts", watch):
        yield chosen


@torch.inference_mode()
def experts_touched(network: Network, memory: Memory, num_cells: int) -> float:
    """Experts that a canvas of noise reads in a layer, on the mean."""
    with recorded() as chosen:
        canvas = torch.randint(network.vocab_size, (1, num_cells), device=network.device)
        network.decode(canvas, None, network.context(memory, num_cells))
    return sum(len(set(each.flatten().tolist())) for each in chosen) / len(chosen)


def least(spec: Spec, cells: int, context: int, touched: float, name: str) -> tuple[float, float]:
    """Bytes that a step must move, and operations that it must do.

    The table is read by the head and by the soft embedding; logits are written and read twice,
    their probabilities written and read once.
    """
    experts, rest = FORMATS[name]
    full, sliding = spec.full_layers, spec.layers - spec.full_layers
    seen = min(context, spec.window - 1)
    heads = spec.heads
    attention = spec.hidden * (
        sliding * spec.head_dim * (2 * heads + 2 * spec.groups)
        + full * spec.full_head_dim * (2 * heads + spec.full_groups)
    )
    dense = 3 * spec.hidden * spec.mlp
    router = spec.layers * spec.hidden * spec.experts
    expert = 3 * spec.hidden * spec.expert_hidden
    table = spec.vocab * spec.hidden
    cached = 2 * (
        sliding * seen * spec.groups * spec.head_dim
        + full * context * spec.full_groups * spec.full_head_dim
    )
    moved = (
        BYTES[rest] * (attention + spec.layers * dense)
        + 2 * (router + dense + 2 * table + cached)
        + BYTES[experts] * spec.layers * touched * expert
        + 10 * cells * spec.vocab
    )
    scores = (
        sliding * (seen + cells) * spec.head_dim + full * (context + cells) * spec.full_head_dim
    )
    multiplied = attention + (spec.layers + 1) * dense + router + 2 * table
    multiplied += spec.layers * spec.top_k * expert
    return moved, cells * (2 * multiplied + 4 * heads * scores)


def bandwidth(device: torch.device) -> float:
    """Bytes a second of a copy, those read and those written."""
    size = 2**32 if device.type == "cuda" else 2**26
    source = torch.randint(0, 100, (size // 4,), dtype=torch.int32, device=device)
    target = torch.empty_like(source)
    return 2 * size / _seconds(lambda: target.copy_(source), device)


def matrix_rate(device: torch.device) -> float:
    """Operations a second of a large product in bfloat16."""
    size = 8192 if device.type == "cuda" else 256
    a, b = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    return 2 * size**3 / _seconds(lambda: a @ b, device)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    def loop(steps: int, mark: Callable[[], None]) -> None:
        for _ in range(steps):
            work()
            mark()

    return timed(loop, 10, device) / 1e3


# ---- the report


def machine(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    return f"{platform.processor() or platform.machine()}, torch {torch.__version__}"


def commit() -> str:
    try:
        return subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def released() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def row(values: dict[str, Any]) -> str:
    def number(name: str, width: int, digits: int) -> str:
        value = values[name]
        return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"

    return (
        f"{values['canvas']:6} {values['format']:15}"
        + number("reference_ms", 10, 2)
        + number("ours_ms", 8, 2)
        + number("step_ms", 8, 2)
        + number("speedup", 8, 1)
        + number("floor_ms", 8, 2)
        + number("over_floor", 8, 2)
        + number("gigabytes", 7, 3)
        + number("reference_kernels", 9, 0)
        + number("ours_kernels", 7, 0)
        + number("reference_syncs", 8, 1)
        + number("ours_syncs", 7, 1)
        + number("tokens_per_second", 9, 0)
    )


HEADER = (
    f"{'canvas':>6} {'format':15}{'reference':>10}{'ours':>8}{'step':>8}{'times':>8}{'floor':>8}"
    f"{'over':>8}{'GB':>7}{'kernels':>9}{'ours':>7}{'syncs':>8}{'ours':>7}{'tok/s':>9}"
)


def measure(
    spec: Spec,
    device: torch.device,
    canvases: list[int],
    formats: list[str],
    context: int,
    steps: int,
) -> list[dict[str, Any]]:
    copied, multiplied = bandwidth(device), matrix_rate(device)
    print(f"copies {copied / 1e9:.1f} GB/s, bf16 products {multiplied / 1e12:.2f} TFLOP/s")
    print(
        "ms per step: the reference's loop, ours, our model step alone; over: ours over the floor;"
        "\nkernels and host syncs per step; tok/s: a canvas in 16 steps\n"
    )
    print(HEADER)
    model = build(spec, device, torch.bfloat16, seed=0)
    prompt = random_tokens(spec, context, device)
    theirs = {}
    for cells in canvases:
        theirs[cells] = cost(reference_loop(model, prompt, cells), steps, device)
        released()
    plain = Network(model)
    memory = plain.encode(prompt)
    rows = []
    for name in formats:
        network = converted(plain, name)
        for cells in canvases:
            whole, alone = our_loop(network, memory, cells)
            ours = cost(whole, 2 * steps, device)
            step = timed(alone, 2 * steps, device)
            touched = experts_touched(plain, memory, cells)
            moved, operations = least(spec, cells, context, touched, name)
            floor = 1e3 * max(moved / copied, operations / multiplied)
            rows.append(
                {
                    "canvas": cells,
                    "format": name,
                    "reference_ms": theirs[cells].ms,
                    "ours_ms": ours.ms,
                    "step_ms": step,
                    "speedup": theirs[cells].ms / ours.ms,
                    "floor_ms": floor,
                    "over_floor": ours.ms / floor,
                    "gigabytes": moved / 1e9,
                    "experts_touched": touched,
                    "reference_kernels": theirs[cells].kernels,
                    "ours_kernels": ours.kernels,
                    "reference_syncs": theirs[cells].syncs,
                    "ours_syncs": ours.syncs,
                    "tokens_per_second": cells / (16 * ours.ms / 1e3),
                }
            )
            print(row(rows[-1]), flush=True)
            del whole, alone
            released()
        del network
        released()
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--canvas", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=["bf16", "fp8", "int4"])
    parser.add_argument("--context", type=int, default=None, help="tokens of prompt (2000)")
    parser.add_argument("--steps", type=int, default=None, help="steps that are timed (12)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    real = device.type == "cuda"
    spec = REAL if real else SMALL
    context = options.context or (2000 if real else 60)
    steps = options.steps or (12 if real else 3)
    warnings.filterwarnings("ignore", category=UserWarning)
    print(f"{machine(device)}, commit {commit()}, kernels: {backend.NAME} ({backend.REASON})")
    print(f"{spec.layers} layers, {context} tokens of context")
    with torch.inference_mode():
        errors = check(spec, device, options.formats)
    released()
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
        "machine": machine(device),
        "commit": commit(),
        "kernels": backend.NAME,
        "spec": dataclasses.asdict(spec),
        "context": context,
        "errors": errors,
        "results": rows,
    }
    print(json.dumps(report))
    if wrong:
        names = ", ".join(wrong)
        raise SystemExit(f"{names}: further from the truth than the reference; nothing was timed")


if __name__ == "__main__":
    main()
