"""The two published loops, told again plainly over transformers' Qwen2 under a full mask.

DreamOn: `eval/generator.py` of DreamLM/DreamOn. Open-dCoder: `_mdm_sample` with `alg="p2"` of
pengzhangzhi/Open-dLLM. Texts are lists, one cell at a time; nothing is cached or batched.
"""

from typing import Any

import torch
from torch import Tensor

from tests.engine.tiny_qwen import EOS, EXPAND, MASK


def full_attention(model: Any, ids: Tensor) -> Tensor:
    """transformers' logits [B, L, V], with every token seeing every other."""
    batch, length = ids.shape
    everything = torch.zeros(batch, 1, length, length)
    with torch.inference_mode():
        logits: Tensor = model(
            input_ids=ids, attention_mask={"full_attention": everything}, use_cache=False
        ).logits
    return logits


def shifted(model: Any, ids: list[int]) -> Tensor:
    """What is said of each cell [L, V]: the token before it says it."""
    logits = full_attention(model, torch.tensor([ids]))[0]
    return torch.cat((logits[:1], logits[:-1]))


def sharpened(logits: Tensor, temperature: float, top_p: float) -> Tensor:
    """Probabilities of logits [R, V], without the unlikely tail."""
    probability = (logits / temperature if temperature else logits).softmax(-1)
    if temperature and top_p < 1:
        for row in probability:
            order = row.argsort(descending=True)
            kept = 1 + int((row[order].cumsum(0) <= top_p).sum())
            row[order[kept:]] = 0
        probability = probability / probability.sum(-1, keepdim=True)
    return probability


def drawn(probability: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    if temperature == 0:
        return probability.argmax(-1)
    return torch.multinomial(probability, 1, generator=generator)[:, 0]


def dreamon(
    model: Any,
    prefix: list[int],
    suffix: list[int],
    *,
    start: int,
    most: int,
    forbidden: list[int],
    temperature: float = 0.0,
    top_p: float = 1.0,
    generator: torch.Generator,
) -> tuple[list[int], int]:
    """The hole's tokens and the number of passes; every pass decides the one surest cell."""
    ids, size, budget, passes = [*prefix, *[MASK] * start, *suffix], start, most, 0
    while MASK in ids:
        passes += 1
        cells = [at for at, token in enumerate(ids) if token == MASK]
        logits = shifted(model, ids)[cells]
        logits[:, forbidden] = -torch.inf
        if size == most or budget <= 0:
            logits[:, EXPAND] = -torch.inf
        probability = sharpened(logits, temperature, top_p)
        tokens = drawn(probability, temperature, generator)
        entropy = torch.special.entr(probability).sum(-1)
        surest = int(entropy.argmin())
        at, token = cells[surest], int(tokens[surest])
        if token == EXPAND:
            ids[at : at + 1] = [MASK, MASK]
            size, budget = size + 1, budget - 1
        elif token == EOS:
            gone = {at, *[cell for cell in cells if cell > at]}
            ids = [token for cell, token in enumerate(ids) if cell not in gone]
            size -= len(gone)
        else:
            ids[at] = token
    return ids[len(prefix) : len(prefix) + size], passes


def open_dcoder(
    model: Any,
    prefix: list[int],
    suffix: list[int],
    *,
    cells: int,
    steps: int,
    forbidden: list[int],
    temperature: float,
    top_p: float,
    generator: torch.Generator,
) -> tuple[list[int], int]:
    """The hole's tokens and the number of passes; the least sure are masked again after each."""
    hole = [MASK] * cells
    for step in range(1, steps + 1):
        if MASK not in hole:
            return hole, step - 1
        logits = shifted(model, [*prefix, *hole, *suffix])[len(prefix) : len(prefix) + cells]
        logits[:, forbidden] = -torch.inf
        probability = sharpened(logits, temperature, top_p)
        tokens = drawn(probability, temperature, generator)
        confidence = probability.gather(-1, tokens[:, None])[:, 0]
        to_mask = int(torch.tensor(float(cells)) * (1 - step / steps))
        # Which of equally sure cells stay is left open there.
        surest = confidence.argsort(descending=True, stable=True)
        least = set(surest[cells - to_mask :].tolist())
        hole = [
            MASK if at in least else (int(tokens[at]) if token == MASK else token)
            for at, token in enumerate(hole)
        ]
    return hole, steps
