"""Answers in the shapes that clients read: OpenAI's, Mistral's and llama.cpp's, whole or streamed.

A text comes out of denoising and the checks as a whole, so a stream has it in one piece.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from infill_engine import EngineInfo
from infill_ls.fim.asked import FimRequest
from infill_ls.fim.service import FimAnswer, FimText

Json = dict[str, Any]
Shape = Callable[[FimRequest, FimAnswer], "Json | list[Json]"]
Stream = Callable[[FimRequest, FimAnswer], Iterator[Json | str]]


def encoded(value: object) -> bytes:
    """Without blanks: llama.vim looks for `"content":"` before it reads the JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def events(parts: Iterator[Json | str]) -> bytes:
    """Server-sent events."""
    data = (part.encode() if isinstance(part, str) else encoded(part) for part in parts)
    return b"".join(b"data: %s\n\n" % each for each in data)


def fault(message: str, status: int) -> Json:
    """As OpenAI and llama.cpp say what went wrong."""
    kind = "invalid_request_error" if status < 500 else "unavailable_error"
    return {"error": {"message": message, "type": kind, "code": status}}


def models(info: EngineInfo) -> Json:
    model = {"id": info.model, "object": "model", "created": 0, "owned_by": "infill-ls"}
    return {"object": "list", "data": [model]}


# -- OpenAI's and Mistral's ------------------------------------------------------------------------


def completion(request: FimRequest, answer: FimAnswer) -> Json:
    choices = [_choice(at, each.text, _finish(each)) for at, each in enumerate(_texts(answer))]
    return _head("cmpl", "text_completion", answer) | {"choices": choices, "usage": _usage(answer)}


def completion_stream(request: FimRequest, answer: FimAnswer) -> Iterator[Json | str]:
    head = _head("cmpl", "text_completion", answer)
    for at, each in enumerate(_texts(answer)):
        if each.text:
            yield head | {"choices": [_choice(at, each.text, None)]}
        yield head | {"choices": [_choice(at, "", _finish(each))]}
    if request.wants_usage:
        yield head | {"choices": [], "usage": _usage(answer)}
    yield "[DONE]"


def mistral(request: FimRequest, answer: FimAnswer) -> Json:
    choices = [
        {"index": at, "message": _said(each.text), "finish_reason": _finish(each)}
        for at, each in enumerate(_texts(answer))
    ]
    return _head("cmpl", "chat.completion", answer) | {"choices": choices, "usage": _usage(answer)}


def mistral_stream(request: FimRequest, answer: FimAnswer) -> Iterator[Json | str]:
    head = _head("cmpl", "chat.completion.chunk", answer)
    for at, each in enumerate(_texts(answer)):
        choice = {"index": at, "delta": _said(each.text), "finish_reason": _finish(each)}
        yield head | {"choices": [choice], "usage": _usage(answer)}
    yield "[DONE]"


def _texts(answer: FimAnswer) -> tuple[FimText, ...]:
    """There is always one: clients read the first without looking whether it is there."""
    return answer.texts or (FimText(text="", tokens=0),)


def _finish(text: FimText) -> str:
    return "length" if text.limited else "stop"


def _head(kind: str, name: str, answer: FimAnswer) -> Json:
    return {
        "id": f"{kind}-{uuid.uuid4().hex}",
        "object": name,
        "created": int(time.time()),
        "model": answer.info.model,
    }


def _choice(at: int, text: str, reason: str | None) -> Json:
    return {"text": text, "index": at, "logprobs": None, "finish_reason": reason}


def _said(text: str) -> Json:
    return {"role": "assistant", "content": text}


def _usage(answer: FimAnswer) -> Json:
    """The prompt's tokens are not counted."""
    return {
        "prompt_tokens": 0,
        "completion_tokens": answer.tokens,
        "total_tokens": answer.tokens,
    }


# -- llama.cpp's -----------------------------------------------------------------------------------


def llama(request: FimRequest, answer: FimAnswer) -> Json | list[Json]:
    """An array where several texts were asked for, as there."""
    found = [_picked(_llama(answer, at, each), request) for at, each in enumerate(_texts(answer))]
    return found[0] if request.num_texts == 1 else found


def llama_stream(request: FimRequest, answer: FimAnswer) -> Iterator[Json | str]:
    for at, each in enumerate(_texts(answer)):
        if each.text:
            yield {"index": at, "content": each.text, "tokens": [], "stop": False}
        yield _picked(_llama(answer, at, each) | {"content": ""}, request)


def _llama(answer: FimAnswer, at: int, said: FimText) -> Json:
    """Never `truncated`, as there: both sides are cut to what is read before that."""
    info, ms, tokens = answer.info, answer.ms, said.tokens
    predicted_ms = ms.total - ms.encode if at == 0 else 0.0
    window = info.prefix_tokens + info.suffix_tokens
    return {
        "index": at,
        "content": said.text,
        "tokens": [],
        "id_slot": 0,
        "stop": True,
        "model": info.model,
        "tokens_predicted": tokens,
        "tokens_evaluated": 0,
        "generation_settings": {"n_ctx": window, "n_predict": info.max_tokens},
        "prompt": "",
        "has_new_line": "\n" in said.text,
        "truncated": False,
        "stop_type": "word" if said.stopped_by else "limit" if said.limited else "eos",
        "stopping_word": said.stopped_by,
        "tokens_cached": 0,
        "timings": {
            "prompt_n": 0,
            "prompt_ms": ms.encode,
            "prompt_per_token_ms": 0.0,
            "prompt_per_second": 0.0,
            "predicted_n": tokens,
            "predicted_ms": predicted_ms,
            "predicted_per_token_ms": predicted_ms / tokens if tokens else 0.0,
            "predicted_per_second": 1e3 * tokens / predicted_ms if predicted_ms else 0.0,
        },
    }


def _picked(answer: Json, request: FimRequest) -> Json:
    """The fields that were named, `timings/prompt_ms` under that name."""
    if request.fields is None:
        return answer
    picked: Json = {}
    for name in request.fields:
        value: Any = answer
        for part in name.split("/"):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            picked[name] = value
    return picked
