"""A file of the workspace that is gone, or ignored by now: nothing of it is shown any more."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from infill_engine import EngineConfig, InfillRequest
from infill_ls.completion.requests import Requests
from infill_ls.completion.surroundings import Surroundings, any_gone
from infill_ls.completion.worker import Query, QueryLimits, Worker
from infill_ls.documents import Document
from tests.infill_ls.engines import Knowing, Stepping, always, loads
from tests.infill_ls.server.editor import Editor
from tests.infill_ls.server.test_workspace import until


class Copying:
    """An engine's knowledge: the class that another file has, where it may copy from that."""

    def __init__(self) -> None:
        self.elsewhere, self.times = "", 0

    def __call__(self, request: InfillRequest) -> Sequence[str]:
        self.elsewhere, self.times = request.elsewhere, self.times + 1
        return ["Order()"] if "class Order" in request.elsewhere else ["None"]


@pytest.fixture
def engine() -> Copying:
    return Copying()


@pytest.fixture
def worker(engine: Copying) -> Iterator[Worker]:
    worker = Worker(loads(Knowing(engine)))
    worker.load(EngineConfig()).result(60)
    yield worker
    assert worker.close(60)


@pytest.fixture
async def editor(worker: Worker, tmp_path: Path) -> AsyncIterator[Editor]:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/models.py").write_text("class Order: ...\n")
    (tmp_path / "other.py").write_text("other = 1\n")
    editor = Editor(worker)
    await editor.initialize(workspaceFolders=[{"uri": tmp_path.as_uri(), "name": "it"}])
    yield editor
    editor.session.close()
    await editor.session.ended()


def removed(folder: Path) -> str:
    (folder / "sub/models.py").unlink()
    return "sub/models.py"


def removed_with_its_folder(folder: Path) -> str:
    shutil.rmtree(folder / "sub")
    return "sub"


def ignored(folder: Path) -> str:
    (folder / ".gitignore").write_text("models.py\n")
    return ".gitignore"


def ignored_by_us(folder: Path) -> str:
    (folder / "sub/.infillignore").write_text("*\n")
    return "sub/.infillignore"


def written(folder: Path) -> str:
    (folder / "sub/models.py").write_text("class Order: ...\n# more\n")
    return "sub/models.py"


WATCHED, SAVED = "workspace/didChangeWatchedFiles", "textDocument/didSave"


@pytest.mark.parametrize(
    ("happens", "said", "held"),
    [
        (removed, WATCHED, False),
        (removed_with_its_folder, WATCHED, False),
        (ignored, WATCHED, False),
        (ignored_by_us, SAVED, False),
        (written, SAVED, True),
    ],
)
async def test_what_is_held_goes_with_the_file_that_it_may_be_from(
    editor: Editor,
    engine: Copying,
    tmp_path: Path,
    happens: Callable[[Path], str],
    said: str,
    held: bool,
) -> None:
    await until(editor, tmp_path, lambda: "class Order" in engine.elsewhere)
    uri = (tmp_path / "main.py").as_uri()
    editor.open("a = \n", uri=uri, language="python")
    await editor.infills(uri)
    while uri not in editor.session.workspace._kept:
        await asyncio.sleep(0.01)
    assert await editor.infills(uri, line=1) == ["Order()"]
    asked = engine.times
    assert await editor.infills(uri, line=1) == ["Order()"]
    assert engine.times == asked

    changed = (tmp_path / happens(tmp_path)).as_uri()
    params = {"textDocument": {"uri": changed}, "changes": [{"uri": changed, "type": 3}]}
    editor.notify(said, params)
    shown = await editor.infills(uri, line=1)
    assert shown == (["Order()"] if held else ["None"])
    assert (engine.times == asked) is held


async def test_another_folder_takes_it_along(
    editor: Editor, engine: Copying, tmp_path: Path
) -> None:
    await until(editor, tmp_path, lambda: "class Order" in engine.elsewhere)
    reuse = editor.session.requests.reuse
    assert any(each.files for key in reuse._entries_by_key.values() for each in key.values())
    event = {"added": [], "removed": [{"uri": tmp_path.as_uri(), "name": "it"}]}
    editor.notify("workspace/didChangeWorkspaceFolders", {"event": event})

    assert not any(each.files for key in reuse._entries_by_key.values() for each in key.values())


@pytest.mark.parametrize(
    ("gone", "expected"),
    [
        (frozenset(), False),
        (frozenset({"/a/b.py"}), True),
        (frozenset({"/a"}), True),
        (frozenset({"/a/b", "/a/b.pyc", "/b.py"}), False),
        (None, True),
    ],
)
def test_a_file_is_gone_with_its_folder(gone: frozenset[str] | None, expected: bool) -> None:
    assert any_gone(("/c.py", "/a/b.py"), gone) is expected
    assert not any_gone((), gone)


AROUND = Surroundings(elsewhere="class Order", files=("/a/b.py",), known=2)
LIMITS = QueryLimits(
    max_lines=6, max_tokens=None, num_candidates=1, seconds=30.0, min_confidence=0.0
)


@pytest.mark.parametrize(("gone", "shown"), [("/a/b.py", []), ("/c.py", ["Order()"])])
async def test_what_is_being_found_with_it_is_neither_shown_nor_kept(
    gone: str, shown: list[str]
) -> None:
    engine = Stepping(always("Order()"), steps=2)
    worker = Worker(loads(engine))
    await asyncio.wrap_future(worker.load(EngineConfig()))
    requests = Requests(worker)
    document = Document(uri="file:///a.x", version=1, language_id="x", text="a = ")
    query = Query(document=document, offset=4, limits=LIMITS, surroundings=AROUND)
    asked = asyncio.create_task(requests.answer(query, 0.0))
    await asyncio.to_thread(engine.journal.wait, "infill", 1)
    requests.forget_files(frozenset({gone}))
    engine.allow(2)

    assert [each.text for each in (await asked).candidates] == shown
    assert requests.reuse.find(replace(query, surroundings=AROUND)) is None
    requests.close()
    assert await asyncio.to_thread(worker.close, 60)
