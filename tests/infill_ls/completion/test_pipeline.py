"""The whole way from a cursor to what is shown, with engines of a stated property."""

import ast
import math
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.request import Draft, Hole, InfillRequest
from infill_ls.completion.heads import nearest, percent
from infill_ls.completion.pipeline import Infilled, InfillOptions, Trees, infill_at
from infill_ls.documents import Document
from infill_ls.syntax.language import language_id_of, language_of
from tests.infill_ls.scripted import Engine, Filling, Knowing, Scripted, Several, draft
from tests.infill_ls.syntax.sources import num_problems

FILES = sorted((Path(__file__).parents[2] / "data" / "languages").iterdir())
ANY = InfillOptions()


def infill(
    engine: Engine,
    source: str,
    options: InfillOptions = ANY,
    language_id: str = "python",
    budget: Budget = UNLIMITED,
) -> Infilled:
    before, after = source.split("‸")
    document = Document(uri="file:///a", version=1, language_id=language_id, text=before + after)
    return infill_at(engine, document, len(before), options, trees=Trees(), budget=budget)


def check(source: str, text: str, expected: str, language_id: str = "python") -> None:
    """An engine that says `text` whatever it is asked: what is shown?"""
    shown = infill(Scripted(*[text] * 4), source, language_id=language_id).candidates

    assert expected == (shown[0].text if shown else "")


# --- what is shown -------------------------------------------------------------------------------


def test_a_text_that_fits_is_shown_as_it_is() -> None:
    infilled = infill(Scripted("f(a)"), "x = ‸\n")

    assert [each.text for each in infilled.candidates] == ["f(a)"]
    assert infilled.candidates[0].parses
    assert infilled.candidates[0].score == pytest.approx(math.exp(-0.2))
    assert infilled.rejected == ""
    assert infilled.num_renoised == 0


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        # cut back to what is valid
        ("x = ‸\n", "f(a) b", "f(a)"),
        ("x = ‸\ny = 1\n", "a.b.", "a.b"),
        ("def f():\n    ‸\n    return 1\n", "a = 1\n    b = )", "a = 1"),
        ("def f():\n    ‸\n    return 1\n", "a = 1\n    if a:", "a = 1"),
        ("‸\n", "import os\nx = = 1", "import os"),
        # closed
        ("x = ‸\n", "f(a, [1", "f(a, [1])"),
        ("print(‸\n", "a, b", "a, b)"),
        # nothing valid in it
        ("x = ‸\n", ")", ""),
        ("x = ‸\n", "= = =", ""),
        ("x = (‸)\n", "for", ""),
    ],
)
def test_what_is_wrong_is_cut_off(source: str, text: str, expected: str) -> None:
    check(source, text, expected)


def test_the_next_best_text_is_shown_where_the_best_one_does_not_parse() -> None:
    engine = Several("f(a b)", "g(a)", "h(a)")

    infilled = infill(engine, "x = ‸\n")

    assert [each.text for each in infilled.candidates] == ["g(a)"]
    assert (infilled.num_renoised, len(engine.requests)) == (0, 1)


def test_half_a_text_is_not_shown_where_it_mends_nothing() -> None:
    source = "def f():\n    if a == b‸\n        pass\n"

    check(source, ".c d:", "")
    check(source, ".c: d e", ".c:")


def test_a_language_without_a_grammar_is_not_checked_but_trimmed() -> None:
    infilled = infill(Scripted("a ) ( b)"), "f(‸)\n", language_id="klingon")

    assert [each.text for each in infilled.candidates] == ["a"]
    assert infilled.candidates[0].parses is None


def test_crlf_files_get_lf_text() -> None:
    document = Document(
        uri="a", version=1, language_id="python", text="def f():\r\n    \r\n    return x\r\n"
    )
    engine = Scripted("if a:\r\n        b()\r\n    return x")
    infilled = infill_at(engine, document, 14, ANY, trees=Trees())

    assert [each.text for each in infilled.candidates] == ["if a:\n        b()"]


def test_several_candidates_come_best_first_and_differ() -> None:
    engine = Several("a + (", "b", "c)", "b")
    shown = infill(engine, "x = ‸\n", InfillOptions(num_candidates=3)).candidates

    assert [each.text for each in shown] == ["b"]
    shown = infill(Several("a", "b", "a", "c"), "x = ‸\n", InfillOptions(num_candidates=2))
    assert [each.text for each in shown.candidates] == ["a", "b"]


def test_a_candidate_that_mends_the_file_comes_before_one_that_is_no_worse() -> None:
    source = "int f(int a)\n{\n    int x = g(‸;\n    return x;\n}\n"
    options = InfillOptions(num_candidates=2)
    shown = infill(Several("a,", "a)"), source, options, "c").candidates

    assert [each.text for each in shown] == ["a)", "a,"]


# --- thinking over -------------------------------------------------------------------------------


def test_only_what_is_wrong_is_thought_over() -> None:
    engine = Knowing("f(a, b) + c", wrong="f(a, b)) + c")
    infilled = infill(engine, "x = ‸\n")

    assert [each.text for each in infilled.candidates] == ["f(a, b) + c"]
    assert infilled.num_renoised == 1
    head, hole, tail = engine.requests[1].middle
    assert isinstance(head, str)
    assert isinstance(hole, Hole)
    assert head.startswith("f(a")
    assert tail == " + c"


def test_a_long_span_is_thought_over_in_as_many_tokens_as_the_engine_fills() -> None:
    engine = Scripted("(" + "a, " * 400, "b")
    infill(engine, "x = ‸\n")

    (hole,) = (part for part in engine.requests[1].middle if isinstance(part, Hole))
    assert hole.max_tokens == engine.describe().max_tokens


def test_a_span_is_thought_over_twice_at_most() -> None:
    engine = Scripted(*["a b)"] * 9)
    infilled = infill(engine, "x = ‸\n")

    assert len(engine.requests) == 3
    assert infilled.num_renoised == 2
    assert [each.text for each in infilled.candidates] == ["a"]


def test_what_is_right_at_once_is_not_thought_over() -> None:
    engine = Scripted("a", "b")
    infill(engine, "x = ‸\n")

    assert len(engine.requests) == 1


def test_nothing_is_thought_over_past_the_deadline() -> None:
    engine = Scripted("a b)", "c")
    options = InfillOptions()
    budget = Budget(deadline=time.monotonic() - 1)

    assert infill(engine, "x = ‸\n", options, budget=budget).num_renoised == 0
    assert len(engine.requests) == 1


def test_a_thought_over_text_is_tidied_again() -> None:
    engine = Filling("f(a))\n    return x", "\n    return x")
    infilled = infill(engine, "def f():\n    x = ‸\n    return x\n")

    assert all("return" not in each.text for each in infilled.candidates)


# --- what is asked -------------------------------------------------------------------------------


def test_in_the_middle_of_a_line_one_line_is_asked_for() -> None:
    engine = Scripted("a", "a", "a")
    infill(engine, "x = ‸ + 1\n", InfillOptions(max_lines=6))
    infill(engine, "f(‸)\n", InfillOptions(max_lines=6))

    assert [request.max_lines for request in engine.requests] == [1, 6]


def test_what_is_shown_goes_on_from_the_menus_selection() -> None:
    engine = Filling("(a)")
    infilled = infill(engine, "x.‸\n", InfillOptions(selected="append"))

    assert engine.requests[0].middle == ("append", Hole())
    assert [each.text for each in infilled.candidates] == ["append(a)"]
    assert not infill(Scripted("pop()"), "x.‸\n", InfillOptions(selected="append")).candidates
    assert not infill(Scripted("append"), "x.‸\n", InfillOptions(selected="append")).candidates


def test_a_selection_stays_when_what_follows_it_is_wrong() -> None:
    engine = Knowing("append(a)", wrong="append(a))")
    infilled = infill(engine, "x.‸\n", InfillOptions(selected="append"))

    assert [each.text for each in infilled.candidates] == ["append(a)"]
    first = engine.requests[1].middle[0]
    assert isinstance(first, str)
    assert first.startswith("append")


# --- nothing to show -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "why"),
    [
        (Scripted(), "the engine offers nothing"),
        (Scripted(""), "empty"),
        (Scripted("  \n "), "empty"),
        (Scripted("y = 1"), "it repeats the next line"),
        (Scripted(")", ")", ")"), "a new syntax error"),
    ],
)
def test_it_is_said_why_nothing_is_shown(engine: Engine, why: str) -> None:
    infilled = infill(engine, "x = ‸\ny = 1\n")

    assert infilled.candidates == ()
    assert why == infilled.rejected


def test_an_unsure_text_is_not_shown() -> None:
    infilled = infill(Scripted("a"), "x = ‸\n", InfillOptions(min_confidence=1.0))

    likely = math.exp(draft("a").log_probability)
    score, _, _ = nearest([("a", likely)], language_of("python"), lambda _: 1.0)
    assert infilled.candidates == ()
    assert infilled.rejected == f"confidence {percent(score)} is below 100 %"


class Cancelling(Engine):
    """Is taken back while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = False

    def drafts(self, request: InfillRequest) -> "list[Draft]":  # type: ignore[override]
        self.stopped = True
        return [draft("a")]


def test_a_cancelled_infill_shows_nothing() -> None:
    engine = Cancelling()
    document = Document(uri="a", version=1, language_id="python", text="x = \n")
    stopped: Callable[[], bool] = lambda: engine.stopped  # noqa: E731
    infilled = infill_at(engine, document, 4, ANY, trees=Trees(), budget=Budget(cancelled=stopped))

    assert (infilled.candidates, infilled.rejected) == ((), "cancelled")


def test_every_draft_can_be_watched() -> None:
    seen: list[str] = []
    document = Document(uri="a", version=1, language_id="python", text="x = \n")
    infill_at(
        Scripted("a"), document, 4, ANY, trees=Trees(), watch=lambda each: seen.append(each.text)
    )

    assert seen == ["a"]


def test_the_stages_are_timed() -> None:
    ms = infill(Scripted("a"), "x = ‸\n").ms

    assert ms.total > 0
    assert 0 < ms.context < ms.total
    assert 0 < ms.validate < ms.total


# --- the promise ---------------------------------------------------------------------------------


def compiles(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


def says_what_follows(text: str, suffix: str) -> bool:
    """By other means than the code's own: the next line again, or its first eight characters, or
    a closer that closes nothing in the text and stands there."""
    following = next((line for line in suffix.split("\n") if line.strip()), "")
    last = text.rstrip().split("\n")[-1]
    if last.strip() == following.strip() and re.search(r"[a-z]{3}\W", last + " "):
        return not re.fullmatch(r"\s*(end|fi|done|esac|(</\w+>)+)\s*", last)
    for length in range(8, min(len(text), len(suffix)) + 1):
        if text.endswith(suffix[:length]) and len(suffix[:length].strip()) >= 8:
            return True
    tail = text.rstrip()[-1:]
    rest = suffix.split("\n")[0].lstrip()
    if tail and rest.startswith(tail) and tail in ";,\"'`":
        return True
    if tail and tail in ")]}" and rest.startswith(tail):
        opener = {")": "(", "]": "[", "}": "{"}[tail]
        plain = re.sub(r"""'[^'\n]*'|"[^"\n]*"|`[^`]*`""", "", text)
        return plain.count(tail) > plain.count(opener)
    return False


def nonsense(rng: random.Random, source: str, tokens: list[str], cursor: int) -> str:
    """What a bad engine might say: the file's own pieces, and what follows, in all ways."""
    suffix = source[cursor:]
    at = rng.randrange(len(tokens))
    run = "".join(tokens[at : at + rng.randrange(1, 25)])
    soup = "".join(rng.choice(tokens) for _ in range(rng.randrange(1, 6)))
    return rng.choice(
        (
            run,
            run,
            soup,
            suffix[: rng.randrange(1, 60)],
            run + suffix[: rng.randrange(1, 40)],
            run.rstrip() + rng.choice(")]};,\"'`>"),
            run + "".join(rng.choice("()[]{}\"';,") for _ in range(3)),
            suffix.lstrip()[: rng.randrange(1, 40)],
            "".join(suffix.splitlines(keepends=True)[1:3]),
            '"' + run,
            run + "\ufffd" + soup,
        )
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_whatever_an_engine_says_nothing_shown_breaks_the_file_or_repeats_it(path: Path) -> None:
    whole, name = path.read_text(encoding="utf-8"), language_id_of(str(path))
    rng = random.Random(name)
    tokens = re.findall(r"\w+|\s+|[^\w\s]", whole)
    num_shown = 0
    for _ in range(60):
        cursor = rng.randrange(len(whole) + 1)
        # Often the file lacks something, as it does while somebody types.
        source = whole[:cursor] + whole[cursor + rng.choice((0, 0, 1, 5, 30)) :]
        engine = Scripted(*(nonsense(rng, source, tokens, cursor) for _ in range(3)))
        said = list(engine.texts)
        shown = infill(engine, source[:cursor] + "‸" + source[cursor:], ANY, name).candidates
        for text in (candidate.text for candidate in shown):
            num_shown += 1
            after = source[:cursor] + text + source[cursor:]
            about = (source[max(0, cursor - 40) : cursor], text, source[cursor : cursor + 40], said)

            assert num_problems(after, name) <= num_problems(source, name), about
            assert not says_what_follows(text, source[cursor:]), about
            assert text.strip(), about
            assert "\ufffd" not in text, about
            if name == "python" and compiles(source):
                assert compiles(after), about

    assert num_shown > 5


# A stray closer at the end passes for the partner of what the cursor's line opens.
@pytest.mark.parametrize("broken", ["", "\n) = (\n"], ids=["whole", "broken"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_stood_there_is_shown(path: Path, broken: str) -> None:
    """Whole lines and ends of lines, taken out and offered again."""
    if broken and path.stem in ("scala", "shellscript", "swift", "yaml"):
        pytest.skip("its grammar loses its way in such a file")
    whole, name = path.read_text(encoding="utf-8"), language_id_of(str(path))
    rng = random.Random(name)
    lines = [match.span(1) for match in re.finditer(r"^[ \t]*(\S.*)$", whole, re.MULTILINE)]
    refused = []
    for _ in range(30):
        start, end = rng.choice(lines)
        ends = [match.end() for match in re.finditer(r"[(.=] ?", whole[start:end])]
        start += rng.choice([0, *ends])
        text = whole[start:end]
        if not text.strip() or whole.count(text) > 1:
            continue
        source = whole[:start] + "‸" + whole[end:] + broken
        shown = infill(Scripted(text), source, ANY, name).candidates
        if text.strip() not in [candidate.text.strip() for candidate in shown]:
            refused.append((text, shown))

    assert len(refused) <= 2, refused
