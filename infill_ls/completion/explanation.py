"""Why something is shown at a place, or not: what the pipeline noted, as data for pages and JSON.

Made of the trace of the same pipeline that answers. Knows neither editors nor terminals.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from infill_engine.request import EVIDENCE, FILE_END, Cell, Draft
from infill_ls.completion.heads import shown_from
from infill_ls.completion.pipeline import Infilled, Timings
from infill_ls.completion.reuse import lf
from infill_ls.completion.surroundings import NOTHING_AROUND, Surroundings
from infill_ls.completion.trace import How, Look, Trace
from infill_ls.documents import Document
from infill_ls.uris import path_of

# As many characters before a text are compared with what stands before it elsewhere, and fewer
# mean nothing (`infill_engine.copying`).
MOST_SHARED, LEAST_SHARED = 80, 4
MOST_PLACES = 200  # of one line in one file
OTHER_FILES = 8  # are named


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`line` and `column` from 1, in characters."""

    file: str
    line: int
    column: int
    language: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherFile:
    """A file that was searched for what can be copied; nothing else was done with it."""

    path: str
    characters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What there was to go by. Of the file so many characters lie before and after the cursor, of
    which the pipeline gives the engine some, and a model reads some tokens of these.

    `judge_tokens` is 0 where the judge had read nothing in time, or there is none. Tokens are None
    where the engine cannot tell. `neighbours` are snippets of other files for the model to read,
    their characters.
    """

    before: int
    after: int
    prefix: int
    suffix: int
    prefix_tokens: int | None
    suffix_tokens: int | None
    judge_tokens: int | None
    neighbours: tuple[int, ...]
    searched: tuple[OtherFile, ...]
    num_searched: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What runs."""

    name: str
    device: str
    judge: str
    shown_from: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The canvas after a step. `run` 1 filled the hole, later ones filled again what the parser
    blamed. `entropy` is the mean of its cells, in nats."""

    run: int
    step: int
    text: str
    entropy: float
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedText:
    """What a check saw, and why it may not be shown, "" where it may."""

    how: How
    text: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """A text that somebody had for the place; the surest come first.

    `rank` is its place in the engine's order, from 1. `said` is all of it. `origin` is who:
    "denoised", "proposed", "written" by the judge, or "".
    `source` is where the same stands behind the same characters, `shared` how many, "" and 0 where
    it does nowhere. `confidence` is how likely it is right, from 0 to 1; `join` and `likelihood`
    are nats a token, None where nothing was measured; `evidence` what the judge says, in nats.
    `fate` is "shown", "refused", or "spare": nothing was against it, and `spared` is why it is not
    shown all the same. `as_shown` is what is shown of it, "" where nothing is.
    """

    said: str
    origin: str
    source: str
    shared: int
    confidence: float
    likelihood: float | None
    join: float | None
    evidence: dict[str, float]
    checks: tuple[CheckedText, ...]
    fate: str
    why: str
    spared: str = ""
    as_shown: str = ""
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What decided while typing: how probable it is that the right text begins so, where `least` is
    needed. `of` are the texts that do, as numbers from 1 of those considered, and `together` is the
    sum of how likely they are. `why` it is not shown, "" where it is."""

    text: str
    confidence: float
    least: float
    of: tuple[int, ...]
    together: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OnScreen:
    """What is offered at the place already: `text` is left of it, of an answer that was given at
    `line` and `column`, from 1, and of which so much was `typed` since. `asked` is how."""

    text: str
    typed: str
    line: int
    column: int
    asked: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """`asked` is how: "typing" or "invoked". `shown` are the texts that come of it now. `why_not`
    is the reason where nothing is shown, as far as it lies with the text; `before` are the reasons
    that hold whatever the models say: then nothing is shown while typing, though texts are
    considered here; and where a file is left alone nothing is. `on_screen` is what was there before
    this was asked, and need not be the same. `left_out` is what `deadline_ms` were too little for
    (`Infilled`). `doubt` is what the user's own choices multiplied the bound of what is shown while
    typing by."""

    place: Place
    asked: str
    before: tuple[str, ...]
    shown: tuple[str, ...]
    why_not: str
    window: Window | None = None
    model: Model | None = None
    steps: tuple[Step, ...] = ()
    considered: tuple[Considered, ...] = ()
    ms: Timings | None = None
    beginnings: tuple[Beginning, ...] = ()
    on_screen: OnScreen | None = None
    deadline_ms: float | None = None
    left_out: tuple[str, ...] = ()
    doubt: float = 1.0

    def as_json(self) -> dict[str, Any]:
        """For `json.dumps`: numbers that are none are null."""
        said = _finite(asdict(self))
        assert isinstance(said, dict)
        return said


def place_of(document: Document, offset: int) -> Place:
    line = document.lines.line_of(offset)
    name = path_of(document.uri) or document.uri
    return Place(
        file=name,
        line=line + 1,
        column=offset - document.line_start(line) + 1,
        language=document.language_id,
    )


def untouched(document: Document, offset: int, *, asked: str, why: str) -> Explanation:
    """Of a place where no model was asked."""
    place = place_of(document, offset)
    return Explanation(place=place, asked=asked, before=(why,), shown=(), why_not=why)


def explained(
    document: Document,
    offset: int,
    infilled: Infilled,
    trace: Trace,
    *,
    asked: str,
    before: tuple[str, ...] = (),
    around: Surroundings = NOTHING_AROUND,
    seconds: float = math.inf,
    doubt: float = 1.0,
) -> Explanation:
    """`seconds` were given for it, to a user of such `doubt`."""
    numbers, considered = _considered(document, offset, infilled, trace, around)
    return Explanation(
        place=place_of(document, offset),
        asked=asked,
        before=before,
        shown=() if before else tuple(each.text for each in infilled.candidates),
        why_not=before[0] if before else infilled.rejected,
        window=_window(document, offset, infilled, trace, around),
        model=_model(trace, doubt),
        steps=tuple(_steps(trace)),
        considered=considered,
        ms=infilled.ms,
        beginnings=tuple(_beginnings(trace, numbers, considered)),
        deadline_ms=1000 * seconds if math.isfinite(seconds) else None,
        left_out=infilled.left_out,
        doubt=doubt,
    )


def _beginnings(
    trace: Trace, numbers: dict[int, int], considered: Sequence[Considered]
) -> Iterator[Beginning]:
    for each in trace.weighed:
        of = sorted(numbers[id(draft)] for draft in each.drafts if id(draft) in numbers)
        yield Beginning(
            text=each.text,
            confidence=each.score,
            least=each.least,
            of=tuple(of),
            together=min(sum(considered[number - 1].confidence for number in of), 1.0),
            why=each.why,
        )


def _window(
    document: Document, offset: int, infilled: Infilled, trace: Trace, around: Surroundings
) -> Window | None:
    if trace.request is None:
        return None
    read = infilled.draft.read if infilled.draft is not None else None
    prefix_tokens, suffix_tokens, judge_tokens = read or (None, None, None)
    texts = around.elsewhere.split(FILE_END)
    return Window(
        before=offset,
        after=len(document.text) - offset,
        prefix=len(trace.request.prefix),
        suffix=len(trace.request.suffix),
        prefix_tokens=prefix_tokens,
        suffix_tokens=suffix_tokens,
        judge_tokens=judge_tokens,
        neighbours=tuple(map(len, around.neighbours)),
        searched=tuple(
            OtherFile(path=path, characters=len(text))
            for path, text in zip(around.files, texts, strict=False)
        )[:OTHER_FILES],
        num_searched=len(around.files),
    )


def _model(trace: Trace, doubt: float) -> Model | None:
    info = trace.info
    if info is None:
        return None
    least = shown_from(info, doubt)
    return Model(name=info.model, device=info.device, judge=info.judge, shown_from=least)


def _steps(trace: Trace) -> list[Step]:
    """Those of the canvas; the last draft of a run is what was made of it and other texts."""
    return [
        Step(
            run=run,
            step=draft.steps,
            text=draft.text,
            entropy=draft.mean_entropy,
            cells=draft.cells,
        )
        for run, drafts in enumerate(trace.runs, 1)
        for draft in drafts
        if math.isnan(draft.log_probability) and math.isnan(draft.likelihood)
    ]


def _considered(
    document: Document, offset: int, infilled: Infilled, trace: Trace, around: Surroundings
) -> tuple[dict[int, int], tuple[Considered, ...]]:
    """Each text that was said, with all later looks at it; a renoised text is one of its own. And
    the numbers of them by the ids of the drafts."""
    before, after = lf(document.text[:offset]), lf(document.text[offset:])
    sources = [("", 1, before), ("", 1 + before.count("\n"), after)]
    others = zip(around.files, around.elsewhere.split(FILE_END), strict=False)
    sources += [(f"{path}, ", 1, text) for path, text in others]
    shown = {id(candidate.draft): candidate.text for candidate in infilled.candidates}
    firsts = {id(look.draft): look for look in trace.looks if look.how in ("said", "renoised")}
    found: dict[int, Considered] = {}
    for number, first in firsts.items():
        looks = [look for look in trace.looks if id(look.draft) == number]
        checks = tuple(CheckedText(how=each.how, text=each.text, why=each.why) for each in looks)
        # What is not sure enough is checked as well, for what is typed next may speak for it. What
        # is said of a beginning is not said of the text.
        why = first.why or [look for look in looks if look.how != "head"][-1].why
        fate = "shown" if number in shown else "refused" if why else "spare"
        draft = first.draft
        source, shared = _source(draft.text, sources, before)
        found[number] = Considered(
            said=draft.text,
            origin=draft.origin,
            source=source,
            shared=shared,
            confidence=first.score,
            likelihood=draft.likelihood,
            join=draft.join,
            evidence=_evidence(draft),
            checks=checks,
            fate=fate,
            why=why,
            spared=_spared(first, looks, infilled, trace) if fate == "spare" else "",
            as_shown=shown.get(number, ""),
            rank=len(found) + 1,
        )
    order = sorted(found, key=lambda number: -found[number].confidence)
    numbers = {number: at for at, number in enumerate(order, 1)}
    return numbers, tuple(found[number] for number in order)


def _spared(first: Look, looks: Sequence[Look], infilled: Infilled, trace: Trace) -> str:
    """Why a text is not shown that nothing is known against."""
    texts = [candidate.text for candidate in infilled.candidates]
    if first.text in texts:
        return "the same is shown already"
    if any(first.text.startswith(text) for text in texts):
        return "what is shown is a beginning of it"
    checked = any(look.how == "checked" for look in looks)
    if texts and trace.weighed:
        return "another beginning was sure enough"
    if texts:
        return "others were ranked before it" if checked else "enough others were right"
    if not checked and "checks" in infilled.left_out:
        return "there was no time to check it"
    if any(each.score >= each.least for each in trace.weighed):
        return "the beginnings that were sure enough were refused"
    if trace.weighed:
        return "no beginning of it was sure enough"
    return "nothing is shown here"


def _evidence(draft: Draft) -> dict[str, float]:
    return dict(zip(EVIDENCE, draft.evidence, strict=False))


def _source(text: str, sources: Sequence[tuple[str, int, str]], before: str) -> tuple[str, int]:
    """Where the text's first line stands behind most of the characters that lie before the cursor.
    A source has a name, the number of its first line, and a text."""
    line = text.partition("\n")[0]
    best, shared = "", LEAST_SHARED - 1
    for name, first, source in sources if line.strip() else ():
        at = source.find(line)
        for _ in range(MOST_PLACES):
            if at < 0:
                break
            alike = _alike(before, source, at)
            if alike > shared:
                number = first + source.count("\n", 0, at)
                best, shared = f"{name}line {number}", alike
            at = source.find(line, at + 1)
    return (best, shared) if best else ("", 0)


def _alike(before: str, source: str, at: int) -> int:
    """How many characters before the cursor stand before a place elsewhere as well."""
    most = min(MOST_SHARED, at, len(before))
    pairs = zip(reversed(before[-most:]), reversed(source[:at][-most:]), strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), most) if most else 0


def _finite(value: Any) -> Any:
    """JSON has no NaN, and nobody reads ten digits."""
    match value:
        case float():
            return round(value, 4) if math.isfinite(value) else None
        case dict():
            return {name: _finite(each) for name, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
        case _:
            return value
