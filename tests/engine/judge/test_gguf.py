"""A GGUF judge says what transformers' Llama does, and its own text whatever is drafted."""

import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import LlamaConfig, LlamaForCausalLM

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.config import EngineConfig
from infill_engine.judge.awaited import at_hand
from infill_engine.judge.gguf.judge import CHUNK, GgufJudge
from infill_engine.judge.gguf.loading import DRAFTED, load_gguf
from infill_engine.judge.gguf.reading import GgufReading
from infill_engine.judge.judge import Drafts, Reading, behind_line
from infill_engine.local import LocalEngine
from infill_engine.request import InfillRequest
from tests.engine.judge.test_judged import Opinion
from tests.engine.oracle import Oracle
from tests.train import tiny_gguf
from tests.train.tiny_gguf import CODE, HEADS, KV_HEADS, WIDTH

pytest.importorskip("xllamacpp", reason="no llama.cpp here: pip install 'infill-ls[gguf]'")

# Keys and values are kept in half precision.
NATS = 0.1
END, BEFORE, BEHIND, MIDDLE = range(4)
KNOWN = {"tokenizer.ggml.bos_token_id": END, "tokenizer.ggml.eos_token_id": END}
FILLS = {
    f"tokenizer.ggml.fim_{name}_token_id": token
    for name, token in (("pre", BEFORE), ("suf", BEHIND), ("mid", MIDDLE))
}
AT_ONCE = [":Ċ", ":ĊĠĠ"]  # as other vocabularies say the end of a line
HEAD, LINE = CODE * 2, "    return wid"
SUFFIX = "\n\nprint(area(1, 2))\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf")


@pytest.fixture(scope="module")
def reference(folder: Path) -> LlamaForCausalLM:
    """Of the tensors of plain.gguf and fills.gguf, which it writes."""
    tiny_gguf.write_gguf(folder / "fills.gguf", exactly=True, more=AT_ONCE, numbers=KNOWN | FILLS)
    tensors = tiny_gguf.write_gguf(folder / "plain.gguf", exactly=True, more=AT_ONCE, numbers=KNOWN)
    head = WIDTH // HEADS
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tensors["token_embd.weight"]), hidden_size=WIDTH,
            intermediate_size=tiny_gguf.INNER, num_hidden_layers=tiny_gguf.LAYERS,
            num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=head,
            rms_norm_eps=tiny_gguf.EPSILON, max_position_embeddings=tiny_gguf.CONTEXT,
            rope_parameters={"rope_type": "default", "rope_theta": tiny_gguf.ROPE_BASE},
            tie_word_embeddings=True,
        )
    )  # fmt: skip
    names = {
        "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }  # fmt: skip
    weights = {
        "model.embed_tokens.weight": tensors["token_embd.weight"],
        "model.norm.weight": tensors["output_norm.weight"],
    }
    for layer, (theirs, ours) in itertools.product(range(tiny_gguf.LAYERS), names.items()):
        data = tensors[f"blk.{layer}.{theirs}.weight"]
        if theirs in ("attn_q", "attn_k"):  # rotated in pairs there, in halves here
            data = data.reshape(-1, head // 2, 2, WIDTH).swapaxes(1, 2).reshape(-1, WIDTH)
        weights[f"model.layers.{layer}.{ours}.weight"] = data
    state = {name: torch.from_numpy(data.copy()) for name, data in weights.items()}
    lacking, unknown = network.load_state_dict(state, strict=False)
    assert (lacking, unknown) == (["lm_head.weight"], [])
    return network.eval()


@pytest.fixture(params=["plain", "fills"])
def judge(folder: Path, reference: LlamaForCausalLM, request: pytest.FixtureRequest) -> GgufJudge:
    return load(folder / f"{request.param}.gguf")


@pytest.fixture
def fills(folder: Path, reference: LlamaForCausalLM) -> GgufJudge:
    return load(folder / "fills.gguf")


def load(path: Path, how: str = "") -> GgufJudge:
    judge = load_gguf(EngineConfig(judge=f"{path}{how}", device="cpu", threads=1))
    judge.drafted = DRAFTED  # whatever pays here
    return judge


def read(
    judge: GgufJudge, prefix: str = HEAD + LINE, suffix: str = SUFFIX, max_lines: int | None = 1
) -> GgufReading:
    request = InfillRequest(prefix=prefix, suffix=suffix, max_lines=max_lines)
    reading = judge.read(request, UNLIMITED)
    assert reading is not None
    return reading


def nothing(said: str) -> Sequence[str]:
    return ()


def of(*texts: str) -> Drafts:
    """The drafts of who has these texts."""
    return lambda said: [text[len(said) :] for text in texts if text.startswith(said)]


@torch.inference_mode()
def log_probabilities(reference: LlamaForCausalLM, ids: Sequence[int]) -> NDArray[np.float32]:
    """[n, V] of what comes after each of ids."""
    found = reference(torch.tensor([list(ids)])).logits[0].log_softmax(-1)
    return np.asarray(found.numpy(), np.float32)


def total(log_probabilities: NDArray[np.float32]) -> float:
    return float(np.logaddexp.reduce(log_probabilities.astype(np.float64)))


def prompt(judge: GgufJudge) -> list[int]:
    return judge._places[-1].ids


def test_a_tree_says_what_transformers_says(judge: GgufJudge, reference: LlamaForCausalLM) -> None:
    tree = read(judge)._tree
    rng = np.random.default_rng(0)
    paths = [rng.integers(20, 300, 30).tolist() for _ in range(4)]
    paths[1][:5], paths[2][:2], paths[3] = paths[0][:5], paths[0][:2], paths[0][:9]

    nodes = tree.grow(paths, UNLIMITED)

    assert len(tree) == 1 + 30 + 25 + 28, "shared heads are read once"
    assert tree.passes == 2, "of 64 tokens at most"
    later = [*paths[1][:9], 40, 41]
    nodes += tree.grow([later], UNLIMITED)
    assert len(tree) == 1 + 30 + 25 + 28 + 2, "it goes on from within"
    for path, way in zip([*paths, later], nodes, strict=True):
        wanted = log_probabilities(reference, prompt(judge) + path)[len(prompt(judge)) - 1 :]
        for node, expected in zip(way, wanted, strict=True):
            found = tree.logits(node) - tree.total(node)
            np.testing.assert_allclose(found, expected, atol=NATS)
            assert np.abs(found - expected).mean() < NATS / 4


def test_a_model_that_goes_on_reads_the_prefix_and_takes_its_last_token_back(
    folder: Path, reference: LlamaForCausalLM
) -> None:
    judge = load(folder / "plain.gguf")
    reading, encode = read(judge), judge.vocabulary.encode
    ids = encode(HEAD + LINE)
    assert prompt(judge) == [END, *ids[:-1]]
    assert reading._healed == judge.vocabulary.token_bytes[ids[-1]]


def test_a_model_that_fills_is_asked_as_it_was_trained(fills: GgufJudge) -> None:
    encode = fills.vocabulary.encode
    read(fills)
    typed = encode(LINE)[:-1]
    asked = [BEFORE, *encode(HEAD), BEHIND, *encode(SUFFIX), MIDDLE]
    assert prompt(fills) == [*asked, *typed]
    assert encode("<|control1|>") != [BEFORE], "no text is a mark"


def test_typing_and_deleting_read_only_what_is_new_and_say_the_same(
    judge: GgufJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens: list[int] = []
    pushed = judge._push

    def counted(place: object, ids: list[int], budget: Budget) -> bool:
        tokens.append(len(ids))
        return pushed(place, ids, budget)  # type: ignore[arg-type]

    read(judge, HEAD)
    monkeypatch.setattr(judge, "_push", counted)
    text = LINE + "th * hei"
    for size in (*range(1, len(text) + 1), 9, 14, len(LINE)):
        tokens.clear()
        reading = read(judge, HEAD + text[:size])
        assert sum(tokens) <= 6, text[:size]
    assert sum(bool(place.ids) for place in judge._places) == 1

    middles = ["th", "", "th * height"]
    found = reading.judge(middles, [0.0] * 3, UNLIMITED)
    judge.forget()
    expected = read(judge).judge(middles, [0.0] * 3, UNLIMITED)
    for one, other in zip(found, expected, strict=True):
        assert one is not None
        assert other is not None
        assert (one.middle, one.suffix) == pytest.approx((other.middle, other.suffix), abs=NATS)


def test_a_line_that_is_left_and_a_suffix_that_is_changed_are_read_anew(fills: GgufJudge) -> None:
    encode = fills.vocabulary.encode
    read(fills)
    read(fills, HEAD + LINE, ")" + SUFFIX)
    assert prompt(fills)[: len(encode(HEAD)) + 2] == [BEFORE, *encode(HEAD), BEHIND]
    assert encode(")" + SUFFIX)[0] in prompt(fills)[len(encode(HEAD)) :]
    read(fills, HEAD[:-10], SUFFIX)
    before = HEAD[: HEAD[:-10].rfind("\n") + 1]
    assert prompt(fills)[: len(encode(before)) + 2] == [BEFORE, *encode(before), BEHIND]


def test_few_places_are_kept(judge: GgufJudge) -> None:
    for number in range(9):
        read(judge, f"{number} " * 300)
    assert all(place.ids for place in judge._places)
    assert len(judge._places) == 3


@pytest.mark.parametrize("suffix", [")" + SUFFIX, SUFFIX])
def test_a_middle_is_followed_by_the_suffix(
    folder: Path, reference: LlamaForCausalLM, suffix: str
) -> None:
    judge = load(folder / "plain.gguf")
    reading, vocabulary = read(judge, HEAD + LINE, suffix), judge.vocabulary
    middle = "th * height"

    (judgement,) = reading.judge([middle], [0.0], UNLIMITED)

    text = reading._healed.decode() + middle
    within = len(vocabulary.encode(text))
    row = vocabulary.encode(text + suffix)[: within + 8]
    wanted = log_probabilities(reference, prompt(judge) + row)[len(prompt(judge)) - 1 :]
    nats, owed = [], reading._healed
    for here, token in zip(wanted, row, strict=False):
        among = here[vocabulary.allowed(owed)] if owed else here
        nats.append(float(here[token]) - total(among))
        owed = owed[len(vocabulary.token_bytes[token]) :]
    assert judgement is not None
    assert judgement.tokens == 8
    assert judgement.middle == pytest.approx(sum(nats[:within]), abs=2 * NATS)
    behind = sum(nats[within:])
    if suffix == SUFFIX:
        ends = np.concatenate((vocabulary.ends, vocabulary.line_ends))
        behind = behind_line(behind, total(wanted[within][ends]))
    assert judgement.suffix == pytest.approx(behind, abs=2 * NATS)


@pytest.mark.parametrize(
    ("suffix", "max_lines", "by_line"),
    [(SUFFIX, 1, True), (SUFFIX, None, False), (") + 1", 1, False)],
)
def test_a_middle_that_fills_ends_by_a_token_that_says_so_or_with_its_line(
    fills: GgufJudge, reference: LlamaForCausalLM, suffix: str, max_lines: int | None, by_line: bool
) -> None:
    reading, vocabulary = read(fills, HEAD, suffix, max_lines), fills.vocabulary
    middle = "    if width:"  # which some token says with a line break
    row = vocabulary.encode(middle)
    wanted = log_probabilities(reference, prompt(fills) + row)[len(prompt(fills)) - 1 :]

    (judgement,) = reading.judge([middle], [0.0], UNLIMITED)

    said = [float(here[token]) for here, token in zip(wanted, row, strict=False)]
    breaks = [t for t, b in enumerate(vocabulary.token_bytes) if b.strip(b" ").startswith(b"\n")]
    at_once = [t for t, b in enumerate(vocabulary.token_bytes) if b.startswith(b":\n")]
    assert len(at_once) == 2
    ends = total(wanted[-1][[END, *breaks] if by_line else [END]])
    together = sum(said[:-1]) + total(wanted[-2][at_once]) if by_line else -np.inf
    whole = np.logaddexp(sum(said) + ends, together)
    assert judgement is not None
    assert judgement.both == pytest.approx(whole, abs=2 * NATS)
    assert judgement.middle == pytest.approx(np.logaddexp(sum(said), together), abs=2 * NATS)
    assert judgement.suffix <= 0


@pytest.mark.parametrize("max_lines", [1, None])
def test_its_own_text_is_the_same_whatever_is_drafted_and_takes_fewer_passes(
    judge: GgufJudge, max_lines: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Random weights come to no end by themselves.
    monkeypatch.setattr("infill_engine.judge.gguf.reading.LINE_TOKENS", 400)
    monkeypatch.setattr("infill_engine.judge.gguf.reading.BLOCK_TOKENS", 400)
    vocabulary = judge.vocabulary
    reading = read(judge, max_lines=max_lines)
    ids = reading._greedy([], reading._healed, lambda text: len(text) > 24, nothing, UNLIMITED)
    assert ids is not None
    said = vocabulary.decode(ids)[len(reading._healed) :].decode()
    plain = reading._tree.passes
    assert plain == len(ids) - 1

    drafts: dict[str, Drafts] = {
        "all of it": of(said),
        "its head": of(said[:9]),
        "another": of("th * height", "th" * 9),
        "another first": of("th * height", said[:14] + "+" + said[14:], said),
    }
    passes = {}
    for name, drafted in drafts.items():
        reading = read(judge, max_lines=max_lines)
        again = reading._greedy([], reading._healed, lambda t: len(t) > 24, drafted, UNLIMITED)
        assert again is not None
        assert vocabulary.decode(again)[len(reading._healed) :].decode() == said, name
        passes[name] = reading._tree.passes
    assert passes["all of it"] < passes["its head"] < plain
    assert passes["another first"] < plain
    assert passes["another"] <= plain


def test_what_was_drafted_in_vain_makes_room(
    judge: GgufJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GgufReading, "_ends", lambda reading, text: len(text) > 40)
    own = read(judge).say(nothing, UNLIMITED)
    assert own
    rng = np.random.default_rng(0)

    def vain(said: str) -> list[str]:
        """Of which much or little fits, so that branches or nodes are lacking."""
        letters = "".join(map(chr, rng.integers(97, 122, 90)))
        return [letters[at : at + 9] for at in range(0, 81, 9)] + [letters[:30]]

    tree = read(judge)._tree
    reading = read(judge)
    monkeypatch.setattr(reading._tree, "_room", 80)
    assert reading.say(vain, UNLIMITED) == own
    assert len(reading._tree) <= 80
    reading = read(judge)
    monkeypatch.setattr(reading._tree, "_free", reading._tree._free[:18])
    assert reading.say(vain, UNLIMITED) == own
    assert len(reading._tree._taken) <= 18
    judged = reading.judge([own], [0.0], UNLIMITED)[0]
    expected = read(judge).judge([own], [0.0], UNLIMITED)[0]
    assert judged is not None
    assert expected is not None
    assert judged.both == pytest.approx(expected.both, abs=2 * NATS)
    assert tree.grow([[20]], UNLIMITED) == [[0]], "of what was read before nothing grows"


def test_its_text_ends_with_the_line_or_where_the_hole_does(fills: GgufJudge) -> None:
    reading = read(fills)
    assert [reading._ends(text) for text in ("th", "th\n", "\n")] == [False, True, True]
    assert reading._cut("th * height\n    re") == "th * height"
    block = read(fills, max_lines=3)
    assert [block._ends(text) for text in ("th\n", "th\n\n", "th\n\n\n")] == [False, False, True]
    assert block._cut("a\nb\nc\n  d") == "a\nb\nc"
    # A model that goes on does not see what follows, and is cut before it.
    assert read(fills)._cut("th) + 1") == "th) + 1"


def test_a_model_that_goes_on_is_cut_before_what_follows_and_asked_for_further_lines(
    folder: Path, reference: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = load(folder / "plain.gguf")
    assert read(judge, suffix=") + 1\n")._cut("th) + 1") == "th"
    reading = read(judge)
    said = iter(["    a = 1\n", "\n", "    b\n", "c\n"])
    asked: list[list[int]] = []

    def greedy(ids: list[int], owed: bytes, *_: object) -> list[int]:
        asked.append(ids)
        return judge.vocabulary.encode(owed.decode() + next(said))

    monkeypatch.setattr(reading, "_greedy", greedy)
    assert reading.further("th", 9, UNLIMITED) == [
        "th\n    a = 1",
        "th\n    a = 1\n\n    b",
    ], "up to the line that is indented less"
    healed = reading._healed.decode()
    assert asked[0] == judge.vocabulary.encode(healed + "th")
    assert asked[1] == judge.vocabulary.encode(healed + "th\n    a = 1")


def test_what_there_is_no_time_for_is_read_the_next_time(judge: GgufJudge) -> None:
    request = InfillRequest(prefix=HEAD + LINE, suffix=SUFFIX)
    looks = 0

    def later() -> bool:
        nonlocal looks
        looks += 1
        return looks > 3

    assert judge.read(request, Budget(cancelled=later)) is None
    assert len(prompt(judge)) in (CHUNK, 2 * CHUNK)
    assert judge.read(request, UNLIMITED) is not None
    # A deadline that is sure to be missed is not waited for.
    soon = Budget(deadline=time.monotonic() + 1e-4)
    assert judge.read(InfillRequest(prefix=CODE.upper() * 4, suffix=""), soon) is None
    reading, over = read(judge), Budget(deadline=0.0)
    assert reading.judge(["th"], [0.0], over) == [None]
    assert reading.continuations(of("th"), over) == []
    assert len(reading._tree) == 1


def test_what_was_deleted_while_a_request_was_taken_back_says_nothing(judge: GgufJudge) -> None:
    before, back = CODE + "a = ", Budget(cancelled=lambda: True)
    read(judge, before + "alpha + beta")
    assert judge.read(InfillRequest(prefix=before + "alpha", suffix=""), back) is None
    again = read(judge, before).continuations(nothing, UNLIMITED)
    judge.forget()
    assert again == read(judge, before).continuations(nothing, UNLIMITED)


def test_a_pass_that_would_take_too_long_is_not_begun(judge: GgufJudge) -> None:
    reading, soon = read(judge), Budget(deadline=time.monotonic() + 30.0)
    judge._cache.token_ms = 1e6
    assert reading.continuations(of("th"), soon) == []
    assert reading.judge(["th"], [0.0], soon) == [None]
    assert judge.read(InfillRequest(prefix=CODE, suffix=""), soon) is None
    assert reading._tree.passes == 0


def test_a_pass_that_is_given_up_leaves_what_was_read(judge: GgufJudge) -> None:
    middles = ["th", "th * height"]
    expected = read(judge).judge(middles, [0.0] * 2, UNLIMITED)
    reading = read(judge)
    reading._tree.grow([[20, 21]], UNLIMITED)
    judge._cache._stop[0] = b"\1"
    try:
        (path,) = reading._tree.grow([[20, 21, 22]], UNLIMITED)
        assert path == [0, 1, 2]
        assert judge.read(InfillRequest(prefix=CODE, suffix=""), UNLIMITED) is None
    finally:
        judge._cache._stop[0] = b"\0"
    found = read(judge).judge(middles, [0.0] * 2, UNLIMITED)
    for one, other in zip(found, expected, strict=True):
        assert one is not None
        assert other is not None
        assert one.both == pytest.approx(other.both, abs=NATS)


def test_what_is_asked_for_exactly_is_its_own_text_else_the_likeliest(
    folder: Path, reference: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GgufReading, "_ends", lambda reading, text: len(text) > 8)
    own = read(load(folder / "fills.gguf")).say(nothing, UNLIMITED)
    assert own
    request = InfillRequest(prefix=HEAD + LINE, suffix=SUFFIX, max_lines=1)
    for how, drafted in itertools.product(("", "#exact"), ("th", own, own[:4] + "!")):
        judge = load(folder / "fills.gguf", how)
        # Copied, which speaks for the other one.
        oracle = Oracle(
            [drafted], lengths=(24,), canvas_lengths=(24,), guessed={"dth * height": 0.0}
        )
        engine = LocalEngine(oracle, at_hand(judge))
        engine.warm(request)
        *_, draft = engine.infill(request)
        texts = [draft.text, *(other.text for other in draft.others)]
        assert set(texts) == {own, drafted, "dth * height"}
        if how:
            assert draft.text == own
        else:
            judged = read(judge).judge(texts, [0.0] * 3, UNLIMITED)
            likely = {text: each.both for text, each in zip(texts, judged, strict=True) if each}
            likely["dth * height"] += 4.0
            assert draft.text == max(likely, key=likely.__getitem__)
        assert judge.verified.tokens > 0
        assert judge.verified.tokens_per_pass >= 1


class Drafter(Opinion):
    """Goes on with a text that it knows."""

    def read(self, request: InfillRequest, budget: Budget) -> Reading | None:
        self.prefixes.append(request.prefix)
        said = request.prefix.removeprefix(HEAD + LINE)
        goes_on = self.text.startswith(said)
        self.lines = [self.text[len(said) :]] if goes_on and not self.unsure else []
        self.heads = [self.text[len(said) :][:6]] if goes_on else []
        return None if self.too_late else self

    def aside(self, budget: Budget) -> list[str]:
        return [*self.heads]

    text = ""
    unsure = False
    heads: Sequence[str] = ()


def test_a_faster_judge_drafts_what_is_said_next(
    judge: GgufJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GgufReading, "_ends", lambda reading, text: len(text) > 24)
    own = read(judge).say(nothing, UNLIMITED)
    assert own
    plain = judge.verified.passes
    drafter = judge.drafter = Drafter({})
    drafter.text = own[:6] + "?" + own[7:]

    assert read(judge).say(nothing, UNLIMITED) == own
    assert drafter.prefixes[0] == HEAD + LINE, "it reads ahead"
    assert drafter.prefixes[1].startswith(HEAD + LINE + own[:1])
    assert (passes := judge.verified.passes - plain) < plain
    drafter.unsure = True
    assert read(judge).say(nothing, UNLIMITED) == own
    assert judge.verified.passes - plain - passes < plain, "what it let go of is verified as well"
    drafter.too_late = True
    assert read(judge).say(nothing, UNLIMITED) == own
    judge.forget()
    assert drafter.forgotten == 1
