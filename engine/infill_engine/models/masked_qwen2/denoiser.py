"""A masked Qwen2 as a denoiser: DreamOn, Open-dCoder and their like, our loop.

Text becomes ids (`text`), ids become a canvas here, and `stepping` reads it over `network`.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.canvas import PINNED, Canvas
from infill_engine.config import EngineConfig
from infill_engine.denoise import DenoiseConfig
from infill_engine.denoiser import Scored, Sides
from infill_engine.early_stop import Decided
from infill_engine.elastic import Elastic
from infill_engine.models.adapter import described
from infill_engine.models.checkpoint import Checkpoint
from infill_engine.models.hub import find_checkpoint
from infill_engine.models.masked_qwen2.checkpoint import inspect_checkpoint
from infill_engine.models.masked_qwen2.loading import load_network
from infill_engine.models.masked_qwen2.network import Passes
from infill_engine.models.masked_qwen2.stepping import Memory, Stepping
from infill_engine.models.masked_qwen2.text import QwenText
from infill_engine.models.placement import check_no_adapter
from infill_engine.noise import Noise, Remasking
from infill_engine.progress import LoadProgress, silent
from infill_engine.request import EngineInfo, InfillRequest
from infill_engine.sampler import EntropyBound, MostProbable, Sampler
from infill_engine.schedule import Constant
from infill_kernels.rows import RowStatistics

# DreamOn was trained on, and both are published with, texts of this length; in tokens.
CONTEXT = 2048
PREFIX_TOKENS, SUFFIX_TOKENS = 1280, 512
# Cells of several holes and of what is given between them.
CANVAS_LENGTH = 256
# Lengths to start from, as rows of one batch. Elastic holes grow up to the longest.
LINE_LENGTHS = (4, 16, 64)
BLOCK_LENGTHS = (16, 64, 128)
# Holes that keep their length need the right one among these.
FIXED_LINE_LENGTHS = (4, 8, 12, 16, 24, 32)
FIXED_BLOCK_LENGTHS = (8, 16, 32, 48, 64, 96)
OPENERS = ("(", "[", "{", ":")
MAX_TOKENS = 128
# So many tokens on both sides of a hole are read anew at every step, the others once.
NEAR = 128
# Nats that the cells of a step may leave open together. A judge looks at what comes of it, so
# that more may be decided at once.
ENTROPY_BOUND, JUDGED_BOUND = 0.05, 0.3
# Below every entropy: one cell a step, as published.
ONE_CELL = -1.0
MAX_STEPS = 256
# What the two are published with, where a request wants draws: temperature and top_p.
ELASTIC_DRAWS, FIXED_DRAWS = (0.2, 0.9), (0.6, 0.95)
FIXED_STEPS = 64


class MaskedQwen2:
    """Implements `Denoiser`. `near` None reads all of both sides anew at every step."""

    def __init__(
        self,
        network: Passes,
        text: QwenText,
        config: EngineConfig,
        checkpoint: Checkpoint,
        near: int | None = NEAR,
    ) -> None:
        self.network, self.text = network, text
        self._config, self._checkpoint = config, checkpoint
        device, vocab = network.device, network.sizes.vocab_size
        self._forbidden = torch.zeros(vocab, dtype=torch.bool)
        self._forbidden[sorted(text.special)] = True
        if text.expand is not None:
            self._forbidden[[text.expand, text.end]] = False
        self._forbidden = self._forbidden.to(device)
        broken = torch.zeros(vocab, dtype=torch.bool)
        broken[text.line_breaks] = True
        self._text_in_a_line = ~(self._forbidden | broken.to(device))
        self._ends = torch.zeros(vocab + 1, dtype=torch.bool, device=device)
        self._ends[text.absent] = True
        context = min(CONTEXT, network.sizes.max_positions)
        self._near = context if near is None else near
        self._temperature, top_p = FIXED_DRAWS if text.expand is None else ELASTIC_DRAWS
        self._stepping = Stepping(
            network,
            self._forbidden,
            mask=text.mask,
            absent=text.absent,
            expand=text.expand,
            near=self._near,
            top_p=top_p,
        )
        # A small model's positions may not reach; both sides then give way alike.
        room = context - MAX_TOKENS
        share = min(1.0, room / (PREFIX_TOKENS + SUFFIX_TOKENS))
        self._parts = {
            "prefix": int(PREFIX_TOKENS * share),
            "suffix": int(SUFFIX_TOKENS * share),
        }
        self._healing: dict[bytes, Tensor] = {}
        self._adapter = described(config)

    def describe(self) -> EngineInfo:
        return EngineInfo(
            model=Path(self._config.model).name,
            parameters=self._checkpoint.parameters,
            device=str(self.network.device),
            dtype=self._checkpoint.dtype,
            threads=torch.get_num_threads(),
            canvas_lengths=(CANVAS_LENGTH,),
            max_tokens=MAX_TOKENS,
            prefix_tokens=self._parts["prefix"],
            suffix_tokens=self._parts["suffix"],
            noise="absorbing",
            source=str(self._checkpoint.folder),
            adapter=self._adapter,
        )

    def decode(self, ids: list[int]) -> bytes:
        return self.text.decode(ids)

    def tokens(self, text: str) -> list[int]:
        return self.text.encode(text)

    def middle(self, text: str, sides: Sides) -> list[int]:
        return self.text.encode(sides.healed_prefix.decode() + text)

    def sides(self, request: InfillRequest) -> Sides:
        return self.text.sides(request, **self._parts)

    def reusable(self, memory: Memory, sides: Sides) -> int:
        """All or nothing: every token of the far ends has seen all others."""
        size = len(sides.prefix_ids) + len(sides.suffix_ids)
        return size if self.holds(memory, sides) else 0

    def encode(self, sides: Sides, memory: Memory | None, *, budget: Budget = UNLIMITED) -> Memory:
        if memory is not None and self.holds(memory, sides):
            return memory
        return self._stepping.encode(sides.prefix_ids, sides.suffix_ids, budget)

    def holds(self, memory: Memory, sides: Sides) -> bool:
        return (memory.prefix_ids, memory.suffix_ids) == (sides.prefix_ids, sides.suffix_ids)

    def hole_lengths(self, request: InfillRequest) -> tuple[int, ...]:
        """Shorter within a line, longer where a block or a bracket was opened."""
        in_a_line = request.max_lines == 1 or request.suffix.split("\n", 1)[0].strip(
            " \t)]}>,;:'\"`"
        )
        block = not in_a_line and request.prefix.rstrip().endswith(OPENERS)
        if self.text.expand is None:
            return FIXED_BLOCK_LENGTHS if block else FIXED_LINE_LENGTHS
        return BLOCK_LENGTHS if block else LINE_LENGTHS

    def proposals(
        self,
        sides: Sides,
        request: InfillRequest,
        memory: Memory | None,
        most: int,
        *,
        budget: Budget = UNLIMITED,
    ) -> dict[tuple[int, ...], float]:
        """None: it copies well by itself."""
        return {}

    def canvas(
        self,
        middle: Sequence[Sequence[int] | int],
        hole_lengths: Sequence[int],
        sides: Sides,
        request: InfillRequest,
    ) -> Canvas:
        """Rows of one width: the template with room for its holes, then the head of the suffix.

        A hole has as many cells in every row, of which a row has fewer to begin with. Where holes
        cannot grow, the cells that a row leaves out are pinned.
        """
        single = list(middle) == [0]
        longest = max(hole_lengths)
        if not single:
            most = max(part for part in middle if isinstance(part, int))
            hole_lengths = [n for n in (4, 16) if n < most] + [most]
        rows = [
            self._row(
                [
                    (longest if single else part) if isinstance(part, int) else part
                    for part in middle
                ],
                length,
                sides,
            )
            for length in hole_lengths
        ]
        device = self.network.device
        in_a_line = request.max_lines == 1
        return Canvas(
            token_ids=torch.tensor([ids for ids, _ in rows], device=device),
            hole=torch.tensor([hole for _, hole in rows], device=device),
            first=self._continuations(sides.healed_prefix) if sides.healed_prefix else None,
            allowed=self._text_in_a_line if in_a_line else ~self._forbidden,
            ends=self._ends,
            end_id=self.text.absent,
        )

    def _row(
        self, template: Sequence[Sequence[int] | int], length: int, sides: Sides
    ) -> tuple[list[int], list[int]]:
        text = self.text
        token_ids: list[int] = []
        hole: list[int] = []
        number = 0
        for part in template:
            if isinstance(part, int):
                there = min(part, length)
                spare = part - there
                token_ids += [text.mask] * there + [text.absent] * spare
                hole += [number] * there + [number if text.expand else PINNED] * spare
                number += 1
            else:
                token_ids += part
                hole += [PINNED] * len(part)
        tail = [*sides.suffix_ids[: self._near]]
        return token_ids + tail, hole + [PINNED] * len(tail)

    def config(self, canvas: Canvas, request: InfillRequest, sides: Sides) -> DenoiseConfig:
        """Greedy: the surest cells, as many as the bound allows. With a temperature, 1 being as
        published: draws, and one cell a step where holes grow, or masking again where not."""
        text, draws = self.text, request.temperature > 0
        cap = self._config.max_denoising_steps
        judged = self._config.judge not in ("auto", "off")
        bound = self._config.entropy_bound or (JUDGED_BOUND if judged else ENTROPY_BOUND)
        noise: Noise
        sampler: Sampler = EntropyBound(bound=bound)
        if text.expand is not None and text.end is not None:
            steps = cap or MAX_STEPS
            noise = Elastic(mask_id=text.mask, expand_id=text.expand, delete_id=text.end)
            if draws:
                sampler = EntropyBound(bound=ONE_CELL)
        else:
            steps = cap or FIXED_STEPS
            noise = Remasking(mask_id=text.mask, num_steps=steps)
            if draws:
                sampler = MostProbable()
        return DenoiseConfig(
            max_denoising_steps=steps,
            noise=noise,
            sampler=sampler,
            schedule=Constant(self._temperature * request.temperature),
            early_stop=Decided(),
        )

    def step(
        self,
        canvas: Canvas,
        memory: Memory,
        state: object,
        *,
        temperature: float,
        generator: torch.Generator,
    ) -> tuple[RowStatistics, object]:
        return self._stepping.step(
            canvas,
            memory,
            state,
            temperature=temperature,
            generator=generator,
            decided=self.text.expand is None,
        )

    def score(self, memory: Memory, sides: Sides, rows: Sequence[Sequence[int]]) -> list[Scored]:
        return self._stepping.score(memory, rows)

    def _continuations(self, piece: bytes) -> Tensor:
        """The tokens [V] that may be a hole's first where it says `piece` again."""
        if piece not in self._healing:
            allowed = torch.zeros_like(self._forbidden)
            allowed[self.text.continuations(piece)] = True
            if self.text.expand is not None:
                allowed[self.text.expand] = True
            self._healing[piece] = allowed
        return self._healing[piece]


def load_masked_qwen2(
    config: EngineConfig, progress: LoadProgress = silent, folder: Path | None = None
) -> MaskedQwen2:
    """The checkpoint that `config.model` names, in `folder` where that is known already.

    Raises ModelError when it cannot be had, read, or fitted to this machine.
    """
    folder = folder or find_checkpoint(config.model, progress)
    checkpoint = inspect_checkpoint(folder, config)
    text = QwenText(folder, int(checkpoint.config.get("vocab_size") or 0), checkpoint.config)
    network: Passes
    if config.device == "mlx":
        check_no_adapter(config)
        from infill_engine.models.masked_qwen2.mlx_network import load_mlx

        network = load_mlx(checkpoint, progress)
    else:
        network = load_network(checkpoint, config, progress)
    return MaskedQwen2(network, text, config, checkpoint)
