"""What a user may choose about the engine, resolved once and passed on. Imports no tensors."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """`model` is "default" (the embedded one) or a folder/file of weights.

    `device` is "auto", "cpu" or "cuda"; `threads` None takes the physical cores, at most 4.
    `max_denoising_steps` None lets the canvas length decide.
    """

    model: str = "default"
    device: str = "auto"
    threads: int | None = None
    max_denoising_steps: int | None = None
    entropy_bound: float | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads={self.threads} must be at least 1, or unset for automatic")
        if self.max_denoising_steps is not None and self.max_denoising_steps < 1:
            raise ValueError(
                f"max_denoising_steps={self.max_denoising_steps} must be at least 1, or unset"
            )
        if self.entropy_bound is not None and not self.entropy_bound > 0:
            raise ValueError(f"entropy_bound={self.entropy_bound} must be above 0 nats, or unset")
