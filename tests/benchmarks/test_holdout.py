"""Holes are the same everywhere, and in files that people wrote."""

import gzip
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import holdout, humaneval
from benchmarks.holdout import PYTHON, SCRIPTS, Script
from infill_engine import RequestError
from infill_ls.cli.bench import scores
from infill_ls.cli.bench.cases import KINDS, ONE_LINE
from train.corpus.packages import HELD_OUT_NAMES, held_out

ROOT = Path(__file__).parent.parent.parent
TYPED = """\
import { read, write } from "./io";

// a comment
export class Counter<T> {
  private counts = new Map<T, number>();

  add(item: T, times = 1): this {
    const before = this.counts.get(item) ?? 0;
    this.counts.set(item, before + times);
    return this;
  }

  mostCommon(limit: number): [T, number][] {
    const sorted = [...this.counts.entries()].sort((a, b) => b[1] - a[1]);
    if (limit > 0 && sorted.length > limit) {
      sorted.length = limit;
      write(`cut to ${limit}
        entries`, { silent: true });
    }
    return sorted;
  }
}
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three packages as folders: two in Python, one in TypeScript and compiled from that."""
    folder = tmp_path_factory.mktemp("packages")
    for name, files in {
        "one": ("infill_ls/completion/candidate.py", "infill_ls/completion/context.py"),
        "two": ("infill_ls/syntax/check.py",),
    }.items():
        (folder / name / "tests").mkdir(parents=True)
        for file in files:
            shutil.copy(ROOT / file, folder / name)
            shutil.copy(ROOT / file, folder / name / "tests" / "test_it.py")
    (folder / "three").mkdir()
    (folder / "three" / "counter.ts").write_text(TYPED + "// filler\n" * 90)
    (folder / "three" / "counter.js").write_text("const compiled = true;\n" * 60)
    return folder


def test_every_package_is_held_out_by_the_rule_of_the_corpus() -> None:
    assert set(PYTHON) == HELD_OUT_NAMES
    assert all(held_out(name) for name in (*PYTHON, *SCRIPTS))


def test_holes_are_the_same_every_time_and_a_smaller_limit_is_the_head_of_a_larger(
    packages: Path,
) -> None:
    def names(limit: int) -> dict[tuple[str, str], list[str]]:
        found: dict[tuple[str, str], list[str]] = {}
        for each in holdout.tasks(holdout.given(packages), KINDS, limit):
            found.setdefault((each.group, each.kind), []).append(each.case.name)
        return found

    many, few = names(12), names(5)

    assert many == names(12)
    assert few == {kind: holes[:5] for kind, holes in many.items()}
    assert set(few) == {(group, kind) for group in holdout.GROUPS for kind in KINDS}
    evenly = Counter(name.partition("/")[0] for name in many["python", "tail"])
    assert evenly == {"one": 6, "two": 6}


def test_a_hole_with_its_truth_is_the_file_and_fits_its_kind(packages: Path) -> None:
    texts = {f"{path.parent.name}/{path.name}": path.read_text() for path in packages.glob("*/*.*")}
    for each in holdout.tasks(holdout.given(packages), KINDS, 12):
        case = each.case

        assert texts[each.unit] == each.with_answer(case.reference), case.name
        assert scores.syntax_errors(case.language_id, texts[each.unit]) == 0, case.name
        assert case.reference.strip(), case.name
        assert case.reference.count("\n") < (1 if each.kind in ONE_LINE else 7), case.name
        assert "compiled" not in case.reference, case.name
        if each.kind in ("inner", "arguments"):
            assert case.suffix[0] == {"(": ")", "[": "]", "{": "}"}[case.prefix[-1]], case.name


def test_a_script_is_cut_by_its_syntax_tree() -> None:
    source = Script("pkg/counter.ts", TYPED)

    def texts(kind: str) -> set[str]:
        return {TYPED[start:end] for start, end in source.spans(kind)}

    assert source.language_id == "typescript"
    assert "return this;" in texts("line")
    assert not any("comment" in text or "entries`" in text for text in texts("line"))
    assert {"item", "item, before + times", "(a, b) => b[1] - a[1]"} <= texts("arguments")
    assert " read, write " in texts("inner")
    assert "limit > 0 && sorted.length > limit" in texts("inner")
    block = "const before = this.counts.get(item) ?? 0;\n    this.counts.set(item, before + times);"
    assert block in texts("block")
    assert any(text.startswith("counts.get(item)") for text in texts("tail"))


def test_a_humaneval_hole_keeps_its_line_end_in_the_file(tmp_path: Path) -> None:
    task = {
        "task_id": "SingleLineInfilling/HumanEval/7/L1",
        "entry_point": "f",
        "prompt": "def f(x):\n",
        "canonical_solution": "    y = x\n",
        "suffix": "    return y\n",
        "test": "def check(f):\n    assert f(2) == 2\n",
    }
    file, _ = humaneval.SETS["single-line"]
    (tmp_path / "humaneval-infilling").mkdir()
    with gzip.open(tmp_path / "humaneval-infilling" / file, "wt") as lines:
        lines.write(json.dumps(task) + "\n")
    (found,) = humaneval.tasks(tmp_path, ["single-line", "tail"], 5)

    assert (found.unit, found.case.kind) == ("HumanEval/7", "line")
    assert (found.case.reference, found.case.suffix) == ("    y = x", "\n    return y\n")
    assert found.with_answer("    y = x") == "def f(x):\n    y = x\n    return y\n"
    assert found.check.endswith("check(f)\n")
    with pytest.raises(RequestError, match="no HumanEval-MultiLineInfilling"):
        humaneval.tasks(tmp_path, ["multi-line"], 5)
