"""Which larger language model could judge here, and how to get it. Measures nothing itself."""

from collections.abc import Iterator
from dataclasses import dataclass

from infill_engine import EngineInfo, installing
from infill_ls.cli.machine import Machine, accelerator_gb

# What a token may take to be of use while somebody types: the judge that is shipped leaves itself
# out above it.
USEFUL_MS = 8.0
SPACE_GB = 1.0  # beside the file, for what it computes with


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A GGUF file on the Hugging Face hub that fills in the middle of code."""

    repository: str
    file: str
    gigabytes: float
    parameters: float


# The smallest first; all under Apache-2.0.
DOWNLOADS = tuple(
    Download(
        repository=f"Qwen/Qwen2.5-Coder-{size}-Instruct-GGUF",
        file=f"qwen2.5-coder-{size.lower()}-instruct-{bits}.gguf",
        gigabytes=gigabytes,
        parameters=parameters,
    )
    for size, bits, gigabytes, parameters in (
        ("0.5B", "q8_0", 0.7, 0.63e9),
        ("1.5B", "q4_k_m", 1.1, 1.78e9),
        ("7B", "q4_k_m", 4.7, 7.6e9),
    )
)


def judge_advice(machine: Machine, engine: EngineInfo) -> Iterator[str]:
    """Nothing where there is no judge by choice, or the one there is is the largest that fits."""
    if not engine.judge:
        return
    if engine.judge_ms > USEFUL_MS:
        yield (
            f"The judge takes {engine.judge_ms:.0f} ms a token here; above {USEFUL_MS:.0f} it is "
            "rarely done while you type. --judge auto uses the one that is shipped, where that is "
            "fast enough."
        )
        return
    gigabytes = accelerator_gb(machine)
    fits = (gigabytes or (machine.memory_mb or 0) / 1024) - SPACE_GB
    each_ms = 0.0 if gigabytes else engine.judge_ms / max(engine.judge_parameters, 1)
    unknown = not gigabytes and not engine.judge_ms
    found = [
        download
        for download in DOWNLOADS
        if download.gigabytes <= fits and each_ms * download.parameters <= USEFUL_MS
    ]
    if not unknown and found and found[-1].parameters > 1.1 * engine.judge_parameters:
        yield from _how(found[-1], each_ms, machine)
    elif not unknown and not found and fits > 0:
        smallest = DOWNLOADS[0]
        yield (
            f"A larger judge is for other machines: the smallest, {smallest.repository}, would "
            f"take about {each_ms * smallest.parameters:.0f} ms a token here and "
            f"{smallest.gigabytes} GB."
        )


def _how(download: Download, each_ms: float, machine: Machine) -> Iterator[str]:
    took = f", about {each_ms * download.parameters:.0f} ms a token" if each_ms else ""
    wheel = ", its CUDA wheel" if machine.gpu else ""
    yield (
        f"A larger judge fits here: {download.repository} ({download.gigabytes} GB{took}). "
        f"{installing('gguf')}{wheel}; hf download {download.repository} {download.file} "
        f"--local-dir .; then --judge {download.file}."
    )
