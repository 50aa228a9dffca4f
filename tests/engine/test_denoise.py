"""The loop against denoisers whose answer is known, and against brute force."""

import itertools
import time
from dataclasses import replace

import pytest
import torch

from infill_engine.budget import Budget
from infill_engine.canvas import PINNED, Canvas, close_holes, fill_ids, lay_out
from infill_engine.denoise import DenoiseConfig, denoise
from infill_engine.early_stop import Chained, Decided, Entropy, Progress, TokenStability
from infill_engine.noise import Absorbing, Uniform
from infill_engine.sampler import EntropyBound
from infill_engine.schedule import Constant, Linear
from infill_kernels import row_statistics
from infill_kernels.rows import RowStatistics
from tests.engine.oracle import END, MASK, VOCAB, Exact, Oracle, ids, letters


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stats_of(entropy: torch.Tensor, confidence: torch.Tensor | None = None) -> RowStatistics:
    tokens = torch.zeros_like(entropy, dtype=torch.int64)
    confidence = (-entropy).exp() if confidence is None else confidence
    return RowStatistics(entropy=entropy, best=tokens, sample=tokens, confidence=confidence)


def oracle_canvas(fills, middle, length):
    oracle = Oracle(fills=fills)
    oracle.start = 0
    row, hole = lay_out(middle, canvas_length=length, end_id=END)
    ends = torch.zeros(VOCAB, dtype=torch.bool)
    ends[END] = True
    canvas = Canvas(token_ids=torch.tensor([row]), hole=torch.tensor([hole]), ends=ends, end_id=END)
    from infill_engine.denoiser import Sides

    return oracle, canvas, Sides(prefix_ids=(), suffix_ids=())


CONFIGS = {
    "absorbing, entropy bound": DenoiseConfig(
        max_denoising_steps=16,
        noise=Absorbing(mask_id=MASK),
        sampler=EntropyBound(bound=0.1),
        schedule=Constant(),
        early_stop=Chained((Decided(), TokenStability())),
    ),
    "uniform, entropy bound, annealed": DenoiseConfig(
        max_denoising_steps=48,
        noise=Uniform(vocab_size=VOCAB),
        sampler=EntropyBound(bound=0.5),
        schedule=Linear(),
        early_stop=Chained((TokenStability(), Entropy(0.05))),
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_an_oracle_fills_two_holes_around_a_pin(name: str) -> None:
    oracle, canvas, memory = oracle_canvas(["foo", "quux"], [6, ids("("), 6], 16)

    *_, last = denoise(canvas, oracle, memory, CONFIGS[name], generator=generator())

    assert [letters(fill).decode() for fill in fill_ids(last.token_ids, canvas, 0)] == [
        "foo",
        "quux",
    ]
    assert bool(last.converged[0])


@pytest.mark.parametrize("name", CONFIGS)
def test_pins_are_never_written_and_cost_no_entropy(name: str) -> None:
    oracle, canvas, memory = oracle_canvas(["foo", "quux"], [6, ids("(pin)"), 5], 16)
    pinned = canvas.hole[0] == PINNED

    for denoised in denoise(canvas, oracle, memory, CONFIGS[name], generator=generator()):
        assert torch.equal(denoised.token_ids[0][pinned], canvas.token_ids[0][pinned])
        assert denoised.entropy[0][pinned].abs().max() == 0


def test_the_same_seed_gives_the_same_steps() -> None:
    config = replace(CONFIGS["uniform, entropy bound, annealed"], early_stop=Entropy(-1.0))
    config = replace(config, max_denoising_steps=5)

    def tokens(seed: int) -> list[list[int]]:
        joint = torch.rand([3] * 4, generator=generator(7))
        canvas = Canvas(
            token_ids=torch.zeros(2, 4, dtype=torch.int64),
            hole=torch.zeros(2, 4, dtype=torch.int64),
        )
        config_ = replace(config, noise=Uniform(vocab_size=3))
        return [
            d.token_ids.tolist()
            for d in denoise(canvas, Exact(joint / joint.sum()), None, config_,
                             generator=generator(seed))
        ]  # fmt: skip

    assert tokens(1) == tokens(1)


def test_one_cell_a_step_samples_the_joint_distribution() -> None:
    """With bound 0 one cell is drawn at a time from its true conditional: the joint, exactly."""
    joint = torch.rand(2, 2, 2, generator=generator(3)) ** 3
    joint /= joint.sum()
    rows = 6000
    canvas = Canvas(
        token_ids=torch.zeros(rows, 3, dtype=torch.int64),
        hole=torch.zeros(rows, 3, dtype=torch.int64),
    )
    config = DenoiseConfig(
        max_denoising_steps=3,
        noise=Absorbing(mask_id=2, correction=2.0),
        sampler=EntropyBound(bound=0.0),
        schedule=Constant(1.0),
        early_stop=Decided(),
    )

    *_, last = denoise(canvas, Exact(joint), None, config, generator=generator(5))

    counts = torch.zeros(2, 2, 2)
    for row in last.token_ids.tolist():
        counts[tuple(row)] += 1
    expected = joint * rows
    chi_square = float(((counts - expected) ** 2 / expected.clamp(min=1e-9)).sum())
    assert chi_square < 24.3, "7 degrees of freedom, p = 0.001"


def test_drawing_all_cells_at_once_does_not_sample_the_joint() -> None:
    """The check above can fail: an unbounded sampler draws the cells independently."""
    joint = torch.zeros(2, 2, 2)
    joint[0, 0, 0] = joint[1, 1, 1] = 0.5
    canvas = Canvas(
        token_ids=torch.zeros(500, 3, dtype=torch.int64),
        hole=torch.zeros(500, 3, dtype=torch.int64),
    )
    config = DenoiseConfig(
        max_denoising_steps=3,
        noise=Absorbing(mask_id=2, correction=2.0),
        sampler=EntropyBound(bound=99.0),
        schedule=Constant(1.0),
        early_stop=Decided(),
    )

    *_, last = denoise(canvas, Exact(joint), None, config, generator=generator(5))

    mixed = [row for row in last.token_ids.tolist() if len(set(row)) > 1]
    assert len(mixed) > 200


def test_greedy_decoding_finds_the_most_probable_row_of_a_peaked_joint() -> None:
    for seed in range(20):
        joint = torch.rand(3, 3, 3, 3, generator=generator(seed)) * 0.05
        peak = tuple(torch.randint(3, (4,), generator=generator(seed + 100)).tolist())
        joint[peak] = 30.0
        canvas = Canvas(
            token_ids=torch.zeros(1, 4, dtype=torch.int64),
            hole=torch.zeros(1, 4, dtype=torch.int64),
        )
        config = replace(
            CONFIGS["absorbing, entropy bound"], noise=Absorbing(mask_id=3), max_denoising_steps=4
        )

        *_, last = denoise(canvas, Exact(joint / joint.sum()), None, config, generator=generator())

        assert tuple(last.token_ids[0].tolist()) == peak


def test_the_entropy_bound_accepts_what_brute_force_accepts() -> None:
    for seed in range(300):
        entropy = torch.rand(1, 5, generator=generator(seed))
        open_cells = torch.rand(1, 5, generator=generator(seed + 1000)) < 0.7
        bound = float(torch.rand(1, generator=generator(seed + 2000)) * 1.5)

        accepted = EntropyBound(bound=bound).accept(
            stats_of(entropy), open_cells, torch.tensor([1])
        )

        cells = [i for i in range(5) if open_cells[0, i]]
        best: tuple[int, ...] = ()
        for size in range(1, len(cells) + 1):
            for subset in itertools.combinations(cells, size):
                values = sorted(float(entropy[0, i]) for i in subset)
                others = [float(entropy[0, i]) for i in cells if i not in subset]
                lowest = not others or values[-1] <= min(others)
                if lowest and (size == 1 or sum(values[:-1]) <= bound) and size > len(best):
                    best = subset
        assert sorted(accepted[0].nonzero().flatten().tolist()) == sorted(best)


def test_the_quota_is_met_by_the_most_certain_cells() -> None:
    entropy = torch.tensor([[0.5, 0.1, 0.9, 0.3], [0.4, 0.2, 0.1, 0.3]])
    open_cells = torch.tensor([[True, True, True, True], [True, True, False, False]])

    accepted = EntropyBound(bound=0.0).accept(stats_of(entropy), open_cells, torch.tensor([2, 5]))

    assert accepted.tolist() == [[False, True, False, True], [True, True, False, False]]


def test_absorbing_noise_is_gone_within_the_step_cap() -> None:
    """Even a denoiser that knows nothing ends with every cell decided."""

    class Clueless:
        def step(self, canvas, memory, state, *, temperature, generator):
            logits = torch.zeros(*canvas.token_ids.shape, VOCAB)
            logits[..., : END + 1] = -torch.inf
            return row_statistics(logits, temperature=0, generator=generator), None

    for cap in (1, 3, 7):
        config = replace(CONFIGS["absorbing, entropy bound"], max_denoising_steps=cap)
        canvas = Canvas(
            token_ids=torch.zeros(2, 7, dtype=torch.int64),
            hole=torch.zeros(2, 7, dtype=torch.int64),
        )
        *_, last = denoise(canvas, Clueless(), None, config, generator=generator())
        assert last.num_steps <= cap
        assert bool(last.decided.all())


def test_a_sure_model_corrects_what_it_decided_earlier() -> None:
    class SecondThoughts:
        calls = 0

        def step(self, canvas, memory, state, *, temperature, generator):
            self.calls += 1
            logits = torch.zeros(1, 4, VOCAB)
            target = 50 if self.calls == 1 else 60
            logits[..., target] = 3.0 if self.calls == 1 else 20.0
            return row_statistics(logits, temperature=0, generator=generator), None

    config = replace(CONFIGS["absorbing, entropy bound"], sampler=EntropyBound(bound=0.0))
    canvas = Canvas(
        token_ids=torch.zeros(1, 4, dtype=torch.int64), hole=torch.zeros(1, 4, dtype=torch.int64)
    )

    steps = list(denoise(canvas, SecondThoughts(), None, config, generator=generator()))

    assert steps[-1].token_ids.tolist() == [[60] * 4]
    assert bool(steps[-1].converged[0])


@pytest.mark.parametrize(("doubt", "read"), [(0.5, [60, 60]), (0.9, [50, 60]), (None, [50, 60])])
def test_a_doubted_cell_is_noise_again_and_is_decided_anew(
    doubt: float | None, read: list[int]
) -> None:
    """The other token is too unlikely to replace what was accepted, and likely enough to doubt."""

    class Doubts:
        def step(self, canvas, memory, state, *, temperature, generator):
            logits = torch.full((1, 2, VOCAB), -torch.inf)
            logits[..., 50], logits[..., 60] = 0.0, 20.0
            first, second = canvas.token_ids[0].tolist()
            if (first, second) == (MASK, MASK):
                logits[0, 0, 50], logits[0, 0, 60] = 20.0, 0.0
                logits[0, 1, 50] = 20.0
            elif first == 50:
                logits[0, 0, 60] = 0.847  # a probability of 0.7
            return row_statistics(logits, temperature=0, generator=generator), None

    config = replace(
        CONFIGS["absorbing, entropy bound"],
        noise=Absorbing(mask_id=MASK, doubt=doubt),
        sampler=EntropyBound(bound=0.0),
        max_denoising_steps=6,
    )
    canvas = Canvas(
        token_ids=torch.zeros(1, 2, dtype=torch.int64), hole=torch.zeros(1, 2, dtype=torch.int64)
    )

    steps = list(denoise(canvas, Doubts(), None, config, generator=generator()))

    assert steps[-1].token_ids.tolist() == [read]
    assert bool(steps[-1].converged[0])
    noise_again = [step.decided[0, 0].item() for step in steps]
    assert (False in noise_again) == (doubt == 0.5)


def test_cancellation_ends_the_run_within_one_step() -> None:
    oracle, canvas, memory = oracle_canvas(["abcdefgh" * 2], [16], 16)
    config = replace(CONFIGS["absorbing, entropy bound"], early_stop=Entropy(-1.0))
    stop = False

    def stop_now() -> None:
        nonlocal stop
        stop = oracle.steps == 3

    oracle.on_step = stop_now
    steps = list(
        denoise(
            canvas,
            oracle,
            memory,
            config,
            generator=generator(),
            budget=Budget(cancelled=lambda: stop),
        )
    )

    assert len(steps) == 3 == oracle.steps


def test_a_deadline_gives_the_best_so_far_after_at_least_one_step() -> None:
    oracle, canvas, memory = oracle_canvas(["abcdefgh" * 2], [16], 16)
    config = replace(CONFIGS["absorbing, entropy bound"], early_stop=Entropy(-1.0))

    steps = list(
        denoise(
            canvas,
            oracle,
            memory,
            config,
            generator=generator(),
            budget=Budget(deadline=time.monotonic()),
        )
    )

    assert len(steps) == 1
    assert letters(steps[0].token_ids[0].tolist()).decode() == "abcdefgh" * 2
    assert not bool(steps[0].converged[0])


def test_a_row_that_is_done_is_frozen_while_the_others_go_on() -> None:
    class OneRowRestless:
        calls = 0

        def step(self, canvas, memory, state, *, temperature, generator):
            self.calls += 1
            logits = torch.zeros(2, 3, VOCAB)
            logits[0, :, 50 if self.calls < 4 else 51] = 30.0
            logits[1, :, 50 + self.calls] = 30.0
            return row_statistics(logits, temperature=0, generator=generator), None

    config = replace(
        CONFIGS["uniform, entropy bound, annealed"], schedule=Constant(), max_denoising_steps=6
    )
    canvas = Canvas(
        token_ids=torch.zeros(2, 3, dtype=torch.int64), hole=torch.zeros(2, 3, dtype=torch.int64)
    )

    steps = list(denoise(canvas, OneRowRestless(), None, config, generator=generator()))

    assert steps[-1].token_ids.tolist() == [[50] * 3, [56] * 3]
    assert steps[-1].converged.tolist() == [True, False]


def test_the_entropy_stop_averages_over_the_hole_alone() -> None:
    free = torch.tensor([[True, False, False, False]])
    progress = Progress(
        read=torch.zeros(1, 4, dtype=torch.int64),
        previous=torch.zeros(1, 4, dtype=torch.int64),
        entropy=torch.tensor([[0.016, 0.0, 0.0, 0.0]]),
        free=free,
        undecided=~free & False,
    )

    assert Entropy(0.005).done(progress).tolist() == [False]
    assert Entropy(0.02).done(progress).tolist() == [True]


def test_whatever_follows_an_end_in_its_hole_is_end_and_other_holes_are_left_alone() -> None:
    row, hole = lay_out([4, ids("|"), 3], canvas_length=10, end_id=END)
    ends = torch.zeros(VOCAB, dtype=torch.bool)
    ends[END] = ends[ids("\n")[0]] = True
    canvas = Canvas(token_ids=torch.tensor([row]), hole=torch.tensor([hole]), ends=ends, end_id=END)
    tokens = torch.tensor([[*ids("ab\nd|xyz"), END, END]])
    decided = torch.ones_like(tokens, dtype=torch.bool)

    closed, _ = close_holes(tokens, decided, canvas)

    assert closed.tolist() == [[*ids("ab"), END, END, *ids("|xyz"), END, END]]
    assert fill_ids(closed, canvas, 0) == [ids("ab"), ids("xyz")]


def test_what_is_pinned_behind_the_only_hole_is_left_alone() -> None:
    row, hole = lay_out([ids("<"), 4, ids("|")], canvas_length=8, end_id=END)
    ends = torch.zeros(VOCAB, dtype=torch.bool)
    ends[END] = True
    canvas = Canvas(
        token_ids=torch.tensor([row] * 2), hole=torch.tensor([hole] * 2), ends=ends, end_id=END
    )
    one, other = [*ids("<a"), END, *ids("bc|"), END, END], [*ids("<abcd|"), END, END]
    tokens = torch.tensor([one, other])
    decided = tokens != ids("b")[0]

    closed, settled = close_holes(tokens, decided, canvas)

    assert closed.tolist() == [[*ids("<a"), END, END, END, *ids("|"), END, END], other]
    assert settled.tolist() == [[True] * 8, [each != ids("b")[0] for each in other]]


def test_an_undecided_end_closes_nothing() -> None:
    row, hole = lay_out([4], canvas_length=4, end_id=END)
    ends = torch.zeros(VOCAB, dtype=torch.bool)
    ends[END] = True
    canvas = Canvas(token_ids=torch.tensor([row]), hole=torch.tensor([hole]), ends=ends, end_id=END)
    tokens = torch.tensor([[*ids("a"), END, *ids("cd")]])

    closed, _ = close_holes(tokens, torch.tensor([[True, False, True, True]]), canvas)

    assert torch.equal(closed, tokens)


def test_the_schedule_is_the_reference_s() -> None:
    schedule = Linear(start=0.8, end=0.4)

    assert schedule.temperature(1, 48) == pytest.approx(0.8)
    assert schedule.temperature(48, 48) == pytest.approx(0.4 + 0.4 / 48)
