"""The endpoint's HTTP: who is served, within which bounds, and what every wrong request is told."""

import asyncio
import json
from typing import Any

import pytest

from infill_ls.fim import http, routes
from infill_ls.fim.address import FimAddress
from tests.infill_ls.engines import Knowing, always
from tests.infill_ls.fim.endpoint import endpoint

INFILL = {"input_prefix": "x = ", "input_suffix": "\n"}
TOKEN = "a secret of some length"


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def answered(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    length = int(head.lower().partition(b"content-length: ")[2].split()[0])
    return int(head.split()[1]), json.loads(await asyncio.wait_for(reader.readexactly(length), 10))


async def test_every_path_says_what_it_is() -> None:
    async with endpoint(Knowing(always("1"))) as server:
        health = await server.http.get("/health")
        models = await server.http.get("/v1/models?limit=1")

        assert (health.status_code, health.json()) == (200, {"status": "ok"})
        assert [each["id"] for each in models.json()["data"]] == ["test"]
        status, said = await server.refusal("/v1/chat/completions", {})
        assert (status, "/infill" in said) == (404, True)
        wrong = await server.http.get("/infill")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
        wrong = await server.http.post("/health")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")
        assert "asked by GET or HEAD" in wrong.json()["error"]["message"]
        wrong = await server.http.get("/infill")
        assert "asked by POST" in wrong.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "The body is no JSON"),
        (b"{", "The body is no JSON"),
        (b"\xff\xfe\xfd", "The body is no JSON: it is not UTF-8."),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"input_prefix": ' + b"9" * 5000 + b"}", "a number in it has too many digits."),
        (b"[]", "body is an array"),
        (b'{"input_prefix": 3}', "body.input_prefix is the number 3"),
    ],
)
async def test_a_body_that_cannot_be_read_is_answered(body: bytes, says: str) -> None:
    async with endpoint(Knowing(always("1"))) as server:
        answer = await server.http.post("/infill", content=body)

        assert answer.status_code == 400
        assert says in answer.json()["error"]["message"]
        assert (await server.ask("/infill", INFILL))["content"] == "1"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/health", "", 200),
        ("/v1/models", "", 200),
        ("/infill", "", 405),
        ("/nowhere", "", 404),
        ("/health", "Origin: https://evil.example\r\n", 403),
    ],
)
async def test_head_is_get_without_a_body(
    path: str, headers: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    head = f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode()
    async with endpoint(Knowing(always("1"))) as server:
        reader, writer = await server.raw()
        writer.write(head + head.replace(b"HEAD", b"GET"))
        first = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert first.startswith(b"HTTP/1.1 %d " % status)
        if status == 200:  # the very next byte is of the next answer
            second = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            assert second == first
        else:
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
    assert not [each for each in caplog.records if each.exc_info]


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_who_sends_nothing_more_but_reads_is_answered(version: str) -> None:
    """As nc -N and netcat -q 0 do, also while the model works; every request that was sent."""
    body = json.dumps(INFILL).encode()
    asks = post("/infill", body).replace(b"HTTP/1.1", f"HTTP/{version}".encode())
    times = 2 if version == "1.1" else 1
    async with endpoint(Knowing(always("1"), steps=10, seconds=0.02)) as server:
        reader, writer = await server.raw()
        writer.write(asks * times)
        writer.write_eof()
        said = await asyncio.wait_for(reader.read(), 10)
        interim, answers = said.count(b"HTTP/1.1 102"), said.count(b'"content":"1"')
        assert (interim, answers) == (1 if times == 2 else 0, times)
        writer.close()


async def test_a_request_that_is_cut_off_is_said_to_be() -> None:
    async with endpoint(Knowing(always("1"))) as server:
        for cut in (post("/infill", b"{}")[:-1], post("/infill", b"{}")[:30]):
            reader, writer = await server.raw()
            writer.write(cut)
            writer.write_eof()
            status, answer = await answered(reader)
            assert (status, "before all of it" in answer["error"]["message"]) == (400, True)
            writer.close()
            _, writer = await server.raw()
            writer.write(cut)
            writer.close()
        assert (await server.ask("/infill", INFILL))["content"] == "1"


async def test_web_pages_are_refused() -> None:
    async with endpoint(Knowing(always("1"))) as server:
        for origin in ("https://evil.example", "null", f"http://127.0.0.1:{server.port}"):
            status, said = await server.refusal("/infill", INFILL, Origin=origin)
            assert (status, "Web pages" in said) == (403, True)
        for host in ("evil.example", "evil.example:80", "localhost.evil.example"):
            status, said = await server.refusal("/infill", INFILL, Host=host)
            assert (status, host in said) == (403, True)
        for host in ("localhost", "127.0.0.1:8012", "[::1]:8012", "LOCALHOST:1"):
            assert (await server.ask("/infill", INFILL, Host=host))["content"] == "1"
        preflight = await server.http.options("/infill", headers={"Origin": "https://e.example"})
        assert preflight.status_code == 403
        assert "access-control-allow-origin" not in preflight.headers


async def test_only_who_knows_the_token_is_answered() -> None:
    address = FimAddress(host="127.0.0.1", port=0, token=TOKEN)
    async with endpoint(Knowing(always("1")), address) as server:
        for given in ({}, {"Authorization": "Bearer no"}, {"Authorization": TOKEN}):
            status, said = await server.refusal("/infill", INFILL, **given)
            assert (status, "token" in said, TOKEN in said) == (401, True, False)
        answer = await server.ask("/infill", INFILL, Authorization=f"bearer {TOKEN}")
        assert answer["content"] == "1"
        assert (await server.http.get("/health")).status_code == 200
        assert (await server.http.get("/v1/models")).status_code == 401


async def test_a_large_body_is_refused_before_it_is_read() -> None:
    """And told, though the client goes on sending: 50 MB, with and without asking first."""
    async with endpoint(Knowing(always("1"))) as server:
        status, said = await server.refusal("/infill", {"input_prefix": "x" * 50_000_000})
        assert (status, str(http.MOST_BODY) in said) == (413, True)

        reader, writer = await server.raw()
        writer.write(post("/infill", b"", "Expect: 100-continue").replace(b": 0", b": 50000000"))
        assert (await answered(reader))[0] == 413
        writer.close()

        chunk = b"%x\r\n%s\r\n" % (1 << 20, b"x" * (1 << 20))
        reader, writer = await server.raw()
        writer.write(
            b"POST /infill HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        writer.write(chunk * 50)
        assert (await answered(reader))[0] == 413
        writer.close()


async def test_a_text_that_is_larger_than_any_file_is_refused() -> None:
    async with endpoint(Knowing(always("1"))) as server:
        status, said = await server.refusal("/infill", {**INFILL, "input_prefix": "x\n" * 600_000})

        assert (status, "1200001 characters" in said) == (413, True)


async def test_curl_asks_before_it_sends_much() -> None:
    async with endpoint(Knowing(always("1"))) as server:
        body = json.dumps(INFILL).encode()
        reader, writer = await server.raw()
        head = post("/infill", body, "Expect: 100-continue").removesuffix(body)
        writer.write(head)
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10) == b"HTTP/1.1 100 \r\n\r\n"
        writer.write(body)

        assert (await answered(reader))[1]["content"] == "1"
        writer.close()


@pytest.mark.parametrize(
    "data",
    [
        b"Content-Length: 2\r\n\r\n{}",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /" + b"x" * 100_000,
        b"garbage\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\n\xff: b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    ],
    ids=["LSP", "TLS", "no host", "endless", "no request", "no header", "no chunk"],
)
async def test_what_is_no_http_is_answered_and_closed(data: bytes) -> None:
    async with endpoint(Knowing(always("1"))) as server:
        reader, writer = await server.raw()
        writer.write(data)

        status, answer = await answered(reader)
        assert status in (400, 431)
        said = answer["error"]["message"]
        assert "HTTP" in said
        assert "b'" not in said, "Python's way to write it"
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


async def test_a_request_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "RECEIVE_SECONDS", 0.2)
    monkeypatch.setattr(http, "IDLE_SECONDS", 0.4)
    async with endpoint(Knowing(always("1"))) as server:
        reader, writer = await server.raw()
        writer.write(post("/infill", b"{}")[:-1])
        status, answer = await answered(reader)
        assert (status, "not complete" in answer["error"]["message"]) == (408, True)
        writer.close()

        reader, writer = await server.raw()  # and one that says nothing is closed without a word
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


async def test_older_and_other_ways_to_send_a_body_are_read() -> None:
    """In chunks; by HTTP/1.0; and by who wants the connection closed."""
    body = json.dumps(INFILL).encode()
    chunked = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    head = b"POST /infill HTTP/1.1\r\nHost: localhost\r\n"
    async with endpoint(Knowing(always("1"))) as server:
        for data, closes in (
            (head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked, False),
            (post("/infill/?x=1", body), False),
            (post("/infill", body, "Connection: close"), True),
            (b"POST /infill HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body), True),
        ):
            reader, writer = await server.raw()
            writer.write(data)
            assert (await answered(reader))[1]["content"] == "1"
            if closes:
                assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()


async def test_requests_follow_one_another_on_a_connection() -> None:
    async with endpoint(Knowing(always("1"))) as server:
        reader, writer = await server.raw()
        asks = post("/infill", json.dumps(INFILL).encode())
        writer.write(asks * 3)  # at once
        for _ in range(3):
            assert (await answered(reader))[1]["content"] == "1"
        for at in range(0, len(asks), 9):
            writer.write(asks[at : at + 9])
            await writer.drain()
        assert (await answered(reader))[0] == 200
        writer.close()


async def test_too_many_connections_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "MOST_CONNECTIONS", 2)
    async with endpoint(Knowing(always("1"))) as server:
        idle = [await server.raw() for _ in range(2)]
        await asyncio.sleep(0.05)
        reader, writer = await server.raw()
        writer.write(post("/infill", b"{}"))
        assert (await answered(reader))[0] == 503
        for _, each in (*idle, (reader, writer)):
            each.close()

        async def served() -> bool:
            reader, writer = await server.raw()
            writer.write(post("/infill", json.dumps(INFILL).encode()))
            status, _ = await answered(reader)
            writer.close()
            return status == 200

        for _ in range(100):
            if await served():
                break
            await asyncio.sleep(0.02)
        assert await served()


async def test_a_client_that_reads_nothing_holds_nobody_up() -> None:
    async with endpoint(Knowing(always("1"))) as server:
        _, writer = await server.raw()
        writer.write(post("/infill", json.dumps(INFILL).encode()) * 500)
        for _ in range(5):
            assert (await server.ask("/infill", INFILL))["content"] == "1"
        writer.transport.abort()
