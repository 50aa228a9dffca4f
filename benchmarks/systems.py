"""What is asked to fill the holes: engines, through the pipeline that people get, and rules."""

import math
import re
import time
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

from benchmarks.ar_baseline.files import is_ar_baseline, load_ar_baseline
from benchmarks.grading import Suggestion
from benchmarks.holdout import Task
from infill_engine import Engine, EngineConfig, load_engine
from infill_ls.cli.bench import scores
from infill_ls.cli.bench.cases import Case
from infill_ls.completion.pipeline import InfillOptions, Trees, infill_at
from infill_ls.documents import Document

System = Callable[[Task], Suggestion]
MULTI_LINE = 20  # lines at most, as of an explicit request in an editor
LEXEME = re.compile(r"\w+|[^\w\s]")


@lru_cache(maxsize=1 << 16)
def _tokens(line: str) -> Counter[str]:
    return Counter(LEXEME.findall(line))


def load(config: EngineConfig) -> Engine:
    """As `load_engine`, and the autoregressive baseline, which does not ship. Raises ModelError."""
    return load_ar_baseline(config) if is_ar_baseline(config.model) else load_engine(config)


def engine_system(engine: Engine) -> System:
    """Greedy, one answer, no deadline, nothing hidden for doubt."""

    def ask(task: Task) -> Suggestion:
        case = task.case
        document = Document(
            uri=f"file:///{case.name.partition(':')[0]}",
            version=0,
            language_id=case.language_id,
            text=case.prefix + case.suffix,
        )
        lines = 1 if case.max_lines == 1 else MULTI_LINE
        options = InfillOptions(max_lines=lines)
        infilled = infill_at(engine, document, len(case.prefix), options, trees=Trees())
        draft = infilled.draft
        best = infilled.candidates[0] if infilled.candidates else None
        return Suggestion(
            text=best.text if best else "",
            ms=infilled.ms.total,
            encode_ms=infilled.ms.encode,
            steps=draft.steps if draft else 0,
            tokens=draft.tokens if draft else 0,
            sure=best.score if best else math.nan,
            joined=math.exp(min(best.draft.likelihood + best.draft.join, 0)) if best else math.nan,
        )

    return ask


def without_model(answer: Callable[[Case], str]) -> System:
    def ask(task: Task) -> Suggestion:
        started = time.perf_counter()
        text = answer(task.case)
        return Suggestion(text=text, ms=(time.perf_counter() - started) * 1e3)

    return ask


def line_copy(case: Case) -> str:
    """The line after the one most like the line above the cursor, less what is typed of it.

    Alike by the tokens in common, the nearer one of two; looks through the whole file.
    """
    before, after = case.prefix.split("\n"), case.suffix.split("\n")
    above = next((at for at in range(len(before) - 2, -1, -1) if before[at].strip()), None)
    if above is None:
        return ""
    wanted = _tokens(before[above])
    lines = [*before[:-1], *after[1:]]
    best, following = 0.0, ""
    # The line above is its own best match; what follows the cursor's line is no answer either.
    for at in [*range(above - 1, -1, -1), *range(len(before) - 1, len(lines) - 1)]:
        found = _tokens(lines[at])
        union = (wanted | found).total()
        alike = (wanted & found).total() / union if union else 0.0
        if alike > best:
            best, following = alike, lines[at + 1].rstrip()
    if following.startswith(before[-1]):
        return following.removeprefix(before[-1])
    return following.strip().removeprefix(before[-1].strip()).lstrip()


WITHOUT_MODEL: dict[str, System] = {
    "empty": without_model(lambda case: ""),
    "line copy": without_model(line_copy),
    "n-gram copy": without_model(scores.copied),
}
