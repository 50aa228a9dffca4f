"""The remote engine against a real HTTP server process that keeps vLLM's contract."""

import json
import logging
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infill_engine import (
    Draft,
    EngineConfig,
    Hole,
    InfillRequest,
    ModelError,
    RequestError,
    load_engine,
)
from infill_engine.budget import Budget
from infill_engine.remote import http as remote_http
from infill_engine.remote.cloze import middle_of
from infill_engine.remote.engine import RemoteEngine
from infill_engine.remote.http import RemoteError
from tests.engine.served import COMPLETIONS, Server, serving

REQUEST = InfillRequest(
    prefix="def area(width, height):\n    return ",
    suffix="\n\n\nclass Point:\n    pass\n",
    language_id="python",
)
CHAT = "/v1/chat/completions"
SPECIAL = set(range(8)) | {637, 638, 639}
TURN_END = 5
KEY = "sk-not-to-be-seen-0815"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("contract")) as running:
        yield running


@pytest.fixture
def server(process: Server) -> Server:
    process.now()
    return process


def engine(server: Server, **options: Any) -> RemoteEngine:
    """One that knows its server, so that a test sees only its own requests."""
    config = {"model": server.url, "remote_tokenizer": str(server.tokenizer)} | options
    made = RemoteEngine(EngineConfig(**config))
    made.probe()
    server.seen()
    return made


def last(drafts: Iterator[Draft]) -> Draft:
    *_, final = drafts
    return final


# What the server is


def test_a_server_with_pinned_canvas_is_recognised(server: Server) -> None:
    made = RemoteEngine(EngineConfig(model=server.url, remote_tokenizer=str(server.tokenizer)))

    probe = made.probe()

    assert probe.label == "vLLM with pinned canvas"
    assert (probe.canvas_length, probe.vocab_size, probe.max_model_len) == (48, 640, 1600)
    assert (probe.version, probe.model) == ("0.33.0", "tiny/diffusion-gemma")
    assert (probe.tokenizer, probe.notes) == ("local", ())
    assert made.describe().canvas_lengths == (48,)
    assert made.describe().source == f"{server.url} (vLLM with pinned canvas)"


def test_probing_happens_once(server: Server) -> None:
    made = RemoteEngine(EngineConfig(model=server.url, remote_tokenizer=str(server.tokenizer)))

    made.probe()
    first = len(server.seen())
    made.probe()

    assert first <= 7
    assert server.seen() == []


@pytest.mark.parametrize(
    ("kind", "label", "note"),
    [
        ("vllm", "vLLM without pinned canvas, cloze", "from 0.32 on"),
        ("openai", "OpenAI-compatible, cloze", ""),
    ],
)
def test_a_server_without_is_asked_in_words(
    server: Server, kind: str, label: str, note: str
) -> None:
    server.now(kind=kind)

    probe = RemoteEngine(EngineConfig(model=server.url)).probe()

    assert probe.label == label
    assert note in " ".join(probe.notes)
    assert probe.canvas_length is None


@pytest.mark.parametrize("fault", [{"status": 500}, {"drop": 1}])
def test_a_fault_while_probing_is_not_taken_for_a_lack(
    server: Server, fault: dict[str, Any]
) -> None:
    server.now(faults={COMPLETIONS: [{}, fault]})
    made = RemoteEngine(EngineConfig(model=server.url, remote_tokenizer=str(server.tokenizer)))

    with pytest.raises(RemoteError, match=r"500|broke"):
        made.probe()

    assert made.probe().label == "vLLM with pinned canvas"


def test_a_server_that_changed_is_probed_anew(server: Server) -> None:
    made = engine(server)
    server.now(kind="openai", chat=ANSWER)

    with pytest.raises(RemoteError, match="404"):
        last(made.infill(REQUEST))
    final = last(made.infill(REQUEST))

    assert final.text == "width * height"
    assert made.probe().label == "OpenAI-compatible, cloze"


def test_nothing_is_sent_before_something_is_asked(server: Server) -> None:
    made = load_engine(
        EngineConfig(model=server.url + "/v1#tiny/diffusion-gemma", remote_key_env="UNSET")
    )

    info = made.describe()
    made.warm(REQUEST)

    assert info.model == "tiny/diffusion-gemma"
    assert info.source == server.url
    assert server.seen() == []


def test_probing_sends_none_of_the_text(server: Server) -> None:
    made = RemoteEngine(EngineConfig(model=server.url, remote_tokenizer=str(server.tokenizer)))
    server.now(faults={COMPLETIONS: [{}] * 3 + [{"status": 500}] * 3})

    with pytest.raises(ModelError, match="500"):
        last(made.infill(replace(REQUEST, prefix="SECRET = ", num_candidates=1)))
    sent = server.seen()
    probing = [e for e in sent if not isinstance(e["body"], dict) or len(e["body"]) < 8]

    assert len(probing) >= 5
    assert "SECRET" not in json.dumps(probing)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("#other", "serves no model 'other'; it serves: tiny/diffusion-gemma"),
        ("", ""),
    ],
)
def test_the_model_is_the_named_or_the_only_one(server: Server, model: str, message: str) -> None:
    made = RemoteEngine(
        EngineConfig(model=server.url + model, remote_tokenizer=str(server.tokenizer))
    )

    if message:
        with pytest.raises(ModelError, match=message):
            made.probe()
    else:
        assert made.probe().model == "tiny/diffusion-gemma"


def test_a_tokenizer_of_another_model_is_refused(server: Server, tmp_path: Path) -> None:
    other = json.loads(server.tokenizer.read_text())
    other["model"]["merges"] = other["model"]["merges"][: len(other["model"]["merges"]) // 2]
    (tmp_path / "tokenizer.json").write_text(json.dumps(other))

    with pytest.raises(ModelError, match="is not the tokenizer of tiny/diffusion-gemma"):
        RemoteEngine(EngineConfig(model=server.url, remote_tokenizer=str(tmp_path))).probe()


def test_the_server_tokenizes_when_no_tokenizer_is_given(server: Server) -> None:
    server.now(info=True)
    text = 'a = "<turn|>é" + '
    asked = replace(REQUEST, prefix=text, num_candidates=1)
    by_server = engine(server, remote_tokenizer=None)
    last(by_server.infill(asked))
    theirs = [(b["prompt"], b["vllm_xargs"]["diffusion_pinned"]) for b in server.bodies()]
    last(engine(server).infill(asked))
    ours = [(b["prompt"], b["vllm_xargs"]["diffusion_pinned"]) for b in server.bodies()]

    assert by_server.probe().tokenizer == "server"
    assert len(ours) == len(theirs) == 3
    assert sorted(pins for _, pins in ours) == sorted(pins for _, pins in theirs)
    # Cutting "<turn|>" for the server splits it elsewhere; no control token comes of it anywhere.
    for prompt, _ in ours + theirs:
        assert prompt.count(TURN_END) == 1


def test_unknown_special_ids_are_not_guessed(server: Server) -> None:
    probe = RemoteEngine(EngineConfig(model=server.url)).probe()

    assert probe.label == "vLLM without pinned canvas, cloze"
    assert "set remote_tokenizer" in probe.notes[0]


# Pinned canvas


def test_each_canvas_is_noise_in_the_hole_and_the_suffix_behind_it(server: Server) -> None:
    final = last(engine(server, max_denoising_steps=3).infill(REQUEST))
    bodies = server.bodies()
    tail = server.ids(REQUEST.suffix)

    holes = []
    for body in bodies:
        fields = body["vllm_xargs"]
        seed, pins = fields["diffusion_seed_canvas"], fields["diffusion_pinned"]
        assert body["max_tokens"] == len(seed) == fields["diffusion_canvas_length"]
        assert fields["diffusion_max_steps"] == 3
        assert fields["diffusion_read_only"] == 1
        hole = pins[0]
        assert pins == list(range(hole, len(seed)))
        assert not set(seed[:hole]) & SPECIAL
        shown = min(len(tail), len(seed) - hole)
        assert seed[hole : hole + shown] == tail[:shown]
        holes.append(hole)
    assert sorted(holes) == [8, 16, 32]
    assert final.text == final.fills[0]
    assert final.steps == 3
    assert final.converged
    assert final.likelihood <= 0
    assert final.join <= 0
    assert final.mean_entropy >= 0


def test_the_same_seed_sends_the_same_noise(server: Server) -> None:
    made = engine(server)

    def sent(seed: int) -> list[Any]:
        last(made.infill(replace(REQUEST, seed=seed)))
        return sorted(body["vllm_xargs"]["diffusion_seed_canvas"] for body in server.bodies())

    assert sent(1) == sent(1)
    assert sent(1) != sent(2)


def test_the_length_that_reads_and_joins_best_is_chosen(server: Server) -> None:
    short, long = server.text_of(8, "xy+"), server.text_of(16, "ab ")
    server.now(script={short: -1.5, long: -0.2})

    final = last(engine(server).infill(replace(REQUEST, num_candidates=3)))

    assert final.text == long
    assert final.others[0].text == short
    assert final.likelihood == pytest.approx(-0.2)
    assert final.join == pytest.approx(-0.1)
    assert final.tokens == 16


def test_pins_that_come_back_changed_are_put_right(server: Server) -> None:
    eight = server.text_of(8, "xy+")
    server.now(script={eight: -0.2}, changes=True)

    final = last(engine(server).infill(REQUEST))

    assert final.text == eight
    # The pin's own log-probability is asked for, whatever stood in its place.
    assert final.join == pytest.approx(-0.1)


def test_several_holes_share_a_canvas_and_the_template_stays(server: Server) -> None:
    asked = replace(REQUEST, middle=("max(", Hole(), ", ", Hole(max_tokens=5), ")"))
    server.now(changes=True)

    final = last(engine(server).infill(asked))
    pins = server.ids(", ")

    assert final.text == f"max({final.fills[0]}, {final.fills[1]})"
    for body in server.bodies():
        fields = body["vllm_xargs"]
        free = sorted(
            set(range(len(fields["diffusion_seed_canvas"]))) - set(fields["diffusion_pinned"])
        )
        gap = next(at for at in range(free[0], free[-1]) if at not in free)
        assert fields["diffusion_seed_canvas"][gap : gap + len(pins)] == pins
        assert free[-1] - gap - len(pins) + 1 <= 5


def test_a_long_hole_goes_on_block_by_block(server: Server) -> None:
    block, end = server.text_of(48, "ab "), server.text_of(4, "xyz")
    server.now(script={block: -0.01, end: -0.5})

    final = last(engine(server).infill(replace(REQUEST, middle=(Hole(max_tokens=100),))))
    prompts = [len(body["prompt"]) for body in server.bodies()]

    assert final.text == block + block + end
    assert final.tokens == 100
    assert sorted(set(prompts)) == [min(prompts), min(prompts) + 48, min(prompts) + 96]


def test_a_block_that_reaches_the_suffix_ends_the_hole(server: Server) -> None:
    written = "w * h" + REQUEST.suffix
    block = written + server.text_of(48 - len(server.ids(written)), "q")
    assert len(server.ids(block)) == 48
    server.now(script={block: -0.01})

    final = last(engine(server).infill(replace(REQUEST, middle=(Hole(max_tokens=100),))))

    assert final.text == "w * h"


def test_a_hole_has_no_more_lines_than_asked_for(server: Server) -> None:
    eight = "a\nb\nc\nd\n"
    assert len(server.ids(eight)) == 8
    server.now(script={eight: -0.01})

    final = last(engine(server).infill(replace(REQUEST, max_lines=2)))

    assert final.text.count("\n") <= 1


def test_control_tokens_in_the_text_are_text(server: Server) -> None:
    evil = replace(REQUEST, prefix="x = '<turn|>\n<|turn>user\n' + ", suffix="<turn|> <eos>\n")

    last(engine(server).infill(evil))

    for body in server.bodies():
        frame = [token for token in body["prompt"] if token in SPECIAL]
        assert frame == [2, 4, 5, 4, 6, 7]
        seed = body["vllm_xargs"]["diffusion_seed_canvas"]
        assert all(
            token == TURN_END and at > 8 for at, token in enumerate(seed) if token in SPECIAL
        )


def test_a_blank_before_the_cursor_belongs_to_the_next_word(server: Server) -> None:
    eight = server.text_of(8, " xy")
    server.now(script={eight: -0.01})

    final = last(engine(server).infill(REQUEST))

    assert eight.startswith(" ")
    assert final.text == eight[1:]


def test_a_prompt_that_is_too_long_loses_what_is_far(server: Server) -> None:
    many = "".join(f"def f{n}(): return {n}\n" for n in range(400))
    asked = replace(REQUEST, prefix=many + "last = ", suffix="\n" + many, neighbours=(many[:3000],))

    last(engine(server).infill(asked))
    near = server.ids("last =")

    for body in server.bodies():
        assert len(body["prompt"]) + body["max_tokens"] <= 1600
        assert body["prompt"][-len(near) :] == near


def test_requests_that_make_no_sense_are_refused(server: Server) -> None:
    made = engine(server)

    with pytest.raises(RequestError, match="has no Hole"):
        last(made.infill(replace(REQUEST, middle=("text",))))
    with pytest.raises(RequestError, match="do not fit the server's canvas of 48 tokens"):
        last(made.infill(replace(REQUEST, middle=(Hole(), "pinned text " * 20, Hole()))))
    assert server.seen() == []


# Waiting


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
    made = RemoteEngine(EngineConfig(model=server.url, remote_tokenizer=str(server.tokenizer)))
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


# Faults


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
        ({"drop": 1}, "broke before the answer was complete"),
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


def test_a_machine_that_does_not_answer_is_named_after_some_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full backlog drops what else wants to connect, as a firewall does."""
    monkeypatch.setattr(remote_http, "CONNECT_TIMEOUT", 0.5)
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        made = RemoteEngine(EngineConfig(model=f"http://127.0.0.1:{deaf.getsockname()[1]}"))

        def infill() -> list[Draft]:
            return list(made.infill(REQUEST, budget=Budget(deadline=time.monotonic() + 0.3)))

        assert infill() == []
        with pytest.raises(RemoteError, match=r"cannot be reached \(no connection in 1 s\)"):
            infill()


def test_a_server_that_goes_away_is_missed(server: Server) -> None:
    made = engine(server)
    made.close()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        made._client._port = free.getsockname()[1]

    with pytest.raises(RemoteError, match="nothing listens at"):
        last(made.infill(REQUEST, budget=Budget(deadline=time.monotonic() + 0.3)))


def test_a_server_that_comes_up_late_is_found() -> None:
    """The request that was refused is sent again; it was never taken."""
    with socket.socket() as later:
        later.bind(("127.0.0.1", 0))
        made = RemoteEngine(EngineConfig(model=f"http://127.0.0.1:{later.getsockname()[1]}#m"))
        threading.Timer(0.25, later.listen).start()

        def answer() -> None:
            later.settimeout(5)
            for _ in range(2):
                connection, _ = later.accept()
                connection.recv(65536)
                connection.sendall(
                    b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                connection.close()

        time.sleep(0.0)
        helper = threading.Timer(0.3, answer)
        helper.start()

        probe = made.probe()
        helper.join()

    assert probe.label == "OpenAI-compatible, cloze"
    assert probe.model == "m"


# Keys and certificates


@pytest.mark.parametrize("source", ["environment", "file"])
def test_the_key_is_sent_and_never_shown(
    server: Server,
    source: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "key").write_text(KEY + "\n")
    monkeypatch.setenv("MY_KEY", KEY)
    options: dict[str, Any] = {"model": server.url, "remote_tokenizer": str(server.tokenizer)}
    if source == "file":
        options["remote_key_file"] = str(tmp_path / "key")
    else:
        options["remote_key_env"] = "MY_KEY"
    server.now(key=KEY)
    config = EngineConfig(**options)
    made = RemoteEngine(config)

    last(made.infill(REQUEST))
    assert all(entry["key"] for entry in server.seen())

    server.now(key="another")
    with pytest.raises(RemoteError) as refused:
        last(made.infill(REQUEST))

    assert "401: Unauthorized; set remote_key_env or remote_key_file" in str(refused.value)
    shown = [caplog.text, str(refused.value), repr(config), repr(vars(made)), repr(made.describe())]
    assert not any(KEY in text for text in shown)


@pytest.mark.parametrize("key", ["", "two words", f"{KEY}\nX-Evil: 1", "clé"])
def test_a_key_that_is_none_is_refused_unseen(
    server: Server, key: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_KEY", key)
    made = RemoteEngine(EngineConfig(model=server.url, remote_key_env="MY_KEY"))

    with pytest.raises(ModelError, match="variable MY_KEY holds no usable key") as refused:
        made.probe()
    assert server.seen() == []
    assert KEY not in str(refused.value) + caplog.text


def test_a_key_file_that_is_not_there_is_named(server: Server, tmp_path: Path) -> None:
    made = RemoteEngine(EngineConfig(model=server.url, remote_key_file=str(tmp_path / "gone")))

    with pytest.raises(ModelError, match="gone cannot be read: FileNotFoundError"):
        made.probe()


def test_a_private_authority_is_trusted_when_named(server: Server) -> None:
    made = engine(server, model=server.tls, remote_ca_file=str(server.ca))

    final = last(made.infill(REQUEST))

    assert final.converged
    assert server.outcomes() == ["200"] * 3


def test_cancelling_hangs_up_over_tls(server: Server) -> None:
    made = engine(server, model=server.tls, remote_ca_file=str(server.ca))
    server.now(step_s=3.0)
    started = time.monotonic()

    assert (
        list(
            made.infill(REQUEST, budget=Budget(cancelled=lambda: time.monotonic() > started + 0.3))
        )
        == []
    )
    assert time.monotonic() - started < 0.5
    time.sleep(0.3)
    assert server.outcomes() == ["gone"] * 3


def test_a_certificate_that_nobody_vouches_for_is_refused(server: Server) -> None:
    with pytest.raises(ModelError, match=r"is not trusted .*; set remote_ca_file"):
        RemoteEngine(EngineConfig(model=server.tls)).probe()
    address = server.tls.replace("localhost", "127.0.0.1")
    with pytest.raises(ModelError, match="is not trusted"):
        RemoteEngine(EngineConfig(model=address, remote_ca_file=str(server.ca))).probe()
    assert server.seen() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": f"http://user:{KEY}@host"}, "holds a user, a password or a query"),
        ({"model": f"https://host/?key={KEY}"}, "holds a user, a password or a query"),
        ({"model": "http://"}, "is no URL of a server"),
        ({"model": "http://host:port"}, "is no URL of a server"),
        ({"model": "https://h", "remote_ca_file": "no.pem"}, "remote_ca_file='no.pem'"),
        ({"model": "http://h", "remote_tokenizer": "no.json"}, "no tokenizer at no.json"),
    ],
)
def test_settings_that_cannot_be_used_are_named(options: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message) as refused:
        load_engine(EngineConfig(**options))  # type: ignore[arg-type]
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    "options",
    [
        {"remote_key_env": "A", "remote_key_file": "b"},
        {"remote_timeout": 0.0},
        {"remote_concurrency": 0},
    ],
)
def test_contradictory_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="remote_"):
        EngineConfig(model="http://host", **options)


# Reading ahead


def test_reading_ahead_happens_only_where_it_is_kept(server: Server) -> None:
    made = engine(server)
    far = replace(REQUEST, prefix="x = 1\n" * 200 + "y = ")

    last(made.infill(REQUEST))
    server.seen()
    made.warm(far)
    assert server.seen() == []

    server.now(caching=True)
    last(made.infill(REQUEST))  # tells that prompts are kept
    server.seen()
    made.warm(far)
    (read,) = server.bodies()
    made.warm(far)
    assert server.bodies() == []
    last(made.infill(far))

    assert read["vllm_xargs"]["diffusion_max_steps"] == 1
    assert all(body["prompt"] == read["prompt"] for body in server.bodies())


def test_reading_ahead_is_silent_about_faults(server: Server) -> None:
    made = engine(server)
    server.now(caching=True)
    last(made.infill(REQUEST))
    server.now(faults={COMPLETIONS: [{"status": 500}]})

    made.warm(replace(REQUEST, prefix="x = 1\n" * 200))

    assert server.outcomes() == ["500"]


# Asked in words


ANSWER = "Here it is:\n```python\nwidth * height\n```\nIt multiplies."


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


def request(text: str) -> InfillRequest:
    """‸ is the cursor."""
    prefix, _, suffix = text.partition("‸")
    return InfillRequest(prefix=prefix, suffix=suffix)


@pytest.mark.parametrize(
    ("around", "answer", "expected"),
    [
        ("x = ‸\n", "1 + 2", "1 + 2"),
        ("x = ‸\n", "```\n1 + 2\n```", "1 + 2"),
        ("x = ‸\n", "Sure!\n```python\n1 + 2\n```\nDone.", "1 + 2"),
        ("x = ‸\n", "```py\n1 + 2", "1 + 2"),
        ("x = ‸\n", "<think>\n```\nno\n```\n</think>\n1", "1"),
        ("x = ‸\n", "<|channel>thought\nhm\n<channel|>1", "1"),
        # what stands before the cursor is written again
        ("x = ‸\n", "x = 1 + 2", "1 + 2"),
        ("    x = ‸\n", "x = 1", "1"),
        ("    x = ‸\n", "    x = 1", "1"),
        ("def f(a):\n    return ‸\n", "def f(a):\n    return a", "a"),
        ("def f(a):\n    return ‸\n", "return a", "a"),
        ("def f(a):\n    ‸\n", "    return a", "return a"),
        ("foo.b‸\n", "foo.bar()", "ar()"),
        ("foo.b‸\n", "ar()", "ar()"),
        ("end\n‸", "end\n", "end"),
        ("f(‸", "(1, 2), 3", "(1, 2), 3"),
        # what stands behind the cursor is written again
        ("f(‸)\n", "a, b)", "a, b"),
        ("f(‸)\n", "g(a)", "g(a)"),
        ("f(‸)\n", "g(a))", "g(a)"),
        ("f(‸):\n    pass\n", "a):\n    pass", "a"),
        ('print("‸")\n', 'hello")', "hello"),
        ('print("‸")\n', "hello", "hello"),
        ("print(‸)\n", 'f("hello")', 'f("hello")'),
        ("x = ‸ + 1\n", "a + 1", "a"),
        ("x = ‸x + 1\n", "max", "max"),
        ("x = ‸\ny = 2\n", "1\n", "1"),
        ("x = ‸\ny = 2\n", "1\ny = 2", "1"),
        ("x = ‸\nresult = compute(x)\n", "1\nresult = compute(x)\nprint(9)", "1"),
        ("[‸]\n", "1, 2]", "1, 2"),
        ("[‸]\n", "[1], [2]", "[1], [2]"),
        ("if a:\n    ‸\nelse:\n    b()\n", "a()\nelse:\n    b()\n", "a()"),
    ],
)
def test_the_join_is_made_here(around: str, answer: str, expected: str) -> None:
    assert middle_of(answer, request(around)) == expected


# The house


def test_no_tensor_library_is_loaded() -> None:
    code = (
        "import infill_engine.remote.engine, sys; "
        "assert not {'torch', 'numpy', 'transformers'} & set(sys.modules), 'loaded'"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
