"""The figures of the quality benchmark, on cases small enough to count by hand."""

import math

import pytest

from benchmarks import judge
from benchmarks.holdout import Problem
from benchmarks.judge import Answer, Judged
from benchmarks.systems import FLOORS, line_copy
from infill_ls.cli.bench.cases import Case


def problem(
    prefix: str = "x = ", reference: str = "1", suffix: str = "\n", unit: str = "a", check: str = ""
) -> Problem:
    case = Case(
        name="a.py:1:1",
        kind="tail",
        language_id="python",
        prefix=prefix,
        reference=reference,
        suffix=suffix,
    )
    return Problem(group="python", kind="tail", unit=unit, case=case, check=check)


def judged(text: str, of: Problem | None = None, sure: float = 0.5, ms: float = 1.0) -> Judged:
    answer = Answer(text=text, ms=ms, sure=sure)
    return judge.judged(of or problem(), answer, reference_tokens=1, verdicts={})


@pytest.mark.parametrize(
    ("answer", "exact", "folded"),
    [("f(a, b)", True, True), (" f(a, b) ", True, True), ("f(a,\n  b)", False, True),
     ("f(a,b)", False, False), ("", False, False)],
)  # fmt: skip
def test_exact_up_to_white_space(answer: str, exact: bool, folded: bool) -> None:
    each = judged(answer, problem(reference="f(a, b)"))

    assert (each.exact, each.folded) == (exact, folded)


@pytest.mark.parametrize(
    ("prefix", "answer", "suffix", "joins"),
    [
        ("x = ", "1", "\n", True),
        ("total = count * ", "2 * count", "\n", True),
        ("the_total = ", "the_total = 2", "\n", False),  # the prefix's end again
        ("a = b\n", "a = b", "\n", False),  # the line above again
        ("if x:\n    ", "if y:", "\n", True),
        ("f(", "a,", ", b)\n", False),  # the separator follows
        ("f('", "a'", "')\n", False),  # the quote follows
        ("f(", "a", ", b)\n", True),
        ("f(", "a)", ")\n", False),  # the closer follows
        ("x = ", "1\ny = 2", "\ny = 2\n", False),  # the next line
    ],
)
def test_what_says_its_neighbours_again_does_not_join(
    prefix: str, answer: str, suffix: str, joins: bool
) -> None:
    assert judged(answer, problem(prefix, "truth", suffix)).joins is joins


def test_the_truth_joins_even_where_the_file_repeats_itself() -> None:
    assert judged("a = b", problem("a = b\n", "a = b", "\n")).joins


@pytest.mark.parametrize(
    ("answer", "valid"), [("1", True), ("y + 2", True), ("(2", False), ("1 2", False)]
)
def test_valid_is_no_more_errors_than_with_the_truth(answer: str, valid: bool) -> None:
    assert judged(answer).valid is valid


def test_a_program_is_the_whole_file_with_its_check_where_that_parses() -> None:
    of = problem("def f():\n    return ", "1", "\n", check="\nassert f() == 1\n")

    good = judge.program(of, Answer(text="2 - 1", ms=0))
    assert good == "def f():\n    return 2 - 1\n\nassert f() == 1\n"
    assert judge.program(of, Answer(text="(", ms=0)) == ""
    assert judge.program(problem(), Answer(text="1", ms=0)) == ""
    one = Answer(text="2 - 1", ms=0)
    assert judge.judged(of, one, 1, {good: True}).passed is True
    assert judge.judged(of, one, 1, {good: False}).passed is False
    assert judge.judged(of, Answer(text="(", ms=0), 1, {}).passed is False
    assert judged("1").passed is None


def test_a_summary_counts() -> None:
    group = [
        judged("1", ms=10),
        judged("", ms=20),
        judged("(", ms=30),
        judged("222", ms=40),
    ]
    figures = judge.summary(group)

    assert (figures["cases"], figures["exact"], figures["shown"]) == (4, 0.25, 0.75)
    assert figures["of_shown"]["exact"] == pytest.approx(1 / 3)
    assert figures["of_shown"]["valid"] == pytest.approx(2 / 3)
    assert figures["of_shown"]["length"] == 1
    assert figures["of_shown"]["over_2x"] == pytest.approx(1 / 3)
    assert figures["similarity"] == 0.25
    assert math.isnan(figures["passed"])
    assert figures["ms"] == {"p50": 20, "p95": 40}


def test_nothing_shown_has_no_precision() -> None:
    assert math.isnan(judge.summary([judged("")])["of_shown"]["exact"])


def test_the_curve_shows_the_surest_first() -> None:
    group = [judged("1" if at < 3 else "2", sure=1 - at / 10) for at in range(8)]
    group += [judged(""), judged("")]
    points = {round(point["share"], 2): point for point in judge.curve(group, "sure")}

    assert points[0.3] == {"share": 0.3, "exact": 1.0, "threshold": 0.8}
    assert points[0.5]["exact"] == pytest.approx(3 / 5)
    assert points[0.8]["exact"] == pytest.approx(3 / 8)
    assert points[0.8]["threshold"] == pytest.approx(0.3)
    assert max(points) == 0.8  # so many are shown at all
    assert judge.curve(group, "joined") == []  # nothing was told


def test_faults_are_named() -> None:
    group = [
        judged("1"),
        judged(""),
        judged("("),  # the file with its hole was no better
        judged(" + (", problem("x = 1", " + 2", "\n")),
        judged("a)", problem("f(", "a", ")\n")),
    ]

    assert [(fault["answer"], fault["fault"]) for fault in judge.faults(group)] == [
        (" + (", "a new syntax error"),
        ("a)", "a new syntax error"),
        ("a)", "repeats the suffix"),
    ]


def test_better_is_told_over_units_and_not_over_cases() -> None:
    problems = [problem(unit=f"file {at // 10}") for at in range(100)]
    right, wrong = [judged("1", p) for p in problems], [judged("2", p) for p in problems]
    # Ahead in all ten cases of one file, and nowhere else.
    one_file = [judged("1" if p.unit == "file 0" else "2", p) for p in problems]

    assert judge.better(right, wrong).low == 1
    assert judge.better(wrong, right).high == -1
    same = judge.better(right, right)
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)
    lucky = judge.better(one_file, wrong)
    assert lucky.difference == pytest.approx(0.1)
    assert lucky.low == 0
    assert lucky.p > 0.2


@pytest.mark.parametrize(
    ("prefix", "suffix", "copied"),
    [
        ("a = f(1)\nb = 2\na = f(3)\n", "\n", "b = 2"),
        ("a = f(1)\nb = 2\na = f(3)\nb = ", "\n", "2"),
        ("a = f(3)\n", "\nx\na = f(1)\nlast = 4\n", "last = 4"),
        ("", "\n", ""),
        ("only\n", "\n", ""),
    ],
)
def test_line_copy_says_what_followed_the_most_similar_line(
    prefix: str, suffix: str, copied: str
) -> None:
    assert line_copy(problem(prefix, "", suffix).case) == copied


def test_floors_are_timed() -> None:
    assert FLOORS["n-gram copy"](problem("ab.c = 1\nab.c = ", "1")).text == "1"
    assert FLOORS["line copy"](problem("ab.c = 1\nab.c = ", "1")).ms > 0
    assert FLOORS["empty"](problem()).text == ""
