import pytest
import torch
from torch import Tensor

from infill_kernels import experts, reference
from infill_kernels.formats import Fp8, Int4, dequantise, quantise_fp8, quantise_int4

FORMATS = {
    "dense": lambda weights: weights,
    "fp8": quantise_fp8,
    "int4": quantise_int4,
}
formats = pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)


def matrices(*shape: int, device: str) -> Tensor:
    return torch.randn(*shape, device=device) * shape[-1] ** -0.5


@formats
def test_moe_parts(form, dtype, device, check):
    tokens, k, count, width, hidden = 21, 2, 5, 192, 64
    x = torch.randn(tokens, width, device=device).to(dtype)
    chosen = torch.rand(tokens, count, device=device).topk(k)[1]
    weights = torch.rand(tokens, k, device=device)
    gate_up = form(matrices(count, 2 * hidden, width, device=device).to(dtype))
    down = form(matrices(count, width, hidden, device=device).to(dtype))

    check(
        experts.moe_parts(x, chosen, weights, gate_up, down),
        reference.moe_parts(x, chosen, weights, gate_up, down),
        reference.moe_parts(
            x.float(),
            chosen,
            weights,
            dequantise(gate_up, torch.float32),
            dequantise(down, torch.float32),
        ),
    )


def test_moe_sums_its_parts(device, check):
    x = torch.randn(9, 64, device=device)
    chosen = torch.rand(9, 4, device=device).topk(3)[1]
    weights = torch.rand(9, 3, device=device)
    given = matrices(4, 128, 64, device=device), matrices(4, 64, 64, device=device)
    plain = reference.moe(x, chosen, weights, *given)

    check(experts.moe(x, chosen, weights, *given), plain, plain)


def test_an_expert_of_nearly_all_tokens_has_more_than_one_tile(device, monkeypatch, check):
    monkeypatch.setattr(experts, "PAIRS_AT_ONCE", 16)
    x = torch.randn(75, 64, device=device)
    chosen = torch.zeros(75, 1, device=device).long()
    chosen[[3, 40, 74]] = 2
    weights = torch.rand(75, 1, device=device)
    given = matrices(4, 128, 64, device=device), matrices(4, 64, 64, device=device)
    plain = reference.moe_parts(x, chosen, weights, *given)

    check(experts.moe_parts(x, chosen, weights, *given), plain, plain)


def test_experts_that_nobody_chose_are_not_read(device):
    x = torch.randn(5, 64, device=device)
    chosen = torch.full((5, 1), 2, device=device)
    weights = torch.ones(5, 1, device=device)
    gate_up, down = matrices(4, 128, 64, device=device), matrices(4, 64, 64, device=device)
    expected = reference.moe_parts(x, chosen, weights, gate_up, down)
    for other in (0, 1, 3):
        gate_up[other] = down[other] = torch.nan

    torch.testing.assert_close(experts.moe_parts(x, chosen, weights, gate_up, down), expected)


def test_large_values_do_not_overflow_on_their_way_through_fp8(device, check):
    """Between the products stand numbers that bfloat16 holds and float16 does not."""
    x = torch.full((3, 64), 30.0, device=device, dtype=torch.bfloat16)
    chosen, weights = torch.zeros(3, 1, device=device).long(), torch.ones(3, 1, device=device)
    gate_up = quantise_fp8(torch.full((1, 128, 64), 0.4, device=device))
    down = quantise_fp8(1e-4 * torch.ones(1, 64, 64, device=device))
    given = chosen, weights
    wide = [dequantise(each, torch.float32) for each in (gate_up, down)]
    plain = reference.moe_parts(x, *given, gate_up, down)
    assert reference.gated(x.float() @ wide[0][0].t()).max() > 5e5

    check(
        experts.moe_parts(x, *given, gate_up, down),
        plain,
        reference.moe_parts(x.float(), *given, *wide),
    )


def test_no_token_makes_no_parts(device):
    none = torch.empty(0, 64, device=device)
    chosen, weights = torch.empty(0, 2, device=device).long(), torch.empty(0, 2, device=device)
    given = matrices(4, 128, 64, device=device), matrices(4, 64, 64, device=device)

    assert experts.moe_parts(none, chosen, weights, *given).shape == (0, 2, 64)


def columns(down: Fp8 | Int4, wanted: list[int], dtype: torch.dtype) -> list[list[float]]:
    """Columns of one expert's second matrix: what a token gets whose hidden state is one-hot.

    gelu(16) is 16, and 16 times 1/16 is 1, exactly in every format.
    """
    device, (_, width, _), hidden = down.codes.device, down.codes.shape, 64
    x = torch.zeros(len(wanted), width, device=device, dtype=dtype)
    gate_up = torch.zeros(1, 2 * hidden, width, device=device, dtype=dtype)
    for token, column in enumerate(wanted):
        x[token, token] = 1
        gate_up[0, column, token] = 16
        gate_up[0, hidden + column, token] = 1 / 16
    quantised = (quantise_fp8 if isinstance(down, Fp8) else quantise_int4)(gate_up)
    chosen = torch.zeros(len(wanted), 1, device=device, dtype=torch.int64)
    weights = torch.ones(len(wanted), 1, device=device)
    found: list[list[float]] = experts.moe_parts(x, chosen, weights, quantised, down)[:, 0].tolist()
    return found


def test_every_fp8_code_becomes_its_value(dtype, device):
    """All but the two that stand for no number; the small ones are denormal."""
    codes = torch.tensor([code for code in range(256) if code & 127 != 127], dtype=torch.uint8)
    codes = codes.to(device).view(torch.float8_e4m3fn)[None, :, None].expand(1, -1, 64)
    weights = Fp8(codes=codes.contiguous(), scale=torch.ones(1, 254, 1, device=device))

    (found,) = columns(weights, [5], dtype)

    assert found == codes[0, :, 0].float().tolist()


def test_every_int4_code_becomes_its_value(dtype, device):
    low, high = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    codes = (low | high << 4).flatten().to(device, torch.uint8)[None, :, None].expand(1, -1, 32)
    scale = torch.ones(1, 2, 256, device=device, dtype=dtype)
    scale[:, 1] = 0.5
    weights = Int4(codes=codes.contiguous(), scale=scale)

    first, second = columns(weights, [5, 37], dtype)  # of the first half and of the second

    assert first == (low.flatten() - 8.0).tolist()
    assert second == (0.5 * (high.flatten() - 8.0)).tolist()


def test_weights_of_another_type_than_x_are_refused(device):
    x = torch.randn(3, 64, device=device)
    chosen, weights = torch.zeros(3, 1, device=device).long(), torch.ones(3, 1, device=device)
    gate_up = matrices(1, 128, 64, device=device).half()

    with pytest.raises(AssertionError, match=r"weights are torch\.float16"):
        experts.moe_parts(x, chosen, weights, gate_up, matrices(1, 64, 64, device=device))
