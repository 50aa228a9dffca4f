"""What is kept of both sides equals encoding them from scratch, whatever was typed in between."""

import math
import random
import time
import weakref

import numpy as np
import pytest

from infill_engine.budget import Budget
from infill_engine.local import LocalEngine
from infill_engine.models.two_sided.denoiser import AHEAD_CHUNK, ENCODE_CHUNK
from infill_engine.request import InfillRequest
from tests.engine.two_sided.networks import SOURCE, canvas_logits

SNIPPETS = ["x", " ", "(", ")", "\n    ", "self.", "é", "𝛼", "return ", "\n\n", "\t", "0x1F", "''"]


def test_a_kept_memory_equals_a_fresh_one_under_thousands_of_random_edits(denoiser) -> None:
    """Typing, deleting, moving the cursor, and editing far away, on both sides."""
    draw = random.Random(0)
    text, cursor = SOURCE, len(SOURCE) // 2
    memory = None
    pushed = asked = compared = 0
    for edit in range(2000):
        match draw.randrange(8):
            case 0 | 1 | 2:
                typed = draw.choice(SNIPPETS)
                text, cursor = text[:cursor] + typed + text[cursor:], cursor + len(typed)
            case 3:
                gone = min(draw.randrange(1, 4), cursor)
                text, cursor = text[: cursor - gone] + text[cursor:], cursor - gone
            case 4:
                text = text[:cursor] + text[cursor + draw.randrange(3) :]
            case 5 | 6:
                cursor = max(0, min(len(text), cursor + draw.randrange(-20, 21)))
            case _:
                at = draw.randrange(len(text) + 1)
                text = text[:at] + draw.choice(SNIPPETS) + text[at:]
        sides = denoiser.sides(
            InfillRequest(prefix=text[:cursor], suffix=text[cursor:], language_id="python")
        )
        if memory is not None:
            asked += len(sides.prefix_ids) + len(sides.suffix_ids)
            pushed += len(sides.prefix_ids) + len(sides.suffix_ids)
            pushed -= denoiser.reusable(memory, sides)
        memory = denoiser.encode(sides, memory)
        assert tuple(memory.prefix.ids) == sides.prefix_ids
        assert tuple(memory.suffix.ids) == sides.suffix_ids[::-1]
        if edit % 40 == 0:
            fresh = denoiser.encode(sides, None)
            error = np.abs(canvas_logits(denoiser, memory) - canvas_logits(denoiser, fresh)).max()
            compared += 1
            assert error < 1e-10, edit
    assert compared == 50
    assert pushed < asked / 4, "most of each request must have been reused"


def test_typing_encodes_only_what_was_typed_and_never_the_suffix(denoiser) -> None:
    cursor = SOURCE.index("return")
    prefix, suffix = SOURCE[:cursor], SOURCE[cursor:]
    memory = denoiser.encode(denoiser.sides(InfillRequest(prefix=prefix, suffix=suffix)), None)

    sides = denoiser.sides(InfillRequest(prefix=prefix + "if x", suffix=suffix))

    missing = len(sides.prefix_ids) + len(sides.suffix_ids) - denoiser.reusable(memory, sides)
    assert missing <= 3
    assert tuple(memory.suffix.ids) == sides.suffix_ids[::-1]


def test_edits_behind_the_cursor_and_moves_by_a_line_encode_a_line(
    denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In passes of the network, and tokens that they read."""
    pushed: list[int] = []
    push = denoiser._network.push
    monkeypatch.setattr(
        denoiser._network, "push", lambda cache, ids: pushed.append(len(ids)) or push(cache, ids)
    )
    lines = [f"    total_{n} = total_{n} + {n}\n" for n in range(30)]
    line = max(len(denoiser.tokens(each)) for each in lines)

    def read(at: int, lines: list[str]) -> tuple[int, int]:
        pushed.clear()
        engine.warm(InfillRequest(prefix="".join(lines[:at]), suffix="".join(lines[at:])))
        return len(pushed), sum(pushed)

    engine = LocalEngine(denoiser)
    assert read(15, lines)[1] > 20 * line
    assert read(15, [*lines[:16], "    edited = 1\n", *lines[17:]])[0] == 1
    assert sum(pushed) <= 3 * line  # from the edit to the cursor, on that side alone
    assert read(16, [*lines[:16], "    edited = 1\n", *lines[17:]])[1] <= 2 * line
    assert read(15, [*lines[:16], "    edited = 1\n", *lines[17:]])[1] <= 2 * line


def test_an_encode_that_was_cancelled_is_good_for_reuse(denoiser) -> None:
    sides = denoiser.sides(InfillRequest(prefix=SOURCE, suffix=SOURCE))
    calls = iter([False, True] + [True] * 50)

    partial = denoiser.encode(sides, None, budget=Budget(cancelled=lambda: next(calls)))
    assert 0 < len(partial.prefix.ids) < len(sides.prefix_ids)
    whole = denoiser.encode(sides, partial)

    fresh = denoiser.encode(sides, None)
    assert np.abs(canvas_logits(denoiser, whole) - canvas_logits(denoiser, fresh)).max() < 1e-10


def test_what_is_read_ahead_stops_sooner_for_who_comes_next(denoiser) -> None:
    sides = denoiser.sides(InfillRequest(prefix=SOURCE * 9, suffix=SOURCE))

    def read(deadline: float) -> int:
        calls = iter([False, True] + [True] * 50)
        budget = Budget(deadline=deadline, cancelled=lambda: next(calls))
        return len(denoiser.encode(sides, None, budget=budget).prefix.ids)

    assert read(math.inf) == AHEAD_CHUNK < read(time.monotonic() + 60) <= ENCODE_CHUNK


def test_a_deadline_ends_encoding_too_and_still_gives_a_step_to_what_is_encoded(denoiser) -> None:
    engine = LocalEngine(denoiser)
    request = InfillRequest(prefix=SOURCE, suffix=SOURCE)
    late = Budget(deadline=time.monotonic())

    assert list(engine.infill(request, budget=late)) == []
    engine.warm(request)
    *_, draft = engine.infill(request, budget=late)

    assert draft.steps == 1
    assert not math.isnan(draft.log_probability)


def test_several_places_are_remembered(denoiser) -> None:
    engine = LocalEngine(denoiser)
    places = [InfillRequest(prefix=f"# {n}\n" * 99, suffix=f"\n# {n}" * 99) for n in range(3)]
    for place in places:
        engine.warm(place)

    for place in places:
        sides = denoiser.sides(place)
        best = max(denoiser.reusable(memory, sides) for memory in engine._memories.kept)
        assert best == len(sides.prefix_ids) + len(sides.suffix_ids)


def test_nothing_of_a_place_is_kept_once_all_is_forgotten(denoiser) -> None:
    engine = LocalEngine(denoiser)
    engine.warm(InfillRequest(prefix=SOURCE, suffix=SOURCE))
    kept = weakref.ref(engine._memories.kept[0].prefix)
    assert kept() is not None

    engine.forget()

    assert kept() is None


def test_the_same_request_gives_the_same_answer_whatever_was_asked_before(denoiser) -> None:
    request = InfillRequest(prefix=SOURCE + "x = ", suffix="\n" + SOURCE, temperature=1.0, seed=3)
    engine = LocalEngine(denoiser)
    *_, first = engine.infill(request)
    list(engine.infill(InfillRequest(prefix=SOURCE + "x", suffix=SOURCE, seed=9)))

    *_, again = engine.infill(request)

    assert first.text == again.text
    assert first.likelihood == pytest.approx(again.likelihood)


def test_healing_takes_the_last_token_back_and_the_answer_continues_it(denoiser) -> None:
    request = InfillRequest(prefix="def f(width):\n    return wid", suffix="\n")
    sides = denoiser.sides(request)
    assert sides.healed_prefix
    canvas = denoiser.canvas([0], (16,), sides, request)
    memory = denoiser.encode(sides, None)

    stats, _ = denoiser.step(canvas, memory, None, temperature=0, generator=None)

    first = denoiser.decode([int(stats.best[0, 0])])
    assert first.startswith(sides.healed_prefix)
    assert b"\n" not in first[len(sides.healed_prefix) :]


def test_specials_are_never_an_answer(denoiser) -> None:
    request = InfillRequest(prefix="", suffix="")
    sides = denoiser.sides(request)
    canvas = denoiser.canvas([0], (16,), sides, request)
    memory = denoiser.encode(sides, None)
    for seed in range(20):
        stats, _ = denoiser.step(
            canvas, memory, None, temperature=5.0, generator=np.random.default_rng(seed)
        )
        assert not ((stats.sample < 48) & (stats.sample != 4)).any()
