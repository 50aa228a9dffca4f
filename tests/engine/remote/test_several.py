"""Several servers of one model: by document, another one where the first is slow or away."""

import math
import socket
import time
from dataclasses import replace

import pytest

from infill_engine import EngineConfig, InfillRequest, ModelError
from infill_engine.budget import Budget
from infill_engine.remote.client import HttpClient
from infill_engine.remote.engine import RemoteEngine
from infill_engine.remote.http import RemoteError
from infill_engine.remote.routing import LEAST_ANSWERS
from tests.engine.served import ANSWER, CHAT, COMPLETIONS, REQUEST, Server, last, new_engine

NOBODY = "http://127.0.0.1:9"


def both(server: Server, *, known: bool = True, usual: float = 60.0) -> RemoteEngine:
    """An engine that knows both servers, and the seconds that answers take."""
    made = new_engine(server, model=f"{server.url},{server.other}")
    if known:
        made.probe()
    for _ in range(LEAST_ANSWERS):
        made._routes.answered("", 0, 0, usual)
    for each in (server, server.second):
        each.seen()
    return made


def at(made: RemoteEngine, home: int, number: int = 0) -> InfillRequest:
    """A request of a document whose home is this server."""
    names = (f"file:///{number}.py" for number in range(100))
    homes = [name for name in names if made._routes.order(name, math.inf)[0] == home]
    return replace(REQUEST, document=homes[number])


def outcomes(server: Server, path: str = COMPLETIONS) -> tuple[list[str], list[str]]:
    """Of both, once none is under way."""
    return server.ended(path), server.second.ended(path)


def test_a_document_has_one_server_and_another_document_the_other(server: Server) -> None:
    made = both(server)
    first, second = at(made, 0), at(made, 1)
    for _ in range(2):
        assert last(made.infill(first)).converged

    assert outcomes(server) == (["200"] * 6, [])
    assert last(made.infill(second)).converged
    assert outcomes(server) == ([], ["200"] * 3)
    assert first.document not in str(server.bodies()), "the name of a document stays here"


@pytest.mark.parametrize(
    "fault", [{"drop": 1}, {"status": 503}, {"status": 500}, {"junk": "x\r\n\r\n"}]
)
def test_what_one_server_fails_at_the_other_answers(
    server: Server, fault: dict[str, object]
) -> None:
    made = both(server)
    made._routes._rest = [60.0, 60.0]
    server.now(faults={COMPLETIONS: [fault] * 9})

    assert last(made.infill(at(made, 0))).converged
    assert last(made.infill(at(made, 0))).converged, "it rests"
    failed, answered = outcomes(server)
    assert len(failed) <= 3
    assert answered == ["200"] * 6


def test_a_server_that_nothing_is_known_of_yet_is_asked_as_well(server: Server) -> None:
    made = both(server)
    del made._served[1], made._models[1]
    server.now(faults={COMPLETIONS: [{"drop": 1}] * 9})

    assert last(made.infill(at(made, 0))).converged
    assert outcomes(server)[1].count("200") >= 3


def test_where_nothing_listens_another_server_is_asked(server: Server) -> None:
    made = new_engine(server, model=f"{NOBODY},{server.url}/v1#tiny/diffusion-gemma")
    home = next(n for n in map(str, range(100)) if made._routes.order(n, 0.0)[0] == 0)

    assert last(made.infill(replace(REQUEST, document=home))).converged
    told = made.probe()
    assert told.url == f"{NOBODY}, {server.url}"
    assert f"Of no use at present: nothing listens at {NOBODY}" in told.notes[-1]


def test_what_no_server_does_is_said_as_by_one(server: Server) -> None:
    made = both(server)
    for each in (server, server.second):
        each.now(faults={COMPLETIONS: [{"status": 500, "message": "out of memory"}] * 99})

    with pytest.raises(RemoteError, match="500: out of memory; the server's log"):
        last(made.infill(at(made, 0)))


def test_a_slow_answer_is_asked_of_the_other_server_as_well(server: Server) -> None:
    made = both(server, usual=0.1)
    server.now(step_s=90.0)

    assert last(made.infill(at(made, 0))).converged
    assert outcomes(server) == (["gone"] * 3, ["200"] * 3)


def test_a_document_moves_where_it_is_answered_sooner(server: Server) -> None:
    made = both(server, usual=0.1)
    request = at(made, 0)
    made._routes._hedges = 3.0
    server.now(step_s=90.0)
    for _ in range(2):
        last(made.infill(request))
    outcomes(server)
    last(made.infill(request))

    assert outcomes(server) == ([], ["200"] * 3)


def test_a_request_that_is_taken_back_is_taken_back_everywhere(server: Server) -> None:
    made = both(server, usual=0.1)
    for each in (server, server.second):
        each.now(step_s=5.0)
    given_up = time.monotonic() + 1.0
    budget = Budget(cancelled=lambda: time.monotonic() > given_up)

    assert list(made.infill(at(made, 0), budget=budget)) == []
    assert outcomes(server) == (["gone"] * 3, ["gone"] * 3)


def test_a_server_that_takes_nobody_is_left_after_one_deadline(server: Server) -> None:
    made = both(server)
    request = at(made, 0)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf, socket.socket() as last_in:
        last_in.connect(deaf.getsockname())  # no room is left for anybody else
        made._clients[0] = HttpClient(f"http://127.0.0.1:{deaf.getsockname()[1]}", EngineConfig())
        list(made.infill(request, budget=Budget(deadline=time.monotonic() + 0.3)))

    assert made._routes.order(request.document, time.monotonic())[0] == 1
    server.second.now(step_s=5.0)
    list(made.infill(request, budget=Budget(deadline=time.monotonic() + 0.5)))
    assert made._routes.order(request.document, time.monotonic())[0] == 1, "it is only slow"


def test_a_server_of_something_else_is_no_spare(server: Server) -> None:
    server.second.now(kind="vllm", chat=ANSWER)
    made = both(server)
    server.now(step_s=0.05)

    assert "serves something else than" in made.probe().notes[-1]
    assert last(made.infill(at(made, 0))).converged
    assert outcomes(server) == (["200"] * 3, [])
    assert last(made.infill(at(made, 1))).text == "width * height"
    assert outcomes(server, CHAT) == ([], ["200"])


def test_an_answer_in_words_is_read_from_one_server(server: Server) -> None:
    for each in (server, server.second):
        each.now(kind="openai", chat=ANSWER)
    made = both(server, usual=0.1)
    server.now(kind="openai", chat=ANSWER, step_s=2.0)

    assert last(made.infill(at(made, 0))).text == "width * height"
    assert outcomes(server, CHAT) == (["gone"], ["200"])


def test_a_spare_is_looked_for_while_nobody_waits(server: Server) -> None:
    made = both(server, known=False)
    request = at(made, 0)
    last(made.infill(request))
    assert server.second.seen() == []
    made.warm(request)

    assert server.second.has_seen("/v1/models")
    assert sorted(made._models) == [0, 1]


def test_servers_have_to_serve_one_model() -> None:
    with pytest.raises(ModelError, match="to serve a and b; they have to serve the same model"):
        RemoteEngine(EngineConfig(model="http://x#a,http://y#b"))
    with pytest.raises(ModelError, match="'ftp://y:99999999' is no URL of a server"):
        RemoteEngine(EngineConfig(model="http://x,ftp://y:99999999"))
