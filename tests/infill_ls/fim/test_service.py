"""What is answered: the same as over LSP, to everyone, in the order in which they asked."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infill_engine import Engine, EngineConfig, InfillRequest
from infill_ls.completion.requests import Requests
from infill_ls.completion.worker import Query, Worker
from infill_ls.documents import Document
from infill_ls.fim import service
from infill_ls.fim.routes import WHY_EMPTY
from infill_ls.server.policy import limits_of
from infill_ls.settings import Settings
from tests.infill_ls.engines import (
    Failing,
    Journal,
    Knowing,
    Stepping,
    always,
    last_name,
    unloadable,
)
from tests.infill_ls.fim.endpoint import LOCAL, Endpoint, endpoint, endpoint_of
from tests.infill_ls.server.shared import until

SIDES = {"input_prefix": "alpha ", "input_suffix": "\n"}
PROMPT = {"prompt": "alpha ", "suffix": "\n"}
PATHS = {
    "/infill": SIDES,
    "/completion": {"prompt": "<PRE> alpha  <SUF>\n <MID>"},
    "/v1/completions": PROMPT,
    "/v1/fim/completions": PROMPT,
}


def text_of(answer: dict[str, Any]) -> str:
    if "content" in answer:
        return str(answer["content"])
    choice = answer["choices"][0]
    said = choice.get("message") or choice.get("delta") or {"content": choice.get("text")}
    return str(said["content"])


@pytest.mark.parametrize("path", PATHS)
async def test_every_dialect_has_the_text_whole_and_streamed(path: str) -> None:
    async with endpoint(Knowing(last_name)) as server:
        assert text_of(await server.ask(path, PATHS[path])) == "use_alpha"

        async with server.http.stream("POST", path, json={**PATHS[path], "stream": True}) as got:
            assert got.headers["content-type"] == "text/event-stream"
            lines = [line.removeprefix("data: ") async for line in got.aiter_lines() if line]
        ends = [lines.pop()] if lines[-1] == "[DONE]" else []
        assert bool(ends) == path.startswith("/v1")
        assert "".join(text_of(json.loads(line)) for line in lines) == "use_alpha"
        last = json.loads(lines[-1])
        assert last.get("stop") or last["choices"][0]["finish_reason"] == "stop"


async def test_nothing_to_say_is_an_empty_text() -> None:
    async with endpoint(Knowing(always())) as server:
        for path, body in PATHS.items():
            assert text_of(await server.ask(path, body)) == ""


async def test_where_the_time_for_typing_is_too_short_a_text_comes_later() -> None:
    """In the time of who asks, unless somebody said how long it may take: then the answer is
    empty and says why."""
    slow = Knowing(last_name, seconds=0.3)
    async with endpoint(slow) as server:
        assert text_of(await server.ask("/v1/completions", PROMPT)) == "use_alpha"
        said = await server.http.post("/infill", json={**SIDES, "t_max_predict_ms": 50})
        assert (said.json()["content"], "no time for a text" in said.headers[WHY_EMPTY]) == (
            "",
            True,
        )
    async with endpoint(slow, replace(LOCAL, deadline_ms=50)) as server:
        for stream in (False, True):
            said = await server.http.post("/v1/completions", json={**PROMPT, "stream": stream})
            assert "--fim-deadline-ms" in said.headers[WHY_EMPTY]
    first = Knowing(last_name, seconds=0.3)
    async with endpoint(first, replace(LOCAL, deadline_ms=5000)) as server:
        assert text_of(await server.ask("/v1/completions", PROMPT)) == "use_alpha"
    assert first.journal.count("infill") == 1


async def test_a_machine_that_is_too_slow_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(service, "NUM_LATE", 2)
    async with endpoint(Knowing(last_name, seconds=0.1), replace(LOCAL, deadline_ms=20)) as server:
        for number in range(4):
            await asks(server, number)
    said = [each.getMessage() for each in caplog.records if "seldom answers" in each.getMessage()]
    assert len(said) == 1
    assert "within 20 ms here. Give it more time with --fim-deadline-ms" in said[0]


async def test_a_text_that_the_bound_ends_says_so() -> None:
    """Of six words each; what a stop string ends is whole."""
    async with endpoint(Knowing(always("a + b + c + d", "1 + 2 + 3 + 4"))) as server:
        for most, more, finish, stop_type, tokens in (
            (7, {}, "length", "limit", 7),
            (3, {}, "length", "limit", 3),
            (8, {}, "stop", "eos", 7),
            (None, {}, "stop", "eos", 7),
            (7, {"stop": ["+ c"]}, "stop", "word", 7),
        ):
            body = {**PROMPT, **more, "max_tokens": most}
            for path in ("/v1/completions", "/v1/fim/completions"):
                found = await server.ask(path, body)
                assert found["choices"][0]["finish_reason"] == finish
                assert found["usage"]["completion_tokens"] == tokens
            llama = await server.ask("/infill", {**SIDES, **more, "n_predict": most})
            assert (llama["stop_type"], llama["tokens_predicted"]) == (stop_type, tokens)
        two = await server.ask("/v1/completions", {**PROMPT, "n": 2, "max_tokens": 7})
        assert [each["finish_reason"] for each in two["choices"]] == ["length", "length"]
        assert two["usage"]["completion_tokens"] == 14
        body = {**PROMPT, "max_tokens": 7, "stream": True}
        said = await server.http.post("/v1/completions", json=body)
        assert said.text.count('"finish_reason":"length"') == 1


async def test_several_texts_where_they_are_asked_for() -> None:
    async with endpoint(Knowing(always("one", "two", "one"))) as server:
        found = await server.ask("/infill", {**SIDES, "n_cmpl": 3})
        assert [each["content"] for each in found] == ["one", "two"]
        found = await server.ask("/v1/completions", {**PROMPT, "n": 2})
        assert [each["text"] for each in found["choices"]] == ["one", "two"]
        assert [each["index"] for each in found["choices"]] == [0, 1]


async def test_a_text_ends_before_a_stop_string() -> None:
    async with endpoint(Knowing(always("one(two)"))) as server:
        for stop, text in (("(", "one"), (["two", "one("], ""), (["nine"], "one(two)")):
            found = await server.ask("/infill", {**SIDES, "stop": stop})
            assert found["content"] == text
            assert found["stop_type"] == ("eos" if stop == ["nine"] else "word")
    async with endpoint(Knowing(lambda request: [str(request.max_lines)])) as server:
        assert (await server.ask("/infill", {**SIDES, "stop": ["\n"]}))["content"] == "1"


async def test_tokens_are_bounded_by_what_the_client_wants() -> None:
    """And otherwise by what the engine would do by itself, as over LSP."""
    wanted = []

    def knows(request: Any) -> list[str]:
        wanted.append(request.middle[0].max_tokens)
        return [f"x{len(wanted)}"]

    async with endpoint(Knowing(knows)) as server:
        for number in (8, 64, 128, -1, None):
            await server.ask("/infill", {**SIDES, "n_predict": number, "prompt": f"{number} "})
    assert wanted == [8, None, None, None, None]


async def test_it_takes_no_longer_than_the_client_wants() -> None:
    journal = Journal()
    async with endpoint(Knowing(last_name, steps=50, seconds=0.02, journal=journal)) as server:
        await server.ask("/infill", {**SIDES, "t_max_predict_ms": 60})
        few = journal.count("step")
        await server.ask("/infill", {**SIDES, "prompt": "b ", "t_max_predict_ms": 60_000})

    assert few < 20
    assert journal.count("step") - few == 50


async def test_fields_are_picked_under_the_names_of_llama_cpp() -> None:
    async with endpoint(Knowing(last_name)) as server:
        body = {**SIDES, "response_fields": ["content", "timings/prompt_ms", "no/such"]}
        answer = await server.http.post("/infill", json=body)

        assert answer.json().keys() == {"content", "timings/prompt_ms"}
        # llama.vim looks for exactly this before it reads the JSON.
        assert '"content":"' in answer.text
        assert await server.ask("/infill", {**body, "response_fields": [""]}) == {}
        whole = await server.ask("/infill", {**body, "response_fields": []})
        assert (whole["content"], whole["stop"]) == ("use_alpha", True)


async def test_nothing_wanted_has_the_surroundings_read() -> None:
    journal = Journal()
    async with endpoint(Knowing(last_name, journal=journal)) as server:
        assert (await server.ask("/infill", {**SIDES, "n_predict": 0}))["content"] == ""
        await asyncio.to_thread(journal.wait, "warm")
        nothing = {"input_prefix": "", "input_suffix": "", "n_predict": 0}
        assert (await server.ask("/infill", nothing))["content"] == ""
    assert journal.count("infill") == 0


async def test_lines_end_as_they_do_in_the_text() -> None:
    async with endpoint(Knowing(always("(1,\n2)"))) as server:
        found = await server.ask("/infill", {"input_prefix": "a\r\nf", "input_suffix": "\r\n"})

        assert found["content"] == "(1,\r\n2)"


@pytest.mark.parametrize(
    ("path", "shown"),
    [("a.py", True), ("/nowhere/.env", False), ("id_rsa", False), ("IGNORED", False)],
)
async def test_files_that_are_left_alone_are_left_alone(
    path: str, shown: bool, tmp_path: Path
) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("ours.py\n")
    path = str(tmp_path / "ours.py") if path == "IGNORED" else path
    extra = [{"filename": path, "text": "alpha_and_omega\n"}]
    body = {"input_prefix": "alpha_and_omega\nx = ", "input_suffix": "\n", "input_extra": extra}
    async with endpoint(Knowing(always("1"))) as server:
        answer = await server.http.post("/infill", json=body)

        nothing = await server.http.post("/infill", json={**SIDES, "stop": "1"})

    assert answer.json()["content"] == ("1" if shown else "")
    assert "ignore" not in answer.text
    if not shown:  # as of any other place where there is nothing to say
        assert answer.headers[WHY_EMPTY] == nothing.headers[WHY_EMPTY]


async def test_what_the_parser_refuses_is_not_said() -> None:
    """In a known language; in an unknown one brackets have to fit."""
    async with endpoint(Knowing(always("1 +* 2", "(1"))) as server:
        prompt = {"prompt": "x = ", "suffix": "\n"}
        assert text_of(await server.ask("/v1/completions", prompt)) == "1 +* 2"
        known = {"prompt": "# language: python\nx = ", "suffix": "\n"}
        assert text_of(await server.ask("/v1/completions", known)) != "1 +* 2"


async def test_typing_what_was_said_needs_no_model() -> None:
    journal = Journal()
    async with endpoint(Knowing(always("use_it(now)"), journal=journal)) as server:
        for typed in ("", "use", "use_it("):
            found = await server.ask("/infill", {**SIDES, "prompt": typed})
            assert found["content"] == "use_it(now)".removeprefix(typed)
        assert journal.count("infill") == 1
        await server.ask("/infill", {**SIDES, "prompt": "else"})
        assert journal.count("infill") == 2


async def asks(server: Endpoint, number: int) -> str:
    body = {"input_prefix": f"name{number} ", "input_suffix": "\n"}
    return str((await server.ask("/infill", body))["content"])


async def test_of_clients_that_ask_at_once_none_waits_for_another_twice() -> None:
    """Eight, each of whom asks again as soon as it has its answer, with a model that takes so long
    that the last one's turn comes after what a text may take while typing."""
    order: list[int] = []
    clients, rounds = 8, 4

    async def client(server: Endpoint, number: int) -> None:
        for again in range(rounds):
            name = number + 10 * again
            assert await asks(server, name) == f"use_name{name}"
            order.append(number)

    async with endpoint(Knowing(last_name, seconds=0.06)) as server:
        await asyncio.gather(*(client(server, number) for number in range(clients)))

    assert len(order) == clients * rounds
    for end in range(1, len(order)):
        counts = [order[:end].count(number) for number in range(clients)]
        assert max(counts) - min(counts) <= 2, order


async def test_an_editor_that_shares_the_model_waits_for_one_of_them_at_most() -> None:
    asked: list[str] = []

    def knows(request: InfillRequest) -> Sequence[str]:
        asked.extend(last_name(request))
        return last_name(request)

    async with endpoint(Knowing(knows, seconds=0.05)) as server:
        clients = asyncio.gather(*(asks(server, number) for number in range(8)))
        await until(lambda: bool(asked))
        document = Document(uri="file:///a", version=1, language_id="", text="editor ")
        limits = limits_of(Settings(), invoked=False)
        editor = Requests(server.worker)
        answer = await editor.answer(Query(document=document, offset=7, limits=limits), 0.0)

        assert [each.text for each in answer.candidates] == ["use_editor"]
        assert asked.index("use_editor") <= 2
        assert len(await clients) == 8
        editor.close()


async def test_who_hangs_up_is_not_worked_for() -> None:
    engine = Stepping(last_name, steps=50)
    async with endpoint(engine) as server:
        _, writer = await server.raw()
        body = json.dumps(SIDES).encode()
        head = f"POST /infill HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await asyncio.to_thread(engine.journal.wait, "step")
        waits = asyncio.create_task(server.http.post("/infill", json={**SIDES, "prompt": "b "}))
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await until(lambda: len(server.worker._runs) == 1 and not waits.done())
        engine.allow(60)

        assert (await waits).json()["content"] == "use_b"
        assert engine.journal.count("cancelled") == 1
        assert engine.journal.count("done") == 1


async def test_who_hangs_up_while_waiting_costs_no_run() -> None:
    engine = Stepping(last_name, steps=1)
    async with endpoint(engine) as server:
        first = asyncio.create_task(asks(server, 1))
        await asyncio.to_thread(engine.journal.wait, "step")
        second = asyncio.create_task(asks(server, 2))
        third = asyncio.create_task(asks(server, 3))
        await asyncio.sleep(0.05)
        second.cancel()
        await asyncio.sleep(0.05)
        engine.allow(9)

        assert (await first, await third) == ("use_name1", "use_name3")
        assert engine.journal.count("infill") == 2


async def test_a_failure_is_said_and_the_next_request_answered() -> None:
    async with endpoint(Failing(last_name)) as server:
        status, said = await server.refusal("/infill", SIDES)
        assert (status, "its log says why" in said) == (500, True)
        assert await asks(server, 1) == "use_name1"


async def test_requests_wait_for_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    loading = asyncio.Event()
    loop = asyncio.get_running_loop()

    def load(config: EngineConfig) -> Engine:
        asyncio.run_coroutine_threadsafe(loading.wait(), loop).result(60)
        return Knowing(last_name)

    worker = Worker(load)
    async with endpoint_of(worker) as server:
        health = await server.http.get("/health")
        assert health.status_code == 503
        assert "being loaded" in health.json()["error"]["message"]
        answer = asyncio.create_task(asks(server, 1))
        await asyncio.sleep(0.05)
        assert not answer.done()
        monkeypatch.setattr(service, "LOAD_SECONDS", 0.05)
        status, said = await server.refusal("/infill", SIDES)
        assert (status, "try again" in said) == (503, True)
        loading.set()
        assert await answer == "use_name1"
        assert (await server.http.get("/health")).status_code == 200


async def test_a_model_that_is_not_there_is_said_with_the_remedy() -> None:
    async with endpoint_of(Worker(unloadable)) as server:
        status, said = await server.refusal("/infill", SIDES)
        assert (status, "There is no model in default" in said) == (503, True)
        assert (await server.http.get("/health")).status_code == 503


async def test_what_could_not_be_loaded_is_tried_again_on_demand_alone_and_not_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts = []

    def load(config: EngineConfig) -> Engine:
        attempts.append(config)
        return unloadable(config) if len(attempts) == 1 else Knowing(last_name)

    async with endpoint_of(Worker(load)) as server:
        for _ in range(2):  # also at the second look, when it is known to have failed
            await server.refusal("/infill", SIDES)
            for path in ("/health", "/v1/models"):
                answer = await server.http.get(path)
                assert answer.status_code == 503
                assert "There is no model in default" in answer.json()["error"]["message"]
        assert len(attempts) == 1
        monkeypatch.setattr(service, "RETRY_SECONDS", 0.0)
        assert await asks(server, 1) == "use_name1"
        assert (await server.http.get("/health")).status_code == 200


async def test_places_are_forgotten_when_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "IDLE_SECONDS", 0.1)
    journal = Journal()
    async with endpoint(Knowing(last_name, journal=journal)) as server:
        await asks(server, 1)
        await asyncio.to_thread(journal.wait, "forget")
        assert server.worker._trees == {}
        assert await asks(server, 1) == "use_name1"
        assert journal.count("infill") == 2


async def test_it_uses_the_engine_that_is_there() -> None:
    """An editor's settings have loaded another one in this process."""
    configs = []

    def load(config: EngineConfig) -> Engine:
        configs.append(config.model)
        return Knowing(last_name)

    worker = Worker(load)
    worker.load(EngineConfig(model="theirs")).result(60)
    async with endpoint_of(worker) as server:
        assert await asks(server, 1) == "use_name1"
    assert configs == ["theirs"]
