"""The bench: its cases, its judges, and what it measures."""

import io
import json
import time
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from infill_engine import EngineConfig, InfillRequest, load_engine
from infill_ls.cli.bench import Workload, latency, quality, run, scores
from infill_ls.cli.bench.cases import (
    KINDS,
    ONE_LINE,
    Case,
    Source,
    line_spans,
    python_cases,
    written_cases,
)
from infill_ls.cli.bench.report import Bar, Report, as_line
from infill_ls.cli.bench.wire import ServerError, ServerProcess
from infill_ls.cli.machine import resident_mb
from tests.infill_ls.engines import Knowing, always

WRITTEN = Path(__file__).parents[3] / "benchmarks" / "cases"


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return python_cases(60)


def case(prefix: str, reference: str, suffix: str, kind: str = "tail") -> Case:
    return Case(
        name="a.py:1:1",
        kind=kind,
        language_id="python",
        prefix=prefix,
        reference=reference,
        suffix=suffix,
    )


def test_cases_are_the_same_every_time_and_even_over_kinds(cases: list[Case]) -> None:
    assert python_cases(60) == cases
    assert python_cases(30) == cases[:30]
    assert Counter(each.kind for each in cases) == dict.fromkeys(KINDS, 10)


def test_a_case_is_a_hole_in_a_file_that_parses(cases: list[Case]) -> None:
    for each in cases:
        whole = each.prefix + each.reference + each.suffix

        assert scores.syntax_errors("python", whole) == 0, each.name
        assert each.reference.strip(), each.name
        assert each.reference.count("\n") < (1 if each.kind in ONE_LINE else 8), each.name


def test_the_truth_gets_the_best_marks(cases: list[Case]) -> None:
    outcomes = [quality.Outcome(case=each, answer=each.reference, steps=1) for each in cases]
    figures = quality.summary(outcomes)

    assert (figures["exact"], figures["similarity"], figures["shown"]) == (1.0, 1.0, 1.0)
    assert (figures["new_errors"], figures["suffix_repetitions"]) == (0, 0)


def test_inner_holes_end_at_the_bracket_that_the_editor_closed(cases: list[Case]) -> None:
    pairs = {"(": ")", "[": "]", "{": "}"}
    for each in cases:
        if each.kind in ("inner", "arguments"):
            assert each.suffix[0] == pairs[each.prefix[-1]], each.name


@pytest.mark.parametrize("path", sorted(WRITTEN.iterdir()), ids=lambda path: path.name)
def test_hand_written_cases_parse(path: Path) -> None:
    (each,) = [each for each in written_cases(WRITTEN) if each.name.startswith(path.name)]
    whole = each.prefix + each.reference + each.suffix

    assert each.language_id not in ("", "plaintext")
    assert scores.syntax_errors(each.language_id, whole) == 0


def test_lines_of_strings_and_comments_are_no_code() -> None:
    source = Source("a.py", '"""Says\nsomething."""\nx = 1\n# y = 2\nz = 3  # so\nw = [4]\n')

    assert [source.text[start:end] for start, end in line_spans(source)] == ["x = 1", "w = [4]"]


@pytest.mark.parametrize(
    ("answer", "reference", "similarity"),
    [("abc", "abc", 1.0), (" abc\n", "abc", 1.0), ("", "abc", 0.0), ("abd", "abc", 2 / 3)],
)
def test_edit_similarity(answer: str, reference: str, similarity: float) -> None:
    assert scores.edit_similarity(answer, reference) == pytest.approx(similarity)


@pytest.mark.parametrize(
    ("answer", "suffix", "repeats"),
    [
        ("x)", ")\n", True),
        ("f(x)", ")\n", False),
        ("x", ")\n", False),
        ("a\nreturn total", "\n\nreturn total\n", True),
        ("return total", "\nreturn other\n", False),
        ("size, count)", ", count) + 1\n", True),
        ("}\n}", "\n}\n", True),
        ("if x {\n}", "\n}\n", False),
        ("  ", "\n", False),
    ],
)
def test_repetitions_of_the_suffix_are_found(answer: str, suffix: str, repeats: bool) -> None:
    assert scores.repeats_suffix(answer, suffix) is repeats


def test_what_the_line_opens_its_answer_may_close() -> None:
    assert scores.repeats_suffix("b)", "\n    );\n", "equals(a, ") is False
    assert scores.repeats_suffix("b)", "\n    );\n", "equals(a), ") is True
    assert scores.repeats_suffix("b)", ")\n", "equals(a, ") is True


@pytest.mark.parametrize(
    ("prefix", "answer", "suffix", "adds"),
    [
        ("x = ", "1", "\n", False),
        ("x = 1", " + (", "\n", True),
        ("x = (", "1", "\n", False),  # it was broken before
        ("def f():\n    ", "return 1", "\n", False),
        ("x = 1\n", "return 1", "\n", False),  # for tree-sitter and ast alike it is syntax
        ("f(", "a=1, a", ")\n", True),  # Python's own parser is asked too
    ],
)
def test_new_syntax_errors_are_found(prefix: str, answer: str, suffix: str, adds: bool) -> None:
    assert scores.adds_error(case(prefix, "", suffix), answer) is adds


def test_an_answer_that_leaves_a_hole_broken_is_no_better_than_one_that_breaks_a_file() -> None:
    hole = case("x = ", "1", "\n")

    assert not scores.adds_error(hole, "(1")
    assert scores.breaks(hole, "(1")
    assert not scores.breaks(hole, "(1)")


@pytest.mark.parametrize(
    ("prefix", "suffix", "copied"),
    [
        ("self.a = a\nself.b = b\nself.a = ", "\n", "a"),
        ("x = ", "\ny = 2\n", "2"),
        ("print(f(a))\nprint(", ")\n", "f(a)"),
        ("q", "", ""),
    ],
)
def test_the_copying_baseline_says_what_followed_similar_text(
    prefix: str, suffix: str, copied: str
) -> None:
    assert scores.copied(case(prefix, "", suffix)) == copied


@pytest.mark.parametrize(
    ("values", "share", "value"),
    [
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([1.0], 0.99, 1.0),
        (list(map(float, range(1, 101))), 0.95, 95.0),
    ],
)
def test_percentiles(values: list[float], share: float, value: float) -> None:
    assert scores.percentile(values, share) == value


def test_an_engine_that_knows_every_answer_is_seen_through(cases: list[Case]) -> None:
    def knows(request: InfillRequest) -> list[str]:
        """The case is known by its surroundings, of which the request holds a window."""
        for each in cases:
            if each.prefix.endswith(request.prefix) and each.suffix.startswith(request.suffix):
                return [each.reference]
        return []

    simple = [each for each in cases if each.kind in ("inner", "arguments")]
    outcomes = quality.ask(Knowing(knows), simple, lambda: None)

    assert quality.summary(outcomes)["exact"] > 0.9


def test_a_cancelled_run_makes_no_further_step(cases: list[Case]) -> None:
    engine = Knowing(always("x"), steps=6)
    samples = latency.warm_engine(engine, cases[:3], lambda: None)

    assert samples.cancel_steps == [0, 0, 0]
    assert len(samples.warm) == len(samples.typed_more) == 3


def test_json_has_no_number_that_json_lacks() -> None:
    line = as_line({"a": float("nan"), "b": [float("inf"), 1.23456], "c": {"d": True}})

    assert json.loads(line) == {"a": None, "b": [None, 1.2346], "c": {"d": True}}


def test_a_promise_that_could_not_be_measured_is_not_kept() -> None:
    out = io.StringIO()
    bar = Bar(name="resident memory", value=float("nan"), limit=600, unit="MB")
    Report(Console(file=out, width=100)).bars([bar])

    assert not bar.met
    assert "✗" in out.getvalue()


@pytest.mark.e2e
def test_a_server_process_answers_and_ends() -> None:
    with ServerProcess(["--model", "nowhere"]) as server:
        answer = server.initialize({"enable": False})
        server.open("file:///a.py", "python", "x = \n")
        pid = server.pid

    assert answer["serverInfo"]["name"] == "infill-ls"
    assert resident_mb(pid) is None


@pytest.mark.e2e
def test_a_server_without_a_model_is_not_waited_for() -> None:
    case_of_it, started = case("x = ", "1", "\n"), time.monotonic()

    with pytest.raises(ServerError, match="nowhere"):
        latency.cold_start(EngineConfig(model="nowhere"), [case_of_it], lambda: None)
    assert time.monotonic() - started < 50, "the model might take a minute"


@pytest.mark.e2e
def test_a_server_that_cannot_start_says_why() -> None:
    with (
        pytest.raises(ServerError, match="unrecognized arguments: --nonsense"),
        ServerProcess(["--nonsense"]) as server,
    ):
        server.initialize()


@pytest.mark.e2e
@pytest.mark.slow
def test_the_bench_measures_the_embedded_model_from_end_to_end() -> None:
    out = io.StringIO()
    workload = Workload(cases=6, cold=1, edge=2, warm=2, overhead=1)
    report = Report(Console(file=out, width=100))
    result = run(EngineConfig(), load_engine, workload, report)

    assert all(bar["name"] in out.getvalue() for bar in result["bars"])
    assert all(bar["value"] == bar["value"] for bar in result["bars"])  # every one was measured
    assert result["quality"]["all"]["new_errors"] == 0
    assert result["quality"]["all"]["suffix_repetitions"] == 0
    assert len(out.getvalue().splitlines()) > 30
    assert max(map(len, out.getvalue().splitlines())) <= 100
