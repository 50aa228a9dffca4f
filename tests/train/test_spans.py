"""Where a training document has its holes."""

from itertools import pairwise
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from tests.train.corpus.samples import ORDINARY, SOLUTION
from train import holes, spans, tokenizer


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return tokenizer.train(iter([ORDINARY, SOLUTION, Path(holes.__file__).read_text()] * 3), 700)


def encoder(bpe: Tokenizer):  # type: ignore[no-untyped-def]
    return lambda text: tuple(bpe.encode(text, add_special_tokens=False).ids)


def test_spans_are_valid_and_of_every_kind(bpe: Tokenizer) -> None:
    source = Path(holes.__file__).read_text(encoding="utf-8")
    packed = [spans.pack(source, "python", "a.py", encoder(bpe), seed) for seed in range(3)]

    assert {kind for p in packed for _, _, kind in p.spans} == set(range(len(holes.KINDS)))
    for p in packed:
        assert p.spans == sorted(p.spans)
        assert all(0 <= a <= b <= len(p.tokens) and b - a <= 64 for a, b, _ in p.spans)
        assert all((a == b) == (kind == holes.EMPTY) for a, b, kind in p.spans)
        assert bpe.decode(p.tokens, skip_special_tokens=False) == source


def test_lines_and_tails_end_where_the_line_does(bpe: Tokenizer) -> None:
    packed = spans.pack(ORDINARY * 8, "python", "a.py", encoder(bpe), seed=1)
    for start, end, kind in packed.spans:
        text = bpe.decode(packed.tokens[start:end], skip_special_tokens=False)
        if kind in (holes.TAIL, holes.LINE):
            after = bpe.decode(packed.tokens[end:], skip_special_tokens=False)
            assert "\n" not in text
            assert after == "" or after[0] == "\n"


def test_cut_spans_are_tokenised_in_parts_that_decode_to_the_text(bpe: Tokenizer) -> None:
    text, encode = ORDINARY * 3 + "naïve = '🧵'\n", encoder(bpe)
    cuts = 0
    for seed in range(20):
        packed = spans.pack(text, "python", "a.py", encode, seed)
        cuts += packed.cuts
        ends = set()
        for start, end, _ in packed.spans:
            before, middle, after = (
                bpe.decode(part, skip_special_tokens=False)
                for part in (packed.tokens[:start], packed.tokens[start:end], packed.tokens[end:])
            )
            assert before + middle + after == text
            ends |= {len(before), len(before + middle)}
        bounds = [0, *sorted(ends - {0, len(text)}), len(text)]
        parts = [encode(text[a:b]) for a, b in pairwise(bounds)]
        assert packed.tokens == [token for part in parts for token in part]

    assert cuts > 20


def test_a_fair_share_of_spans_starts_or_ends_inside_a_word(bpe: Tokenizer) -> None:
    source = Path(holes.__file__).read_text(encoding="utf-8")
    packed = [spans.pack(source, "python", "a.py", encoder(bpe), seed) for seed in range(5)]
    share = sum(p.words_cut for p in packed) / sum(len(p.spans) for p in packed)

    assert 0.09 < share < 0.16
