"""Whatever a server does wrong is one sentence with the remedy."""

import json
import socket
import threading
import time
from dataclasses import replace
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from infill_engine import Draft, EngineConfig, Hole, ModelError
from infill_engine.budget import Budget
from infill_engine.remote import client
from infill_engine.remote.engine import RemoteEngine
from infill_engine.remote.http import RemoteError
from tests.engine.served import COMPLETIONS, REQUEST, Server, engine, last


def test_a_busy_server_is_asked_again(server: Server) -> None:
    made = engine(server)
    busy = {"status": 429, "headers": {"Retry-After": "0.3"}}
    server.now(faults={COMPLETIONS: [busy, {"status": 503}]})
    started = time.monotonic()

    final = last(made.infill(REQUEST))

    assert final.converged
    assert time.monotonic() - started > 0.3
    time.sleep(0.5)  # the answer is here before the server has noted how it went
    assert server.outcomes() == ["200", "200", "200", "429", "503"]


def test_a_server_that_wants_too_long_a_wait_is_given_up(server: Server) -> None:
    made = engine(server)
    server.now(faults={COMPLETIONS: [{"status": 429, "headers": {"Retry-After": "3600"}}] * 9})
    started = time.monotonic()

    with pytest.raises(RemoteError, match="429"):
        last(made.infill(REQUEST))
    assert time.monotonic() - started < 1.0
    assert server.outcomes() == ["429"] * 3


def test_waiting_for_a_busy_server_ends_with_the_deadline(server: Server) -> None:
    made = engine(server)
    server.now(faults={COMPLETIONS: [{"status": 503}] * 30})
    started = time.monotonic()

    assert list(made.infill(REQUEST, budget=Budget(deadline=started + 0.25))) == []
    assert time.monotonic() - started < 0.45


def test_a_server_that_stays_busy_is_given_up(server: Server) -> None:
    made = engine(server, remote_concurrency=1)
    server.now(faults={COMPLETIONS: [{"status": 503, "message": "no room"}] * 30})

    with pytest.raises(RemoteError, match="503: no room; the server is busy"):
        last(made.infill(replace(REQUEST, middle=(Hole(max_tokens=8),))))
    assert server.outcomes() == ["503"] * 5


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"status": 500, "message": "CUDA out of memory"}, "500: CUDA out of memory"),
        ({"status": 400, "message": "no such field"}, "400: no such field"),
        ({"status": 307, "headers": {"Location": "/v1/elsewhere"}}, "redirections are not"),
        ({"raw": '{"choices": ['}, "what is no JSON object"),
        ({"raw": "[1, 2]"}, "what is no JSON object"),
        ({"raw": '{"choices": []}'}, "with no token ids for a canvas of"),
        ({"raw": '{"choices": [{"token_ids": "abc"}]}'}, "with no token ids for a canvas of"),
        ({"tokens": 5}, "answered with 5 tokens for a canvas of"),
        ({"cut": 40}, "broke before the answer was complete .the body ended early"),
        ({"drop": 1}, "broke before the answer was complete .it was closed.; the log of"),
        ({"junk": "220 mail.example ESMTP\r\n\r\n"}, "answers what is no HTTP; is the port"),
        ({"large": 50 << 20}, "more than 16 MB, .* is the URL that of the model server"),
        ({"mixed": 1}, "gave the answer to another request; the proxy or balancer"),
        ({"padding": 1}, "nothing but the control token 0, .* serve it in another --dtype"),
        ({"nan": 1}, "log-probabilities that are no numbers, .* serve it in another --dtype"),
    ],
)
def test_a_fault_is_said_once_and_not_asked_again(
    server: Server, fault: dict[str, Any], message: str
) -> None:
    made = engine(server)
    server.now(faults={COMPLETIONS: [dict(fault) for _ in range(9)]})

    with pytest.raises(RemoteError, match=message):
        last(made.infill(REQUEST))
    assert len(server.bodies()) == 3


def test_one_lost_canvas_leaves_the_others(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    made = engine(server)
    server.now(faults={COMPLETIONS: [{"cut": 10}]})

    final = last(made.infill(REQUEST))

    assert not final.converged
    assert "a canvas was lost" in caplog.text
    assert server.outcomes() == ["200", "200", "cut"]


def test_ids_out_of_the_vocabulary_are_no_answer(server: Server) -> None:
    made = engine(server)
    wrong = json.dumps({"choices": [{"token_ids": [99_999] * 24}]})
    server.now(faults={COMPLETIONS: [{"raw": wrong}] * 3})

    with pytest.raises(RemoteError, match=r"not in the vocabulary|for a canvas"):
        last(made.infill(REQUEST))


def test_a_silent_server_is_given_up_after_the_timeout(server: Server) -> None:
    made = engine(server, remote_timeout=0.4)
    server.now(step_s=5.0)
    started = time.monotonic()

    with pytest.raises(RemoteError, match=r"no answer from .* within 0.4 s; raise remote_timeout"):
        last(made.infill(REQUEST))
    assert time.monotonic() - started < 1.0
    time.sleep(0.2)
    assert server.outcomes() == ["gone"] * 3


@pytest.mark.parametrize("fault", [{"stall": 1}, {"stall": 400}])
def test_a_server_that_goes_silent_half_way_is_given_up_after_the_timeout(
    server: Server, fault: dict[str, Any]
) -> None:
    made = engine(server, remote_timeout=2.0)
    server.now(faults={COMPLETIONS: [fault]})

    with pytest.raises(RemoteError, match=r"began, but no end of it came from .* within 2 s"):
        last(made.infill(replace(REQUEST, middle=(Hole(max_tokens=8),))))
    assert server.outcomes() == ["gone"]


def test_no_more_is_read_of_a_large_answer_than_any_answer_has(server: Server) -> None:
    made = engine(server)
    server.now(faults={COMPLETIONS: [{"large": 50 << 20} for _ in range(3)]})

    with pytest.raises(RemoteError, match="more than 16 MB"):
        last(made.infill(REQUEST))
    assert server.outcomes() == ["gone"] * 3


def test_where_nothing_listens_is_said_with_the_remedy() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    made = RemoteEngine(EngineConfig(model=url))
    started = time.monotonic()

    with pytest.raises(ModelError, match=f"nothing listens at {url}; start the server"):
        made.probe()
    assert time.monotonic() - started > 1.0

    started = time.monotonic()
    assert (
        list(
            made.infill(REQUEST, budget=Budget(cancelled=lambda: time.monotonic() > started + 0.3))
        )
        == []
    )
    assert time.monotonic() - started < 0.5


def test_that_nothing_listens_is_said_when_the_deadline_is_shorter_than_the_retries() -> None:
    """An editor gives a request 0.3 s; it would never hear why nothing comes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    made = RemoteEngine(EngineConfig(model=url))
    started = time.monotonic()

    with pytest.raises(RemoteError, match="nothing listens at"):
        last(made.infill(REQUEST, budget=Budget(deadline=started + 0.3)))
    assert time.monotonic() - started < 0.5


def test_a_machine_that_does_not_answer_is_named_after_some_requests_and_always_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full backlog drops what else wants to connect, as a firewall does."""
    monkeypatch.setattr(client, "CONNECT_TIMEOUT", 0.5)
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        made = RemoteEngine(EngineConfig(model=url))

        def infill(seconds: float) -> list[Draft]:
            return list(made.infill(REQUEST, budget=Budget(deadline=time.monotonic() + seconds)))

        assert infill(0.3) == []
        messages = set()
        for seconds in (0.3, 0.4, 5.0):
            with pytest.raises(RemoteError) as missed:
                infill(seconds)
            messages.add(str(missed.value))

    assert messages == {
        f"{url} cannot be reached (it accepts no connection); check the network and the URL"
    }


def test_a_server_that_is_too_slow_for_the_deadlines_is_named_after_some_requests(
    server: Server,
) -> None:
    made = engine(server, remote_timeout=1.0)
    short = replace(REQUEST, middle=(Hole(max_tokens=8),))
    server.now(step_s=5.0)

    def infill() -> list[Draft]:
        return list(made.infill(short, budget=Budget(deadline=time.monotonic() + 0.6)))

    assert infill() == []
    for _ in range(2):
        with pytest.raises(RemoteError, match=r"none of several requests .* 1 s in all; allow"):
            infill()
    server.now()
    last(made.infill(short))  # what was waited for before is forgiven
    server.now(step_s=5.0)
    assert infill() == []


def plain_server(folder: Path) -> HTTPServer:
    """Knows no page, so that it is taken for one that is asked in words. Does not listen yet."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    return HTTPServer(("127.0.0.1", 0), handler, bind_and_activate=False)


def test_a_server_that_goes_away_is_missed(tmp_path: Path) -> None:
    with plain_server(tmp_path) as plain:
        plain.server_bind()
        plain.server_activate()
        threading.Thread(target=plain.serve_forever, daemon=True).start()
        made = RemoteEngine(EngineConfig(model=f"http://127.0.0.1:{plain.server_port}#m"))
        made.probe()
        plain.shutdown()

    with pytest.raises(RemoteError, match="nothing listens at"):
        last(made.infill(REQUEST, budget=Budget(deadline=time.monotonic() + 0.3)))


def test_a_server_that_comes_up_late_is_found(tmp_path: Path) -> None:
    """The request that was refused is sent again; it was never taken."""
    with plain_server(tmp_path) as plain:
        plain.server_bind()
        made = RemoteEngine(EngineConfig(model=f"http://127.0.0.1:{plain.server_port}#m"))

        def come_up() -> None:
            plain.server_activate()
            plain.serve_forever()

        threading.Timer(0.25, come_up).start()
        probe = made.probe()
        plain.shutdown()

    assert probe.label == "OpenAI-compatible, cloze"
    assert probe.model == "m"
