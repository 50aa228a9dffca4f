"""A pass over canvases: what is frozen, what takes no place, and what scores say."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from infill_engine import EngineConfig
from infill_engine.budget import Budget
from infill_engine.models.masked_qwen2.denoiser import MaskedQwen2, load_masked_qwen2
from infill_engine.models.masked_qwen2.stepping import STAND_IN, Memory, Stepping, nucleus
from tests.engine import tiny_qwen
from tests.engine.masked_qwen2.published import sharpened
from tests.engine.masked_qwen2.test_parity import ABSENT, canvas, stepping, text
from tests.engine.tiny_qwen import LEARNED, MASK, VOCAB

PREFIX, SUFFIX = text(60, 1), text(50, 2)


def said(inner: Stepping, cells: int, filled: list[int]) -> torch.Tensor:
    """What is said [C, V] of the cells of a hole, the first of which are filled."""
    memory = inner.encode(PREFIX, SUFFIX)
    board = canvas(cells, cells, SUFFIX[: inner.near])
    board.token_ids[0, : len(filled)] = torch.tensor(filled, dtype=torch.int64)
    with torch.inference_mode():
        hidden, leads = inner.read(memory, board.token_ids)
        logits: torch.Tensor = inner.network.logits(hidden[0, leads[0, :cells]])
    return logits


def test_with_the_hole_it_was_read_around_frozen_text_changes_nothing(
    dreamon: MaskedQwen2,
) -> None:
    far, whole = stepping(dreamon, [], 1.0, near=8), stepping(dreamon, [], 1.0)

    frozen = far.encode(PREFIX, SUFFIX).frozen
    assert frozen is not None
    assert (frozen.num_before, frozen.num_after) == (52, 42)
    assert whole.encode(PREFIX, SUFFIX).frozen is None
    assert float((said(far, STAND_IN, []) - said(whole, STAND_IN, [])).abs().max()) < 1e-3


def test_keys_and_values_of_the_first_block_stay_true_whatever_the_hole_holds(
    tmp_path: Path,
) -> None:
    """There they depend on the token and its place alone, so that all differences are mistakes."""
    folder = tiny_qwen.save_dreamon(tmp_path, num_hidden_layers=1)
    shallow = load_masked_qwen2(EngineConfig(model=str(folder), threads=1))
    far, whole = stepping(shallow, [], 1.0, near=8), stepping(shallow, [], 1.0)

    for cells, filled in ((3, []), (20, text(9, 3)), (40, text(40, 4))):
        apart = said(far, cells, filled) - said(whole, cells, filled)
        assert float(apart.abs().max()) < 1e-3


def test_deeper_blocks_see_the_hole_through_frozen_text_a_little(dreamon: MaskedQwen2) -> None:
    whole = said(stepping(dreamon, [], 1.0), 20, text(9, 3))

    apart = [
        float((said(stepping(dreamon, [], 1.0, near=near), 20, text(9, 3)) - whole).abs().mean())
        for near in (8, 40)
    ]

    assert 0 < apart[1] < apart[0] < float(whole.std()) / 2


def test_cells_that_are_not_there_take_no_place(dreamon: MaskedQwen2) -> None:
    inner = stepping(dreamon, [], 1.0, near=8)
    memory = inner.encode(PREFIX, SUFFIX)
    tail = SUFFIX[:8]
    rows = [[MASK] * 4 + tail + [ABSENT] * 8, [MASK] * 4 + [ABSENT] * 8 + tail, [MASK] * 12 + tail]

    with torch.inference_mode():
        hidden, leads = inner.read(memory, torch.tensor(rows))
        alone, their_leads = inner.read(memory, torch.tensor([[MASK] * 4 + tail]))

    for row, cells in ((0, slice(0, 12)), (1, [0, 1, 2, 3, *range(12, 20)])):
        found = hidden[row, leads[row, cells]]
        torch.testing.assert_close(found, alone[0, their_leads[0]], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(hidden[2, leads[2, :4]], hidden[0, leads[0, :4]], atol=1e-3)


def test_a_pass_that_is_taken_back_leaves_nothing_that_holds(dreamon: MaskedQwen2) -> None:
    inner = stepping(dreamon, [], 1.0, near=8)

    memory = inner.encode(PREFIX, SUFFIX, Budget(cancelled=lambda: True))

    assert memory == Memory(prefix_ids=(), suffix_ids=(), near=memory.near, start=0, frozen=None)
    assert len(memory.near) == 0


def test_a_score_is_what_the_model_says_of_tokens_that_it_does_not_see(
    dreamon: MaskedQwen2,
) -> None:
    inner = stepping(dreamon, [], 1.0)
    memory = inner.encode(PREFIX, SUFFIX)
    rows = [text(5, 7), text(2, 8), []]

    found = inner.score(memory, rows)

    for row, scored in zip(rows, found, strict=True):
        tokens = [*row, *SUFFIX]
        each = []
        for parity in (0, 1):
            seen = [MASK if at < len(row) + 8 and at % 2 == parity else t
                    for at, t in enumerate(tokens)]  # fmt: skip
            with torch.inference_mode():
                hidden, leads = inner.read(memory, torch.tensor([seen]))
                logits = inner.network.logits(hidden[0, leads[0]]).log_softmax(-1)
            each += [(at, float(logits[at, tokens[at]])) for at in range(parity, len(row) + 8, 2)]
        values = [value for _, value in sorted(each)]
        mean = sum(values[: len(row)]) / len(row) if row else 0.0
        assert scored.likelihood == pytest.approx(mean, abs=1e-3)
        assert scored.join == pytest.approx(sum(values[len(row) :]) / 8, abs=1e-3)


def test_a_hole_at_the_very_beginning_is_read_too(dreamon: MaskedQwen2) -> None:
    inner = stepping(dreamon, [], 1.0)

    with torch.inference_mode():
        hidden, leads = inner.read(inner.encode([], SUFFIX), torch.tensor([[MASK, MASK, *SUFFIX]]))

    assert leads[0, :3].tolist() == [0, 0, 1]
    assert bool(hidden.isfinite().all())


@pytest.mark.parametrize("top_p", [0.5, 0.9, 1.0])
def test_the_nucleus_is_that_of_the_published_loops(top_p: float) -> None:
    logits = 4 * torch.randn(20, LEARNED, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(nucleus(logits, top_p).softmax(-1), sharpened(logits, 1.0, top_p))


def test_the_vocabulary_has_room_for_what_is_not_there() -> None:
    assert ABSENT == VOCAB
