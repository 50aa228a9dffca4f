"""Small networks with random weights, a text, and what they say of it."""

import numpy as np
import torch
from numpy.typing import NDArray

from infill_engine.models.two_sided.config import TwoSidedConfig
from infill_engine.models.two_sided.denoiser import SidesMemory, TwoSidedDenoiser
from infill_engine.models.two_sided.network import TwoSidedNetwork
from infill_engine.models.two_sided.ngram_table import NgramTable, contexts, packed

SOURCE = (
    'def area(width, height):\n    """The area of a rectangle — in m²."""\n'
    "    if width < 0:\n        raise ValueError(width)\n    return width * height\n\n\n"
) * 12
CONFIG = TwoSidedConfig(
    vocab_size=100, d_model=32, num_layers=3, num_heads=4, num_kv_heads=2, d_ff=48
)


def model(config: TwoSidedConfig = CONFIG) -> TwoSidedNetwork:
    """In float64, with weights so large that no mistake hides."""
    torch.manual_seed(0)
    made = TwoSidedNetwork(config).double()
    with torch.no_grad():
        for param in made.parameters():
            torch.nn.init.normal_(param, std=0.3)
    if config.ngram_table:
        made.table = table()
    return made


def table() -> NgramTable:
    """Two of three contexts of one or two of the few tokens that are read."""
    ids = [*((a,) for a in range(9)), *((a, b) for a in range(9) for b in range(9))]
    kept = [each for at, each in enumerate(ids) if at % 3]
    keys = np.array([contexts(np.array(each), len(each))[0] for each in kept])
    values = packed(np.array([sum(each) % 9 for each in kept]), np.linspace(0, 1, len(kept)))
    order = np.argsort(keys)
    return NgramTable(keys[order], values[order])


def canvas_logits(denoiser: TwoSidedDenoiser, memory: SidesMemory) -> NDArray[np.float64]:
    """Of five cells that hold nothing."""
    network = denoiser._network
    context = network.canvas_context(memory.prefix, memory.suffix, 1, 5)
    return network.head.matrix(network.step(context, np.full((1, 5), 1)))
