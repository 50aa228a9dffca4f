"""Our decoder is transformers' decoder, and a prompt's keys and values are reused bit for bit."""

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from infill_engine.budget import Budget
from infill_engine.models.diffusion_gemma.network import Memory, Network, shared

pytest.importorskip("transformers")
from tests.engine import tiny_gemma
from tests.engine.diffusion_gemma.passes import WINDOW, decoded, theirs, tokens


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_gemma.model(3)


@pytest.mark.parametrize("prompt", [1, 20, WINDOW - 1, WINDOW, WINDOW + 1, 150])
@pytest.mark.parametrize("conditioned", [False, True])
def test_our_decoder_is_transformers_in_float32(model: Any, prompt: int, conditioned: bool) -> None:
    network = Network(model)
    ids, canvas = tokens(2, prompt), tokens(2, 40, seed=1)
    before = 10 * torch.randn(2, 40, tiny_gemma.VOCAB) if conditioned else None

    expected = theirs(model, ids, canvas, before)
    actual = decoded(network, network.encode(ids), canvas, before)

    assert float(expected.std()) > 1
    torch.testing.assert_close(expected, actual, rtol=1e-5, atol=1e-4)


def test_our_decoder_is_no_worse_than_transformers_in_bfloat16() -> None:
    """Of the middle cell: where rounding sends a cell to another expert, it is another cell."""
    errors: tuple[list[Tensor], list[Tensor]] = ([], [])
    for seed in range(3, 7):
        ids, canvas = tokens(1, 90, seed=seed), tokens(1, 32, seed=seed + 1)
        half = tiny_gemma.model(seed).to(torch.bfloat16)
        truth = theirs(tiny_gemma.model(seed).to(torch.bfloat16).float(), ids, canvas, None)
        network = Network(half)
        for found, error in zip(
            (
                decoded(network, network.encode(ids), canvas, None),
                theirs(half, ids, canvas, None),
            ),
            errors,
            strict=True,
        ):
            error.append((found - truth).abs().mean(-1).flatten())
    ours, yardstick = (torch.cat(each).median() for each in errors)

    assert ours <= 1.05 * yardstick


def test_one_prompt_serves_all_rows(model: Any) -> None:
    network = Network(model)
    ids, canvas = tokens(1, 90), tokens(3, 16, seed=1)

    expected = theirs(model, ids.expand(3, -1), canvas, None)

    torch.testing.assert_close(
        expected, decoded(network, network.encode(ids), canvas, None), rtol=1e-5, atol=1e-4
    )


def assert_same(left: Memory, right: Memory) -> None:
    assert torch.equal(left.token_ids, right.token_ids)
    for (key, value), (other_key, other_value) in zip(left.layers, right.layers, strict=True):
        assert torch.equal(key, other_key)
        assert torch.equal(value, other_value)


@pytest.mark.parametrize("size", [WINDOW // 2, WINDOW - 1, WINDOW, 3 * WINDOW + 5])
@pytest.mark.parametrize("chunk", [16, 256])
def test_typing_gives_the_bits_of_encoding_from_scratch(model: Any, size: int, chunk: int) -> None:
    network = Network(model)
    ids = tokens(1, size)
    memory = network.encode(ids, chunk=chunk)

    for _ in range(12):
        ids = torch.cat((ids, tokens(1, 3, seed=int(ids.sum()))), -1)
        memory = network.encode(ids, memory, chunk=chunk)

        assert_same(network.encode(ids, chunk=chunk), memory)


def test_random_edits_anywhere_give_the_bits_of_encoding_from_scratch(model: Any) -> None:
    network = Network(model)
    draw = random.Random(0)
    ids = tokens(1, 2 * WINDOW)
    memory = network.encode(ids, chunk=32)

    for number in range(30):
        at, removed = draw.randrange(ids.shape[1]), draw.randrange(8)
        typed = tokens(1, draw.randrange(1, 8), seed=number)
        ids = torch.cat((ids[:, :at], typed, ids[:, at + removed :]), -1)[:, : 4 * WINDOW]
        memory = network.encode(ids, memory, chunk=32)

        assert_same(network.encode(ids, chunk=32), memory)


def test_chunks_change_no_key_by_more_than_rounding(model: Any) -> None:
    network = Network(model)
    ids = tokens(1, 3 * WINDOW)

    whole, pieces = network.encode(ids, chunk=1 << 20), network.encode(ids, chunk=16)

    for (key, value), (other_key, other_value) in zip(whole.layers, pieces.layers, strict=True):
        torch.testing.assert_close(key, other_key, rtol=1e-4, atol=2e-5)
        torch.testing.assert_close(value, other_value, rtol=1e-4, atol=2e-5)


def test_only_what_follows_the_last_shared_border_is_encoded(model: Any) -> None:
    network = Network(model)
    encoded: list[int] = []
    inner = network._encoder

    def count(**given: Any) -> Any:
        encoded.append(given["input_ids"].shape[1])
        return inner(**given)

    network._encoder = count
    ids = tokens(1, 100)
    memory = network.encode(ids, chunk=32)
    assert encoded == [32, 32, 32, 4]

    encoded.clear()
    network.encode(torch.cat((ids, tokens(1, 2, seed=1)), -1), memory, chunk=32)
    assert encoded == [6]

    encoded.clear()
    assert network.encode(ids, memory, chunk=32) is memory
    changed = ids.clone()
    changed[0, 40] += 1
    network.encode(changed, memory, chunk=32)
    assert encoded == [32, 32, 4]


def test_an_old_memory_still_holds_after_its_text_went_on(model: Any) -> None:
    network = Network(model)
    ids = tokens(1, 100)
    memory = network.encode(ids, chunk=32)
    before = [(key.clone(), value.clone()) for key, value in memory.layers]

    network.encode(torch.cat((ids[:, :70], tokens(1, 50, seed=1)), -1), memory, chunk=32)

    for (key, value), (old_key, old_value) in zip(memory.layers, before, strict=True):
        assert torch.equal(key, old_key)
        assert torch.equal(value, old_value)


def test_a_cancelled_encoding_keeps_what_it_has(model: Any) -> None:
    network = Network(model)
    ids = tokens(1, 100)
    asked: list[int] = []

    memory = network.encode(
        ids, chunk=32, budget=Budget(cancelled=lambda: asked.append(1) or len(asked) > 2)
    )

    assert memory.length == 64
    assert shared(memory, ids) == 64
    assert_same(network.encode(ids, memory, chunk=32), network.encode(ids, chunk=32))
    for over in (Budget(cancelled=lambda: True), Budget(deadline=0.0)):
        nothing = network.encode(ids, budget=over)
        assert nothing.length == 0
        assert_same(network.encode(ids, nothing), network.encode(ids))


def test_an_encoding_ends_within_a_chunk_of_its_deadline(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(model)
    ids = tokens(1, 100)
    now = [0.0]
    monkeypatch.setattr("infill_engine.budget.time.monotonic", lambda: now[0])
    inner = network._encoder

    def one_second(**given: Any) -> Any:
        now[0] += 1.0
        return inner(**given)

    network._encoder = one_second

    memory = network.encode(ids, chunk=32, budget=Budget(deadline=1.5))

    assert memory.length == 64
    assert_same(network.encode(ids, memory, chunk=32), network.encode(ids, chunk=32))
