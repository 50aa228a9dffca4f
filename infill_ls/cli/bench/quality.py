"""What the model says at places where the answer is known, through the server's own pipeline."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from infill_engine import Engine
from infill_ls.cli.bench import scores
from infill_ls.cli.bench.cases import KINDS, Case
from infill_ls.cli.bench.scores import mean
from infill_ls.completion.pipeline import InfillOptions, Trees, infill_at
from infill_ls.documents import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`answer` is what is shown, empty when nothing is. Times in milliseconds."""

    case: Case
    answer: str
    steps: int = 0
    tokens: int = 0
    ms: float = 0.0
    rejected: str = ""

    @property
    def exact(self) -> bool:
        return scores.exact(self.answer, self.case.reference)

    @property
    def similarity(self) -> float:
        return scores.edit_similarity(self.answer, self.case.reference)

    @property
    def adds_error(self) -> bool:
        return bool(self.answer) and scores.adds_error(self.case, self.answer)

    @property
    def breaks(self) -> bool:
        return bool(self.answer) and scores.breaks(self.case, self.answer)

    @property
    def repeats_suffix(self) -> bool:
        """What stood there is no repetition, even where the file itself repeats."""
        differs = self.answer != self.case.reference
        line = self.case.prefix.rpartition("\n")[2]
        return differs and scores.repeats_suffix(self.answer, self.case.suffix, line)


def ask(engine: Engine, cases: Sequence[Case], tick: Callable[[], None]) -> list[Outcome]:
    """Greedy, one answer, no deadline: the same on every run."""
    return [_asked(engine, case, tick) for case in cases]


def _asked(engine: Engine, case: Case, tick: Callable[[], None]) -> Outcome:
    document = Document(
        uri=f"file:///bench/{case.name.partition(':')[0]}",
        version=0,
        language_id=case.language_id,
        text=case.prefix + case.suffix,
    )
    options = InfillOptions(max_lines=case.max_lines)
    infilled = infill_at(engine, document, len(case.prefix), options, trees=Trees())
    tick()
    draft = infilled.draft
    return Outcome(
        case=case,
        answer=infilled.candidates[0].text if infilled.candidates else "",
        steps=draft.steps if draft else 0,
        tokens=draft.tokens if draft else 0,
        ms=infilled.ms.total,
        rejected=infilled.rejected,
    )


def baselines(cases: Sequence[Case]) -> dict[str, list[Outcome]]:
    """What an answer costs nothing: none, and a copy of what stood after similar text."""
    return {
        "empty": [Outcome(case=case, answer="") for case in cases],
        "copy": [Outcome(case=case, answer=scores.copied(case)) for case in cases],
    }


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Shares from 0 to 1. Exactness and similarity count a case that shows nothing as empty."""
    shown = [each for each in outcomes if each.answer]
    steps = sum(each.steps for each in outcomes)
    return {
        "cases": len(outcomes),
        "exact": mean([each.exact for each in outcomes]),
        "similarity": mean([each.similarity for each in outcomes]),
        "shown": len(shown) / max(len(outcomes), 1),
        "exact_of_shown": mean([each.exact for each in shown]),
        "broken": sum(each.breaks for each in shown),
        "new_errors": sum(each.adds_error for each in shown),
        "suffix_repetitions": sum(each.repeats_suffix for each in shown),
        "steps": mean([each.steps for each in outcomes]),
        "tokens_per_forward": sum(each.tokens for each in outcomes) / max(steps, 1),
        "ms": scores.percentile([each.ms for each in outcomes], 0.5),
    }


def by_kind(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The Python cases by kind; those of other languages are few and stand together."""
    kinds = {
        kind: [o for o in outcomes if o.case.kind == kind and o.case.language_id == "python"]
        for kind in KINDS
    }
    kinds["other"] = [o for o in outcomes if o.case.language_id != "python"]
    kinds["all"] = list(outcomes)
    return {kind: group for kind, group in kinds.items() if group}
