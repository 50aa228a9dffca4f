"""The baseline's cache computes what training does, and guessing changes no answer."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.ar_baseline import files, writing
from benchmarks.ar_baseline.engine import ArBaselineEngine, plain_rules
from benchmarks.ar_baseline.reading import ContextCache, in_reading_order, read_context, states
from benchmarks.ar_baseline.writing import Middle, Rules, write
from benchmarks.systems import load
from infill_engine import EngineConfig, Hole, InfillRequest, ModelError, load_engine
from infill_engine.budget import UNLIMITED, Budget
from infill_engine.denoiser import Sides
from infill_engine.models.two_sided.config import CANVAS, PREFIX, TwoSidedConfig
from infill_engine.models.two_sided.induction import stream_induction_hints
from infill_engine.models.two_sided.inference import InferenceNetwork
from infill_engine.models.two_sided.loading import WEIGHTS
from infill_engine.models.two_sided.network import TwoSidedNetwork
from infill_engine.models.two_sided.plain import of_module
from infill_engine.tokenizer import BOS, END, EOS, FIRST_TAG, Tokenizer

CONFIG = TwoSidedConfig(
    vocab_size=100, d_model=32, num_layers=3, num_heads=4, num_kv_heads=2, d_ff=48
)
EXACT = 1e-12
TOKENIZER = Tokenizer(WEIGHTS / "tokenizer.json")
BEFORE = (
    "def area(width, height):\n    return width * height\n\n\ndef volume(width, height, depth):\n"
)
AFTER = "\n\n\nprint(volume(1, 2, 3))\n"


@pytest.fixture(scope="module", autouse=True)
def _no_gradients() -> object:
    with torch.no_grad():
        yield


def network(
    config: TwoSidedConfig = CONFIG, *, copies: float = 0.0, seed: int = 0
) -> TwoSidedNetwork:
    """Random weights in float64; `copies` is how strongly it writes what induction hints say."""
    torch.manual_seed(seed)
    made = TwoSidedNetwork(config).double()
    for param in made.parameters():
        torch.nn.init.normal_(param, std=0.3)
    made.induction.copy_(copies * torch.eye(config.d_model) + made.induction * (copies == 0))
    return made


def sides_of(text: Sequence[int], a: int, b: int) -> Sides:
    """A text of ids with the hole [a, b)."""
    return Sides(prefix_ids=(BOS, FIRST_TAG, *text[:a]), suffix_ids=(*text[b:], EOS))


def worst_difference(
    made: TwoSidedNetwork, forget: Callable[[ContextCache], None] = lambda place: None
) -> float:
    """Training pass against one cache that lives through edits. `forget` follows every reading."""
    cached = of_module(made)
    rng, place, worst = random.Random(0), ContextCache(cached.cache(PREFIX, capacity=8)), 0.0
    text = [rng.randrange(50, 59) for _ in range(40)]  # few, so that there are induction hints
    a, b = 20, 23

    def check(keep: int = 0) -> None:
        nonlocal worst
        sides = sides_of(text, a, b)
        ids, middle = in_reading_order(sides), text[a:b]
        context = read_context(cached, place, ids, keep=keep)
        pending = [*ids[len(place.cache) :], *middle]
        streams = np.full(len(pending), CANVAS)
        streams[: context - len(place.cache)] = PREFIX
        found = torch.from_numpy(cached.push(place.cache, pending, streams))
        place.context = context
        forget(place)
        row = torch.tensor([[*ids, *middle, END, 0, 0]])
        hints = torch.zeros(*row.shape, 4, dtype=torch.long)
        hints[0, :-2, :2] = torch.tensor(stream_induction_hints(row[0, :-2].tolist()))
        trained = states(made, row, torch.tensor([context]), hints)[0, : len(ids) + len(middle)]
        worst = max(worst, float((found - trained[-len(pending) :]).abs().max()))

    check()
    check(keep=3)
    for size in (1, 3):  # typing, one token and several
        text[a:a] = [rng.randrange(50, 59) for _ in range(size)]
        a, b = a + size, b + size
        check(keep=2 * size)
    del text[a - 2 : a]  # deleting
    a, b = a - 2, b - 2
    check()
    for move in (4, -7):  # the cursor moves
        a, b = a + move, b + move
        check()
    a = b  # nothing is missing
    check()
    text[-3] = 60  # the far end changes
    check()
    a, b = 0, 5  # at the beginning there is no prefix
    check()
    a = b = len(text)  # at the end there is no suffix
    check()
    return worst


def test_cached_inference_equals_the_training_pass() -> None:
    assert worst_difference(network()) < EXACT


def test_a_cache_that_keeps_tokens_read_as_a_middle_is_noticed() -> None:
    def keep(place: ContextCache) -> None:
        place.context = len(place.cache)

    assert worst_difference(network(), keep) > 1e-6


def test_the_middle_is_read_in_another_voice_than_its_context() -> None:
    made = network()
    row, at = torch.randint(50, 60, (1, 12)), torch.tensor([6])
    hints = torch.zeros(1, 12, 4, dtype=torch.long)

    marked, plain = states(made, row, at, hints), states(made, row, at + 99, hints)

    assert torch.equal(marked[:, :6], plain[:, :6])
    assert not torch.isclose(marked[:, 6:], plain[:, 6:]).all(-1).any()


def rules_of(made: TwoSidedNetwork, **changes: object) -> Rules:
    forbidden = torch.zeros(made.config.vocab_size, dtype=torch.float64)
    forbidden[[BOS, EOS]] = -math.inf
    ends = torch.arange(made.config.vocab_size) == END
    breaks = [int(token % 7 == 0 and token > 48) for token in range(made.config.vocab_size)]
    rules = Rules(forbidden=forbidden, ends=ends, breaks=breaks, most=24)
    return replace(rules, **changes)


def written(made: TwoSidedNetwork, sides: Sides, rules: Rules) -> Middle:
    network = of_module(made)
    *_, middle = write(network, ContextCache(network.cache(PREFIX)), sides, rules)
    return middle


def greedy(made: TwoSidedNetwork, sides: Sides, rules: Rules) -> list[int]:
    """From scratch for every token, over the training pass: the slowest way there is."""
    ids, found, lines = in_reading_order(sides), list[int](), 0
    while len(found) < rules.most:
        row = [*ids, *found]
        hidden = states(
            made,
            torch.tensor([row]),
            torch.tensor([len(ids) - 1]),
            torch.tensor([[(*hint, 0, 0) for hint in stream_induction_hints(row)]]),
        )
        token = int((made.logits(hidden[0, -1]) + rules.forbidden).argmax())
        lines += rules.breaks[token]
        if rules.ends[token] or (rules.max_lines is not None and lines >= rules.max_lines):
            break
        found.append(token)
    return found


@pytest.mark.parametrize("copies", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("max_lines", [None, 1, 2])
def test_guessing_ahead_writes_what_plain_greedy_decoding_writes(
    copies: float, max_lines: int | None
) -> None:
    rng = random.Random(1)
    saved = 0
    for seed in range(5):
        made = network(copies=copies, seed=seed)
        phrase = [rng.randrange(50, 99) for _ in range(12)]
        text = [*phrase, *(rng.randrange(50, 99) for _ in range(9)), *phrase[:3], *phrase[:2]]
        a = rng.randrange(23, 27)
        sides = sides_of(text, a, len(text))
        rules = rules_of(made, max_lines=max_lines)

        ahead = written(made, sides, rules)
        plain = written(made, sides, replace(rules, guessed=0))

        assert ahead.ids == plain.ids == greedy(made, sides, rules)
        assert ahead.logs == pytest.approx(plain.logs, abs=1e-6)
        assert ahead.closing == pytest.approx(plain.closing, abs=1e-6)
        saved += plain.passes - ahead.passes

    assert saved > 10 or copies < 1.0 or max_lines == 1


def test_sampling_is_fixed_by_the_seed_and_not_changed_by_guessing() -> None:
    made = network(copies=0.5)
    sides = sides_of([60, 61, 62, 63, 64, 65, 60, 61, 62], 9, 9)
    rules = rules_of(made, temperature=0.7, most=12)

    texts = [written(made, sides, replace(rules, seed=seed)).ids for seed in (1, 1, 2, 3)]
    plain = written(made, sides, replace(rules, seed=1, guessed=0)).ids

    assert texts[0] == texts[1] == plain
    assert texts[2] != texts[0] or texts[3] != texts[0]


def test_the_budget_bounds_a_middle_and_doubt_gives_it_up() -> None:
    made = network()
    sides = sides_of([60, 61, 62, 63], 2, 4)
    rules = rules_of(made, most=5, ends=torch.zeros(100, dtype=torch.bool))

    full = written(made, sides, rules)
    made.embed.mul_(0.01)  # everything is about as likely
    given_up = written(made, sides, replace(rules, most=40, block=3))

    assert len(full.ids) == 5
    assert not full.closed
    assert sum(given_up.logs[-3:]) / 3 < writing.WORTH_CONTINUING
    assert len(given_up.ids) == 3


# The engine

SMALL = TwoSidedConfig(
    vocab_size=TOKENIZER.vocab_size,
    d_model=32,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    d_ff=48,
)


class Counting(InferenceNetwork):
    """Counts the tokens it reads."""

    read = 0

    def push(self, cache, ids, streams=None):  # type: ignore[no-untyped-def]
        self.read += len(ids)
        return super().push(cache, ids, streams)


def engine(**options: int) -> ArBaselineEngine:
    torch.manual_seed(3)
    made = TwoSidedNetwork(SMALL)
    for param in made.parameters():
        torch.nn.init.normal_(param, std=0.2)
    # Strong induction, so that a random network writes text, copied and ended after a while.
    made.induction.copy_(torch.eye(SMALL.d_model))
    network = of_module(made)
    network.__class__ = Counting
    return ArBaselineEngine(network, TOKENIZER, EngineConfig(), "here", **options)


def last(made: ArBaselineEngine, budget: Budget = UNLIMITED, **request: object):
    request = {"prefix": BEFORE + "    return ", "suffix": AFTER, "language_id": "python"} | request
    *_, draft = made.infill(InfillRequest(**request), budget=budget)
    return draft


def test_every_pass_yields_a_draft_and_the_last_one_is_judged() -> None:
    *drafts, final = engine().infill(InfillRequest(prefix=BEFORE, suffix=AFTER, max_lines=3))

    assert [draft.steps for draft in drafts] == list(range(1, len(drafts) + 1))
    assert all(math.isnan(draft.likelihood) for draft in drafts)
    assert final.text == drafts[-1].text == final.fills[0]
    assert final.likelihood < 0
    assert final.join < 0
    assert final.mean_entropy > 0
    assert final.text.count("\n") < 3
    assert "".join(cell.text for cell in final.cells).endswith(final.text)


def test_guessing_ahead_saves_passes_and_changes_no_text() -> None:
    ahead, plain = engine(), engine(guessed=0)
    saved = 0
    for cut in (11, 30, 55, 80):
        request = {"prefix": BEFORE[:cut], "suffix": BEFORE[cut:] + AFTER, "max_lines": 2}
        one, two = last(ahead, **request), last(plain, **request)
        assert one.text == two.text
        saved += two.steps - one.steps

    assert saved > 0


def test_text_stays_on_the_line_and_continues_the_word_that_was_begun() -> None:
    for cut in range(3, len(BEFORE), 5):
        draft = last(engine(), prefix=BEFORE[:cut], suffix=BEFORE[cut:], max_lines=1)
        # Healing takes a line break at the cursor back, and gives it again.
        assert "\n" not in draft.text


def test_pins_come_back_verbatim_around_one_hole_and_between_two() -> None:
    one = last(engine(), middle=("x(", Hole(max_tokens=4), ")"))
    two = last(engine(), middle=("[", Hole(max_tokens=3), ", await ", Hole(max_tokens=2), "]"))

    assert one.text == f"x({one.fills[0]})"
    assert two.text == f"[{two.fills[0]}, await {two.fills[1]}]"
    assert two.tokens <= 3 + 2 + 2  # a healed_prefix token may come on top


def test_an_answer_does_not_depend_on_what_was_asked_before() -> None:
    used = engine()
    requests = [
        {"prefix": BEFORE[:cut], "suffix": BEFORE[cut + gap :] + AFTER, "max_lines": 2}
        for cut, gap in ((30, 0), (31, 0), (60, 5), (29, 0), (30, 0))
    ]

    assert [last(used, **each).text for each in requests] == [
        last(engine(), **each).text for each in requests
    ]


def test_typing_reads_what_was_typed_and_an_edit_behind_the_cursor_reads_all() -> None:
    made = engine(guessed=0)
    network = made._network
    assert isinstance(network, Counting)

    def cost(prefix: str, suffix: str) -> int:
        before = network.read
        last(made, prefix=prefix, suffix=suffix, middle=(Hole(max_tokens=1),))
        return network.read - before

    cold = cost(BEFORE * 2 + "    return ", AFTER)
    typed = cost(BEFORE * 2 + "    return w", AFTER)
    edited = cost(BEFORE * 2 + "    return w", "  # new" + AFTER)

    assert typed < 8
    assert cold > 60
    assert edited > 60


def test_warming_leaves_one_token_to_read() -> None:
    made = engine(guessed=0)
    request = InfillRequest(prefix=BEFORE, suffix=AFTER, middle=(Hole(max_tokens=1),))
    made.warm(request)
    assert isinstance(made._network, Counting)
    made._network.read = 0

    *_, draft = made.infill(request)

    assert made._network.read == draft.steps


def test_nothing_is_offered_once_cancelled() -> None:
    made = engine()
    asked = iter([False, False, True, True, True])
    request = InfillRequest(prefix=BEFORE, suffix=AFTER)

    assert list(made.infill(request, budget=Budget(cancelled=lambda: True))) == []
    assert len(list(made.infill(request, budget=Budget(cancelled=lambda: next(asked, True))))) <= 2
    assert last(made).text == last(engine()).text


def test_a_deadline_gives_out_the_best_so_far() -> None:
    draft = last(engine(guessed=0), Budget(deadline=0.0))

    assert draft.steps == 1
    assert not draft.converged


def test_several_candidates_are_distinct_and_begin_with_different_tokens() -> None:
    best = last(engine(), max_lines=1)
    several = last(engine(), max_lines=1, num_candidates=3)
    texts = [several.text, *(other.text for other in several.others)]

    assert several.text == best.text
    assert 2 <= len(texts) <= 3
    assert len(set(texts)) == len(texts)


def test_the_engine_says_what_it_is() -> None:
    info = engine().describe()
    count = sum(param.numel() for param in TwoSidedNetwork(SMALL).parameters())

    assert info.model == "ar-baseline"
    assert info.source == "here"
    assert info.parameters == count


def saved(path: Path, **metadata: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.half() for name, tensor in network(SMALL).state_dict().items()}
    save_file(tensors, path, {"config": SMALL.to_json(), **metadata})
    return path


@pytest.mark.parametrize("name", ["ar-baseline", "ar-twin"])
def test_a_file_that_says_it_is_a_baseline_is_loaded_as_one(name: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "some.safetensors", architecture=name)
    two_sided = saved(tmp_path / "other.safetensors")

    loaded = load(EngineConfig(model=str(path)))
    *_, draft = loaded.infill(InfillRequest(prefix=BEFORE, suffix=AFTER))

    assert loaded.describe().model == "ar-baseline"
    assert loaded.describe().source == str(path)
    assert draft.steps >= 1
    assert load(EngineConfig(model=str(two_sided))).describe().model == "two-sided"


def test_the_program_that_ships_says_where_the_baseline_went(tmp_path: Path) -> None:
    path = saved(tmp_path / "some.safetensors", architecture="ar-twin")

    for model in ("ar-baseline", "ar-twin", str(path)):
        with pytest.raises(ModelError, match=rf"no part of infill-ls.*--model {model}$"):
            load_engine(EngineConfig(model=model))


@pytest.mark.parametrize("name", ["ar-baseline", "ar-twin"])
def test_the_name_finds_the_file_of_a_persons_data_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "user_data_path", lambda *_, **__: tmp_path)

    with pytest.raises(ModelError, match=r"train\.ar_baseline.*--minutes") as error:
        load(EngineConfig(model=name))
    assert str(tmp_path / f"{name}.safetensors") in str(error.value)

    path = saved(tmp_path / f"{name}.safetensors", architecture=name)
    for either in ("ar-baseline", "ar-twin"):
        assert load(EngineConfig(model=either)).describe().source == str(path)


def test_a_damaged_file_is_reported_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"not a model")

    with pytest.raises(ModelError, match="broken"):
        load(EngineConfig(model=str(path)))


def test_specials_are_never_written() -> None:
    rules = plain_rules(TwoSidedNetwork(SMALL), TOKENIZER)

    assert rules.forbidden[END] == 0
    assert (rules.forbidden[[BOS, EOS, FIRST_TAG]] == -math.inf).all()
    assert rules.breaks[TOKENIZER.encode("\n")[0]] == 1
