"""`infill-ls explain`, with the shipped models where it counts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infill_engine import EngineInfo, load_engine
from infill_ls.cli.errors import FILE, NOTHING, USAGE
from infill_ls.completion.acceptance import of_user
from tests.infill_ls.cli.runs import ANSWER
from tests.infill_ls.engines import Knowing, always, loads

SOURCE = '''"""Prices."""


class Percent:
    def price(self, item_price: float, item_count: int) -> float:
        return item_price * item_count


class Fixed:
    def price(self, item_price: float, item_count: int) -> float:
        return item_
'''


def test_the_shipped_models_are_explained(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "prices.py"
    path.write_text(SOURCE)
    done = run("explain", f"{path}:11:21", "--json", "--deadline", 60_000, load=load_engine)
    said = done.json

    assert said["window"]["prefix"] == len(SOURCE) - 1
    assert said["window"]["prefix_tokens"] > 50
    assert [step["step"] for step in said["steps"]] == [*range(1, len(said["steps"]) + 1)]
    assert {each["origin"] for each in said["considered"]} <= {"denoised", "proposed", "written"}
    assert "denoised" in {each["origin"] for each in said["considered"]}
    assert sum(each["fate"] == "shown" for each in said["considered"]) == len(said["shown"])
    copied = [each for each in said["considered"] if each["said"] == "price * item_count"]
    assert copied
    assert copied[0]["source"] == "line 6"
    assert done.code == (0 if said["shown"] else NOTHING)


def test_the_page_is_read_from_what_is_shown_to_the_milliseconds(run: Any, source: Path) -> None:
    done = run("explain", f"{source}:2:12")

    assert (done.code, done.err) == (0, "")
    parts = ["This is shown while typing.", ANSWER, "what the models saw", "milliseconds"]
    places = [done.out.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.parametrize("name", [".env.py", ".env"])
def test_a_file_with_secrets_is_left_alone_and_no_model_is_asked(
    run: Any, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_text("KEY=\n")
    engine = Knowing(always("x"))
    done = run("explain", f"{path}:1:5", load=loads(engine))

    assert done.code == NOTHING
    assert "a file that may hold secrets" in done.out
    assert engine.journal.count("infill") == 0


def test_other_files_are_named(run: Any, source: Path) -> None:
    (source.parent / "shapes.py").write_text("def volume(radius):\n    return 4 * radius\n")
    done = run("explain", f"{source}:2:12", "--workspace", source.parent, "--json")

    searched = done.json["window"]["searched"]
    assert [Path(file["path"]).name for file in searched] == ["shapes.py"]
    assert run("explain", f"{source}:2:12", "--workspace", source).code == FILE


def test_a_place_outside_the_file_is_a_mistake(run: Any, source: Path) -> None:
    assert run("explain", f"{source}:99:1").code == USAGE


@pytest.fixture
def counted() -> Any:
    acceptance = of_user()
    acceptance.reset()
    yield acceptance
    acceptance.reset()


def test_stats_say_what_was_counted_and_forget_it(run: Any, counted: Any) -> None:
    assert "Nothing has been shown" in run("stats").out
    counted.shown("python", 0.5)
    counted.accepted("python", 0.5)
    counted.took("python", 1200)
    counted.looked_at("python", 1200, 900)
    counted.save()

    done = run("stats")
    assert [word for word in ("python", "1,200", "75 %") if word in done.out] == [
        *("python", "1,200", "75 %")
    ]
    assert run("stats", "--json").json["all"] == {
        "shown": 1,
        "accepted": 1,
        "dismissed": 0,
        "characters": 1200,
        "looked_at": 1200,
        "kept": 900,
    }
    assert run("stats", "--reset", "--json").json["languages"] == {}
    assert not counted.path.exists()


class Measured(Knowing):
    """Says how probable its texts are, so less than all of them is shown."""

    def describe(self) -> EngineInfo:
        return replace(super().describe(), show_threshold=0.5)


def test_what_was_learned_of_the_user_counts(run: Any, counted: Any, source: Path) -> None:
    load = loads(Measured(always(ANSWER)))
    assert "You dismissed" not in run("explain", f"{source}:2:12", load=load).out
    for _ in range(60):
        counted.dismissed("python", 0.9)
    counted.save()
    done = run("explain", f"{source}:2:12", load=load)

    assert "You dismissed more of what was shown in python" in " ".join(done.out.split())
    said = run("explain", f"{source}:2:12", "--json", load=load).json
    assert said["doubt"] == 2.0
    assert said["model"]["shown_from"] == 0.99
    assert "You dismissed" not in run("explain", f"{source}:2:12", "--invoked", load=load).out
