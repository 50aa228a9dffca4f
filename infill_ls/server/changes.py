"""Edits as clients send them, read leniently. Knows nothing of lsprotocol."""

from typing import Any

from infill_ls.documents import Change


def changes_of(raw: Any) -> list[Change] | None:
    """The edits of a didChange in order; None when one of them cannot be read."""
    if not isinstance(raw, list):
        return None
    changes = [_change(each) for each in raw]
    return [change for change in changes if change is not None] if None not in changes else None


def _change(raw: Any) -> Change | None:
    if not isinstance(raw, dict) or not isinstance(text := raw.get("text"), str):
        return None
    if raw.get("range") is None:
        return Change(text=text)
    try:
        ends = raw["range"]["start"], raw["range"]["end"]
        start, end = ((int(at["line"]), int(at["character"])) for at in ends)
    except (TypeError, KeyError, ValueError, OverflowError):
        return None
    return Change(text=text, range=(*start, *end))
