import pytest
import torch

from infill_engine.config import EngineConfig
from infill_engine.models.two_sided.config import TwoSidedConfig
from infill_engine.models.two_sided.denoiser import TwoSidedDenoiser
from infill_engine.models.two_sided.loading import WEIGHTS
from infill_engine.models.two_sided.network import TwoSidedNetwork
from infill_engine.models.two_sided.plain import of_module
from infill_engine.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def denoiser() -> TwoSidedDenoiser:
    torch.manual_seed(0)
    tokenizer = Tokenizer(WEIGHTS / "tokenizer.json")
    config = TwoSidedConfig(
        vocab_size=tokenizer.vocab_size, d_model=32, num_layers=2, num_heads=4, d_ff=48
    )
    network = TwoSidedNetwork(config).to(torch.float64).eval().requires_grad_(False)
    for parameter in network.parameters():  # fresh blocks are the identity
        torch.nn.init.normal_(parameter, std=0.2)
    return TwoSidedDenoiser(of_module(network), tokenizer, EngineConfig(), "random")
