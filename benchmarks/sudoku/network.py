"""Two small transformers over Sudoku, of one size: a canvas model, and an autoregressive one.

A third of the heads each attends within a cell's row, column and box; that is all they know of
Sudoku. One block is passed through again and again, and the head reads it after every pass, so that
each learns as much as can be concluded by then. A token is a digit, or 0: a blank, or the mask.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

NetworkT = TypeVar("NetworkT", bound="SudokuNetwork")

VOCAB = 10
_UNSEEN = -1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class SudokuConfig:
    d_model: int = 96
    d_ff: int = 192
    heads: int = 1  # for each kind of unit
    layers: int = 2
    passes: int = 4  # through all of them


def norm(x: Tensor) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:])


def by_units(x: Tensor) -> list[Tensor]:
    """x [B, 81, 3, H, E] -> for rows, columns and boxes [B, 9, H, 9, E]: units and their cells."""
    rows, columns, boxes = x.unbind(2)
    return [
        rows.unflatten(1, (9, 9)).transpose(2, 3),
        columns.unflatten(1, (9, 9)).permute(0, 2, 3, 1, 4),
        boxes.unflatten(1, (3, 3, 3, 3)).permute(0, 1, 3, 5, 2, 4, 6).flatten(4, 5).flatten(1, 2),
    ]


def by_cells(units: list[Tensor]) -> Tensor:
    """The inverse: -> [B, 81, 3 * H * E]."""
    rows, columns, boxes = units
    parts = (
        rows.transpose(2, 3).flatten(1, 2),
        columns.permute(0, 3, 1, 2, 4).flatten(1, 2),
        boxes.unflatten(1, (3, 3)).unflatten(4, (3, 3)).permute(0, 1, 4, 2, 5, 3, 6).flatten(1, 4),
    )
    return torch.stack(parts, 2).flatten(2)


def attend(query: Tensor, key: Tensor, value: Tensor, unseen: Tensor | None = None) -> Tensor:
    scores = query @ key.mT * query.shape[-1] ** -0.5
    weights = (scores if unseen is None else scores + unseen).softmax(-1)
    return weights @ value


class Block(nn.Module):
    def __init__(self, config: SudokuConfig) -> None:
        super().__init__()
        d = config.d_model
        self.heads = config.heads
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.out = nn.Linear(d, d, bias=False)
        self.up = nn.Linear(d, config.d_ff, bias=False)
        self.down = nn.Linear(config.d_ff, d, bias=False)

    def project(self, x: Tensor) -> list[list[Tensor]]:
        """[B, 81, d] -> queries, keys and values by units."""
        qkv = self.qkv(norm(x)).unflatten(-1, (3, 3, self.heads, -1))
        return [by_units(each) for each in qkv.unbind(2)]

    def mlp(self, x: Tensor) -> Tensor:
        return x + self.down(functional.relu(self.up(norm(x))).square())

    def close(self, x: Tensor, attended: list[Tensor]) -> Tensor:
        return self.mlp(x + self.out(by_cells(attended)))

    def forward(self, x: Tensor) -> Tensor:
        units = zip(*self.project(x), strict=True)
        return self.close(x, [attend(*each) for each in units])


class SudokuNetwork(nn.Module):
    """What both have: the same tensors of the same shapes."""

    def __init__(self, config: SudokuConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(VOCAB, config.d_model)
        self.role = nn.Embedding(2, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.head = nn.Linear(config.d_model, VOCAB - 1, bias=False)
        for param in (self.embed.weight, self.role.weight):
            nn.init.normal_(param, std=0.5)
        nn.init.zeros_(self.head.weight)

    def logits(self, x: Tensor) -> Tensor:  # [B, 81, d] -> [B, 81, 9], of the digits 1 to 9
        found: Tensor = self.head(norm(x))
        return found


class CanvasNetwork(SudokuNetwork):
    """Sees the whole canvas, and which cells are free."""

    def forward(self, token_ids: Tensor, free: Tensor, passes: int = 0) -> list[Tensor]:
        """token_ids [B, 81] int64, free [B, 81] bool -> logits [B, 81, 9] after each pass, of
        which there are as many as usual, or `passes`."""
        x = self.embed(token_ids) + self.role(free.long())
        found = []
        for _ in range(passes or self.config.passes):
            for block in self.blocks:
                x = block(x)
            found.append(self.logits(x))
        return found


class AutoregressiveNetwork(SudokuNetwork):
    """Reads the whole puzzle, and writes the solution in reading order.

    The puzzle's cells see one another; the solution's slot i has the digit of cell i - 1, sees all
    of the puzzle's cells and the earlier digits in the units of cell i, and says the digit of i.
    """

    def forward(self, puzzle: Tensor, solution: Tensor, passes: int = 0) -> list[Tensor]:
        """puzzle, solution [B, 81] int64 -> logits [B, 81, 9] after each pass; those of a cell
        follow from the puzzle and the solution before that cell alone."""
        x = self.embed(puzzle) + self.role.weight[0]
        said = functional.pad(solution[:, :-1], (1, 0))
        y = self.embed(said) + self.role.weight[1]
        later = torch.full((9, 9), _UNSEEN).triu()
        unseen = torch.cat((torch.zeros(9, 9), later), -1)
        found = []
        for _ in range(passes or self.config.passes):
            for block in self.blocks:
                puzzles, solutions = block.project(x), block.project(y)
                # The digit of cell i stands in slot i + 1.
                moved = block.qkv(norm(functional.pad(y[:, 1:], (0, 0, 0, 1))))
                moved = moved.unflatten(-1, (3, 3, block.heads, -1))
                keys, values = (by_units(each) for each in moved.unbind(2)[1:])
                y = block.close(
                    y,
                    [
                        attend(q, torch.cat((k, own), -2), torch.cat((v, owned), -2), unseen)
                        for q, k, v, own, owned in zip(
                            solutions[0], *puzzles[1:], keys, values, strict=True
                        )
                    ],
                )
                x = block.close(x, [attend(*each) for each in zip(*puzzles, strict=True)])
            found.append(self.logits(y))
        return found

    def read(self, puzzle: Tensor) -> list[Tensor]:
        """Keys and values of the puzzle's cells in each block of each pass: [2, B, 81, 3, H, E]."""
        x = self.embed(puzzle) + self.role.weight[0]
        found = []
        for _ in range(self.config.passes):
            for block in self.blocks:
                qkv = block.qkv(norm(x)).unflatten(-1, (3, 3, block.heads, -1))
                found.append(qkv[:, :, 1:].movedim(2, 0))
                x = block(x)
        return found


def save(network: SudokuNetwork, path: Path, facts: dict[str, Any]) -> None:
    """Weights in float32; the options and some facts about them are the file's metadata."""
    metadata = {"config": json.dumps(asdict(network.config)), "facts": json.dumps(facts)}
    tensors = {name: each.contiguous() for name, each in network.state_dict().items()}
    save_file(tensors, path, metadata)


def load(kind: type[NetworkT], path: Path) -> tuple[NetworkT, dict[str, Any]]:
    """A network for inference, and the facts that were kept with it."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    network = kind(SudokuConfig(**json.loads(metadata["config"])))
    network.load_state_dict(state)
    return network.eval(), json.loads(metadata["facts"])
