"""What this server says in LSP's name is what LSP's published types read."""

import json
from typing import Any

import pytest
from lsprotocol import types as T
from pygls.protocol import default_converter

from infill_ls.server import lsp

AT = lsp.Range(lsp.Position(1, 2), lsp.Position(1, 5))
COMMAND = lsp.Command(title="Do", command="infill.do", arguments=[{"range": AT}])
ITEM = lsp.CompletionItem(
    label="a b",
    label_details=lsp.CompletionItemLabelDetails("infill-ls"),
    kind=lsp.TEXT_KIND,
    documentation=lsp.MarkupContent(lsp.MARKDOWN, "a"),
    sort_text="z",
    filter_text="a",
    insert_text_format=lsp.PLAIN_FORMAT,
    insert_text_mode=lsp.AS_IS,
    text_edit=lsp.TextEdit(AT, "a b"),
)


def said(structure: object) -> Any:
    return json.loads(json.dumps(structure, default=lsp.as_json))


@pytest.mark.parametrize(
    ("structure", "published"),
    [
        (AT, T.Range),
        (COMMAND, T.Command),
        (lsp.Command(title="Do", command="infill.do"), T.Command),
        (
            lsp.InlineCompletionList([lsp.InlineCompletionItem(insert_text="a", range=AT)]),
            T.InlineCompletionList,
        ),
        (
            lsp.InlineCompletionItem(insert_text="a", range=AT, command=COMMAND),
            T.InlineCompletionItem,
        ),
        (lsp.CompletionList(is_incomplete=True, items=[ITEM]), T.CompletionList),
        (lsp.CodeAction(title="Do", kind="refactor.rewrite", command=COMMAND), T.CodeAction),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_structure_is_read_and_written_again(structure: object, published: type) -> None:
    converter = default_converter()  # type: ignore[no-untyped-call]
    read = converter.structure(said(structure), published)

    assert converter.unstructure(read, published) == said(structure)


def test_the_names_and_numbers_are_the_published_ones() -> None:
    methods = {value for value in vars(T).values() if isinstance(value, str)}
    ours = {value for name, value in vars(lsp).items() if name.isupper() and "/" in str(value)}

    assert len(ours) > 10
    assert ours <= methods
    assert {lsp.INITIALIZE, lsp.INITIALIZED, lsp.SHUTDOWN, lsp.EXIT} <= methods
    assert {each.value for each in lsp.MessageType} <= {each.value for each in T.MessageType}
    codes = {each.value for each in (*T.ErrorCodes, *T.LSPErrorCodes)}
    assert {each.value for each in lsp.ErrorCode} <= codes
    assert (T.MarkupKind.PlainText, T.MarkupKind.Markdown) == (lsp.PLAIN_TEXT, lsp.MARKDOWN)
    assert T.CompletionItemKind.Text == lsp.TEXT_KIND
    assert T.InsertTextFormat.PlainText == lsp.PLAIN_FORMAT
    assert T.InsertTextMode.AsIs == lsp.AS_IS
    assert T.CodeActionTriggerKind.Automatic == lsp.AUTOMATIC_ACTION
