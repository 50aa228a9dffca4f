"""A parse ends with its budget, and goes on where it stopped."""

import random
import sys
import time
from itertools import count
from threading import Thread

import pytest
from tree_sitter import Parser, Tree

from infill_engine.budget import UNLIMITED, Budget, BudgetSpent
from infill_ls.syntax.language import language_of
from infill_ls.syntax.parse import children, overlapping, parse, parse_on, path_to, problems
from tests.infill_ls.syntax.sources import SOURCES, fresh

WHOLE = b"def f(a):\n    return a + 1\n\n\n" * 8_000
# What has to be read again and again: an open bracket and what fits into none.
BROKEN = b"x = (1,\n" + WHOLE
ENDLESS = b"x = 1" + b" " * 5_000_000 + b"y\n"
LANGUAGE = language_of("python")


def parser() -> Parser:
    grammar = LANGUAGE.grammar
    assert grammar is not None
    return Parser(grammar)


def times(count: int) -> Budget:
    """A budget that may be looked at so many times."""
    left = iter(range(count))
    return Budget(cancelled=lambda: next(left, None) is None)


@pytest.mark.parametrize("source", [BROKEN, ENDLESS])
def test_a_parse_ends_with_its_budget(source: bytes) -> None:
    """Of the processor time of this thread, so that what else runs does not count."""
    started = time.thread_time()
    over = Budget(cancelled=lambda: time.thread_time() - started > 0.02)
    with pytest.raises(BudgetSpent):
        parse(parser(), source, budget=over)

    assert time.thread_time() - started < 0.04


def test_a_parser_that_was_stopped_knows_nothing_of_it() -> None:
    used = parser()
    for looks in (1, 2, 50):
        with pytest.raises(BudgetSpent):
            parse(used, BROKEN, budget=times(looks))

    assert not parse(used, b"y = 2\n", budget=UNLIMITED).root_node.has_error


def test_a_parse_goes_on_where_it_stopped() -> None:
    used, tree, rounds = parser(), None, 0
    while tree is None:
        rounds += 1
        try:
            tree = parse_on(used, WHOLE, budget=times(20))
        except BudgetSpent:
            continue

    assert rounds > 5
    assert str(parse(parser(), WHOLE, budget=UNLIMITED).root_node) == str(tree.root_node)


def test_a_source_that_ended_too_early_is_read_again() -> None:
    used = parser()
    with pytest.raises(BudgetSpent):
        parse_on(used, ENDLESS, budget=times(5))
    tree = parse_on(used, ENDLESS, budget=UNLIMITED)

    assert str(parse(parser(), ENDLESS, budget=UNLIMITED).root_node) == str(tree.root_node)


def test_what_a_tree_is_asked_for_later_is_there_though_the_budget_is_over() -> None:
    """The tree reads a node's text by the function that it was parsed by."""
    over = False
    tree = parse(parser(), b"a + b\n" * 40, budget=Budget(cancelled=lambda: over))
    over = True

    assert {node.text for node in tree.root_node.children} == {b"a + b"}


def test_a_source_is_not_kept_once_its_tree_is_gone() -> None:
    source = WHOLE[:1000]
    before = sys.getrefcount(source)
    for _ in range(3):
        assert parse(parser(), source, budget=UNLIMITED).root_node.children[0].text

    assert sys.getrefcount(source) == before


def test_two_threads_may_parse_at_once() -> None:
    """The second one while the first is within its parse."""
    other = WHOLE.replace(b"def", b"async def")[:50_000]
    found: list[str] = []
    looks = count()

    def meanwhile() -> bool:
        if next(looks) == 3:
            read = Thread(target=lambda: found.append(tree_of(other)))
            read.start()
            read.join()
        return False

    first = parse(parser(), WHOLE[:50_000], budget=Budget(cancelled=meanwhile))

    assert str(first.root_node) == tree_of(WHOLE[:50_000])
    assert found == [tree_of(other)]


def tree_of(source: bytes) -> str:
    return str(parse(parser(), source, budget=UNLIMITED).root_node)


def broken_tree() -> Tree:
    return parse(parser(), BROKEN[:50_000], budget=UNLIMITED)


def test_to_look_for_problems_ends_with_the_budget_too() -> None:
    tree = broken_tree()

    assert problems(tree, BROKEN, LANGUAGE)
    with pytest.raises(BudgetSpent):
        problems(tree, BROKEN, LANGUAGE, budget=times(3))


def test_children_are_those_of_the_node() -> None:
    root = broken_tree().root_node

    assert root.children == list(children(root, UNLIMITED))


def test_the_path_leads_from_the_root_to_the_smallest_node() -> None:
    source = b"x = f(a, [b])\n"
    path = path_to(parse(parser(), source, budget=UNLIMITED), 10, 11, UNLIMITED)

    assert [node.type for node in path[1:]] == [
        *("expression_statement", "assignment", "call", "argument_list", "list", "identifier"),
    ]


@pytest.mark.parametrize("name", SOURCES)
def test_of_a_nodes_children_those_are_found_that_share_a_byte(name: str) -> None:
    rng, source = random.Random(name), (SOURCES[name] * 3).encode()
    root = fresh(source.decode(), name).root_node
    nodes = [root, *rng.choices(root.children or [root], k=10)]
    for _ in range(50):
        node, start = rng.choice(nodes), rng.randrange(len(source) + 1)
        end = min(start + rng.choice((0, 1, 3, 20, 1_000)), len(source))
        shared = [
            each
            for each in children(node, UNLIMITED)
            if each.start_byte < end and start < each.end_byte
        ]

        assert list(overlapping(node, start, end, UNLIMITED)) == shared
