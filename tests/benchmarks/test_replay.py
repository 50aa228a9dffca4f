"""A replay says what was said, and nothing where something else was read."""

import numpy as np

from benchmarks.replay import Replay
from infill_engine.budget import UNLIMITED
from infill_engine.judge.gguf.tree import Tree


def test_a_tree_finds_what_was_said_however_it_grows() -> None:
    replay = Replay(50, places=2, batch=4)
    replay.said = [7, 8, 9]
    prompt = replay.read([1, 2, 3], range(3), [[0]] * 3, [False, False, True])
    assert prompt is not None
    assert prompt.argmax(1).tolist() == [7]
    tree = Tree(replay, 0, 3, prompt[0], range(2, 12), 32)

    right, wrong = tree.grow([[7, 8], [7, 5, 9]], UNLIMITED)
    assert [int(tree.logits(node).argmax()) for node in right] == [7, 8, 9]
    assert not np.any(tree.logits(wrong[-1]))
    ((*_, last),) = tree.grow([[7, 8, 9]], UNLIMITED)
    assert not np.any(tree.logits(last)), "nothing is said behind its end"
    assert tree.passes == 2
    kept = tree.prune(right[-1])
    assert kept == 2
    ((*_, last),) = tree.grow([[7, 8, 9]], UNLIMITED)
    assert len(tree) == 4
    tree.close()
    replay.cut(0, 1)
    again = replay.read([2], [1], [[0]], [True])
    assert again is not None
    assert again.argmax(1).tolist() == [7]
