"""The far borders of what is read stay where they are while people type."""

import itertools
import random

from infill_engine.windows import first_tokens, last_tokens, prefix_window, suffix_window


def text_of(lines: int, seed: int) -> str:
    draw = random.Random(seed)
    return "".join("    " * draw.randrange(4) + f"name_{draw.randrange(99)} = {i}\n"
                   for i in range(lines))  # fmt: skip


def test_a_short_text_is_read_whole() -> None:
    assert prefix_window("abc", 10) == suffix_window("abc", 10) == "abc"


def test_windows_are_at_most_as_long_as_asked_and_not_much_shorter() -> None:
    for seed in range(30):
        text = text_of(200, seed)
        for most in (300, 1000, 2500):
            assert most * 0.6 <= len(prefix_window(text, most)) <= most
            assert most * 0.6 <= len(suffix_window(text, most)) <= most


def test_windows_are_the_text_next_to_the_cursor_and_end_at_lines() -> None:
    text = text_of(200, 1)

    before, after = prefix_window(text, 1000), suffix_window(text, 1000)

    assert text.endswith(before)
    assert text[-len(before) - 1] == "\n"
    assert text.startswith(after)
    assert text[len(after)] == "\n"


def test_the_prefix_border_moves_seldom_while_typing() -> None:
    text, typed = text_of(300, 2), text_of(40, 3)
    starts = [len(text) + n - len(prefix_window(text + typed[:n], 1500)) for n in range(len(typed))]
    moves = sum(a != b for a, b in itertools.pairwise(starts))

    assert moves <= len(typed) / 100


def test_the_suffix_border_moves_seldom_while_the_cursor_moves() -> None:
    text = text_of(300, 4)
    ends = [n + len(suffix_window(text[n:], 1500)) for n in range(1000)]
    moves = sum(a != b for a, b in itertools.pairwise(ends))

    assert moves <= 10


def test_an_edit_above_the_window_does_not_move_it() -> None:
    text = text_of(300, 5)

    assert prefix_window("import this\n" + text, 1500) == prefix_window(text, 1500)


def test_one_endless_line_keeps_its_border_for_many_keystrokes() -> None:
    text = "x" * 10_000
    starts = {len(text) + n - len(prefix_window(text + "y" * n, 1000)) for n in range(128)}

    assert len(starts) <= 3
    assert len(suffix_window(text, 1000)) == 1000


def test_tokens_are_dropped_at_the_far_end_in_chunks() -> None:
    ids = list(range(1000))

    assert last_tokens(ids, 1000) == ids == first_tokens(ids, 1000)
    assert last_tokens(ids, 999) == ids[64:]
    assert first_tokens(ids, 999) == ids[:-64]
    assert len(last_tokens(ids, 500)) in range(437, 501)
    assert last_tokens([*ids, 7], 900)[0] == last_tokens(ids, 900)[0]
    assert first_tokens(ids[1:], 900)[-1] == first_tokens(ids, 900)[-1]
