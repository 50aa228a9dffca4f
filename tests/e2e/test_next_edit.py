"""Next edits of the real process, as a client of Copilot's protocol asks for them."""

from typing import Any

import pytest
from lsprotocol import types as T
from pytest_lsp import LanguageClient

from tests.e2e.test_stdio import editor, opened
from tests.e2e.wire import URI

pytestmark = pytest.mark.e2e


async def asked(client: LanguageClient, version: int) -> list[Any]:
    params = {
        "textDocument": {"uri": URI, "version": version},
        "position": {"line": 0, "character": 0},
    }
    result = await client.protocol.send_request_async("textDocument/copilotInlineEdit", params)
    return list(result.edits)


async def test_a_renamed_name_is_offered_where_it_still_stands() -> None:
    async with editor("visual_studio_code", {}) as client:
        opened(client, "def total(a):\n    return a\n\n\ns = '😀'; total(1)\n", "python")
        at = T.Range(T.Position(0, 4), T.Position(0, 9))
        client.text_document_did_change(
            T.DidChangeTextDocumentParams(
                text_document=T.VersionedTextDocumentIdentifier(version=2, uri=URI),
                content_changes=[T.TextDocumentContentChangePartial(range=at, text="subtotal")],
            )
        )

        edits: list[Any] = []
        for _ in range(100):  # on a busy machine an answer may come too late
            edits = edits or await asked(client, 2)
        (edit,) = edits

        assert edit.text == "s = '😀'; subtotal(1)"
        assert (edit.range.start.line, edit.range.end.character) == (4, 18)  # UTF-16 units
        assert await asked(client, 1) == []
        await client.workspace_execute_command_async(
            T.ExecuteCommandParams(command=edit.command.command)
        )
