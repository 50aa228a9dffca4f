"""The prompt in token ids, in DiffusionGemma's chat template. Asks nobody but the tokenizer.

<user: snippets of other files, how the file ends, the task> <model: ``` the file up to the cursor
"""

from collections.abc import Sequence
from dataclasses import dataclass

from infill_engine.budget import Budget
from infill_engine.errors import ModelError
from infill_engine.remote.cloze import PREFIX_CHARS, SUFFIX_CHARS, fenced, neighbours
from infill_engine.remote.http import Unsupported
from infill_engine.remote.tokens import Tokens
from infill_engine.request import InfillRequest
from infill_engine.windows import last_tokens, prefix_window, suffix_window

SUFFIX_HEAD_CHARS = 600
MARKS = ("<bos>", "<|turn>", "<turn|>", "<|channel>")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTemplate:
    """The tokenizer, and the ids of the chat template that stand around a text."""

    tokens: Tokens
    user: list[int]  # opens the user's turn
    model: list[int]  # ends it and opens the model's, with its empty thought
    end: list[int]  # closes the code block and the model's turn


def chat_template(tokens: Tokens, budget: Budget) -> ChatTemplate:
    """Raises Unsupported when the model's chat template is not DiffusionGemma's."""
    found = tokens.control(MARKS, budget)
    lacking = [mark for mark, ids in zip(MARKS[:3], found[:3], strict=True) if len(ids) != 1]
    if lacking:
        raise Unsupported(
            f"{', '.join(lacking)} is no token of this model, so its chat is not DiffusionGemma's"
        )
    if tokens.special.issuperset(range(tokens.vocab_size)):
        raise Unsupported("its tokenizer calls every token a control token; set remote_tokenizer")
    thought = "<|channel>thought\n<channel|>" if len(found[3]) == 1 else ""
    user, model, end = tokens.control(
        ("<bos><|turn>user\n", f"<turn|>\n<|turn>model\n{thought}", "<turn|>"), budget
    )
    return ChatTemplate(tokens=tokens, user=user, model=model, end=end)


def plain_ids(tokens: Tokens, texts: Sequence[str], budget: Budget) -> list[list[int]]:
    """Ids of the user's text, without any that would mean something to the server."""
    return [
        [token for token in ids if token not in tokens.special]
        for ids in tokens.encode(texts, budget)
    ]


def suffix_ids(suffix: str, chat: ChatTemplate, budget: Budget) -> list[int]:
    """Ids of what follows the hole, to the end of the answer if that is near."""
    head = suffix[:SUFFIX_HEAD_CHARS]
    last_line = "```" if head.endswith("\n") else "\n```"
    ids, fence = plain_ids(chat.tokens, [head, last_line], budget)
    if len(head) < len(suffix):
        return ids[:-1]  # the last one may be half of a word
    return ids + fence + chat.end


def prompt_ids(
    request: InfillRequest, chat: ChatTemplate, max_ids: float, budget: Budget
) -> list[int]:
    """The chat up to the cursor: far text in the user's turn, the file in the model's.

    Raises ModelError when `max_ids` is too little for anything.
    """
    language = request.language_id
    what = f"{language} file" if language else "file"
    near = neighbours(request)
    shown = f"From other files of the project:\n{fenced(near)}\n\n" if near else ""
    after = suffix_window(request.suffix, SUFFIX_CHARS)
    told = f" It ends like this:\n{fenced(after, language)}" if after.strip() else ""
    task = f"Write the {what}, without any explanation.{told}"
    opening = f"```{language}\n"
    before = prefix_window(request.prefix, PREFIX_CHARS)
    if ends_between_words(before):
        before = before[:-1]
    shown_ids, task_ids, opening_ids, before_ids = plain_ids(
        chat.tokens, [shown, task, opening, before], budget
    )
    fixed = len(chat.user) + len(chat.model) + len(opening_ids)
    if fixed + len(shown_ids) + len(task_ids) + len(before_ids) > max_ids:
        shown_ids = []
    if fixed + len(task_ids) + len(before_ids) > max_ids:
        task_ids = task_ids[: max(0, int(max_ids) // 4 - fixed)]
    left = max_ids - fixed - len(shown_ids) - len(task_ids)
    if left < 1:
        raise ModelError(
            f"the served context leaves {max_ids:g} tokens for the text, which is too few; serve "
            "the model with a larger --max-model-len"
        )
    if len(before_ids) > left:
        before_ids = last_tokens(before_ids, int(left))
    return chat.user + shown_ids + task_ids + chat.model + opening_ids + before_ids


def ends_between_words(prefix: str) -> bool:
    """Whether a blank stands before the cursor that belongs to the token of the next word.

    Such a blank is not sent; the fill says it, and loses it again.
    """
    return prefix.endswith(" ") and bool(prefix.rpartition("\n")[2].strip())
