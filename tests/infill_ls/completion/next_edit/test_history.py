"""Edits are kept as they stand in the text now, what was typed in one go as one."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infill_ls.completion.next_edit.history import (
    MAX_CHARACTERS,
    MAX_DOCUMENTS,
    MAX_EDITS,
    PAUSE_SECONDS,
    Edit,
    EditHistories,
    noted,
)
from infill_ls.documents import Change, Document, DocumentStore, Splice

TEXT = "one two\nthree four\nfive six\n"


def typed(text: str, *changes: tuple[int, int, str], seconds: float = 0.1) -> list[tuple[str, str]]:
    """What was removed and inserted, after changes of [start, end) some seconds apart."""
    edits: tuple[Edit, ...] = ()
    for number, (start, end, inserted) in enumerate(changes):
        splice = Splice(start=start, removed=text[start:end], inserted=inserted)
        edits = noted(edits, text, splice, number * seconds)
        text = text[:start] + inserted + text[end:]
        assert all(text[edit.start : edit.end] == edit.inserted for edit in edits)
    return [(edit.removed, edit.inserted) for edit in edits]


@pytest.mark.parametrize(
    ("changes", "seconds", "kept"),
    [
        ([(3, 3, "x"), (4, 4, "y"), (5, 5, "z")], 0.1, [("", "xyz")]),
        ([(0, 3, ""), (0, 0, "u"), (1, 1, "n")], 0.1, [("one", "un")]),
        ([(0, 3, "1"), (2, 5, "2")], 0.1, [("one two", "1 2")]),
        ([(4, 7, "2"), (0, 3, "1")], 0.1, [("one two", "1 2")]),
        ([(0, 3, "1"), (2, 5, "2")], PAUSE_SECONDS + 1, [("one", "1"), ("two", "2")]),
        ([(0, 3, "1"), (6, 11, "3")], 0.1, [("one", "1"), ("three", "3")]),
        ([(8, 13, "3"), (0, 3, "1")], 0.1, [("three", "3"), ("one", "1")]),
        ([(3, 3, "x"), (3, 4, "")], 0.1, []),
        ([(0, 3, "1"), (0, 27, "")], PAUSE_SECONDS + 1, [("1" + TEXT[3:28], "")]),
    ],
)
def test_what_belongs_together_is_one_edit(
    changes: list[tuple[int, int, str]], seconds: float, kept: list[tuple[str, str]]
) -> None:
    assert typed(TEXT, *changes, seconds=seconds) == kept


def test_no_more_is_kept_than_is_looked_at() -> None:
    store, clock = DocumentStore(), iter(range(1000))
    histories = EditHistories(lambda: 100.0 * next(clock))
    for number in range(MAX_DOCUMENTS + 3):
        uri = store.open(f"file:///{number}", "python", 1, "a\n" * 20).uri
        for line in range(MAX_EDITS + 3):
            store.change(
                uri, 2, [Change(text="b", range=(line, 0, line, 1))], "utf-8", histories.saw
            )

    assert histories.of(store.all()[0].uri) == ()
    assert len(histories.of(store.all()[-1].uri)) == MAX_EDITS
    histories.forget(store.all()[-1].uri)
    assert histories.of(store.all()[-1].uri) == ()


def test_what_was_pasted_is_followed_by_nothing() -> None:
    assert typed(TEXT, (0, 3, "1"), (8, 8, "x" * (MAX_CHARACTERS + 1))) == []


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_edits_stand_where_the_text_has_them(data: st.DataObject) -> None:
    """And the newest one, taken back, gives a text of the document's past."""
    store = DocumentStore()
    document = store.open("u", "python", 1, data.draw(st.text("ab\n", max_size=12)))
    histories, past = EditHistories(lambda: 0.0), {document.text}
    for version in range(2, 6):
        line = st.integers(0, 3)
        at = tuple(data.draw(st.tuples(line, line, line, line)))
        change = Change(
            text=data.draw(st.text("ab\n", max_size=3)), range=(at[0], at[1], at[2], at[3])
        )
        changed = store.change("u", version, [change], "utf-8", histories.saw)
        assert changed is not None
        edits = histories.of(document.uri)
        for edit in edits:
            assert changed.text[edit.start : edit.end] == edit.inserted
        if edits:
            newest = edits[-1]
            before = changed.text[: newest.start] + newest.removed + changed.text[newest.end :]
            assert before in past
        past.add(changed.text)


def test_a_splice_says_what_differs() -> None:
    store, seen = DocumentStore(), list[Splice]()
    store.open("u", "python", 1, "a\r\nbcd\r\n")

    def saw(_: Document, splice: Splice) -> None:
        seen.append(splice)

    changes = [Change(text="bxd", range=(1, 0, 1, 3)), Change(text="a\r\nbxd\r\ne")]
    store.change("u", 2, changes, "utf-16", saw)

    assert [(each.start, each.removed, each.inserted) for each in seen] == [
        (4, "c", "x"),
        (8, "", "e"),
    ]
