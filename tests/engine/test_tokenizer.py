"""Encoding line by line says what encoding as a whole says, in bounded memory."""

import random
import tracemalloc
from array import array

import pytest

from infill_engine.models.two_sided.loading import WEIGHTS
from infill_engine.tokenizer import SEGMENT_BYTES, RecentSegments, Tokenizer

WORDS = ("alpha", "beta", "(x)", "[1,", "{a:", "b}", "return", "self.value", "é", "𝛼", "text")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(WEIGHTS / "tokenizer.json")


@pytest.mark.parametrize(
    "text",
    ["", "\n", "\n\n  x", "a = 1", "if x:\n    y = 2\n\n\n  z\n", "\t\t\n \n", "é𝛼\n'<html>'\n"],
)
def test_what_is_encoded_is_decoded(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)).decode() == text


def test_typing_in_one_long_line_keeps_a_bounded_memory(tokenizer: Tokenizer) -> None:
    """Every keystroke there makes another segment of two thousand characters."""
    rng = random.Random(0)
    line = "".join(rng.choices(WORDS, k=800))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for size in range(len(line) - 800, len(line)):
        tokenizer.encode(line[max(0, size - 2000) : size])
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(line) > 2800
    assert after - before < 1.5 * SEGMENT_BYTES
    fresh = Tokenizer(WEIGHTS / "tokenizer.json")
    for text in (line[:2000], line[-2000:]):  # forgotten, and remembered
        assert tokenizer.encode(text) == fresh.encode(text)


def test_the_segments_that_were_asked_for_last_stay() -> None:
    recent = RecentSegments(limit=20 * 400)
    ids = array("I", range(16))
    for number in range(100):
        recent.put(f"line {number}", ids)
        assert recent.get("line 0") is ids

    assert recent.size <= recent.limit
    assert recent.get("line 99") is ids
    assert recent.get("line 1") is None
    recent.put("x" * recent.limit, ids)  # more than all others together
    assert recent.size == 0
