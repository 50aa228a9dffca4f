"""The embedded judge says what transformers' Llama says of the same tensors."""

import math
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaForCausalLM

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.errors import ModelError
from infill_engine.judge.judge import BETWEEN, behind_line
from infill_engine.judge.llama import BEHIND, CHUNK, NEAR, LlamaJudge, LlamaReading, _Line
from infill_engine.judge.loading import load_embedded, load_llama
from infill_engine.judge.network import Llama, Prefix
from infill_engine.judge.tree import Tree
from infill_engine.judge.vocabulary import END_OF_TEXT
from infill_engine.request import InfillRequest
from infill_kernels import blocks
from tests.train.tiny_gguf import CODE
from train.judge_nats import llama

# Rows are rounded to 8 bits in groups of 32 before each product.
NATS = 0.9
PREFIX = CODE * 2 + "def area(width: int, hei"
SUFFIX = ") -> int:\n    pass\n"
SOON = Budget(deadline=time.monotonic() + 3_600)


@pytest.fixture(scope="module")
def reference(weights: Path) -> LlamaForCausalLM:
    return llama(weights / "judge.safetensors")


def read(judge: LlamaJudge, prefix: str = PREFIX, suffix: str = SUFFIX) -> LlamaReading:
    reading = judge.read(InfillRequest(prefix=prefix, suffix=suffix), UNLIMITED)
    assert reading is not None
    return reading


@torch.inference_mode()
def said(reference: LlamaForCausalLM, ids: list[int]) -> np.ndarray:
    """Log-probabilities [n, V] of what comes after each of ids."""
    found: np.ndarray = reference(torch.tensor([ids])).logits[0].log_softmax(-1).numpy()
    return found


def test_a_tree_behind_a_prefix_says_what_transformers_says(
    judge: LlamaJudge, reference: LlamaForCausalLM
) -> None:
    reading = read(judge)
    vocabulary, ids = reading.vocabulary, [END_OF_TEXT, *reading.vocabulary.encode(PREFIX)[:-1]]
    tree = Tree(reading.network, vocabulary, reading.tree.prefix, 200, b"")
    rng = np.random.default_rng(0)
    paths = [rng.integers(3, 300, 9).tolist() for _ in range(4)]
    paths[1][:5], paths[2][:2] = paths[0][:5], paths[0][:2]

    nodes = tree.grow(paths, UNLIMITED)

    assert len(tree) == 1 + 9 + 4 + 7 + 9, "shared heads are read once"
    for path, way in zip(paths, nodes, strict=True):
        wanted = said(reference, ids + path)
        found = tree.log_probabilities(way[:-1], path)
        expected = [wanted[len(ids) - 1 + at, token] for at, token in enumerate(path)]
        np.testing.assert_allclose(found, expected, atol=NATS)
        assert np.abs(np.subtract(found, expected)).mean() < NATS / 3
        ((token, nats), *_) = tree.likeliest([way[-1]], 4)[0]
        assert nats == pytest.approx(wanted[-1].max(), abs=NATS)
        assert wanted[-1, token] == pytest.approx(nats, abs=NATS)


def test_plain_torch_says_it_to_the_last_digit_and_stands_in(
    weights: Path, reference: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infill_engine.judge.loading.native", lambda: (None, "a reason"))
    assert load_embedded()[0] is None
    assert "a reason" in load_embedded()[1]
    judge = load_llama(weights)
    assert judge.describe().kernels == "plain torch: a reason"
    assert judge.describe().parameters == sum(each.numel() for each in reference.parameters())
    reading = read(judge)
    vocabulary, ids = reading.vocabulary, [END_OF_TEXT, *reading.vocabulary.encode(PREFIX)[:-1]]
    tree = Tree(reading.network, vocabulary, reading.tree.prefix, 200, b"")
    paths = [[5, 60, 70], [5, 61, 72, 80], [9]]
    nodes = tree.grow([path[:2] for path in paths], UNLIMITED)
    nodes = tree.grow(paths, UNLIMITED)
    for path, way in zip(paths, nodes, strict=True):
        wanted = said(reference, ids + path)
        expected = [wanted[len(ids) - 1 + at, token] for at, token in enumerate(path)]
        found = tree.log_probabilities(way[:-1], path)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-4)


def test_a_middle_is_as_probable_as_its_tokens_among_those_that_go_on_with_what_was_taken_back(
    judge: LlamaJudge, reference: LlamaForCausalLM
) -> None:
    reading, middle = read(judge), "ght: int = 12345"
    reading.tree.among()  # by itself
    vocabulary = judge.vocabulary
    before = [END_OF_TEXT, *vocabulary.encode(PREFIX)[:-1]]
    assert reading.healed
    assert PREFIX.endswith(reading.healed.decode())

    (judgement,) = reading.judge([middle], [0.0], UNLIMITED)

    text = reading.healed.decode() + middle
    row = vocabulary.encode(text + SUFFIX)[: len(vocabulary.encode(text)) + 16]
    wanted, owed, nats = said(reference, before + row), reading.healed, []
    for at, token in enumerate(row):
        here = wanted[len(before) - 1 + at]
        among = here[vocabulary.allowed(owed)] if owed else here
        nats.append(here[token] - np.logaddexp.reduce(among))
        owed = owed[len(vocabulary.token_bytes[token]) :]
    sizes = np.cumsum([len(vocabulary.token_bytes[token]) for token in row])
    within = int((sizes <= len(text.encode())).sum())
    assert judgement is not None
    assert judgement.middle == pytest.approx(sum(nats[:within]), abs=2 * NATS)
    assert judgement.both < judgement.middle


def test_typing_and_deleting_read_only_what_is_new_and_say_the_same(weights: Path) -> None:
    once, pieces = load_llama(weights), load_llama(weights)
    middles = ["ght: int", "", "x = 1\ny"]
    text = PREFIX
    for cut in (len(text), len(text) - 40, len(text) - 39, len(text) - 7, len(text), len(text)):
        reading = read(pieces, text[:cut])
        pushed = len(reading.tree.prefix.ids)
    assert len(pieces._far._prefixes) == 1
    assert pushed == len(read(once).tree.prefix.ids)
    for a, b in zip(
        reading.judge(middles, [0.0] * 3, UNLIMITED),
        read(once).judge(middles, [0.0] * 3, UNLIMITED),
        strict=True,
    ):
        assert a is not None
        assert b is not None
        # Chunks of other sizes round alike but for the order of sums.
        assert (a.middle, a.suffix) == pytest.approx((b.middle, b.suffix), abs=0.05)


def test_who_comes_to_a_place_has_what_is_near_and_later_all(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = load_llama(weights)
    judge.network.token_ms = 10.0  # and so what is far takes a second more
    monkeypatch.setattr(judge.network, "_took", lambda *_: None)
    long = CODE * 40 + "def area(width: int, hei"
    request = InfillRequest(prefix=long, suffix=SUFFIX)
    near = judge.read(request, SOON)
    assert near is not None
    assert not near.whole
    assert NEAR - 64 <= near.prefix_tokens <= NEAR

    near.ahead(UNLIMITED)
    said = near.continuations(lambda _: (), SOON)
    looks = iter([False] * 5 + [True] * 100)
    assert judge.read(request, Budget(cancelled=lambda: next(looks))) is None
    # What is only half read takes nothing from what was known.
    again = judge.read(request, SOON)
    assert again is not None
    assert not again.whole
    assert again.tree is near.tree
    assert again.continuations(lambda _: (), SOON) == said

    whole = read(judge, long)
    assert whole.whole
    assert whole.prefix_tokens > NEAR
    typed = judge.read(InfillRequest(prefix=long + "ght: ", suffix=SUFFIX), SOON)
    assert typed is not None
    assert typed.whole
    assert typed.prefix_tokens >= whole.prefix_tokens


LONG = CODE * 12


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 3), st.integers(0, 300), st.integers(0, 9), st.booleans(), st.booleans()
        ),
        min_size=1,
        max_size=8,
    ),
    threads=st.sampled_from([1, 2]),
)
def test_whatever_was_read_or_taken_back_before_the_next_reading_is_right(
    weights: Path, steps: list[tuple[int, int, int, bool, bool]], threads: int
) -> None:
    """Texts that are cut or gone on with, each reading taken back after some looks."""
    judge, fresh = load_llama(weights, threads), load_llama(weights, threads)
    judge.network.token_ms = 10.0
    text = LONG
    for place, cut, looks, quiet, ahead in steps:
        text = LONG[: len(LONG) - 37 * place - cut]
        left = iter([False] * looks)
        budget = Budget(
            cancelled=lambda left=left: next(left, True),
            deadline=math.inf if quiet else time.monotonic() + 3_600,
        )
        reading = judge.read(InfillRequest(prefix=text, suffix=SUFFIX), budget)
        if reading is not None and ahead:
            reading.ahead(budget)
    found, expected = read(judge, text), read(fresh, text)
    assert found.tree.prefix.ids == expected.tree.prefix.ids
    ours, theirs = found.tree.prefix.hidden, expected.tree.prefix.hidden
    # Chunks of other sizes round alike but for the order of sums; another token is far off.
    assert np.linalg.norm(ours - theirs) < 0.1 * np.linalg.norm(theirs)


def test_what_was_deleted_while_a_request_was_taken_back_says_nothing(judge: LlamaJudge) -> None:
    shorter, longer = PREFIX[: PREFIX.rindex(":")], PREFIX
    read(judge, longer)
    cut = InfillRequest(prefix=shorter + ": in", suffix=SUFFIX)
    assert judge.read(cut, Budget(cancelled=lambda: True)) is None
    again = read(judge, shorter + ": ").tree.prefix
    judge.forget()
    fresh = read(judge, shorter + ": ").tree.prefix
    assert again.ids == fresh.ids
    assert np.linalg.norm(again.hidden - fresh.hidden) < 0.1 * np.linalg.norm(fresh.hidden)


def test_a_short_file_is_read_once(judge: LlamaJudge) -> None:
    short = judge.read(InfillRequest(prefix="a = ", suffix=""), SOON)
    assert short is not None
    assert short.whole
    assert not judge._near._prefixes


def test_several_threads_read_the_same_prefix(weights: Path) -> None:
    alone, together = (read(load_llama(weights, threads)) for threads in (1, 2))
    middles = ["ght: int", "x = 1\ny"]

    assert alone.tree.prefix.ids == together.tree.prefix.ids
    said = [each.judge(middles, [0.0] * 2, UNLIMITED) for each in (alone, together)]
    for a, b in zip(*said, strict=True):
        assert a is not None
        assert b is not None
        assert (a.middle, a.suffix) == pytest.approx((b.middle, b.suffix), abs=0.05)


def test_only_what_goes_on_with_what_is_owed_is_likely(judge: LlamaJudge) -> None:
    tree = read(judge).tree
    allowed = judge.vocabulary.allowed(tree.owed(0))

    (likely,) = tree.likeliest([0], 300)

    assert 0 < allowed.sum() < 300 == len(likely), "all that go on are among them"
    assert [nats > -math.inf for token, nats in likely] == [allowed[token] for token, _ in likely]
    assert sum(math.exp(nats) for _, nats in likely) == pytest.approx(1, abs=1e-3)


def test_few_places_are_kept(judge: LlamaJudge) -> None:
    for number in range(9):
        read(judge, f"{number} " * 300)
        judge.read(InfillRequest(prefix=f"{number} " * 300, suffix=""), SOON)
    assert len(judge._far._prefixes) <= 3
    assert len(judge._near._prefixes) <= 3


def test_a_continuation_ends_with_its_line_or_before_what_follows(judge: LlamaJudge) -> None:
    reading = read(judge)
    lines = reading.continuations(lambda said: (), UNLIMITED)
    assert lines
    assert len(set(lines)) == len(lines)
    assert not any("\n" in line for line in lines)
    judged = reading.judge(lines, [0.0] * len(lines), UNLIMITED)
    assert all(each is not None for each in judged)


def test_what_it_lets_go_of_are_other_heads_the_likeliest_first(judge: LlamaJudge) -> None:
    reading = read(judge)
    lines, aside = reading._lines(UNLIMITED)
    nats = [head.nats for head in aside]
    assert nats == sorted(nats, reverse=True)
    assert len(aside) > len(lines)
    known = {line.ids[: len(head.ids)] for line in lines for head in aside}
    for head in aside:
        assert head.ids not in known
        assert reading.tree.holds(head.ids[:-1])
    assert len(set(reading.aside(UNLIMITED))) == len(reading.aside(UNLIMITED)) > 0


def test_further_lines_stay_in_the_block_and_end_before_what_follows(judge: LlamaJudge) -> None:
    reading = read(judge, PREFIX.rpartition("\n")[0] + "\n    total = wid", "\n    return total\n")
    for middle in ("th", "th * height"):
        found = reading.further(middle, 3, UNLIMITED)
        assert len(found) <= 3
        assert sorted(found, key=len) == found
        for text in found:
            assert text.startswith(middle + "\n")
            lines = text.split("\n")[1:]
            assert all(line.startswith("    ") for line in lines if line.strip())
            assert lines[-1].strip() != "return total"
    assert reading.further("th", 3, Budget(deadline=0.0)) == []


def test_a_line_is_one_however_it_ends_and_not_blank(judge: LlamaJudge) -> None:
    for prefix in (PREFIX, CODE, CODE + "    "):
        reading = read(judge, prefix, "\n" + CODE)
        lines, _ = reading._lines(UNLIMITED)
        texts = [reading._text(line) for line in lines]

        assert 0 < len(lines) <= reading.beams
        assert len(set(texts)) == len(texts)
        assert all(text.strip() for text in texts)
        for line, text in zip(lines, texts, strict=True):
            *head, _ = line.ids
            (path,) = reading.tree.grow([head], UNLIMITED)
            whole = sum(reading.tree.log_probabilities(path[:-1], head))
            (said,) = reading.tree.likeliest([path[-1]], reading.beams)
            ends = [
                whole + nats
                for token, nats in said
                if (longer := _Line((*head, token)))
                and not reading._goes_on(longer)
                and reading._text(longer) == text
            ]
            assert line.nats >= np.logaddexp.reduce(ends) - 0.1


def test_where_a_line_ends_other_lines_may_come_before_what_follows(judge: LlamaJudge) -> None:
    middles = ["th", "th * height"]
    unlikely = "\n\x01\x02 zq zq zq\n"
    inline = read(judge, suffix=")" + unlikely).judge(middles, [0.0, 0.0], UNLIMITED)

    assert any(each is not None and each.suffix < -BETWEEN for each in inline)
    for middle in middles:
        reading = read(judge, suffix=unlikely)
        (before,) = reading.judge([middle], [0.0], UNLIMITED)
        (last,) = read(judge, suffix="").judge([middle], [0.0], UNLIMITED)
        (path,) = reading.tree.grow([reading._row(middle).ids], UNLIMITED)
        node = path[reading._row(middle).middle]
        line_ends = reading.vocabulary.line_ends
        ends = np.logaddexp.reduce(
            reading.tree.log_probabilities([node] * len(line_ends), line_ends, alone=True)
        )
        assert before is not None
        assert last is not None
        assert -BETWEEN - 0.1 < before.suffix - ends < 0.1
        assert last.suffix == pytest.approx(ends, abs=0.1)


def test_of_a_line_that_goes_on_less_is_thought_than_of_one_that_ends() -> None:
    assert behind_line(-9.0, -8.0) == -9.0
    assert behind_line(-9.0, -0.1) == -0.1 - BETWEEN
    assert behind_line(0.0, -8.0) == -8.0


def test_where_the_text_ends_is_not_what_follows_elsewhere(judge: LlamaJudge) -> None:
    """The lines before the cursor stand in what is looked through, up to it."""
    tree = read(judge, "alpha = beta(7)\ngamma = delta(8)\n", "").tree

    assert tree.owed(0) == b"\n"
    assert tree._following(0) is None


@pytest.mark.parametrize(("threads", "together"), [(1, CHUNK), (2, blocks.CHUNK)])
def test_what_there_is_no_time_for_is_read_the_next_time(
    weights: Path, threads: int, together: int
) -> None:
    judge = load_llama(weights, threads)
    request = InfillRequest(prefix=PREFIX * 4, suffix=SUFFIX)
    looks = 0

    def later() -> bool:
        nonlocal looks
        looks += 1
        return looks > 4

    assert judge.read(request, Budget(cancelled=later)) is None
    assert len(judge._far._prefixes[-1].ids) == 2 * together
    assert judge.read(request, UNLIMITED) is not None
    # A deadline that is sure to be missed is not waited for.
    started = time.monotonic()
    other = InfillRequest(prefix=CODE.upper() * 4, suffix="")
    assert judge.read(other, Budget(deadline=started + 1e-4)) is None
    over = Budget(deadline=0.0)
    reading = judge.read(request, UNLIMITED)
    assert reading is not None
    assert reading.judge(["a = 1"], [0.0], over) == [None]
    assert reading.continuations(lambda said: (), over) == [] or len(reading.tree) == 1


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("judge.safetensors", b"", "cannot read the judge"),
        ("judge.safetensors", b"\0" * 999, "cannot read the judge"),
        ("judge_tokenizer.json", b"{}", "cannot read the judge's tokenizer"),
    ],
)
def test_damaged_files_are_refused_by_name(
    weights: Path, tmp_path: Path, name: str, damage: bytes, message: str
) -> None:
    for each in ("judge.safetensors", "judge_tokenizer.json"):
        (tmp_path / each).write_bytes((weights / each).read_bytes())
    (tmp_path / name).write_bytes(damage)
    with pytest.raises(ModelError, match=message):
        load_llama(tmp_path)


def test_a_file_that_was_cut_short_and_one_that_is_not_there_are_refused(
    weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"cannot read the judge .*judge.safetensors"):
        load_llama(tmp_path)
    data = (weights / "judge.safetensors").read_bytes()
    (tmp_path / "judge.safetensors").write_bytes(data[: len(data) // 2])
    (tmp_path / "judge_tokenizer.json").write_bytes((weights / "judge_tokenizer.json").read_bytes())
    with pytest.raises(ModelError, match="cannot read the judge"):
        load_llama(tmp_path)


def test_what_was_said_ahead_is_not_read_again(judge: LlamaJudge) -> None:
    fresh = read(judge).continuations(lambda _: (), UNLIMITED)
    judge.forget()
    read(judge).ahead(UNLIMITED)
    reading = read(judge)
    known = len(reading.tree)

    assert known > 1
    assert reading.continuations(lambda _: (), UNLIMITED) == fresh
    assert len(reading.tree) == known
    judge.forget()
    assert len(read(judge).tree) == 1


def test_typing_what_was_read_reads_it_not_again_and_says_the_same(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once, typing = load_llama(weights), load_llama(weights)
    said, tokens = "ght: int, depth: int = 1", 0
    read_tree, push = Llama.read_tree, Llama.push

    def counted(network: Llama, prefix: Prefix, ids: list[int], *more: Any) -> Any:
        nonlocal tokens
        tokens += len(ids)
        return (read_tree if len(more) > 1 else push)(network, prefix, ids, *more)

    def judged(reading: LlamaReading, middle: str) -> tuple[float, float]:
        (found,) = reading.judge([middle], [0.0], UNLIMITED)
        assert found is not None
        return found.middle, found.suffix

    monkeypatch.setattr(Llama, "read_tree", counted)
    monkeypatch.setattr(Llama, "push", counted)
    judged(read(typing), said)
    num_read, num_fresh = 0, 0
    for size in range(1, len(said)):
        before, rest = tokens, said[size:]
        reading = read(typing, PREFIX + said[:size])
        found = judged(reading, rest)
        num_read, between = num_read + tokens - before, tokens
        once.forget()
        fresh = read(once, PREFIX + said[:size])
        assert found == pytest.approx(judged(fresh, rest), abs=0.1)
        num_fresh += tokens - between
        assert reading.tree.prefix.ids == fresh.tree.prefix.ids
        assert reading.healed == fresh.healed
        assert judged(reading, "x") == pytest.approx(judged(fresh, "x"), abs=0.1)

    assert num_read < num_fresh / 10
    # What contradicts it has a tree of its own.
    assert len(read(typing, PREFIX + "zzz = ").tree) == 1


def test_a_draft_that_falls_behind_is_not_read_to_its_end(judge: LlamaJudge) -> None:
    reading = read(judge)
    (said, *_) = reading.continuations(lambda _: (), UNLIMITED)
    known = len(reading.tree)
    unlikely = "".join(random.Random(0).choices("qxzQXZ#$", k=60))

    found = reading.judge([said, unlikely], [0.0, 0.0], UNLIMITED)

    assert len(reading.tree) - known < 30
    assert found[0] is not None
    assert found[1] is not None
    assert found[1].both < found[0].both - BEHIND
    # With enough in its favour it is.
    reading.judge([said, unlikely], [0.0, 1000.0], UNLIMITED)
    assert len(reading.tree) - known > 40
