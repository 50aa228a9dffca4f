"""What the bodies of requests ask for, in the three dialects that clients write: OpenAI's
completions, Mistral's, and llama.cpp's.

What can be left out may be anything; what decides on the answer must be right, and the sentence
says what it is instead. Sampling (temperature, top_p, seed and so on) is not read: the answer is
the model's best, and the same every time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from infill_engine.errors import InfillError
from infill_ls.documents import well_formed
from infill_ls.fim.languages import (
    Excerpt,
    common_language,
    language_of_path,
    named_language,
    path_by_excerpts,
)
from infill_ls.fim.prompts import Prompt, taken_apart
from infill_ls.server.fields import MAX_NUMBER, Fields, ParamsError
from infill_ls.settings import BY_FIELD

MOST_TEXTS = 8
_COMPLETION = '{"prompt": "def area(r):\\n    return ", "suffix": "\\n"}'
_INFILL = '{"input_prefix": "def area(r):\\n    return ", "input_suffix": "\\n"}'


class RequestBodyError(InfillError):
    """The body asks for nothing that can be answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FimRequest:
    """`path` is of the file, "" where it is unknown. `max_tokens` is None where the client leaves
    it open, and 0 where it wants no text but the surroundings read; `seconds` is how long the model
    may take, None where the client does not say; `num_texts` is how many texts it wants. They end
    before the first of `stop`. The answer is to have the `fields` alone, as llama.cpp names them,
    where these are given."""

    before: str
    after: str
    language_id: str
    path: str
    max_tokens: int | None
    seconds: float | None = None
    num_texts: int
    stop: tuple[str, ...]
    stream: bool
    wants_usage: bool = False
    fields: tuple[str, ...] | None = None


def completion_request(body: object) -> FimRequest:
    """Of /v1/completions and /v1/fim/completions. Raises InfillError."""
    fields = Fields(body, "body")
    try:
        text = _prompt_text(fields)
        with_suffix = fields.optional("suffix") is not None
        prompt = _prompt(text, _text(fields, "suffix") if with_suffix else None)
        if fields.certain_flag("echo"):
            raise ParamsError("body.echo is true, which is not done here; leave it out")
        return FimRequest(
            before=prompt.before,
            after=prompt.after,
            path=prompt.path,
            language_id=language_of_path(prompt.path) or named_language(prompt.before),
            max_tokens=_max_tokens(fields, "max_tokens"),
            num_texts=_num_texts(fields, "n"),
            stop=_stop(fields),
            stream=fields.certain_flag("stream"),
            wants_usage=_wants_usage(fields),
        )
    except ParamsError as error:
        raise RequestBodyError(f"{error}. Send for example {_COMPLETION}.") from error


def llama_completion_request(body: object) -> FimRequest:
    """Of llama.cpp's /completion. Raises InfillError."""
    fields = Fields(body, "body")
    try:
        prompt = _prompt(_prompt_text(fields), None)
        return _llama_request(
            fields, prompt, language_of_path(prompt.path) or named_language(prompt.before)
        )
    except ParamsError as error:
        raise RequestBodyError(f"{error}. Send for example {_COMPLETION}.") from error


def infill_request(body: object) -> FimRequest:
    """Of llama.cpp's /infill, whose `prompt` is how the middle begins. Raises InfillError."""
    fields = Fields(body, "body")
    try:
        before = _text(fields, "input_prefix") + _text(fields, "prompt", "")
        after = _text(fields, "input_suffix")
        extra = tuple(_extra(fields))
        path = path_by_excerpts(before + after, extra)
        language = language_of_path(path) or named_language(before) or common_language(extra)
        return _llama_request(fields, Prompt(before=before, after=after, path=path), language)
    except ParamsError as error:
        raise RequestBodyError(f"{error}. Send for example {_INFILL}.") from error


def _wants_usage(fields: Fields) -> bool:
    if fields.optional("stream_options") is None:
        return False
    return fields.nested("stream_options").certain_flag("include_usage")


def _llama_request(fields: Fields, prompt: Prompt, language_id: str) -> FimRequest:
    return FimRequest(
        before=prompt.before,
        after=prompt.after,
        path=prompt.path,
        language_id=language_id,
        max_tokens=_max_tokens(fields, "n_predict"),
        seconds=_seconds(fields, "t_max_predict_ms"),
        num_texts=_num_texts(fields, "n_cmpl"),
        stop=_stop(fields),
        stream=fields.certain_flag("stream"),
        fields=_texts(fields, "response_fields") or None,
    )


def _prompt(text: str, suffix: str | None) -> Prompt:
    """With a suffix beside it the prompt is what it is; else it may hold both sides."""
    if suffix:
        return Prompt(before=text, after=suffix)
    if suffix is None:
        return taken_apart(text) or Prompt(before=text, after="")
    try:  # some clients always send one
        return taken_apart(text) or Prompt(before=text, after="")
    except InfillError:
        return Prompt(before=text, after="")


def _prompt_text(fields: Fields) -> str:
    """OpenAI's may be an array, of which one string is understood."""
    prompt = fields.optional("prompt")
    if isinstance(prompt, list):
        if len(prompt) == 1 and isinstance(prompt[0], str):
            return well_formed(prompt[0])
        raise ParamsError("body.prompt is an array, of which only one string is answered here")
    return _text(fields, "prompt")


def _text(fields: Fields, name: str, otherwise: str | None = None) -> str:
    if otherwise is not None and fields.optional(name) is None:
        return otherwise
    return well_formed(fields.text(name))


def _texts(fields: Fields, name: str) -> tuple[str, ...]:
    """None at all where there is no such field."""
    value = fields.optional(name)
    if value is None:
        return ()
    if not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        raise ParamsError(f"body.{name} must be an array of strings")
    return tuple(value)


def _extra(fields: Fields) -> Iterator[Excerpt]:
    if fields.optional("input_extra") is None:
        return
    for each in fields.array("input_extra"):
        yield Excerpt(path=each.certain_text("filename"), text=each.certain_text("text"))


def _max_tokens(fields: Fields, name: str) -> int | None:
    """Negative is llama.cpp's way to leave it open."""
    number = fields.certain_number(name)
    return number if number is not None and number >= 0 else None


def _seconds(fields: Fields, name: str) -> float | None:
    """Within the bounds of the setting `deadlineMs`; 0 is llama.cpp's way to leave it open."""
    ms = fields.certain_number(name)
    deadline = BY_FIELD["deadline_ms"]
    assert deadline.low is not None, "it has bounds"
    assert deadline.high is not None, "it has bounds"
    return min(max(ms, deadline.low), deadline.high) / 1000 if ms is not None and ms > 0 else None


def _num_texts(fields: Fields, name: str) -> int:
    number = fields.certain_number(name)
    if number is None:
        return 1
    if not 1 <= number <= MOST_TEXTS:
        shown = str(number) if abs(number) <= MAX_NUMBER else "too large a number"
        raise ParamsError(f"body.{name} is {shown}, but must be from 1 to {MOST_TEXTS}")
    return number


def _stop(fields: Fields) -> tuple[str, ...]:
    stop = fields.optional("stop")
    if isinstance(stop, str):
        return (stop,) if stop else ()
    try:
        return tuple(each for each in _texts(fields, "stop") if each)
    except ParamsError:
        raise ParamsError("body.stop must be a string or an array of strings") from None
