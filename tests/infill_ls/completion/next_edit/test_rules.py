"""What follows from an edit, rule by rule."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infill_ls.completion.next_edit.calibration import weighed
from infill_ls.completion.next_edit.changes import token_change, tokens
from infill_ls.completion.next_edit.fstrings import f_string, of_sum
from infill_ls.completion.next_edit.history import EditHistories
from infill_ls.completion.next_edit.imports import modernised
from infill_ls.completion.next_edit.offer import RULES, Rule, site_of
from infill_ls.completion.next_edit.patterns import patterns_of, regex_of
from infill_ls.completion.next_edit.source import Source
from infill_ls.documents import Change, DocumentStore
from tests.infill_ls.completion.next_edit.edits import edited, offered, proposed, shown

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
    "a = f(«12▸Exact(12)»)\nb = f(‹7▹Exact(7)›)\n",
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
SEPARATED = [
    "x = isinstance(a, «B | C▸(B, C)»)\ny = isinstance(b, ‹D | E | F▹(D, E, F)›)\n",
]
BLOCKS = {
    "block": (
        "def f():\n«    x = cls(a)\n    return x\n▸    return cls(a)\n»\n\nclass A:\n    def g():\n"
        "‹        x = cls(a)\n        return x\n▹        return cls(a)\n›"
    ),
    "put_in": (
        "def f(a):\n    begin()\n«▸    check(a)\n»    return a\n\n\nclass A:\n    def g(a):\n"
        "        begin()\n‹▹        check(a)\n›        return a\n"
    ),
    "removed": (
        'def f():\n    """One."""\n«    pass\n▸»\n\ndef g():\n    """Two."""\n‹    pass\n▹›\n'
    ),
}
MIGRATED = {
    "annotated": (
        "«▸from __future__ import annotations\n\n»from typing import List, Optional\n\n"
        "a: ‹Optional[List[int]]▹list[int] | None› = None\n"
    ),
    "uncast": "from typing import Any«, cast▸»\n\na: Any = ‹cast(int, f(1, 2))▹f(1, 2)›\n",
    "qualified": ("from a.b«.c▸» import «One as Two▸c»\n\n\nclass X(‹Two▹c.One›): ...\n"),
    "instead": ("from a import b\n«▸from c import LouderWarning\n»\nb(‹Warning▹LouderWarning›)\n"),
    "moved": (
        "«import warnings\n▸»import abc\nimport os\n‹▹import warnings\n›\nwarnings.warn(abc, os)\n"
    ),
}
FUTURE = "«▸from __future__ import annotations\n\n»"
UNQUOTED = [
    FUTURE + 'a: ‹"X"▹X› = 1\n',
    FUTURE + 'def f(x: int, y: ‹list["X"]▹list[X]›): ...\n',
    FUTURE + 'async def f() -> ‹"X"▹X›: ...\n',
    FUTURE + "import typing as t\n\na: ‹t.Optional[t.List[t.Any]]▹list[t.Any] | None› = 1\n",
    FUTURE + 'from typing import Literal\n\na: ‹Literal["b"] | "X"▹Literal["b"] | X› = 1\n',
]
TYPED = "from typing import TYPE_CHECKING«, Any▸»\n\nimport a\n\n"
MOVED = [
    # In a section of its own, in the one of its like, and in that of the standard library.
    TYPED
    + "if TYPE_CHECKING:\n‹▹    from typing import Any\n\n›    from b import c\n\nx: Any = a\n",
    (
        TYPED
        + "if TYPE_CHECKING:\n    from collections import abc\n‹▹    from typing import Any\n›"
        "\n    from b import c\n\nx: Any = a\n"
    ),
    TYPED
    + "if TYPE_CHECKING:\n    ‹from typing import b▹from typing import Any, b›\n\nx: Any = a\n",
    (
        "«from c import d\n▸»from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n"
        "    from typing import Any\n‹▹\n    from c import d\n›\nx: d = 1\n"
    ),
    (
        "from typing import «Any▸TYPE_CHECKING»\n\nimport a\n‹▹\nif TYPE_CHECKING:\n"
        "    from typing import Any\n›\nx: Any = a\n"
    ),
    # Not back to where it stood, among those that are in another order.
    "«import c\n▸»from a import b\n‹▹import c\n›\nx = c.d(b)\n",
]
LEFTOVERS = {
    "orphaned": "«from a import log\n▸»import b\n‹\nlogger = log()\n▹›\nprint(b)\n",
    "class_variable": (
        "from typing import Any«▸, ClassVar»\n\n\nclass A:\n    size = 1\n"
        "    names‹▹: ClassVar[list[str]]› = ['b', 'c']\n"
    ),
    "instead": "«▸from a import NOTSET\n»\nif ‹NOT_SET▹NOTSET›:\n    pass\n",
    "twice": (
        "«▸from c import A, B\n»import os\n‹from a import A\nfrom b import B\n▹›\nos.x(A, B)\n"
    ),
    "unqualified": (
        "«import typing▸from collections.abc import Sequence»\n\n"
        "a: ‹typing.Sequence▹Sequence›[int] = b\n"
    ),
}
F_STRINGS = [
    ('raise E("no %s" % a)', 'raise E(f"no {a}")'),
    ('x = "%r of %d%%" % (a.b, c(d))', 'x = f"{a.b!r} of {c(d)}%"'),
    ('x = "{} and {!r}".format(a, b[0])', 'x = f"{a} and {b[0]!r}"'),
    ('E("no %s" % type(a).b)', 'E(f"no {type(a).b}")'),
    ('x = "a-%s" % b(c, d[0])', 'x = f"a-{b(c, d[0])}"'),
    ('x = "%s." % (repr(a.b), )', 'x = f"{a.b!r}."'),
    ('x = "%s" % b("c")', ""),
    ('x = "%(a)s" % b', ""),
    ('x = "%s %s" % a', ""),
    ('x = "{0}".format(a)', ""),
    ('x = "%s" % ("a", b)', ""),
]


SUMS = [
    ('name = self._name + "-x"', 'name = f"{self._name}-x"'),
    ('x = "a" + b(c) + "d"', 'x = f"a{b(c)}d"'),
    ("x = 1 + 2", ""),
    ("x = \"a\" + 'b'", ""),
    ('x = y * a + "c"', ""),
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


@pytest.mark.parametrize("source", SEPARATED)
def test_values_that_are_separated_otherwise(source: str) -> None:
    check(source, "separated")


@pytest.mark.parametrize("rule", BLOCKS)
def test_the_same_lines_change_elsewhere(rule: str) -> None:
    check(BLOCKS[rule], rule)


@pytest.mark.parametrize("rule", MIGRATED)
def test_what_an_import_says_of_the_lines_that_use_it(rule: str) -> None:
    check(MIGRATED[rule], rule)


@pytest.mark.parametrize("source", UNQUOTED)
def test_annotations_that_are_no_longer_evaluated(source: str) -> None:
    check(source, "annotated")


@pytest.mark.parametrize("source", MOVED)
def test_where_an_import_goes_that_is_still_needed(source: str) -> None:
    check(source, "moved")


@pytest.mark.parametrize("rule", LEFTOVERS)
def test_what_an_import_leaves_to_be_done(rule: str) -> None:
    check(LEFTOVERS[rule], rule)


def test_strings_and_sums_become_f_strings_together() -> None:
    old = 'x = "%s" % a\ny = "b-" + c\n'

    assert proposed(old, 'x = f"{a}"\ny = "b-" + c\n')["f_string"] == 'x = f"{a}"\ny = f"b-{c}"\n'


def test_all_changes_of_a_line_are_made_together() -> None:
    old = "# True or false\nx = 1\n# False or true, True\n".replace("False", "false")
    new = old.replace("# True or false", "# Yes or no")

    assert proposed(old, new)["together"] == new.replace("false or true, True", "no or true, Yes")


LINES = st.lists(st.sampled_from(["a", "b", "(", ")", " ", ", ", "."]), max_size=9).map("".join)


@given(old=LINES, new=LINES, other=LINES)
def test_where_a_pattern_matches_it_is_possible(old: str, new: str, other: str) -> None:
    for pattern in patterns_of(token_change(tokens(old), tokens(new))):
        for text in (old, other):
            assert pattern.possible(text) or not regex_of(pattern).search(text)


@pytest.mark.parametrize(("line", "changed"), SUMS)
def test_sums_of_strings_as_f_strings(line: str, changed: str) -> None:
    assert of_sum(line) == changed


def test_a_call_over_several_lines_becomes_one_f_string() -> None:
    call = 'y = E(\n    "a {} b {}".format(\n        c, d\n    )\n)\n'
    old = 'x = "%s" % a\n' + call

    found = proposed(old, 'x = f"{a}"\n' + call)

    assert found["f_string"] == 'x = f"{a}"\ny = E(\n    f"a {c} b {d}"\n)\n'


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
        edit = shown(document, histories.of(uri))
        return edit and edit.text

    assert change(0, 22, 28, "") == "a: list[Any] = []"
    assert change(2, 3, 7, "list") == "b: list[Any] = []"
    assert change(3, 3, 7, "Other") is None


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_takes_long_where_the_same_tokens_come_again_and_again(rule: Rule) -> None:
    old = f"T = {[0] * 450}\nx = 1\n"
    document, edits = edited(old, old.replace("0", "1"))
    site = site_of(Source(document), edits[-1])
    assert site is not None
    started = time.thread_time()

    list(rule(site))

    assert time.thread_time() - started < 0.5


def test_what_all_rules_are_sure_of_is_as_likely_as_can_be_said() -> None:
    assert 0.9 < weighed(1.0, True, None) < 1.0


FUNCTIONS = "".join(f"def f{n}(a):\n    x = a + {n}\n    return x\n\n\n" for n in range(3))


@pytest.mark.parametrize(
    ("line", "became"),
    [
        ("def f1(a):\n", "def f1(a):\n\n"),
        ("    return x\n\n\ndef f2", "    return x\n\n\n\ndef f2"),
        ("    return x\n\n\ndef f2", "    return x\n\ndef f2"),
        ("def f1(a):\n    x = a + 1\n", "def f1(a): x = a + 1\n"),
        ("    x = a + 1\n", "        x = a + 1\n"),
    ],
)
def test_a_line_that_is_opened_closed_joined_or_indented_asks_for_nothing(
    line: str, became: str
) -> None:
    assert FUNCTIONS.count(line) == 1
    assert proposed(FUNCTIONS, FUNCTIONS.replace(line, became)) == {}
