"""HumanEval-Infilling as problems whose answers can be run. Its files are read, never shipped.

The holes are the benchmark's own, so that figures compare with published ones: a single line is
asked for from its first column. Only the hole's last line end stays in the file, for the cursor
stands on a line, as in an editor.
"""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.holdout import Problem
from infill_engine import RequestError
from infill_ls.cli.bench.cases import Case, hashed

# The file of each kind, and which of the pipeline's kinds of hole it is like.
SETS = {
    "single-line": ("HumanEval-SingleLineInfilling.jsonl.gz", "line"),
    "multi-line": ("HumanEval-MultiLineInfilling.jsonl.gz", "block"),
    "random-span-light": ("HumanEval-RandomSpanInfillingLight.jsonl.gz", "span"),
}
SOURCE = "the repository openai/human-eval-infilling holds them under data/"


def problems(data: Path, kinds: Sequence[str], limit: int) -> list[Problem]:
    """At most `limit` problems of each kind, chosen by hash; raises RequestError where a file is
    missing. A smaller limit gives the head of what a larger one gives."""
    found = []
    for kind, (file, like) in SETS.items():
        if kind not in kinds:
            continue
        places = (data / file, data / "humaneval-infilling" / file)
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise RequestError(f"no {file} in {data} or {data}/humaneval-infilling; {SOURCE}")
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            tasks = [json.loads(line) for line in lines]
        tasks.sort(key=lambda task: hashed(task["task_id"]))
        found += [_problem(kind, like, task) for task in tasks[:limit]]
    return found


def _problem(kind: str, like: str, task: dict[str, Any]) -> Problem:
    reference, suffix = task["canonical_solution"], task["suffix"]
    if reference.endswith("\n"):
        reference, suffix = reference[:-1], "\n" + suffix
    name = task["task_id"]  # SingleLineInfilling/HumanEval/0/L0
    return Problem(
        group="humaneval",
        kind=kind,
        unit="/".join(name.split("/")[1:3]),
        case=Case(
            name=name,
            kind=like,
            language_id="python",
            prefix=task["prompt"],
            reference=reference,
            suffix=suffix,
        ),
        check=f"\n{task['test']}\ncheck({task['entry_point']})\n",
    )
