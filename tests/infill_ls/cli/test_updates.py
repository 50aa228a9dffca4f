"""`infill-ls update-check`: the one thing here that asks the network, and only then."""

import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

import infill_ls
from infill_ls.cli import main as cli
from infill_ls.cli import updates
from infill_ls.cli.errors import NOTHING
from infill_ls.cli.updates import UpdateError, asking, check_for_update, how_to_update
from infill_ls.cli.updates import newest_release as newest


class Index(HTTPServer):
    """A package index, and what it was asked for."""

    status, versions = 200, ("0.0.9",)

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        names = (f"infill_ls-{version}-py3-none-any.whl" for version in self.server.versions)
        page = "".join(f'<a href="/{name}">{name}</a>' for name in names)
        self.send_response(self.server.status)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(f"<!DOCTYPE html><html><body>{page}</body></html>".encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """The one that the real pip is set up with."""
    with Index() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "HTTP_PROXY", "http_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    ("released", "says"),
    [
        (("0.1.10", "9.0"), "infill-ls 9.0 is out; this is"),
        ((infill_ls.__version__,), "is the newest release"),
        (("0.0.9",), "is the newest release"),
    ],
)
def test_the_real_pip_says_whether_there_is_a_newer_one(
    index: Index, capsys: pytest.CaptureFixture[str], released: tuple[str, ...], says: str
) -> None:
    index.versions = released
    assert check_for_update() == 0

    first, answer = capsys.readouterr().out.splitlines()
    assert first.startswith(f"asking the package index by {sys.executable}: -m pip")
    assert says in answer
    assert index.asked == ["/simple/infill-ls/"]


def test_an_index_that_does_not_know_is_said_in_a_sentence(
    index: Index, capsys: pytest.CaptureFixture[str]
) -> None:
    index.status = 404
    code = cli.main(["update-check"])

    assert code == NOTHING
    error = capsys.readouterr().err
    assert "which release is the newest: ERROR: No matching distribution" in error
    assert ". The index that is asked has no infill-ls; look where this one came from." in error
    assert error.count("\n") == 1


def test_an_index_that_nobody_answers_for_is_said_to_be_out_of_reach(
    index: Index, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    code = cli.main(["update-check"])

    assert code == NOTHING
    assert ". Nothing else needs the network; try again when" in capsys.readouterr().err


@pytest.mark.parametrize("said", ["infill-ls==0.2.0\n", "infill-ls (0.2.0)\nLATEST: 0.2.0\n"])
def test_the_answer_is_read_as_pip_and_uv_print_it(said: str) -> None:
    assert newest([sys.executable, "-c", f"print({said!r})"]) == "0.2.0"


@pytest.mark.parametrize("said", ["infill-ls==1.0; rm -rf", "other==0.2.0", ""])
def test_an_answer_that_is_none_is_said(said: str) -> None:
    with pytest.raises(UpdateError, match="did not say which release"):
        newest([sys.executable, "-c", f"print({said!r})"])


def test_without_pip_uv_is_asked_and_without_both_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "find_spec", lambda _: None)
    monkeypatch.setattr(updates, "which", lambda name: f"/bin/{name}")
    assert asking()[:3] == ["/bin/uv", "pip", "compile"]
    monkeypatch.setattr(updates, "which", lambda _: None)
    with pytest.raises(UpdateError, match="Neither pip nor uv"):
        asking()


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
