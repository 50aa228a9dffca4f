"""HumanEval-Infilling as tasks whose answers can be run. Its files are read, never shipped.

The holes are the benchmark's own, so that figures compare with published ones: a single line is
asked for from its first column. Only the hole's last line end stays in the file, for the cursor
stands on a line, as in an editor.
"""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.holdout import Task
from infill_engine import RequestError
from infill_ls.cli.bench.cases import Case, hashed

# The file of each kind, and which of the pipeline's kinds of hole it is like.
SETS = {
    "single-line": ("HumanEval-SingleLineInfilling.jsonl.gz", "line"),
    "multi-line": ("HumanEval-MultiLineInfilling.jsonl.gz", "block"),
    "random-span-light": ("HumanEval-RandomSpanInfillingLight.jsonl.gz", "span"),
}
SOURCE = "the repository openai/human-eval-infilling holds them under data/"


def tasks(data: Path, kinds: Sequence[str], limit: int) -> list[Task]:
    """At most `limit` tasks of each kind, chosen by hash; raises RequestError where a file is
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
            rows = [json.loads(line) for line in lines]
        rows.sort(key=lambda row: hashed(row["task_id"]))
        found += [_task(kind, like, row) for row in rows[:limit]]
    return found


def _task(kind: str, like: str, row: dict[str, Any]) -> Task:
    reference, suffix = row["canonical_solution"], row["suffix"]
    if reference.endswith("\n"):
        reference, suffix = reference[:-1], "\n" + suffix
    name = row["task_id"]  # SingleLineInfilling/HumanEval/0/L0
    return Task(
        group="humaneval",
        kind=kind,
        unit="/".join(name.split("/")[1:3]),
        case=Case(
            name=name,
            kind=like,
            language_id="python",
            prefix=row["prompt"],
            reference=reference,
            suffix=suffix,
        ),
        check=f"\n{row['test']}\ncheck({row['entry_point']})\n",
    )
