"""Several editors round one engine, and messages that arrive all at once or in pieces."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.e2e.wire import INFILL, URI, Tcp, Wire, infill_at, shown, tcp, types
from tests.infill_ls.engines import read_journal

pytestmark = pytest.mark.e2e
OTHER = "file:///project/b.txt"


async def client(server: Tcp, text: str) -> Wire:
    wire = await server.connect()
    await wire.initialize()
    await wire.ready()
    wire.open(text)
    return wire


async def test_pipelined_requests_are_about_the_text_they_arrived_with() -> None:
    async with tcp({}) as server:
        wire = await client(server, "alpha \n")
        # One segment: all of it is read before the first handler runs. At (0, 6) stands alpha in
        # version 1, gamma in version 2, and delta in version 4.
        wire.send(
            wire.asks("v1", INFILL, infill_at(0, 6)),
            types("gamma \n", 0, 0, 2),
            wire.asks("v2", INFILL, infill_at(0, 6)),
            types("beta ", 1, 6, 3),
            wire.asks("v3", INFILL, infill_at(1, 11)),
            types("delta \n", 0, 0, 4),
            wire.asks("v4", INFILL, infill_at(0, 6)),
        )
        texts = {name: shown((await wire.answer(name))["result"]) for name in ("v1", "v2", "v3")}

        # Overtaken: empty, or what was right when they were asked; never what is there now.
        allowed = {"v1": ["use_alpha"], "v2": ["use_gamma"], "v3": ["use_beta"]}
        assert all(texts[name] in ([], allowed[name]) for name in texts)
        assert shown((await wire.answer("v4"))["result"]) == ["use_delta"]


async def test_an_edit_right_behind_a_request_does_not_change_what_it_is_about() -> None:
    async with tcp({}) as server:
        wire = await client(server, "alpha \n")
        wire.send(wire.asks("q", INFILL, infill_at(0, 6)), types("gamma \n", 0, 0, 2))

        assert shown((await wire.answer("q"))["result"]) in ([], ["use_alpha"])


async def test_a_request_before_edits_of_other_files_is_answered() -> None:
    async with tcp({}) as server:
        wire = await client(server, "alpha ")
        wire.open("other ", uri=OTHER)
        wire.send(
            types("x", 0, 6, 2),
            wire.asks("here", INFILL, infill_at(0, 7)),
            types("y", 0, 6, 2, OTHER),
            wire.asks("there", INFILL, infill_at(0, 7, OTHER)),
        )

        assert shown((await wire.answer("here"))["result"]) == ["use_x"]
        assert shown((await wire.answer("there"))["result"]) == ["use_y"]


async def test_a_request_that_names_a_version_gets_an_answer_for_that_one_only() -> None:
    async with tcp({}) as server:
        wire = await client(server, "alpha ")
        for version, expected in ((1, ["use_alpha"]), (2, []), (None, ["use_alpha"])):
            params = infill_at(0, 6, textDocument={"uri": URI, "version": version})
            assert shown(await wire.request(INFILL, params)) == expected


async def test_several_clients_share_one_engine_and_no_text(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with tcp({"journal": str(journal), "steps": 3, "seconds": 0.01}) as server:
        wires = [await client(server, f"name{number} ") for number in range(4)]
        for wire in wires:
            wire.send(wire.asks("q", INFILL, infill_at(0, 6)))
        answers = [shown((await wire.answer("q"))["result"]) for wire in wires]

        assert answers == [[f"use_name{number}"] for number in range(4)]
        events = [event for event, _ in read_journal(journal)]
        assert events.count("loaded:default:None:torch=False") == 1

        wires[0].close()
        wires[1].send(types("x", 0, 6, 2))
        assert shown(await wires[1].request(INFILL, infill_at(0, 7))) == ["use_x"]


async def test_a_client_that_wants_another_model_is_told_that_it_is_shared() -> None:
    async with tcp({}) as server:
        await client(server, "")
        wire = await server.connect()
        await wire.initialize(initializationOptions={"model": "elsewhere"})
        said = await wire.notification("window/showMessage")

        assert "is shared and runs model default" in said["params"]["message"]


async def test_messages_may_come_in_pieces() -> None:
    async with tcp({}) as server:
        wire = await client(server, "alpha ")
        message = {"jsonrpc": "2.0", **wire.asks("q", INFILL, infill_at(0, 6))}
        body = json.dumps(message).encode()
        data = b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        for at in range(0, len(data), 7):
            wire.send_bytes(data[at : at + 7])
            await wire.flushed()

        assert shown((await wire.answer("q"))["result"]) == ["use_alpha"]


async def test_a_web_page_is_not_answered() -> None:
    body = b'{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"capabilities": {}}}'
    requests = [
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://evil.example\r\n",
        b"POST http://127.0.0.1:1/ HTTP/1.1\r\n",
        b"GET /?x: HTTP/1.1\r\n",
    ]
    async with tcp({}) as server:
        for request in requests:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(request + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

            assert await asyncio.wait_for(reader.read(), 10) == b"", request


async def test_only_who_knows_the_token_is_served() -> None:
    async with tcp({"token": "a secret of some length"}) as server:
        for options in ({}, {"token": "a guess"}, None):
            wire = await server.connect()
            params = {"processId": None, "capabilities": {}, "initializationOptions": options}
            wire.send(wire.asks("i", "initialize", params))

            assert "token" in (await wire.answer("i"))["error"]["message"]
            await asyncio.wait_for(wire.ended.wait(), 10)
        wire = await server.connect()
        await wire.initialize(initializationOptions={"token": "a secret of some length"})
        await wire.ready()

        assert wire.all_heard("window/showMessage") == []
