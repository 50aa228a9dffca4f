"""Requests become prompts and canvases, and ids become text again."""

from dataclasses import replace

import pytest

from infill_engine import InfillRequest
from infill_engine.models.diffusion_gemma.denoiser import DiffusionGemma

pytest.importorskip("transformers")


# Text


def test_the_prompt_is_a_chat_with_the_prefix_in_the_models_turn(denoiser: DiffusionGemma) -> None:
    sides = denoiser.sides(
        InfillRequest(
            prefix="def f(x):\n    y = \n",
            suffix="\n    return y\n",
            language_id="python",
            neighbours=("def g(): ...",),
        )
    )

    text = denoiser._text._control.decode(list(sides.prefix_ids), skip_special_tokens=False)
    assert text == (
        "<bos><|turn>user\nFrom other files of the project:\n```\ndef g(): ...\n```\n\n"
        "Write the python file, without any explanation. It ends like this:\n"
        "```python\n\n    return y\n\n```<turn|>\n<|turn>model\n<|channel>thought\n<channel|>"
        "```python\ndef f(x):\n    y = " + ("" if sides.healed_prefix else "\n")
    )
    tail = denoiser._text._control.decode(list(sides.suffix_ids), skip_special_tokens=False)
    assert tail == "\n    return y\n```<turn|>"


def test_a_long_suffix_is_pinned_only_as_far_as_a_canvas_reaches(denoiser: DiffusionGemma) -> None:
    suffix = "".join(f"\nvalue_{n} = {n}" for n in range(2000))

    sides = denoiser.sides(InfillRequest(prefix="", suffix=suffix))

    assert len(sides.suffix_ids) == 256
    assert suffix.encode().startswith(denoiser.decode(list(sides.suffix_ids)))


def test_control_tokens_in_a_file_are_text(denoiser: DiffusionGemma) -> None:
    source = "print('<turn|>') # <bos> <|image|> <|turn>user"

    ids = denoiser.tokens(source)

    assert not set(ids) & denoiser._text.special
    assert denoiser.decode(ids) == source.encode()


@pytest.mark.parametrize("text", ["", " ", "a", "x  =\t1\r\n", "é🙂漢字", "\n\n\n", "▁ x"])
def test_text_survives_its_ids(denoiser: DiffusionGemma, text: str) -> None:
    # A literal U+2581 is what the tokenizer writes for a blank, so it comes back as one.
    assert denoiser.decode(denoiser.tokens(text)) == text.replace("▁", " ").encode()


def test_the_last_token_is_taken_back_when_another_could_continue_it(
    denoiser: DiffusionGemma,
) -> None:
    whole = denoiser.sides(InfillRequest(prefix="    ret", suffix=""))
    ids = denoiser.tokens("    ret")

    assert whole.healed_prefix == denoiser.decode(ids[-1:])
    assert whole.prefix_ids[-1] == ids[-2]
    canvas = denoiser.canvas([0], (8,), whole, InfillRequest(prefix="", suffix=""))
    assert canvas.first is not None
    pieces = {denoiser.decode([token]) for token in canvas.first.nonzero()[:, 0].tolist()}
    assert len(pieces) > 1
    assert all(piece.startswith(whole.healed_prefix) for piece in pieces)


# The canvas


def test_rows_hold_the_hole_then_the_suffix_then_its_end(denoiser: DiffusionGemma) -> None:
    request = InfillRequest(prefix="x = (\n", suffix="\n)\n")
    sides = replace(denoiser.sides(request), healed_prefix=b"")

    canvas = denoiser.canvas([0], (8, 16), sides, request)

    assert canvas.token_ids.shape == (2, 32)
    tail = list(sides.suffix_ids)
    for row, length in enumerate((8, 16)):
        assert canvas.free[row].tolist() == [True] * length + [False] * (32 - length)
        pinned = canvas.token_ids[row, length:].tolist()
        padding = [denoiser._text.pad] * (32 - length - len(tail))
        assert pinned == tail + padding


def test_slack_is_filled_with_suffix(denoiser: DiffusionGemma) -> None:
    suffix = "".join(f"\nvalue_{n} = {n}" for n in range(200))
    request = InfillRequest(prefix="x = 1\n", suffix=suffix)

    canvas = denoiser.canvas([0], (8, 64), denoiser.sides(request), request)

    pinned = denoiser.decode(canvas.token_ids[0, 8:].tolist())
    assert canvas.token_ids.shape[1] == 128
    assert suffix.encode().startswith(pinned)


def test_several_holes_get_rows_of_several_lengths(denoiser: DiffusionGemma) -> None:
    request = InfillRequest(prefix="", suffix="")
    pin = denoiser.tokens("await")

    canvas = denoiser.canvas([100, pin, 5], (100,), denoiser.sides(request), request)

    holes = [[row.count(0), row.count(1)] for row in canvas.hole.tolist()]
    assert holes == [[8, 5], [16, 5], [32, 5], [64, 5]]
    short = denoiser.canvas([6, pin, 5], (6,), denoiser.sides(request), request)
    assert [[row.count(0), row.count(1)] for row in short.hole.tolist()] == [[2, 2], [4, 4], [6, 5]]


def test_a_single_line_has_no_line_break(denoiser: DiffusionGemma) -> None:
    request = InfillRequest(prefix="x = ", suffix="\n", max_lines=1)
    canvas = denoiser.canvas([0], (8,), denoiser.sides(request), request)

    assert canvas.allowed is not None
    assert not any(
        b"\n" in denoiser.decode([token]) for token in canvas.allowed.nonzero()[:, 0].tolist()
    )
    other = denoiser.canvas([0], (8,), denoiser.sides(request), replace(request, max_lines=None))
    assert other.allowed is not None
    assert bool(other.allowed[denoiser._text.line_breaks].all())


def test_a_long_block_may_span_canvases_as_published(denoiser: DiffusionGemma) -> None:
    request = InfillRequest(prefix="def f():", suffix="\n\ndef g(): ...\n")
    lengths = denoiser.hole_lengths(request)
    assert lengths == (16, 32, 64, 128)

    canvas = denoiser.canvas([0], lengths, denoiser.sides(request), request)

    assert canvas.token_ids.shape == (4, 128)
    assert canvas.free.sum(-1).tolist() == [16, 32, 64, 128]
