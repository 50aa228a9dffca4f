"""`infill-ls update-check`: the one thing here that asks the network, and only then."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

import infill_ls
from infill_ls.cli import main as cli
from infill_ls.cli import updates
from infill_ls.cli.updates import UpdateError, check_for_update, how_to_update, newest_release


class Index(HTTPServer):
    """Answers as it is told to, and keeps what it was told."""

    status, body = 200, b""

    def __init__(self) -> None:
        self.heads: list[Any] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/pypi/infill-ls/json"


class _Handler(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        self.server.heads.append((self.path, dict(self.headers)))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index() -> Iterator[Index]:
    with Index() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    ("newest", "says"),
    [
        ("9.0", "infill-ls 9.0 is out; this is"),
        ("0.1.10", "infill-ls 0.1.10 is out"),
        (infill_ls.__version__, "is the newest release"),
        ("0.0.9", "is the newest release"),
        ("0.1", "is the newest release"),
    ],
)
def test_says_whether_there_is_a_newer_one(
    index: Index, capsys: pytest.CaptureFixture[str], newest: str, says: str
) -> None:
    index.body = json.dumps({"info": {"version": newest}}).encode()
    assert check_for_update(index.url) == 0

    asking, answer = capsys.readouterr().out.splitlines()
    assert asking.startswith(f"asking {index.url}")
    assert says in answer


def test_nothing_is_told_but_the_question(index: Index) -> None:
    index.body = b'{"info": {"version": "1.0"}}'
    newest_release(index.url)
    ((path, headers),) = index.heads

    assert path == "/pypi/infill-ls/json"
    assert headers["User-Agent"] == "infill-ls"
    assert set(headers) == {"Accept-Encoding", "Host", "User-Agent", "Accept", "Connection"}


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (404, b"", "answers 404 Not Found, and does not say"),
        (200, b"<html>Sign in to the hotel</html>", "is something between this machine and PyPI"),
        (200, b"[" * 100_000, "is something between"),
        (200, b'{"info": {}}', "is something between"),
        (200, b'{"info": {"version": "1.0; rm -rf"}}', "is something between"),
        (200, b"\xff", "is something between"),
    ],
)
def test_an_answer_that_is_none_is_said(index: Index, status: int, body: bytes, says: str) -> None:
    index.status, index.body = status, body
    with pytest.raises(UpdateError, match=says):
        newest_release(index.url)


def test_offline_it_says_so_in_a_sentence(
    index: Index, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = index.url
    index.server_close()
    monkeypatch.setattr(updates.check_for_update, "__defaults__", (url,))
    code = cli.main(["update-check"])

    assert code == 4
    error = capsys.readouterr().err
    assert "cannot be reached: " in error
    assert "try again when this machine is online" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("prefix", "command"),
    [
        ("/home/me/.local/share/uv/tools/infill-ls", "uv tool upgrade infill-ls"),
        ("/home/me/.local/share/pipx/venvs/infill-ls", "pipx upgrade infill-ls"),
        ("/srv/venv", "-m pip install --upgrade infill-ls"),
    ],
)
def test_says_how_to_update_by_what_installed_it(
    monkeypatch: pytest.MonkeyPatch, prefix: str, command: str
) -> None:
    monkeypatch.setattr("sys.prefix", prefix)

    assert how_to_update().endswith(command)
