"""What a DiffusionGemma checkpoint says of itself: its loop's parameters, and what is quantised."""

from dataclasses import dataclass
from pathlib import Path

from infill_engine.config import EngineConfig, Format
from infill_engine.errors import ModelError
from infill_engine.models.checkpoint import (
    Checkpoint,
    inspect_weights,
    kind_of,
    read_config,
    read_json,
)

EXPERT_MATRICES = ("gate_up_proj", "down_proj")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationDefaults:
    """The loop's parameters as a checkpoint was published with them; temperatures from t_max to
    t_min, entropies in nats."""

    steps: int = 48
    entropy_bound: float = 0.1
    t_min: float = 0.4
    t_max: float = 0.8
    stop_entropy: float = 0.005


def read_defaults(folder: Path) -> GenerationDefaults:
    """What the checkpoint's generation_config.json says, and the published values otherwise."""
    told = read_json(folder / "generation_config.json")
    default = GenerationDefaults()
    sampler = told.get("sampler_config") or {}
    return GenerationDefaults(
        steps=told.get("max_denoising_steps") or default.steps,
        entropy_bound=sampler.get("entropy_bound") or default.entropy_bound,
        t_min=told.get("t_min") or default.t_min,
        t_max=told.get("t_max") or default.t_max,
        stop_entropy=told.get("confidence_threshold") or default.stop_entropy,
    )


def narrowed(name: str, wanted: Format) -> Format | None:
    """The experts are 90 % of the weights, and all that is quantised."""
    matrix = name.rpartition(".")[2]
    return wanted if ".experts." in name and matrix in EXPERT_MATRICES else None


def inspect_checkpoint(folder: Path, config: EngineConfig) -> Checkpoint:
    """What there is, read from the files' headers; a ModelError where it cannot be had as asked."""
    assert kind_of(folder) == "diffusion_gemma", "who loads has looked what it is"
    description = read_config(folder)
    found = inspect_weights(
        folder, description, config, narrowed="experts", narrows=narrowed, widens=True
    )
    if found.format and description.get("tie_word_embeddings") is False:
        raise ModelError(
            f"{folder} keeps the experts of its two passes apart, which {found.format} cannot; "
            "leave dtype unset"
        )
    return found
