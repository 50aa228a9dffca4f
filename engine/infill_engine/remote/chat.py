"""One answer of /v1/chat/completions, as it grows. Does no waiting of its own."""

import json
import math
import re
from typing import Any

from infill_engine.remote.cloze import cut_lines, fills_of, has_block, middle_of, prompt
from infill_engine.remote.http import Ask, RemoteError, Reply
from infill_engine.request import Draft, Hole
from infill_engine.template import Template, compose

TOKENS = 256  # for a hole whose length nobody named
FENCE_TOKENS = 16
OTHERS_TEMPERATURE = 0.8


def asks(asked: Template, model: str, *, thinks: bool) -> list[Ask]:
    """A request for each candidate. `thinks` has vLLM switch the model's thinking off."""
    holes = [part for part in asked.middle if isinstance(part, Hole)]
    pinned = sum(len(part) for part in asked.middle if isinstance(part, str))
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": prompt(asked.request, asked.middle)}],
        "max_tokens": sum(hole.max_tokens or TOKENS for hole in holes) + pinned + FENCE_TOKENS,
        "stream": True,
    }
    if thinks:
        body["chat_template_kwargs"] = {"enable_thinking": False}
    # Greedy answers are all alike, so only the first may be greedy.
    warmer = max(asked.request.temperature, OTHERS_TEMPERATURE)
    temperatures = [asked.request.temperature] + [warmer] * (asked.request.num_candidates - 1)
    return [
        Ask(path="/v1/chat/completions", body=body | {"temperature": each}, events=True)
        for each in temperatures
    ]


class Answer:
    """A chat answer as it grows, from server-sent events or from one JSON object."""

    def __init__(self) -> None:
        self.text = ""
        self.tokens = 0
        self.finished = ""
        self.lost = False
        self.cut = False  # it has more lines than were asked for

    def __bool__(self) -> bool:
        return bool(self.text) and not self.lost

    def take(self, event: bytes | Reply) -> None:
        """Raises RemoteError for what is no answer, and for one that broke off."""
        if isinstance(event, Reply):
            event.checked()
            if event.body:
                self._add(event.json(), "message")
            elif not self.finished:
                raise RemoteError("the stream of the answer ended before the answer did")
            return
        field, _, data = event.partition(b":")
        data = data.strip()
        if field != b"data":
            return
        if data == b"[DONE]":
            self.finished = self.finished or "stop"
            return
        try:
            chunk = json.loads(data)
        except ValueError:
            chunk = None
        if not isinstance(chunk, dict):
            raise RemoteError(f"the stream of the answer holds no JSON: {data[:60]!r}")
        if "error" in chunk:
            raise RemoteError(f"the server gave up: {str(chunk['error'])[:300]}")
        self._add(chunk, "delta")

    def _add(self, chunk: dict[str, Any], part: str) -> None:
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            self.tokens = _count(usage.get("completion_tokens")) or self.tokens
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            raise RemoteError("the answer has no choices")
        if not choices:
            return
        choice = choices[0] if isinstance(choices[0], dict) else {}
        said = choice.get(part)
        content = said.get("content") if isinstance(said, dict) else None
        if isinstance(content, str):
            self.text += content
        if choice.get("finish_reason"):
            self.finished = str(choice["finish_reason"])

    def draft(self, asked: Template) -> Draft | None:
        """The middle so far, or None while there is nothing that could be one."""
        if not self or not (self.finished or has_block(self.text)):
            return None  # before its code block begins it may be prose
        # While it grows, its last line may be the beginning of the fence that closes the block.
        grown = self.text if self.finished else re.sub(r"\n[ \t]*`*\Z", "\n", self.text)
        text = middle_of(grown, asked.request)
        fills = fills_of(text, asked.middle)
        if fills is None or not text.strip():
            return None
        lines = tuple(cut_lines(fill, asked.request.max_lines) for fill in fills)
        self.cut = lines != fills
        return Draft(
            text=compose(lines, asked.middle),
            fills=lines,
            steps=0,
            tokens=self.tokens,
            mean_entropy=math.nan,
            converged=self.finished == "stop",
        )


def _count(found: object) -> int:
    return found if type(found) is int else 0
