"""Next edits as a client asks for them: answered always, for the text as it is, one at most."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from infill_engine import Budget, BudgetSpent, Engine, EngineConfig, EngineInfo, weighing
from infill_ls.completion.next_edit import offer
from infill_ls.completion.next_edit.weighed import Alternatives
from infill_ls.completion.runs import EditQuery
from infill_ls.completion.steps import Steps
from infill_ls.completion.worker import Worker
from infill_ls.documents import Document
from infill_ls.settings import Settings
from tests.infill_ls.engines import Knowing, Stepping, last_name, loads
from tests.infill_ls.server.editor import Editor, editing

NEXT, URI = "textDocument/copilotInlineEdit", "file:///project/some%20file.py"
TEXT = "def total(a):\n    return a\n\n\nprint(total(1))\nprint(total(2))\n"
RENAMED = {"start": {"line": 0, "character": 4}, "end": {"line": 0, "character": 9}}
AT = {"line": 0, "character": 12}
GOT = "import a\n\nx = a.get_value(1)\n"


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker(loads(Knowing(last_name)))
    worker.load(EngineConfig()).result(60)
    yield worker
    assert worker.close(60)


@pytest.fixture
async def editor(worker: Worker) -> AsyncIterator[Editor]:
    """With a function that was just renamed, and as much time as it takes."""
    async with editing(worker) as editor:
        editor.session.settings = Settings(deadline_ms=60_000)
        editor.open(TEXT, URI, "python")
        change(editor, 2, RENAMED, "subtotal")
        yield editor


class Judging(Knowing):
    """With a judge."""

    def describe(self) -> EngineInfo:
        return replace(super().describe(), judge_parameters=1)


@pytest.fixture
async def judged() -> AsyncIterator[Editor]:
    worker = Worker(loads(Judging(last_name)))
    worker.load(EngineConfig()).result(60)
    worker.has_judge = True  # as after the first answer
    async with editing(worker) as editor:
        editor.session.settings = Settings(deadline_ms=60_000)
        editor.open(TEXT, URI, "python")
        change(editor, 2, RENAMED, "subtotal")
        yield editor
    assert worker.close(60)


def change(editor: Editor, version: int, at: dict[str, Any], text: str, uri: str = URI) -> None:
    editor.notify(
        "textDocument/didChange",
        {
            "textDocument": {"uri": uri, "version": version},
            "contentChanges": [{"range": at, "text": text}],
        },
    )


def asked(version: int | None = None, uri: str = URI) -> dict[str, Any]:
    document = {"uri": uri} if version is None else {"uri": uri, "version": version}
    return {"textDocument": document, "position": AT}


async def edits(editor: Editor, **about: Any) -> list[Any]:
    result = (await editor.ask(NEXT, asked(**about)))["result"]
    assert list(result) == ["edits"]
    return list(result["edits"])


async def test_an_edit_says_where_it_is_and_what_to_run_once_it_is_made(editor: Editor) -> None:
    (edit,) = await edits(editor, version=2)

    assert edit == {
        "text": "print(subtotal(1))",
        "textDocument": {"uri": URI, "version": 2},
        "range": {"start": {"line": 4, "character": 0}, "end": {"line": 4, "character": 15}},
        "command": {"title": "Accepted", "command": "infill.acceptedEdit"},
    }
    editor.notify("textDocument/didShowInlineEdit", {"item": edit})
    await editor.ask("workspace/executeCommand", {"command": edit["command"]["command"]})
    counts = editor.session.next_edits.counts
    assert (counts.shown, counts.accepted) == (1, 1)


async def test_one_edit_follows_the_other(editor: Editor) -> None:
    (first,) = await edits(editor)
    change(editor, 3, first["range"], first["text"])
    (second,) = await edits(editor, version=3)
    change(editor, 4, second["range"], second["text"])

    assert (first["range"]["start"]["line"], second["range"]["start"]["line"]) == (4, 5)
    assert await edits(editor, version=4) == []
    document = editor.session.snapshot(URI)
    assert document is not None
    assert document.document.text == TEXT.replace("total", "subtotal")


@pytest.mark.parametrize("about", [{"version": 1}, {"version": 3}, {"uri": "file:///other.py"}])
async def test_another_version_and_an_unknown_document_have_none(
    editor: Editor, about: dict[str, Any]
) -> None:
    assert await edits(editor, **about) == []


async def test_without_a_position_a_sentence_says_so(editor: Editor) -> None:
    answer = await editor.ask(NEXT, {"textDocument": {"uri": URI}})

    assert answer["error"]["code"] == -32602
    assert answer["error"]["message"] == f"{NEXT}: params.position is missing"


@pytest.mark.parametrize(
    ("version", "kind"), [("2", "a string"), (2.5, "the number 2.5"), (True, "true or false")]
)
@pytest.mark.parametrize("method", [NEXT, "infill.infillAtCursor"])
async def test_a_version_that_is_none_is_said(
    editor: Editor, method: str, version: Any, kind: str
) -> None:
    params, where = asked(version), "params.textDocument"
    if method.startswith("infill"):
        document = params["textDocument"]
        params = {"command": method, "arguments": [{**document, "position": AT}]}
        method, where = "workspace/executeCommand", "params.arguments[0]"
    answer = await editor.ask(method, params)

    says = f"{method}: {where}.version is {kind}, but must be a whole number"
    assert (answer["error"]["code"], answer["error"]["message"]) == (-32602, says)


async def test_a_version_may_be_left_out_as_null_too(editor: Editor) -> None:
    answer = await editor.ask(NEXT, {**asked(), "textDocument": {"uri": URI, "version": None}})

    assert len(answer["result"]["edits"]) == 1


async def test_rules_wait_for_no_engine() -> None:
    """Neither for one that is being loaded nor for one that is busy."""
    loading, engine = threading.Event(), Stepping(last_name, steps=1)

    def load(config: EngineConfig) -> Engine:
        assert loading.wait(60)
        return engine

    worker = Worker(load)
    try:
        async with editing(worker) as editor:
            editor.session.settings = Settings(deadline_ms=60_000)
            worker.load(EngineConfig())
            editor.open(TEXT, URI, "python")
            change(editor, 2, RENAMED, "subtotal")
            (edit,) = await edits(editor, version=2)
            assert (edit["text"], worker.ready) == ("print(subtotal(1))", False)
            loading.set()
            worker.load(EngineConfig()).result(60)

            waits = editor.asks(
                "textDocument/inlineCompletion",
                {"textDocument": {"uri": URI}, "position": AT, "context": {"triggerKind": 1}},
            )
            await asyncio.to_thread(engine.journal.wait, "infill")
            (edit,) = await edits(editor, version=2)
            assert edit["text"] == "print(subtotal(1))"
            engine.allow(9)
            await waits
    finally:
        engine.allow(99)
        assert worker.close(60)


async def test_no_time_is_not_said_to_be_nothing(
    editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spent(*_: Any, **__: Any) -> None:
        raise BudgetSpent

    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError

    key = editor.session._documents.all()[0]
    query = EditQuery(document=key, edits=editor.session.edits.of(key.uri), seconds=60)
    for search, how in ((spent, "late"), (fails, "failed"), (lambda *_, **__: None, "nothing")):
        monkeypatch.setattr(offer, "likeliest", search)
        assert (await editor.session.next_edits.answer(query)).how == how


@pytest.mark.parametrize(
    ("confidence", "nats", "offered", "is_asked"),
    [(0.15, 9.0, True, True), (0.15, -9.0, False, True), (0.2, None, False, True),
     (0.3, -9.0, False, True), (0.3, None, True, True),
     (0.06, 9.0, False, False), (0.9, -9.0, True, False)],
)  # fmt: skip
async def test_what_is_not_sure_is_what_the_judge_says_as_well(
    judged: Editor,
    monkeypatch: pytest.MonkeyPatch,
    confidence: float,
    nats: float | None,
    offered: bool,
    is_asked: bool,
) -> None:
    """Where it could make a difference."""
    questions = []

    def likeliest(document: Document, *_: Any, **__: Any) -> offer.Found:
        asked = Alternatives(before="a\n", new="b\n", old="c\n")
        edit = offer.NextEdit(
            start=0,
            end=4,
            text="x",
            line=0,
            rule="",
            confidence=confidence,
            agreed=False,
            alternatives=asked,
        )
        return offer.Found(edit=edit)

    def weigh(_: Engine, before: str, texts: tuple[str, ...], budget: Budget) -> Steps[Any]:
        questions.append((before, texts))
        yield
        return None if nats is None else [nats, 0.0]

    monkeypatch.setattr(offer, "likeliest", likeliest)
    monkeypatch.setattr(weighing, "weigh", weigh)

    assert len(await edits(judged)) == offered
    assert questions == [("a\n", ("b\n", "c\n"))] * is_asked


async def test_where_the_judge_fails_the_rules_say_it_alone(
    judged: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Steps[Any]:
        yield
        raise RuntimeError

    monkeypatch.setattr(weighing, "weigh", fails)

    assert len(await edits(judged)) == 1


async def test_the_newest_request_and_an_edit_overtake_the_one_before(editor: Editor) -> None:
    first, second = editor.asks(NEXT, asked()), editor.asks(NEXT, asked())
    assert [len((await each)["result"]["edits"]) for each in (first, second)] == [0, 1]
    third = editor.asks(NEXT, asked())
    change(editor, 3, RENAMED, "whole")
    assert (await third)["result"] == {"edits": []}


async def test_a_request_that_is_taken_back_is_answered(editor: Editor) -> None:
    asks = editor.asks(NEXT, asked())
    editor.notify("$/cancelRequest", {"id": editor._ids})

    assert (await asks)["error"]["code"] == -32800
    assert len(await edits(editor)) == 1


async def test_nothing_is_offered_where_it_is_off_or_not_probable_enough(editor: Editor) -> None:
    for settings in (
        Settings(next_edit=False),
        Settings(enable=False),
        Settings(disabled_languages=("python",)),
        Settings(deadline_ms=60_000, min_confidence=1.0),
    ):
        editor.session.settings = settings
        assert await edits(editor) == []
    editor.session.settings = Settings(deadline_ms=60_000)
    editor.session.snooze(5)
    assert await edits(editor) == []


def fetched(editor: Editor, *names: str) -> None:
    """Opens files in which something is got, and has it fetched."""
    for number, name in enumerate(names):
        uri = f"file:///project/{name}.py"
        editor.open(GOT.replace("1", str(number)), uri, "python")
        at = {"start": {"line": 2, "character": 6}, "end": {"line": 2, "character": 9}}
        change(editor, 2, at, "fetch", uri)


async def test_what_was_changed_in_another_document_is_offered(worker: Worker) -> None:
    async with editing(worker) as editor:
        session = editor.session
        session.settings = Settings(deadline_ms=60_000, disabled_files=("**/secret*",))
        fetched(editor, "one", "two", "three", "secret")
        editor.open(f"y = 1\n{GOT}", URI, "python")
        at = {"start": {"line": 0, "character": 4}, "end": {"line": 0, "character": 5}}
        change(editor, 2, at, "2")

        (edit,) = await edits(editor)
        (document,) = [each for each in session._documents.all() if each.uri.endswith("file.py")]
        known = session.elsewhere(document)

        assert edit["text"] == "x = a.fetch_value(1)"
        assert edit["range"]["start"] == {"line": 3, "character": 0}
        assert {each.uri[-6:] for each in known.changes} == {"one.py", "two.py", "ree.py"}
        assert len(known.texts) == 3
        editor.notify("textDocument/didClose", {"textDocument": {"uri": "file:///project/one.py"}})
        assert len(session.elsewhere(document).changes) == 2


async def test_a_file_is_due_what_others_had_before_it_has_an_edit(worker: Worker) -> None:
    """Once enough of them had it; where nothing was changed elsewhere nobody looks."""
    async with editing(worker) as editor:
        editor.session.settings = Settings(deadline_ms=60_000)
        editor.open(f"y = 1\n{GOT}", URI, "python")
        assert await edits(editor) == []
        fetched(editor, "one", "two", "three", "four", "five")

        (edit,) = await edits(editor)
        assert edit["text"] == "x = a.fetch_value(1)"
        assert edit["range"]["start"] == {"line": 3, "character": 0}
        change(editor, 2, edit["range"], edit["text"])
        back = {"start": edit["range"]["start"], "end": {"line": 3, "character": 20}}
        change(editor, 3, back, "x = a.get_value(1)")
        assert await edits(editor, version=3) == [], "made, and taken back"
        editor.open("y = 1\n", "file:///project/other.py", "python")
        assert await edits(editor, uri="file:///project/other.py") == []


async def test_nothing_is_kept_of_what_was_closed(editor: Editor) -> None:
    key = editor.session._documents.all()[0].uri
    assert editor.session.edits.of(key)
    assert await edits(editor)
    assert len(editor.session.earlier._expected) == 1
    late = editor.asks(NEXT, asked())
    while not editor.session.next_edits._turns:
        await asyncio.sleep(0)
    editor.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    assert (await late)["result"] == {"edits": []}
    assert editor.session.edits.of(key) == ()
    assert editor.session.earlier._expected == {}
    editor.open(TEXT, URI, "python", version=7)
    assert await edits(editor, version=7) == []


async def test_a_file_that_may_tell_no_more_does_not(worker: Worker) -> None:
    async with editing(worker) as editor:
        session = editor.session
        session.settings = Settings(deadline_ms=60_000)
        one, other = "file:///project/one.py", "file:///project/other.py"
        for uri in (one, other):
            editor.open(TEXT, uri, "python")
        for version, at in ((2, RENAMED), (3, {"start": {"line": 4, "character": 6},
                                               "end": {"line": 4, "character": 11}})):  # fmt: skip
            about = {"uri": one, "version": version}
            changes = {"textDocument": about, "contentChanges": [{"range": at, "text": "subtotal"}]}
            editor.notify("textDocument/didChange", changes)
        (document,) = [each for each in session._documents.all() if each.uri == other]
        assert len(session.elsewhere(document).changes) == 2
        assert len(session.elsewhere(document).texts) == 1

        session.settings = Settings(deadline_ms=60_000, disabled_files=("**/one.py",))

        assert session.elsewhere(document).changes == ()
        session.settings = Settings(deadline_ms=60_000)
        assert session.lose_document(one)
        whole = {
            "textDocument": {"uri": one, "version": 9},
            "contentChanges": [{"text": "a = 1\n"}],
        }
        editor.notify("textDocument/didChange", whole)
        assert session.elsewhere(document).changes == ()


@pytest.mark.parametrize("newline", ["\r", "\r\n"])
async def test_imports_are_looked_at_whatever_ends_the_lines(worker: Worker, newline: str) -> None:
    async with editing(worker) as editor:
        editor.session.settings = Settings(deadline_ms=60_000)
        text = "import a\nfrom b import c\nx = c\ny = a\n".replace("\n", newline)
        editor.open(text, URI, "python")
        at = {"start": {"line": 2, "character": 4}, "end": {"line": 2, "character": 5}}
        change(editor, 2, at, "1")

        (edit,) = await edits(editor, version=2)

        assert edit["range"]["start"] == {"line": 1, "character": 0}


async def test_what_became_of_what_was_proposed_is_known_to_other_documents(
    editor: Editor,
) -> None:
    other = "file:///project/other.py"
    await edits(editor)  # both calls may get the new name
    row = {"start": {"line": 4, "character": 6}, "end": {"line": 4, "character": 11}}
    change(editor, 3, row, "subtotal")
    editor.open(TEXT, other, "python")
    await edits(editor, uri=other)  # nothing was edited there, so nothing is expected of it
    editor.open(TEXT, "file:///project/third.py", "python")
    third = next(x for x in editor.session._documents.all() if x.uri.endswith("third.py"))

    record = editor.session.elsewhere(third).record

    assert (record.made, record.unmade, record.documents) == ({"renamed": 1}, {"renamed": 1}, 1)
