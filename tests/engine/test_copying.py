"""The proposals from elsewhere in the file."""

import math

import pytest

from infill_engine.copying import (
    AGREED,
    CHARACTER,
    COPIES,
    COPIES_ELSEWHERE,
    MOST,
    ODDS,
    ODDS_ELSEWHERE,
    copies,
)


def worth(length: int, share: float = 1.0, *, agreed: bool = False, odds: float = ODDS) -> float:
    """Of what so large a share of the places of a context of so many characters say."""
    odds = math.exp(odds + CHARACTER * length + AGREED * agreed) * share
    return math.log(odds / (1 + odds))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("self.width = width\nself.height = height\nself.width‸\n", " = width"),
        ("for item in items:\n    total\n\nfor item‸", " in items:"),
        ("a = load(path)\nb = 1\na = load(‸)\n", "path"),
        ("x = y‸\n", ""),
        ("‸", ""),
        ("return value‸\n\ndef f():\n    return value + 1\n", " + 1"),
        ("print('é𝛼', 1)\nprint('é𝛼'‸", ", 1)"),
        ("      \n      \n      ‸", ""),
        # The longest context decides, and among equals the nearest.
        ("foo.bar(1)\nget(foo.bar(2)\nget(foo.bar(‸", "2)"),
        ("call_it(1)\ncall_it(2)\ncall_it(‸", "2)"),
    ],
)
def test_the_rest_of_the_line_after_the_longest_recurring_context(text, expected) -> None:
    prefix, _, suffix = text.partition("‸")

    assert next(iter(copies(prefix, suffix)), "") == expected


def test_other_places_follow_and_each_has_its_share() -> None:
    prefix = "".join(f"draw(shape{number})\n" for number in range(10)) + "draw("

    found = copies(prefix, ")\n")

    assert list(found) == [f"shape{number}" for number in range(9, 9 - COPIES, -1)]
    # Behind the line before it stands in all but the first.
    assert [*found.values()] == pytest.approx([worth(7, 1 / 9)] * COPIES)


def test_what_most_places_say_comes_first_and_agreement_speaks_for_it() -> None:
    prefix = "1 draw(line)\n2 draw(circle)\n3 draw(circle)\n4 draw(point)\n5 draw("

    found = copies(prefix, "\n")
    assert list(found) == ["circle)", "point)", "line)"]
    assert found["circle)"] == pytest.approx(worth(6, 2 / 4))
    assert found["point)"] == found["line)"] == pytest.approx(worth(6, 1 / 4))
    agreed = copies("1 draw(line)\n2 draw(line)\n3 draw(", "\n")
    assert agreed == {"line)": pytest.approx(worth(6, agreed=True))}


@pytest.mark.parametrize(
    ("line", "after", "expected"),
    [
        ("show(len(a), b)", ")", "len(a), b"),
        ("show(len(a), b)", "):", "len(a), b"),
        ("show(a[0], b) or c", ")", "a[0], b"),
        ("show(a, b)", "", "a, b)"),
        ("show(a, b, c)", ", c)", "a, b"),
    ],
)
def test_a_copy_ends_where_what_follows_closes_its_bracket(line, after, expected) -> None:
    assert next(iter(copies(f"{line}\nshow(", f"{after}\n"))) == expected


def test_lines_are_copied_after_lines_that_recur() -> None:
    above = "    def shown(self) -> str:\n        " + "".join(
        f"x_{number} = {number}  # a comment\n        " for number in range(4)
    )
    block = "if self.name:\n            return self.name"
    prefix = f"{above}{block}\n        return self.other\n\n{above}"

    assert len(above) > MOST
    found = copies(prefix, "\n        return self.other\n", None)
    assert list(found.items())[:2] == [
        (block, pytest.approx(worth(MOST))),
        ("if self.name:", pytest.approx(worth(MOST))),
    ]
    assert next(iter(copies(prefix, "\n        return self.other\n", 1))) == "if self.name:"
    assert next(iter(copies(prefix, "\n        return self.other\n", 2))) == block


def test_a_block_does_not_end_with_the_line_that_is_being_typed() -> None:
    repeated = "X = {\n" + 8 * '    "alpha beta gamma": 1,\n'

    assert list(copies("foo(1)\n" * 30 + "fo", "\n", None)) == ["o(1)"]
    assert list(copies(repeated + '    "alp', "\n}\n", 6)) == ['ha beta gamma": 1,']


@pytest.mark.parametrize("text", [" " * 24_000, "\n" * 24_000, "\t\n" * 12_000])
def test_blanks_are_not_copied(text: str) -> None:
    assert copies(text, text) == {}


def test_other_files_are_copied_from_behind_the_file_itself() -> None:
    elsewhere = "".join(f"\ndraw(circle{number});" for number in range(9)) + "\0draw(line)\n"
    found = copies("draw(shape)\ndraw(", ")\n", elsewhere=elsewhere)

    assert list(found) == ["shape", *(f"circle{number}" for number in range(COPIES_ELSEWHERE))]
    assert found["shape"] == pytest.approx(worth(5))
    assert (
        found["circle0"] == found["circle1"] == pytest.approx(worth(6, 1 / 9, odds=ODDS_ELSEWHERE))
    )


def test_a_longer_context_in_another_file_makes_its_copy_worth_more() -> None:
    found = copies("b = draw(x)\na = draw(", "\n", elsewhere="a = draw(y)\nb = draw(x)\n")

    assert found["y)"] == pytest.approx(worth(9, odds=ODDS_ELSEWHERE))
    assert found["x)"] == pytest.approx(worth(8))
    alone = copies("a = draw(", "\n", elsewhere="a = draw(y)\n")
    assert list(alone) == ["y)"]


def test_nothing_is_copied_over_the_end_of_a_file() -> None:
    assert copies("x = first_", "\n", elsewhere="x = first_\0second\n") == {}
    assert copies("first()\n", "\n", elsewhere="first()\n\0second\n") == {}


def test_blocks_of_other_files_are_copied_too() -> None:
    above = "".join(f"    name_{number} = {number}  # a comment\n" for number in range(4))
    elsewhere = f"def f():\n{above}    first()\n    second()\n\ndef g():\n"

    assert "first()\n    second()" in copies(above + "    ", "\n", 6, elsewhere=elsewhere)
