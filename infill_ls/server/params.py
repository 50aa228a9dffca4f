"""Request parameters as clients really send them: the converter between JSON and lsprotocol."""

from typing import Any

import attrs
from cattrs import Converter
from lsprotocol import types as T
from pygls.protocol import default_converter

from infill_ls.documents import Document


@attrs.define
class InfillParams(T.InlineCompletionParams):
    """With what lsprotocol drops, and the document as it was when the request arrived.

    Over TCP several messages are handled before the first handler runs, so the handler would see
    a later document than the one it was asked about.
    """

    version: int | None = None
    partial_result_token: Any = None
    formatting_options: Any = None
    snapshot: Document | None = None


def converter_factory() -> Converter:
    converter: Converter = default_converter()  # type: ignore[no-untyped-call]
    # vscode-languageclient 9 sends 0 and 1 for Invoked and Automatic. 1 must be taken at its
    # word, for others mean it. This hook goes first: cattrs bakes inner hooks into outer ones.
    converter.register_structure_hook(T.InlineCompletionTriggerKind, _trigger_kind)
    structure = converter.get_structure_hook(T.InlineCompletionParams)

    def infill_params(raw: Any, _: type) -> InfillParams:
        known = structure({**raw, "context": _context(raw)}, T.InlineCompletionParams)
        return InfillParams(
            known.context,
            known.text_document,
            known.position,
            known.work_done_token,
            version=raw["textDocument"].get("version"),
            partial_result_token=raw.get("partialResultToken"),
            formatting_options=raw.get("formattingOptions"),
        )

    converter.register_structure_hook(T.InlineCompletionParams, infill_params)
    return converter


def _trigger_kind(value: Any, _: type) -> T.InlineCompletionTriggerKind:
    if value in (0, 1):
        return T.InlineCompletionTriggerKind.Invoked
    return T.InlineCompletionTriggerKind.Automatic


def _context(raw: Any) -> dict[str, Any]:
    """Older drafts of the protocol had the context optional; without one it is Automatic."""
    return {"triggerKind": T.InlineCompletionTriggerKind.Automatic, **(raw.get("context") or {})}
