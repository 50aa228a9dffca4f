"""What a place gets of the workspace, and that nobody waits for it."""

import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import pytest

from infill_engine.request import FILE_END
from infill_ls.completion.surroundings import NOTHING_AROUND, Place
from infill_ls.completion.workspace import memory as memory_module
from infill_ls.completion.workspace import reading as reading_module
from infill_ls.completion.workspace.memory import FAR, WorkspaceMemory
from infill_ls.completion.workspace.reading import WorkspaceReading
from infill_ls.documents import Document
from infill_ls.ignore import IgnorePolicy

TEXT = "from models import Order\n" + "\n" * 3 * FAR


def document(root: Path, name: str = "main.py", text: str = TEXT) -> Document:
    return Document(uri=(root / name).as_uri(), version=1, language_id="python", text=text)


class Kept:
    """A memory of a folder, and what it told."""

    def __init__(self, root: Path) -> None:
        self.root, self.told, self.busy = root, list[str](), False
        self.memory = WorkspaceMemory(lambda: self.busy, self.told.append)
        self.follow(str(root))

    def follow(self, *folders: str) -> None:
        self.memory.follow(folders, IgnorePolicy(folders=folders))

    def elsewhere(self, offset: int = 0, *opened: Document) -> str:
        return self.memory.at(document(self.root), offset, opened).elsewhere

    def until(self, what: Callable[[], bool]) -> None:
        end = time.monotonic() + 30
        while not what():
            assert time.monotonic() < end, self.told
            time.sleep(0.01)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    (tmp_path / "models.py").write_text("class Order: ...\n")
    (tmp_path / "other.py").write_text("other = 1\n")
    found = Kept(tmp_path)
    yield found
    thread = found.memory._thread
    found.memory.close()
    assert thread is not None
    thread.join(30)
    assert not thread.is_alive()


def test_a_place_gets_the_files_best_first_and_is_told_what_was_read(kept: Kept) -> None:
    kept.until(lambda: bool(kept.told))
    kept.until(lambda: kept.elsewhere() != "")

    assert kept.elsewhere().split(FILE_END) == ["class Order: ...\n", "other = 1\n", ""]
    assert kept.told[0].startswith("workspace: 2 files, 0.0 MB, read in ")


def test_a_choice_says_how_much_was_known(kept: Kept) -> None:
    def known() -> int:
        return kept.memory.at(document(kept.root), 0, ()).known

    assert known() == 0
    kept.until(lambda: known() == 2)
    assert kept.told


def test_the_choice_stays_while_the_cursor_is_near(kept: Kept) -> None:
    kept.until(lambda: bool(kept.told) and kept.elsewhere() != "")
    near = kept.elsewhere(len(TEXT) - 2 * FAR - 10)
    opened = document(kept.root, "other.py", "other = 2\n")

    assert kept.elsewhere(20, opened) is near
    kept.until(lambda: "other = 2" in kept.elsewhere(len(TEXT) - 1, opened))
    assert kept.elsewhere(len(TEXT) - 1) != near


def test_what_is_written_made_or_removed_is_read_again(kept: Kept) -> None:
    kept.until(lambda: bool(kept.told))
    (kept.root / "sub").mkdir()
    (kept.root / "sub" / "new.py").write_text("new = 1\n")
    (kept.root / "other.py").write_text("other = 3\n")
    (kept.root / "models.py").unlink()
    for name in ("sub/new.py", "other.py", "models.py"):
        kept.memory.touched((kept.root / name).as_posix())

    kept.until(lambda: set(kept.elsewhere().split(FILE_END)) == {"new = 1\n", "other = 3\n", ""})
    (kept.root / "sub" / "new.py").unlink()
    (kept.root / "sub").rmdir()
    kept.memory.touched((kept.root / "sub").as_posix())
    kept.until(lambda: set(kept.elsewhere().split(FILE_END)) == {"other = 3\n", ""})
    chosen = kept.elsewhere()
    kept.memory.touched((kept.root / "other.py").as_posix())  # it says what it said
    kept.until(lambda: not kept.memory._stale)
    assert kept.elsewhere() is chosen


@pytest.mark.parametrize("name", [".gitignore", ".infillignore", "sub/.gitignore"])
def test_what_is_ignored_follows_the_ignore_files(kept: Kept, name: str) -> None:
    (kept.root / "sub").mkdir()
    (kept.root / "sub" / "new.py").write_text("new = 1\n")
    kept.memory.touched(f"{kept.root}/sub/new.py")
    kept.until(lambda: bool(kept.told) and "new = 1" in kept.elsewhere())

    (kept.root / name).write_text("new.py\n")
    kept.memory.touched(f"{kept.root}/{name}")
    assert kept.elsewhere() == ""  # nothing that was chosen before
    kept.until(lambda: "other = 1" in kept.elsewhere() and len(kept.told) == 2)
    assert "new = 1" not in kept.elsewhere()
    assert kept.told[1].startswith("workspace: 2 files")

    (kept.root / name).write_text("other.py\n")
    kept.memory.touched(f"{kept.root}/{name}")
    kept.until(lambda: "new = 1" in kept.elsewhere())
    assert ("other = 1" in kept.elsewhere()) == (name == "sub/.gitignore")

    (kept.root / name).unlink()
    kept.memory.touched(f"{kept.root}/{name}")
    kept.until(lambda: all(text in kept.elsewhere() for text in ("new = 1", "other = 1", "Order")))


def test_what_is_ignored_is_not_chosen_though_nobody_said_that_it_is(kept: Kept) -> None:
    kept.until(lambda: bool(kept.told) and "other = 1" in kept.elsewhere())
    (kept.root / ".gitignore").write_text("other.py\n")
    far = cycle((0, len(TEXT) - 1))  # from one another, so that it is chosen anew

    kept.until(lambda: "other = 1" not in kept.elsewhere(next(far)))
    assert "class Order" in kept.elsewhere()


def test_files_of_others_do_not_come_in_by_events(kept: Kept) -> None:
    kept.until(lambda: bool(kept.told))
    names = ("node_modules/d/a.py", ".cache/a.py", "venv/lib/a.py", "late/lib/a.py")
    for name in (*names, "venv/pyvenv.cfg"):
        (kept.root / name).parent.mkdir(parents=True, exist_ok=True)
        (kept.root / name).write_text("foreign = 1\n")
        kept.memory.touched(f"{kept.root}/{name}")
    kept.until(lambda: "foreign = 1" in kept.elsewhere())  # nothing says yet whose that is
    (kept.root / "late/pyvenv.cfg").write_text("")
    kept.memory.touched(f"{kept.root}/late/pyvenv.cfg")

    kept.until(lambda: "foreign = 1" not in kept.elsewhere())
    assert "class Order" in kept.elsewhere()


def test_what_was_edited_elsewhere_since_counts_as_it_is_now(kept: Kept) -> None:
    kept.until(lambda: bool(kept.told) and kept.elsewhere() != "")
    edited = document(kept.root, "other.py", "other = 4\n")
    kept.memory.edited(edited)

    kept.until(lambda: "other = 4" in kept.elsewhere(0, edited))
    assert kept.elsewhere(0, edited) is kept.elsewhere(0, edited)


def test_nothing_outside_of_the_folders_is_read(kept: Kept, tmp_path_factory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "a.py"
    outside.write_text("outside = 1\n")
    kept.until(lambda: bool(kept.told))
    kept.memory.touched(outside.as_posix())
    kept.until(lambda: not kept.memory._stale)
    kept.until(lambda: kept.elsewhere() != "")

    assert "outside" not in kept.elsewhere()


def test_other_folders_replace_those_before_and_none_turns_it_off(
    kept: Kept, tmp_path_factory
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "a.py").write_text("elsewhere = 1\n")
    kept.until(lambda: bool(kept.told))
    kept.follow(str(other))
    kept.until(lambda: len(kept.told) == 2 and "elsewhere" in kept.elsewhere())
    assert "Order" not in kept.elsewhere()

    kept.follow()
    assert kept.memory.at(document(kept.root), 0, ()) is NOTHING_AROUND


def test_the_model_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "PATIENCE", 3600.0)
    (tmp_path / "models.py").write_text("class Order: ...\n")
    kept = Kept(tmp_path)
    kept.busy = True
    time.sleep(0.3)
    assert kept.elsewhere() == ""
    assert kept.told == []

    kept.busy = False
    kept.until(lambda: bool(kept.told) and kept.elsewhere() != "")
    kept.memory.close()


def test_a_choice_that_takes_long_stands_back_for_the_model(tmp_path: Path) -> None:
    for number in range(70):
        (tmp_path / f"{number}.py").write_text(f"x{number} = 1\n")
    reading = WorkspaceReading([str(tmp_path)], IgnorePolicy(folders=(str(tmp_path),)))
    assert [*reading.read()][-1].startswith("workspace: 70 files")
    asked: list[int] = []
    main = document(tmp_path)
    place = Place(document=main, offset=0, opened=(main,), edited=(), asked=0.0)

    assert reading.choose(place, lambda: asked.append(1)).elsewhere
    assert len(asked) == 2


def test_a_fault_ends_nothing(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.until(lambda: bool(kept.told))

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as patched:
        patched.setattr(WorkspaceReading, "choose", broken)
        assert kept.elsewhere() == ""
        kept.until(lambda: kept.memory._place is None)
    kept.until(lambda: kept.elsewhere() != "")


def test_it_ends_within_its_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        (tmp_path / f"{number}.py").write_text("x = 1\n" * 100)
    policy = IgnorePolicy(folders=(str(tmp_path),))
    monkeypatch.setattr(reading_module, "MAX_SECONDS", 0.0)
    (said,) = filter(None, WorkspaceReading([str(tmp_path)], policy).read())

    assert said.startswith("workspace: 0 files")


def test_what_is_searched_is_bounded_and_ends_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_module, "ELSEWHERE", 100)
    (tmp_path / "a.py").write_text("x = 1\n" * 10)
    (tmp_path / "b.py").write_text("y = 1\n" * 10)
    kept = Kept(tmp_path)
    kept.until(lambda: bool(kept.told) and kept.elsewhere() != "")
    found = kept.elsewhere()
    kept.memory.close()

    assert found == "x = 1\n" * 10 + FILE_END + "y = 1\n" * 6 + FILE_END
