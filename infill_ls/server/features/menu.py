"""Suggestions in the completion menu, for clients without inline completion.

No trigger characters, one or two items that sort last and are never preselected, and a budget in
which a menu can wait: it must not be in the way of the language's own server. Never both at once:
a client that asks for inline completion, whatever it announced, gets an empty menu from then on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lsprotocol import types as T

from infill_ls.completion.worker import Ask
from infill_ls.documents import Document, Encoding
from infill_ls.server.features.inline import limits_of, refusal, untimely
from infill_ls.server.items import to_range

if TYPE_CHECKING:
    from infill_ls.server.session import InfillServer

SECONDS = 0.15
LABEL_LENGTH = 80
NOTHING = T.CompletionList(is_incomplete=False, items=[])


def offer(ls: InfillServer) -> None:
    """While `initialize` runs: announces completion to a client that needs it."""
    if ls.settings.fallback == "never":
        return
    text_document = ls.client_capabilities.text_document
    inline = text_document and text_document.inline_completion
    if inline is None or ls.settings.fallback == "always":
        options = T.CompletionOptions(resolve_provider=False)
        ls.feature(T.TEXT_DOCUMENT_COMPLETION, options)(completion)


async def completion(ls: InfillServer, params: T.CompletionParams) -> T.CompletionList:
    document = ls.documents.get(params.text_document.uri)
    both = ls.asks_inline and ls.settings.fallback != "always"
    if both or document is None or not ls.worker.ready:
        return NOTHING
    at = params.position
    offset = document.offset_at(at.line, at.character, ls.encoding)
    if refusal(ls.settings, ls.ignore_policy, document) or untimely(
        ls.settings, document, offset, invoked=False
    ):
        return NOTHING
    limits = limits_of(ls.settings, invoked=False)
    limits = replace(limits, seconds=min(limits.seconds, SECONDS))
    answer = await ls.requests.answer(Ask(document=document, offset=offset, limits=limits), 0.0)
    if document is not ls.documents.get(params.text_document.uri) or not answer.candidates:
        return NOTHING
    items = items_of(answer.candidates[0].text, document, offset, ls.encoding, Shows.of(ls))
    # The next key changes what there is to say. An empty list must not say so: some clients would
    # never ask again.
    return T.CompletionList(is_incomplete=True, items=items)


class Shows:
    """What the client's menu can show."""

    def __init__(self, *, source: bool = False, markdown: bool = False) -> None:
        self.source = source
        self.markdown = markdown

    @staticmethod
    def of(ls: InfillServer) -> Shows:
        text_document = ls.client_capabilities.text_document
        known = (
            text_document and text_document.completion and text_document.completion.completion_item
        )
        if not known:
            return Shows()
        return Shows(
            source=bool(known.label_details_support),
            markdown=T.MarkupKind.Markdown in (known.documentation_format or ()),
        )


def items_of(
    text: str, document: Document, offset: int, encoding: Encoding, shows: Shows
) -> list[T.CompletionItem]:
    """The suggestion, and its first line alone where it has several."""
    first, _, more = text.partition("\n")
    start = word_start(document, offset)
    texts = [text, first] if more and first.strip() else [text]
    return [item(each, document, start, offset, encoding, shows) for each in texts]


def item(
    text: str, document: Document, start: int, offset: int, encoding: Encoding, shows: Shows
) -> T.CompletionItem:
    """Replaces the word before the cursor by itself and the text, so that menus that filter by
    that word keep it."""
    word = document.text[start:offset]
    first, _, more = text.partition("\n")
    label = (word + first).strip() or text.strip().partition("\n")[0]
    if len(label) > LABEL_LENGTH:
        label = label[: LABEL_LENGTH - 1] + "…"
    return T.CompletionItem(
        label=f"{label} ⏎" if more else label,
        label_details=T.CompletionItemLabelDetails(description="infill-ls")
        if shows.source
        else None,
        kind=T.CompletionItemKind.Text,
        documentation=preview(word + text, document.language_id, shows),
        sort_text="\uffff",
        filter_text=word + first or word,
        insert_text_format=T.InsertTextFormat.PlainText,
        # The text has its indentation; a client that adds its own would double it.
        insert_text_mode=T.InsertTextMode.AsIs,
        text_edit=T.TextEdit(to_range(document, start, offset, encoding), word + text),
    )


def preview(text: str, language: str, shows: Shows) -> T.MarkupContent:
    if not shows.markdown:
        return T.MarkupContent(T.MarkupKind.PlainText, text)
    fence = "```"
    while fence in text:
        fence += "`"
    return T.MarkupContent(T.MarkupKind.Markdown, f"{fence}{language}\n{text}\n{fence}")


def word_start(document: Document, offset: int) -> int:
    """Where the word that ends at `offset` begins: letters, digits and `_`, on its line."""
    start = offset
    while start > 0 and (document.text[start - 1].isalnum() or document.text[start - 1] == "_"):
        start -= 1
    return start
