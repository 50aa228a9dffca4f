"""Text is encoded by line as it is as a whole, and healed byte by byte."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from infill_engine.errors import ModelError
from infill_engine.judge.vocabulary import CONTROLS, JudgeVocabulary
from tests.train.tiny_gguf import CODE

ALPHABET = "ab_1 9.(\n\n\t  é𝒜\u2028\x85\x1c'\"s"


@pytest.fixture(scope="module")
def both(weights: Path) -> tuple[JudgeVocabulary, Tokenizer]:
    path = weights / "judge_tokenizer.json"
    return JudgeVocabulary(path), Tokenizer.from_file(str(path))


@given(text=st.text(alphabet=ALPHABET, max_size=40) | st.text(max_size=30))
@settings(max_examples=400)
def test_a_text_has_the_tokens_that_it_has_as_a_whole(
    both: tuple[JudgeVocabulary, Tokenizer], text: str
) -> None:
    ours, whole = both
    assert ours.encode(text) == whole.encode(text).ids
    assert ours.decode(ours.encode(text)) == text.encode("utf-8", "replace")


def test_code_too_and_no_text_is_a_control(both: tuple[JudgeVocabulary, Tokenizer]) -> None:
    ours, whole = both
    assert ours.encode(CODE * 2) == whole.encode(CODE * 2).ids
    assert min(ours.encode("<|control0|>")) >= CONTROLS


@pytest.mark.parametrize("owed", [b"wid", b" ", b"    ", b"\n", b"w", "é".encode(), b"\xff" * 3])
def test_what_is_owed_is_gone_on_with(both: tuple[JudgeVocabulary, Tokenizer], owed: bytes) -> None:
    ours, _ = both
    expected = [
        bool(token) and (token.startswith(owed) or owed.startswith(token))
        for token in ours.token_bytes
    ]
    assert ours.allowed(owed).tolist() == expected
    assert any(expected)


def test_a_file_that_is_no_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "judge_tokenizer.json"
    with pytest.raises(ModelError, match=r"cannot read the judge's tokenizer .*judge_tokenizer"):
        JudgeVocabulary(path)
    path.write_text('{"model": {"vocab": 3}}')
    with pytest.raises(ModelError, match="cannot read the judge's tokenizer"):
        JudgeVocabulary(path)
