"""DiffusionGemma as a denoiser: Google's weights, our loop. Never calls `generate()`.

Text becomes ids (`text`), ids become a canvas here, and `stepping` denoises it over `network`.
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
from infill_engine.early_stop import Chained, Entropy, TokenStability
from infill_engine.errors import ModelError
from infill_engine.models.adapter import described
from infill_engine.models.checkpoint import Checkpoint
from infill_engine.models.diffusion_gemma.captured import CapturedStepping
from infill_engine.models.diffusion_gemma.checkpoint import (
    GenerationDefaults,
    inspect_checkpoint,
    read_defaults,
)
from infill_engine.models.diffusion_gemma.loading import load_weights
from infill_engine.models.diffusion_gemma.network import (
    ENCODE_CHUNK,
    Memory,
    Network,
    Passes,
    shared,
)
from infill_engine.models.diffusion_gemma.stepping import FusedStepping, Stepping
from infill_engine.models.diffusion_gemma.text import GemmaText
from infill_engine.models.hub import find_checkpoint
from infill_engine.models.placement import check_no_adapter
from infill_engine.noise import Uniform
from infill_engine.progress import LoadProgress, silent
from infill_engine.request import EngineInfo, InfillRequest
from infill_engine.sampler import EntropyBound
from infill_engine.schedule import Linear
from infill_kernels import backend
from infill_kernels.rows import RowStatistics

# What a prompt is made of, in tokens. The sliding layers see the last 1,023 of it.
PREFIX_TOKENS, SUFFIX_TOKENS, NEIGHBOUR_TOKENS = 2048, 512, 768
CANVAS_LENGTHS = (32, 64, 128, 256)
# Rows of one batch: how long the hole is, is not known, and a step costs about the same for all.
HOLE_LENGTHS = (8, 16, 32, 64)
LINE_LENGTHS = (4, 8, 16, 32)
BLOCK_LENGTHS = (16, 32, 64, 128)
OPENERS = ("(", "[", "{", ":")
# A hole from this length on takes a whole canvas, and is closed by a later one.
OPEN_LENGTH = 128
MAX_TOKENS = 256
# At least so much of the suffix is pinned behind a hole; what is left of a canvas is more of it.
TAIL_TOKENS = 16
JOIN_TOKENS = 8
# The temperature falls with the share of steps done, so a smaller cap anneals faster; the
# published 48 are seldom used up.
MAX_STEPS = 24


class DiffusionGemma:
    """Implements `Denoiser`. `defaults` are what the checkpoint says of the loop."""

    def __init__(
        self,
        network: Passes,
        text: GemmaText,
        config: EngineConfig,
        defaults: GenerationDefaults,
        checkpoint: Checkpoint,
    ) -> None:
        self._network = network
        self._text = text
        self._config = config
        self._defaults = defaults
        self._checkpoint = checkpoint
        forbidden = torch.zeros(network.vocab_size, dtype=torch.bool)
        forbidden[sorted(text.special)] = True
        self._forbidden = forbidden.to(network.device)
        self._stepping = fastest_stepping(network, self._forbidden)
        broken = torch.zeros(network.vocab_size, dtype=torch.bool)
        broken[text.line_breaks] = True
        self._text_in_a_line = ~(forbidden | broken).to(network.device)
        # A small model's positions may not reach; every part then gives way alike.
        room = network.max_positions - max(CANVAS_LENGTHS) - MAX_TOKENS - TAIL_TOKENS
        whole = PREFIX_TOKENS + SUFFIX_TOKENS + NEIGHBOUR_TOKENS + 256
        share = min(1.0, room / whole)
        self._parts = {
            "prefix": int(PREFIX_TOKENS * share),
            "suffix": int(SUFFIX_TOKENS * share),
            "neighbours": int(NEIGHBOUR_TOKENS * share),
        }
        self._healing: dict[bytes, Tensor] = {}
        self._adapter = described(config)

    def describe(self) -> EngineInfo:
        return EngineInfo(
            model=Path(self._config.model).name,
            parameters=self._checkpoint.parameters,
            device=str(self._network.device),
            dtype=self._checkpoint.dtype,
            threads=torch.get_num_threads(),
            canvas_lengths=CANVAS_LENGTHS,
            max_tokens=MAX_TOKENS,
            prefix_tokens=self._parts["prefix"],
            suffix_tokens=self._parts["suffix"],
            noise="uniform",
            source=str(self._checkpoint.folder),
            adapter=self._adapter,
        )

    def decode(self, ids: list[int]) -> bytes:
        return self._text.decode(ids)

    def tokens(self, text: str) -> list[int]:
        return self._text.encode(text)

    def middle(self, text: str, sides: Sides) -> list[int]:
        return self._text.encode(sides.healed_prefix.decode() + text)

    def sides(self, request: InfillRequest) -> Sides:
        return self._text.sides(request, tail=max(CANVAS_LENGTHS), **self._parts)

    def reusable(self, memory: Memory, sides: Sides) -> int:
        ids = torch.tensor([sides.prefix_ids])
        kept = shared(memory, ids)
        return (
            kept if kept == memory.length == ids.shape[1] else kept // ENCODE_CHUNK * ENCODE_CHUNK
        )

    def encode(self, sides: Sides, memory: Memory | None, *, budget: Budget = UNLIMITED) -> Memory:
        ids = torch.tensor([sides.prefix_ids])
        return self._network.encode(ids, memory, budget=budget)

    def holds(self, memory: Memory, sides: Sides) -> bool:
        return torch.equal(memory.token_ids, torch.tensor([sides.prefix_ids]))

    def hole_lengths(self, request: InfillRequest) -> tuple[int, ...]:
        """Shorter within a line, longer where a block or a bracket was opened."""
        if request.max_lines == 1 or request.suffix.split("\n", 1)[0].strip(" \t)]}>,;:'\"`"):
            return LINE_LENGTHS
        return BLOCK_LENGTHS if request.prefix.rstrip().endswith(OPENERS) else HOLE_LENGTHS

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
        """Rows of one width: the template with its holes, then the suffix, to the row's end.

        A hole is filled to its last cell. Where there are several, all may be shorter than what
        bounds them, and the rows bound them by 8, 16, 32 ... cells besides.
        """
        single = list(middle) == [0]
        if single:
            templates: list[list[Sequence[int] | int]] = [[n] for n in hole_lengths]
        else:
            longest = min(max(part for part in middle if isinstance(part, int)), HOLE_LENGTHS[-1])
            shorter = [n for n in (2, 4, *HOLE_LENGTHS) if n < longest]
            templates = [
                [min(part, n) if isinstance(part, int) else part for part in middle]
                for n in (*shorter[1 - len(HOLE_LENGTHS) :], longest)
            ]
        closed = [size(row) for row in templates if not (single and size(row) >= OPEN_LENGTH)]
        cells = max([n + TAIL_TOKENS for n in closed] + [size(row) for row in templates])
        width = next((n for n in CANVAS_LENGTHS if n >= cells), cells)
        rows = [self._row(template, width, sides) for template in templates]
        allowed = self._text_in_a_line if request.max_lines == 1 else ~self._forbidden
        device = self._network.device
        return Canvas(
            token_ids=torch.tensor([ids for ids, _ in rows], device=device),
            hole=torch.tensor([hole for _, hole in rows], device=device),
            first=self._continuations(sides.healed_prefix) if sides.healed_prefix else None,
            allowed=allowed,
        )

    def _row(
        self, template: Sequence[Sequence[int] | int], width: int, sides: Sides
    ) -> tuple[list[int], list[int]]:
        token_ids: list[int] = []
        hole: list[int] = []
        number = 0
        for part in template:
            if isinstance(part, int):
                token_ids += [self._text.pad] * part
                hole += [number] * part
                number += 1
            else:
                token_ids += part
                hole += [PINNED] * len(part)
        # The suffix ends with the end of the answer, after which the model was trained on padding.
        tail = [*sides.suffix_ids, *[self._text.pad] * width][: width - len(token_ids)]
        return token_ids + tail, hole + [PINNED] * len(tail)

    def config(self, canvas: Canvas, request: InfillRequest, sides: Sides) -> DenoiseConfig:
        assert canvas.allowed is not None, "`canvas` says what may stand in it"
        defaults, scale = self._defaults, request.temperature
        return DenoiseConfig(
            max_denoising_steps=self._config.max_denoising_steps or min(defaults.steps, MAX_STEPS),
            noise=Uniform(
                vocab_size=self._network.vocab_size,
                allowed=canvas.allowed.nonzero()[:, 0],
                greedy=scale == 0,
            ),
            sampler=EntropyBound(bound=self._config.entropy_bound or defaults.entropy_bound),
            # The schedule shapes what the model is told of its last proposal, so it stays when the
            # tokens are the best ones; a temperature scales it, 1 being as published.
            schedule=Linear(start=defaults.t_max * (scale or 1), end=defaults.t_min * (scale or 1)),
            early_stop=Chained((TokenStability(), Entropy(defaults.stop_entropy))),
        )

    @torch.inference_mode()
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
            canvas, memory, state, temperature=temperature, generator=generator
        )

    @torch.inference_mode()
    def score(self, memory: Memory, sides: Sides, rows: Sequence[Sequence[int]]) -> list[Scored]:
        """One pass over the filled canvases, pins as they are: what is the model ready to believe?

        A token that does not fit its surroundings looks like noise to it, and is improbable even
        though it stands there; this holds for the hole and for the first tokens of the suffix.
        """
        width = max(len(row) for row in rows) + TAIL_TOKENS
        token_ids = torch.tensor(
            [self._row([row], width, sides)[0] for row in rows], device=self._network.device
        )
        context = self._network.context(memory, width)
        hidden = self._network.decode(token_ids, None, context)
        scored = []
        for row, ids, states in zip(rows, token_ids, hidden, strict=True):
            end = len(row) + JOIN_TOKENS
            log_probability = self._network.logits(states[:end]).log_softmax(-1)
            each = log_probability.gather(-1, ids[:end, None])[:, 0]
            scored.append(
                Scored(
                    likelihood=float(each[: len(row)].mean()) if row else 0.0,
                    join=float(each[len(row) :].mean()),
                )
            )
        return scored

    def _continuations(self, piece: bytes) -> Tensor:
        if piece not in self._healing:
            allowed = torch.zeros_like(self._forbidden)
            allowed[self._text.continuations(piece)] = True
            self._healing[piece] = allowed
        return self._healing[piece]


def size(template: Sequence[Sequence[int] | int]) -> int:
    """The cells of a template."""
    return sum(part if isinstance(part, int) else len(part) for part in template)


def fastest_stepping(network: Passes, forbidden: Tensor) -> Stepping:
    """What suits the device: graphs need kernels that never wait for the host."""
    if not isinstance(network, Network):
        from infill_engine.models.diffusion_gemma.mlx_stepping import MlxStepping

        return MlxStepping(network, forbidden)
    if network.device.type != "cuda":
        return Stepping(network, forbidden)
    if backend.NAME != "triton":
        return FusedStepping(network, forbidden)
    return CapturedStepping(network, forbidden)


def load_diffusion_gemma(
    config: EngineConfig, progress: LoadProgress = silent, folder: Path | None = None
) -> DiffusionGemma:
    """The checkpoint that `config.model` names, in `folder` where that is known already.

    Raises ModelError when it cannot be had, read, or fitted to this machine.
    """
    folder = folder or find_checkpoint(config.model, progress)
    if not (folder / "tokenizer.json").is_file():
        raise ModelError(f"no tokenizer.json in {folder}; put the model's own there")
    checkpoint = inspect_checkpoint(folder, config)
    network: Passes
    if config.device == "mlx":
        check_no_adapter(config)
        from infill_engine.models.diffusion_gemma.mlx_network import load_mlx

        network = load_mlx(checkpoint, progress)
    else:
        network = load_weights(checkpoint, config, progress)
    images = [checkpoint.config.get(f"{name}_token_id") for name in ("boi", "eoi", "image")]
    text = GemmaText(
        folder / "tokenizer.json",
        network.vocab_size,
        no_text=[token for token in images if isinstance(token, int)],
    )
    return DiffusionGemma(network, text, config, read_defaults(folder), checkpoint)
