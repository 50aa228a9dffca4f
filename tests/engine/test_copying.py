"""The guess from elsewhere in the file."""

import pytest

from infill_engine.copying import copied


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("self.width = width\nself.height = height\nself.width‸\n", " = width"),
        ("for item in items:\n    total\n\nfor item‸", " in items:"),
        ("a = load(path)\nb = 1\na = load(‸)\n", "path"),
        ("x = y‸\n", ""),
        ("‸", ""),
        ("return value‸\n\ndef f():\n    return value + 1\n", " + 1"),
        ("print('é𝛼', 1)\nprint('é𝛼'‸", ", 1)"),
        ("      \n      \n      ‸", ""),
        # The longest context decides, and among equals the nearest.
        ("foo.bar(1)\nget(foo.bar(2)\nget(foo.bar(‸", "2)"),
        ("call_it(1)\ncall_it(2)\ncall_it(‸", "2)"),
    ],
)
def test_the_rest_of_the_line_after_the_longest_recurring_context(text, expected) -> None:
    prefix, _, suffix = text.partition("‸")

    assert copied(prefix, suffix) == expected
