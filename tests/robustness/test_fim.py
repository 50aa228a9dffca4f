"""Every field of every request over HTTP: missing, null, of another type, or huge.

Whatever it is, it is answered: with a text, or with a sentence that names the field; no fault of
ours comes to light.
"""

import json
import logging
from typing import Any

import httpx
import pytest

from tests.infill_ls.engines import Knowing, last_name
from tests.infill_ls.fim.endpoint import endpoint
from tests.robustness.test_messages import MISSING, ODD, label, paths, with_field

LLAMA = {
    "n_predict": 128,
    "n_cmpl": 1,
    "stop": ["x"],
    "stream": False,
    "t_max_predict_ms": 20_000,
    "response_fields": ["content", "timings/prompt_ms"],
}
OPENAI = {
    "model": "m",
    "max_tokens": 56,
    "n": 1,
    "stop": "x",
    "stream": True,
    "stream_options": {"include_usage": True},
    "echo": False,
}
EXTRA = [{"filename": "a.unknown", "text": "alpha = 1\n", "time": [1, 2]}]
BODIES: dict[str, dict[str, Any]] = {
    "/infill": {
        **LLAMA,
        "input_prefix": "alpha ",
        "input_suffix": "\n",
        "input_extra": EXTRA,
        "prompt": "beta ",
    },
    "/completion": {**LLAMA, "prompt": "<PRE> alpha <SUF>\n <MID>"},
    "/v1/completions": {**OPENAI, "prompt": ["alpha "], "suffix": "\n"},
    "/v1/fim/completions": {**OPENAI, "prompt": "alpha ", "suffix": "\n"},
}


def check(answer: httpx.Response, path: tuple[Any, ...]) -> None:
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 200:
        return
    error = answer.json()["error"]
    names = [name for name in path if isinstance(name, str)]
    assert error["message"].startswith("body")
    assert not names or names[0] in error["message"]


@pytest.mark.parametrize(
    ("where", "path"),
    [(where, path) for where, body in BODIES.items() for path in paths(body)],
    ids=label,
)
async def test_a_request_with_an_odd_field_is_answered(
    caplog: pytest.LogCaptureFixture, where: str, path: tuple[Any, ...]
) -> None:
    async with endpoint(Knowing(last_name)) as server:
        for odd in ODD:
            if odd is MISSING and not path:
                continue
            body = with_field(BODIES[where], path, odd)
            check(await server.http.post(where, content=dumped(body)), path)
        good = {**BODIES[where], "stream": False}
        assert "use_" in (await server.http.post(where, json=good)).text
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


def dumped(value: Any) -> bytes:
    """With NaN and infinities, as some clients write them."""
    return json.dumps(value).encode()
