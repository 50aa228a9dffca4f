"""How many cells a hole has, and how many holes are denoised beside each other."""

from typing import Any

import pytest

from infill_engine.request import InfillRequest


@pytest.mark.parametrize(
    ("prefix", "suffix", "asked", "lengths"),
    [
        ("x = ", "\n", {}, (16,)),
        ("def f():\n", "\n", {"max_lines": 1}, (16,)),
        ("f(", "\n", {}, (32,)),
        ("x = ", "\n", {"num_candidates": 2}, (16, 8, 4)),
        ("x = ", "\n", {"num_candidates": 3}, (16, 8, 4, 2)),
        ("x = ", "\n", {"num_choices": 3}, (16, 8, 4, 2)),
        ("x = ", "\n", {"num_candidates": 3, "num_choices": 2}, (16, 8, 4, 2)),
    ],
)
def test_one_text_is_chosen_from_as_many_rows_as_several(
    denoiser, prefix: str, suffix: str, asked: dict[str, Any], lengths: tuple[int, ...]
) -> None:
    request = InfillRequest(prefix=prefix, suffix=suffix, **asked)

    assert denoiser.hole_lengths(request) == lengths
