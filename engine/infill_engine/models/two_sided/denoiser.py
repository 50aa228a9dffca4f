"""The embedded default as a denoiser: the two-sided network, its tokenizer, its decoding policy.

Both sides are stacks that end at the hole: typing pushes to the prefix, deleting pops, an edit far
away costs what lies between it and the hole, on that side alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import torch
from safetensors import SafetensorError
from torch import Tensor

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.canvas import Canvas, lay_out
from infill_engine.config import EngineConfig
from infill_engine.copying import copies, up_to
from infill_engine.denoise import DenoiseConfig
from infill_engine.denoiser import Scored, Sides
from infill_engine.early_stop import Chained, Decided, TokenStability
from infill_engine.errors import ModelError
from infill_engine.models.two_sided.network import (
    PREFIX,
    SUFFIX,
    CanvasContext,
    SideCache,
    TwoSidedNetwork,
    load_network,
    read_metadata,
)
from infill_engine.models.two_sided.packed import Precision, fastest
from infill_engine.noise import Absorbing
from infill_engine.request import EngineInfo, InfillRequest
from infill_engine.sampler import EntropyBound
from infill_engine.schedule import Constant
from infill_engine.tokenizer import BOS, END, EOS, FIRST_LEARNED, MASK, Tokenizer
from infill_engine.windows import first_tokens, last_tokens, prefix_window, suffix_window
from infill_kernels import RowStatistics, row_statistics

WEIGHTS = Path(__file__).parents[2] / "weights"

# Trained on windows of 1,024 tokens; the prefix says more than the suffix.
PREFIX_TOKENS, SUFFIX_TOKENS = 704, 316
NEIGHBOUR_TOKENS = 192
CHARACTERS_PER_TOKEN = 3.5
# Two threads that sleep while they wait take twice as long for a step as one alone, and two that
# spin fifty times as long once something else wants a core (engine/train/LOG.md).
THREADS = 1
CANVAS_LENGTHS = (16, 32, 64)
# Steps at most; on the validation packages up to three times as many were no better.
MAX_STEPS = {16: 3, 32: 6, 64: 10}
MAX_TOKENS = 192
ENCODE_CHUNK = 256
JOIN_TOKENS = 6
ENTROPY_BOUND = 0.3
# What the weights of the autoregressive baseline (benchmarks/ar_baseline.py) say they are.
AR_BASELINE = ("ar-baseline", "ar-twin")
OPENERS = ("(", "[", "{", ":")
CLOSERS = " \t)]}>,;:'\"`"  # what may follow a hole that reaches over its line's end
# What is copied is judged as a whole, up to so many tokens.
COPY_TOKENS = 64
# How the prefix alone goes on is guessed up to so many cells, for so many rows; one is given up
# once it is less likely than this (nats).
CONTINUATION_TOKENS, CONTINUATION_ROWS, UNLIKELY = 32, 2, -4.0


@dataclass(frozen=True, slots=True)
class SidesMemory:
    """Keys and values of both sides; the suffix was pushed from its far end."""

    prefix: SideCache
    suffix: SideCache


def common(old: Sequence[int], new: Sequence[int]) -> int:
    """How many leading ids are the same."""
    for at, (a, b) in enumerate(zip(old, new, strict=False)):
        if a != b:
            return at
    return min(len(old), len(new))


def _goes_on(suffix: str) -> bool:
    """Whether the cursor's line has more behind it than what closes something."""
    return bool(suffix.split("\n", 1)[0].strip(CLOSERS))


class TwoSidedDenoiser:
    """Implements `Denoiser`. `dtype` and device are those of the loaded network."""

    def __init__(
        self,
        network: TwoSidedNetwork,
        tokenizer: Tokenizer,
        config: EngineConfig,
        source: str,
        show_threshold: float = 0.0,
    ) -> None:
        self._network = network
        self._show_threshold = show_threshold
        self._tokenizer = tokenizer
        self._config = config
        self._source = source
        self._device = network.device
        vocab = network.config.vocab_size
        # Specials are never an answer, but END is; ids past the tokenizer's have no text.
        forbidden = torch.zeros(vocab, device=self._device)
        forbidden[:FIRST_LEARNED] = -torch.inf
        forbidden[END] = 0.0
        forbidden[tokenizer.vocab_size :] = -torch.inf
        self._forbidden = forbidden
        self._end = torch.zeros(vocab, dtype=torch.bool, device=self._device)
        self._end[END] = True
        self._end_or_line = self._end.clone()
        self._end_or_line[tokenizer.line_breaks()] = True
        self._healing: dict[bytes, Tensor] = {}

    def describe(self) -> EngineInfo:
        return EngineInfo(
            model="two-sided",
            parameters=self._network.num_parameters,
            device=str(self._device),
            dtype=self._network.precision or str(self._network.dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            canvas_lengths=CANVAS_LENGTHS,
            max_tokens=MAX_TOKENS,
            prefix_tokens=PREFIX_TOKENS,
            suffix_tokens=SUFFIX_TOKENS,
            noise="absorbing",
            source=self._source,
            show_threshold=self._show_threshold,
            kernels=self._network.kernels,
        )

    def decode(self, ids: list[int]) -> bytes:
        return self._tokenizer.decode(ids)

    def tokens(self, text: str) -> list[int]:
        return self._tokenizer.encode(text)

    def sides(self, request: InfillRequest) -> Sides:
        tokenizer = self._tokenizer
        neighbours: list[int] = []
        for snippet in request.neighbours:
            ids = tokenizer.encode(snippet.rstrip("\n") + "\n\n")
            if len(neighbours) + len(ids) <= NEIGHBOUR_TOKENS:
                neighbours += ids
        room = PREFIX_TOKENS - 2 - len(neighbours)
        window = prefix_window(request.prefix, int(room * CHARACTERS_PER_TOKEN))
        prefix_ids = last_tokens(tokenizer.encode(window), room)
        window = suffix_window(request.suffix, int(SUFFIX_TOKENS * CHARACTERS_PER_TOKEN))
        suffix_ids = first_tokens(tokenizer.encode(window), SUFFIX_TOKENS - 1)
        healed_prefix = b""
        if prefix_ids:
            healed_prefix = tokenizer.token_bytes[prefix_ids[-1]]
            try:
                healed_prefix.decode("utf-8")
            except UnicodeDecodeError:
                healed_prefix = b""
        if healed_prefix:
            prefix_ids = prefix_ids[:-1]
        return Sides(
            prefix_ids=(BOS, tokenizer.tag(request.language_id), *neighbours, *prefix_ids),
            suffix_ids=(*suffix_ids, EOS),
            healed_prefix=healed_prefix,
        )

    def reusable(self, memory: SidesMemory, sides: Sides) -> int:
        return common(memory.prefix.ids, sides.prefix_ids) + common(
            memory.suffix.ids, sides.suffix_ids[::-1]
        )

    @torch.inference_mode()
    def encode(
        self,
        sides: Sides,
        memory: SidesMemory | None,
        *,
        budget: Budget = UNLIMITED,
    ) -> SidesMemory:
        if memory is None:
            room = MAX_TOKENS + max(CANVAS_LENGTHS)
            memory = SidesMemory(
                self._network.cache(PREFIX, capacity=PREFIX_TOKENS + room),
                self._network.cache(SUFFIX, capacity=SUFFIX_TOKENS + room),
            )
        for cache, new in (
            (memory.prefix, sides.prefix_ids),
            (memory.suffix, sides.suffix_ids[::-1]),
        ):
            cache.truncate(common(cache.ids, new))
            while len(cache) < len(new) and not budget.cancelled():
                self._network.push(cache, new[len(cache) : len(cache) + ENCODE_CHUNK])
        return memory

    def hole_lengths(self, request: InfillRequest) -> tuple[int, ...]:
        """32 cells where a block or a bracket was opened, 16 elsewhere; a full canvas is continued.

        More cells are slower, and at this size of model less often right: engine/train/LOG.md.
        When several candidates are wanted, shorter holes are denoised beside the longest.
        """
        within = request.max_lines == 1 or _goes_on(request.suffix)
        longest = 32 if not within and request.prefix.rstrip().endswith(OPENERS) else 16
        if request.num_candidates == 1:
            return (longest,)
        shorter = (longest // 2, longest // 4, longest // 8)
        return (longest, *shorter[: request.num_candidates])

    def canvas(
        self,
        middle: Sequence[Sequence[int] | int],
        hole_lengths: Sequence[int],
        sides: Sides,
        request: InfillRequest,
    ) -> Canvas:
        templates = [[part or n for part in middle] for n in hole_lengths]
        cells = max(
            sum(part if isinstance(part, int) else len(part) for part in row) for row in templates
        )
        length = next((n for n in CANVAS_LENGTHS if n >= cells), cells)
        rows = [lay_out(row, canvas_length=length, end_id=END) for row in templates]
        one_line = request.max_lines == 1
        return Canvas(
            token_ids=torch.tensor([ids for ids, _ in rows], device=self._device),
            hole=torch.tensor([hole for _, hole in rows], device=self._device),
            first=self._healing_mask(sides.healed_prefix) if sides.healed_prefix else None,
            ends=self._end_or_line if one_line else self._end,
            end_id=END,
        )

    def proposals(
        self,
        sides: Sides,
        request: InfillRequest,
        memory: SidesMemory | None,
        most: int,
        *,
        budget: Budget = UNLIMITED,
    ) -> dict[tuple[int, ...], float]:
        """What follows the same text elsewhere, and how the prefix goes on where the line ends
        behind the hole.

        (Within a line it was no help on the validation packages, and takes time.)
        """
        texts = copies(request.prefix, request.suffix, request.max_lines)
        if memory is not None and most <= CONTINUATION_TOKENS and not _goes_on(request.suffix):
            for text in self._continuations(sides, request.suffix, memory, most, budget):
                texts.setdefault(text, -math.inf)
        found: dict[tuple[int, ...], float] = {}
        for text, worth in texts.items():
            ids = tuple(self._ids(sides, text)) if text.strip() else ()
            if 0 < len(ids) <= COPY_TOKENS:
                found.setdefault(ids, worth)
        return found

    @torch.inference_mode()
    def _continuations(
        self,
        sides: Sides,
        suffix: str,
        memory: SidesMemory,
        most: int,
        budget: Budget,
    ) -> list[str]:
        """Rests of the line as the prefix's stream has them: one from each of its likeliest first
        tokens, from there on the likeliest, up to where the line or what follows the hole ends
        it; none that is less likely than `UNLIKELY` as a whole.
        """
        text, length = memory.prefix.text, len(memory.prefix)
        context = self._network.continuation_context(memory.prefix, CONTINUATION_ROWS, most)
        rows: list[list[int]] = [[] for _ in range(CONTINUATION_ROWS)]
        likelihood = [0.0] * CONTINUATION_ROWS
        going = list(range(CONTINUATION_ROWS))
        last, hints = (
            [text.ids[-1]] * CONTINUATION_ROWS,
            memory.prefix.hints(length - 1) * CONTINUATION_ROWS,
        )
        for at in range(most):
            if budget.cancelled():
                return []
            hidden = self._network.continuation_step(context, at, last, hints)
            logits = self._network.logits(hidden).float() + self._forbidden
            logits[:, END] = -torch.inf
            if at == 0 and sides.healed_prefix:
                logits.masked_fill_(~self._healing_mask(sides.healed_prefix), -torch.inf)
            sure, best = logits.log_softmax(-1).topk(CONTINUATION_ROWS)
            for row in list(going):
                choice = row if at == 0 else 0
                token = int(best[row, choice])
                likelihood[row] += float(sure[row, choice])
                ends = self._end_or_line[token] and not (at == 0 and sides.healed_prefix)
                if ends or likelihood[row] < UNLIKELY:
                    going.remove(row)
                    continue
                rows[row].append(token)
                if len(up_to(suffix, read := self._said(sides, rows[row]))) < len(read.rstrip()):
                    going.remove(row)
                    continue
                last[row] = token
                text.extend(rows[row])
                (hints[row],) = memory.prefix.hints(len(memory.prefix) - 1)
                text.truncate(length)
            if not going:
                break
        sure_rows = zip(rows, likelihood, strict=True)
        return [
            up_to(suffix, self._said(sides, row)) for row, nats in sure_rows if nats >= UNLIKELY
        ]

    def _said(self, sides: Sides, ids: list[int]) -> str:
        """What ids in the hole say, without what was taken back of the prefix."""
        return (
            self._tokenizer.decode(ids).removeprefix(sides.healed_prefix).decode("utf-8", "ignore")
        )

    def _ids(self, sides: Sides, text: str) -> list[int]:
        """The ids of a text in the hole, what was taken back of the prefix included."""
        ids = self._tokenizer.encode(sides.healed_prefix.decode() + text)
        if not self._tokenizer.token_bytes[ids[0]].startswith(sides.healed_prefix):
            # Together they are split elsewhere: what was taken back stays a token of its own.
            ids = [self._tokenizer.ids[sides.healed_prefix], *self._tokenizer.encode(text)]
        return ids

    def config(self, canvas: Canvas, request: InfillRequest, sides: Sides) -> DenoiseConfig:
        length = canvas.token_ids.shape[1]
        steps = self._config.max_denoising_steps or MAX_STEPS.get(length, length // 4)
        return DenoiseConfig(
            max_denoising_steps=steps,
            noise=Absorbing(mask_id=MASK),
            sampler=EntropyBound(bound=self._config.entropy_bound or ENTROPY_BOUND),
            schedule=Constant(request.temperature),
            early_stop=Chained((Decided(), TokenStability())),
        )

    def step(
        self,
        canvas: Canvas,
        memory: SidesMemory,
        state: object,
        *,
        temperature: float,
        generator: torch.Generator,
    ) -> tuple[RowStatistics, object]:
        ids, free = canvas.token_ids, canvas.free
        context = state
        if not isinstance(context, CanvasContext):
            context = self._network.canvas_context(memory.prefix, memory.suffix, *ids.shape)
        # Rows that are done leave the batch, and the head is for the free cells of the others.
        going = ids.new_ones(len(ids), dtype=torch.bool) if canvas.done is None else ~canvas.done
        hidden = self._network.step(context, ids[going])[free[going]]
        logits = self._network.logits(hidden).float().add_(self._forbidden)  # [n, V]
        cells = (free & going[:, None]).flatten().nonzero()[:, 0]
        if canvas.first is not None:
            first = cells % ids.shape[1] == canvas.free[0].int().argmax()
            logits[first] = logits[first].masked_fill(~canvas.first, -torch.inf)
        found = row_statistics(logits, temperature=temperature, generator=generator)
        every = RowStatistics(
            entropy=torch.zeros(ids.shape, device=ids.device),
            best=ids.clone(),
            sample=ids.clone(),
            confidence=torch.ones(ids.shape, device=ids.device),
        )
        for whole, part in zip(every, found, strict=True):
            whole.view(-1)[cells] = part
        return every, context

    def score(
        self, memory: SidesMemory, sides: Sides, rows: Sequence[Sequence[int]]
    ) -> list[Scored]:
        head = list(sides.suffix_ids[:JOIN_TOKENS])
        # What was taken back of the prefix is typed: the first token is one that begins with it.
        first = self._healing_mask(sides.healed_prefix) if sides.healed_prefix else None
        scores = self._network.score(memory.prefix, [[*row, *head] for row in rows], first)
        return [
            Scored(
                likelihood=float(row_scores[: len(row)].mean()) if row else 0.0,
                join=float(row_scores[len(row) : len(row) + len(head)].mean()),
            )
            for row, row_scores in zip(rows, scores, strict=True)
        ]

    def _healing_mask(self, piece: bytes) -> Tensor:
        if piece not in self._healing:
            allowed = torch.zeros_like(self._end)
            allowed[self._tokenizer.healing_tokens(piece)] = True
            self._healing[piece] = allowed
        return self._healing[piece]


def _precision(config: EngineConfig, device: str) -> Precision:
    """What weights are kept in. Raises ModelError where the embedded model knows no such form."""
    if config.dtype == "auto":
        return fastest() if device == "cpu" else "float32"
    for known in get_args(Precision):
        if config.dtype == known and (device == "cpu" or known == "float32"):
            return cast(Precision, known)
    raise ModelError(
        f"dtype={config.dtype!r} on {device} is not for the embedded model, which is float32, "
        "bfloat16 or int8 on a CPU and float32 elsewhere; leave dtype unset"
    )


def load_default(config: EngineConfig) -> TwoSidedDenoiser:
    """The embedded model, or another two-sided one in a folder or file that `config.model` names.

    Raises ModelError when the files are missing or damaged or the device is not there.
    """
    if config.model in AR_BASELINE:
        raise _no_ar_baseline(config.model)
    path = WEIGHTS / "default.safetensors"
    if config.model != "default":
        path = Path(config.model).expanduser()
        path = path / "default.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise ModelError(
            f'no weights at {path}; set infill.model to "default", or to a folder or '
            "*.safetensors file of the embedded architecture"
        )
    network, tokenizer = load_model(config, path)
    metadata = read_metadata(path)
    if metadata.get("architecture") in AR_BASELINE:
        raise _no_ar_baseline(str(path))
    show_threshold = float(metadata.get("show_threshold", 0.0))
    return TwoSidedDenoiser(network, tokenizer, config, str(path), show_threshold)


def _no_ar_baseline(model: str) -> ModelError:
    return ModelError(
        f"{model} is the autoregressive baseline, which is no part of infill-ls; a checkout of the "
        f"project measures it: python -m benchmarks.quality --model {model}"
    )


def load_model(config: EngineConfig, path: Path) -> tuple[TwoSidedNetwork, Tokenizer]:
    """The network in a file, and the tokenizer beside it or else the embedded one.

    Sets the threads. Raises ModelError when a file is damaged or the device is not there.
    """
    if config.device not in ("auto", "cpu") and not torch.cuda.is_available():
        raise ModelError(f"device={config.device!r} is not available here; use cpu or auto")
    device = "cpu" if config.device == "auto" else config.device
    torch.set_num_threads(config.threads or THREADS)
    precision = _precision(config, device)
    beside = path.parent / "tokenizer.json"
    tokenizer = Tokenizer(beside if beside.is_file() else WEIGHTS / "tokenizer.json")
    try:
        network = load_network(path, device=device, precision=precision)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise ModelError(
            f"{path} is not a readable model of the embedded architecture ({error}); "
            "install infill-ls again, or point infill.model at another file"
        ) from error
    if tokenizer.vocab_size > network.config.vocab_size:
        raise ModelError(
            f"{path} has {network.config.vocab_size} tokens but its tokenizer has "
            f"{tokenizer.vocab_size}; put the tokenizer.json it was trained with beside it"
        )
    return network, tokenizer
