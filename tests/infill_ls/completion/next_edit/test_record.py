"""What became of what rules proposed is counted by what was changed, wherever it stands now."""

from dataclasses import replace

import pytest

from infill_ls.completion.next_edit.changes import LineChange
from infill_ls.completion.next_edit.offer import likeliest
from infill_ls.completion.next_edit.record import Expected, Record, expected, record_of
from tests.infill_ls.completion.next_edit.test_elsewhere import HERE, Files


def changed(old: str, new: str) -> LineChange:
    return LineChange(first=0, old=tuple(old.split()), new=tuple(new.split()))


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        ("a b c", "a x c", ("b", "x")),
        ("a b", "a b c", ("", "c")),
        ("a b c", "b c", ("a", "")),
        ("a a", "a", ("a", "")),
        ("a", "b c", ("a", "b c")),
    ],
)
def test_it_is_what_differs_that_is_expected(old: str, new: str, kept: tuple[str, str]) -> None:
    lines = tuple(tuple(each.split()) for each in kept)

    assert expected("rule", old.split(), new.split()) == Expected("rule", *lines)


def test_what_was_made_is_told_from_what_was_not() -> None:
    asked = [expected("a", ["x"], ["y"]), expected("a", ["p"], ["q"]), expected("b", [], ["n"])]

    record = record_of(
        [
            (asked, [changed("x w", "y v")]),  # a line of two that were changed at once
            (asked, [changed("x", "y z"), changed("", "n")]),  # more than was expected
            ((), [changed("p", "q")]),
        ]
    )

    assert record == Record(made={"a": 1, "b": 1}, unmade={"a": 3, "b": 1}, documents=3)


def expecting(files: Files, uri: str, *texts: str) -> None:
    """A document in which rules propose after the first change, before the others."""
    document = files.edit(uri, *texts[:2])
    found = likeliest(document, files.edits(uri), elsewhere=files.elsewhere(document))
    files.earlier.expect(uri, found.expected)
    files.edit(uri, *texts[1:])


CALLS = "value = get_value(1)\nother = get_value(2)\n"


def test_a_rule_is_believed_by_what_became_of_it_elsewhere() -> None:
    """All else that speaks for the change is the same."""
    likely = []
    for follows in (True, False):
        files = Files()
        once = CALLS.replace("get_value(1)", "fetch_value(1)")
        for number in range(6):
            expecting(files, f"file:///{number}.py", CALLS, once, once.replace("get_", "fetch_"))
        old = "x = get_value(7)\ny = get_value(8)\n"
        document = files.edit(HERE, old, old.replace("get_value(7)", "fetch_value(7)"))
        known = files.elsewhere(document)
        made = known.record.made
        assert known.record.documents == 6
        assert made["renamed"] == 6
        if not follows:
            known = replace(known, record=Record(unmade=made, documents=6))
        edit = likeliest(document, files.edits(HERE), elsewhere=known).edit
        likely.append(edit.confidence if edit else 0.0)

    assert likely[0] > likely[1]


def test_what_is_closed_or_undone_or_of_another_language_is_not_counted() -> None:
    once = CALLS.replace("get_value(1)", "fetch_value(1)")
    for how in ("as it is", "closed", "undone", "of another language"):
        files, uri = Files(), "file:///there.py"
        expecting(files, uri, CALLS, once)
        if how == "closed":
            files.close(uri)
        elif how == "undone":
            files.edit(uri, once, CALLS)
        language = "ruby" if how == "of another language" else "python"
        document = files.edit(HERE, "x = 1\n", "x = 2\n", language=language)
        record = files.elsewhere(document).record
        assert (record.documents, sum(record.unmade.values()) > 0) == (
            (1, True) if how == "as it is" else (0, False)
        )
