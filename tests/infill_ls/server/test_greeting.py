"""The first message is answered before there is a server, with what the server itself would say."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from lsprotocol import types as T
from pygls.protocol import default_converter

from infill_ls.server.greeting import ClientFeatures, Greeting, greeted, initialize_result
from infill_ls.settings import Settings

MENU = {"textDocument": {"completion": {}}}
INLINE = {"textDocument": {"inlineCompletion": {}}}


def message(**changes: Any) -> bytes:
    params = {"processId": None, "rootUri": None, "capabilities": {}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params} | changes
    return json.dumps({name: value for name, value in body.items() if value is not ...}).encode()


def response(body: bytes) -> Any:
    return json.loads(greeted(body).response)


@pytest.mark.parametrize("msg_id", [1, 0, "", "one", 7.0])
def test_the_answer_is_that_requests(msg_id: object) -> None:
    assert response(message(id=msg_id))["id"] == msg_id


def test_what_the_server_reads_after_it_wants_no_second_answer() -> None:
    told = json.loads(message()) | {"greeted": True}
    del told["id"]

    assert json.loads(greeted(message()).left) == told


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"[]",
        b"3",
        message(method="shutdown"),
        message(method=3),
        message(method=...),
        message(id=...),
        message(id=None),
        message(id=[1]),
        b'{"id": ' + b"9" * 5_000 + b', "method": "initialize"}',
    ],
    ids=lambda body: body[:40].decode(),
)
def test_anything_else_is_the_servers_to_answer(body: bytes) -> None:
    assert greeted(body) == Greeting(left=body)


@pytest.mark.parametrize("params", [..., None, [], {}, {"capabilities": 3}, {"processId": "x"}])
def test_a_client_that_says_nothing_of_itself_is_offered_the_menu(params: object) -> None:
    offered = response(message(params=params))["result"]["capabilities"]

    assert offered["positionEncoding"] == "utf-16"
    assert offered["completionProvider"] == {"resolveProvider": False}


@pytest.mark.parametrize(
    ("capabilities", "options", "offered"),
    [
        (MENU, None, True),
        (INLINE, None, False),
        (INLINE, {"fallback": "always"}, True),
        (MENU, {"infill": {"fallback": "never"}}, False),
        (MENU, {"fallback": "sometimes"}, True),
    ],
)
def test_the_menu_is_offered_as_the_settings_say(
    capabilities: object, options: object, offered: bool
) -> None:
    params = {"capabilities": capabilities, "initializationOptions": options}

    assert ("completionProvider" in response(message(params=params))["result"]["capabilities"]) is (
        offered
    )


@pytest.mark.parametrize("inline", [True, False])
def test_it_is_what_lsp_knows(inline: bool) -> None:
    """Every name is one of LSP's: its own types read all of it, and write it again."""
    result = initialize_result(ClientFeatures(inline_completion=inline), Settings())
    converter = default_converter()  # type: ignore[no-untyped-call]
    read = converter.structure(result, T.InitializeResult)

    assert converter.unstructure(read, T.InitializeResult) == result


def test_a_client_is_greeted_without_the_server() -> None:
    code = (
        "import infill_ls.server.stdio, infill_ls.server.relay, infill_ls.cli.main, sys; "
        "server = ('infill_ls.server.session', 'infill_ls.completion', 'infill_ls.syntax'); "
        "print(*(name for name in sys.modules if name.startswith(server)))"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
    )

    assert ran.stdout.split() == []
