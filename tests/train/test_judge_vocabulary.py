"""The judge's vocabulary, pruned: every text comes back, and kept tokens are used as before."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from infill_engine.tokenizer import byte_of_symbol
from tests.train.tiny_gguf import CODE, MISSING, vocabulary
from train.judge_vocabulary import (
    CONTROLS,
    FIRST_BYTE,
    FIRST_MERGED,
    UNUSED,
    complete,
    count,
    pruned,
    sources,
    text_of,
    tokenizer_of,
)

WHOLE = complete(*vocabulary())
IDS = {token: token_id for token_id, token in enumerate(WHOLE.tokens)}
SOME = FIRST_MERGED + 60
BYTES = byte_of_symbol()
CODE_TEXT = st.lists(st.sampled_from(CODE.split(" ")) | st.text(max_size=3)).map(" ".join)


def counted(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1000, len(WHOLE.tokens))


PRUNED = tokenizer_of(pruned(WHOLE, counted(0), SOME))


def written(tokenizer: Tokenizer, ids: list[int]) -> bytes:
    return bytes(BYTES[symbol] for token_id in ids for symbol in tokenizer.id_to_token(token_id))


def encoded(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text).ids
    return ids


@settings(max_examples=150, deadline=None)
@given(text=st.text() | CODE_TEXT)
@example(text="".join(map(chr, range(0x250))) + "߿ࠀ\uffff\U00010000\U0010ffff")
@example(text="<|endoftext|><|im_start|>user\n<|control0|>")
def test_every_text_comes_back(text: str) -> None:
    ids = encoded(PRUNED, text)

    assert written(PRUNED, ids) == text.encode()
    assert all(token_id >= CONTROLS for token_id in ids), "no text is a control"


@settings(max_examples=150, deadline=None)
@given(CODE_TEXT, st.integers(0, 20), st.integers(FIRST_MERGED, len(WHOLE.tokens) - UNUSED))
def test_where_all_tokens_are_kept_they_are_the_same(text: str, seed: int, size: int) -> None:
    small = pruned(WHOLE, counted(seed), size)
    words = [word for word in text.split(" ") if word]
    before, after = tokenizer_of(WHOLE), tokenizer_of(small)
    for word in words:
        tokens = [WHOLE.tokens[token_id] for token_id in encoded(before, word)]
        if set(tokens) <= set(small.tokens):
            assert [small.tokens[token_id] for token_id in encoded(after, word)] == tokens


@pytest.mark.parametrize("size", [FIRST_MERGED, SOME, len(WHOLE.tokens) - UNUSED - 1 + CONTROLS])
def test_a_vocabulary_has_the_size_asked_for_and_is_closed_under_merges(size: int) -> None:
    small = pruned(WHOLE, counted(1), size)

    assert len(set(small.tokens)) == len(small.rows) == size
    assert [WHOLE.tokens[row] for row in small.rows[:CONTROLS]] == list(small.tokens[:CONTROLS])
    assert [BYTES[token] for token in small.tokens[FIRST_BYTE:FIRST_MERGED]] == [*range(256)]
    made = ["".join(pair) for pair in small.merges]
    assert sorted(made) == sorted(small.tokens[FIRST_MERGED:])
    assert {part for pair in small.merges for part in pair} <= set(small.tokens)


def test_what_is_counted_often_is_kept() -> None:
    counts = np.zeros(len(WHOLE.tokens), np.int64)
    counts[IDS["Ġwidth"]] = 5
    small = pruned(WHOLE, counts, SOME)

    assert "Ġwidth" in small.tokens
    assert "Ġwidth" not in pruned(WHOLE, 5 - counts, SOME).tokens


def test_bytes_without_a_token_look_like_a_control_that_no_text_had() -> None:
    added = len(MISSING)

    assert {BYTES[token] for token in WHOLE.tokens[-added:]} == MISSING
    assert WHOLE.rows[-added:].tolist() == [UNUSED] * added
    assert WHOLE.rows[:-added].tolist() == [*range(len(WHOLE.tokens) - added)]


def test_digits_are_tokens_of_their_own() -> None:
    assert PRUNED.encode("x = 2026").tokens == ["x", "Ġ=", "Ġ", "2", "0", "2", "6"]


def test_only_code_that_people_wrote_is_counted(tmp_path: Path) -> None:
    files = {
        "a/area.py": CODE,
        "a/site-packages/sortedcontainers/x.py": "held_out = 1\n",
        "a/long.js": "x" * 500,
        "a/chinese.md": "面积" * 20,
        "a/notes.txt": "no code\n",
        "a/marked.py": "# HumanEval\n",
        "a/binary.c": "\udcff",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    tokenizer = tokenizer_of(WHOLE)
    counts, read = count(tokenizer, sources([tmp_path]))

    assert read == {
        "python": len(CODE.encode()), "javascript": 0, "markdown": 0, "c": 0
    }  # fmt: skip
    assert counts.sum() == len(encoded(tokenizer, CODE))
    assert counts[IDS["Ġwidth"]] == encoded(tokenizer, CODE).count(IDS["Ġwidth"]) > 0
    assert text_of(tmp_path / "a/binary.c") == text_of(tmp_path / "nowhere.py") == ""
