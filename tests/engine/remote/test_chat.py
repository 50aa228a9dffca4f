"""A server without a canvas is asked in words."""

import math
import time
from dataclasses import replace
from typing import Any

import pytest

from infill_engine import Hole
from infill_engine.budget import Budget
from infill_engine.remote.engine import RemoteEngine
from infill_engine.remote.http import RemoteError
from tests.engine.served import ANSWER, CHAT, REQUEST, Server, engine, last


@pytest.mark.parametrize("kind", ["openai", "vllm"])
@pytest.mark.parametrize("events", [True, False])
def test_an_answer_in_words_is_joined(server: Server, kind: str, events: bool) -> None:
    server.now(kind=kind, chat=ANSWER, chat_events=events)

    final = last(engine(server, remote_tokenizer=None).infill(REQUEST))
    (body,) = server.bodies(CHAT)
    said = body["messages"][0]["content"]

    assert final.text == "width * height"
    assert final.converged
    assert math.isnan(final.likelihood)
    assert REQUEST.prefix in said
    assert "class Point:" in said


def test_the_answer_is_shown_while_it_grows(server: Server) -> None:
    server.now(kind="openai", chat=ANSWER)

    drafts = list(engine(server, remote_tokenizer=None).infill(REQUEST))
    texts = [draft.text for draft in drafts]

    assert len(texts) > 2
    assert all("width * height".startswith(text) for text in texts)
    assert [draft.converged for draft in drafts[:-1]].count(False) >= 2


def test_an_answer_fills_the_holes_of_a_template(server: Server) -> None:
    server.now(kind="openai", chat="```\nabs(width), 0) or 1\n```")
    asked = replace(REQUEST, middle=("max(", Hole(), ", 0) or ", Hole()))

    final = last(engine(server, remote_tokenizer=None).infill(asked))

    assert final.text == "max(abs(width), 0) or 1"
    assert final.fills == ("abs(width)", "1")
    assert "<HOLE>, 0) or <HOLE>" in server.bodies(CHAT)[0]["messages"][0]["content"]


def test_an_answer_without_the_template_is_none(server: Server) -> None:
    server.now(kind="openai", chat="```\nsomething else\n```")
    asked = replace(REQUEST, middle=("max(", Hole(), ", 0) or ", Hole()))

    assert list(engine(server, remote_tokenizer=None).infill(asked)) == []


def test_more_candidates_are_asked_for_at_a_temperature(server: Server) -> None:
    server.now(kind="openai", chat=ANSWER)

    last(engine(server, remote_tokenizer=None).infill(replace(REQUEST, num_candidates=3)))

    assert sorted(body["temperature"] for body in server.bodies(CHAT)) == [0.0, 0.8, 0.8]


def test_a_line_too_many_ends_the_request(server: Server) -> None:
    made = engine_in_words(server, "```\na\nb\n" + "c\n" * 200 + "```", step_s=0.02)
    started = time.monotonic()

    final = last(made.infill(replace(REQUEST, max_lines=2)))

    assert final.text == "a\nb"
    assert time.monotonic() - started < 0.8
    time.sleep(0.2)
    assert server.outcomes(CHAT) == ["gone"]


def engine_in_words(server: Server, chat: str, **state: Any) -> RemoteEngine:
    server.now(kind="openai", chat=chat, **state)
    return engine(server, remote_tokenizer=None)


def test_cancelling_hangs_up_in_the_middle_of_an_answer(server: Server) -> None:
    made = engine_in_words(server, ANSWER * 20, step_s=0.1)
    started = time.monotonic()

    list(made.infill(REQUEST, budget=Budget(cancelled=lambda: time.monotonic() > started + 0.5)))

    assert time.monotonic() - started < 0.7
    time.sleep(0.3)
    assert server.outcomes(CHAT) == ["gone"]


def test_the_deadline_takes_the_answer_so_far(server: Server) -> None:
    made = engine_in_words(server, "```\nwidth * " + "height * " * 50 + "1\n```", step_s=0.05)
    started = time.monotonic()

    final = last(made.infill(REQUEST, budget=Budget(deadline=started + 0.6)))

    assert time.monotonic() - started < 0.8
    assert final.text.startswith("width * height")
    assert not final.converged


def test_an_answer_that_broke_off_is_none(server: Server) -> None:
    made = engine_in_words(server, ANSWER, breaks=True)

    with pytest.raises(RemoteError, match="ended before the answer did"):
        last(made.infill(REQUEST))
    assert len(server.bodies(CHAT)) == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"stall": 1}, r"began, but no end of it came .* within 0.5 s; raise remote_timeout"),
        ({"mixed": 1}, "holds a part of another one's; the proxy or balancer"),
        ({"large": 50 << 20}, "more than 16 MB"),
        ({"raw": '{"object": "error"}'}, "has no choices; is the URL"),
        ({"status": 500, "message": "CUDA error"}, "500: CUDA error; the server's log says more"),
    ],
)
def test_a_fault_in_an_answer_is_said(server: Server, fault: dict[str, Any], message: str) -> None:
    server.now(kind="openai")
    made = engine(server, remote_tokenizer=None, remote_timeout=0.5)
    prose = "It is the product of the two. " * 3  # nothing of it may be shown
    server.now(kind="openai", chat=prose, faults={CHAT: [fault]})

    with pytest.raises(RemoteError, match=message):
        last(made.infill(REQUEST))
    assert len(server.bodies(CHAT)) == 1
