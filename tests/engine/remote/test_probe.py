"""How the remote engine finds out what its server is."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infill_engine import EngineConfig, ModelError, load_engine
from infill_engine.remote.engine import RemoteEngine
from infill_engine.remote.http import RemoteError
from tests.engine.served import ANSWER, COMPLETIONS, REQUEST, Server, engine, last, new_engine

TURN_END = 5


def test_a_server_with_pinned_canvas_is_recognised(server: Server) -> None:
    made = new_engine(server)

    probe = made.probe()

    assert probe.label == "vLLM with pinned canvas"
    assert (probe.canvas_length, probe.vocab_size, probe.max_model_len) == (48, 640, 1600)
    assert (probe.version, probe.model) == ("0.33.0", "tiny/diffusion-gemma")
    assert (probe.tokenizer, probe.notes) == ("local", ())
    assert made.describe().canvas_lengths == (48,)
    assert made.describe().source == f"{server.url} (vLLM with pinned canvas)"


def test_probing_happens_once(server: Server) -> None:
    made = new_engine(server)

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
    made = new_engine(server)

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
    made = new_engine(server)
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
    made = new_engine(server, model=server.url + model)

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
        new_engine(server, remote_tokenizer=str(tmp_path)).probe()


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
