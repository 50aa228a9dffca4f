"""Which larger judge is advised, by what the machine has and what a token takes on it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from infill_engine import UNLIMITED, Budget, Draft, EngineConfig, EngineInfo, InfillRequest
from infill_ls.cli import doctor
from infill_ls.cli.judges import judge_advice
from infill_ls.cli.machine import Machine

MACHINE = Machine(
    system="Linux x86_64", cpu="a CPU", features=(), cores=4, cpus=8, memory_mb=16 * 1024,
    gpu=None, python="3.12", torch=None,
)  # fmt: skip
ENGINE = EngineInfo(
    model="default", parameters=1, device="cpu", dtype="int8", threads=1, canvas_lengths=(16,),
    max_tokens=64, prefix_tokens=99, suffix_tokens=99, noise="absorbing", source="here",
    judge="llama: 121 M parameters", judge_parameters=121_000_000, judge_ms=1.0,
)  # fmt: skip
GPU = "NVIDIA RTX 3060, 12288 MiB"
LARGE = replace(ENGINE, judge_parameters=7_600_000_000, judge_ms=2.0)


@pytest.mark.parametrize(
    ("machine", "engine", "said"),
    [
        (MACHINE, ENGINE, ["Qwen2.5-Coder-0.5B-Instruct-GGUF (0.7 GB, about 5 ms a token)"]),
        (MACHINE, replace(ENGINE, judge_ms=0.5), ["1.5B-Instruct-GGUF (1.1 GB, about 7 ms"]),
        (MACHINE, replace(ENGINE, judge_ms=4.0), ["for other machines", "about 21 ms a token"]),
        (replace(MACHINE, memory_mb=1600), replace(ENGINE, judge_ms=0.5), ["for other machines"]),
        (MACHINE, replace(ENGINE, judge=""), []),
        (MACHINE, replace(ENGINE, judge="off: too slow", judge_parameters=0, judge_ms=0.0), []),
        (MACHINE, replace(ENGINE, judge_ms=95.0), ["takes 95 ms a token", "--judge auto"]),
        (replace(MACHINE, gpu=GPU), ENGINE, ["7B-Instruct-GGUF (4.7 GB).", "its CUDA wheel"]),
        (replace(MACHINE, gpu="NVIDIA T400, 2048 MiB"), ENGINE, ["0.5B-Instruct-GGUF (0.7 GB)."]),
        (replace(MACHINE, gpu=GPU), LARGE, []),
        (
            replace(MACHINE, system="Darwin arm64"),
            ENGINE,
            [
                "pip install 'infill-ls[gguf]'; hf download Qwen/Qwen2.5-Coder-7B-Instruct-GGUF "
                "qwen2.5-coder-7b-instruct-q4_k_m.gguf --local-dir .; then --judge "
                "qwen2.5-coder-7b-instruct-q4_k_m.gguf."
            ],
        ),
    ],
)
def test_what_fits_is_advised_with_how_to_get_it(
    machine: Machine, engine: EngineInfo, said: list[str]
) -> None:
    advice = " ".join(judge_advice(machine, engine))
    assert all(part in advice for part in said)
    assert bool(advice) == bool(said)


class Lazy:
    """An engine whose judge is there once it was warmed, as the local one's is."""

    judge = "being loaded"

    def describe(self) -> EngineInfo:
        return replace(ENGINE, judge=self.judge)

    def warm(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> None:
        self.judge = "llama: here"

    def infill(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> Iterator[Draft]:
        yield Draft(text="a", fills=("a",), steps=1, tokens=1, mean_entropy=0.0)

    def forget(self) -> None: ...


def test_the_doctor_tells_of_the_judge_once_it_is_there() -> None:
    findings = doctor.examine(EngineConfig(), lambda config: Lazy())
    assert findings.engine is not None
    assert findings.engine.judge == "llama: here"
    assert "arger judge" in " ".join(findings.advice)
