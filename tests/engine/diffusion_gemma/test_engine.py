"""The engine over DiffusionGemma: drafts, pins, blocks, budgets and scores."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from infill_engine import EngineConfig, Hole, InfillRequest
from infill_engine.budget import Budget
from infill_engine.canvas import Canvas
from infill_engine.denoiser import Sides
from infill_engine.local import LocalEngine
from infill_engine.models.diffusion_gemma import denoiser as denoiser_module
from infill_engine.models.diffusion_gemma.denoiser import DiffusionGemma, load_diffusion_gemma
from infill_engine.models.diffusion_gemma.network import Memory

pytest.importorskip("transformers")
from tests.engine.diffusion_gemma.passes import theirs

REQUEST = InfillRequest(
    prefix="def area(width, height):\n    ret",
    suffix="\n\n\nclass Point:\n    def __init__(self, x, y):\n        self.x = x\n",
    language_id="python",
    num_candidates=3,
)


@pytest.fixture
def engine(denoiser: DiffusionGemma) -> LocalEngine:
    return LocalEngine(denoiser)


class Watch:
    """A denoiser that notes the canvas it is given at every step."""

    def __init__(self, inner: DiffusionGemma) -> None:
        self.inner = inner
        self.seen: list[Canvas] = []
        self.sides_encoded: list[Sides] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def encode(self, sides: Sides, *given: Any, **named: Any) -> Memory:
        self.sides_encoded.append(sides)
        return self.inner.encode(sides, *given, **named)

    def step(self, canvas: Canvas, *given: Any, **named: Any) -> Any:
        self.seen.append(canvas)
        return self.inner.step(canvas, *given, **named)


def test_text_comes_back_for_text(engine: LocalEngine) -> None:
    drafts = list(engine.infill(REQUEST))

    final = drafts[-1]
    assert final.text == final.fills[0]
    assert final.tokens > 0
    assert final.steps >= 1
    assert final.likelihood < 0
    assert final.join < 0
    assert len(final.others) >= 2
    assert len({draft.text for draft in (final, *final.others)}) == 1 + len(final.others)
    assert final.cells[-1].state == "pinned"


def test_the_best_join_wins(engine: LocalEngine) -> None:
    *_, final = engine.infill(replace(REQUEST, max_lines=1))

    ranks = [draft.likelihood + draft.join for draft in (final, *final.others)]
    assert ranks == sorted(ranks, reverse=True)


def test_the_answer_depends_on_nothing_asked_before(
    denoiser: DiffusionGemma, engine: LocalEngine
) -> None:
    def last(engine: LocalEngine, request: InfillRequest) -> tuple[str, float, float]:
        *_, draft = engine.infill(request)
        return draft.text, draft.likelihood, draft.join

    once = last(LocalEngine(denoiser), REQUEST)
    engine.warm(replace(REQUEST, prefix=REQUEST.prefix[:-5]))
    last(engine, replace(REQUEST, prefix="x = 1\n" + REQUEST.prefix))
    last(engine, replace(REQUEST, suffix=""))

    assert last(engine, REQUEST) == once
    assert last(engine, REQUEST) == once


def test_another_seed_gives_other_noise(engine: LocalEngine) -> None:
    texts = {[*engine.infill(replace(REQUEST, seed=seed))][-1].text for seed in range(3)}

    assert len(texts) > 1


def test_special_tokens_are_neither_noise_nor_answer_and_pins_stay(
    denoiser: DiffusionGemma,
) -> None:
    watch = Watch(denoiser)
    forbidden = denoiser._forbidden

    drafts = list(LocalEngine(watch).infill(replace(REQUEST, temperature=1.0)))

    assert len(watch.seen) >= 2
    starts: dict[int, Canvas] = {}
    for canvas in watch.seen:
        start = starts.setdefault(id(canvas.hole), canvas)
        assert not bool(forbidden[canvas.token_ids[canvas.free]].any())
        assert torch.equal(canvas.token_ids[~canvas.free], start.token_ids[~start.free])
    assert all("<" not in draft.text or "|" not in draft.text for draft in drafts)


def test_pinned_text_comes_back_verbatim(engine: LocalEngine) -> None:
    middle = ("for ", Hole(max_tokens=4), " in enumerate(", Hole(max_tokens=6), "):")

    *_, draft = engine.infill(replace(REQUEST, middle=middle))

    assert draft.text.startswith("for ")
    assert " in enumerate(" in draft.text
    assert draft.text.endswith("):")
    assert draft.text == middle[0] + draft.fills[0] + middle[2] + draft.fills[1] + middle[4]
    assert draft.others


def test_a_joined_hole_is_done_and_an_open_one_goes_on_in_the_next_canvas(
    denoiser: DiffusionGemma, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(denoiser)
    closed = [*LocalEngine(watch).infill(replace(REQUEST, num_candidates=1))][-1]
    assert len(watch.sides_encoded) == 1
    assert closed.tokens <= 64

    watch = Watch(denoiser)
    monkeypatch.setattr(denoiser_module, "OPEN_LENGTH", 32)
    monkeypatch.setattr(denoiser_module, "HOLE_LENGTHS", (32,))
    long = replace(REQUEST, prefix="for index in", middle=(Hole(max_tokens=80),))
    assert denoiser.sides(long).healed_prefix == b""
    draft = [*LocalEngine(watch).infill(long)][-1]

    first, second, third = watch.sides_encoded
    assert len(second.prefix_ids) == len(first.prefix_ids) + 32
    assert len(third.prefix_ids) == len(first.prefix_ids) + 64
    assert draft.tokens == 80
    *_, last = watch.seen
    assert last.free.tolist() == [[True] * 16 + [False] * 16]


@pytest.mark.parametrize("allowed_steps", [0, 1, 3])
def test_a_cancelled_request_makes_no_further_step(
    denoiser: DiffusionGemma, allowed_steps: int
) -> None:
    watch = Watch(denoiser)

    drafts = list(
        LocalEngine(watch).infill(
            REQUEST, budget=Budget(cancelled=lambda: len(watch.seen) >= allowed_steps)
        )
    )

    assert len(watch.seen) == allowed_steps
    assert len(drafts) == allowed_steps
    assert all(draft.likelihood != draft.likelihood for draft in drafts)  # none is final


def test_a_deadline_ends_with_the_best_so_far(denoiser: DiffusionGemma) -> None:
    watch = Watch(denoiser)
    late = Budget(deadline=time.monotonic() - 1)

    engine = LocalEngine(watch)

    assert list(engine.infill(REQUEST, budget=late)) == []  # nothing was encoded yet
    engine.warm(REQUEST)
    *_, draft = engine.infill(REQUEST, budget=late)

    assert len(watch.seen) == 1
    assert draft.steps == 1
    assert draft.likelihood < 0
    assert not draft.converged


def test_scores_are_the_models_own_log_probabilities(folder: Path) -> None:
    from transformers import DiffusionGemmaForBlockDiffusion

    denoiser = load_diffusion_gemma(EngineConfig(model=str(folder)))
    model = DiffusionGemmaForBlockDiffusion.from_pretrained(folder)
    sides = denoiser.sides(REQUEST)
    memory = denoiser.encode(sides, None)
    rows = [denoiser.tokens("return width"), denoiser.tokens("for x in y:\n    pass")]
    with torch.inference_mode():
        scored = denoiser.score(memory, sides, rows)

    for row, score in zip(rows, scored, strict=True):
        width = max(map(len, rows)) + denoiser_module.TAIL_TOKENS
        ids, _ = denoiser._row([row], width, sides)
        logits = theirs(model, torch.tensor([sides.prefix_ids]), torch.tensor([ids]), None)
        each = logits[0].log_softmax(-1)[torch.arange(width), torch.tensor(ids)]
        join = each[len(row) : len(row) + denoiser_module.JOIN_TOKENS]
        assert score.likelihood == pytest.approx(float(each[: len(row)].mean()), abs=1e-3)
        assert score.join == pytest.approx(float(join.mean()), abs=1e-3)


def test_zero_steps_of_text_score_too(denoiser: DiffusionGemma) -> None:
    sides = denoiser.sides(REQUEST)
    memory = denoiser.encode(sides, None)

    with torch.inference_mode():
        (scored,) = denoiser.score(memory, sides, [[]])

    assert scored.likelihood == 0
    assert scored.join < 0


def test_greedy_draws_no_samples(denoiser: DiffusionGemma) -> None:
    request = replace(REQUEST, temperature=0.0)
    sides = denoiser.sides(request)
    canvas = denoiser.canvas([0], (8,), sides, request)

    assert denoiser.config(canvas, request, sides).noise.greedy
    warm = denoiser.config(canvas, replace(request, temperature=0.5), sides)
    assert not warm.noise.greedy
    assert warm.schedule.temperature(1, 8) == pytest.approx(0.4)


def test_the_loop_leaves_the_generators_of_others_alone(denoiser: DiffusionGemma) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)

    list(LocalEngine(denoiser).infill(replace(REQUEST, temperature=1.0)))

    assert torch.equal(torch.rand(1), expected)
