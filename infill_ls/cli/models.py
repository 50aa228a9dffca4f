"""Which larger model of its own could infill here, and how it is named. Measures nothing itself."""

from collections.abc import Iterator
from dataclasses import dataclass

from infill_engine import EngineInfo
from infill_ls.cli.machine import Machine, accelerator_gb

# Nothing is advised to who has chosen a model with more parameters than this.
EMBEDDED = 100_000_000
GIB = 1 << 30
# Of a GPU's memory; the screen and other programs have the rest.
MODELS_SHARE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A model on the Hugging Face hub in a `--dtype`; `gib` are its weights and what a step needs
    beside them, by arithmetic from its config.json, not measured."""

    model: str
    dtype: str
    parameters: float
    gib: float

    @property
    def options(self) -> str:
        dtype = f" --dtype {self.dtype}" if self.dtype != "auto" else ""
        return f"--model hub:{self.model}{dtype}"


def _tiers(
    model: str, matrices: float, tables: float, others: float, space: float, tables_follow: bool
) -> Iterator[Tier]:
    """In 4 bits, 8 bits and as stored; `tables` keep 8 bits, or 16 where they do not follow."""
    for dtype, bits in (("int4", 4.5), ("fp8", 8.0), ("auto", 16.0)):
        rest = 8.0 if tables_follow and dtype != "auto" else 16.0
        weights = matrices * bits + tables * rest + others * 16
        yield Tier(
            model=model,
            dtype=dtype,
            parameters=matrices + tables + others,
            gib=weights / 8 / GIB + space,
        )


# What is made smaller, the table of tokens with the head, and the rest, in weights.
DREAMON = tuple(_tiers("Dream-org/DreamOn-v0-7B", 6.525e9, 1.090e9, 0.4e6, 1.5, True))
DIFFUSION_GEMMA = tuple(
    _tiers("google/diffusiongemma-26B-A4B-it", 22.838e9, 0.738e9, 1.674e9, 3.0, False)
)


def model_advice(machine: Machine, engine: EngineInfo | None) -> Iterator[str]:
    """The largest form of each model that a GPU here has memory for."""
    gib = accelerator_gb(machine) * MODELS_SHARE
    if engine is None or engine.parameters > EMBEDDED or not gib:
        return
    found = [
        max((tier for tier in tiers if tier.gib <= gib), key=lambda tier: tier.gib, default=None)
        for tiers in (DREAMON, DIFFUSION_GEMMA)
    ]
    named = [
        f"{tier.options} ({tier.parameters / 1e9:.1f} B parameters, {tier.gib:.1f} GiB)"
        for tier in found
        if tier is not None
    ]
    if named:
        yield f"Larger models infill here too, by their size: {' or '.join(named)}."
