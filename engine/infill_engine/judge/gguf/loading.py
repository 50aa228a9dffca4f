"""A GGUF judge from its file, or the sentence why it cannot be one."""

import time
from pathlib import Path

from infill_engine.config import EngineConfig
from infill_engine.errors import ModelError
from infill_engine.judge.calibration import Calibration
from infill_engine.judge.gguf.judge import BRANCHES, NODES, PLACES, GgufJudge
from infill_engine.judge.gguf.library import library, release
from infill_engine.judge.gguf.model import KVCache, Model
from infill_engine.judge.gguf.vocabulary import GgufVocabulary
from infill_engine.judge.judge import JudgeInfo
from infill_engine.judge.llama import BEAMS, LlamaJudge
from infill_engine.judge.loading import load_embedded
from infill_engine.machine import free_memory, physical_cores

EXACT = "#exact"
MAGIC = b"GGUF"
# Tokens that are kept of a place: of what a CPU reads in seconds, of what a GPU reads in one.
ON_CPU, ON_GPU = 1024, 4096
BATCH = 64  # tokens of a pass
MEASURED = 16
DRAFTED = 32  # tokens of drafts that a pass verifies, at most
MOST_THREADS = 8
FASTEST_MS = 5.0  # of a pass, below which nothing is worth drafting
LINE = 10  # tokens of a line, or thereabouts
SPACE = 0.3e9  # bytes beside the weights: the cache, logits, what a pass computes with


def load_gguf(config: EngineConfig) -> GgufJudge:
    """The model that `config.judge` names, on the GPU where the wheel can use one. Raises
    ModelError."""
    path = Path(config.judge.removesuffix(EXACT)).expanduser()
    size = _checked(path)
    on_gpu = config.device != "cpu" and bool(library().llama_supports_gpu_offload())
    free = free_memory()
    if not on_gpu and free is not None and size + SPACE > free:
        raise ModelError(
            f"{path} needs {(size + SPACE) / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are "
            "free; take a smaller model or one of fewer bits"
        )
    model = Model(path, on_gpu=on_gpu)
    threads = config.threads or min(MOST_THREADS, physical_cores())
    context = min(ON_GPU if on_gpu else ON_CPU, model.trained_context)
    try:
        vocabulary = GgufVocabulary(model)
        cache = KVCache(
            model,
            room=PLACES * context + NODES + BATCH,
            sequences=PLACES + BRANCHES,
            batch=BATCH,
            threads=threads,
        )
        one_ms, cache.token_ms = measured(cache)
    except ModelError as error:
        raise ModelError(f"{path} cannot judge: {error}") from error
    where = "GPU" if on_gpu else f"{threads} CPU threads"
    filling = "" if vocabulary.fim is None else ", fills in the middle"
    return GgufJudge(
        cache,
        vocabulary,
        JudgeInfo(
            name=model.metadata("general.name") or path.stem,
            parameters=model.parameters,
            dtype=f"{model.description}{filling}",
            source=str(path),
            kernels=f"llama.cpp of xllamacpp {release()}, {where}",
            token_ms=cache.token_ms,
            # The end of the hole is of the same text, the head of the suffix is another.
            calibration=Calibration(weights=(1.0, float(vocabulary.fim is not None), 0, 0, 0)),
        ),
        context=context,
        exact=config.judge.endswith(EXACT),
        drafted=worth_verifying(one_ms, cache.token_ms),
        drafter=_drafter(one_ms),
    )


def _drafter(pass_ms: float) -> LlamaJudge | None:
    """The judge that is shipped, where it writes a line in the time of a pass of one token; several
    lines where that is long."""
    drafter = None if pass_ms < FASTEST_MS else load_embedded()[0]
    if drafter is None or LINE * drafter.describe().token_ms > pass_ms:
        return None
    if LINE * BEAMS * drafter.describe().token_ms > pass_ms:
        drafter.beams = 1
    return drafter


def measured(cache: KVCache) -> tuple[float, float]:
    """Milliseconds of a pass of one token, and of a token in one of some; the better of two."""
    taken = []
    for count in (1, MEASURED):
        times = []
        for _ in range(2):
            started = time.perf_counter()
            cache.read([0] * count, range(count), [[0]] * count, [True] * count)
            times.append(time.perf_counter() - started)
            cache.cut(0)
        taken.append(min(times) * 1e3)
    return taken[0], taken[1] / MEASURED


def worth_verifying(one_ms: float, token_ms: float) -> int:
    """How many tokens more a pass may take for it to last twice as long."""
    more_ms = (MEASURED * token_ms - one_ms) / (MEASURED - 1)
    return DRAFTED if more_ms * DRAFTED <= one_ms else max(int(one_ms / more_ms), 1)


def _checked(path: Path) -> int:
    """The size of a file that says it is a GGUF, in bytes, all parts of it."""
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
    except OSError as error:
        raise ModelError(
            f"cannot read the judge {path}: {error.strerror}; judge takes auto, off, a folder or a "
            "GGUF file on this machine"
        ) from error
    if head != MAGIC:
        raise ModelError(
            f"{path} is no GGUF file: it begins with {head!r}; take one whose name ends in .gguf"
        )
    first, of, last = path.name.partition("-00001-of-")
    parts = path.parent.glob(f"{first}-*{of[6:]}{last}") if of else (path,)
    return sum(part.stat().st_size for part in parts)
