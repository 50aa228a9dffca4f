"""The figures of the quality benchmark, on cases small enough to count by hand."""

import math

import pytest

from benchmarks import grading
from benchmarks.grading import Graded, Suggestion
from benchmarks.holdout import Task
from benchmarks.systems import WITHOUT_MODEL, line_copy
from infill_ls.cli.bench.cases import Case


def task(
    prefix: str = "x = ", reference: str = "1", suffix: str = "\n", unit: str = "a", check: str = ""
) -> Task:
    case = Case(
        name="a.py:1:1",
        kind="tail",
        language_id="python",
        prefix=prefix,
        reference=reference,
        suffix=suffix,
    )
    return Task(group="python", kind="tail", unit=unit, case=case, check=check)


def graded(text: str, of: Task | None = None, sure: float = 0.5, ms: float = 1.0) -> Graded:
    answer = Suggestion(text=text, ms=ms, sure=sure)
    return grading.graded(of or task(), answer, reference_tokens=1, verdicts={})


@pytest.mark.parametrize(
    ("answer", "exact", "folded"),
    [("f(a, b)", True, True), (" f(a, b) ", True, True), ("f(a,\n  b)", False, True),
     ("f(a,b)", False, False), ("", False, False)],
)  # fmt: skip
def test_exact_up_to_white_space(answer: str, exact: bool, folded: bool) -> None:
    each = graded(answer, task(reference="f(a, b)"))

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
    assert graded(answer, task(prefix, "truth", suffix)).joins is joins


def test_the_truth_joins_even_where_the_file_repeats_itself() -> None:
    assert graded("a = b", task("a = b\n", "a = b", "\n")).joins


@pytest.mark.parametrize(
    ("answer", "valid"), [("1", True), ("y + 2", True), ("(2", False), ("1 2", False)]
)
def test_valid_is_no_more_errors_than_with_the_truth(answer: str, valid: bool) -> None:
    assert graded(answer).valid is valid


def test_a_program_is_the_whole_file_with_its_check_where_that_parses() -> None:
    of = task("def f():\n    return ", "1", "\n", check="\nassert f() == 1\n")

    good = grading.program(of, Suggestion(text="2 - 1", ms=0))
    assert good == "def f():\n    return 2 - 1\n\nassert f() == 1\n"
    assert grading.program(of, Suggestion(text="(", ms=0)) == ""
    assert grading.program(task(), Suggestion(text="1", ms=0)) == ""
    one = Suggestion(text="2 - 1", ms=0)
    assert grading.graded(of, one, 1, {good: True}).passed is True
    assert grading.graded(of, one, 1, {good: False}).passed is False
    assert grading.graded(of, Suggestion(text="(", ms=0), 1, {}).passed is False
    assert graded("1").passed is None


def test_a_summary_counts() -> None:
    group = [
        graded("1", ms=10),
        graded("", ms=20),
        graded("(", ms=30),
        graded("222", ms=40),
    ]
    figures = grading.summary(group)

    assert (figures["cases"], figures["exact"], figures["shown"]) == (4, 0.25, 0.75)
    assert figures["of_shown"]["exact"] == pytest.approx(1 / 3)
    assert figures["of_shown"]["valid"] == pytest.approx(2 / 3)
    assert figures["of_shown"]["length"] == 1
    assert figures["of_shown"]["over_2x"] == pytest.approx(1 / 3)
    assert figures["similarity"] == 0.25
    assert math.isnan(figures["passed"])
    assert figures["ms"] == {"p50": 20, "p95": 40}


def test_nothing_shown_has_no_precision() -> None:
    assert math.isnan(grading.summary([graded("")])["of_shown"]["exact"])


def test_the_curve_shows_the_surest_first() -> None:
    group = [graded("1" if at < 3 else "2", sure=1 - at / 10) for at in range(8)]
    group += [graded(""), graded("")]
    points = {round(point["share"], 2): point for point in grading.curve(group, "sure")}

    assert points[0.3] == {"share": 0.3, "exact": 1.0, "threshold": 0.8}
    assert points[0.5]["exact"] == pytest.approx(3 / 5)
    assert points[0.8]["exact"] == pytest.approx(3 / 8)
    assert points[0.8]["threshold"] == pytest.approx(0.3)
    assert max(points) == 0.8  # so many are shown at all
    assert grading.curve(group, "joined") == []  # nothing was told


def test_faults_are_named() -> None:
    group = [
        graded("1"),
        graded(""),
        graded("("),  # the file with its hole was no better
        graded(" + (", task("x = 1", " + 2", "\n")),
        graded("a)", task("f(", "a", ")\n")),
    ]

    assert [(fault["answer"], fault["fault"]) for fault in grading.faults(group)] == [
        (" + (", "a new syntax error"),
        ("a)", "a new syntax error"),
        ("a)", "repeats the suffix"),
    ]


def test_better_is_told_over_units_and_not_over_cases() -> None:
    tasks = [task(unit=f"file {at // 10}") for at in range(100)]
    right, wrong = [graded("1", p) for p in tasks], [graded("2", p) for p in tasks]
    # Ahead in all ten cases of one file, and nowhere else.
    one_file = [graded("1" if p.unit == "file 0" else "2", p) for p in tasks]

    assert grading.better(right, wrong).low == 1
    assert grading.better(wrong, right).high == -1
    same = grading.better(right, right)
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)
    lucky = grading.better(one_file, wrong)
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
    assert line_copy(task(prefix, "", suffix).case) == copied


def test_systems_without_a_model_are_timed() -> None:
    assert WITHOUT_MODEL["n-gram copy"](task("ab.c = 1\nab.c = ", "1")).text == "1"
    assert WITHOUT_MODEL["line copy"](task("ab.c = 1\nab.c = ", "1")).ms > 0
    assert WITHOUT_MODEL["empty"](task()).text == ""
