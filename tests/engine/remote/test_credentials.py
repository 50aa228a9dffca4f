"""Keys, certificates and proxies: who is trusted with what."""

import logging
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from infill_engine import EngineConfig, ModelError, load_engine
from infill_engine.budget import Budget
from infill_engine.remote.engine import RemoteEngine
from infill_engine.remote.http import RemoteError
from tests.engine.served import REQUEST, Server, engine, last, new_engine

KEY = "sk-not-to-be-seen-0815"


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
    assert "HTTP Request" not in caplog.text  # of the library, with its URLs


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


@pytest.mark.parametrize("files", ["two", "one"])
def test_a_server_that_asks_who_we_are_is_shown_a_certificate(
    server: Server, files: str, tmp_path: Path
) -> None:
    shown = {"remote_client_cert": str(server.client_cert)}
    if files == "two":
        shown["remote_client_key"] = str(server.client_key)
    else:
        both = server.client_cert.read_text() + server.client_key.read_text()
        (tmp_path / "both.pem").write_text(both)
        shown["remote_client_cert"] = str(tmp_path / "both.pem")

    made = engine(server, model=server.asking, remote_ca_file=str(server.ca), **shown)

    assert last(made.infill(REQUEST)).converged


def test_a_server_that_asks_who_we_are_is_not_used_without_a_certificate(server: Server) -> None:
    made = new_engine(server, model=server.asking, remote_ca_file=str(server.ca))

    with pytest.raises(RemoteError, match="asks who we are; set remote_client_cert"):
        made.probe()
    assert server.seen() == []


def test_a_key_with_a_password_is_refused_without_asking_for_it(
    server: Server, tmp_path: Path
) -> None:
    openssl, locked = shutil.which("openssl"), tmp_path / "locked.pem"
    assert openssl is not None, "it made the certificates"
    given = ["-in", server.client_key, "-aes256", "-passout", "pass:word", "-out", locked]
    subprocess.run([openssl, "ec", *map(str, given)], check=True, capture_output=True)

    with pytest.raises(ModelError, match=r"locked.pem' cannot be used: .* without a password"):
        new_engine(
            server,
            model=server.asking,
            remote_client_cert=str(server.client_cert),
            remote_client_key=str(locked),
        )


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any proxy, to set some in."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_a_proxy_of_the_environment_is_used_when_it_is_trusted(
    server: Server, proxies: pytest.MonkeyPatch
) -> None:
    proxies.setenv("HTTP_PROXY", server.url)

    made = engine(server, model="http://models.invalid", remote_trust_env=True)

    assert last(made.infill(REQUEST)).converged
    assert server.outcomes() == ["200"] * 3


def test_a_proxy_of_the_environment_is_left_alone_otherwise(
    server: Server, proxies: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        proxies.setenv("HTTP_PROXY", f"http://127.0.0.1:{free.getsockname()[1]}")

    assert new_engine(server).probe().label == "vLLM with pinned canvas"
    with pytest.raises(RemoteError, match=r"nothing listens at .* or a proxy of the environment"):
        new_engine(server, remote_trust_env=True).probe()
    proxies.setenv("NO_PROXY", "127.0.0.1")
    assert new_engine(server, remote_trust_env=True).probe().label == "vLLM with pinned canvas"


def test_a_proxy_that_lets_nobody_through_is_named(
    server: Server, proxies: pytest.MonkeyPatch
) -> None:
    proxies.setenv("HTTPS_PROXY", server.url)  # knows no CONNECT
    made = new_engine(server, model="https://models.invalid", remote_trust_env=True)

    with pytest.raises(RemoteError, match=r"proxy .* not let us through .* add .* to NO_PROXY"):
        made.probe()


@pytest.mark.parametrize("address", ["ftp://user:secret@proxy", "http://proxy:port"])
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(
    server: Server, address: str, proxies: pytest.MonkeyPatch
) -> None:
    proxies.setenv("HTTP_PROXY", address)

    with pytest.raises(ModelError, match="proxy of the environment cannot be used") as refused:
        new_engine(server, remote_trust_env=True)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": f"http://user:{KEY}@host"}, "holds a user, a password or a query"),
        ({"model": f"https://host/?key={KEY}"}, "holds a user, a password or a query"),
        ({"model": f"http://user:{KEY}@host:port"}, "holds a user, a password or a query"),
        ({"model": "http://"}, "is no URL of a server"),
        ({"model": "http://host:port"}, "is no URL of a server"),
        ({"model": "http://host:99999"}, "is no URL of a server"),
        ({"model": "http://[::1"}, "is no URL of a server"),
        ({"model": "https://h", "remote_client_cert": "no.pem"}, "remote_client_cert='no.pem' can"),
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
        {"remote_client_key": "key.pem"},
        {"remote_timeout": 0.0},
        {"remote_concurrency": 0},
    ],
)
def test_contradictory_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="remote_"):
        EngineConfig(model="http://host", **options)
