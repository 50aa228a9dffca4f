"""A session's close is the end of all that its connection opened."""

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator

import pytest

from infill_engine import Engine, EngineConfig, ModelError
from infill_ls import secret_texts
from infill_ls.completion.worker import Worker
from infill_ls.ignore import IgnorePolicy
from infill_ls.server.session import MAX_TOLD, Session
from infill_ls.syntax.regions import embedded_at
from tests.infill_ls.engines import Knowing, Stepping, last_name, loads
from tests.infill_ls.server.editor import INFILL, URI, Editor, editing

SOURCE = "def area(width, height):\n    return width * height\n" * 50


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker(loads(Knowing(last_name)))
    worker.load(EngineConfig()).result(60)
    yield worker
    assert worker.close(60)


def alive() -> Counter[str]:
    """Of our own classes, how many objects there are: documents, trees, runs, sessions ..."""
    embedded_at.cache_clear()  # it keeps the last one, which something else may keep as well
    gc.collect()
    names = (f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
    ours = (name for name in names if name.startswith("infill_ls."))
    return Counter(name for name in ours if "ignore" not in name)  # that has bounded caches


async def grown(before: Counter[str]) -> Counter[str]:
    """What there is more of than before, once the engine's thread has let go of its last work."""
    for _ in range(10):
        if not (more := alive() - before):
            break
        await asyncio.sleep(0.1)
    return more


async def works(editor: Editor, number_of_files: int) -> None:
    """Opens files and asks in each, as a user does."""
    for number in range(number_of_files):
        uri = f"file:///project/{number}.py"
        editor.open(SOURCE, uri=uri, language="python")
        assert await editor.infills(uri, line=1)


@pytest.mark.parametrize("goodbye", ["shutdown", "nothing"])
async def test_nothing_of_a_connection_stays_when_it_is_gone(worker: Worker, goodbye: str) -> None:
    async def visit() -> None:
        async with editing(worker, shared=True) as editor:
            await works(editor, 5)
            editor.asks(INFILL, {"textDocument": {"uri": URI}})  # still under way
            if goodbye == "shutdown":
                await editor.ask("shutdown")

    await visit()
    await asyncio.sleep(0.2)  # the engine's thread lets go of its last work
    before = alive()
    for _ in range(3):
        await visit()

    assert await grown(before) == Counter()


async def test_a_closed_document_is_not_brought_back_by_what_waits_to_be_warmed(
    worker: Worker,
) -> None:
    async with editing(worker) as editor:
        await works(editor, 1)
        await asyncio.sleep(0.2)  # what was answered is warmed once more
        before = alive()
        for number in range(200):
            uri = f"file:///project/quick{number}.py"
            editor.open(SOURCE, uri=uri, language="python")
            if number % 3 == 0:
                await asyncio.sleep(0.002)  # some get as far as a tree
            editor.notify("textDocument/didClose", {"textDocument": {"uri": uri}})

        assert await grown(before) == Counter()


async def test_two_connections_share_no_trees_and_no_suggestions(worker: Worker) -> None:
    async with editing(worker, shared=True) as one, editing(worker, shared=True) as other:
        one.open("def alpha():\n    return \n", uri=URI, language="python")
        other.open("class Beta:\n    x = \n", uri=URI, language="python")
        for _ in range(3):
            asked = [one.infills(line=1), other.infills(line=1)]
            assert await asyncio.gather(*asked) == [["use_return"], ["use_x"]]
        one.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
        assert await one.infills() == []
        assert await other.infills(line=1) == ["use_x"]


async def test_a_client_that_shuts_down_while_requests_have_not_begun_gets_all_its_answers(
    worker: Worker,
) -> None:
    editor = Editor(worker)
    await editor.initialize()
    editor.open("alpha ")
    params = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 6}}
    asked = editor.asks(INFILL, params)
    ended = editor.asks("shutdown")
    editor.notify("exit")
    await editor.session.ended()

    assert (await ended)["result"] is None
    assert (await asked)["error"]["code"] == -32800
    assert (editor.protocol.exited, editor.protocol.exit_code) == (True, 0)


async def test_a_closed_session_says_nothing_more(worker: Worker) -> None:
    engine = Stepping(last_name, steps=1)
    slow = Worker(lambda _: engine)
    slow.load(EngineConfig()).result(60)
    editor = Editor(slow)
    await editor.initialize(initializationOptions={"editorPluginInfo": {}})
    editor.open("alpha ")
    editor.asks(INFILL, {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 6}})
    await asyncio.to_thread(engine.journal.wait, "step")
    editor.session.close()
    await editor.session.ended()
    said = len(editor.received)
    engine.allow(1)
    assert await asyncio.to_thread(slow.close, 60)
    await asyncio.sleep(0)

    assert editor.received[said:] == []


async def test_each_message_is_shown_once_and_no_more_than_a_user_can_read(worker: Worker) -> None:
    async with editing(worker) as editor:
        for number in range(3 * MAX_TOLD):
            wrong = {"settings": {"infill": {f"nonsense{number}": 1}}}
            editor.notify("workspace/didChangeConfiguration", wrong)
            editor.notify("workspace/didChangeConfiguration", wrong)

        assert len(editor.all_received("window/showMessage")) == MAX_TOLD


async def test_a_model_that_cannot_be_loaded_keeps_no_other_window_waiting() -> None:
    def load(config: EngineConfig) -> Engine:
        if config.model == "/nope":
            raise ModelError("no weights at /nope")
        return Knowing(last_name)

    worker = Worker(load)
    first = Editor(worker, shared=True)
    await first.initialize(initializationOptions={"model": "/nope"})
    while not worker.failed:
        await asyncio.sleep(0.005)
    async with editing(worker, shared=True) as second:
        second.open("alpha ")
        while not worker.ready:
            await asyncio.sleep(0.005)

        assert await second.infills() == ["use_alpha"]
    first.session.close()
    await first.session.ended()


@pytest.mark.parametrize("closes", [True, False])
async def test_no_text_that_was_looked_through_for_secrets_stays(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, closes: bool
) -> None:
    monkeypatch.setattr(secret_texts, "_known", {})
    async with editing(worker) as editor:
        editor.open(SOURCE, uri=URI, language="python")
        document = editor.session.snapshot(URI)
        assert document is not None
        assert secret_texts.secret_in(document.document.uri, SOURCE) == ""
        assert len(secret_texts._known) == 1
        if closes:
            editor.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
            assert secret_texts._known == {}

    assert secret_texts._known == {}


@pytest.mark.parametrize(("secret", "offered"), [("", ["use_alpha"]), ("AKIA" + "Z" * 16, [])])
async def test_a_long_text_is_looked_through_in_parts(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, secret: str, offered: list[str]
) -> None:
    monkeypatch.setattr(secret_texts, "_known", {})
    monkeypatch.setattr(Session, "ignore_policy", IgnorePolicy(remote=True))
    text = f"{secret} beta\n" * 3_000 + "alpha "
    async with editing(worker) as editor:
        editor.open(text, uri=URI)
        assert secret_texts._known == {}, "others get their turn first"
        assert await editor.infills(URI, line=3_000) == offered
        assert [each.text for each in secret_texts._known.values()] == [text]

        editor.open(text, uri="file:///closed")
        editor.notify("textDocument/didClose", {"textDocument": {"uri": "file:///closed"}})
        assert await editor.infills(URI, line=3_000) == offered
        assert len(secret_texts._known) == 1, "nobody looks on at a closed text"
