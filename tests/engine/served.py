"""The server of `vllm_contract.py` as a process, what a test says to it, and an engine for it."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from infill_engine import Draft, EngineConfig, InfillRequest
from infill_engine.remote.engine import RemoteEngine

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"
REQUEST = InfillRequest(
    prefix="def area(width, height):\n    return ",
    suffix="\n\n\nclass Point:\n    pass\n",
    language_id="python",
)
ANSWER = "Here it is:\n```python\nwidth * height\n```\nIt multiplies."  # in words, to REQUEST


@dataclass(frozen=True)
class Server:
    url: str
    other: str  # a second server of the same model
    tls: str
    asking: str  # wants a client's certificate: such a one is here
    ca: Path
    client_cert: Path
    client_key: Path
    tokenizer: Path

    @property
    def second(self) -> "Server":
        return replace(self, url=self.other)

    def now(self, **state: Any) -> None:
        """What it does from now on; everything that is not said is as it was at first."""
        self._test(json.dumps(state).encode())
        self.seen()

    def seen(self) -> list[dict[str, Any]]:
        """The requests since the last look, complete or not."""
        return self._test(None)["seen"]

    def has_seen(self, path: str) -> bool:
        return bool(self._outcomes(path, "/_test?keep"))

    def peak(self) -> int:
        return self._test(None)["peak"]

    def bodies(self, path: str = COMPLETIONS) -> list[Any]:
        return [entry["body"] for entry in self.seen() if entry["path"] == path]

    def outcomes(self, path: str = COMPLETIONS) -> list[str]:
        """Once none is under way: a client has its answer before the server takes note of it."""
        until = time.monotonic() + 10
        while time.monotonic() < until:
            found = self._outcomes(path, "/_test?keep")
            if found and "running" not in found:
                break
            time.sleep(0.01)
        return self._outcomes(path, "/_test")

    def ended(self, path: str = COMPLETIONS) -> list[str]:
        """The same of a server that perhaps nobody has asked."""
        return self.outcomes(path) if self.has_seen(path) else []

    def _outcomes(self, path: str, test: str) -> list[str]:
        seen = self._test(None, test)["seen"]
        return sorted(entry["outcome"] for entry in seen if entry["path"] == path)

    def _test(self, body: bytes | None, path: str = "/_test") -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", body, timeout=10) as reply:
            return json.load(reply)

    def ids(self, text: str) -> list[int]:
        return list(Tokenizer.from_file(str(self.tokenizer)).encode(text).ids)

    def text_of(self, count: int, letters: str) -> str:
        """A text of so many tokens."""
        text = ""
        for at in range(10 * count):
            if len(self.ids(text)) == count:
                return text
            text += letters[at % len(letters)]
        raise AssertionError(f"no text of {count} tokens")


def certificate(folder: Path) -> tuple[Path, Path, Path]:
    """An authority of our own, and what it says of localhost: its certificate, ours, our key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is needed to make a certificate")
    ca, ca_key, ours, key, asked, says = (
        folder / name for name in ("ca.pem", "ca.key", "our.pem", "our.key", "our.csr", "says.cnf")
    )
    says.write_text("subjectAltName=DNS:localhost\n")
    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    signed = ["x509", "-req", "-in", asked, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial"]
    for arguments in (
        [*new, "-x509", "-days", "2", "-subj", "/CN=Test", "-keyout", ca_key, "-out", ca],
        [*new, "-subj", "/CN=localhost", "-keyout", key, "-out", asked],
        [*signed, "-days", "2", "-extfile", says, "-out", ours],
    ):
        subprocess.run([openssl, *map(str, arguments)], check=True, capture_output=True)
    return ca, ours, key


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Makes its checkpoint and its certificate in an empty folder."""
    ca, ours, key = certificate(folder)
    served = folder / "served"
    served.mkdir()
    script = Path(__file__).parent / "vllm_contract.py"
    with subprocess.Popen(
        [sys.executable, str(script), *map(str, (served, ca, ours, key))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdin is not None
        said = running.stdout.readline()
        assert said, "the test server did not start"
        urls = json.loads(said)
        yield Server(
            **urls, ca=ca, client_cert=ours, client_key=key, tokenizer=served / "tokenizer.json"
        )
        running.stdin.close()
        running.wait(60)


def engine(server: Server, **options: Any) -> RemoteEngine:
    """One that knows its server, so that a test sees only its own requests."""
    made = new_engine(server, **options)
    made.probe()
    server.seen()
    return made


def new_engine(server: Server, **options: Any) -> RemoteEngine:
    config = {"model": server.url, "remote_tokenizer": str(server.tokenizer)} | options
    return RemoteEngine(EngineConfig(**config))


def last(drafts: Iterator[Draft]) -> Draft:
    *_, final = drafts
    return final
