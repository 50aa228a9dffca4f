"""What is recognised as a benchmark's."""

from pathlib import Path

from tests.train.corpus.samples import BENCHMARK, ORDINARY, SOLUTION, reason
from train.corpus import decontaminate
from train.corpus.filter import HASHES, filtered


def test_a_planted_benchmark_function_is_caught() -> None:
    assert reason(ORDINARY + SOLUTION) == "benchmark line run"


def test_a_part_of_a_planted_function_is_seen_by_its_ten_grams() -> None:
    body = SOLUTION[SOLUTION.index("    for idx") :]
    shared, _ = filtered(
        "a.py", (ORDINARY + "def f(numbers, threshold):\n" + body).encode(), "pypi", BENCHMARK
    )

    assert shared is not None
    assert shared.grams


def test_a_planted_window_is_caught_when_its_lines_are_folded() -> None:
    folded = SOLUTION.replace("\n    ", " ").replace("\n                ", " ")
    match = decontaminate.match(decontaminate.lexemes(folded), folded, BENCHMARK)

    assert match.window
    assert not match.line_run


def test_a_planted_run_of_ten_lines_is_caught_whatever_its_indentation() -> None:
    lines = [line for line in SOLUTION.splitlines() if line.strip()]
    run = "".join(f"    {line.strip()}\n" for line in lines[:10])
    nine = "".join(f"    {line.strip()}\n" for line in lines[:9])

    assert decontaminate.match(decontaminate.lexemes(run), run, BENCHMARK).line_run
    assert not decontaminate.match(decontaminate.lexemes(nine), nine, BENCHMARK).line_run


def test_an_ordinary_file_matches_nothing() -> None:
    match = decontaminate.match(decontaminate.lexemes(ORDINARY), ORDINARY, BENCHMARK)

    assert match == decontaminate.NO_MATCH


def test_the_shipped_hashes_are_small_and_catch_a_humaneval_function(tmp_path: Path) -> None:
    benchmark = decontaminate.load(HASHES)
    known = "\n".join(
        [
            "def truncate_number(number: float) -> float:",
            '    """ Given a positive floating point number, it can be decomposed into',
            "    and integer part (largest integer smaller than given number) and decimals",
            "    (leftover part always smaller than 1).",
        ]
    )

    assert HASHES.stat().st_size < 1_000_000
    assert decontaminate.match(decontaminate.lexemes(known), known, benchmark).token_grams
    decontaminate.save(benchmark, tmp_path / "again.npz")
    again = decontaminate.load(tmp_path / "again.npz")
    assert (again.token_grams == benchmark.token_grams).all()
