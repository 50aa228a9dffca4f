"""How likely the judge finds texts that somebody else wrote, with little of what stands before."""

from collections.abc import Generator, Sequence

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.judge.llama import LlamaJudge
from infill_engine.judge.tree import Tree
from infill_engine.judge.vocabulary import END_OF_TEXT
from infill_engine.local import LocalEngine
from infill_engine.request import Engine

# Tokens that are read of what stands before, the last ones behind one that begins a text, and of
# each text, the first ones; and those that are read in a step. A pass of few takes as long as one
# of several, so what is read is whole steps.
BEFORE, EACH, CHUNK = 63, 14, 8


def weigh(
    engine: Engine, before: str, texts: Sequence[str], budget: Budget = UNLIMITED
) -> Generator[None, None, list[float] | None]:
    """The log-probability of each text behind `before`, in steps of some 12 ms; None where no
    embedded judge is there yet, or the budget is too short, which is known beforehand where it is
    by far.

    What the judge has read of other places stays as it is.
    """
    judge = engine.awaited.judge if isinstance(engine, LocalEngine) else None
    if not isinstance(judge, LlamaJudge):
        return None
    network, vocabulary = judge.network, judge.vocabulary
    ids = [END_OF_TEXT, *vocabulary.encode(before)[-BEFORE:]]
    rows = [vocabulary.encode(text)[:EACH] for text in texts]
    # Each once, whichever texts begin with it.
    nodes = [*dict.fromkeys(tuple(row[:size]) for row in rows for size in range(1, len(row) + 1))]
    # How long a pass takes is known by those that others were in the way of as well.
    if 2 * budget.left() < network.seconds(len(ids) + len(nodes)):
        return None
    prefix = network.prefix(len(ids))
    for at in range(0, len(ids), CHUNK):
        network.push(prefix, ids[at : at + CHUNK])
        yield
        if budget.over:
            return None
    tree = Tree(network, vocabulary, prefix, len(nodes), b"")
    for at in range(0, len(nodes), CHUNK):
        tree.grow(nodes[at : at + CHUNK], budget)
        yield
    paths = tree.grow(rows, budget)
    if any(len(path) <= len(row) for path, row in zip(paths, rows, strict=True)):
        return None
    return [
        sum(tree.log_probabilities(path[:-1], row, alone=True))
        for path, row in zip(paths, rows, strict=True)
    ]
