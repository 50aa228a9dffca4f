"""The bodies of requests, right and wrong."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from infill_engine import InfillError
from infill_ls.fim.asked import (
    MOST_TEXTS,
    FimRequest,
    completion_request,
    infill_request,
    llama_completion_request,
)

PROMPT = {"prompt": "x = ", "suffix": "\n"}
SIDES = {"input_prefix": "x = ", "input_suffix": "\n"}
READ: dict[str, tuple[Callable[[object], FimRequest], dict[str, Any]]] = {
    "OpenAI": (completion_request, PROMPT),
    "llama.cpp": (llama_completion_request, {"prompt": "x = "}),
    "infill": (infill_request, SIDES),
}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([], "body is an array, but must be an object"),
        (None, "body is null"),
        ({}, "body.prompt is missing"),
        ({"prompt": 3}, "body.prompt is the number 3, but must be a string"),
        ({"prompt": [1, 2]}, "body.prompt is an array"),
        ({"prompt": ["a", "b"]}, "only one string"),
        ({**PROMPT, "n": 9}, f"body.n is 9, but must be from 1 to {MOST_TEXTS}"),
        ({**PROMPT, "n": 0}, "body.n is 0"),
        ({**PROMPT, "n": "two"}, "body.n is a string, but must be a whole number"),
        ({**PROMPT, "max_tokens": 1.5}, "body.max_tokens is the number 1.5"),
        ({**PROMPT, "stop": 3}, "body.stop must be"),
        ({**PROMPT, "stop": ["a", None]}, "body.stop must be"),
        ({**PROMPT, "echo": True}, "body.echo"),
        ({**PROMPT, "echo": "no"}, "body.echo is a string, but must be true or false"),
        ({**PROMPT, "suffix": 5}, "body.suffix is the number 5, but must be a string"),
        ({**PROMPT, "suffix": ["\n"]}, "body.suffix is an array, but must be a string"),
        ({**PROMPT, "stream": 1}, "body.stream is the number 1, but must be true or false"),
        ({**PROMPT, "stream": "true"}, "body.stream is a string, but must be true or false"),
        ({**PROMPT, "stream_options": []}, "body.stream_options is an array, but must be"),
        (
            {**PROMPT, "stream_options": {"include_usage": 1}},
            "body.stream_options.include_usage is the number 1",
        ),
        ({**PROMPT, "n": 1e308}, "body.n is too large a number, but must be from 1 to"),
        ({"prompt": "<|fim_prefix|>x"}, "lacks <|fim_suffix|>"),
    ],
)
def test_what_is_wrong_with_a_completion_is_said(body: object, says: str) -> None:
    with pytest.raises(InfillError) as error:
        completion_request(body)

    assert says in str(error.value)
    assert "end" in str(error.value)  # "Send for example", or "send the text ..."


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "body.input_prefix is missing"),
        ({"input_prefix": "x"}, "body.input_suffix is missing"),
        ({**SIDES, "prompt": 3}, "body.prompt is the number 3"),
        ({**SIDES, "input_extra": "x"}, "body.input_extra is a string, but must be an array"),
        ({**SIDES, "n_cmpl": 99}, "body.n_cmpl is 99"),
        ({**SIDES, "n_predict": "many"}, "body.n_predict is a string"),
        ({**SIDES, "t_max_predict_ms": "long"}, "body.t_max_predict_ms is a string"),
        ({**SIDES, "response_fields": "content"}, "body.response_fields must be an array"),
        ({**SIDES, "response_fields": [1]}, "body.response_fields must be an array"),
        ({**SIDES, "stream": 0}, "body.stream is the number 0"),
        ({**SIDES, "input_suffix": None}, "body.input_suffix is null"),
        ({**SIDES, "input_extra": [{"filename": 3}]}, "filename is the number 3"),
        ({**SIDES, "input_extra": [3]}, "input_extra[0] is the number 3"),
    ],
)
def test_what_is_wrong_with_an_infill_is_said(body: object, says: str) -> None:
    with pytest.raises(InfillError, match=re.escape(says)):
        infill_request(body)


def test_a_suffix_beside_it_makes_the_prompt_plain_text() -> None:
    text = "# <|fim_prefix|> is the token of\n"
    request = completion_request({"prompt": text, "suffix": "x"})
    empty = completion_request({"prompt": text, "suffix": ""})
    spelled = completion_request({"prompt": "<PRE> a <SUF>b <MID>", "suffix": ""})

    assert (request.before, request.after) == (text, "x")
    assert (empty.before, empty.after) == (text, "")
    assert (spelled.before, spelled.after) == ("a", "b")


def test_a_prompt_alone_is_what_stands_before_the_cursor() -> None:
    for body in ({"prompt": "x = "}, {"prompt": ["x = "]}, {"prompt": "x = ", "suffix": None}):
        request = completion_request(body)

        assert (request.before, request.after) == ("x = ", "")


def test_the_prompt_of_an_infill_is_how_the_middle_begins() -> None:
    request = infill_request({**SIDES, "prompt": "1 + "})

    assert (request.before, request.after) == ("x = 1 + ", "\n")


@pytest.mark.parametrize("name", READ)
def test_how_much_is_wanted(name: str) -> None:
    read, body = READ[name]
    tokens, texts = ("max_tokens", "n") if name == "OpenAI" else ("n_predict", "n_cmpl")
    plain = read(body)
    full = read({**body, tokens: 56.0, texts: 3, "stop": "\n", "stream": True})

    assert (plain.max_tokens, plain.num_texts, plain.stop, plain.stream) == (None, 1, (), False)
    assert (full.max_tokens, full.num_texts, full.stop, full.stream) == (56, 3, ("\n",), True)
    assert read({**body, tokens: 0}).max_tokens == 0
    assert read({**body, tokens: -1}).max_tokens is None
    assert read({**body, "stop": ["", "a"], "temperature": "hot", "seed": []}).stop == ("a",)


@pytest.mark.parametrize(
    ("ms", "seconds"),
    [(250, 0.25), (1, 0.02), (1e9, 60.0), (0, None), (-1, None), (None, None)],
)
def test_how_long_it_may_take(ms: object, seconds: float | None) -> None:
    assert infill_request({**SIDES, "t_max_predict_ms": ms}).seconds == seconds


@pytest.mark.parametrize(
    ("body", "language"),
    [
        ({}, ""),
        ({"input_prefix": "# language: ruby\n"}, "ruby"),
        ({"input_prefix": "/* language: css */\n"}, "css"),
        ({"input_extra": [{"filename": "src/a.go", "text": "y"}]}, "go"),
        ({"input_extra": [{"filename": "a.go"}, {"filename": "b.rs"}]}, ""),
        ({"input_extra": [{"filename": "notes", "text": "x"}, {"text": "y"}]}, ""),
        (
            {
                "input_prefix": "print(total_price)\n",
                "input_extra": [
                    {"filename": "c.js", "text": "let a_variable = 1\n"},
                    {"filename": "shop/b.py", "text": "x\nprint(total_price)\n"},
                ],
            },
            "python",
        ),
    ],
)
def test_the_language_is_guessed_from_what_came_along(body: dict[str, Any], language: str) -> None:
    assert infill_request({**SIDES, **body}).language_id == language


def test_half_a_character_is_none() -> None:
    request = completion_request({"prompt": "a\ud83d", "suffix": "\ude00b"})

    assert (request.before, request.after) == ("a\ufffd", "\ufffdb")
