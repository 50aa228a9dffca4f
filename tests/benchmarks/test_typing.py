"""What is counted of somebody who types, and a sample of it through the real server."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import holdout
from benchmarks.typing import __main__ as typing
from benchmarks.typing.serve import CpuBudget
from benchmarks.typing.sessions import LINES, Session, sessions, unindented
from benchmarks.typing.systems import Copy, Notes, said_of
from benchmarks.typing.typist import Answer, Tally, keys_of, next_key, right, type_session

ROOT = Path(__file__).parents[2]
GOAL = "total = 0\n    for each in values:\n        total += each"


def session(goal: str = GOAL, before: str = "def f(values):\n    ") -> Session:
    return Session(
        package="p", path="f.py", line=2, language_id="python", before=before, goal=goal,
        after="\n    return total\n", others={},
    )  # fmt: skip


class Scripted:
    """Implements `System`: shows what it was told to behind what is typed so far."""

    def __init__(self, by_typed: dict[str, str]) -> None:
        self._by_typed, self.typed = by_typed, ""

    def begin(self, session: Session) -> None:
        self.typed = ""

    def insert(self, text: str) -> None:
        self.typed += text

    def suggest(self) -> Answer:
        return Answer(text=self._by_typed.get(self.typed, ""), ms=1.0, how="model")


def typed(by_typed: dict[str, str], goal: str = GOAL) -> Tally:
    system = Scripted(by_typed)
    tally = type_session(system, session(goal), 0.0)
    assert system.typed == goal
    return tally


@pytest.mark.parametrize(
    ("shown", "goal", "said"),
    [
        ("total", "total = 0\nx", "total"),
        ("total = 0", "total = 0\nx", "total = 0"),
        ("total = 0\nx", "total = 0\nx\ny", "total = 0\nx"),
        ("total = 0\nz", "total = 0\nx", "total = 0"),
        ("totals", "total = 0", ""),
        ("\n    x", "\n    x = 1", "\n    x"),
        ("", "x", ""),
    ],
)
def test_lines_are_right_up_to_the_first_that_is_not(shown: str, goal: str, said: str) -> None:
    assert goal[: right(shown, goal)] == said


def test_an_editor_indents_by_itself() -> None:
    assert next_key("\n    for x") == "\n    "
    assert next_key("for") == "f"
    assert keys_of("x\n    for") == 5


def test_without_suggestions_every_character_is_a_key() -> None:
    tally = typed({})

    assert (tally.keys, tally.taken, tally.shown) == (tally.characters, 0, 0)
    assert tally.characters == keys_of(GOAL) < len(GOAL)


def test_what_is_right_is_taken_with_one_key() -> None:
    tally = typed({"": "total = 0\n    for x in y:"})

    assert (tally.taken, tally.right, tally.wrong) == (len("total = 0"), 1, 0)
    assert tally.keys == tally.characters - tally.taken + 1


def test_what_stays_on_the_screen_is_wrong_once() -> None:
    wrong = {"": "total = 1", "t": "otal = 1", "to": "tal = 1"}

    assert typed(wrong).wrong == 1
    assert typed({**wrong, "to": "tal = 2"}).wrong == 2
    assert typed({"": "total = 1", "to": "tal = 1"}).wrong == 2  # it went and came back


def test_what_says_two_characters_is_typed() -> None:
    tally = typed({"": "to"})

    assert (tally.taken, tally.right, tally.wrong) == (0, 1, 0)


def test_something_at_the_end_of_a_line_is_noise() -> None:
    assert typed({"total = 0": " + 1"}).noise == 1
    assert typed({"total = 0": "\n    for each"}).noise == 0
    assert typed({"total": " = 1"}).noise == 0


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two packages, one of which has a second file with all that the first says, deeper in."""
    folder = tmp_path_factory.mktemp("packages")
    for name, files in {
        "one": ("infill_ls/completion/candidate.py", "infill_ls/completion/context.py"),
        "two": ("infill_ls/syntax/check.py",),
    }.items():
        (folder / name).mkdir()
        for file in files:
            shutil.copy(ROOT / file, folder / name)
    check = (ROOT / "infill_ls/syntax/check.py").read_text(encoding="utf-8")
    indented = "\n".join(f"    {line}" if line else line for line in check.split("\n"))
    (folder / "two" / "copy.py").write_text(f"if True:\n{indented}\n", encoding="utf-8")
    return folder


def test_sessions_are_the_same_everywhere_and_never_in_the_workspace(packages: Path) -> None:
    given = holdout.given(packages)
    found = sessions(given, 10, seed=0)

    assert [each.name for each in found[:2]] == [each.name for each in sessions(given, 2, seed=0)]
    assert {each.package for each in found[:2]} == {"one", "two"}
    assert [each.name for each in found] != [each.name for each in sessions(given, 10, seed=1)]
    for each in found:
        text = next(
            data.decode()
            for path, data in holdout.files(packages / each.package)
            if path == each.path
        )
        assert each.before + each.goal + each.after == text
        assert each.goal.count("\n") == LINES - 1
        assert not each.before.rpartition("\n")[2].strip()
        assert each.goal == each.goal.strip()
        assert each.path not in each.others
        said = unindented(each.goal)
        assert not any(said in unindented(other) for other in each.others.values())
        assert ("context.py" in each.others) == (each.path == "candidate.py")


def test_copying_sees_what_is_typed() -> None:
    copy = Copy()
    copy.begin(session(before="def f(values):\n    first = values[0]\n    "))
    assert copy.suggest().text != "t = values[0]"
    copy.insert("firs")
    assert copy.suggest().text == "t = values[0]"


def test_the_servers_log_says_where_an_answer_came_from() -> None:
    line = "automatic v3: model, 1 items, 120 ms; ms: context 0.1, encode 1.0, judge {}, total 9.0"

    assert said_of([line.format("80.5")]) == ("model", True)
    assert said_of([line.format("0.0"), "engine: two-sided"]) == ("model", False)
    assert said_of(["automatic v?: language x is off, 0 items, 0 ms"])[0] == "language x is off"


def test_a_deadline_of_cpu_time_does_not_come_while_others_compute() -> None:
    budget = CpuBudget(deadline=time.thread_time() + 0.05)
    time.sleep(0.1)
    assert not budget.over
    assert budget.within(0.01).left() <= 0.01
    until = time.thread_time() + 0.05
    while time.thread_time() < until:
        pass
    assert budget.late
    assert CpuBudget(cancelled=lambda: True).left() == 0.0


def test_notes_are_read_line_by_line(tmp_path: Path) -> None:
    from benchmarks.soak.editor import Text
    from benchmarks.soak.serve import digest
    from benchmarks.typing.serve import NOTES

    text, notes, here = Text("u", "python", "ab", 1), Notes(tmp_path), digest("a", "b")
    lines = [f"ran {here} 12.5", "read 0", "ran 0 5", f"ran {here} 2.0", f"read {here}", "ran 7"]
    (tmp_path / NOTES).write_text("\n".join(lines))

    assert notes.ran(text) == 14.5, "what ran for another place was ahead of being asked for"
    with (tmp_path / NOTES).open("a") as file:
        file.write(f"\nran {here} 3.0\n")
    notes.forget()
    with (tmp_path / NOTES).open("a") as file:
        file.write(f"ran {here} 1.0\nread {here}\n")
    assert notes.ran(text) == 1.0


def test_after_a_suggestion_is_taken_the_next_one_may_be_there_at_once() -> None:
    tally = typed({"": "total = 0", "total = 0": ""})

    assert (tally.accepted, tally.ready) == (1, 1)


@pytest.mark.parametrize("wrong", ["--sessions 0", "--deadline-ms 5", "--data /no/folder"])
def test_bad_input_is_one_sentence(wrong: str) -> None:
    with pytest.raises(SystemExit, match=wrong):
        typing.main(wrong.split())


@pytest.mark.e2e
@pytest.mark.slow
def test_a_session_through_the_real_server(packages: Path) -> None:
    path = os.pathsep.join(str(ROOT / part) for part in (".", "engine", "kernels"))
    options = ["--data", str(packages), "--sessions", "1", "--deadline-ms", "60"]
    columns = ["--columns", typing.NOTHING, typing.COPY, typing.OURS]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.typing", *options, *columns],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["deadline_ms"] == 60
    assert len(result["sessions"]) == 1
    nothing, copy, ours = (result["columns"][name] for name in columns[1:])
    assert (nothing["taken"], nothing["keys_per_100_characters"]) == (0, 100)
    assert copy["taken"] > 0
    assert (ours["unanswered"], ours["misplaced"]) == (0, 0), ours
    assert set(ours["hows"]) <= {"model", "reused"}, ours
    assert ours["hows"]["model"] > 0
    assert ours["shown"] > 0
    assert ours["wrong_per_100_keys"] < 25, ours
