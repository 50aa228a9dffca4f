"""DiffusionGemma in this process, on small random checkpoints: passes, memory, text, engine."""

import importlib.util
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from infill_engine import EngineConfig, Hole, InfillRequest, ModelError, load_engine
from infill_engine.budget import Budget
from infill_engine.canvas import Canvas
from infill_engine.denoiser import Sides
from infill_engine.local import LocalEngine
from infill_engine.models.diffusion_gemma import denoiser as diffusion_gemma
from infill_engine.models.diffusion_gemma.captured import CapturedStepping, direct
from infill_engine.models.diffusion_gemma.denoiser import (
    DiffusionGemma,
    FusedStepping,
    Memory,
    Network,
    Stepping,
    load_diffusion_gemma,
    shared,
)

pytest.importorskip("transformers")
from tests.engine import tiny_gemma


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads that wait for one another over such small matrices take longer than one alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


WINDOW = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gemma.save(tmp_path_factory.mktemp("gemma"))


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_gemma.model(3)


@pytest.fixture(scope="module")
def denoiser(folder: Path) -> DiffusionGemma:
    return load_diffusion_gemma(EngineConfig(model=str(folder), max_denoising_steps=6))


@pytest.fixture
def engine(denoiser: DiffusionGemma) -> LocalEngine:
    return LocalEngine(denoiser)


def tokens(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, tiny_gemma.VOCAB - 4, shape, generator=generator)


# The two passes


def theirs(model: Any, prompt: Tensor, canvas: Tensor, before: Tensor | None) -> Tensor:
    """transformers' logits for a canvas after a prompt, with its own cache and modules."""
    from transformers import DynamicCache

    with torch.inference_mode():
        cache = DynamicCache(config=model.config.get_text_config(decoder=True))
        size = prompt.shape[1]
        model.model.encoder(
            input_ids=prompt, past_key_values=cache, position_ids=torch.arange(size)[None]
        )
        logits: Tensor = model(
            decoder_input_ids=canvas,
            decoder_position_ids=size + torch.arange(canvas.shape[1])[None],
            past_key_values=cache,
            self_conditioning_logits=before,
        ).logits
    return logits


def decoded(network: Network, memory: Memory, canvas: Tensor, before: Tensor | None) -> Tensor:
    with torch.inference_mode():
        soft = None
        if before is not None:
            soft = network.soften(before.flatten(0, 1)).view(*canvas.shape, -1)
        hidden = network.decode(canvas, soft, network.context(memory, canvas.shape[1]))
        return network.logits(hidden.flatten(0, 1)).view(*canvas.shape, -1)


@pytest.mark.parametrize("prompt", [1, 20, WINDOW - 1, WINDOW, WINDOW + 1, 150])
@pytest.mark.parametrize("conditioned", [False, True])
def test_our_decoder_is_transformers_in_float32(model: Any, prompt: int, conditioned: bool) -> None:
    network = Network(model)
    ids, canvas = tokens(2, prompt), tokens(2, 40, seed=1)
    before = 10 * torch.randn(2, 40, tiny_gemma.VOCAB) if conditioned else None

    expected = theirs(model, ids, canvas, before)
    actual = decoded(network, network.encode(ids), canvas, before)

    assert float(expected.std()) > 1
    torch.testing.assert_close(expected, actual, rtol=1e-5, atol=1e-4)


def test_our_decoder_is_no_worse_than_transformers_in_bfloat16(model: Any) -> None:
    ids, canvas = tokens(1, 90), tokens(1, 32, seed=1)
    half = tiny_gemma.model(3).to(torch.bfloat16)
    for wide, narrow in zip(model.parameters(), half.parameters(), strict=True):
        narrow.data.copy_(wide)
    exact = tiny_gemma.model(3).to(torch.bfloat16).float()

    truth = theirs(exact, ids, canvas, None)
    yardstick = (theirs(half, ids, canvas, None) - truth).abs()
    network = Network(half)
    error = (decoded(network, network.encode(ids), canvas, None) - truth).abs()

    assert error.mean() <= 1.05 * yardstick.mean()


def test_one_prompt_serves_all_rows(model: Any) -> None:
    network = Network(model)
    ids, canvas = tokens(1, 90), tokens(3, 16, seed=1)

    expected = theirs(model, ids.expand(3, -1), canvas, None)

    torch.testing.assert_close(
        expected, decoded(network, network.encode(ids), canvas, None), rtol=1e-5, atol=1e-4
    )


def captured(network: Network, forbidden: Tensor) -> Stepping:
    """The step over fixed buffers, run again where a GPU would replay it."""
    return CapturedStepping(network, forbidden, direct)


@pytest.mark.parametrize("fast", [FusedStepping, captured])
@pytest.mark.parametrize("healed_prefix", [False, True])
@pytest.mark.parametrize("prompt", [1, 40, 90])
def test_a_fast_step_reads_what_the_plain_one_does(
    model: Any, healed_prefix: bool, fast: Callable[[Network, Tensor], Stepping], prompt: int
) -> None:
    network = Network(model)
    memory = network.encode(tokens(1, prompt))
    some = torch.arange(tiny_gemma.VOCAB) % 3 == 0
    hole = torch.zeros(3, 24, dtype=torch.int64)
    for row in range(3):
        hole[row, 6 + 4 * row :] = -1
    canvas = Canvas(
        token_ids=tokens(3, 24, seed=1), hole=hole, first=some if healed_prefix else None
    )

    def run(stepping: Stepping) -> list[tuple[Tensor, Tensor, Tensor]]:
        state: object = None
        seen = []
        for step, temperature in enumerate((0.8, 0.6, 0.5)):
            given = replace(canvas, token_ids=tokens(3, 24, seed=step + 1))
            stats, state = stepping.step(
                given,
                memory,
                state,
                temperature=temperature,
                generator=torch.Generator().manual_seed(step),
            )
            seen.append((stats.best, stats.entropy, stats.confidence))
            assert torch.equal(stats.sample[~canvas.free], given.token_ids[~canvas.free])
            if healed_prefix:
                assert bool(some[stats.sample[:, 0]].all())
        return seen

    forbidden = torch.arange(tiny_gemma.VOCAB) < 200
    with torch.inference_mode():
        plain, fused = run(Stepping(network, forbidden)), run(fast(network, forbidden))

    for (best, entropy, confidence), (other_best, other_entropy, other_confidence) in zip(
        plain, fused, strict=True
    ):
        assert torch.equal(best, other_best)
        assert int(best[canvas.free].min()) >= 200
        torch.testing.assert_close(entropy, other_entropy, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(confidence, other_confidence, rtol=1e-3, atol=1e-3)


def test_one_plan_serves_canvases_and_prompts_of_its_shape_in_turn(model: Any) -> None:
    network = Network(model)
    forbidden = torch.arange(tiny_gemma.VOCAB) < 8
    plans = CapturedStepping(network, forbidden, direct)
    plain = FusedStepping(network, forbidden)

    for number, (prompt, cells, pinned) in enumerate(
        [(90, 24, 4), (10, 24, 9), (200, 24, 0), (90, 16, 2), (90, 24, 4), (1500, 24, 1)]
    ):
        memory = network.encode(tokens(1, prompt, seed=number))
        hole = torch.zeros(2, cells, dtype=torch.int64)
        hole[:, cells - pinned :] = -1
        canvas = Canvas(token_ids=tokens(2, cells, seed=number), hole=hole)
        with torch.inference_mode():
            states: list[object] = [None, None]
            for step in range(3):
                given = replace(canvas, token_ids=tokens(2, cells, seed=10 * number + step))
                seen = []
                for at, stepping in enumerate((plans, plain)):
                    stats, states[at] = stepping.step(
                        given,
                        memory,
                        states[at],
                        temperature=0.7,
                        generator=torch.Generator().manual_seed(step),
                    )
                    seen.append(stats)
                assert torch.equal(seen[0].best, seen[1].best)
                torch.testing.assert_close(seen[0].entropy, seen[1].entropy, rtol=1e-3, atol=1e-3)
    assert len(plans._plans) == 3


def test_an_engine_over_plans_answers_as_one_without(folder: Path) -> None:
    texts = []
    for stepping in (FusedStepping, captured):
        denoiser = load_diffusion_gemma(EngineConfig(model=str(folder), max_denoising_steps=4))
        denoiser._stepping = stepping(denoiser._network, denoiser._forbidden)
        *_, draft = LocalEngine(denoiser).infill(REQUEST)
        texts.append((draft.text, draft.steps, [other.text for other in draft.others]))

    assert texts[0] == texts[1]


def test_fused_samples_are_as_probable_as_the_model_says(model: Any) -> None:
    network = Network(model)
    memory = network.encode(tokens(1, 20))
    canvas = Canvas(token_ids=tokens(1, 1), hole=torch.zeros(1, 1, dtype=torch.int64))
    generator = torch.Generator().manual_seed(0)
    stepping = FusedStepping(network)

    with torch.inference_mode():
        logits = decoded(network, memory, canvas.token_ids, None)[0, 0] / 4.0
        drawn = [
            int(stepping.step(canvas, memory, None, temperature=4.0, generator=generator)[0].sample)
            for _ in range(300)
        ]

    likely = torch.zeros(tiny_gemma.VOCAB)
    for token in drawn:
        likely[token] += 1 / len(drawn)
    probability = logits.softmax(-1)
    top = int(probability.argmax())
    spread = (float(probability[top]) * (1 - float(probability[top])) / len(drawn)) ** 0.5
    assert 0.05 < float(probability[top]) < 0.95
    assert abs(float(likely[top] - probability[top])) < 4 * spread


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="the interpreter is for machines without one")
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_a_step_over_the_kernels_reads_what_plain_torch_does() -> None:
    found = {}
    for kernels in ("torch", "triton"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.engine.interpreted_step"],
            env=os.environ
            | {
                "TRITON_INTERPRET": "1" if kernels == "triton" else "0",
                "INFILL_KERNELS": kernels,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found[kernels] = json.loads(done.stdout)
        assert found[kernels]["kernels"] == kernels

    for form, steps in found["torch"]["steps"].items():
        for (best, sample, entropy), (other_best, other_sample, other_entropy) in zip(
            steps, found["triton"]["steps"][form], strict=True
        ):
            assert best == other_best
            assert sample == other_sample
            torch.testing.assert_close(
                torch.tensor(entropy), torch.tensor(other_entropy), rtol=1e-2, atol=1e-3
            )


# The memory of a prompt


def assert_same(left: Memory, right: Memory) -> None:
    assert torch.equal(left.token_ids, right.token_ids)
    for (key, value), (other_key, other_value) in zip(left.layers, right.layers, strict=True):
        assert torch.equal(key, other_key)
        assert torch.equal(value, other_value)


@pytest.mark.parametrize("size", [WINDOW // 2, WINDOW - 1, WINDOW, 3 * WINDOW + 5])
@pytest.mark.parametrize("chunk", [16, 256])
def test_typing_gives_the_bits_of_encoding_from_scratch(model: Any, size: int, chunk: int) -> None:
    network = Network(model)
    ids = tokens(1, size)
    memory = network.encode(ids, chunk=chunk)

    for _ in range(12):
        ids = torch.cat((ids, tokens(1, 3, seed=int(ids.sum()))), -1)
        memory = network.encode(ids, memory, chunk=chunk)

        assert_same(network.encode(ids, chunk=chunk), memory)


def test_random_edits_anywhere_give_the_bits_of_encoding_from_scratch(model: Any) -> None:
    network = Network(model)
    draw = random.Random(0)
    ids = tokens(1, 2 * WINDOW)
    memory = network.encode(ids, chunk=32)

    for number in range(30):
        at, removed = draw.randrange(ids.shape[1]), draw.randrange(8)
        typed = tokens(1, draw.randrange(1, 8), seed=number)
        ids = torch.cat((ids[:, :at], typed, ids[:, at + removed :]), -1)[:, : 4 * WINDOW]
        memory = network.encode(ids, memory, chunk=32)

        assert_same(network.encode(ids, chunk=32), memory)


def test_chunks_change_no_key_by_more_than_rounding(model: Any) -> None:
    network = Network(model)
    ids = tokens(1, 3 * WINDOW)

    whole, pieces = network.encode(ids, chunk=1 << 20), network.encode(ids, chunk=16)

    for (key, value), (other_key, other_value) in zip(whole.layers, pieces.layers, strict=True):
        torch.testing.assert_close(key, other_key, rtol=1e-4, atol=2e-5)
        torch.testing.assert_close(value, other_value, rtol=1e-4, atol=2e-5)


def test_only_what_follows_the_last_shared_border_is_encoded(model: Any) -> None:
    network = Network(model)
    encoded: list[int] = []
    inner = network._encoder

    def count(**given: Any) -> Any:
        encoded.append(given["input_ids"].shape[1])
        return inner(**given)

    network._encoder = count
    ids = tokens(1, 100)
    memory = network.encode(ids, chunk=32)
    assert encoded == [32, 32, 32, 4]

    encoded.clear()
    network.encode(torch.cat((ids, tokens(1, 2, seed=1)), -1), memory, chunk=32)
    assert encoded == [6]

    encoded.clear()
    assert network.encode(ids, memory, chunk=32) is memory
    changed = ids.clone()
    changed[0, 40] += 1
    network.encode(changed, memory, chunk=32)
    assert encoded == [32, 32, 4]


def test_an_old_memory_still_holds_after_its_text_went_on(model: Any) -> None:
    network = Network(model)
    ids = tokens(1, 100)
    memory = network.encode(ids, chunk=32)
    before = [(key.clone(), value.clone()) for key, value in memory.layers]

    network.encode(torch.cat((ids[:, :70], tokens(1, 50, seed=1)), -1), memory, chunk=32)

    for (key, value), (old_key, old_value) in zip(memory.layers, before, strict=True):
        assert torch.equal(key, old_key)
        assert torch.equal(value, old_value)


def test_a_cancelled_encoding_keeps_what_it_has(model: Any) -> None:
    network = Network(model)
    ids = tokens(1, 100)
    asked: list[int] = []

    memory = network.encode(
        ids, chunk=32, budget=Budget(cancelled=lambda: asked.append(1) or len(asked) > 2)
    )

    assert memory.length == 64
    assert shared(memory, ids) == 64
    assert_same(network.encode(ids, memory, chunk=32), network.encode(ids, chunk=32))
    nothing = network.encode(ids, budget=Budget(cancelled=lambda: True))
    assert nothing.length == 0
    assert_same(network.encode(ids, nothing), network.encode(ids))


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


# The engine


REQUEST = InfillRequest(
    prefix="def area(width, height):\n    ret",
    suffix="\n\n\nclass Point:\n    def __init__(self, x, y):\n        self.x = x\n",
    language_id="python",
    num_candidates=3,
)


class Watch:
    """A denoiser that notes the canvas it is given at every step."""

    def __init__(self, inner: DiffusionGemma) -> None:
        self.inner = inner
        self.seen: list[Canvas] = []
        self.sides_encoded: list[Sides] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def encode(self, sides: Sides, *given: Any, **named: Any) -> Memory:
        self.sides_encoded.append(sides)
        return self.inner.encode(sides, *given, **named)

    def step(self, canvas: Canvas, *given: Any, **named: Any) -> Any:
        self.seen.append(canvas)
        return self.inner.step(canvas, *given, **named)


def test_text_comes_back_for_text(engine: LocalEngine) -> None:
    drafts = list(engine.infill(REQUEST))

    final = drafts[-1]
    assert final.text == final.fills[0]
    assert final.tokens > 0
    assert final.steps >= 1
    assert final.likelihood < 0
    assert final.join < 0
    assert len(final.others) >= 2
    assert len({draft.text for draft in (final, *final.others)}) == 1 + len(final.others)
    assert final.cells[-1].state == "pinned"


def test_the_best_join_wins(engine: LocalEngine) -> None:
    *_, final = engine.infill(replace(REQUEST, max_lines=1))

    ranks = [draft.likelihood + draft.join for draft in (final, *final.others)]
    assert ranks == sorted(ranks, reverse=True)


def test_the_answer_depends_on_nothing_asked_before(
    denoiser: DiffusionGemma, engine: LocalEngine
) -> None:
    def last(engine: LocalEngine, request: InfillRequest) -> tuple[str, float, float]:
        *_, draft = engine.infill(request)
        return draft.text, draft.likelihood, draft.join

    once = last(LocalEngine(denoiser), REQUEST)
    engine.warm(replace(REQUEST, prefix=REQUEST.prefix[:-5]))
    last(engine, replace(REQUEST, prefix="x = 1\n" + REQUEST.prefix))
    last(engine, replace(REQUEST, suffix=""))

    assert last(engine, REQUEST) == once
    assert last(engine, REQUEST) == once


def test_another_seed_gives_other_noise(engine: LocalEngine) -> None:
    texts = {[*engine.infill(replace(REQUEST, seed=seed))][-1].text for seed in range(3)}

    assert len(texts) > 1


def test_special_tokens_are_neither_noise_nor_answer_and_pins_stay(
    denoiser: DiffusionGemma,
) -> None:
    watch = Watch(denoiser)
    forbidden = denoiser._forbidden

    drafts = list(LocalEngine(watch).infill(replace(REQUEST, temperature=1.0)))

    assert len(watch.seen) >= 2
    starts: dict[int, Canvas] = {}
    for canvas in watch.seen:
        start = starts.setdefault(id(canvas.hole), canvas)
        assert not bool(forbidden[canvas.token_ids[canvas.free]].any())
        assert torch.equal(canvas.token_ids[~canvas.free], start.token_ids[~start.free])
    assert all("<" not in draft.text or "|" not in draft.text for draft in drafts)


def test_pinned_text_comes_back_verbatim(engine: LocalEngine) -> None:
    middle = ("for ", Hole(max_tokens=4), " in enumerate(", Hole(max_tokens=6), "):")

    *_, draft = engine.infill(replace(REQUEST, middle=middle))

    assert draft.text.startswith("for ")
    assert " in enumerate(" in draft.text
    assert draft.text.endswith("):")
    assert draft.text == middle[0] + draft.fills[0] + middle[2] + draft.fills[1] + middle[4]
    assert draft.others


def test_a_joined_hole_is_done_and_an_open_one_goes_on_in_the_next_canvas(
    denoiser: DiffusionGemma, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(denoiser)
    closed = [*LocalEngine(watch).infill(replace(REQUEST, num_candidates=1))][-1]
    assert len(watch.sides_encoded) == 1
    assert closed.tokens <= 64

    watch = Watch(denoiser)
    monkeypatch.setattr(diffusion_gemma, "OPEN_LENGTH", 32)
    monkeypatch.setattr(diffusion_gemma, "HOLE_LENGTHS", (32,))
    long = replace(REQUEST, prefix="for index in", middle=(Hole(max_tokens=80),))
    assert denoiser.sides(long).healed_prefix == b""
    draft = [*LocalEngine(watch).infill(long)][-1]

    first, second, third = watch.sides_encoded
    assert len(second.prefix_ids) == len(first.prefix_ids) + 32
    assert len(third.prefix_ids) == len(first.prefix_ids) + 64
    assert draft.tokens == 80
    *_, last = watch.seen
    assert last.free.tolist() == [[True] * 16 + [False] * 16]


def test_a_long_block_may_span_canvases_as_published(denoiser: DiffusionGemma) -> None:
    request = InfillRequest(prefix="def f():", suffix="\n\ndef g(): ...\n")
    lengths = denoiser.hole_lengths(request)
    assert lengths == (16, 32, 64, 128)

    canvas = denoiser.canvas([0], lengths, denoiser.sides(request), request)

    assert canvas.token_ids.shape == (4, 128)
    assert canvas.free.sum(-1).tolist() == [16, 32, 64, 128]


@pytest.mark.parametrize("allowed_steps", [0, 1, 3])
def test_a_cancelled_request_makes_no_further_step(
    denoiser: DiffusionGemma, allowed_steps: int
) -> None:
    watch = Watch(denoiser)

    drafts = list(
        LocalEngine(watch).infill(
            REQUEST, budget=Budget(cancelled=lambda: len(watch.seen) >= allowed_steps)
        )
    )

    assert len(watch.seen) == allowed_steps
    assert len(drafts) == allowed_steps
    assert all(draft.likelihood != draft.likelihood for draft in drafts)  # none is final


def test_a_deadline_ends_with_the_best_so_far(denoiser: DiffusionGemma) -> None:
    watch = Watch(denoiser)
    late = Budget(deadline=time.monotonic() - 1)

    *_, draft = LocalEngine(watch).infill(REQUEST, budget=late)

    assert len(watch.seen) == 1
    assert draft.steps == 1
    assert draft.likelihood < 0
    assert not draft.converged


def test_scores_are_the_models_own_log_probabilities(folder: Path) -> None:
    from transformers import DiffusionGemmaForBlockDiffusion

    denoiser = load_diffusion_gemma(EngineConfig(model=str(folder)))
    model = DiffusionGemmaForBlockDiffusion.from_pretrained(folder)
    sides = denoiser.sides(REQUEST)
    memory = denoiser.encode(sides, None)
    rows = [denoiser.tokens("return width"), denoiser.tokens("for x in y:\n    pass")]
    with torch.inference_mode():
        scored = denoiser.score(memory, sides, rows)

    for row, score in zip(rows, scored, strict=True):
        width = max(map(len, rows)) + diffusion_gemma.TAIL_TOKENS
        ids, _ = denoiser._row([row], width, sides)
        logits = theirs(model, torch.tensor([sides.prefix_ids]), torch.tensor([ids]), None)
        each = logits[0].log_softmax(-1)[torch.arange(width), torch.tensor(ids)]
        join = each[len(row) : len(row) + diffusion_gemma.JOIN_TOKENS]
        assert score.likelihood == pytest.approx(float(each[: len(row)].mean()), abs=1e-3)
        assert score.join == pytest.approx(float(join.mean()), abs=1e-3)


def test_zero_steps_of_text_score_too(denoiser: DiffusionGemma) -> None:
    sides = denoiser.sides(REQUEST)
    memory = denoiser.encode(sides, None)

    with torch.inference_mode():
        (scored,) = denoiser.score(memory, sides, [[]])

    assert scored.likelihood == 0
    assert scored.join < 0


def test_greedy_draws_no_samples(denoiser: DiffusionGemma) -> None:
    request = replace(REQUEST, temperature=0.0)
    sides = denoiser.sides(request)
    canvas = denoiser.canvas([0], (8,), sides, request)

    assert denoiser.config(canvas, request, sides).noise.greedy
    warm = denoiser.config(canvas, replace(request, temperature=0.5), sides)
    assert not warm.noise.greedy
    assert warm.schedule.temperature(1, 8) == pytest.approx(0.4)


# Loading


def test_a_folder_loads_through_load_engine_and_says_how_far_it_is(folder: Path) -> None:
    told: list[tuple[str, float]] = []

    engine = load_engine(EngineConfig(model=str(folder)), lambda *step: told.append(step))

    info = engine.describe()
    assert info.dtype == "float32"
    assert info.noise == "uniform"
    assert info.source == str(folder)
    assert {stage for stage, _ in told} == {"loading weights"}
    shares = [done for _, done in told]
    assert len(shares) > 10
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_weights_can_be_computed_in_another_type(folder: Path) -> None:
    denoiser = load_diffusion_gemma(EngineConfig(model=str(folder), dtype="bfloat16"))

    assert denoiser.describe().dtype == "bfloat16"
    assert denoiser._network.dtype == torch.bfloat16
    *_, draft = LocalEngine(denoiser).infill(replace(REQUEST, max_lines=1))
    assert draft.tokens > 0


def test_the_checkpoints_own_knobs_are_used(folder: Path, tmp_path: Path) -> None:
    copied = copy(folder, tmp_path)
    told = {
        "max_denoising_steps": 7,
        "t_min": 0.2,
        "t_max": 0.6,
        "confidence_threshold": 0.05,
        "sampler_config": {"entropy_bound": 0.7, "_cls_name": "EntropyBoundSamplerConfig"},
    }
    (copied / "generation_config.json").write_text(json.dumps(told))
    denoiser = load_diffusion_gemma(EngineConfig(model=str(copied)))
    sides = denoiser.sides(REQUEST)
    canvas = denoiser.canvas([0], (8,), sides, REQUEST)

    config = denoiser.config(canvas, REQUEST, sides)

    assert config.max_denoising_steps == 7
    assert config.sampler.bound == 0.7
    assert config.schedule.temperature(1, 7) == pytest.approx(0.6)


def copy(folder: Path, target: Path) -> Path:
    target = target / "copy"
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def describe(folder: Path, **changes: Any) -> None:
    description = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(description | changes))


def rewrite(folder: Path, change: Any) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def shrink(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def reshape(tensors: dict[str, Tensor]) -> None:
    tensors["model.decoder.norm.weight"] = torch.ones(7)


def foreign_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"a": 0, "b": 100_000}, unk_token="a")).save(
        str(folder / "tokenizer.json")
    )


def unchatty_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(folder / "tokenizer.json"))


BROKEN = {
    "no config": (lambda f: (f / "config.json").unlink(), "no config.json"),
    "another model": (lambda f: describe(f, model_type="gemma4"), "'gemma4'; only diffusion_gemma"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "download it again"),
    "pickled weights": (pickle_only, "pickled weights are never read"),
    "cut short": (shrink, "is cut short; download it again"),
    "not safetensors": (
        lambda f: (f / "model.safetensors").write_bytes(b"junk" * 99),
        "no safetensors file; download it again",
    ),
    "a weight is missing": (
        lambda f: rewrite(f, lambda t: t.pop("model.decoder.layers.1.router.scale")),
        "lacks",
    ),
    "a weight has another shape": (lambda f: rewrite(f, reshape), "cannot be loaded"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer.json"),
    "unreadable tokenizer": (
        lambda f: (f / "tokenizer.json").write_text("{}"),
        "cannot read the tokenizer",
    ),
    "larger tokenizer": (foreign_tokenizer, "ids up to 100000, the model only"),
    "tokenizer without turns": (unchatty_tokenizer, "its chat is not DiffusionGemma's"),
    "quantised elsewhere": (
        lambda f: describe(f, quantization_config={"quant_method": "gptq", "bits": 4}),
        "quantised by 'gptq'",
    ),
    "an odd type": (lambda f: describe(f, dtype="float8_e5m2"), "stored as float8_e5m2; set dtype"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_does_not_fit_is_said_with_the_remedy(folder: Path, tmp_path: Path, what: str) -> None:
    damage, said = BROKEN[what]
    copied = copy(folder, tmp_path)
    damage(copied)

    with pytest.raises(ModelError, match=said.replace("(", r"\(")):
        load_diffusion_gemma(EngineConfig(model=str(copied)))


def test_too_little_memory_is_said_before_anything_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffusion_gemma, "free_memory", lambda device: 1 << 20)
    monkeypatch.setattr(diffusion_gemma, "_model_class", lambda: pytest.fail("loaded"))

    with pytest.raises(ModelError, match=r"cpu has 0\.0 GiB free; make a smaller"):
        load_diffusion_gemma(EngineConfig(model=str(folder)))


def test_memory_that_cannot_be_told_stops_nobody(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffusion_gemma, "free_memory", lambda device: None)

    assert load_diffusion_gemma(EngineConfig(model=str(folder))).describe().parameters > 300_000


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_device_that_is_not_there_is_an_error(folder: Path, device: str) -> None:
    with pytest.raises(ModelError, match="use cpu or auto"):
        load_diffusion_gemma(EngineConfig(model=str(folder), device=device))


@pytest.mark.parametrize("capability", [(8, 0), (8, 6)])
def test_fp8_is_refused_where_the_hardware_has_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "an old chip")

    with pytest.raises(ModelError, match=r"an old chip cannot compute with fp8 .* int4"):
        load_diffusion_gemma(EngineConfig(model=str(folder), device="cuda", dtype="fp8"))


def test_an_unknown_device_is_an_error(folder: Path) -> None:
    with pytest.raises(ModelError, match="device='abacus' is none of"):
        load_diffusion_gemma(EngineConfig(model=str(folder), device="abacus"))


@pytest.mark.parametrize("model", ["/no/such/folder", "no/such/folder", "nothing"])
def test_no_folder_and_no_hub_id_is_an_error(model: str) -> None:
    with pytest.raises(ModelError, match="name a folder that holds a model, or a hub id"):
        load_diffusion_gemma(EngineConfig(model=model))


def test_a_hub_id_that_cannot_be_had_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(ModelError, match="nobody/nothing is no folder here and cannot be down"):
        load_engine(EngineConfig(model="nobody/nothing"))


def test_a_hub_id_is_loaded_from_what_was_downloaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def download(
        name: str,
        *,
        allow_patterns: list[str],
        ignore_patterns: list[str],
        tqdm_class: Any = None,
    ) -> str:
        assert name == "somebody/something"
        assert ignore_patterns == ["*/*"]
        asked.append(allow_patterns)
        if tqdm_class is not None:
            with tqdm_class(total=0, initial=0, unit="B", disable=True) as bar:
                for total, size in ((100, 25), (200, 25), (200, 50), (200, 100)):
                    bar.total = total
                    bar.update(size)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    told: list[float] = []
    engine = load_engine(
        EngineConfig(model="somebody/something"),
        lambda what, done: told.append(done) if what.startswith("downloading") else None,
    )

    # Of 25, 50, 100 and 200 bytes of what was known to come; it never goes back.
    assert told == [0.0, 0.25, 0.5, 1.0, 1.0]

    assert engine.describe().model == "something"
    assert asked == [["*.json", "*.jinja"], ["*.json", "*.jinja", "*.safetensors"]]


def test_without_transformers_the_extra_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)

    with pytest.raises(ModelError, match=r"pip install 'infill-ls\[gpu\]'"):
        load_diffusion_gemma(EngineConfig(model=str(folder)))


def test_an_old_transformers_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    monkeypatch.delattr(transformers, "DiffusionGemmaForBlockDiffusion")
    monkeypatch.setattr(transformers, "__version__", "4.50.0")
    monkeypatch.setattr(type(transformers), "__getattr__", missing, raising=False)

    with pytest.raises(ModelError, match=r"transformers 4\.50\.0 does not know DiffusionGemma"):
        load_diffusion_gemma(EngineConfig(model=str(folder)))


def missing(module: Any, name: str) -> Any:
    raise AttributeError(name)


def test_a_checkpoints_own_code_is_never_run(folder: Path, tmp_path: Path) -> None:
    copied = copy(folder, tmp_path)
    ran = tmp_path / "ran"
    (copied / "modeling_evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    (copied / "configuration_evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    names = {"AutoConfig": "configuration_evil.Evil", "AutoModel": "modeling_evil.Evil"}
    describe(copied, auto_map=names)

    load_diffusion_gemma(EngineConfig(model=str(copied)))

    assert not ran.exists()


def test_the_loop_leaves_the_generators_of_others_alone(denoiser: DiffusionGemma) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)

    list(LocalEngine(denoiser).infill(replace(REQUEST, temperature=1.0)))

    assert torch.equal(torch.rand(1), expected)
