"""From a configuration to a running engine. Tensor libraries are imported here and not before."""

import os
from concurrent.futures import Future
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from infill_engine.config import HUB, EngineConfig
from infill_engine.errors import ModelError
from infill_engine.progress import LoadProgress, silent
from infill_engine.remedies import has_gpu, installing, named
from infill_engine.request import Engine

if TYPE_CHECKING:
    from infill_engine.judge.judge import Judge


def load_engine(config: EngineConfig, progress: LoadProgress = silent) -> Engine:
    """Loads the model that `config` names; takes a second or more and much of the memory.

    A large one reports on the way: what is being done, and which share of that is.
    Raises ModelError when there is no usable model, with the remedy.
    """
    try:
        return _loaded(config, progress)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise _without_torch(config) from error


def _loaded(config: EngineConfig, progress: LoadProgress) -> Engine:
    if config.is_remote:
        check_no_adapter(config)
        from infill_engine.remote.engine import RemoteEngine

        return RemoteEngine(config)
    # Threads that spin while they wait make a busy machine ten to a hundred times slower; this is
    # read once, when torch loads OpenMP.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from infill_engine.local import LocalEngine

    if is_checkpoint(config.model):
        from infill_engine.models.checkpoint import kind_of
        from infill_engine.models.hub import check_name, find_checkpoint

        check_name(config.model)
        # Before gigabytes are fetched that nothing here could compute.
        import_module("torch")
        folder = find_checkpoint(config.model, progress)
        if kind_of(folder) == "masked_qwen2":
            from infill_engine.models.masked_qwen2.denoiser import load_masked_qwen2

            return LocalEngine(load_masked_qwen2(config, progress, folder), named_judge(config))
        from infill_engine.models.diffusion_gemma.denoiser import load_diffusion_gemma

        return LocalEngine(load_diffusion_gemma(config, progress, folder))
    from infill_engine.models.two_sided.loading import load_default

    check_no_adapter(config)
    if config.judge == "auto":
        from infill_engine.judge.awaited import coming
        from infill_engine.judge.loading import load_embedded
        from infill_kernels.native import native

        native()  # found or compiled once, not by both threads
        # Beside the model, and once that is there beside its first answer.
        judge = coming(partial(load_embedded, config.threads))
        return LocalEngine(load_default(config), judge)
    return LocalEngine(load_default(config), named_judge(config))


def check_no_adapter(config: EngineConfig) -> None:
    if config.adapter:
        raise ModelError(
            f"{named('adapter', config.adapter)} is for DiffusionGemma, DreamOn and their like, "
            f"and the model is {config.model!r}; name the one it was trained on, or leave it unset"
        )


def named_judge(config: EngineConfig) -> "Future[tuple[Judge | None, str]] | None":
    """The judge that is asked for by name, which has to be there; None where none is."""
    if config.judge in ("auto", "off"):
        return None
    from infill_engine.judge.awaited import at_hand

    path = Path(config.judge).expanduser()
    if path.is_dir():
        from infill_engine.judge.loading import load_llama

        return at_hand(load_llama(path, config.threads))
    from infill_engine.judge.gguf.loading import load_gguf

    return at_hand(load_gguf(config))


def _without_torch(config: EngineConfig) -> ModelError:
    """The embedded model takes it only where no routine for this CPU can be used, or not for what
    was asked."""
    from infill_kernels.native import native

    level, reason = native()
    if not has_gpu(config.device):
        return ModelError(
            f"{named('device', config.device)} takes a GPU, and none was found here; use "
            "cpu or auto."
        )
    extra = "gpu" if is_checkpoint(config.model) else "torch"
    asked = [
        named(name, getattr(config, name))
        for name in ("model", "device", "dtype")
        if getattr(config, name) != getattr(EngineConfig(), name)
    ]
    what = " with ".join(asked) or "the embedded model"
    why = "" if level else f", because here {reason}"
    return ModelError(
        f"{what} is computed by torch{why}, which is not installed; {installing(extra)} adds it."
    )


def is_checkpoint(model: str) -> bool:
    """Whether `model` is what transformers saves: a folder with a config.json, or on the hub.

    So is a name such as OWNER/NAME that is nothing here: its error says how the hub is asked.
    """
    path = Path(model).expanduser()
    if model.startswith(HUB) or (path / "config.json").is_file():
        return True
    names_a_file = path.exists() or path.is_absolute() or path.suffix == ".safetensors"
    return not names_a_file and model.count("/") == 1
