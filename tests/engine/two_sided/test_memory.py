"""What is kept of both sides equals encoding them from scratch, whatever was typed in between."""

import math
import random

import pytest
import torch

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.config import EngineConfig
from infill_engine.local import LocalEngine
from infill_engine.models.two_sided.denoiser import (
    CONTINUATION_ROWS,
    WEIGHTS,
    SidesMemory,
    TwoSidedDenoiser,
)
from infill_engine.models.two_sided.network import TwoSidedConfig, TwoSidedNetwork
from infill_engine.request import InfillRequest
from infill_engine.tokenizer import Tokenizer

SOURCE = (
    'def area(width, height):\n    """The area of a rectangle — in m²."""\n'
    "    if width < 0:\n        raise ValueError(width)\n    return width * height\n\n\n"
) * 12
SNIPPETS = ["x", " ", "(", ")", "\n    ", "self.", "é", "𝛼", "return ", "\n\n", "\t", "0x1F", "''"]


@pytest.fixture(scope="module")
def denoiser() -> TwoSidedDenoiser:
    torch.manual_seed(0)
    tokenizer = Tokenizer(WEIGHTS / "tokenizer.json")
    config = TwoSidedConfig(
        vocab_size=tokenizer.vocab_size, d_model=32, num_layers=2, num_heads=4, d_ff=48
    )
    network = TwoSidedNetwork(config).to(torch.float64).eval().requires_grad_(False)
    for parameter in network.parameters():  # fresh blocks are the identity
        torch.nn.init.normal_(parameter, std=0.2)
    return TwoSidedDenoiser(network, tokenizer, EngineConfig(), "random")


def logits(denoiser: TwoSidedDenoiser, memory: SidesMemory) -> torch.Tensor:
    canvas = torch.full((1, 5), 1)
    with torch.inference_mode():
        return denoiser._network.logits(
            denoiser._network.denoise(memory.prefix, memory.suffix, canvas)
        )


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
            error = (logits(denoiser, memory) - logits(denoiser, fresh)).abs().max()
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


def test_an_encode_that_was_cancelled_is_good_for_reuse(denoiser) -> None:
    sides = denoiser.sides(InfillRequest(prefix=SOURCE, suffix=SOURCE))
    calls = iter([False, True] + [True] * 50)

    partial = denoiser.encode(sides, None, budget=Budget(cancelled=lambda: next(calls)))
    assert 0 < len(partial.prefix.ids) < len(sides.prefix_ids)
    whole = denoiser.encode(sides, partial)

    fresh = denoiser.encode(sides, None)
    assert (logits(denoiser, whole) - logits(denoiser, fresh)).abs().max() < 1e-10


def test_several_places_are_remembered(denoiser) -> None:
    engine = LocalEngine(denoiser)
    places = [InfillRequest(prefix=f"# {n}\n" * 99, suffix=f"\n# {n}" * 99) for n in range(3)]
    for place in places:
        engine.warm(place)

    for place in places:
        sides = denoiser.sides(place)
        best = max(denoiser.reusable(memory, sides) for memory in engine._memories)
        assert best == len(sides.prefix_ids) + len(sides.suffix_ids)


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

    stats, _ = denoiser.step(canvas, memory, None, temperature=0, generator=torch.Generator())

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
            canvas, memory, None, temperature=5.0, generator=torch.Generator().manual_seed(seed)
        )
        assert not ((stats.sample < 48) & (stats.sample != 4)).any()


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


def test_a_text_is_as_probable_as_it_is_after_what_is_typed_of_its_first_word(denoiser) -> None:
    """Of all that begin like that, the network is asked for one."""
    request = InfillRequest(prefix=SOURCE + "\nimport js", suffix="\n")
    sides = denoiser.sides(request)
    memory = denoiser.encode(sides, None)
    begins = denoiser._healing_mask(sides.healed_prefix).nonzero()[:, 0].tolist()

    scored = denoiser.score(memory, sides, [[token] for token in begins])

    assert sides.healed_prefix == b"js"
    assert len(begins) > 1
    assert sum(math.exp(each.likelihood) for each in scored) == pytest.approx(1)
    plain = denoiser._network.score(memory.prefix, [[token] for token in begins])
    assert float(plain.exp().sum()) < 0.9


def test_a_continuation_stops_within_a_pass_when_cancelled(denoiser, monkeypatch) -> None:
    request = InfillRequest(prefix=SOURCE + "def area(wid", suffix="\n")
    sides = denoiser.sides(request)
    memory = denoiser.encode(sides, None)
    passes: list[int] = []
    real = denoiser._network.continuation_step

    def continuation_step(context, at, ids, hints):
        passes.append(at)
        return real(context, at, ids, hints)

    monkeypatch.setattr("infill_engine.models.two_sided.denoiser.UNLIKELY", -1e9)
    monkeypatch.setattr(denoiser._network, "continuation_step", continuation_step)
    stopped = denoiser._continuations(
        sides, "\n", memory, 16, Budget(cancelled=lambda: len(passes) == 2)
    )

    assert (stopped, passes) == ([], [0, 1])
    assert memory.prefix.ids == list(sides.prefix_ids)


@pytest.mark.parametrize("prefix", [SOURCE + "def area(wid", SOURCE + "    if ", "x", "é = "])
def test_a_continuation_takes_the_likeliest_tokens_and_leaves_the_memory_as_it_was(
    denoiser, prefix, monkeypatch
) -> None:
    monkeypatch.setattr("infill_engine.models.two_sided.denoiser.UNLIKELY", -1e9)
    sides = denoiser.sides(InfillRequest(prefix=prefix, suffix="\n" + SOURCE))
    memory = denoiser.encode(sides, None)
    network, before = denoiser._network, logits(denoiser, memory)
    expected: list[str] = []
    with torch.inference_mode():
        for row in range(CONTINUATION_ROWS):
            ids: list[int] = []
            for _ in range(16):
                cache = network.cache(memory.prefix.stream)
                hidden = network.push(cache, [*sides.prefix_ids, *ids])[-1]
                scores = network.logits(hidden) + denoiser._forbidden
                scores[denoiser._end] = -torch.inf
                if not ids and sides.healed_prefix:
                    scores.masked_fill_(~denoiser._healing_mask(sides.healed_prefix), -torch.inf)
                token = int(scores.topk(CONTINUATION_ROWS).indices[0 if ids else row])
                if denoiser._end_or_line[token] and (ids or not sides.healed_prefix):
                    break
                ids.append(token)
            expected.append(denoiser._said(sides, ids).rstrip())

    assert denoiser._continuations(sides, "\n", memory, 16, UNLIMITED) == expected
    assert any(expected)
    assert memory.prefix.ids == list(sides.prefix_ids)
    assert torch.allclose(logits(denoiser, memory), before, atol=1e-9)
