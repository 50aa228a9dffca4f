"""Typing through a suggestion costs no model run and takes away exactly what was typed."""

import random
from dataclasses import replace

import pytest

from infill_engine.request import Cell
from infill_ls.completion.candidate import Candidate
from infill_ls.completion.openings import Openings
from infill_ls.completion.reuse import MAX_ENTRIES, PREFIX_WINDOW, SUFFIX_WINDOW, Reuse
from infill_ls.completion.surroundings import Surroundings
from infill_ls.completion.worker import Query, QueryLimits
from infill_ls.documents import Document, Splice
from tests.infill_ls.engines import draft

LIMITS = QueryLimits(
    max_lines=6, max_tokens=None, num_candidates=1, seconds=0.3, min_confidence=0.0
)


def query(
    marked: str, *, uri: str = "file:///a.py", selected: str = "", limits: QueryLimits = LIMITS
) -> Query:
    """The cursor is at ‸."""
    before, after = marked.split("‸")
    document = Document(uri=uri, version=1, language_id="python", text=before + after)
    return Query(document=document, offset=len(before), limits=limits, selected=selected)


def candidate(text: str) -> Candidate:
    return Candidate(text=text, score=1.0, parses=True, draft=draft(text, 1, True))


def remembering(marked: str, *texts: str, selected: str = "") -> Reuse:
    reuse = Reuse()
    reuse.remember(query(marked, selected=selected), tuple(map(candidate, texts)))
    return reuse


def check(reuse: Reuse, asked: Query, *expected: str) -> None:
    found = reuse.find(asked)

    assert found is not None
    assert list(expected) == [candidate.text for candidate in found]


def test_the_same_place_gives_the_same_suggestion() -> None:
    check(remembering("x = ‸\ny", "f(1)"), query("x = ‸\ny"), "f(1)")


def test_typing_through_takes_away_what_was_typed_and_deleting_gives_it_back() -> None:
    reuse = remembering("x = ‸\ny", "f(1)")

    check(reuse, query("x = f‸\ny"), "(1)")
    check(reuse, query("x = f(1‸\ny"), ")")
    check(reuse, query("x = f(‸\ny"), "1)")
    check(reuse, query("x = ‸\ny"), "f(1)")


@pytest.mark.parametrize(
    "marked",
    [
        "x = g‸\ny",  # something else typed
        "x = f(1)‸\ny",  # all of it typed or accepted: nothing is left to say
        "x = f(1)!‸\ny",
        "x =‸\ny",  # deleted beyond the place
        "x = ‸ \ny",  # something else follows
        "x = ‸",
        "z = ‸\ny",  # something else before
        "x = ‸f\ny",
    ],
)
def test_a_mismatch_drops_it(marked: str) -> None:
    assert remembering("x = ‸\ny", "f(1)").find(query(marked)) is None


def test_other_documents_and_other_limits_are_other_places() -> None:
    reuse = remembering("x = ‸\ny", "f(1)")
    more = QueryLimits(max_lines=20, max_tokens=None, num_candidates=3, seconds=1, min_confidence=0)

    assert reuse.find(query("x = ‸\ny", uri="file:///b.py")) is None
    assert reuse.find(query("x = ‸\ny", limits=more)) is None


def test_of_several_candidates_those_that_still_fit_are_left() -> None:
    reuse = remembering("‸", "value", "vast", "other")

    check(reuse, query("va‸"), "lue", "st")
    check(reuse, query("val‸"), "ue")
    assert reuse.find(query("vx‸")) is None


def test_line_ends_typed_as_crlf_are_those_of_the_suggestion() -> None:
    reuse = remembering("if x:‸\r\nend", "\n  a\n  b")

    check(reuse, query("if x:\r\n  a\r\n ‸\r\nend"), " b")
    check(reuse, query("if x:\r\n‸\r\nend"), "  a\n  b")


def test_an_edit_far_away_leaves_it_and_one_near_by_does_not() -> None:
    far, near = "a" * PREFIX_WINDOW, "b" * SUFFIX_WINDOW
    reuse = remembering(f"top{far}‸{near}end", "text")

    check(reuse, query(f"changed{far}t‸{near}changed"), "ext")
    assert reuse.find(query(f"top{far[1:]}c‸{near}end")) is None
    assert reuse.find(query(f"top{far}‸c{near[1:]}end")) is None


def test_the_menus_selection_must_be_what_the_suggestion_says() -> None:
    reuse = remembering("pri‸", "nt(x)", "vate")

    check(reuse, query("pri‸", selected="nt"), "nt(x)")
    check(reuse, query("prin‸", selected="t"), "t(x)")
    assert reuse.find(query("pri‸", selected="or")) is None


def test_a_suggestion_that_the_menu_forced_is_for_that_selection_alone() -> None:
    reuse = remembering("pri‸", "nt(x)", selected="nt")

    check(reuse, query("prin‸", selected="t"), "t(x)")
    assert reuse.find(query("pri‸")) is None
    assert reuse.find(query("pri‸", selected="nt(")) is None


def test_nothing_found_is_remembered_for_the_place_itself_only() -> None:
    reuse = remembering("x = ‸\ny")

    check(reuse, query("x = ‸\ny"))
    assert reuse.find(query("x = f‸\ny")) is None


def test_it_ends_after_five_minutes() -> None:
    now = 0.0
    reuse = Reuse(clock=lambda: now)
    reuse.remember(query("‸"), (candidate("text"),))
    now = 299.0
    check(reuse, query("t‸"), "ext")
    now = 301.0

    assert reuse.find(query("t‸")) is None
    assert len(reuse) == 0


def test_the_least_recently_used_of_more_than_250_is_dropped() -> None:
    reuse = Reuse()
    for number in range(MAX_ENTRIES):
        reuse.remember(query(f"{number} ‸"), (candidate("text"),))
    check(reuse, query("0 ‸"), "text")
    reuse.remember(query("more ‸"), (candidate("text"),))

    assert len(reuse) == MAX_ENTRIES
    check(reuse, query("0 ‸"), "text")
    assert reuse.find(query("1 ‸")) is None


def test_a_closed_document_is_forgotten_and_the_others_are_not() -> None:
    reuse = remembering("‸", "text")
    reuse.remember(query("‸", uri="file:///b.py"), (candidate("text"),))
    reuse.forget("file:///a.py")

    assert reuse.find(query("‸")) is None
    check(reuse, query("‸", uri="file:///b.py"), "text")


def test_random_typing_finds_the_rest_exactly_while_it_follows_the_suggestion() -> None:
    rng = random.Random(11)
    for _ in range(300):
        around = "".join(rng.choices("ab\n😀 ", k=20))
        at = rng.randint(0, len(around))
        text = "".join(rng.choices("ab\n😀 ", k=rng.randint(1, 12)))
        reuse = remembering(f"{around[:at]}‸{around[at:]}", text)
        typed = "".join(rng.choices("ab\n😀 ", k=rng.randint(0, 6)))
        typed = text[: rng.randint(0, len(text))] if rng.random() < 0.5 else typed
        found = reuse.find(query(f"{around[:at]}{typed}‸{around[at:]}"))

        follows = text.startswith(typed) and typed != text
        assert ([text[len(typed) :]] if follows else None) == (
            [candidate.text for candidate in found] if found else None
        )


def sure(text: str, score: float, least: float = 0.2) -> Candidate:
    return Candidate(text=text, score=score, parses=True, draft=draft(text, 1, True), least=least)


UNASKED = replace(LIMITS, min_confidence=None)


def said(*texts: Candidate, at: str = "x = ‸\ny") -> Reuse:
    """Nothing of it was shown."""
    reuse = Reuse()
    reuse.remember(query(at, limits=UNASKED), (), texts)
    return reuse


def likely(reuse: Reuse, marked: str) -> dict[str, float]:
    found = reuse.said(query(marked, limits=UNASKED))
    return {each.text: round(each.score, 2) for each in found}


def test_what_was_said_is_as_likely_as_what_is_typed_since_makes_it() -> None:
    reuse = said(sure("second(2)", 0.1), sure("seconds", 0.1), sure("thirdly", 0.05))

    assert likely(reuse, "x = ‸\ny") == {}  # that is known
    assert likely(reuse, "x = second‸\ny") == {"(2)": 0.3, "s": 0.3}
    assert likely(reuse, "x = thi‸\ny") == {"rdly": 0.14}
    assert likely(reuse, "x = z‸\ny") == {}
    reuse.remember(query("a = ‸\ny", limits=UNASKED), (), (sure("second", 0.01, least=0.9),))
    assert likely(reuse, "a = s‸\ny") == {}  # it would not be shown


def test_somebody_who_asks_gets_no_old_texts() -> None:
    reuse = Reuse()
    reuse.remember(query("x = ‸\ny"), (), (sure("second", 0.9),))

    assert reuse.said(query("x = s‸\ny")) == ()
    assert likely(said(sure("second", 0.9)), "x = s‸\ny") == {"econd": 0.92}


def test_the_more_is_typed_of_it_the_surer_it_is() -> None:
    reuse = said(sure("second", 0.1, least=0.0))
    scores = [likely(reuse, f"x = {typed}‸\ny")[rest] for typed, rest in _heads_of("second")[:3]]

    assert scores == sorted(scores)
    assert len(set(scores)) == 3


def _heads_of(text: str) -> list[tuple[str, str]]:
    return [(text[:at], text[at:]) for at in range(1, len(text))]


def test_how_a_text_came_to_be_is_not_remembered() -> None:
    reuse, text = Reuse(), candidate("f(1)")
    cells = (Cell(text="f", entropy=0.0, state="settled"),)
    text = replace(text, draft=replace(text.draft, cells=cells, others=(text.draft,)))
    reuse.remember(query("x = ‸\ny", limits=UNASKED), (text,), (replace(text, text="g(1)"),))

    (shown,) = reuse.find(query("x = ‸\ny", limits=UNASKED)) or ()
    (other,) = reuse.said(query("x = g‸\ny", limits=UNASKED))
    for found in (shown, other):
        assert (found.draft.cells, found.draft.others) == ((), ())


def test_what_was_said_last_knows_more_of_what_is_typed() -> None:
    reuse = said(sure("secondly", 0.3))
    assert likely(reuse, "x = seco‸\ny") == {"ndly": 0.58}
    reuse.remember(query("x = sec‸\ny", limits=UNASKED), (), (sure("retly", 0.3),))

    assert likely(reuse, "x = seco‸\ny") == {}
    assert likely(reuse, "x = secr‸\ny") == {"etly": 0.36}
    # What is shown is gone on from, however long ago it was found.
    shown = (sure("econd(1)", 0.9),)
    reuse.remember(query("x = s‸\ny", limits=UNASKED), shown, shown)
    check(reuse, query("x = seco‸\ny", limits=UNASKED), "nd(1)")


@pytest.mark.parametrize(
    ("marked", "again"),
    [
        ("x = to‸\ny", False),
        ("x = tot‸\ny", False),
        ("x = tota‸\ny", False),
        ("x = total‸\ny", True),  # three characters of a word later
        ("x = t +‸\ny", False),
        ("x = t + ‸\ny", True),  # or two others
        ("x = a‸\ny", True),  # something else before
    ],
)
def test_where_nothing_was_likely_it_is_not_looked_again_at_once(marked: str, again: bool) -> None:
    reuse = said(sure("otal", 0.02), at="x = t‸\ny")

    assert reuse.quiet(query(marked, limits=UNASKED)) is not again
    assert said(at="x = t‸\ny").quiet(query(marked, limits=UNASKED)) is not again


def test_it_is_looked_again_where_somebody_asks_a_line_begins_or_something_was_likely() -> None:
    asked = Reuse()
    asked.remember(query("x = t‸\ny"), (), ())

    assert not asked.quiet(query("x = to‸\ny"))
    assert not said(at="    ‸\ny").quiet(query("     ‸\ny", limits=UNASKED))
    likelier = said(sure("otal", 0.3), at="x = t‸\ny")
    assert not likelier.quiet(query("x = to‸\ny", limits=UNASKED))


@pytest.mark.parametrize("shown", [True, False])
def test_what_was_found_without_the_judge_is_of_no_use_with_it(shown: bool) -> None:
    judge = False
    reuse, place = Reuse(has_judge=lambda: judge), query("x = ‸\ny", limits=UNASKED)
    texts = (sure("second", 0.9),)
    reuse.remember(place, texts if shown else (), texts, judged=False)
    later = replace(place, document=query("x = s‸\ny").document, offset=5)
    assert reuse.find(place) == (texts if shown else ())
    assert reuse.said(later)
    judge = True

    assert reuse.find(place) is None
    assert reuse.find(later) is None
    assert not reuse.said(later)
    assert not reuse.quiet(later)
    reuse.remember(place, texts, judged=True)
    check(reuse, place, "second")
    check(reuse, later, "econd")


@pytest.mark.parametrize(
    ("then", "now", "holds"),
    [(0, 0, True), (0, 1, False), (1, 2, False), (0, 2, False), (2, 2, True), (2, 0, True)],
)
def test_what_was_found_by_less_of_the_workspace_is_looked_for_again(
    then: int, now: int, holds: bool
) -> None:
    reuse, place = Reuse(), query("x = ‸\ny")
    reuse.remember(replace(place, surroundings=Surroundings(known=then)), (candidate("f(1)"),))
    found = reuse.find(replace(place, surroundings=Surroundings(known=now)))

    assert (found is not None) is holds


@pytest.mark.parametrize("since", ["judge", "workspace", "doubt"])
@pytest.mark.parametrize(
    ("text", "taken", "goes_on"),
    [("\n    1,\n    2,\n", "\n    1,", True), ("second", "sec", True), ("second", "se", False)],
)
def test_what_is_typed_or_taken_goes_on_whatever_is_known_by_then(
    text: str, taken: str, goes_on: bool, since: str
) -> None:
    judge = False
    reuse, place = Reuse(has_judge=lambda: judge), query("x = ‸\ny", limits=UNASKED)
    reuse.remember(place, (sure(text, 0.9),), judged=False)
    judge = since == "judge"
    limits = replace(UNASKED, doubt=1.1 if since == "doubt" else 1.0)
    now = Surroundings(known=2 if since == "workspace" else 0)

    def found(marked: str) -> list[str] | None:
        at = replace(query(marked, limits=limits), surroundings=now)
        candidates = reuse.find(at)
        return None if candidates is None else [each.text for each in candidates]

    assert found(f"x = {taken}‸\ny") == ([text[len(taken) :]] if goes_on else None)
    assert found("x = ‸\ny") is None


def test_nothing_that_the_judge_had_no_time_for_is_looked_at_again_there() -> None:
    reuse, place = Reuse(has_judge=lambda: True), query("x = t‸\ny", limits=UNASKED)
    reuse.remember(place, (), (sure("otal", 0.02),), hurried=True)

    assert reuse.find(place) is None
    assert reuse.quiet(query("x = to‸\ny", limits=UNASKED))
    reuse.remember(place, ())
    check(reuse, place)


FAR = "a = 1\n" * (PREFIX_WINDOW // 5)


def edited(reuse: Reuse, before: str, at: int, removed: str, inserted: str) -> str:
    document = query(before).document
    assert document.text[at:].startswith(removed)
    reuse.openings.saw(document, Splice(start=at, removed=removed, inserted=inserted))
    return before[:at] + inserted + before[at + len(removed) :]


@pytest.mark.parametrize(
    ("removed", "inserted", "holds"),
    [
        ("", '"""', False),
        ("", "'", False),
        ("", "/*", False),
        ("", "import sys\n", True),
        ("", '"""Says it."""\n', True),
        ("", "f('a', \"b\") /* c */\n", True),
        ("#", "", True),
        ('#"', "", False),
    ],
)
def test_what_may_be_in_a_string_since_is_looked_for_again(
    removed: str, inserted: str, holds: bool
) -> None:
    marked = f"{removed}\n{FAR}x = ‸\ny"
    reuse = remembering(marked, "f(1)")
    marked = edited(reuse, marked, 0, removed, inserted)

    assert (reuse.find(query(marked)) is not None) is holds
    reuse.remember(query(marked), (candidate("f(1)"),))
    marked = edited(reuse, marked, 0, "", "b = 2\n")
    check(reuse, query(marked.replace("‸", "f‸")), "(1)")


@pytest.mark.parametrize(
    ("language_id", "inserted", "holds"),
    [
        ("htmldjango", "{% comment %}", False),
        ("htmldjango", "{% if a %}", True),
        ("html", "<!-- a -->", True),
        ("perl", "=pod", False),
        ("perl", "__END__", False),
        ("ruby", "=begin\n=end", True),
        ("lua", "--[==[", False),
        ("sql", "AS $$", False),
        ("php", "?>", False),
        ("php", "<?= f(1) ?>", True),
        ("shellscript", "cat <<EOF", False),
        ("cpp", "a << b", True),
        ("yaml", "about: >", False),
        ("yaml", "about: a", True),
    ],
)
def test_a_language_has_its_own_marks(language_id: str, inserted: str, holds: bool) -> None:
    openings, text = Openings(), f"\n{FAR}"
    document = Document(uri="file:///a", version=1, language_id=language_id, text=text)
    openings.saw(document, Splice(start=0, removed="", inserted=inserted))

    assert openings.any_since("file:///a", 0, len(text)) is not holds


def test_a_mark_that_comes_by_and_by_counts_and_typing_through_quotes_costs_nothing() -> None:
    marked = f"/\n{FAR}x = ‸\ny"
    reuse = remembering(marked, 'f("1")')
    for key in 'f("1':
        marked = edited(reuse, marked, marked.index("‸"), "", key)
    check(reuse, query(marked), '")')
    marked = edited(reuse, marked, 1, "", "*")

    assert reuse.find(query(marked)) is None


def test_of_many_edits_that_open_something_the_oldest_count_as_well() -> None:
    marked = f"\n{FAR}x = ‸\ny"
    reuse = remembering(marked, "f(1)")
    marked = edited(reuse, marked, 0, "", "'")
    for _ in range(100):
        end = marked.index("y") - 1
        edited(reuse, marked, end, "", "'")

    assert reuse.find(query(marked)) is None
