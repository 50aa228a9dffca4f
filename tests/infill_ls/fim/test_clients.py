"""The requests of the clients that the README names, as their documentation and sources describe
them, and of each answer what the client reads.

The real llama.vim and minuet are run in tests/editors/test_fim_clients.py.
"""

import json
from typing import Any

import httpx

from tests.infill_ls.engines import Knowing, last_name
from tests.infill_ls.fim.endpoint import endpoint

BEFORE = "def area(radius):\n    return radius * "
AFTER = "\n\n\nprint(area(2))\n"
SAYS = "use_radius"
QWEN = f"<|fim_prefix|>{BEFORE}<|fim_suffix|>{AFTER}<|fim_middle|>"
QWEN_STOPS = ["<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"]


async def asked(path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    async with endpoint(Knowing(last_name)) as server:
        answer = await server.http.post(path, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def events(answer: httpx.Response) -> list[Any]:
    lines = [line.removeprefix("data:").strip() for line in answer.text.split("\n") if line]
    return [json.loads(line) for line in lines if line != "[DONE]"]


async def test_zed() -> None:
    """edit_predictions → open_ai_compatible_api. Its parser wants every one of these fields."""
    body = {"model": "infill", "prompt": QWEN, "max_tokens": 256, "stop": QWEN_STOPS}
    answer = (await asked("/v1/completions", body, Authorization="Bearer key")).json()

    assert answer["choices"][0]["text"] == SAYS
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert {type(answer[name]) for name in ("id", "object", "model")} == {str}
    usage = answer["usage"]
    numbers = (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"])
    assert all(type(number) is int and number >= 0 for number in (answer["created"], *numbers))


async def test_zed_with_every_prompt_format_it_has() -> None:
    prompts = [
        f"<PRE> {BEFORE} <SUF>{AFTER} <MID>",
        f"<fim_prefix>{BEFORE}<fim_suffix>{AFTER}<fim_middle>",
        f"<｜fim▁begin｜>{BEFORE}<｜fim▁hole｜>{AFTER}<｜fim▁end｜>",
        f"[SUFFIX]{AFTER}[PREFIX]{BEFORE}",
        f"<|code_prefix|>{BEFORE}<|code_suffix|>{AFTER}<|code_middle|>",
    ]
    for prompt in prompts:
        body = {"model": "infill", "prompt": prompt, "max_tokens": 256, "stop": ["<PRE>"]}
        answer = await asked("/v1/completions", body)

        assert answer.json()["choices"][0]["text"] == SAYS


async def test_llama_vim() -> None:
    """A request for a text, and one that only has the context read."""
    timings = ["prompt_n", "prompt_ms", "prompt_per_second", "predicted_n", "predicted_ms"]
    body = {
        "id_slot": 0,
        "input_prefix": "def area(radius):\n",
        "input_suffix": AFTER,
        "input_extra": [{"text": "x = 1\n", "time": [1, 2], "filename": "area.py"}],
        "prompt": "    return radius * ",
        "n_predict": 128,
        "stop": [],
        "n_indent": 4,
        "top_k": 40,
        "top_p": 0.9,
        "samplers": ["top_k", "top_p", "infill"],
        "stream": False,
        "cache_prompt": True,
        "t_max_prompt_ms": 500,
        "t_max_predict_ms": 250,
        "response_fields": ["content", *(f"timings/{name}" for name in timings), "truncated"],
    }
    answer = await asked("/infill", body)
    assert answer.json()["content"] == SAYS
    assert f'"content":"{SAYS}"' in answer.text
    assert all(answer.json()[f"timings/{name}"] >= 0 for name in timings)

    read = {**body, "input_prefix": "", "input_suffix": "", "prompt": "", "n_predict": 0}
    assert (await asked("/infill", {**read, "response_fields": [""]})).json() == {}


async def test_llama_vscode() -> None:
    """As set up by default it wants three texts, and reads `content` of an array."""
    body = {
        "id_slot": 0,
        "input_prefix": "def area(radius):\n",
        "input_suffix": AFTER,
        "input_extra": [{"text": "x = 1\n", "time": 1, "filename": "/src/area.py"}],
        "prompt": "    return radius * ",
        "n_predict": 128,
        "n_cmpl": 3,
        "top_k": 40,
        "top_p": 0.99,
        "stream": False,
        "samplers": ["top_k", "top_p", "infill"],
        "cache_prompt": True,
        "t_max_prompt_ms": 500,
        "t_max_predict_ms": 500,
    }
    several = (await asked("/infill", body, Authorization="Bearer key")).json()
    assert [each["content"] for each in several] == [SAYS]
    one = (await asked("/infill", {**body, "n_cmpl": 1})).json()
    assert one["content"] == SAYS
    assert one["generation_settings"]["n_ctx"] > 0
    assert one["timings"]["predicted_ms"] >= 0
    async with endpoint(Knowing(last_name)) as server:
        assert "status" in (await server.http.get("/health")).json()


async def test_minuet() -> None:
    """openai_fim_compatible: with its own template, and with that of llama.cpp."""
    head = "# language: python\n# indentation: use 4 spaces for a tab\n"
    shared = {"model": "infill", "stream": True, "max_tokens": 56, "top_p": 0.9}
    for body in (
        {**shared, "prompt": head + BEFORE, "suffix": AFTER},
        {**shared, "prompt": QWEN},
    ):
        headers = {"Accept": "application/json", "Authorization": "Bearer key"}
        found = events(await asked("/v1/completions", body, **headers))

        assert "".join(each["choices"][0]["text"] for each in found) == SAYS


async def test_minuet_as_for_codestral() -> None:
    body = {"model": "infill", "stream": True, "prompt": BEFORE, "suffix": AFTER}
    found = events(await asked("/v1/fim/completions", body))

    assert "".join(each["choices"][0]["delta"]["content"] for each in found) == SAYS


async def test_continue() -> None:
    """Its providers openai (Qwen's template, with other files in front), mistral and llama.cpp."""
    repository = "<|repo_name|>geo\n<|file_sep|>shape.py\nx = 1\n<|file_sep|>area.py\n"
    stops = [*QWEN_STOPS, "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "/src/", "```"]
    body = {
        "model": "infill",
        "max_tokens": 4096,
        "temperature": 0.01,
        "stop": stops,
        "stream": True,
        "prompt": repository + QWEN,
    }
    found = events(await asked("/v1/completions", body, Authorization="Bearer key"))
    assert "".join(each["choices"][0]["text"] for each in found) == SAYS

    sides = {**body, "prompt": BEFORE, "suffix": AFTER}
    found = events(await asked("/v1/fim/completions", sides, **{"x-api-key": "key"}))
    assert "".join(each["choices"][0]["delta"]["content"] for each in found) == SAYS

    llama = {"model": "infill", "prompt": QWEN, "stream": True, "n_predict": 4096, "stop": stops}
    found = events(await asked("/completion", llama))
    assert "".join(each["content"] for each in found) == SAYS
