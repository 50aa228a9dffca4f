"""`infill-ls explain`: why something is shown at one place of one file, or why nothing is."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from infill_engine import Budget, Engine, EngineConfig
from infill_ls.cli import files, frames
from infill_ls.cli.characters import visible
from infill_ls.cli.errors import NOTHING, FileError
from infill_ls.cli.infill import document_of, offset_of
from infill_ls.cli.position import FilePosition
from infill_ls.cli.view import BOLD, DIM, INFILL, WARN, console_of
from infill_ls.completion import explanation_page as page
from infill_ls.completion.acceptance import doubt, of_user
from infill_ls.completion.context import InfillOptions, warm_request
from infill_ls.completion.explanation import Considered, Explanation, explained, untouched
from infill_ls.completion.heads import percent, shown_from
from infill_ls.completion.pipeline import Trees, infill_at
from infill_ls.completion.surroundings import NOTHING_AROUND, Place, Surroundings
from infill_ls.completion.trace import Trace
from infill_ls.completion.worker import QueryLimits
from infill_ls.completion.workspace.reading import WorkspaceReading
from infill_ls.documents import Document
from infill_ls.ignore import IgnorePolicy
from infill_ls.server.policy import limits_of, refusal
from infill_ls.settings import Settings

STEP_WIDTH = 34  # of a canvas that is drawn


def explain(
    arguments: argparse.Namespace, config: EngineConfig, load: Callable[[EngineConfig], Engine]
) -> int:
    position: FilePosition = arguments.position
    data = files.read(position.path)
    document = document_of(position.path, data, arguments.language)
    offset = offset_of(document, position)
    asked = "invoked" if arguments.invoked else "typing"
    folders = (str(arguments.workspace.absolute()),) if arguments.workspace else ()
    if arguments.workspace and not arguments.workspace.is_dir():
        raise FileError(f"{arguments.workspace} is no folder.")
    policy = IgnorePolicy(remote=config.is_remote, folders=folders)
    if why := refusal(Settings(), policy, document):
        explanation = untouched(document, offset, asked=asked, why=why)
    else:
        around = _around(document, offset, policy) if folders else NOTHING_AROUND
        limits = limits_of(Settings(), invoked=arguments.invoked)
        if limits.min_confidence is None:  # as a server does it
            limits = replace(limits, doubt=doubt(of_user().of(document.language_id)))
        if arguments.deadline:
            limits = replace(limits, seconds=arguments.deadline / 1000)
        explanation = _explained(document, offset, limits, asked, around, load(config))
    if arguments.json:
        print(json.dumps(explanation.as_json(), ensure_ascii=False))
    else:
        console_of(sys.stdout).print(report(explanation))
    return 0 if explanation.shown else NOTHING


def _around(document: Document, offset: int, policy: IgnorePolicy) -> Surroundings:
    """What the files of the workspace say, read as the server reads them."""
    reading = WorkspaceReading(policy.folders, policy)
    for _ in reading.read():
        pass
    place = Place(document=document, offset=offset, opened=(), edited=(), asked=time.monotonic())
    return reading.choose(place)


def _explained(
    document: Document,
    offset: int,
    limits: QueryLimits,
    asked: str,
    around: Surroundings,
    engine: Engine,
) -> Explanation:
    """As in an editor that has waited at the place for a moment: both sides are read before."""
    least = limits.min_confidence
    options = InfillOptions(
        max_lines=limits.max_lines,
        num_candidates=limits.num_candidates,
        num_choices=limits.num_choices,
        min_confidence=0.0,
        neighbours=around.neighbours,
        elsewhere=around.elsewhere,
    )
    engine.warm(warm_request(document, offset, options))
    threshold = shown_from(engine.describe(), limits.doubt)  # there may be a judge only now
    trace, trees = Trace(), Trees()
    trees.parse_ahead(document, offset, budget=Budget())
    infilled = infill_at(
        engine,
        document,
        offset,
        replace(options, min_confidence=threshold if least is None else least),
        trees=trees,
        budget=Budget(deadline=time.monotonic() + limits.seconds),
        trace=trace,
    )
    return explained(
        document,
        offset,
        infilled,
        trace,
        asked=asked,
        around=around,
        seconds=limits.seconds,
        doubt=limits.doubt,
    )


def report(explanation: Explanation) -> Group:
    """The page in a terminal."""
    place = explanation.place
    parts: list[RenderableType] = [
        Text(),
        Text.assemble(" ", (visible(str(place)), BOLD), "  ", (visible(place.language), DIM)),
        Text(),
        _indented(Text(visible(page.verdict(explanation)), INFILL if explanation.shown else WARN)),
        *(_indented(Text(f"Also: {visible(why)}.", WARN)) for why in explanation.before[1:]),
    ]
    if too_little := page.too_little_time(explanation, "--deadline MS"):
        parts.append(_indented(Text(visible(too_little), WARN)))
    if learned := page.learned(explanation):
        parts.append(_indented(Text(visible(learned), WARN)))
    if explanation.beginnings:
        parts += _titled("what decided", _beginnings(explanation))
    if explanation.considered:
        texts = _considered(explanation.considered)
        parts += _titled(
            "every text that was considered", Group(_note(page.scale(explanation)), texts)
        )
    if explanation.window is not None:
        said = page.window_lines(explanation.window, explanation.left_out)
        lines = [Text(visible(line)) for line in said]
        parts += _titled("what the models saw", Group(*lines))
    if explanation.steps:
        parts += _titled("the canvas, step by step", _steps(explanation))
    if explanation.ms is not None:
        parts += _titled("milliseconds", _times(explanation))
    return Group(*parts, Text())


def _indented(what: RenderableType, by: int = 2) -> Padding:
    return Padding(what, (0, 0, 0, by), expand=False)


def _titled(title: str, what: RenderableType) -> list[RenderableType]:
    return [Text(), Text(f" {title}", DIM), Text(), _indented(what)]


def _note(text: str) -> Text:
    return Text(f"{text}\n", DIM)


def _beginnings(explanation: Explanation) -> Group:
    table = Table.grid(padding=(0, 2))
    for each, line in zip(explanation.beginnings, page.beginnings(explanation), strict=True):
        table.add_row(Text(_one_line(each.text), "" if each.why else INFILL))
        table.add_row(Text(visible(line)))
    return Group(_note(page.BEGINNINGS), table)


def _considered(texts: tuple[Considered, ...]) -> Table:
    """A text a row: how sure, what it says, and under it where it came from and what was said."""
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for number, text in enumerate(texts, 1):
        style = INFILL if text.fate == "shown" else DIM if text.fate == "refused" else ""
        sure = percent(text.confidence)
        table.add_row(f"{number}.", sure, Text(_one_line(text.said), style))
        table.add_row("", "", Group(*_remarks(text)))
    return table


def _remarks(text: Considered) -> Iterator[Text]:
    marks = {"shown": ("✓ ", INFILL), "refused": ("✗ ", WARN), "spare": ("· ", DIM)}
    yield Text.assemble(marks[text.fate], visible(page.fate(text)))
    yield Text(visible(page.origin(text)), DIM)
    for line in page.figures(text):
        yield Text(line, DIM)
    for said, another in page.checked(text):
        yield Text(visible(said) + (f", {_one_line(another)}" if another else ""), DIM)


def _one_line(text: str) -> str:
    return visible(text.replace("\n", "↵"))


def _steps(explanation: Explanation) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    table.add_column(overflow="fold")
    for step in explanation.steps:
        name = f"again {step.run - 1}, {step.step}" if step.run > 1 else f"step {step.step}"
        table.add_row(
            Text(name, DIM),
            f"{step.entropy:.2f}",
            frames.canvas_strip(step.cells, STEP_WIDTH),
            Text(_one_line(step.text)),
        )
    return table


def _times(explanation: Explanation) -> Group:
    ms, model = explanation.ms, explanation.model
    assert ms is not None, "asked about where there are some"
    stages = {
        "context": ms.context,
        "encode": ms.encode,
        "denoise": ms.denoise,
        "judge": ms.judge,
        "checks": ms.validate,
    }
    line = ", ".join(f"{name} {value:.1f}" for name, value in stages.items())
    lines = [Text(f"{ms.total:.1f}: {line}")]
    if model is not None:
        lines.append(Text(visible(f"{model.name} on {model.device}"), DIM))
        lines += [Text(visible(f"judge: {model.judge}"), DIM)] if model.judge else []
    return Group(*lines)
