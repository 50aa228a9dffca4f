"""What goes into an engine and what comes out: text and numbers, nothing of tensors or editors.

Offsets are code points, times are seconds of `time.monotonic()`, entropies are nats.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from infill_engine.budget import UNLIMITED, Budget

FILE_END = "\0"  # no text has it
# The figures of `Draft.evidence`, by name.
EVIDENCE = ("middle", "suffix", "ahead", "drafted", "first")
# What an engine had no time for: to denoise until nothing changes, to look at copies and the like,
# for the judge to read the prefix, to rank any text, to rank all, to go on with the best line, and
# to fill what follows a canvas that is full.
LeftOut = Literal["denoising", "proposals", "reading", "judging", "texts", "lines", "blocks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """A place to fill. `max_tokens` bounds it; None leaves the length to the engine.

    `initials` are the characters that its text may begin with: what stands there is then not empty.
    "" is any, or nothing at all. An engine whose model cannot be held to it says what it would.
    """

    max_tokens: int | None = None
    initials: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InfillRequest:
    """Text on both sides of the cursor, and what is known of the text between them.

    `prefix` ends and `suffix` starts at the cursor; both with LF line ends.
    `middle` is the template of the text between them: strings are pinned and come back verbatim,
    holes are denoised, all of them jointly. The default is one hole. A template also says
    "the text must start with the menu's selection" (`("append", Hole())`), "it must contain this"
    (`(Hole(), "await", Hole())`), and "only this span is to be thought over again".
    `max_lines` cuts each hole after so many lines; 1 keeps it on the cursor's line.
    `num_candidates` are wanted; a model on this machine chooses them from at least `num_choices`.
    `document` tells the texts apart that requests are about, so that of several servers one has
    read what a document begins with; it goes nowhere itself.
    `neighbours` are snippets of other files, best first, for the model to read.
    `elsewhere` is the text of other files to copy from, best first: it is only searched, and goes
    nowhere. Each file ends with FILE_END.
    `seed` fixes every random draw.
    `temperature` scales the sampling schedule: 0 is greedy.
    """

    prefix: str
    suffix: str
    language_id: str = ""
    document: str = ""
    middle: tuple[str | Hole, ...] = (Hole(),)
    max_lines: int | None = None
    num_candidates: int = 1
    num_choices: int = 1
    neighbours: tuple[str, ...] = ()
    elsewhere: str = ""
    seed: int = 0
    temperature: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One canvas cell, for people who watch: its text, its entropy, and whether it is decided."""

    text: str
    entropy: float
    state: str  # "pinned" | "settled" | "noise" | "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A complete middle, at any time.

    `text` is the whole middle, pinned parts included; `fills` the text of each hole.
    `likelihood` is the mean log-probability per token of the holes, and `join` that of the first
    tokens of the suffix after the middle, both read by the model after denoising;
    `log_probability` is the natural logarithm of how probable what was filled in is, with the pins
    between several holes; where a judge looked at it, of how likely it is right, by the `evidence`
    (`judge.ranking.Evidence`). They are NaN in drafts that are not the last. `converged` is False
    when the deadline or the step cap ended it. `mean_entropy` is 0 where nothing was denoised.
    `others` holds further candidates, best first, in the last draft: those that were asked for, or
    that the engine had to look at anyway.
    `origin` says who made it: it was "denoised", "proposed" (a copy, or the prefix continued), or
    "written" by the judge; "" where an engine has one way alone.
    `read` is how many tokens of the prefix, of the suffix, and by the judge of the prefix, were
    there to go by; None where an engine cannot tell. `left_out` is what the deadline was too early
    for, as far as an engine tells.
    """

    text: str
    fills: tuple[str, ...]
    steps: int
    tokens: int
    mean_entropy: float
    likelihood: float = float("nan")
    join: float = float("nan")
    log_probability: float = float("nan")
    evidence: tuple[float, ...] = ()
    converged: bool = False
    encode_ms: float = 0.0
    denoise_ms: float = 0.0
    judge_ms: float = 0.0
    cells: tuple[Cell, ...] = ()
    others: "tuple[Draft, ...]" = ()
    origin: Literal["denoised", "proposed", "written", ""] = ""
    read: tuple[int, int, int] | None = None
    left_out: tuple[LeftOut, ...] = ()

    @property
    def tokens_per_forward(self) -> float:
        return self.tokens / max(self.steps, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What runs, for `doctor`, logs and `--json`. `max_tokens` bounds a hole of unknown length.

    `show_threshold` is the probability from which the model's makers would show a whole text that
    nobody asked for; 0 where nothing was measured, and a text's probability says nothing. `kernels`
    says what computes the network and why, "" where there is no choice; `judge` what ranks what it
    drafts, or why nothing does, `judge_parameters` how large that is and `judge_ms` what a token
    takes it, 0 where it is not there. `adapter` is what fine-tuning added, "" for nothing.
    """

    model: str
    parameters: int
    device: str
    dtype: str
    threads: int
    canvas_lengths: tuple[int, ...]
    max_tokens: int
    prefix_tokens: int
    suffix_tokens: int
    noise: str
    source: str
    show_threshold: float = 0.0
    kernels: str = ""
    judge: str = ""
    judge_parameters: int = 0
    judge_ms: float = 0.0
    adapter: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a server turned out to be, for `doctor` and logs.

    `canvas_length` and `max_model_len` are in tokens, None where the server does not tell.
    `tokenizer` is "local", "server", or "" where none is needed. `milliseconds` is one small pinned
    read, or one listing of the models where there is no canvas. `notes` are sentences about what
    the server lacks, with remedies.
    """

    kind: Literal["pinned", "vllm", "cloze"]
    url: str
    model: str
    version: str = ""
    max_model_len: int | None = None
    canvas_length: int | None = None
    vocab_size: int | None = None
    tokenizer: str = ""
    milliseconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        match self.kind:
            case "pinned":
                return "vLLM with pinned canvas"
            case "vllm":
                return "vLLM without pinned canvas, cloze"
            case "cloze":
                return "OpenAI-compatible, cloze"


class Engine(Protocol):
    """Text in, text out. Local, shared and remote engines look the same from here.

    An engine serves one call at a time; the server owns the one thread that calls it.
    """

    def infill(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> Iterator[Draft]:
        """Yields a draft after every denoising step, the last one final.

        Yields nothing when there is nothing to offer or the request was taken back. The budget is
        looked at before every step: its deadline ends the denoising with the best so far, and one
        that comes before both sides are encoded leaves nothing but what is encoded, for the next
        request. The same request on the same device gives the same last draft, whatever was asked
        before. Raises RequestError for a request that makes no sense.
        """
        ...

    def warm(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> None:
        """Encodes both sides now, so that the next infill there only denoises."""
        ...

    def forget(self) -> None:
        """Drops what is kept of the places that were asked about: nobody is left to ask again."""
        ...

    def describe(self) -> EngineInfo: ...


@runtime_checkable
class Remote(Protocol):
    """What an engine behind a server can do besides."""

    def probe(self) -> Probe:
        """Finds out, once, what the server can do; sends no text. Raises ModelError."""
        ...
