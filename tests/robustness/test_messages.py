"""Every field of every message a client sends: missing, null, of another type, or huge.

Whatever it is, a request is answered, with an error that names the field if it cannot do without
it; no fault of ours comes to light; and the next document is served as if nothing had been.
"""

import asyncio
import copy
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infill_engine import EngineConfig
from infill_ls.completion.worker import Worker
from tests.infill_ls.engines import Knowing, last_name, loads
from tests.infill_ls.server.editor import MISSING, URI, Editor, accepts_all, editing

AT = {"line": 0, "character": 6}
RANGE = {"start": AT, "end": AT}
DOCUMENT = {"uri": URI, "version": 1}
ITEM = {"uri": URI, "languageId": "none", "version": 1, "text": "alpha "}
CAPABILITIES = {
    "general": {"positionEncodings": ["utf-16"]},
    "workspace": {
        "configuration": True,
        "didChangeConfiguration": {"dynamicRegistration": True},
        "didChangeWatchedFiles": {"dynamicRegistration": True},
        "workspaceEdit": {"documentChanges": True},
    },
    "window": {"workDoneProgress": True},
    "textDocument": {
        "inlineCompletion": {},
        "completion": {
            "completionItem": {"labelDetailsSupport": True, "documentationFormat": ["markdown"]}
        },
        "codeAction": {"codeActionLiteralSupport": {"codeActionKind": {"valueSet": []}}},
    },
}
INITIALIZE = {
    "processId": None,
    "rootUri": "file:///project",
    "rootPath": "/project",
    "workspaceFolders": [{"uri": "file:///project", "name": "project"}],
    "capabilities": CAPABILITIES,
    "initializationOptions": {"infill": {"maxLines": 3, "disabledFiles": ["*.x"]}},
}
DIAGNOSTIC = {"range": RANGE, "message": "m", "severity": 1, "tags": [1], "data": {"a": 1}}
REQUESTS: dict[str, Any] = {
    "textDocument/inlineCompletion": {
        "textDocument": DOCUMENT,
        "position": AT,
        "context": {"triggerKind": 1, "selectedCompletionInfo": {"range": RANGE, "text": "x"}},
        "partialResultToken": "t",
        "formattingOptions": {"tabSize": 4},
    },
    "textDocument/copilotInlineEdit": {
        "textDocument": DOCUMENT,
        "position": AT,
        "context": {"triggerKind": 2},
    },
    "textDocument/completion": {
        "textDocument": DOCUMENT,
        "position": AT,
        "context": {"triggerKind": 1, "triggerCharacter": "."},
    },
    "textDocument/codeAction": {
        "textDocument": DOCUMENT,
        "range": RANGE,
        "context": {"diagnostics": [DIAGNOSTIC], "only": ["refactor"], "triggerKind": 1},
    },
    "workspace/executeCommand": {
        "command": "infill.infillAtCursor",
        "arguments": [
            {
                "uri": URI,
                "version": 1,
                "range": RANGE,
                "position": AT,
                "unit": "word",
                "count": 2,
                "invoked": True,
                "minutes": 1,
            }
        ],
    },
    "shutdown": {"x": 1},
}
NOTIFICATIONS: dict[str, Any] = {
    "initialized": {},
    "textDocument/didOpen": {"textDocument": ITEM},
    "textDocument/didChange": {
        "textDocument": DOCUMENT,
        "contentChanges": [{"range": RANGE, "rangeLength": 0, "text": "x"}],
    },
    "textDocument/didClose": {"textDocument": DOCUMENT},
    "textDocument/didSave": {"textDocument": DOCUMENT},
    "workspace/didChangeWatchedFiles": {"changes": [{"uri": URI, "type": 2}]},
    "textDocument/didFocus": {"textDocument": DOCUMENT},
    "textDocument/didShowCompletion": {"item": {}},
    "textDocument/didShowInlineEdit": {"item": {"command": {"arguments": ["x"]}}},
    "textDocument/didPartiallyAcceptCompletion": {
        "item": {"command": {"arguments": [{"offer": 1, "choice": 0, "base": 0}]}},
        "acceptedLength": 3,
        "typedLength": 1,
    },
    "workspace/didChangeConfiguration": {"settings": {"infill": {"trigger": "automatic"}}},
    "workspace/didChangeWorkspaceFolders": {
        "event": {"added": [{"uri": "file:///more", "name": "more"}], "removed": []}
    },
    "window/workDoneProgress/cancel": {"token": "t"},
    "$/setTrace": {"value": "off"},
    "$/cancelRequest": {"id": 3},
}
ANSWERS: dict[str, Any] = {
    "workspace/configuration": [{"maxLines": 3}],
    "workspace/applyEdit": {"applied": True, "failureReason": "r"},
    "client/registerCapability": None,
    "window/workDoneProgress/create": None,
}
ODD: list[Any] = [
    *(MISSING, None, "", "text", True, [], {}, [None], {"a": 1}, [[[[1]]]]),
    *(0, -1, 3.0, 3.5, 1e3, -0.0, 2**31, 2**32 - 1, 2**63, -(2**70), 10**290),
    *(float("inf"), float("nan"), "\ud83d", "file://[::/x", "file:///%00", "x" * 10_000),
]
ODD_IDS = [
    "missing" if odd is MISSING else json.dumps(odd)[:16] if odd == odd else "NaN" for odd in ODD
]


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker(loads(Knowing(last_name)))
    worker.load(EngineConfig()).result(60)
    yield worker
    assert worker.close(60), "the engine's thread lives until it is closed"


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of every field in it, itself included."""
    yield path
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for name, inner in items:
        yield from paths(inner, (*path, name))


def with_field(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    """The value with something else, or nothing, at a path."""
    if not path:
        return odd
    changed = copy.copy(value)
    if len(path) == 1 and odd is MISSING:
        del changed[path[0]]
    else:
        changed[path[0]] = with_field(value[path[0]], path[1:], odd)
    return changed


def fields_of(messages: dict[str, Any]) -> list[tuple[str, tuple[Any, ...]]]:
    return [(name, path) for name, params in messages.items() for path in paths(params)]


def label(given: object) -> str | None:
    return ".".join(map(str, given)) or "params" if isinstance(given, tuple) else None


async def goes_on(editor: Editor, caplog: pytest.LogCaptureFixture) -> None:
    """Another document is served, and nothing went wrong that is ours to mend."""
    editor.open("beta ", uri="file:///project/other.txt")
    assert await editor.infills("file:///project/other.txt") == ["use_beta"]
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def check_answer(method: str, path: tuple[Any, ...], answer: dict[str, Any]) -> None:
    """A result, or an error that says which field is at fault and holds no text of it."""
    if "error" not in answer:
        return
    names = [name for name in path if isinstance(name, str)]
    message = answer["error"]["message"]
    assert answer["error"]["code"] == -32602, message
    assert message.startswith(f"{method}: params")
    assert not names or names[-1] in message, message
    assert "text" not in message.split(" is ")[-1].replace("textDocument", ""), message


@pytest.mark.parametrize(("method", "path"), fields_of(REQUESTS), ids=label)
async def test_a_request_with_an_odd_field_is_answered(
    worker: Worker, caplog: pytest.LogCaptureFixture, method: str, path: tuple[Any, ...]
) -> None:
    for odd in ODD:
        async with editing(worker) as editor:
            editor.open("alpha ")
            answer = await editor.ask(method, with_field(REQUESTS[method], path, odd))
            check_answer(method, path, answer)
            if method != "shutdown":
                await goes_on(editor, caplog)


@pytest.mark.parametrize(("method", "path"), fields_of(NOTIFICATIONS), ids=label)
async def test_a_notification_with_an_odd_field_harms_nothing(
    worker: Worker, caplog: pytest.LogCaptureFixture, method: str, path: tuple[Any, ...]
) -> None:
    for odd in ODD:
        async with editing(worker) as editor:
            editor.open("alpha ")
            editor.notify(method, with_field(NOTIFICATIONS[method], path, odd))
            await goes_on(editor, caplog)


@pytest.mark.parametrize("path", list(paths(INITIALIZE)), ids=label)
async def test_initialize_with_an_odd_field_is_answered(
    worker: Worker, caplog: pytest.LogCaptureFixture, path: tuple[Any, ...]
) -> None:
    for odd in ODD:
        editor = Editor(worker)
        answer = await editor.ask("initialize", with_field(INITIALIZE, path, odd))
        assert answer["result"]["capabilities"]["inlineCompletionProvider"] == {}
        editor.notify("initialized", {})
        await goes_on(editor, caplog)
        editor.session.close()


@pytest.mark.parametrize("asked", ANSWERS)
@pytest.mark.parametrize("where", ["result", "error"])
async def test_an_odd_answer_to_a_request_of_ours_harms_nothing(
    worker: Worker, caplog: pytest.LogCaptureFixture, asked: str, where: str
) -> None:
    errors: dict[str, Any] = {"code": -32601, "message": "m", "data": {"a": 1}}
    example = ANSWERS[asked] if where == "result" else errors
    for path in paths(example):
        for odd in ODD:
            answer = (
                {} if path == () and odd is MISSING else {where: with_field(example, path, odd)}
            )
            editor = Editor(
                worker,
                reply=lambda m, answer=answer: answer if m["method"] == asked else accepts_all(m),
            )
            await editor.ask("initialize", {"capabilities": CAPABILITIES})
            editor.notify("initialized", {})
            editor.open("alpha ")
            done = await editor.ask(
                "workspace/executeCommand", REQUESTS["workspace/executeCommand"]
            )
            assert isinstance(done["result"]["applied"], bool)
            await goes_on(editor, caplog)
            editor.session.close()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(field=st.sampled_from(fields_of({**REQUESTS, **NOTIFICATIONS})), value=anything)
def test_no_json_in_any_field_harms_anything(
    worker: Worker, field: tuple[str, tuple[Any, ...]], value: Any
) -> None:
    method, path = field
    params = with_field({**REQUESTS, **NOTIFICATIONS}[method], path, value)

    async def say() -> None:
        async with editing(worker) as editor:
            editor.open("alpha ")
            answer = await editor.ask(method, params)
            assert answer.get("error", {}).get("code", -32602) in (-32601, -32602)
            if method != "shutdown":
                editor.open("beta ", uri="file:///project/other.txt")
                assert await editor.infills("file:///project/other.txt") == ["use_beta"]

    asyncio.run(say())
