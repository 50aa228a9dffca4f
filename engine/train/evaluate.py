"""How good a model is on packages it never saw, and what tells its right answers from its wrong.

    python -m train.evaluate --data data/shards --cases 400 [--model FOLDER] [--kinds tail line]

Holes are cut from the validation shard by the offsets stored with it. For each kind: exact match
of the engine's answer beside that of copying alone. Then, for every figure a draft carries, how
exact the surest answers are when a part of them is shown. The last line is JSON.

With --calibrate 0.5 the weights are told which confidence shows the surest half, which is what the
server shows of its own accord, and the curve is written into the card beside them.
"""

import argparse
import json
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from infill_engine import Draft, Engine, EngineConfig, InfillError, InfillRequest, load_engine
from infill_engine.copying import copies
from infill_engine.models.two_sided.config import Precision
from infill_engine.models.two_sided.loading import WEIGHTS
from infill_engine.models.two_sided.weights import read_weights
from infill_engine.tokenizer import TAGS, Tokenizer
from infill_ls.cli.arguments import count
from train.export import SHOWN_TITLE, write_weights
from train.holes import KINDS
from train.shards import load

SHOWN = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
# What the server goes by, as exp() of it: `infill_ls.completion.candidate.confidence`.
FIGURE = "probability"

SECTION = re.compile(rf"{SHOWN_TITLE}\n.*?(?=\n## )", re.DOTALL)
SHOWN_SECTION = f"""\
{SHOWN_TITLE}
As whole texts, what has at least a confidence of {{least:.4f}} is shown: \
the surest {{part:.0%}}; the server shows as much of one as is probable enough.
Confidence is the probability of the whole text: as the prefix stream reads it, or as often as \
what stands elsewhere after the same text is right.
{{cases}} holes of the validation packages, rest of line, line and expression:

| shown | from confidence | of it exactly right |
|---|---|---|
{{rows}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationHole:
    kind: str
    language: str
    prefix: str
    suffix: str
    middle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationAnswer:
    hole: ValidationHole
    draft: Draft
    right: bool
    copy_right: bool

    @property
    def figures(self) -> dict[str, float]:
        """What the draft tells of its own quality; more is surer."""
        draft = self.draft
        return {
            "probability": draft.log_probability,
            "likelihood": draft.likelihood,
            "join": draft.join,
            "likelihood + join": draft.likelihood + draft.join,
            "-entropy": -draft.mean_entropy,
            "likelihood - entropy": draft.likelihood - draft.mean_entropy,
            "all": draft.likelihood + draft.join - draft.mean_entropy,
        }


def holes(
    path: Path, tokenizer: Tokenizer, kinds: Sequence[str], count: int
) -> list[ValidationHole]:
    """`count` holes of the kinds, drawn with a fixed seed, one a document."""
    shard, draw = load(path), random.Random(0)
    found: list[ValidationHole] = []
    documents = list(range(len(shard.doc_language)))
    draw.shuffle(documents)
    for document in documents:
        low, high = int(shard.doc_starts[document]), int(shard.doc_starts[document + 1])
        first, last = shard.span_start.searchsorted([low, high]).tolist()
        chosen = [at for at in range(first, last) if KINDS[shard.span_kind[at]] in kinds]
        if not chosen:
            continue
        at = draw.choice(chosen)
        start, end = int(shard.span_start[at]), int(shard.span_end[at])
        prefix, middle, suffix = (
            tokenizer.decode(shard.tokens[a:b].tolist()).decode("utf-8", "replace")
            for a, b in ((low, start), (start, end), (end, high))
        )
        found.append(
            ValidationHole(
                kind=KINDS[shard.span_kind[at]],
                language=TAGS[shard.doc_language[document]],
                prefix=prefix[-24_000:],  # as `infill_ls.completion.context` hands it over
                suffix=suffix[:12_000],
                middle=middle,
            )
        )
        if len(found) == count:
            break
    return found


def answer(engine: Engine, hole: ValidationHole) -> ValidationAnswer:
    one_line = "\n" not in hole.middle.strip()
    request = InfillRequest(
        prefix=hole.prefix,
        suffix=hole.suffix,
        language_id=hole.language,
        max_lines=1 if one_line else None,
    )
    *_, draft = engine.infill(request)
    return ValidationAnswer(
        hole=hole,
        draft=draft,
        right=draft.text.strip() == hole.middle.strip(),
        copy_right=next(iter(copies(hole.prefix, hole.suffix)), "").strip() == hole.middle.strip(),
    )


def share(values: Sequence[bool]) -> float:
    """Percent."""
    return round(100 * sum(values) / max(len(values), 1), 1)


def precision(
    answers: Sequence[ValidationAnswer], shares: Sequence[float] = SHOWN
) -> dict[str, dict[str, tuple[float, float]]]:
    """By figure and share shown: percent exact, and the figure's threshold there."""
    table: dict[str, dict[str, tuple[float, float]]] = {}
    told = [a for a in answers if a.draft.text.strip() and not math.isnan(a.draft.likelihood)]
    for figure in told[0].figures if told else ():
        ranked = sorted(told, key=lambda a: -a.figures[figure])
        table[figure] = {}
        for part in shares:
            shown = ranked[: max(1, round(part * len(answers)))]
            threshold = round(shown[-1].figures[figure], 3)
            table[figure][f"{part:.0%}"] = (share([a.right for a in shown]), threshold)
    return table


def calibrate(weights: Path, answers: Sequence[ValidationAnswer], part: float) -> float:
    """Writes which confidence shows `part` of the answers into the weights, by rename, and the
    curve into the card beside them; returns that confidence.

    Raises ValueError where nothing was answered, OSError where the files cannot be written.
    """
    curve = precision(answers, (*SHOWN, part)).get(FIGURE)
    if curve is None:
        raise ValueError("no hole was answered, so there is nothing to calibrate by")
    least = min(1.0, math.exp(curve[f"{part:.0%}"][1]))
    _, arrays, metadata = read_weights(weights)
    write_weights(weights, arrays, metadata | {"show_threshold": f"{least:.4f}"})
    card = weights.parent / "MODEL_CARD.md"
    if card.is_file():
        rows = [
            f"| {share:.0%} | {min(1.0, math.exp(curve[f'{share:.0%}'][1])):.4f} | "
            f"{curve[f'{share:.0%}'][0]} % |"
            for share in SHOWN
        ]
        text = SHOWN_SECTION.format(
            cases=len(answers), part=part, least=least, rows="\n".join(rows)
        )
        card.write_text(SECTION.sub(lambda _: text, card.read_text(encoding="utf-8")), "utf-8")
    return least


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.evaluate", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--data", type=Path, default=Path("data/shards"))
    parser.add_argument("--model", default="default")
    parser.add_argument("--dtype", choices=("auto", *get_args(Precision)), default="auto")
    parser.add_argument("--cases", type=count, default=400)
    parser.add_argument("--kinds", nargs="+", default=["tail", "line", "expression", "lines"])
    parser.add_argument("--calibrate", type=float, metavar="PART", help="such as 0.5")
    options = parser.parse_args()
    if not (options.data / "val.npz").is_file():
        parser.error(f"--data {options.data} holds no val.npz; python -m train.corpus makes it")
    try:
        engine = load_engine(EngineConfig(model=options.model, dtype=options.dtype))
    except InfillError as error:
        raise SystemExit(f"train.evaluate: {error}") from None
    beside = Path(engine.describe().source).parent / "tokenizer.json"
    tokenizer = Tokenizer(beside if beside.is_file() else WEIGHTS / "tokenizer.json")
    answers = [
        answer(engine, hole)
        for hole in holes(options.data / "val.npz", tokenizer, options.kinds, options.cases)
    ]
    result: dict[str, object] = {"cases": len(answers)}
    for kind in options.kinds:
        of_kind = [a for a in answers if a.hole.kind == kind]
        row = {
            "cases": len(of_kind),
            "exact": share([a.right for a in of_kind]),
            "copy": share([a.copy_right for a in of_kind]),
            "empty": share([not a.draft.text.strip() for a in of_kind]),
            "tokens_per_forward": round(
                sum(a.draft.tokens for a in of_kind) / max(sum(a.draft.steps for a in of_kind), 1),
                2,
            ),
        }
        print(f"{kind:12}", row)
        result[kind] = row
    result["precision"] = precision(answers)
    for figure, row_shown in precision(answers).items():
        print(f"{figure:24}", row_shown)
    if options.calibrate:
        weights = Path(engine.describe().source)
        result["show_threshold"] = calibrate(weights, answers, options.calibrate)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
