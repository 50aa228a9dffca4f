"""`infill-ls doctor`: what runs here, how fast, and what would make it faster.

Looks and measures, changes nothing and draws nothing. What it says about speed it has measured in
this run.
"""

import textwrap
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from infill_engine import (
    Draft,
    Engine,
    EngineConfig,
    EngineInfo,
    InfillError,
    InfillRequest,
    Probe,
    Remote,
    installing,
)
from infill_engine.budget import UNLIMITED
from infill_ls import __version__
from infill_ls.cli.judges import judge_advice
from infill_ls.cli.machine import (
    Machine,
    busy_cpus,
    others_at_work,
    resident_mb,
    this_machine,
    version_of,
)
from infill_ls.cli.models import DIFFUSION_GEMMA, DREAMON, model_advice

NUM_RUNS = 7
# What the README promises for two cores; above it, advice is due.
GOOD_MS = 150.0
FIRST_SECONDS = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Milliseconds, but for the memory. `first` counts from the start of loading.

    A server does not tell what its encoding and its steps take, so of one these are None.
    """

    load: float
    first: float
    encode: float | None
    step: float | None
    judge: float | None
    infill: float
    steps: float | None
    resident_mb: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    machine: Machine
    engine: EngineInfo | None
    server: Probe | None
    speed: Speed | None
    busy: float
    model_error: str
    advice: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "infill_ls": __version__,
            "machine": asdict(self.machine),
            "libraries": {name: version_of(name) for name in ("torch", "transformers", "triton")},
            "engine": asdict(self.engine) if self.engine else None,
            "server": {"label": self.server.label} | rounded(asdict(self.server))
            if self.server
            else None,
            "ms": rounded(asdict(self.speed)) if self.speed else None,
            "busy_cores": round(self.busy, 2),
            "model_error": self.model_error,
            "advice": list(self.advice),
        }


def rounded(numbers: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 2) if isinstance(v, float) else v for k, v in numbers.items()}


def examine(config: EngineConfig, load: Callable[[EngineConfig], Engine]) -> Findings:
    machine = this_machine()
    findings = Findings(
        machine=machine,
        engine=None,
        server=None,
        speed=None,
        busy=busy_cpus(),
        model_error="",
        advice=(),
    )
    started = time.perf_counter()
    try:
        engine = load(config)
        server = engine.probe() if isinstance(engine, Remote) else None
        findings = replace(findings, engine=engine.describe(), server=server)
        # A judge that is still being loaded is there afterwards.
        speed = _measure(engine, started)
        findings = replace(findings, engine=engine.describe(), speed=speed)
    except InfillError as error:
        findings = replace(findings, model_error=str(error))
    return replace(findings, advice=tuple(_advice(findings)))


def _measure(engine: Engine, started: float) -> Speed:
    loaded = time.perf_counter()
    request = _request("self.fix_sentence_endings = ")
    # As a server asks that somebody waits for.
    _last(engine.infill(request, budget=UNLIMITED.within(FIRST_SECONDS)))
    first = time.perf_counter()
    runs: list[Draft] = []
    walls: list[float] = []
    for _ in range(NUM_RUNS):
        engine.warm(request)
        begun = time.perf_counter()
        runs.append(_last(engine.infill(request)))
        walls.append((time.perf_counter() - begun) * 1e3)
    here = not isinstance(engine, Remote)
    unread = _last(engine.infill(_request("return self._wrap_chunks("))) if here else None
    return Speed(
        load=(loaded - started) * 1e3,
        first=(first - started) * 1e3,
        encode=unread.encode_ms if unread else None,
        step=median(draft.denoise_ms / max(draft.steps, 1) for draft in runs) if here else None,
        judge=median(draft.judge_ms for draft in runs) if here else None,
        infill=median(walls),
        steps=median(draft.steps for draft in runs) if here else None,
        resident_mb=resident_mb(),
    )


def _request(before: str) -> InfillRequest:
    """The rest of a line of a module that everybody has, with the module around it."""
    text = Path(textwrap.__file__).read_text(encoding="utf-8")
    at = text.index(before) + len(before)
    end = text.index("\n", at)
    return InfillRequest(prefix=text[:at], suffix=text[end:], language_id="python", max_lines=1)


def _last(drafts: Iterator[Draft]) -> Draft:
    last = deque(drafts, maxlen=1)
    return last[0] if last else Draft(text="", fills=("",), steps=0, tokens=0, mean_entropy=0.0)


def _advice(findings: Findings) -> Iterator[str]:
    machine, engine, speed = findings.machine, findings.engine, findings.speed
    if findings.model_error:
        yield findings.model_error
    if findings.server:
        yield from findings.server.notes
    on_cpu = engine is not None and engine.device.startswith("cpu")
    if machine.gpu and on_cpu:
        if machine.torch is None:
            yield (
                f"There is a GPU ({machine.gpu}), which takes torch: {installing('gpu')}, "
                "then --device cuda."
            )
        elif "+cpu" in machine.torch:
            yield (
                f"There is a GPU ({machine.gpu}), but torch {machine.torch} is a build without "
                "CUDA. Install the CUDA build: pip install --upgrade --force-reinstall "
                "'infill-ls[gpu]'."
            )
        else:
            yield f"There is a GPU ({machine.gpu}) that the model does not use: try --device cuda."
    if not machine.gpu and not findings.server:
        yield (
            "No NVIDIA GPU was found, and the embedded model needs none. DreamOn (7.6 B "
            f"parameters) would need one with {DREAMON[0].gib:.0f} GiB, DiffusionGemma (25 B) with "
            f"{DIFFUSION_GEMMA[0].gib:.0f} GiB, both in 4 bits, here or on a server (--model URL)."
        )
    if not findings.server:
        yield from model_advice(machine, engine)
    if engine:
        yield from judge_advice(machine, engine)
    if others := others_at_work(findings.busy):
        yield f"{others}; on a quiet machine these times are shorter."
    x86 = machine.system.endswith(("x86_64", "AMD64"))
    if on_cpu and x86 and machine.features and "avx512f" not in machine.features:
        yield "This CPU has no AVX-512; one that has it, or AMX, multiplies matrices faster."
    if speed and speed.infill > GOOD_MS:
        yield (
            f"A line takes {speed.infill:.0f} ms here. If that comes too late while you type, the "
            'setting trigger "onDemand" has the editor ask only when you do.'
        )
    elif speed:
        yield f"A line takes {speed.infill:.0f} ms here, which is as fast as it should be."
