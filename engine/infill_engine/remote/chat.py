"""Infill by a server that takes no canvas: it is asked in words and read while it answers."""

import json
import logging
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from infill_engine.budget import Budget
from infill_engine.remote.cloze import cut_lines, fills_of, has_block, middle_of, prompt
from infill_engine.remote.http import Client, HttpRequest, HttpResponse, RemoteError
from infill_engine.remote.probe import ServedModel
from infill_engine.request import Draft, Hole, InfillRequest
from infill_engine.template import Template, compose, distinct

MAX_TOKENS = 256  # for a hole whose length nobody named
FENCE_TOKENS = 16
OTHERS_TEMPERATURE = 0.8

log = logging.getLogger(__name__)


class ChatModel:
    """One served model that is asked in words."""

    def __init__(self, served: ServedModel) -> None:
        self._served = served

    def warm(self, request: InfillRequest, client: Client, budget: Budget) -> None:
        """Nothing: an answer in words is all that such a server can be asked for."""

    def infill(self, template: Template, client: Client, budget: Budget) -> Iterator[Draft]:
        """Raises RemoteError when no answer came."""
        probe = self._served.probe
        requests = chat_requests(template, probe.model, thinks=probe.kind == "vllm")
        answers = [Answer() for _ in requests]
        failed: list[RemoteError] = []
        shown = ""
        for number, event in client.events(requests, budget):
            answer = answers[number]
            if answer.lost:
                continue
            try:
                if isinstance(event, RemoteError):
                    raise event
                answer.take(event)
            except RemoteError as error:
                log.warning("an answer was lost: %s", error)
                answer.lost = True
                failed.append(error)
                continue
            draft = answer.draft(template)
            if draft is not None and not any(answers[:number]) and draft.text != shown:
                shown = draft.text
                yield draft
            if answer.cut and len(requests) == 1:
                break  # no further line is wanted; leaving the loop closes the connection
        drafts = [
            draft for draft in (answer.draft(template) for answer in answers) if draft is not None
        ]
        if not drafts and len(failed) == len(requests) and not budget.cancelled():
            raise failed[0]
        if drafts and not budget.cancelled():
            others = tuple(distinct(drafts))[1:]
            yield replace(drafts[0], others=others)


def chat_requests(template: Template, model: str, *, thinks: bool) -> list[HttpRequest]:
    """A request for each candidate. `thinks` has vLLM switch the model's thinking off."""
    holes = [part for part in template.middle if isinstance(part, Hole)]
    num_pinned = sum(len(part) for part in template.middle if isinstance(part, str))
    hole_tokens = sum(hole.max_tokens or MAX_TOKENS for hole in holes)
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": prompt(template.request, template.middle)}],
        "max_tokens": hole_tokens + num_pinned + FENCE_TOKENS,
        "stream": True,
    }
    if thinks:
        body["chat_template_kwargs"] = {"enable_thinking": False}
    # Greedy answers are all alike, so only the first may be greedy.
    request = template.request
    warmer = max(request.temperature, OTHERS_TEMPERATURE)
    temperatures = [request.temperature] + [warmer] * (request.num_candidates - 1)
    return [
        HttpRequest(path="/v1/chat/completions", body=body | {"temperature": each}, events=True)
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
        self._id: object = None

    def __bool__(self) -> bool:
        return bool(self.text) and not self.lost

    def take(self, event: bytes | HttpResponse) -> None:
        """Raises RemoteError for what is no answer, another one's, and one that broke off."""
        if isinstance(event, HttpResponse):
            event.checked()
            if event.body:
                self._add(event.json(), "message")
            elif not self.finished:
                raise RemoteError(
                    "the stream of the answer ended before the answer did; the log of the server, "
                    "or of a proxy before it, says more"
                )
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
        except (ValueError, RecursionError):
            chunk = None
        if not isinstance(chunk, dict):
            raise RemoteError(
                f"the stream of the answer holds no JSON: {data[:60]!r}; is the URL that of the "
                "model server?"
            )
        if "error" in chunk:
            raise RemoteError(f"the server gave up: {str(chunk['error'])[:300]}; its log says more")
        self._id = self._id or chunk.get("id")
        if chunk.get("id") != self._id:
            raise RemoteError(
                "the stream of the answer holds a part of another one's; the proxy or balancer in "
                "between mixes answers up: connect without it"
            )
        self._add(chunk, "delta")

    def _add(self, chunk: dict[str, Any], part: str) -> None:
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            self.tokens = _count(usage.get("completion_tokens")) or self.tokens
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            raise RemoteError("the answer has no choices; is the URL that of the model server?")
        if not choices:
            return
        choice = choices[0] if isinstance(choices[0], dict) else {}
        said = choice.get(part)
        content = said.get("content") if isinstance(said, dict) else None
        if isinstance(content, str):
            self.text += content
        if choice.get("finish_reason"):
            self.finished = str(choice["finish_reason"])

    def draft(self, template: Template) -> Draft | None:
        """The middle so far, or None while there is nothing that could be one."""
        if not self or not (self.finished or has_block(self.text)):
            return None  # before its code block begins it may be prose
        # While it grows, its last line may be the beginning of the fence that closes the block.
        grown = self.text if self.finished else re.sub(r"\n[ \t]*`*\Z", "\n", self.text)
        text = middle_of(grown, template.request)
        fills = fills_of(text, template.middle)
        if fills is None or not text.strip():
            return None
        lines = tuple(cut_lines(fill, template.request.max_lines) for fill in fills)
        self.cut = lines != fills
        return Draft(
            text=compose(lines, template.middle),
            fills=lines,
            steps=0,
            tokens=self.tokens,
            mean_entropy=math.nan,
            converged=self.finished == "stop",
        )


def _count(found: object) -> int:
    return found if type(found) is int else 0
