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
