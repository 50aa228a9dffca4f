"""What becomes of a suggestion, from what is typed and what the client says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infill_engine.request import Draft
from infill_ls.completion.acceptance import Acceptance
from infill_ls.completion.candidate import Candidate
from infill_ls.completion.offers import READ_SECONDS, OfferedItem, Offers, Taken, kept
from infill_ls.completion.worker import Query, QueryLimits
from infill_ls.documents import Document

LIMITS = QueryLimits(max_lines=1, max_tokens=None, num_candidates=1, seconds=1, min_confidence=0)
DRAFT = Draft(text="", fills=(), steps=1, tokens=1, mean_entropy=0.0)


class Screen:
    """A document `alpha‸omega` with what is typed at the cursor, and the offers of it. A second
    passes with every call, unless it is told otherwise."""

    def __init__(self, *texts: str, reported: bool = False, newline: str = "\n") -> None:
        self.now = 0.0
        self.offers = Offers(acceptance=Acceptance(), reported=reported, clock=lambda: self.now)
        self.newline = newline
        self.typed = ""
        self.answer(*texts)

    @property
    def document(self) -> Document:
        text = f"{self.newline}alpha {self.typed}|omega"
        return Document(uri="file:///a", version=1, language_id="python", text=text)

    def answer(self, *texts: str, automatic: bool = True, at: int = 0) -> OfferedItem:
        document = self.document
        offset = document.text.index("|") + at
        candidates = [Candidate(text=t, score=0.5, parses=None, draft=DRAFT) for t in texts]
        number, base = self.offers.answered(
            Query(document=document, offset=offset, limits=LIMITS), candidates, automatic=automatic
        )
        return OfferedItem(offer=number, choice=0, base=base)

    def types(self, text: str, after: float = 1.0) -> Taken | None:
        self.now += after
        self.typed += text
        return self.offers.changed(self.document)

    def counted(self) -> tuple[int, int, int, int]:
        """Shown, accepted, dismissed, characters."""
        of = self.offers.acceptance.of("python")
        return sum(of.shown), sum(of.accepted), sum(of.dismissed), of.characters


def test_typing_through_a_suggestion_neither_accepts_nor_dismisses_it() -> None:
    screen = Screen("one two")
    for key in "one two, and more":
        screen.types(key)

    assert screen.counted() == (1, 0, 0, 0)


def test_answers_that_say_what_is_left_are_the_same_suggestion() -> None:
    screen = Screen("one two")
    screen.types("o")
    first = screen.answer("ne two")
    screen.types("n")
    screen.answer("e two")

    assert first.base == 1
    assert screen.counted() == (1, 0, 0, 0)


def test_typing_something_else_dismisses_what_could_be_read() -> None:
    screen = Screen("one two")
    screen.types("x")

    assert screen.counted() == (1, 0, 1, 0)


@pytest.mark.parametrize(
    ("keys", "seconds"),
    [("x", READ_SECONDS / 2), ("o()", 1.0), ("onx", 1.0)],
    ids=["nobody could read it", "an editor closed what was opened", "agreed at first"],
)
def test_not_all_that_disagrees_is_a_dismissal(keys: str, seconds: float) -> None:
    screen = Screen("one two")
    screen.types(keys, after=seconds)

    assert screen.counted() == (1, 0, 0, 0)


def test_asking_elsewhere_dismisses_and_asking_again_does_not() -> None:
    screen = Screen("one two")
    screen.now += 1
    screen.answer("other")
    assert screen.counted() == (2, 0, 0, 0)
    screen.now += 1
    screen.answer("there", at=2)
    assert screen.counted() == (3, 0, 1, 0)


def test_the_rest_at_once_was_accepted_by_a_client_that_does_not_say_so() -> None:
    screen = Screen("one two")
    screen.types("o")
    taken = screen.types("ne two")

    assert taken is not None
    assert taken.document.text[taken.start : taken.end] == "ne two"
    assert screen.counted() == (1, 1, 0, 6)


@pytest.mark.parametrize("change_first", [True, False])
def test_what_a_client_says_it_accepted_counts_once(change_first: bool) -> None:
    screen = Screen("one two", reported=True)
    screen.types("o")
    item = OfferedItem(offer=1, choice=0, base=1)
    if change_first:
        screen.types("ne two")
    for _ in range(2):
        screen.offers.accepted(item)

    assert screen.counted() == (1, 1, 0, 6)


def test_words_and_the_rest_make_one_acceptance() -> None:
    screen = Screen("one two three", reported=True)
    item = screen.answer("one two three")
    screen.offers.accepted_to(item, 3, 0)
    screen.types("one")
    screen.offers.accepted_to(item, 7, 3)
    screen.types(" two")
    screen.types(" three")
    screen.offers.accepted(item)
    screen.types("!")

    assert screen.counted() == (1, 1, 0, 13)


def test_what_is_told_of_what_is_gone_means_nothing() -> None:
    screen = Screen("one two", reported=True)
    for item in (OfferedItem(offer=9, choice=0, base=0), OfferedItem(offer=1, choice=7, base=0)):
        screen.offers.accepted(item)
        screen.offers.accepted_to(item, 3, 0)
        screen.offers.dismissed(item)

    assert screen.counted() == (1, 0, 0, 0)


def test_lengths_are_the_clients_and_line_ends_the_files() -> None:
    screen = Screen("\N{GRINNING FACE}\nab", reported=True, newline="\r\n")
    item = screen.answer("\N{GRINNING FACE}\nab")
    taken = screen.offers.accepted_to(item, 2 + 2 + 1, 0)

    assert taken is not None
    assert taken.document.text[taken.start : taken.end] == "\N{GRINNING FACE}\r\na"
    assert screen.counted()[3] == 3


def test_what_was_asked_for_says_nothing_about_what_is_shown_unasked() -> None:
    screen = Screen("one")
    item = screen.answer("two", automatic=False)
    screen.offers.accepted(item)

    assert screen.counted() == (1, 0, 0, 3)


def test_what_the_user_takes_away_is_dismissed_at_once() -> None:
    screen = Screen("one")
    screen.offers.dismissed(None)

    assert screen.counted() == (1, 0, 1, 0)


def document(text: str) -> Document:
    return Document(uri="file:///a", version=1, language_id="python", text=text)


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        ("a = [one two]\nb", "a = one two\nb", 7),
        ("a = [one two]\nb", "import x\na = one two\nb = 5", 7),
        ("a = [one two]\nb", "a = one\nb", 3),
        ("a = [one two]\nb", "b", 0),
        ("a = [one two]\nb", "", 0),
        ("a = [f(x, y)]\nb", "import z\na = f(x, 2 * y)\nb = c", 7),
    ],
)
def test_what_is_kept_is_what_is_still_there(then: str, now: str, expected: int) -> None:
    start, end = then.index("["), then.index("]") - 1
    taken = Taken(document=document(then.replace("[", "").replace("]", "")), start=start, end=end)

    assert kept(taken, document(now)) == expected


TEXT = st.text("ab \n(", max_size=30)


@given(TEXT, TEXT, TEXT, TEXT, TEXT)
def test_edits_beside_it_keep_all_of_it(
    before: str, text: str, after: str, new_before: str, new_after: str
) -> None:
    taken = Taken(
        document=document(before + text + after), start=len(before), end=len(before + text)
    )

    assert kept(taken, document(new_before + text + after)) == len(text)
    assert kept(taken, document(before + text + new_after)) == len(text)
    assert 0 <= kept(taken, document(new_before + new_after)) <= len(text)


def test_what_was_dismissed_twice_does_not_come_back() -> None:
    screen = Screen("one two")
    query = Query(document=screen.document, offset=7, limits=LIMITS)
    again = tuple(
        Candidate(text=text, score=0.5, parses=None, draft=DRAFT) for text in ("one two", "other")
    )
    assert screen.offers.wanted(query, again) == again
    screen.types("x")
    assert screen.offers.wanted(query, again) == again
    screen.typed = ""
    screen.answer("one two")
    screen.types("y")

    assert [each.text for each in screen.offers.wanted(query, again)] == ["other"]
    elsewhere = Query(
        document=Document(uri="file:///b", version=1, language_id="python", text=""),
        offset=0,
        limits=LIMITS,
    )
    assert screen.offers.wanted(elsewhere, again) == again


class Place:
    """A cursor at ‸ in a document that is rewritten at will, and the offers of it."""

    def __init__(self, marked: str, reported: bool = False) -> None:
        self.now = 0.0
        self.offers = Offers(acceptance=Acceptance(), reported=reported, clock=lambda: self.now)
        self.query = self.at(marked)

    def at(self, marked: str) -> Query:
        before, after = marked.split("‸")
        return Query(document=document(before + after), offset=len(before), limits=LIMITS)

    def becomes(self, marked: str) -> Taken | None:
        self.now += 1
        self.query = self.at(marked)
        return self.offers.changed(self.query.document)

    def shown(self, *texts: str) -> tuple[str, ...]:
        """What of an answer is offered."""
        found = tuple(Candidate(text=t, score=0.5, parses=None, draft=DRAFT) for t in texts)
        wanted = self.offers.wanted(self.query, found)
        if wanted:
            self.offers.answered(self.query, wanted, automatic=True)
        return tuple(each.text for each in wanted)

    @property
    def dismissed(self) -> int:
        return sum(self.offers.acceptance.of("python").dismissed)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import os\nx = ‸\ny", "import sys\nimport os\nx = ‸\ny"),
        ("import os\nx = ‸\ny", "import sys\nx = ‸\ny"),
        ("import os\nx = ‸\ny", "x = ‸\ny"),
        ("x = ‸\ny", "\nx = ‸\ny"),
        ("x = ‸\ny", "x = ‸\ny\nz"),
        ("x = ‸\ny", "x = ‸\nz\ny"),
        ("x = ‸\ny", "x = ‸\n"),
    ],
)
def test_an_edit_of_other_lines_leaves_a_suggestion_where_it_is(
    before: str, after: str, newline: str
) -> None:
    before, after = before.replace("\n", newline), after.replace("\n", newline)
    place = Place(before)
    place.shown("one two")
    place.becomes(before.replace("‸", "o‸"))
    place.becomes(after.replace("‸", "o‸"))
    first = place.offers.at("file:///a")
    assert first is not None
    assert place.offers.is_at(first, place.query)
    place.shown("ne two")
    assert place.offers.at("file:///a") is first
    taken = place.becomes(after.replace("‸", "one two‸"))

    assert taken is not None
    assert taken.document.text == after.replace("‸", "one two")
    assert taken.document.text[taken.start : taken.end] == "ne two"
    assert place.dismissed == 0


@given(st.text("ab\n ", max_size=12), st.text("ab\n ", max_size=12), st.text("ab\n ", max_size=12))
def test_what_is_followed_stands_at_its_place(above: str, then: str, below: str) -> None:
    place = Place(f"{above}\n  x = ‸\n{below}")
    place.shown("one")
    place.becomes(f"{then}\n  x = ‸\n{below}")
    place.becomes(f"{then}\n  x = o‸\n{above}")

    assert place.dismissed == 0
    if (offer := place.offers.at("file:///a")) is not None and offer.typed:
        assert place.offers.is_at(offer, place.query)


@pytest.mark.parametrize("then", ["x =‸\ny", "‸\ny", "xy = ‸\ny", "z = o‸\ny", "z\n‸\ny"])
def test_what_changes_before_a_suggestion_does_not_dismiss_it(then: str) -> None:
    place = Place("x = ‸\ny")
    place.shown("one two")
    place.becomes(then)

    assert place.offers.at("file:///a") is None
    assert place.dismissed == 0


@pytest.mark.parametrize("then", ["x = \n‸\ny", "x = \n    ‸\ny", "x = q‸\ny"])
def test_enter_and_other_text_dismiss_a_suggestion(then: str) -> None:
    place = Place("x = ‸\ny")
    place.shown("one two")
    place.becomes(then)

    assert place.dismissed == 1


def refused(marked: str, text: str) -> Place:
    """It was dismissed there twice."""
    place = Place(marked)
    for _ in range(2):
        assert place.shown(text)
        place.becomes(marked.replace("‸", "#‸"))
        place.becomes(marked)
    return place


@pytest.mark.parametrize(
    ("marked", "text"),
    [
        ("\nx = ‸", "one.two"),
        ("\nx = o‸", "ne.two"),
        ("\nx = one‸", ".two"),
        ("\nx =‸", " one.two"),
        ("\nx‸", " = one.two"),
        ("\nx = o‸", "ne.two + 1"),
    ],
)
def test_what_was_dismissed_twice_stays_away_however_much_of_it_is_typed(
    marked: str, text: str
) -> None:
    place = refused("\nx = ‸", "one.two")
    place.becomes(marked)

    assert place.shown(text) == ()


@pytest.mark.parametrize(
    ("marked", "text"),
    [
        ("\nx = ‸", "one"),  # less of it
        ("\nx = one.two‸", " + 1"),  # the user has all of it now
        ("\nx = t‸", "wo"),
        ("\ny = ‸", "one.two"),  # another line
    ],
)
def test_other_texts_are_not_those_that_were_dismissed(marked: str, text: str) -> None:
    place = refused("\nx = ‸", "one.two")
    place.becomes(marked)

    assert place.shown(text) == (text,)


def test_a_beginning_that_was_dismissed_at_the_start_of_a_line_is_of_that_line() -> None:
    place = refused("def f():\n    ‸", "return")
    place.becomes("def f():\n    re‸")
    assert place.shown("turn x") == ()
    place.becomes("def g():\n    ‸")

    assert place.shown("return x") == ("return x",)
