"""Requests become texts with holes, and drafts come back; whatever the model says."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from infill_engine import EngineConfig, Hole, InfillRequest
from infill_engine.budget import Budget
from infill_engine.canvas import PINNED, Canvas
from infill_engine.local import LocalEngine
from infill_engine.models.masked_qwen2.denoiser import MaskedQwen2
from infill_engine.models.masked_qwen2.text import QwenText
from infill_engine.sampler import EntropyBound
from tests.engine.tiny_qwen import BOS, EOS, MASK, VOCAB

REQUEST = InfillRequest(
    prefix="def area(width, height):\n    ret",
    suffix="\n\n\nclass Point:\n    def __init__(self, x, y):\n        self.x = x\n",
    language_id="python",
)
FEW = EngineConfig(max_denoising_steps=5)


class Watch:
    """A denoiser that notes the canvas it is given at every step."""

    def __init__(self, inner: MaskedQwen2) -> None:
        self.inner = inner
        self.seen: list[Canvas] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def step(self, canvas: Canvas, *given: Any, **named: Any) -> Any:
        self.seen.append(canvas)
        return self.inner.step(canvas, *given, **named)


@pytest.fixture(params=["dreamon", "dcoder"])
def denoiser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> MaskedQwen2:
    found: MaskedQwen2 = request.getfixturevalue(request.param)
    monkeypatch.setattr(found, "_config", replace(found._config, max_denoising_steps=5))
    return found


def last(engine: LocalEngine[Any], request: InfillRequest) -> Any:
    return [*engine.infill(request)][-1]


# Text


def test_the_two_files_of_a_vocabulary_say_what_a_tokenizer_json_does(
    dreamon: MaskedQwen2, dcoder: MaskedQwen2
) -> None:
    for source in ("def f(x):\n    return x + 12\n\n\t# it's\r\n", "é🙂漢字  \n", "", "<|mask|>"):
        ids = dreamon.tokens(source)
        assert ids == dcoder.tokens(source)
        assert dreamon.decode(ids) == source.encode()
        assert not set(ids) & dreamon.text.special


def test_what_a_file_spells_is_text_even_where_a_token_is_called_so(dreamon: MaskedQwen2) -> None:
    source = "x = '<|endoftext|><|fim_prefix|><|expand|>'"

    assert dreamon.decode(dreamon.tokens(source)) == source.encode()


def test_a_text_begins_and_ends_as_published(dreamon: MaskedQwen2, dcoder: MaskedQwen2) -> None:
    ours, plain = dreamon.sides(REQUEST), dcoder.sides(REQUEST)

    assert ours.prefix_ids[0] == BOS
    assert ours.suffix_ids[-1] == EOS
    assert ours.prefix_ids[1:] == plain.prefix_ids
    assert ours.suffix_ids[:-1] == plain.suffix_ids
    assert not {BOS, EOS} & {*plain.prefix_ids, *plain.suffix_ids}
    assert ours.healed_prefix
    text = dreamon.decode([*ours.prefix_ids]) + ours.healed_prefix
    assert text.decode() == REQUEST.prefix


def test_the_end_of_a_file_that_is_not_seen_is_not_told(dreamon: MaskedQwen2) -> None:
    long = "".join(f"\nvalue_{n} = {n}" for n in range(3000))

    sides = dreamon.sides(replace(REQUEST, prefix=long, suffix=long))

    assert EOS not in sides.suffix_ids
    assert len(sides.prefix_ids) <= 1280
    assert 256 < len(sides.suffix_ids) <= 512
    assert long.encode().startswith(dreamon.decode([*sides.suffix_ids]))


def test_a_model_without_a_beginning_or_a_mask_says_so(
    dreamon_folder: Path, tmp_path: Path
) -> None:
    assert QwenText(dreamon_folder, VOCAB, {}).mask == MASK


# The canvas


def test_rows_start_from_several_lengths_and_have_room_for_the_longest(
    dreamon: MaskedQwen2, dcoder: MaskedQwen2
) -> None:
    for denoiser in (dreamon, dcoder):
        sides = denoiser.sides(REQUEST)
        canvas = denoiser.canvas([0], (4, 16, 64), sides, REQUEST)

        assert (canvas.token_ids == MASK).sum(-1).tolist() == [4, 16, 64]
        tail = [*sides.suffix_ids]
        for ids, holes in zip(canvas.token_ids.tolist(), canvas.hole.tolist(), strict=True):
            assert ids[64:] == tail[: len(ids) - 64]
            assert holes[64:] == [PINNED] * len(ids[64:])
    # Only holes that may grow are free where nothing is yet.
    free = [d.canvas([0], (4, 64), d.sides(REQUEST), REQUEST).free for d in (dreamon, dcoder)]
    assert free[0].sum(-1).tolist() == [64, 64]
    assert free[1].sum(-1).tolist() == [4, 64]


def test_greedy_decides_by_entropy_and_a_judge_allows_more(dreamon: MaskedQwen2) -> None:
    sides = dreamon.sides(REQUEST)
    canvas = dreamon.canvas([0], (8,), sides, REQUEST)

    bound = dreamon.config(canvas, REQUEST, sides).sampler
    one_cell = dreamon.config(canvas, replace(REQUEST, temperature=1.0), sides)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dreamon, "_config", replace(dreamon._config, judge="judge.gguf"))
        judged = dreamon.config(canvas, REQUEST, sides).sampler

    assert isinstance(bound, EntropyBound)
    assert isinstance(judged, EntropyBound)
    assert 0 < bound.bound < judged.bound
    assert isinstance(one_cell.sampler, EntropyBound)
    assert one_cell.sampler.bound < 0
    assert one_cell.schedule.temperature(1, 2) == pytest.approx(0.2)


# The engine


def test_text_comes_back_for_text(denoiser: MaskedQwen2) -> None:
    draft = last(LocalEngine(denoiser), REQUEST)

    assert draft.text == draft.fills[0]
    assert draft.steps >= 1
    assert draft.likelihood < 0
    assert draft.join < 0


def test_the_answer_depends_on_nothing_asked_before(denoiser: MaskedQwen2) -> None:
    def told(engine: LocalEngine[Any], request: InfillRequest) -> tuple[str, float, float]:
        draft = last(engine, request)
        return draft.text, draft.likelihood, draft.join

    once = told(LocalEngine(denoiser), REQUEST)
    engine = LocalEngine(denoiser)
    engine.warm(replace(REQUEST, prefix=REQUEST.prefix[:-5]))
    told(engine, replace(REQUEST, suffix=""))

    assert told(engine, REQUEST) == once
    assert told(engine, REQUEST) == once


def test_only_text_comes_out_pins_stay_and_a_line_stays_one(denoiser: MaskedQwen2) -> None:
    watch = Watch(denoiser)
    request = replace(REQUEST, temperature=1.0, max_lines=1)

    drafts = list(LocalEngine(watch).infill(request))

    start = watch.seen[0]
    for canvas in watch.seen:
        pins = canvas.hole == PINNED
        assert canvas.token_ids[pins].equal(start.token_ids[pins])
        kept = canvas.token_ids[~pins]
        assert {*kept.tolist()} & denoiser.text.special <= {MASK}
    assert not any("\n" in draft.text or "<|" in draft.text for draft in drafts)


def test_pinned_text_comes_back_verbatim(denoiser: MaskedQwen2) -> None:
    middle = ("for ", Hole(max_tokens=4), " in enumerate(", Hole(max_tokens=20), "):")

    draft = last(LocalEngine(denoiser), replace(REQUEST, middle=middle))

    assert draft.text == f"for {draft.fills[0]} in enumerate({draft.fills[1]}):"


@pytest.mark.parametrize("allowed_steps", [0, 2])
def test_a_cancelled_request_makes_no_further_step(
    denoiser: MaskedQwen2, allowed_steps: int
) -> None:
    watch = Watch(denoiser)

    budget = Budget(cancelled=lambda: len(watch.seen) >= allowed_steps)
    drafts = list(LocalEngine(watch).infill(REQUEST, budget=budget))

    assert len(watch.seen) == len(drafts) == allowed_steps


def test_a_deadline_ends_with_the_best_so_far(denoiser: MaskedQwen2) -> None:
    engine = LocalEngine(denoiser)
    engine.warm(REQUEST)

    *_, draft = engine.infill(REQUEST, budget=Budget(deadline=time.monotonic() - 1))

    assert draft.steps == 1
    assert not draft.converged
    assert MASK not in denoiser.tokens(draft.text)


def test_a_long_file_is_read_once_and_near_the_hole_at_every_step(dreamon: MaskedQwen2) -> None:
    long = "".join(f"\nvalue_{n} = {n}" for n in range(300))
    sides = dreamon.sides(replace(REQUEST, prefix=long, suffix=long))

    memory = dreamon.encode(sides, None)

    assert memory.frozen is not None
    assert memory.frozen.num_before == len(sides.prefix_ids) - 128
    assert memory.frozen.num_after == len(sides.suffix_ids) - 128
    assert dreamon.encode(sides, memory) is memory
    assert dreamon.reusable(memory, sides) == len(sides.prefix_ids) + len(sides.suffix_ids)
    assert dreamon.reusable(memory, dreamon.sides(REQUEST)) == 0


def test_a_hole_without_anything_behind_it_is_filled(denoiser: MaskedQwen2) -> None:
    draft = last(LocalEngine(denoiser), replace(REQUEST, suffix="", middle=(Hole(max_tokens=8),)))

    assert draft.tokens <= 10
