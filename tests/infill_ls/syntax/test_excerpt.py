"""Excerpts that need no tree: what the lines' indentation tells."""

import random
import re

import pytest

from infill_engine.budget import UNLIMITED, Budget, BudgetSpent
from infill_ls.syntax.excerpt import by_lines
from infill_ls.syntax.language import language_of
from tests.infill_ls.syntax.sources import LARGE, num_problems


@pytest.mark.parametrize("name", LARGE)
def test_in_a_file_without_errors_it_is_one(name: str) -> None:
    source, rng, language = LARGE[name].encode(), random.Random(name), language_of(name)
    for _ in range(40):
        cursor = rng.randrange(len(source))
        before, after = by_lines(source, cursor, language, budget=UNLIMITED)

        assert before.endswith(source[max(cursor - 200, 0) : cursor])
        assert after.startswith(source[cursor : cursor + 200])
        assert len(before) + len(after) < 12_000
        assert num_problems((before + after).decode(), name) == 0


def excerpt(source: str, language_id: str) -> str:
    """Of a cursor far from everything else in its block, whose filler is left out."""
    before, after = source.split("‸")
    width = len(before) - len(before.rstrip(" "))
    filler = "".join(f"{' ' * width}filler({i});\n" for i in range(200))
    before = before[: len(before) - width] + filler + " " * width
    after = "x;\n" + filler + after.removeprefix("\n")
    found = by_lines(
        (before + after).encode(), len(before), language_of(language_id), budget=UNLIMITED
    )
    return re.sub(r"( *filler\(\d+\);\n)+", "", b"".join(found).decode())


@pytest.mark.parametrize(
    ("source", "language_id", "expected"),
    [
        # the heads of the blocks, and what closes them
        (
            "import a;\nclass A {\n  int b;\n  void f() {\n    ‸\n  }\n  int c;\n}\nclass B {}\n",
            "java",
            "class A {\n  int b;\n  void f() {\n    x;\n  }\n}\n",
        ),
        # a head of several lines
        (
            "void f(int a,\n       int b)\n{\n  ‸\n}\nint c;\n",
            "c",
            "void f(int a,\n       int b)\n{\n  x;\n}\n",
        ),
        (
            "def g():\n    pass\n\ndef f(\n    a,\n    b,\n):\n    ‸\n\ndef h():\n    pass\n",
            "python",
            "def f(\n    a,\n    b,\n):\n    x;\n",
        ),
        # a block that goes on where another one ended
        (
            "function f() {\n  if (a) {\n    b();\n  } else {\n    ‸\n  }\n}\n",
            "javascript",
            "function f() {\n  if (a) {\n    b();\n  } else {\n    x;\n  }\n}\n",
        ),
        ("def f\n  g\nend\ndef h\n  ‸\nend\n", "ruby", "def h\n  x;\nend\n"),
        # what a file must begin with
        ("<?php\n$a = 1;\nif ($a) {\n    ‸\n}\n", "php", "<?php\nif ($a) {\n    x;\n}\n"),
    ],
)
def test_far_from_the_cursor_only_what_holds_it_stays(
    source: str, language_id: str, expected: str
) -> None:
    found = excerpt(source, language_id)

    assert expected.rstrip() == found.rstrip()


def test_a_huge_file_ends_with_its_budget() -> None:
    source = b"class A {\n" + b"  int a;\n" * 100_000
    looked = iter(range(20))
    budget = Budget(cancelled=lambda: next(looked, None) is None)

    with pytest.raises(BudgetSpent):
        by_lines(source, len(source) // 2, language_of("java"), budget=budget)
