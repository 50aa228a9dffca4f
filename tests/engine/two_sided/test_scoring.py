"""What may follow the prefix is as likely as the forward stream, read alone, has it."""

import math
import random

import pytest
import torch

from infill_engine.models.two_sided.config import PREFIX
from infill_engine.models.two_sided.plain import of_module
from infill_engine.models.two_sided.scoring import score
from infill_engine.request import InfillRequest
from tests.engine.two_sided.networks import SOURCE, model, table


def test_scores_are_the_forward_streams_and_leave_the_cache_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = of_module(model())
    prefix = torch.randint(100, (12,)).tolist()
    rows = [[5, 6, 7], [8], [], [5, 6, 11, 12, 13], [5, 6]]
    cache = made.cache(PREFIX, capacity=12)
    made.push(cache, prefix)
    keys = cache.keys.copy()
    read: list[int] = []
    tree = made.continuation_tree
    monkeypatch.setattr(
        made,
        "continuation_tree",
        lambda cache, ids, *more: read.extend(ids) or tree(cache, ids, *more),
    )

    scores = score(made, cache, rows)

    assert read == [prefix[-1], 5, 6, 11, 12], "what rows have in common is read once"
    assert score(made, cache, [[], []])[1].shape == (0,)
    assert (cache.keys == keys).all()
    assert cache.ids == prefix
    for row, found in zip(rows, scores, strict=True):
        alone = made.cache(PREFIX)
        hidden = made.push(alone, prefix + row)[len(prefix) - 1 : -1]
        logs = torch.from_numpy(made.head.matrix(hidden)).log_softmax(-1)
        expected = logs.gather(1, torch.tensor(row)[:, None])[:, 0]
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-12)


def test_a_text_is_as_probable_as_it_is_after_what_is_typed_of_its_first_word(denoiser) -> None:
    """Of all that begin like that, the network is asked for one."""
    request = InfillRequest(prefix=SOURCE + "\nimport js", suffix="\n")
    sides = denoiser.sides(request)
    memory = denoiser.encode(sides, None)
    begins = denoiser._vocabulary.healing_mask(sides.healed_prefix).nonzero()[0].tolist()

    scored = denoiser.score(memory, sides, [[token] for token in begins])

    assert sides.healed_prefix == b"js"
    assert len(begins) > 1
    assert sum(math.exp(each.likelihood) for each in scored) == pytest.approx(1)
    plain = score(denoiser._network, memory.prefix, [[token] for token in begins])
    assert sum(math.exp(each[0]) for each in plain) < 0.9


@pytest.mark.parametrize("size", [1, 3, 40])
def test_the_hints_of_a_tree_are_those_of_each_way_down(size: int) -> None:
    made, rng = of_module(model()), random.Random(size)
    cache = made.cache(PREFIX)
    cache.table = table()
    made.push(cache, rng.choices(range(6), k=size))
    tokens = [cache.ids[-1], *rng.choices(range(6), k=30)]
    parents = [-1, *(rng.randrange(node) for node in range(1, 31))]
    before = [*cache.text.found]

    found = cache.tree_hints(tokens, parents)

    ways: list[list[int]] = [[]]
    for token, parent in zip(tokens[1:], parents[1:], strict=True):
        ways.append([*ways[parent], token])
    assert found == [cache.hints_after(way, size - 1)[-1] for way in ways]
    assert cache.text.found == before
