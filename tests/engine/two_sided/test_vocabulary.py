"""Masks over the vocabulary, and the texts of a hole that begins within a word."""

from infill_engine.models.two_sided.loading import WEIGHTS
from infill_engine.models.two_sided.vocabulary import HEALING_MASKS, Vocabulary
from infill_engine.tokenizer import END, FIRST_LEARNED, Tokenizer


def vocabulary() -> Vocabulary:
    tokenizer = Tokenizer(WEIGHTS / "tokenizer.json")
    return Vocabulary(tokenizer, tokenizer.vocab_size + 8)


def test_specials_and_ids_without_text_are_forbidden_but_the_end_is_not() -> None:
    made = vocabulary()

    allowed = ~made.forbidden

    assert allowed[END]
    assert allowed[FIRST_LEARNED : made.tokenizer.vocab_size].all()
    assert int(allowed.sum()) == 1 + made.tokenizer.vocab_size - FIRST_LEARNED


def test_a_text_in_the_hole_continues_what_was_taken_back() -> None:
    made = vocabulary()
    for healed, text in ((b"ret", "urn x"), (b"", "a = 1"), (b"(", "x)"), (b" ", "\n")):
        ids = made.ids(text, healed)

        assert made.text(ids, healed) == text
        assert made.tokenizer.token_bytes[ids[0]].startswith(healed)


def test_masks_of_what_was_taken_back_are_right_and_not_all_kept() -> None:
    made = vocabulary()
    pieces = [piece for piece in made.tokenizer.token_bytes if piece]
    for piece in pieces[: 3 * HEALING_MASKS]:
        mask = made.healing_mask(piece)
        assert mask is not None
        assert mask[made.tokenizer.ids[piece]]

    assert made._beginning_with.cache_info().currsize == HEALING_MASKS
    assert made.healing_mask(b"") is None
