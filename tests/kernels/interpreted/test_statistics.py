import pytest
import torch
from torch import Tensor

from infill_kernels import reference, statistics

SHAPES = [(3, 507), (2, 1024), (1, 2700)]


def tensor(value: float, device: str) -> Tensor:
    return torch.tensor([value], device=device)


def logits(rows: int, columns: int, dtype: torch.dtype, device: str) -> Tensor:
    """Rows from flat to sharp."""
    steepness = torch.linspace(0.5, 12, rows, device=device)[:, None]
    return (torch.randn(rows, columns, device=device) * steepness).to(dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("cap", [None, 30.0], ids=["uncapped", "capped"])
@pytest.mark.parametrize("masked", [False, True], ids=["all", "some allowed"])
def test_head_statistics(shape, cap, masked, dtype, device, check):
    raw = logits(*shape, dtype, device)
    raw[0, :5] = -torch.inf
    allowed = torch.rand(shape[1], device=device) < 0.8 if masked else None
    given = tensor(0.7, device), torch.tensor([2**40 + 12345], device=device)
    actual = statistics.head_statistics(raw, *given, cap=cap, allowed=allowed)
    plain = reference.head_statistics(raw, *given, cap=cap, allowed=allowed)
    truth = reference.head_statistics(raw.float(), *given, cap=cap, allowed=allowed)

    assert (actual.best == truth.best).all()
    assert (actual.sample == truth.sample).all()
    for name in ("entropy", "confidence", "log_sum_exp"):
        check(*(getattr(each, name) for each in (actual, plain, truth)))


def test_splits_agree_with_one_program_a_row(device, monkeypatch, check):
    raw = logits(2, 5000, torch.float32, device)
    given = tensor(0.6, device), torch.tensor([5], device=device)
    many = statistics.head_statistics(raw, *given)
    monkeypatch.setattr(statistics, "PROGRAMS", 1)
    one = statistics.head_statistics(raw, *given)

    assert (one.best == many.best).all()
    assert (one.sample == many.sample).all()
    check(one.entropy, many.entropy, many.entropy)


def test_temperature_0_is_greedy_and_tells_of_temperature_1(device, check):
    raw = logits(3, 700, torch.float32, device)
    seed = torch.tensor([3], device=device)
    cold = statistics.head_statistics(raw, tensor(0.0, device), seed)
    warm = reference.head_statistics(raw, tensor(1.0, device), seed)

    assert (cold.sample == cold.best).all()
    check(cold.entropy, warm.entropy, warm.entropy)


def test_of_equals_the_first_is_best(device):
    raw = torch.zeros(1, 3000, device=device)
    raw[0, [265, 521, 777, 1030, 2900]] = 5.0  # the first three are of one lane

    best = statistics.head_statistics(
        raw, tensor(1.0, device), torch.tensor([3], device=device)
    ).best

    assert best.tolist() == [265]


def test_a_one_hot_row_is_certain(device):
    raw = torch.full((1, 1500), -torch.inf, device=device)
    raw[0, 1234] = 0.0
    found = statistics.head_statistics(raw, tensor(0.8, device), torch.tensor([3], device=device))

    assert [each.item() for each in found] == [0.0, 1234, 1234, 1.0, 0.0]


def test_what_is_impossible_stays_so_under_a_cap(device):
    """A cap of 30 would otherwise lift it to -30, which is much beside -29."""
    raw = torch.full((1, 1500), -torch.inf, device=device)
    raw[0, 1234] = -60.0
    given = tensor(1.0, device), torch.tensor([3], device=device)

    found = statistics.head_statistics(raw, *given, cap=30.0)

    assert [each.item() for each in found[:4]] == [0.0, 1234, 1234, 1.0]


def test_another_seed_draws_another_sample_and_the_same_seed_the_same(device):
    raw = torch.zeros(4, 3000, device=device)
    first, again, other = (
        statistics.head_statistics(raw, tensor(1.0, device), torch.tensor([seed], device=device))
        for seed in (1, 1, 2)
    )

    assert (first.sample == again.sample).all()
    assert (first.sample != other.sample).all()


def test_samples_follow_the_distribution(device):
    """Chi-squared over 10 tokens and 4,096 draws; 27.9 is exceeded once in a thousand."""
    raw = torch.randn(1, 10, device=device)
    seed = torch.tensor([11], device=device)
    sample = reference.head_statistics(raw.expand(4096, -1), tensor(1.0, device), seed).sample
    expected = 4096 * raw[0].softmax(-1)
    chi = ((sample.bincount(minlength=10) - expected).square() / expected).sum()

    assert chi < 27.9


def test_row_statistics(dtype, device, check):
    x = logits(6, 700, dtype, device).view(2, 3, 700)
    actual, again = (
        statistics.row_statistics(
            x, temperature=0.7, generator=torch.Generator(device).manual_seed(1)
        )
        for _ in range(2)
    )
    plain, truth = (
        reference.row_statistics(
            each, temperature=0.7, generator=torch.Generator(device).manual_seed(1)
        )
        for each in (x, x.float())
    )

    assert (actual.best == truth.best).all()
    assert (actual.sample == again.sample).all()
    assert ((actual.sample >= 0) & (actual.sample < 700)).all()
    check(actual.entropy, plain.entropy, truth.entropy)
    check(actual.confidence, plain.confidence, truth.confidence)


@pytest.mark.parametrize("cap", [None, 30.0], ids=["uncapped", "capped"])
@pytest.mark.parametrize("masked", [False, True], ids=["all", "some allowed"])
def test_probabilities(cap, masked, dtype, device, check):
    raw = logits(3, 507, dtype, device)
    temperature = tensor(0.7, device)
    allowed = torch.rand(507, device=device) < 0.8 if masked else None
    options = {"dtype": dtype, "cap": cap, "allowed": allowed}
    known = reference.scaled_logits(raw, temperature, cap=cap, allowed=allowed).logsumexp(-1)

    check(
        statistics.probabilities(raw, temperature, known, **options),
        reference.probabilities(raw, temperature, known, **options),
        reference.probabilities(raw, temperature, known, **options | {"dtype": torch.float32}),
    )
