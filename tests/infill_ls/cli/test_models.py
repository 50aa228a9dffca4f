"""Which larger model is advised, by the GPU's memory; the figures are those of the sizes."""

from dataclasses import replace

import pytest

from infill_ls.cli.models import DIFFUSION_GEMMA, DREAMON, model_advice
from tests.infill_ls.cli.test_judges import ENGINE, MACHINE


@pytest.mark.parametrize(
    ("mib", "said"),
    [
        (4096, []),
        (8188, ["--model hub:Dream-org/DreamOn-v0-7B --dtype int4 (7.6 B parameters, 5.9 GiB)"]),
        (16380, ["DreamOn-v0-7B --dtype fp8 (7.6 B parameters, 8.6 GiB)."]),
        (
            24564,
            [
                "DreamOn-v0-7B (7.6 B parameters, 15.7 GiB) or ",
                "diffusiongemma-26B-A4B-it --dtype int4 (25.2 B parameters, 19.5 GiB)",
            ],
        ),
        (81559, ["DreamOn-v0-7B (", "diffusiongemma-26B-A4B-it (25.2 B parameters, 50.0 GiB)"]),
    ],
)
def test_the_largest_that_fits_is_named(mib: int, said: list[str]) -> None:
    machine = replace(MACHINE, gpu=f"NVIDIA card, {mib} MiB")

    advice = " ".join(model_advice(machine, ENGINE))

    assert all(part in advice for part in said), advice
    assert bool(advice) == bool(said)
    assert "None" not in advice


def test_nothing_is_advised_to_who_has_no_gpu_or_has_chosen() -> None:
    gpu = replace(MACHINE, gpu="NVIDIA card, 24564 MiB")

    assert not [*model_advice(MACHINE, ENGINE)]
    assert not [*model_advice(gpu, replace(ENGINE, parameters=7_600_000_000))]
    assert not [*model_advice(gpu, None)]


def test_dreamons_figures_are_those_of_qwen2_7b() -> None:
    """Sizes as Dream-org/DreamOn-v0-7B/config.json has them."""
    width, hidden, layers, vocab, kv = 3584, 18944, 28, 152064, 512
    matrices = layers * (2 * width * width + 2 * kv * width + 3 * width * hidden)
    tables = 2 * vocab * width

    four, eight, whole = (tier.gib - 1.5 for tier in DREAMON)
    gib = 1 << 30
    assert four == pytest.approx((matrices * 4.5 / 8 + tables) / gib, rel=0.002)
    assert eight == pytest.approx((matrices + tables) / gib, rel=0.002)
    assert whole == pytest.approx(2 * (matrices + tables) / gib, rel=0.002)
    assert [tier.dtype for tier in DIFFUSION_GEMMA] == ["int4", "fp8", "auto"]
