"""The two-sided network as it is trained: its weights, and what its streams read.

One set of weights, three streams: the prefix is read forward and the suffix backward, and a canvas
between them sees both. `training_pass` computes it; `inference` computes the same from caches.

Shapes: D width, H query heads, K key/value heads, E = D / H head width, V vocabulary.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infill_engine.models.two_sided.config import TwoSidedConfig
from infill_engine.models.two_sided.induction import MAX_MATCH
from infill_engine.models.two_sided.inference import angles
from infill_engine.models.two_sided.layers import Block, norm, product
from infill_engine.models.two_sided.ngram_table import LEVELS, NgramTable, from_arrays
from infill_engine.models.two_sided.weights import read_weights, weights_in


class TwoSidedNetwork(nn.Module):
    """See the module."""

    def __init__(self, config: TwoSidedConfig) -> None:
        super().__init__()
        self.config = config
        self.split = config.split
        d = config.d_model
        self.embed = nn.Parameter(torch.empty(config.vocab_size, d))
        self.stream = nn.Parameter(torch.empty(3, d))
        self.induction = nn.Parameter(torch.empty(d, d))
        self.induction_length = nn.Parameter(torch.empty(MAX_MATCH + 1, d))
        if config.ngram_table:
            self.ngram = nn.Parameter(torch.empty(d, d))
            self.ngram_level = nn.Parameter(torch.empty(LEVELS + 1, d))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.table: NgramTable | None = None
        self.num_parameters = sum(parameter.numel() for parameter in self.parameters())
        # Row max_positions + p of the tables belongs to position p, which may be negative.
        # They are no buffers: .to(bfloat16) must not round the cosines of training.
        self._angles: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}
        self.reset()

    def reset(self) -> None:
        """Fresh weights: every block starts as the identity."""
        d = self.config.d_model
        nn.init.normal_(self.embed, std=0.02)
        nn.init.normal_(self.stream, std=0.02)
        nn.init.zeros_(self.induction)
        nn.init.zeros_(self.induction_length)
        if self.config.ngram_table:
            nn.init.zeros_(self.ngram)
            nn.init.zeros_(self.ngram_level)
        for block in self.layers:
            for name, weight in block.named_parameters():
                if name in ("qkv", "up"):
                    nn.init.normal_(weight, std=d**-0.5)
                else:
                    nn.init.zeros_(weight)

    @property
    def layers(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    @property
    def dtype(self) -> torch.dtype:
        """What activations are kept in."""
        return self.induction.dtype

    @property
    def device(self) -> torch.device:
        return self.embed.device

    def angles(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """cos and sin [2 * max_positions, E/2] of every position from -max_positions on."""
        key = (dtype, self.device)
        if key not in self._angles:
            cos, sin = (torch.from_numpy(part) for part in angles(self.config))
            self._angles[key] = cos.to(self.device, dtype), sin.to(self.device, dtype)
        return self._angles[key]

    def input_states(self, ids: Tensor, hints: Tensor, stream: int | Tensor) -> Tensor:
        """ids [...] and their hints [..., 4] -> [..., D].

        `stream` is that of all ids, or [...] of each.
        """
        return norm(self.lookup(ids) + self.stream[stream] + self.hint_states(hints))

    def hint_states(self, hints: Tensor) -> Tensor:  # [..., 4] -> [..., D]
        token, length, likely, level = hints.unbind(-1)
        x = F.linear(self.lookup(token), self.induction) + F.embedding(
            length, self.induction_length
        )
        if self.config.ngram_table:
            x = x + F.linear(self.lookup(likely), self.ngram)
            x = x + F.embedding(level, self.ngram_level)
        return x

    def lookup(self, ids: Tensor) -> Tensor:  # [...] -> [..., D]
        return F.embedding(ids, self.embed).to(self.dtype)

    def logits(self, hidden: Tensor) -> Tensor:  # [..., D] -> [..., V]
        return product(hidden, self.embed)


def load_network(
    path: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> TwoSidedNetwork:
    """The network with the weights of a file. Raises as `read_weights` does, and ValueError where
    they are not those of its configuration."""
    config, arrays, _ = read_weights(path)
    network = TwoSidedNetwork(config)
    if config.ngram_table:
        network.table = from_arrays(arrays)
    weights = weights_in(config, arrays)
    network.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    return network.to(device, dtype).eval().requires_grad_(False)
