"""The middle is cut out of what a model says in words."""

import pytest

from infill_engine import InfillRequest
from infill_engine.remote.cloze import middle_of


def request(text: str) -> InfillRequest:
    """‸ is the cursor."""
    prefix, _, suffix = text.partition("‸")
    return InfillRequest(prefix=prefix, suffix=suffix)


@pytest.mark.parametrize(
    ("around", "answer", "expected"),
    [
        ("x = ‸\n", "1 + 2", "1 + 2"),
        ("x = ‸\n", "```\n1 + 2\n```", "1 + 2"),
        ("x = ‸\n", "Sure!\n```python\n1 + 2\n```\nDone.", "1 + 2"),
        ("x = ‸\n", "```py\n1 + 2", "1 + 2"),
        ("x = ‸\n", "<think>\n```\nno\n```\n</think>\n1", "1"),
        ("x = ‸\n", "<|channel>thought\nhm\n<channel|>1", "1"),
        # what stands before the cursor is written again
        ("x = ‸\n", "x = 1 + 2", "1 + 2"),
        ("    x = ‸\n", "x = 1", "1"),
        ("    x = ‸\n", "    x = 1", "1"),
        ("def f(a):\n    return ‸\n", "def f(a):\n    return a", "a"),
        ("def f(a):\n    return ‸\n", "return a", "a"),
        ("def f(a):\n    ‸\n", "    return a", "return a"),
        ("foo.b‸\n", "foo.bar()", "ar()"),
        ("foo.b‸\n", "ar()", "ar()"),
        ("end\n‸", "end\n", "end"),
        ("f(‸", "(1, 2), 3", "(1, 2), 3"),
        # what stands behind the cursor is written again
        ("f(‸)\n", "a, b)", "a, b"),
        ("f(‸)\n", "g(a)", "g(a)"),
        ("f(‸)\n", "g(a))", "g(a)"),
        ("f(‸):\n    pass\n", "a):\n    pass", "a"),
        ('print("‸")\n', 'hello")', "hello"),
        ('print("‸")\n', "hello", "hello"),
        ("print(‸)\n", 'f("hello")', 'f("hello")'),
        ("x = ‸ + 1\n", "a + 1", "a"),
        ("x = ‸x + 1\n", "max", "max"),
        ("x = ‸\ny = 2\n", "1\n", "1"),
        ("x = ‸\ny = 2\n", "1\ny = 2", "1"),
        ("x = ‸\nresult = compute(x)\n", "1\nresult = compute(x)\nprint(9)", "1"),
        ("[‸]\n", "1, 2]", "1, 2"),
        ("[‸]\n", "[1], [2]", "[1], [2]"),
        ("if a:\n    ‸\nelse:\n    b()\n", "a()\nelse:\n    b()\n", "a()"),
    ],
)
def test_the_join_is_made_here(around: str, answer: str, expected: str) -> None:
    assert middle_of(answer, request(around)) == expected
