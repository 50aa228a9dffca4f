"""Copies are whole, and continuations are what the prefix's stream likes best."""

import math

import numpy as np
import pytest

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.denoiser import Sides
from infill_engine.models.two_sided.denoiser import SidesMemory, TwoSidedDenoiser
from infill_engine.models.two_sided.proposals import CONTINUATION_ROWS, continuations
from infill_engine.request import InfillRequest
from tests.engine.two_sided.networks import SOURCE, canvas_logits


def continued(
    denoiser: TwoSidedDenoiser, sides: Sides, memory: SidesMemory, budget: Budget = UNLIMITED
) -> list[str]:
    network, vocabulary = denoiser._network, denoiser._vocabulary
    return continuations(network, vocabulary, sides, "\n", memory.prefix, 16, budget)


def test_what_is_copied_is_whole_and_keeps_its_worth(denoiser) -> None:
    line = "total = first + second + third + fourth + fifth + sixth + seventh + eighth + ninth"
    prefix = f"def sums(values):\n    {line}\n    return total\n\n\ndef sums(values):\n    "
    request = InfillRequest(prefix=prefix, suffix="\n")
    sides = denoiser.sides(request)
    whole = denoiser.tokens(sides.healed_prefix.decode() + line)

    short = denoiser.proposals(sides, request, None, 16)
    long = denoiser.proposals(sides, request, denoiser.encode(sides, None), 32)

    assert len(whole) > 16
    assert short[tuple(whole)] == long[tuple(whole)] == max(long.values()) > -math.inf


def test_nothing_is_looked_for_once_time_is_up(denoiser) -> None:
    request = InfillRequest(prefix="foo(1)\n" * 9 + "fo", suffix="\n")
    sides = denoiser.sides(request)
    memory = denoiser.encode(sides, None)

    assert denoiser.proposals(sides, request, memory, 16)
    assert denoiser.proposals(sides, request, memory, 16, budget=Budget(deadline=0.0)) == {}


def test_a_continuation_stops_within_a_pass_when_cancelled(denoiser, monkeypatch) -> None:
    request = InfillRequest(prefix=SOURCE + "def area(wid", suffix="\n")
    sides = denoiser.sides(request)
    memory = denoiser.encode(sides, None)
    passes: list[int] = []
    real = denoiser._network.continuation_step

    def continuation_step(context, at, ids, hints):
        passes.append(at)
        return real(context, at, ids, hints)

    monkeypatch.setattr("infill_engine.models.two_sided.proposals.UNLIKELY", -1e9)
    monkeypatch.setattr(denoiser._network, "continuation_step", continuation_step)
    stopped = continued(denoiser, sides, memory, Budget(cancelled=lambda: len(passes) == 2))

    assert (stopped, passes) == ([], [0, 1])
    assert memory.prefix.ids == list(sides.prefix_ids)


@pytest.mark.parametrize("prefix", [SOURCE + "def area(wid", SOURCE + "    if ", "x", "é = "])
def test_a_continuation_takes_the_likeliest_tokens_and_leaves_the_memory_as_it_was(
    denoiser, prefix, monkeypatch
) -> None:
    monkeypatch.setattr("infill_engine.models.two_sided.proposals.UNLIKELY", -1e9)
    sides = denoiser.sides(InfillRequest(prefix=prefix, suffix="\n" + SOURCE))
    memory = denoiser.encode(sides, None)
    network, vocabulary, before = (
        denoiser._network,
        denoiser._vocabulary,
        canvas_logits(denoiser, memory),
    )
    expected: list[str] = []
    for row in range(CONTINUATION_ROWS):
        ids: list[int] = []
        for _ in range(16):
            cache = network.cache(memory.prefix.stream)
            hidden = network.push(cache, [*sides.prefix_ids, *ids])[-1]
            scores = network.head.matrix(hidden)
            scores[vocabulary.forbidden | vocabulary.ends] = -np.inf
            if not ids and sides.healed_prefix:
                scores[~vocabulary.healing_mask(sides.healed_prefix)] = -np.inf
            token = int(np.argsort(-scores)[0 if ids else row])
            if vocabulary.ends_or_breaks[token] and (ids or not sides.healed_prefix):
                break
            ids.append(token)
        expected.append(vocabulary.text(ids, sides.healed_prefix).rstrip())

    assert continued(denoiser, sides, memory) == expected
    assert any(expected)
    assert memory.prefix.ids == list(sides.prefix_ids)
    assert np.allclose(canvas_logits(denoiser, memory), before, atol=1e-9)
