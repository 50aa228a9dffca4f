"""How long people wait: a server from its start, a warm engine, and the server without a model."""

import gc
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle

from infill_engine import Draft, Engine, EngineConfig, EngineInfo, InfillRequest
from infill_engine.budget import UNLIMITED, Budget
from infill_ls.cli.bench.cases import ONE_LINE, Case, Source, line_spans, modules
from infill_ls.cli.bench.wire import ServerProcess
from infill_ls.cli.machine import resident_mb
from infill_ls.completion.context import warm_request
from infill_ls.completion.pipeline import InfillOptions, Trees, infill_at
from infill_ls.documents import Document
from infill_ls.server.items import to_item

URI = "file:///bench/case.py"
FIRST_SECONDS = 120.0
BIG_FILE_LINES = 10_000
TYPED_CHARS = 20  # of a line, before the user goes elsewhere
# Sides long enough to fill the embedded model's windows, which hold about 1,000 tokens together.
PREFIX_CHARS, SUFFIX_CHARS = 4000, 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """Of one server process. Seconds from the process's start; megabytes."""

    initialize: float
    first: float
    resident: float | None


def cold_start(config: EngineConfig, cases: Sequence[Case], tick: Callable[[], None]) -> ColdStart:
    """Starts a server, opens files and asks, again and again, until there is an answer."""
    with ServerProcess(arguments(config)) as server:
        server.initialize({"deadlineInvokedMs": 60_000})
        initialized = time.perf_counter() - server.started
        first = _first_answer(server, cases) - server.started
        resident = resident_mb(server.pid)
    tick()
    return ColdStart(initialize=initialized, first=first, resident=resident)


def _first_answer(server: ServerProcess, cases: Sequence[Case]) -> float:
    """When there was one, by `time.perf_counter()`; NaN when there never is.

    While the model loads a server answers empty; so it does where the model has nothing to say,
    and that is why several places are asked for in turn.
    """
    for case in cases:
        server.open(_uri(case), case.language_id, case.prefix + case.suffix)
    given_up = time.perf_counter() + FIRST_SECONDS
    for case in cycle(cases):
        if server.complete(_uri(case), *_position(case), invoked=True):
            return time.perf_counter()
        if time.perf_counter() > given_up:
            break
        time.sleep(0.02)
    return float("nan")


def _uri(case: Case) -> str:
    return f"file:///bench/{case.name.replace(':', '/')}.py"


def _position(case: Case) -> tuple[int, int]:
    """In UTF-16 units, which is LSP's default."""
    line = case.prefix.rpartition("\n")[2]
    return case.prefix.count("\n"), len(line.encode("utf-16-le")) // 2


@dataclass(slots=True)
class Samples:
    """Milliseconds; `steps` are those that a cancelled run still made."""

    warm: list[float] = field(default_factory=list)
    typed: list[float] = field(default_factory=list)
    typed_more: list[float] = field(default_factory=list)
    cancel: list[float] = field(default_factory=list)
    cancel_steps: list[int] = field(default_factory=list)
    step: list[float] = field(default_factory=list)


def long_enough(cases: Sequence[Case]) -> list[Case]:
    """One-line holes with a full window of context on both sides."""
    return [
        case
        for case in cases
        if case.kind in ONE_LINE
        and len(case.prefix) >= PREFIX_CHARS
        and len(case.suffix) >= SUFFIX_CHARS
    ]


def warm_engine(engine: Engine, cases: Sequence[Case], tick: Callable[[], None]) -> Samples:
    """One line at 1,000 tokens of context, both sides read; one more character; a cancel."""
    samples = Samples()
    for case in cases:
        trees = Trees()
        document = Document(
            uri=URI, version=1, language_id=case.language_id, text=case.prefix + case.suffix
        )
        at = len(case.prefix)
        options = InfillOptions(max_lines=1)
        engine.warm(warm_request(document, at, options))
        ms = infill_at(engine, document, at, options, trees=trees).ms
        samples.warm.append(ms.total)

        typed = document.replaced(at, at, case.reference[0], version=2)
        infilled = infill_at(engine, typed, at + 1, options, trees=trees)
        samples.typed.append(infilled.ms.total)
        samples.typed_more.append(infilled.ms.total - infilled.ms.denoise - infilled.ms.judge)
        if infilled.draft and infilled.draft.steps:
            samples.step.append(infilled.ms.denoise / infilled.draft.steps)

        _cancel(engine, typed, at + 1, trees, samples)
        tick()
    return samples


def _cancel(engine: Engine, document: Document, at: int, trees: Trees, samples: Samples) -> None:
    """Takes the request back after its first step and waits until the engine has let go."""
    stopped: list[float] = []
    after: list[Draft] = []

    def watch(draft: Draft) -> None:
        if stopped:
            after.append(draft)
        else:
            stopped.append(time.perf_counter())

    infill_at(
        engine,
        document,
        at,
        InfillOptions(max_lines=8),
        trees=trees,
        budget=Budget(cancelled=lambda: bool(stopped)),
        watch=watch,
    )
    if stopped:
        samples.cancel.append((time.perf_counter() - stopped[0]) * 1e3)
        samples.cancel_steps.append(len(after))


class InstantEngine:
    """An engine that knows the answer and takes no time: what is left is the server's."""

    def __init__(self, answer: str) -> None:
        self.answer = answer

    def infill(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> Iterator[Draft]:
        yield Draft(
            text=self.answer,
            fills=(self.answer,),
            steps=1,
            tokens=8,
            mean_entropy=0.0,
            likelihood=0.0,
            join=0.0,
            converged=True,
        )

    def warm(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> None:
        pass

    def forget(self) -> None:
        pass

    def describe(self) -> EngineInfo:
        return EngineInfo(
            model="instant",
            parameters=0,
            device="none",
            dtype="none",
            threads=0,
            canvas_lengths=(),
            max_tokens=64,
            prefix_tokens=704,
            suffix_tokens=316,
            noise="none",
            source="bench",
        )


def big_file() -> Source:
    """Modules one after the other until there are 10,000 lines."""
    text = ""
    for module in modules().values():
        if text.count("\n") < BIG_FILE_LINES:
            text += module
    return Source("big.py", "\n".join(text.split("\n")[:BIG_FILE_LINES]))


@dataclass(slots=True)
class Overhead:
    """Milliseconds: of every change, and of those that are the first at another place."""

    all: list[float] = field(default_factory=list)
    jumps: list[float] = field(default_factory=list)


def server_overhead(places: int, tick: Callable[[], None]) -> Overhead:
    """From a change to the answer's JSON, at places all across a file of 10,000 lines.

    At each a line is deleted and its head typed anew, and after every change what is left of it is
    asked for: the new snapshot, the context, the check of the answer in the file's tree, the item.
    Then the rest is accepted, which the server takes note of while idle; the next place follows.
    """
    source = big_file()
    spans = [span for span in line_spans(source) if span[1] - span[0] > TYPED_CHARS]
    trees, engine = Trees(), InstantEngine("")
    document = Document(uri=URI, version=0, language_id="python", text=source.text)
    options = InfillOptions(max_lines=1)
    infill_at(engine, document, 0, options, trees=trees)
    trees.parse_ahead(document, 0, budget=UNLIMITED)
    gc.freeze()  # as the server does once it has loaded
    samples = Overhead()
    for start, end in spans[:: max(1, len(spans) // places)][:places]:
        line = source.text[start:end]
        for typed in range(TYPED_CHARS + 1):
            at = start + typed
            engine.answer = line[typed:]
            begun = time.perf_counter()
            version = document.version + 1
            if typed:
                document = document.replaced(at - 1, at - 1, line[typed - 1], version=version)
            else:
                document = document.replaced(start, end, "", version=version)
            infilled = infill_at(engine, document, at, options, trees=trees)
            items = [to_item(each, document, at, "utf-16") for each in infilled.candidates]
            json.dumps([each.insert_text for each in items])
            samples.all.append((time.perf_counter() - begun) * 1e3)
            if not typed:
                samples.jumps.append(samples.all[-1])
        document = document.replaced(at, at, line[TYPED_CHARS:], version=version + 1)
        trees.parse_ahead(document, end, budget=UNLIMITED)
        tick()
    return samples


def edge(config: EngineConfig, cases: Sequence[Case], tick: Callable[[], None]) -> list[float]:
    """Milliseconds from a request to its answer as an editor sees them, after one typed character.

    A character that the last answer already held is answered from it, without the model.
    """
    samples = []
    with ServerProcess(arguments(config)) as server:
        server.initialize({"deadlineMs": 60_000, "deadlineInvokedMs": 60_000})
        _first_answer(server, cases)
        for case in cases:
            line, character = _position(case)
            server.complete(_uri(case), line, character, invoked=True)
            server.insert(_uri(case), 2, line, character, case.reference[0])
            begun = time.perf_counter()
            server.complete(_uri(case), line, character + 1, invoked=False)
            samples.append((time.perf_counter() - begun) * 1e3)
            tick()
    return samples


def arguments(config: EngineConfig) -> list[str]:
    """The command line that gives a server this configuration."""
    options = {
        "--model": config.model,
        "--judge": config.judge,
        "--device": config.device,
        "--dtype": config.dtype,
        "--threads": config.threads,
        "--remote-key-env": config.remote_key_env,
    }
    return [part for name, value in options.items() if value for part in (name, str(value))]
