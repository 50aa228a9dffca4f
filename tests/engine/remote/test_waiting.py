"""Who waits for how long, how many at a time, and how a request is taken back."""

import gc
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from infill_engine.budget import Budget
from infill_engine.remote import client
from tests.engine.served import ANSWER, CHAT, COMPLETIONS, REQUEST, Server, engine, last, new_engine


def test_cancelling_hangs_up_within_a_poll(server: Server) -> None:
    made = engine(server)
    server.now(step_s=3.0)
    at = time.monotonic() + 0.3

    drafts = list(made.infill(REQUEST, budget=Budget(cancelled=lambda: time.monotonic() > at)))
    late = time.monotonic() - at

    assert drafts == []
    assert late < 0.2


def test_the_server_sees_who_hung_up(server: Server) -> None:
    made = engine(server)
    server.now(step_s=3.0)
    started = time.monotonic()

    list(made.infill(REQUEST, budget=Budget(cancelled=lambda: time.monotonic() > started + 0.3)))
    time.sleep(0.3)
    seen = [entry for entry in server.seen() if entry["path"] == COMPLETIONS]

    assert [entry["outcome"] for entry in seen] == ["gone"] * 3
    assert max(entry["until"] for entry in seen) - started < 0.8


def test_leaving_the_drafts_hangs_up(server: Server) -> None:
    made = engine(server)
    server.now(faults={COMPLETIONS: [{}, {"slow": 5}, {"slow": 5}]})

    drafts = made.infill(REQUEST)
    next(drafts)
    drafts.close()  # type: ignore[attr-defined]
    time.sleep(0.2)

    assert server.outcomes() == ["200", "gone", "gone"]


def test_the_deadline_takes_what_is_there(server: Server) -> None:
    made = engine(server)
    server.now(faults={COMPLETIONS: [{}, {"slow": 5}, {"slow": 5}]})
    started = time.monotonic()

    final = last(made.infill(REQUEST, budget=Budget(deadline=started + 0.8)))

    assert 0.7 < time.monotonic() - started < 1.1
    assert not final.converged
    time.sleep(0.1)
    assert server.outcomes() == ["200", "gone", "gone"]


def test_a_deadline_with_nothing_yet_offers_nothing(server: Server) -> None:
    made = engine(server)
    server.now(step_s=3.0)
    started = time.monotonic()

    drafts = list(made.infill(REQUEST, budget=Budget(deadline=started + 0.2)))

    assert drafts == []
    assert time.monotonic() - started < 0.4


def test_an_interrupted_probe_goes_on_where_it_was(server: Server) -> None:
    made = new_engine(server)
    server.now(faults={"/version": [{"slow": 5}]})

    assert list(made.infill(REQUEST, budget=Budget(deadline=time.monotonic() + 0.3))) == []
    time.sleep(0.1)
    first = [entry["path"] for entry in server.seen()]
    assert list(made.infill(REQUEST)) != []

    assert first == ["/v1/models", "/version"]
    assert "/v1/models" not in [entry["path"] for entry in server.seen()]


@pytest.mark.parametrize("most", [1, 2])
def test_no_more_requests_at_a_time_than_allowed(server: Server, most: int) -> None:
    made = engine(server, remote_concurrency=most)
    server.now(step_s=0.01)

    last(made.infill(replace(REQUEST, num_candidates=5)))

    assert server.peak() == most


def test_connections_are_used_again(server: Server) -> None:
    made = engine(server, remote_concurrency=1)

    last(made.infill(REQUEST))
    last(made.infill(REQUEST))

    assert len({entry["port"] for entry in server.seen()}) == 1


@pytest.mark.parametrize(("idle", "connections"), [(4.0, 1), (0.1, 2)])
def test_a_connection_that_was_idle_for_long_is_not_used_again(
    server: Server, idle: float, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_IDLE", idle)
    made = engine(server, remote_concurrency=1)

    last(made.infill(REQUEST))
    time.sleep(0.3)
    last(made.infill(REQUEST))

    assert len({entry["port"] for entry in server.seen()}) == connections


def test_an_engine_that_nobody_holds_leaves_no_thread_behind(server: Server) -> None:
    def running() -> set[threading.Thread]:
        gc.collect()
        return {each for each in threading.enumerate() if each.name == "infill-http"}

    before = running()
    made = engine(server)
    (ours,) = running() - before
    del made
    gc.collect()
    ours.join(2)

    assert not ours.is_alive()


@pytest.mark.parametrize(
    "path", ["/v1/models", "/version", COMPLETIONS, "/tokenizer_info", "/tokenize", "/detokenize"]
)
def test_whatever_is_waited_for_ends_when_the_request_is_taken_back(
    server: Server, path: str
) -> None:
    server.now(info=True, faults={path: [{"slow": 30} for _ in range(9)]})
    made = new_engine(server, remote_tokenizer=None)
    taken_back = 0.0

    def cancelled() -> bool:
        nonlocal taken_back
        if not taken_back and server.has_seen(path):
            taken_back = time.monotonic()
        return taken_back > 0

    assert list(made.infill(REQUEST, budget=Budget(cancelled=cancelled))) == []
    assert time.monotonic() - taken_back < 0.2
    assert set(server.outcomes(path)) == {"gone"}


def test_a_deadline_ends_a_probe(server: Server) -> None:
    server.now(faults={"/version": [{"slow": 30}]})
    started = time.monotonic()

    made = new_engine(server)
    assert list(made.infill(REQUEST, budget=Budget(deadline=started + 0.5))) == []
    assert time.monotonic() - started < 0.7
    assert server.outcomes("/version") == ["gone"]


@pytest.mark.parametrize(
    "fault", [{"slow": 30}, {"stall": 1}, {"status": 503, "headers": {"Retry-After": "20"}}]
)
@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
def test_taking_a_request_back_ends_it_whatever_the_server_does(
    server: Server, path: str, fault: dict[str, Any]
) -> None:
    if path == CHAT:
        server.now(kind="openai")
    made = engine(server, remote_tokenizer=None if path == CHAT else str(server.tokenizer))
    server.now(
        kind="openai" if path == CHAT else "pinned",
        chat=ANSWER,
        faults={path: [dict(fault) for _ in range(9)]},
    )
    started = time.monotonic()
    budget = Budget(cancelled=lambda: time.monotonic() > started + 0.4)

    list(made.infill(REQUEST, budget=budget))

    assert time.monotonic() - started < 0.6
    assert set(server.outcomes(path)) == {"503" if "status" in fault else "gone"}
