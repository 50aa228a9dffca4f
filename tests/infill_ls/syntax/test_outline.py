"""The tree of a large document: edits, instalments, and errors."""

import random

import pytest
from tree_sitter import Parser

from infill_engine.budget import UNLIMITED, Budget, BudgetSpent
from infill_ls.syntax import excerpt
from infill_ls.syntax.excerpt import far_from
from infill_ls.syntax.language import language_of
from infill_ls.syntax.outline import Outline
from tests.infill_ls.syntax.sources import LARGE, fresh

SOURCE = LARGE["python"].encode()
SMALL = len(SOURCE) // 4


def outline() -> Outline:
    grammar = language_of("python").grammar
    assert grammar is not None
    return Outline(grammar)


def times(count: int) -> Budget:
    """A budget that may be looked at so many times."""
    left = iter(range(count))
    return Budget(cancelled=lambda: next(left, None) is None)


def has_error(source: bytes) -> bool:
    grammar = language_of("python").grammar
    assert grammar is not None
    return Parser(grammar).parse(source).root_node.has_error


def followed(*sources: bytes, budget: Budget = UNLIMITED) -> Outline:
    """After the first was parsed."""
    found = outline()
    found.follow(sources[0])
    found.refresh(budget=budget)
    for source in sources[1:]:
        found.follow(source)
    return found


def test_an_excerpt_is_a_small_file_without_errors() -> None:
    cursor = SOURCE.index(b"g(x, 200)")
    excerpt = followed(SOURCE).excerpt(cursor, budget=UNLIMITED)

    assert excerpt is not None
    before, after = excerpt
    assert before.endswith(SOURCE[cursor - 100 : cursor])
    assert after.startswith(SOURCE[cursor : cursor + 100])
    assert len(before) + len(after) < SMALL
    assert not has_error(before + after)


@pytest.mark.parametrize("seed", range(5))
def test_what_was_edited_stays_in_the_excerpt(seed: int) -> None:
    """Whatever the order and the place of the edits; and without anything being parsed again."""
    rng, source = random.Random(seed), SOURCE
    found = followed(source)
    for number in range(12):
        at = source.index(b"    x = ", rng.randrange(len(source) - 500))
        source = source[:at] + b"    y = %d\n" % (1000 + number) + source[at:]
        found.follow(source)
    excerpt = found.excerpt(0, budget=times(100))

    assert excerpt is not None
    assert all(b"y = %d\n" % (1000 + number) in b"".join(excerpt) for number in range(12))
    assert not has_error(b"".join(excerpt))


def test_without_time_there_is_no_excerpt_but_nothing_is_lost() -> None:
    found = outline()
    found.follow(SOURCE)
    rounds = 0
    while (excerpt := found.excerpt(0, budget=times(100))) is None:
        rounds += 1

    assert rounds > 3
    assert excerpt == followed(SOURCE).excerpt(0, budget=UNLIMITED)


def test_a_parse_that_was_begun_serves_the_text_as_it_is_by_then() -> None:
    found = outline()
    found.follow(SOURCE)
    with pytest.raises(BudgetSpent):
        found.refresh(budget=times(200))
    at = SOURCE.index(b"    x = ", 2_000)
    edited = SOURCE[:at] + b"    y = 1\n" + SOURCE[at:]
    found.follow(edited)
    excerpt = found.excerpt(len(edited), budget=UNLIMITED)

    assert excerpt is not None
    assert b"    y = 1\n" in b"".join(excerpt)
    assert not has_error(b"".join(excerpt))


def test_while_somebody_types_the_last_whole_tree_serves() -> None:
    at = SOURCE.index(b"    return None\n", 4_000)
    typed = b"    y = (1, 2 + g(3)\n" * 60
    found = followed(SOURCE, SOURCE[:at] + typed + SOURCE[at:])
    found.refresh(budget=UNLIMITED)

    assert found.faultless
    excerpt = found.excerpt(0, budget=times(100))
    assert excerpt is not None
    assert typed in b"".join(excerpt)


def test_after_much_typing_there_is_another_tree() -> None:
    at = SOURCE.index(b"    return None\n", 4_000)
    found = followed(SOURCE, SOURCE[:at] + b"    y = (1, 2\n" * 2_000 + SOURCE[at:])
    found.excerpt(0, budget=UNLIMITED)

    assert not found.faultless


@pytest.mark.parametrize("name", ["python", "java", "css"])
def test_typing_in_a_line_leaves_out_what_was_left_out_before(name: str) -> None:
    language, source = language_of(name), LARGE[name].encode()
    assert language.grammar is not None
    rng = random.Random(name)
    for _ in range(10):
        at = source.index(b"\n", rng.randrange(len(source) - 100))
        asked, once = Outline(language.grammar), Outline(language.grammar)
        for each in (asked, once):
            each.follow(source)
            each.refresh(budget=UNLIMITED)
        for typed in range(1, 8):
            now = source[:at] + b"; f(x, 1"[:typed] + source[at:]
            asked.follow(now)
            excerpt = asked.excerpt(at + typed, budget=UNLIMITED)
        once.follow(now)

        assert excerpt == once.excerpt(at + typed, budget=UNLIMITED)


@pytest.mark.parametrize("name", LARGE)
def test_of_many_statements_the_same_are_left_out_as_of_any_children(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, source = random.Random(name), LARGE[name].encode()
    root = fresh(LARGE[name], name).root_node
    spans = [
        (at, min(at + rng.choice((0, 3, 50, 800)), len(source)))
        for at in (rng.randrange(len(source)) for _ in range(40))
    ]

    def left_out() -> list[object]:
        return [far_from(root, 9, spans[n : n + 2], budget=UNLIMITED) for n in range(39)]

    found = left_out()
    monkeypatch.setattr(excerpt, "_SHORT", 10**6)
    assert found == left_out()
