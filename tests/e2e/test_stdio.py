"""What an editor sees over stdio: the real process, typed by pytest-lsp or byte for byte."""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types as T
from pytest_lsp import (
    ClientServerConfig,
    LanguageClient,
    client_capabilities,
    make_test_lsp_client,
)

from tests.e2e.wire import INFILL, PATIENT, SERVE, URI, infill_at, shown, stdio, types
from tests.infill_ls.engines import read_journal

pytestmark = pytest.mark.e2e


@asynccontextmanager
async def editor(name: str, spec: dict[str, Any]) -> AsyncIterator[LanguageClient]:
    """A typed client with the capabilities of a real one, and the engine loaded."""
    client = await ClientServerConfig(
        server_command=[sys.executable, str(SERVE), json.dumps(spec)],
        client_factory=make_test_lsp_client,
    ).start()
    assert isinstance(client, LanguageClient)
    capabilities = client_capabilities(name)
    assert capabilities.text_document is not None
    capabilities.text_document.inline_completion = T.InlineCompletionClientCapabilities(True)
    await client.initialize_session(
        T.InitializeParams(
            capabilities=capabilities,
            root_uri="file:///project",
            initialization_options=PATIENT,
        )
    )
    while not any("engine:" in message.message for message in client.log_messages):
        await client.wait_for_notification(T.WINDOW_LOG_MESSAGE)
    yield client
    await client.shutdown_session()
    await client.stop()  # type: ignore[no-untyped-call]


def opened(client: LanguageClient, text: str, language: str = "none") -> None:
    item = T.TextDocumentItem(uri=URI, language_id=language, version=1, text=text)
    client.text_document_did_open(T.DidOpenTextDocumentParams(text_document=item))


async def infilled(
    client: LanguageClient, line: int, character: int
) -> list[T.InlineCompletionItem]:
    kind = T.InlineCompletionTriggerKind.Automatic
    result = await client.text_document_inline_completion_async(
        T.InlineCompletionParams(
            text_document=T.TextDocumentIdentifier(uri=URI),
            position=T.Position(line, character),
            context=T.InlineCompletionContext(trigger_kind=kind),
        )
    )
    assert isinstance(result, T.InlineCompletionList)
    return list(result.items)


async def runs(journal: Path, event: str = "infill") -> int:
    return sum(name == event for name, _ in read_journal(journal))


async def until(journal: Path, event: str, count: int = 1) -> None:
    while await runs(journal, event) < count:
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("name", "encoding", "column"),
    [("neovim", "utf-8", 30), ("visual_studio_code", "utf-16", 21), ("emacs", "utf-32", 20)],
)
async def test_an_item_lands_at_the_cursor_in_every_encoding(
    name: str, encoding: str, column: int
) -> None:
    async with editor(name, {}) as client:
        # A form feed, U+2028 and NEL end no line in LSP; \r and \r\n do.
        opened(client, 'zero\f\u2028\x85zero\rone\r\ns = "日本語😀é"; return \r\nthree')
        items = await infilled(client, 2, column)

        at = T.Position(2, column)
        assert items == [T.InlineCompletionItem(insert_text="use_return", range=T.Range(at, at))]
        assert (await infilled(client, 1, 3))[0].insert_text == "use_one"
        assert (await infilled(client, 99, 0))[0].insert_text == "use_three"


async def test_what_is_announced_and_line_ends_of_the_file() -> None:
    async with editor("visual_studio_code", {"texts": ["\n    one\n    two"]}) as client:
        opened(client, "begin:\r\nend\r\n")
        (item,) = await infilled(client, 0, 99)

        assert item.insert_text == "\r\n    one\r\n    two"
        assert item.range == T.Range(T.Position(0, 6), T.Position(0, 6))
        # pytest-lsp keeps what initialize_session returned nowhere, so ask what it announces raw.
    async with stdio({}) as wire:
        told = (await wire.initialize())["capabilities"]
        assert told["inlineCompletionProvider"] == {}
        assert told["textDocumentSync"]["openClose"] is True
        assert told["textDocumentSync"]["change"] == 2
        assert told["positionEncoding"] == "utf-16"


async def test_trigger_kinds_of_every_client_and_none_at_all() -> None:
    async with stdio({"texts": ["one", "two", "three"]}) as wire:
        await wire.initialize()
        await wire.ready()
        wire.open("alpha ")
        asked = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 6}}

        invoked = ["one", "two", "three"]
        for kind, expected in ((0, invoked), (1, invoked), (2, ["one"]), (7, ["one"])):
            context = {"triggerKind": kind}
            assert shown(await wire.request(INFILL, {**asked, "context": context})) == expected
        assert shown(await wire.request(INFILL, asked)) == ["one"]
        assert shown(await wire.request(INFILL, {**asked, "context": None})) == ["one"]


async def test_every_request_is_answered_whatever_is_wrong_with_it() -> None:
    async with stdio({}) as wire:
        wire.send(wire.asks("early", INFILL, infill_at(0, 0)))
        assert (await wire.answer("early"))["error"]["code"] == -32002
        await wire.initialize()
        await wire.ready()

        assert await wire.request(INFILL, infill_at(0, 0)) == {"items": []}  # not open
        for bad in ({}, {"textDocument": {"uri": URI}}, {"position": 3}, None, [1]):
            wire.send(wire.asks(str(bad), INFILL, bad))
            assert (await wire.answer(str(bad)))["error"]["code"] in (-32602, -32603)
        wire.send(wire.asks("unknown", "textDocument/unheardOf", {}))
        assert (await wire.answer("unknown"))["error"]["code"] == -32601
        wire.send_bytes(b"Content-Length: 9\r\n\r\nno { json")
        wire.send_bytes(b"content-length: 2\r\nContent-Type: x\r\n\r\n[]")
        refused = [await wire.refusal(code) for code in (-32700, -32600)]
        assert all("error" in message for message in refused)
        wire.notify("textDocument/didChange", {"contentChanges": 3})
        wire.notify("textDocument/didShowCompletion", {"item": {}})
        wire.notify("textDocument/didPartiallyAcceptCompletion", {"item": {}, "acceptedLength": 3})

        wire.open("alpha ")
        wire.notify("textDocument/didFocus", {"textDocument": {"uri": URI}})
        assert shown(await wire.request(INFILL, infill_at(0, 6))) == ["use_alpha"]
        assert shown(await wire.request(INFILL, infill_at(9, 9))) == ["use_alpha"]  # past the end
        wire.open("", uri="file:///empty")
        assert shown(await wire.request(INFILL, infill_at(0, 0, "file:///empty")))


async def test_cancelling_answers_at_once_and_stops_the_model_within_one_step(
    tmp_path: Path,
) -> None:
    journal = tmp_path / "journal"
    spec = {"steps": 500, "seconds": 0.02, "journal": str(journal)}
    async with stdio(spec) as wire:
        await wire.initialize()
        await wire.ready()
        wire.open("alpha ")
        wire.send(wire.asks("q", INFILL, infill_at(0, 6)))
        await until(journal, "step", 3)
        sent = time.monotonic()
        wire.notify("$/cancelRequest", {"id": "q"})
        assert (await wire.answer("q"))["error"]["code"] == -32800
        answered = time.monotonic()
        await until(journal, "cancelled")

        entries = read_journal(journal)
        (stopped,) = (at for event, at in entries if event == "cancelled")
        steps = [at for event, at in entries if event == "step" and at > answered]
        print(f"cancel: answered after {(answered - sent) * 1e3:.1f} ms, ", end="")
        print(f"model stopped after {(stopped - sent) * 1e3:.1f} ms, steps of 20 ms")
        assert len(steps) <= 1
        wire.notify("$/cancelRequest", {"id": "q"})  # once more: it is known no longer
        wire.notify("$/cancelRequest", {"id": "never"})


async def test_fifty_requests_in_a_second_are_fifty_answers_and_two_model_runs(
    tmp_path: Path,
) -> None:
    journal = tmp_path / "journal"
    async with stdio({"steps": 10, "seconds": 0.01, "journal": str(journal)}) as wire:
        await wire.initialize(initializationOptions={"warm": False})
        await wire.ready()
        wire.open("")
        sent = []
        for number in range(50):
            asked = wire.asks(number, INFILL, infill_at(0, number + 1))
            wire.send(types("x", 0, number, number + 2), asked)
            sent.append(time.monotonic())
            await asyncio.sleep(0.02)
        answers = [shown((await wire.answer(number))["result"]) for number in range(50)]

        assert len(answers) == 50
        assert answers[-1] == ["use_" + "x" * 50]
        # A machine with other work makes pauses in the burst, after each of which a run may begin.
        pauses = sum(later - earlier > 0.05 for earlier, later in itertools.pairwise(sent))
        print(f"50 requests: {await runs(journal)} model runs, {pauses} pauses in between")
        assert await runs(journal) <= 2 + pauses


async def test_typing_through_needs_no_model_and_takes_one_character_away_each_time(
    tmp_path: Path,
) -> None:
    journal = tmp_path / "journal"
    text = "value = 1"
    async with stdio({"texts": [text], "journal": str(journal)}) as wire:
        await wire.initialize(initializationOptions={"warm": False})
        await wire.ready()
        wire.open("")
        assert shown(await wire.request(INFILL, infill_at(0, 0))) == [text]
        for typed in range(1, len(text)):
            wire.send(types(text[typed - 1], 0, typed - 1, typed + 1))
            result = await wire.request(INFILL, infill_at(0, typed))
            assert shown(result) == [text[typed:]]
            assert result["items"][0]["range"]["start"] == {"line": 0, "character": typed}
        assert await runs(journal) == 1

        wire.send(types("?", 0, 8, 20))
        await wire.request(INFILL, infill_at(0, 9))
        assert await runs(journal) == 2


async def test_after_a_suggestion_the_next_one_is_there(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with stdio({"texts": ["f(1)"], "journal": str(journal)}) as wire:
        await wire.initialize()
        await wire.ready()
        wire.open("x = \n")
        assert shown(await wire.request(INFILL, infill_at(0, 4))) == ["f(1)"]
        await until(journal, "done", 2)
        wire.send(types("f(1)", 0, 4, 2))
        asked = time.monotonic()
        await wire.request(INFILL, infill_at(0, 8))

        print(f"answered {(time.monotonic() - asked) * 1e3:.1f} ms after it was accepted")
        logged = [each["params"]["message"] for each in wire.all_heard("window/logMessage")]
        assert ": reused, " in [each for each in logged if each.startswith("automatic")][-1]


async def test_a_change_while_the_model_runs_gives_an_empty_answer_never_another_places(
    tmp_path: Path,
) -> None:
    journal = tmp_path / "journal"
    spec = {"steps": 500, "seconds": 0.01, "journal": str(journal), "texts": ["one"]}
    async with stdio(spec) as wire:
        await wire.initialize()
        await wire.ready()
        wire.open("alpha \nbeta ")
        wire.send(wire.asks("moved", INFILL, infill_at(1, 5)))
        await until(journal, "step", 2)
        wire.send(types("gamma\n", 0, 0, 2))  # everything moves down a line
        assert (await wire.answer("moved"))["result"] == {"items": []}
        await until(journal, "cancelled")

        wire.send(wire.asks("closed", INFILL, infill_at(2, 5)))
        await until(journal, "infill", 2)
        wire.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
        assert (await wire.answer("closed"))["result"] == {"items": []}
        await until(journal, "cancelled", 2)


async def test_typing_what_the_running_model_says_is_answered_by_that_run(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    spec = {"steps": 40, "seconds": 0.02, "journal": str(journal), "texts": ["one two"]}
    async with stdio(spec) as wire:
        await wire.initialize(initializationOptions={"warm": False})
        await wire.ready()
        wire.open("")
        wire.send(wire.asks("first", INFILL, infill_at(0, 0)))
        await until(journal, "step", 2)
        wire.send(types("on", 0, 0, 2), wire.asks("second", INFILL, infill_at(0, 2)))

        assert (await wire.answer("first"))["result"] == {"items": []}
        assert shown((await wire.answer("second"))["result"]) == ["e two"]
        assert await runs(journal) == 1


async def test_with_an_open_menu_the_item_extends_its_selection() -> None:
    async with stdio({"texts": ["nt(alpha)"]}) as wire:
        await wire.initialize()
        await wire.ready()
        wire.open("x.pri\n")
        at = {"start": {"line": 0, "character": 2}, "end": {"line": 0, "character": 5}}

        def selecting(text: str) -> dict[str, Any]:
            info = {"range": at, "text": text}
            context = {"triggerKind": 2, "selectedCompletionInfo": info}
            return infill_at(0, 5, context=context)

        result = await wire.request(INFILL, selecting("print"))
        assert result["items"] == [{"insertText": "print(alpha)", "range": at}]
        assert await wire.request(INFILL, selecting("Private")) == {"items": []}


async def test_settings_are_checked_and_take_effect(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with stdio({"journal": str(journal)}) as wire:
        await wire.initialize(initializationOptions={"maxLine": 3, "delayMs": -1, "threads": 2})
        unknown = await wire.notification("window/showMessage", "maxLine")
        wrong = await wire.notification("window/showMessage", "delayMs")
        await wire.ready()
        assert [event for event, _ in read_journal(journal)] == ["loaded:default:2:torch=False"]
        assert unknown["params"] == {
            "type": 2,
            "message": "infill.maxLine is not a setting of infill-ls. "
            "Did you mean infill.maxLines?",
        }
        assert "infill.delayMs is -1, but takes a whole number from 0 to 5000" in str(wrong)

        def configure(**settings: Any) -> None:
            wire.notify("workspace/didChangeConfiguration", {"settings": {"infill": settings}})

        wire.open("alpha  beta")
        end, middle = infill_at(0, 11), infill_at(0, 6)
        invoked = {**middle, "context": {"triggerKind": 1}}
        configure(trigger="eol-only")
        assert shown(await wire.request(INFILL, middle)) == []
        assert shown(await wire.request(INFILL, end)) == ["use_beta"]
        configure(trigger="onDemand")
        assert shown(await wire.request(INFILL, end)) == []
        assert shown(await wire.request(INFILL, invoked)) == ["use_alpha"]
        configure(enable=False)
        assert shown(await wire.request(INFILL, invoked)) == []
        configure(disabledLanguages=["none"])
        assert shown(await wire.request(INFILL, end)) == []
        configure(maxFileSize=1000)
        wire.open("x" * 1001, uri="file:///big")
        assert shown(await wire.request(INFILL, infill_at(0, 5, "file:///big"))) == []
        wire.notify("workspace/didChangeConfiguration", {"settings": {"other-server": {"a": 1}}})
        configure(model="elsewhere")
        await until(journal, "loaded:elsewhere:2:torch=False")


async def test_settings_are_asked_for_where_the_client_has_them() -> None:
    async with stdio({}) as wire:
        wire.configuration = {"trigger": "onDemand", "model": None}
        dynamic = {"didChangeConfiguration": {"dynamicRegistration": True}}
        await wire.initialize(capabilities={"workspace": {"configuration": True, **dynamic}})
        await wire.ready()
        asked = await wire.notification("workspace/configuration")
        assert asked["params"] == {"items": [{"section": "infill"}]}
        registered = await wire.notification("client/registerCapability")
        assert "workspace/didChangeConfiguration" in str(registered)
        wire.open("alpha ")
        assert shown(await wire.request(INFILL, infill_at(0, 6))) == []

        wire.configuration = {"trigger": "automatic"}
        wire.notify("workspace/didChangeConfiguration", {"settings": None})
        while not shown(await wire.request(INFILL, infill_at(0, 6))):
            await asyncio.sleep(0.01)


async def test_secret_and_ignored_files_reach_no_model(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("build/\n")
    built = (tmp_path / "build" / "a.py").as_uri()
    async with stdio({"journal": str(journal)}) as wire:
        await wire.initialize(initializationOptions={"disabledFiles": ["*.{gen,tmp}.py"]})
        await wire.ready()
        for uri in (
            *("file:///project/.env", "file:///home/c#/.env~", "file:///home/me/.ssh/config"),
            *(built, "file:///project/a.gen.py"),
        ):
            wire.open("token = ", uri=uri)
            wire.send(types("x", 0, 8, 2, uri))
            assert shown(await wire.request(INFILL, infill_at(0, 9, uri))) == []

        assert [event for event, _ in read_journal(journal)] == ["loaded:default:None:torch=False"]


async def test_copilots_plugins_are_told_the_status() -> None:
    async with stdio({}) as wire:
        await wire.initialize(initializationOptions={"editorPluginInfo": {"name": "some.vim"}})
        await wire.ready()
        normal = {"busy": False, "message": "", "kind": "Normal", "command": None}

        wire.open("alpha ")
        await wire.request(INFILL, infill_at(0, 6))
        await wire.notification("didChangeStatus", "thinking")
        await wire.request("workspace/executeCommand", {"command": "infill.accepted"})

        assert [message["params"] for message in wire.all_heard("didChangeStatus")] == [
            {**normal, "busy": True, "message": "loading the model"},
            normal,
            {**normal, "busy": True, "message": "thinking"},
            normal,
        ]


async def test_the_text_around_the_cursor_is_read_ahead_while_the_user_types(
    tmp_path: Path,
) -> None:
    journal = tmp_path / "journal"
    async with stdio({"journal": str(journal)}) as wire:
        await wire.initialize()
        await wire.ready()
        wire.open("alpha ")
        await until(journal, "warm", 1)
        wire.send(types("x", 0, 6, 2))
        await until(journal, "warm", 2)

        assert await runs(journal) == 0
