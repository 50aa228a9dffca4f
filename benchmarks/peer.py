"""A GGUF model as an engine, through llama.cpp: what else people could run on the same machine.

It gets the last 640 tokens before the hole and, where its vocabulary has FIM tokens, the first 256
behind it. Otherwise it writes from left to right, with token healing: the last token before the
hole is taken back, and a grammar has it said again, alone or as the beginning of a longer one.
Greedy. Single-line holes end at the first line end after text.
"""

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infill_engine import Draft, EngineInfo, InfillRequest, ModelError
from infill_engine.budget import UNLIMITED, Budget
from infill_ls.cli.machine import this_machine

PREFIX_TOKENS, SUFFIX_TOKENS = 640, 256
LINE_TOKENS, BLOCK_TOKENS = 48, 128
SECONDS = 600.0
# Before the prefix, before the suffix, before the middle, as the families of models spell them.
FIM = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
)


class Peer:
    """Implements `Engine` for one hole a request; for others it offers nothing.

    Raises ModelError when llama.cpp or the file is missing or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        try:
            import xllamacpp
        except ImportError:
            raise ModelError(
                f"{path} is run by llama.cpp, which is not installed; pip install xllamacpp"
            ) from None
        if not path.is_file():
            raise ModelError(f"no file {path}; --peer takes a GGUF model on this machine")
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = PREFIX_TOKENS + SUFFIX_TOKENS + BLOCK_TOKENS + 64
        params.n_parallel = 1
        params.cpuparams.n_threads = this_machine().cores
        params.verbosity = -1
        try:
            self._server: Any = xllamacpp.Server(params)
        except RuntimeError as error:
            raise ModelError(f"llama.cpp cannot read {path}: {error}") from error
        self._path = path
        self._start = self._tokens("", special=True)
        self._fim = next(
            (ids for marks in FIM if all(map(len, ids := [self._mark(m) for m in marks]))), None
        )

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *error: object) -> None:
        self._server = None

    def describe(self) -> EngineInfo:
        return EngineInfo(
            model=self._path.stem,
            parameters=0,
            device="cpu",
            dtype="gguf, " + ("fill in the middle" if self._fim else "left to right, healed"),
            threads=this_machine().cores,
            canvas_lengths=(),
            max_tokens=BLOCK_TOKENS,
            prefix_tokens=PREFIX_TOKENS,
            suffix_tokens=SUFFIX_TOKENS if self._fim else 0,
            noise="none",
            source=str(self._path),
        )

    def warm(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> None:
        """Nothing: every request is read from its start."""

    def forget(self) -> None:
        """Nothing is kept."""

    def infill(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> Iterator[Draft]:
        if len(request.middle) > 1 or budget.cancelled():
            return
        started = time.perf_counter()
        before = self._tokens(request.prefix)[-PREFIX_TOKENS:]
        healed_prefix = ""
        if self._fim:
            prefix, suffix, middle = self._fim
            after = self._tokens(request.suffix)[:SUFFIX_TOKENS]
            prompt = [*self._start, *prefix, *ids(before), *suffix, *ids(after), *middle]
        else:
            if before and isinstance(before[-1]["piece"], str):
                healed_prefix = before.pop()["piece"]
            prompt = [*self._start, *ids(before)]
        one_line = request.max_lines == 1
        answer = self._post(
            "/completion",
            {
                "prompt": prompt,
                "n_predict": LINE_TOKENS if one_line else BLOCK_TOKENS,
                "temperature": 0,
                "cache_prompt": False,
                "grammar": grammar(healed_prefix, request),
            },
        )
        text = str(answer["content"]).removeprefix(healed_prefix).rstrip("\n")
        ms = (time.perf_counter() - started) * 1e3
        prompt_ms = float(answer.get("timings", {}).get("prompt_ms", 0.0))
        tokens = int(answer["tokens_predicted"])
        yield Draft(
            text=text,
            fills=(text,),
            steps=tokens,
            tokens=tokens,
            mean_entropy=float("nan"),
            converged=True,
            encode_ms=prompt_ms,
            denoise_ms=ms - prompt_ms,
        )

    def _tokens(self, text: str, special: bool = False) -> list[Any]:
        asked = {"content": text, "add_special": special, "with_pieces": True}
        tokens = self._post("/tokenize", asked)["tokens"]
        return ids(tokens) if special else list(tokens)

    def _mark(self, text: str) -> list[int]:
        """The one token of a mark; nothing where the model does not know it."""
        found = self._post("/tokenize", {"content": text, "parse_special": True})["tokens"]
        return list(found) if len(found) == 1 else []

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            self._server.listening_address + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


def ids(tokens: list[Any]) -> list[int]:
    return [token["id"] for token in tokens]


def grammar(healed_prefix: str, request: InfillRequest) -> str:
    """In GBNF: what was taken back, then one line or anything."""
    said = json.dumps(healed_prefix)
    if request.max_lines != 1:
        return f"root ::= {said} [^\\x00]*"
    typed = request.prefix.rpartition("\n")[2].strip()
    space = "" if typed else "[ \\t\\n]* "
    return f'root ::= {said} {space}[^\\n]+ "\\n"?'
