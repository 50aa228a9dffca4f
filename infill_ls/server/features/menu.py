"""Suggestions in the completion menu, for clients without inline completion.

No trigger characters, one or two items that sort last and are never preselected, and a budget in
which a menu can wait: it must not be in the way of the language's own server. Never both at once:
a client that asks for inline completion, whatever it announced, gets an empty menu from then on.
"""

from dataclasses import replace

from infill_ls.completion.worker import Query
from infill_ls.documents import Document, Encoding
from infill_ls.server import lsp
from infill_ls.server.greeting import ClientFeatures
from infill_ls.server.handlers import Handlers, OnSnapshot
from infill_ls.server.items import to_range
from infill_ls.server.params import CompletionParams, completion_params
from infill_ls.server.policy import limits_of, refusal, untimely
from infill_ls.server.session import DocumentSnapshot, Session

SECONDS = 0.15
LABEL_LENGTH = 80
NOTHING = lsp.CompletionList(is_incomplete=False, items=[])


async def completion(
    session: Session, snapshot: DocumentSnapshot | None, params: CompletionParams
) -> lsp.CompletionList:
    if not session.offers_menu or snapshot is None or not session.worker.ready:
        return NOTHING
    document, encoding, settings = snapshot.document, snapshot.encoding, snapshot.settings
    if session.asks_inline and settings.fallback != "always":
        return NOTHING
    if not await session.looked_through(document):
        return NOTHING
    offset = document.offset_at(params.position.line, params.position.character, encoding)
    if refusal(settings, snapshot.ignore_policy, document):
        return NOTHING
    if session.snoozed or untimely(settings, document, offset, invoked=False):
        return NOTHING
    limits = limits_of(settings, invoked=False)
    limits = replace(limits, seconds=min(limits.seconds, SECONDS))
    around = session.surroundings(document, offset)
    query = Query(document=document, offset=offset, limits=limits, surroundings=around)
    result = await session.requests.answer(query, 0.0)
    if not session.is_current(snapshot) or not result.candidates:
        return NOTHING
    items = items_of(result.candidates[0].text, document, offset, encoding, session.features)
    # The next key changes what there is to say. An empty list must not say so: some clients would
    # never ask again.
    return lsp.CompletionList(is_incomplete=True, items=items)


def items_of(
    text: str, document: Document, offset: int, encoding: Encoding, shows: ClientFeatures
) -> list[lsp.CompletionItem]:
    """The suggestion, and its first line alone where it has several."""
    first, _, more = text.partition("\n")
    start = word_start(document, offset)
    texts = [text, first] if more and first.strip() else [text]
    return [item(each, document, start, offset, encoding, shows) for each in texts]


def item(
    text: str,
    document: Document,
    start: int,
    offset: int,
    encoding: Encoding,
    shows: ClientFeatures,
) -> lsp.CompletionItem:
    """Replaces the word before the cursor by itself and the text, so that menus that filter by
    that word keep it."""
    word = document.text[start:offset]
    inserted = word + text.replace("\n", document.newline)
    first, _, more = text.partition("\n")
    label = (word + first).strip() or text.strip().partition("\n")[0]
    if len(label) > LABEL_LENGTH:
        label = label[: LABEL_LENGTH - 1] + "…"
    return lsp.CompletionItem(
        label=f"{label} ⏎" if more else label,
        label_details=lsp.CompletionItemLabelDetails(description="infill-ls")
        if shows.menu_source
        else None,
        kind=lsp.TEXT_KIND,
        documentation=preview(word + text, document.language_id, markdown=shows.menu_markdown),
        sort_text="\uffff",
        filter_text=word + first or word,
        insert_text_format=lsp.PLAIN_FORMAT,
        # The text has its indentation; a client that adds its own would double it.
        insert_text_mode=lsp.AS_IS,
        text_edit=lsp.TextEdit(to_range(document, start, offset, encoding), inserted),
    )


def preview(text: str, language: str, *, markdown: bool) -> lsp.MarkupContent:
    if not markdown:
        return lsp.MarkupContent(lsp.PLAIN_TEXT, text)
    fence = "```"
    while fence in text:
        fence += "`"
    return lsp.MarkupContent(lsp.MARKDOWN, f"{fence}{language}\n{text}\n{fence}")


def word_start(document: Document, offset: int) -> int:
    """Where the word that ends at `offset` begins: letters, digits and `_`, on its line."""
    start = offset
    while start > 0 and (document.text[start - 1].isalnum() or document.text[start - 1] == "_"):
        start -= 1
    return start


HANDLERS: Handlers = {lsp.COMPLETION: OnSnapshot(completion_params, completion)}
