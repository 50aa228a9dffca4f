"""What is recognised as a copy."""

import hashlib
from pathlib import Path

from tests.train.corpus.samples import ORDINARY
from train import spans
from train.corpus import decontaminate, packages
from train.corpus.copies import Copies, minhash
from train.corpus.state import SourceFile


def source_file(text: str) -> SourceFile:
    return SourceFile(
        path="a.py",
        language="python",
        text=text,
        digest=hashlib.sha1(" ".join(text.split()).encode()).hexdigest(),
        signature=minhash(decontaminate.lexemes(text)),
        grams=(),
    )


def test_a_file_in_which_few_words_differ_is_a_near_copy() -> None:
    source, other = (
        Path(module.__file__).read_text(encoding="utf-8") for module in (spans, packages)
    )
    changed = source.replace("pieces", "parts", 3)
    copies = Copies()

    assert changed != source
    assert copies.reason(source_file(source)) == ""
    assert copies.reason(source_file(changed)) == "near copy"
    assert copies.reason(source_file(other)) == ""


def test_a_copy_that_differs_in_white_space_is_exact() -> None:
    copies = Copies()

    assert copies.reason(source_file(ORDINARY)) == ""
    assert copies.reason(source_file(ORDINARY.replace("\n\n\n", "\n\n"))) == "exact copy"
