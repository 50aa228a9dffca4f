"""The tokenizer's pre-split, its ids, and the shipped tokenizer.json."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from train import tokenizer
from train.spans import pieces_of

SHIPPED = Path(tokenizer.__file__).parents[1] / "infill_engine" / "weights" / "tokenizer.json"
SOURCE = """def area(width, height=12345):
\tif width:

        return width * height  # naïve — "𝒜𝓇𝑒𝒶" 🧵
"""


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return tokenizer.train(iter([SOURCE] * 50), vocabulary=400)


def check_pieces(trained: Tokenizer, text: str, expected: list[str]) -> None:
    found = trained.pre_tokenizer.pre_tokenize_str(text)
    spans = [text[start:end] for _, (start, end) in found]

    assert spans == expected
    assert pieces_of(text) == expected


def test_a_newline_and_the_indentation_after_it_are_one_piece(trained: Tokenizer) -> None:
    check_pieces(trained, "a:\n\n    b", ["a", ":", "\n\n    ", "b"])


def test_a_space_leads_the_word_after_it(trained: Tokenizer) -> None:
    check_pieces(trained, "x = foo_1", ["x", " =", " foo_", "1"])


def test_numbers_are_split_after_three_digits(trained: Tokenizer) -> None:
    check_pieces(trained, "=12345", ["=", "123", "45"])


def test_punctuation_never_joins_a_word(trained: Tokenizer) -> None:
    check_pieces(trained, 'f(")[é]', ["f", '(")[é]'])


def test_the_specials_have_the_first_ids(trained: Tokenizer) -> None:
    expected = ["<pad>", "<mask>", "<bos>", "<eos>", "<end>", "<expand>", "<python>"]

    assert [trained.id_to_token(i) for i in range(7)] == expected
    assert trained.id_to_token(24) == "<other>"
    assert trained.id_to_token(25) == "<spare0>"
    assert trained.id_to_token(47) == "<spare22>"


def test_text_comes_back(trained: Tokenizer) -> None:
    every_byte = "".join(map(chr, range(1, 0x250))) + "𝒜🧵\U0010ffff"
    for text in (SOURCE, every_byte):
        ids = trained.encode(text, add_special_tokens=False).ids

        assert trained.decode(ids, skip_special_tokens=False) == text


def test_the_shipped_tokenizer_is_made_this_way() -> None:
    shipped = Tokenizer.from_file(str(SHIPPED))
    vocabulary = shipped.get_vocab()

    assert shipped.get_vocab_size() == tokenizer.VOCABULARY
    assert [shipped.id_to_token(i) for i in range(48)] == tokenizer.specials()
    assert len([t for t, i in vocabulary.items() if i >= 48 and len(t) == 1]) == 256
    assert shipped.encode("\n        return").tokens == ["Ċ" + "Ġ" * 8, "return"]
