"""What was changed in other documents is proposed where it is due in this one."""

import time

import pytest

from infill_engine import Budget, BudgetSpent
from infill_ls.completion.next_edit.earlier import MAX_CHANGES, EarlierChanges
from infill_ls.completion.next_edit.elsewhere import Elsewhere
from infill_ls.completion.next_edit.history import Edit, EditHistories
from infill_ls.completion.next_edit.offer import (
    SECONDS_ELSEWHERE,
    after_others,
    likeliest,
    site_of,
)
from infill_ls.completion.next_edit.source import Source
from infill_ls.documents import Change, Document, DocumentStore, Splice

HERE = "file:///here.py"


class Files:
    """Open documents, as a session follows their edits."""

    def __init__(self, seconds: float = 60.0) -> None:
        """So long after one another the edits come."""
        self.earlier, self._now, self._seconds = EarlierChanges(), 0.0, seconds
        self._store, self._histories = DocumentStore(), EditHistories(lambda: self._now)

    def edit(self, uri: str, *texts: str, language: str = "python") -> Document:
        """A document that becomes one text after the other, a while between them."""
        if self._store.get(uri) is None:
            self._store.open(uri, language, 1, texts[0])
        for version, text in enumerate(texts[1:], 2):
            self._now += self._seconds
            self._store.change(uri, version, [Change(text=text)], "utf-16", self._saw)
        document = self._store.get(uri)
        assert document is not None
        return document

    def close(self, uri: str) -> None:
        self._store.close(uri)
        self._histories.forget(uri)
        self.earlier.forget(uri)

    def edits(self, uri: str) -> tuple[Edit, ...]:
        return self._histories.of(uri)

    def elsewhere(self, document: Document) -> Elsewhere:
        last = [(each, self._histories.of(each.uri)) for each in self._store.all()]
        others = [(each, edits[-1] if edits else None) for each, edits in last]
        return self.earlier.for_document(document, others)

    def proposed(self, old: str, new: str, language: str = "python") -> dict[str, str]:
        """By rule the document here after the first proposal of each that other documents make."""
        document = self.edit(HERE, old, new, language=language)
        site = site_of(Source(document), self._histories.of(HERE)[-1])
        assert site is not None
        found: dict[str, str] = {}
        for each, _ in after_others(site, self.elsewhere(document)):
            lines = list(site.lines)
            lines[each.first : each.end] = each.lines
            found.setdefault(each.rule, "\n".join(lines))
        return found

    def offered(self, *, elsewhere: Elsewhere | None = None, budget: Budget) -> str | None:
        document = self.edit(HERE)
        known = self.elsewhere(document) if elsewhere is None else elsewhere
        edits = self._histories.of(HERE)
        edit = likeliest(document, edits, elsewhere=known, budget=budget).edit
        return edit and edit.text

    def _saw(self, before: Document, splice: Splice) -> None:
        if over := self._histories.saw(before, splice):
            self.earlier.add(before, over)


@pytest.mark.parametrize(
    ("there", "here", "rule"),
    [
        (
            ("a = get_value(1)\n", "a = fetch_value(1)\n"),
            ("x = 1\nb = get_value(x)\n", "x = 2\nb = fetch_value(x)\n"),
            "repeated_elsewhere",
        ),
        (
            ("def f(a: Optional[int]) -> None: ...\n", "def f(a: int | None) -> None: ...\n"),
            ("x = 1\ndef g(b: Optional[str]): ...\n", "x = 2\ndef g(b: str | None): ...\n"),
            "repeated_elsewhere",
        ),
        (
            ("warn(\n    A,\n)\n", "warn(\n    A,\n    stacklevel=2,\n)\n"),
            ("x = 1\n\tA,\n\t)\n", "x = 2\n\tA,\n\tstacklevel=2,\n\t)\n"),
            "put_in_elsewhere",
        ),
        (
            ("import a\nimport b\nimport c\n", "import a\nimport c\n"),
            ("x = 1\nimport b\nimport d\n", "x = 2\nimport d\n"),
            "removed_elsewhere",
        ),
        (
            ("f(\n    a,\n)\n", "f(a)\n"),
            ("x = 1\n  f(\n      a,\n  )\n", "x = 2\n  f(a)\n"),
            "block_elsewhere",
        ),
        (
            ("def f(a) -> A:\n    ...\n", "def f(a) -> A: ...\n"),
            (
                "x = 1\nclass C:\n    def g(b) -> B:\n        ...\n",
                "x = 2\nclass C:\n    def g(b) -> B: ...\n",
            ),
            "block_elsewhere",
        ),
        (
            ('"""One."""\nimport a\n', '"""One."""\n\nimport a\n'),
            ('"""Two."""\nimport b\nx = 1\n', '"""Two."""\n\nimport b\nx = 2\n'),
            "put_in_elsewhere",
        ),
        (
            ('a = "%s" % b\n', 'a = f"{b}"\n'),
            ('x = 1\nc = "%s-" % d\n', 'x = 2\nc = f"{d}-"\n'),
            "f_string_elsewhere",
        ),
    ],
)
def test_what_was_changed_there_is_proposed_here(
    there: tuple[str, str], here: tuple[str, str], rule: str
) -> None:
    files = Files()
    files.edit("file:///there.py", *there)
    old, wanted = here

    assert files.proposed(old, old.replace("x = 1", "x = 2"))[rule] == wanted


def test_a_document_without_an_edit_is_due_what_others_had() -> None:
    for old, new in (
        ("value = get_value({})\n", "value = fetch_value({})\n"),
        ('value = "%s" % a{}\n', 'value = f"{{a{}}}"\n'),
    ):
        files = Files()
        for number in range(5):
            files.edit(f"file:///{number}.py", old.format(number), new.format(number))
        document = files.edit(HERE, "x = 1\n" + old.format(9))

        assert likeliest(document, ()).edit is None
        edit = likeliest(document, (), elsewhere=files.elsewhere(document)).edit
        assert edit is not None
        assert edit.text == new.format(9).rstrip("\n")
        assert edit.line == 1


def test_what_is_edited_here_is_left_as_it_is() -> None:
    files = Files()
    files.edit("file:///there.py", "a = get_value(1)\n", "a = fetch_value(1)\n")

    assert files.proposed("b = get_value(1)\n", "b = get_value(2)\n") == {}


@pytest.mark.parametrize("how", ["undone", "closed", "of another language"])
def test_what_is_no_longer_known_or_means_something_else_is_not_proposed(how: str) -> None:
    files, old = Files(), "a = get_value(1)\nb = 1\n"
    new = old.replace("get", "fetch")
    texts = (old, new, new.replace("b = 1", "b = 2"))  # the first change is over by the second
    language = "ruby" if how == "of another language" else "python"
    files.edit("file:///there", *texts, language=language)
    if how == "undone":
        undone = texts[-1].replace("fetch", "get")
        files.edit("file:///there", texts[-1], undone, undone.replace("b = 2", "b = 3"))
    elif how == "closed":
        files.earlier.forget("file:///there")

    found = files.proposed("x = 1\nc = get_value(2)\n", "x = 2\nc = get_value(2)\n")

    assert not any("fetch_value" in text for text in found.values())


def test_only_so_many_changes_are_kept_the_newest_ones() -> None:
    files, lines = Files(), [f"a{n} = x" for n in range(MAX_CHANGES + 10)]
    texts = []
    for n in range(len(lines) + 1):
        texts.append("\n".join((*(line.replace("x", "y") for line in lines[:n]), *lines[n:])))
    files.edit("file:///there.py", *texts)
    document = files.edit(HERE, "x = 1\n")

    changes = files.elsewhere(document).changes

    assert len(changes) == MAX_CHANGES
    assert changes[-1].change.new == (f"a{MAX_CHANGES + 9} = y",)
    assert len(files.earlier) == MAX_CHANGES


A, B = "a = get(1)\nb = 1\n", "a = fetch(1)\nb = 1\n"


@pytest.mark.parametrize(
    ("texts", "known"),
    [
        ((A, B, B.replace("b = 1", "b = 2")), {"fetch", "b = 2"}),
        ((A, B, B.replace("b = 1", "b = 2"), B), {"fetch"}),  # once
        ((A, B, A), set()),
        ((A, B, B.replace("b = 1", "b = 2"), B, A, A.replace("b = 1", "b = 3")), {"b = 3"}),
        ((A, B, A, B), {"fetch"}),
        ((A, "b = 1\n"), {""}),
        ((A, "b = 1\n", A), set()),
    ],
)
@pytest.mark.parametrize("seconds", [60.0, 1.0])
def test_what_was_undone_is_not_known(
    texts: tuple[str, ...], known: set[str], seconds: float
) -> None:
    files = Files(seconds)
    files.edit("file:///there.py", *texts)

    found = [each.change.new for each in files.elsewhere(files.edit(HERE, "x = 1\n")).changes]

    assert len(found) == len(known)
    assert all(any(x in "\n".join(new) for new in found) for x in known)


def test_what_was_reverted_as_a_whole_is_not_known() -> None:
    files, old = Files(), "a = get(1)\nb = 1\nc = get(2)\n"
    one = old.replace("get(1)", "fetch(1)")
    files.edit("file:///there.py", old, one, one.replace("get(2)", "fetch(2)"), old)

    changes = files.elsewhere(files.edit(HERE, "x = 1\n")).changes

    assert not any("fetch" in line for each in changes for line in each.change.new)


def test_what_the_user_has_just_undone_is_not_proposed_back() -> None:
    files = Files()
    for n in range(3):
        files.edit(f"file:///{n}.py", "import a\nimport c\n", "import a\nimport b\nimport c\n")
    assert files.proposed("import a\nimport b\nimport c\n", "import a\nimport c\n") == {}

    files = Files()
    files.edit("file:///there.py", "a = fetch(1)\n", "a = get(1)\n")
    old = "a = get(2)\nb = fetch(3)\n"
    assert files.proposed(old, old.replace("get", "fetch")) == {}


@pytest.mark.parametrize(
    ("there", "here"),
    [("        check()", "\tif a:\n\tx = 3"), ("\t\tcheck()", "    if a:\n    x = 3")],
)
def test_how_deep_a_tab_is_is_not_guessed(there: str, here: str) -> None:
    files, unit = Files(), there[: len(there) // 2 - 3] if there[0] == " " else "\t"
    old = f"{unit}if a:\n{unit}x = 1\n"
    files.edit("file:///there.py", old, old.replace("a:\n", f"a:\n{there}\n"))

    found = files.proposed(f"y = 1\n{here}\n", f"y = 2\n{here}\n")

    assert not any("check" in text for text in found.values())


@pytest.mark.parametrize(
    ("there", "here"),
    [
        (("from old.q import z\n", "from new.q import z\n"),
         "".join(f"from old.m{n} import x{n}\n" for n in range(3000))),
        (("zz(bb,cc,dd)end\n", "yy[bb;cc;dd]fin\n"),
         ("    " + "a.zz(" * 25 + "b," * 80 + "endx\n") * 20),
        ((f"T = {[0] * 450}\n", f"T = {[1] * 450}\n"), "T = 0\n"),
        (('"(.)"' * 600 + "\n", '"(,)"' * 600 + "\n"), "T = 0\n"),
        (("[1, 2, 3]\n", "((1; 2; 3))\n"), "[1, 2, 3]\n" * 4000),
        (('a + "b"\n', 'f"{a}b"\n'), 'c + "d"\n' * 5000),
    ],
)  # fmt: skip
def test_it_takes_no_longer_than_it_may(there: tuple[str, str], here: str) -> None:
    files = Files()
    files.edit("file:///there.py", *there)
    document = files.edit(HERE, f"x = 1\n{here}", f"x = 2\n{here}")
    site = site_of(Source(document), files.edits(HERE)[-1])
    assert site is not None
    started = time.thread_time()

    list(after_others(site, files.elsewhere(document)))

    assert time.thread_time() - started < SECONDS_ELSEWHERE + 0.4


def test_how_often_it_was_changed_and_what_was_left_is_told() -> None:
    files = Files()
    files.edit("file:///1.py", "a = get(1)\nb = get(2)\n", "a = fetch(1)\nb = get(2)\n")
    files.edit("file:///2.py", "c = get(3)\n", "c = fetch(3)\n")
    document = files.edit(HERE, "x = 1\nd = get(4)\n", "x = 2\nd = get(4)\n")
    site = site_of(Source(document), files.edits(HERE)[-1])
    assert site is not None

    ((proposal, there),) = after_others(site, files.elsewhere(document))
    evidence = dict(proposal.evidence)

    assert proposal.lines == ("d = fetch(4)",)
    assert (evidence["documents"], evidence["times"], evidence["once"]) == (0.25, 0.25, 0.0)
    assert (evidence["untouched"], evidence["none_left"]) == (1 / 3, 0.0)
    assert (evidence["own"], evidence["newest"], evidence["last"]) == (0.0, 1.0, 1.0)
    assert not there.has_edit


def test_without_time_for_it_the_document_s_own_rules_say_what_they_find(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("infill_ls.completion.next_edit.offer.SECONDS_ELSEWHERE", 0.0)
    files = Files()
    files.edit("file:///there.py", "a = get(1)\n", "a = fetch(1)\n")
    text = "def total(a): ...\ntotal(get(2))\n"
    files.edit(HERE, text, text.replace("def total", "def subtotal"))

    assert files.offered(budget=Budget()) == "subtotal(get(2))"
    with pytest.raises(BudgetSpent):
        files.offered(budget=Budget(cancelled=lambda: True))


def test_an_expression_that_cannot_be_made_is_no_pattern() -> None:
    """Nothing of another document's text may end the search."""
    files = Files()
    for number, (old, new) in enumerate(
        [("a[", "b("), ("((x*", "((x+"), ("\\1 = {", "\\2 = {"), ("", "$^"), ("x" * 400, "y")]
    ):
        files.edit(f"file:///{number}.py", old + "\n", new + "\n")

    files.proposed("x = 1\na[\n((x*\n\\1 = {\n", "x = 2\na[\n((x*\n\\1 = {\n")
