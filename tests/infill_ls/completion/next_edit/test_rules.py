"""What follows from an edit, rule by rule."""

import re

import pytest

from infill_ls.completion.next_edit.fstrings import f_string
from infill_ls.completion.next_edit.history import EditHistories
from infill_ls.completion.next_edit.imports import modernised
from infill_ls.completion.next_edit.offer import next_edit
from infill_ls.documents import Change, DocumentStore
from tests.infill_ls.completion.next_edit.edits import offered, proposed

EDIT = re.compile(r"«([^«»]*)▸([^«»]*)»")
DUE = re.compile(r"‹([^‹›]*)▹([^‹›]*)›")

NAMES = [
    "def «total▸subtotal»(a):\n    return a\n\n\nprint(‹total▹subtotal›(1))\n",
    "def f(«size▸width»):\n    x = ‹size▹width› + 1\n    return x\n\n\nsize = 3\n",
    "class A:\n    def f(self):\n        self.«old▸fresh» = 1\n        return self.‹old▹fresh›\n",
    "from a import «Loader▸LoaderProtocol»\n\n\ndef f(x: ‹Loader▹LoaderProtocol›): ...\n",
]
PATTERNS = [
    "if a:\n    raise UsageError«()▸»\nif x:\n    raise UsageError‹()▹›\n",
    'a = cast(«int▸"int"», x)\nb = cast(‹str▹"str"›, y)\n',
    "a: «Optional[int]▸int | None» = b\nc: ‹Optional[str]▹str | None› = d\n",
    "one«▸: dict[str, str]» = {}\ntwo‹▹: dict[str, str]› = {}\n",
    "x = data.get(a«▸, None»)\ny = 1\nz = data.get(a‹▹, None›)\n",
]
IMPORTS = {
    "twice": (
        "import os\n«▸from a import b\n»\n\ndef f():\n    x = 1\n‹    from a import b\n▹›    b(x)\n"
    ),
    "modern": "from typing import Any«, List▸»\n\na: ‹List▹list›[Any] = []\n",
    "unqualified": "«import typing▸from typing import Any»\n\na: ‹typing.Any▹Any› = 1\n",
    "exported": 'from a import b\n«from a import c\n▸»\n__all__ = [\n    "b",\n‹    "c",\n▹›]\n',
    "export": (
        "from .a import one\nfrom .b import two\n«▸from .c import three\n»\n__all__ = [\n"
        '    "one",\n‹▹    "three",\n›    "two",\n]\n'
    ),
    "unused": "import os\n‹import re\n▹›\n«print(re.X)▸print(1)»\nprint(os.sep)\n",
    "import": "import os\n‹▹import re\n›\nprint(os.sep)\n«print(1)▸print(re.X)»\n",
}
CALLS = {
    "keyword": "def f(a, «b▸c»=1):\n    pass\n\n\nf(1, ‹b▹c›=2)\n",
    "argument_gone": "def f(a«, b▸», c):\n    pass\n\n\nf(1‹, 2▹›, 3)\n",
    "passed_on": "def f(a«▸, b»):\n    pass\n\n\ndef g(b):\n    f(1‹▹, b›)\n",
}
SIBLINGS = [
    (
        "class A:\n    def __init__(self, a1, a2«▸, a3»):\n        self.a1 = a1\n"
        "        self.a2 = a2\n‹▹        self.a3 = a3\n›"
    ),
    (
        'A = [\n    "one",\n    "two",\n«▸    "three",\n»]\n'
        "B = {\n    one,\n    two,\n‹▹    three,\n›}\n"
    ),
]
F_STRINGS = [
    ('raise E("no %s" % a)', 'raise E(f"no {a}")'),
    ('x = "%r of %d%%" % (a.b, c(d))', 'x = f"{a.b!r} of {c(d)}%"'),
    ('x = "{} and {!r}".format(a, b[0])', 'x = f"{a} and {b[0]!r}"'),
    ('x = "%(a)s" % b', ""),
    ('x = "%s %s" % a', ""),
    ('x = "{0}".format(a)', ""),
    ('x = "%s" % ("a", b)', ""),
]


def check(source: str, rule: str, language: str = "python") -> None:
    """`«old▸new»` is the edit, `‹old▹new›` what the rule proposes first."""
    before = DUE.sub(r"\1", source)
    due = EDIT.sub(r"\2", DUE.sub(r"\2", source))
    found = proposed(EDIT.sub(r"\1", before), EDIT.sub(r"\2", before), language)
    assert found.get(rule) == due, found


@pytest.mark.parametrize("source", NAMES)
def test_a_name_is_renamed_where_it_belongs(source: str) -> None:
    check(source, "renamed")


@pytest.mark.parametrize("source", PATTERNS)
def test_the_same_is_replaced_elsewhere(source: str) -> None:
    check(source, "repeated")
    check(source.replace("\n", "\n# é😀\n", 1), "repeated", "ruby")


@pytest.mark.parametrize("rule", IMPORTS)
def test_imports(rule: str) -> None:
    check(IMPORTS[rule], rule)


@pytest.mark.parametrize("rule", CALLS)
def test_calls_follow_a_signature(rule: str) -> None:
    check(CALLS[rule], rule)


@pytest.mark.parametrize("source", SIBLINGS)
def test_what_came_beside_a_name_comes_there_as_well(source: str) -> None:
    check(source, "beside")


@pytest.mark.parametrize(("line", "changed"), F_STRINGS)
def test_strings_that_are_plainly_formatted(line: str, changed: str) -> None:
    assert f_string(line) == changed


def test_unions_of_typing() -> None:
    names = {"Optional", "Union", "Dict"}

    assert modernised("a: Optional[Dict[str, Union[A, b.C[D]]]]", names) == (
        "a: dict[str, A | b.C[D]] | None"
    )
    assert modernised("a: Optional[", names) == "a: Optional["


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", "x = 1\n"),
        ("x = 1\n", "x = 1\n\n\n"),
        ("def f():\n    x = 1\n", "def f():\n    x = 2\n"),
        ("a = 1\nb = 1\n", "a = 2\nb = 1\n"),
        ("# the old one\nold = 1\n", "# the new one\nold = 1\n"),
        ("x = (\n", "x = (1\n"),
        ("def f(:\n    total\n", "def g(:\n    total\n"),
    ],
)
def test_nothing_is_offered_where_nothing_is_due(old: str, new: str) -> None:
    assert offered(old, new) is None


def test_what_would_not_parse_is_not_offered() -> None:
    """The keyword in a call that goes over lines is not seen whole."""
    old = "class Old:\n    pass\n\n\nx = Old()\n"

    assert offered(old, old.replace("class Old", "class New")) == old.replace("Old", "New")
    assert offered(old, old.replace("class Old", "class 1Old")) is None


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_ends_are_the_files(newline: str) -> None:
    old = "def total(a):\n    return a\n\n\nprint(total(1))\n".replace("\n", newline)

    new = offered(old, old.replace("def total", "def subtotal"))

    assert new == old.replace("total", "subtotal")


def test_what_an_older_edit_leaves_to_be_done_is_offered_after_the_newest() -> None:
    """But not where it was just decided otherwise."""
    text = "from typing import Any, List\n\na: List[Any] = []\nb: List[Any] = []\nc = 1\n"
    store, histories = DocumentStore(), EditHistories(lambda: 0.0)
    uri = store.open("file:///a.py", "python", 1, text).uri

    def change(line: int, start: int, end: int, inserted: str) -> str | None:
        at = (line, start, line, end)
        document = store.change(uri, 2, [Change(text=inserted, range=at)], "utf-8", histories.saw)
        assert document is not None
        edit = next_edit(document, histories.of(uri))
        return edit and edit.text

    assert change(0, 22, 28, "") == "a: list[Any] = []"
    assert change(2, 3, 7, "list") == "b: list[Any] = []"
    assert change(3, 3, 7, "Other") is None
