"""What the doctor finds out: here, and of a server process that keeps vLLM's contract."""

import io
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from infill_engine import load_engine
from infill_ls.cli import main as cli
from infill_ls.cli.doctor_report import Rows, _limit_rows, _model_rows, broken
from infill_ls.cli.errors import MODEL
from infill_ls.cli.machine import others_at_work
from infill_ls.cli.view import DIM
from tests.engine.served import Server, serving
from tests.infill_ls.engines import INFO

pytest.importorskip("transformers")
KEY = "sk-not-to-be-seen-0815"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("contract")) as running:
        yield running


@pytest.fixture
def server(process: Server) -> Server:
    process.now()
    return process


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command; gives its exit code and what it printed, on one line or as JSON."""

    def run(*arguments: object) -> tuple[int, Any]:
        code = cli.main(["doctor", *map(str, arguments)], load=load_engine)
        out = capsys.readouterr().out
        return code, json.loads(out) if "--json" in arguments else " ".join(out.split())

    return run


def test_a_pinned_canvas_is_told_of(server: Server, doctor: Any) -> None:
    code, said = doctor("--model", server.url, "--remote-tokenizer", server.tokenizer)

    assert code == 0
    assert "server vLLM with pinned canvas, version 0.33.0" in said
    assert server.url in said
    assert "model tiny/diffusion-gemma" in said
    assert "context 1600 tokens" in said
    assert "canvas 48 tokens of a vocabulary of 640" in said
    assert "tokenizer on this machine" in said
    assert "canvases of 48 tokens" in said
    assert "0.0 M parameters" not in said
    assert "steps for a line" not in said
    assert "No NVIDIA GPU" not in said


def test_json_holds_what_the_server_is(server: Server, doctor: Any) -> None:
    code, said = doctor("--json", "--model", server.url, "--remote-tokenizer", server.tokenizer)

    assert code == 0
    assert said["server"]["label"] == "vLLM with pinned canvas"
    assert said["server"]["canvas_length"] == 48
    assert said["server"]["milliseconds"] > 0
    assert said["server"]["notes"] == []
    assert said["ms"]["infill"] > 0
    assert said["ms"]["step"] is None


@pytest.mark.parametrize(
    ("kind", "label", "note"),
    [
        ("vllm", "vLLM without pinned canvas, cloze, version 0.24.0", "vLLM takes them from 0.32"),
        ("openai", "server OpenAI-compatible, cloze http", ""),
    ],
)
def test_a_server_without_is_told_of_with_the_reason(
    server: Server, doctor: Any, kind: str, label: str, note: str
) -> None:
    server.now(kind=kind, chat="```\nTrue\n```")

    code, said = doctor("--model", server.url)

    assert code == 0
    assert label in said
    assert note in said
    assert "canvases" not in said
    assert "listing the models takes" in said


def test_what_is_wrong_with_a_server_is_a_sentence(
    server: Server, doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.now(key="another")
    monkeypatch.setenv("MY_KEY", KEY)

    code, said = doctor("--model", server.url, "--remote-key-env", "MY_KEY")

    assert code == MODEL
    assert "401: Unauthorized; set remote_key_env or remote_key_file" in said
    assert KEY not in said


def test_a_server_that_fails_while_it_is_measured_is_told_of_too(
    server: Server, doctor: Any
) -> None:
    server.now(faults={"/v1/completions": [{}] * 3 + [{"status": 500, "message": "no memory"}] * 9})

    code, said = doctor("--json", "--model", server.url, "--remote-tokenizer", server.tokenizer)

    assert code == MODEL
    assert said["server"]["label"] == "vLLM with pinned canvas"
    assert "500: no memory" in said["model_error"]
    assert said["ms"] is None


def test_where_nothing_listens_the_remedy_is_named(doctor: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"

    code, said = doctor("--model", url)

    assert code == MODEL
    assert f"nothing listens at {url}; start the server or correct the URL" in said


def test_a_key_file_and_a_certificate_may_be_named(
    server: Server, doctor: Any, tmp_path: Path
) -> None:
    server.now(key=KEY)
    (tmp_path / "key").write_text(KEY)

    code, said = doctor(
        *("--model", server.tls, "--remote-tokenizer", server.tokenizer),
        *("--remote-key-file", tmp_path / "key", "--remote-ca-file", server.ca),
    )

    assert code == 0
    assert "vLLM with pinned canvas" in said


def test_limits_and_an_adapter_of_a_large_model_are_told() -> None:
    info = replace(INFO, canvas_lengths=(256,), max_tokens=128, adapter="mine: LoRA of rank 16")
    rows = dict(row for row in [*_model_rows(info), *_limit_rows(info)] if row[0])

    assert rows["fills"] == "canvases of 256 tokens, at most 128 a hole"
    assert rows["adapter"] == "mine: LoRA of rank 16"
    several = replace(info, canvas_lengths=(16, 32), adapter="")
    assert _limit_rows(several)[1][1] == "canvases of 16, 32 tokens, at most 128 in all"
    assert "adapter" not in dict(_model_rows(several))


@pytest.mark.parametrize(
    ("busy", "said"),
    [
        (1.9, ""),
        (2.1, "Other programs keep about 2.1 of 4 CPUs busy"),
        (9.0, "Other programs keep about 4.0 of 4 CPUs busy"),
    ],
)
def test_a_load_is_one_of_the_whole_machine(
    monkeypatch: pytest.MonkeyPatch, busy: float, said: str
) -> None:
    """Not of the CPUs that this process may use."""
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("infill_ls.cli.machine._usable_cpus", lambda: 1)

    assert others_at_work(busy) == said


def test_a_path_is_broken_at_its_folders() -> None:
    path = "/home/somebody/a-long-folder/another-one/default.safetensors"

    assert broken(path, 40) == ["/home/somebody/a-long-folder/", "another-one/default.safetensors"]
    assert broken(path, 20)[-2:] == ["another-one/", "default.safetensors"]
    assert broken("x" * 25, 20) == ["x" * 20, "x" * 5]


def test_nothing_is_filled_up_with_blanks() -> None:
    file = io.StringIO()
    Console(file=file, width=1000).print(
        Rows([("model", "here"), ("", "a longer line, of more words"), ("memory", "")], 9, DIM)
    )

    assert (
        file.getvalue()
        == "      model  here\n             a longer line, of more words\n     memory\n"
    )
