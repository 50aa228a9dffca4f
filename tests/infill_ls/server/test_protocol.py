"""Who may say what when, and that every request is answered."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from infill_engine import EngineConfig
from infill_ls.completion.worker import Worker
from infill_ls.server.app import HANDLERS
from infill_ls.server.features import configuration
from infill_ls.server.fields import document_params
from infill_ls.server.handlers import OnSnapshot
from tests.infill_ls.engines import Knowing, last_name, loads
from tests.infill_ls.server.editor import INFILL, URI, Editor, accepts_all, editing

PULLS = {"workspace": {"configuration": True}}


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker(loads(Knowing(last_name)))
    worker.load(EngineConfig()).result(60)
    yield worker
    assert worker.close(60)


async def refusal(editor: Editor, method: str, params: Any = None) -> tuple[int, str]:
    error = (await editor.ask(method, params))["error"]
    return error["code"], error["message"]


async def test_a_connection_lives_as_lsp_says(worker: Worker) -> None:
    editor = Editor(worker)
    assert await refusal(editor, INFILL) == (-32002, "Send initialize first.")
    editor.open("alpha ")  # too early, and forgotten
    editor.notify("initialize", {})  # without an id nobody is greeted
    await editor.initialize()
    assert await refusal(editor, "initialize", {}) == (
        -32600,
        "initialize may be sent only once.",
    )
    assert await editor.infills() == []
    assert (await editor.ask("shutdown"))["result"] is None
    assert await refusal(editor, INFILL) == (-32600, "The server is shutting down.")
    assert await refusal(editor, "shutdown") == (-32600, "The server is shutting down.")
    editor.notify("exit")

    assert (editor.protocol.exited, editor.protocol.exit_code) == (True, 0)


@pytest.mark.parametrize("initialized", [True, False])
async def test_exit_without_shutdown_is_a_failure(worker: Worker, initialized: bool) -> None:
    editor = Editor(worker)
    if initialized:
        await editor.initialize()
    editor.notify("exit")

    assert (editor.protocol.exited, editor.protocol.exit_code) == (True, 1)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"no { json", -32700),
        (b"[" * 100_000, -32700),
        (b'{"a": "\xff"}', -32700),
        (b"[]", -32600),
        (b"3", -32600),
        (b'{"id": [1], "method": "shutdown"}', -32600),
        (b'{"id": true, "method": "shutdown"}', -32600),
        (b'{"id": 1.5, "method": "shutdown"}', -32600),
        (b'{"id": 7, "method": 3}', -32600),
        (b'{"id": 7, "method": "nobody/knows"}', -32601),
        (b'{"id": 7, "method": "$/cancelRequest", "params": {"id": 7}}', -32601),
        (b'{"id": 7, "method": "textDocument/inlineCompletion"}', -32602),
    ],
)
async def test_what_is_no_request_of_ours_is_refused(
    worker: Worker, body: bytes, code: int
) -> None:
    async with editing(worker) as editor:
        said = len(editor.received)
        editor.receive_bytes(body)

        (answer,) = [each for each in editor.received[said:] if "error" in each]
        assert answer["error"]["code"] == code
        assert answer["id"] == (7 if b'"id": 7' in body else None)
        editor.open("alpha ")
        assert await editor.infills() == ["use_alpha"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"id": 7, "result": null}',
        b'{"id": null, "error": {}}',
        b'{"id": "infill-ls/1"}',
        b'{"jsonrpc": "2.0"}',
        b'{"method": "nobody/knows", "params": [1]}',
        b'{"method": "$/nonsense"}',
        b'{"method": "$/cancelRequest", "params": {"id": {}}}',
        b'{"method": "$/cancelRequest", "params": {"id": "never asked"}}',
    ],
)
async def test_what_asks_for_nothing_is_answered_by_nothing(worker: Worker, body: bytes) -> None:
    async with editing(worker) as editor:
        editor.open("alpha ")
        await editor.infills()
        said = len(editor.received)
        editor.receive_bytes(body)

        assert editor.received[said:] == []
        assert await editor.infills() == ["use_alpha"]


@pytest.mark.parametrize("msg_id", [0, "", "x", 2**70, 5.0, "\ud83d"], ids=repr)
async def test_a_request_is_answered_by_the_id_it_came_with(worker: Worker, msg_id: Any) -> None:
    async with editing(worker) as editor:
        editor.receive({"id": msg_id, "method": "shutdown"})

        assert {"id": msg_id, "jsonrpc": "2.0", "result": None} in editor.received


async def test_a_number_of_thousands_of_digits_is_read_where_it_matters(worker: Worker) -> None:
    async with editing(worker) as editor:
        editor.open("alpha ")
        params = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 0}}
        body = json.dumps({"id": 99, "method": INFILL, "params": params})
        editor.receive_bytes(body.replace('"character": 0', f'"character": {"9" * 5000}').encode())
        while not (answers := [each for each in editor.received if each.get("id") == 99]):
            await asyncio.sleep(0)

        assert [item["insertText"] for item in answers[0]["result"]["items"]] == ["use_alpha"]


async def test_a_fault_of_ours_is_logged_and_answered_without_our_insides(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    async def faulty(*_: object) -> None:
        raise KeyError("the inside")

    async with editing(worker) as editor:
        editor.open("alpha ")
        editor.protocol.serve(editor.session, {"x/faulty": OnSnapshot(document_params, faulty)})
        answer = await editor.ask("x/faulty", {"textDocument": {"uri": URI}})

        assert answer["error"] == {
            "code": -32603,
            "message": "infill-ls failed at x/faulty; its log says why.",
        }
        assert "KeyError: 'the inside'" in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        {"error": {"code": -32601, "message": "Unhandled method workspace/configuration"}},
        {"error": "no"},
        {"result": None},
        {"result": {"maxLines": 3}},
        {"result": ["text"]},
        {"result": []},
        {},
    ],
    ids=json.dumps,
)
async def test_a_client_that_does_not_give_its_configuration_gets_the_model_all_the_same(
    answer: dict[str, Any],
) -> None:
    fresh = Worker(loads(Knowing(last_name)))
    editor = Editor(
        fresh,
        reply=lambda m: answer if m["method"] == "workspace/configuration" else accepts_all(m),
    )
    await editor.initialize(capabilities=PULLS)
    editor.open("alpha ")
    while not fresh.ready:
        await asyncio.sleep(0.005)

    assert await editor.infills() == ["use_alpha"]
    editor.session.close()
    assert fresh.close(60)


async def test_an_answer_that_comes_too_late_is_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(configuration, "PULL_SECONDS", 0.01)
    fresh = Worker(loads(Knowing(last_name)))
    editor = Editor(fresh, reply=lambda _: None)
    await editor.initialize(capabilities=PULLS)
    while not fresh.ready:
        await asyncio.sleep(0.005)
    (asked,) = [each for each in editor.received if each.get("method") == "workspace/configuration"]
    editor.receive({"id": asked["id"], "result": [{"enable": False}]})
    editor.open("alpha ")

    assert await editor.infills() == ["use_alpha"]
    editor.session.close()
    assert fresh.close(60)


async def test_settings_that_are_pushed_hold_for_the_next_message(worker: Worker) -> None:
    async with editing(worker) as editor:
        editor.open("alpha ")
        for enable, expected in ((False, []), (True, ["use_alpha"]), (False, [])):
            pushed = {"settings": {"infill": {"enable": enable}}}
            editor.notify("workspace/didChangeConfiguration", pushed)
            assert await editor.infills() == expected


async def test_a_handler_sees_the_document_as_it_was_on_arrival(worker: Worker) -> None:
    async with editing(worker) as editor:
        seen: list[str] = []

        async def look(_: object, snapshot: Any, __: object) -> None:
            seen.append(snapshot.document.text)

        handlers = {**HANDLERS, "x/look": OnSnapshot(document_params, look)}
        editor.protocol.serve(editor.session, handlers)
        editor.open("one")
        asked = [editor.asks("x/look", {"textDocument": {"uri": URI}})]
        editor.notify(
            "textDocument/didChange",
            {"textDocument": {"uri": URI, "version": 2}, "contentChanges": [{"text": "two"}]},
        )
        asked.append(editor.asks("x/look", {"textDocument": {"uri": URI}}))
        editor.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
        await asyncio.gather(*asked)

        assert seen == ["one", "two"]
