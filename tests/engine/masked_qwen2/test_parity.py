"""Our forward is transformers' under a full mask, and our loop the published ones."""

from collections import Counter
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")

from infill_engine.canvas import PINNED, Canvas, fill_ids
from infill_engine.denoise import DenoiseConfig, denoise
from infill_engine.early_stop import Decided
from infill_engine.elastic import Elastic
from infill_engine.models.masked_qwen2.denoiser import MaskedQwen2
from infill_engine.models.masked_qwen2.stepping import Stepping
from infill_engine.noise import Remasking
from infill_engine.sampler import EntropyBound, MostProbable
from infill_engine.schedule import Constant
from tests.engine.masked_qwen2 import published
from tests.engine.tiny_qwen import BOS, EOS, EXPAND, FIM, LEARNED, MASK, VOCAB

ABSENT = VOCAB
TEXTLESS = [at for at in range(LEARNED, VOCAB) if at not in (EOS, EXPAND)]


def theirs(folder: Any) -> Any:
    """The checkpoint as transformers' own Qwen2, which is causal unless a mask says otherwise."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config.from_pretrained(folder)
    return Qwen2ForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def their_dreamon(dreamon_folder: Any) -> Any:
    return theirs(dreamon_folder)


@pytest.fixture(scope="module")
def their_dcoder(dcoder_folder: Any) -> Any:
    return theirs(dcoder_folder)


def text(length: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(LEARNED, (length,), generator=generator).tolist()


@pytest.mark.parametrize("which", ["dreamon", "dcoder"])
def test_the_forward_is_transformers_qwen2_under_a_full_mask(
    which: str, request: pytest.FixtureRequest
) -> None:
    ours: MaskedQwen2 = request.getfixturevalue(which)
    model = request.getfixturevalue(f"their_{which}")
    ids = torch.tensor([text(40, 1), text(40, 2)])

    with torch.inference_mode():
        positions = torch.arange(40).expand_as(ids)
        logits = ours.network.logits(ours.network.hidden(ids, positions).flatten(0, 1))

    expected = published.full_attention(model, ids).flatten(0, 1)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=2e-4)
    with torch.inference_mode():
        causal = model(input_ids=ids).logits.flatten(0, 1)
    assert float((causal - expected).abs().max()) > 0.1, "the check above can fail"


def stepping(ours: MaskedQwen2, forbidden: list[int], top_p: float, near: int = 999) -> Stepping:
    never = torch.zeros(VOCAB, dtype=torch.bool)
    never[forbidden] = True
    expand = ours.text.expand
    return Stepping(
        ours.network, never, mask=MASK, absent=ABSENT, expand=expand, near=near, top_p=top_p
    )


class Steps:
    """A stepper for the loop, of decided cells too or not."""

    def __init__(self, inner: Stepping, decided: bool) -> None:
        self.inner, self.decided = inner, decided

    def step(self, *given: Any, **named: Any) -> Any:
        return self.inner.step(*given, **named, decided=self.decided)


def canvas(cells: int, most: int, suffix: list[int]) -> Canvas:
    ends = torch.zeros(VOCAB + 1, dtype=torch.bool)
    ends[ABSENT] = True
    return Canvas(
        token_ids=torch.tensor([[MASK] * cells + [ABSENT] * (most - cells) + suffix]),
        hole=torch.tensor([[0] * most + [PINNED] * len(suffix)]),
        ends=ends,
        end_id=ABSENT,
    )


@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (0.2, 0.9), (1.0, 0.9)])
def test_one_cell_a_step_is_dreamons_published_loop(
    dreamon: MaskedQwen2, their_dreamon: Any, temperature: float, top_p: float
) -> None:
    seen: Counter[str] = Counter()
    for seed, start in enumerate((1, 4, 8, 12, 4, 8)):
        prefix, suffix = [BOS, *text(9, seed)], [*text(7, seed + 50), EOS]
        config = DenoiseConfig(
            max_denoising_steps=256,
            noise=Elastic(mask_id=MASK, expand_id=EXPAND, delete_id=EOS),
            sampler=EntropyBound(bound=-1.0),
            schedule=Constant(temperature),
            early_stop=Decided(),
        )
        inner = stepping(dreamon, TEXTLESS, top_p)
        board = canvas(start, 12, suffix)
        *_, last = denoise(
            board,
            Steps(inner, decided=False),
            inner.encode(prefix, suffix),
            config,
            generator=torch.Generator().manual_seed(seed),
        )
        expected, passes = published.dreamon(
            their_dreamon,
            prefix,
            suffix,
            start=start,
            most=12,
            forbidden=TEXTLESS,
            temperature=temperature,
            top_p=top_p,
            generator=torch.Generator().manual_seed(seed),
        )

        assert fill_ids(last.token_ids, board, 0) == [expected]
        assert last.num_steps == passes
        assert bool(last.converged.all())
        seen["longer" if len(expected) > start else "shorter" if len(expected) < start else ""] += 1
    assert {"longer", "shorter"} <= set(seen), f"{seen}: holes have to grow and to shrink here"


@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (0.6, 0.95)])
def test_masking_the_least_sure_again_is_open_dcoders_published_loop(
    dcoder: MaskedQwen2, their_dcoder: Any, temperature: float, top_p: float
) -> None:
    forbidden = [EOS, FIM, EXPAND, *TEXTLESS]
    for seed, (cells, steps) in enumerate([(12, 12), (12, 5), (16, 8), (1, 1), (20, 20)]):
        prefix, suffix = text(9, seed), text(7, seed + 50)
        config = DenoiseConfig(
            max_denoising_steps=steps,
            noise=Remasking(mask_id=MASK, num_steps=steps),
            sampler=MostProbable(),
            schedule=Constant(temperature),
            early_stop=Decided(),
        )
        inner = stepping(dcoder, forbidden, top_p)
        board = canvas(cells, cells, suffix)
        *_, last = denoise(
            board,
            Steps(inner, decided=True),
            inner.encode(prefix, suffix),
            config,
            generator=torch.Generator().manual_seed(seed),
        )
        expected, passes = published.open_dcoder(
            their_dcoder,
            prefix,
            suffix,
            cells=cells,
            steps=steps,
            forbidden=forbidden,
            temperature=temperature,
            top_p=top_p,
            generator=torch.Generator().manual_seed(seed),
        )

        assert fill_ids(last.token_ids, board, 0) == [expected]
        assert last.num_steps == passes
