"""Settings from what a client sends, and a sentence for every value that cannot stand.

On the wire names are camelCase, alone or within an `infill` section. A wrong value costs a clear
message, never the session: it goes on with the default. Knows nothing of messages.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from infill_ls.documents import well_formed
from infill_ls.gitignore import mistake_in
from infill_ls.modes import mistake_in_mode
from infill_ls.settings import BY_FIELD, OPTIONS, SECTION, Settings

# What plugins that speak Copilot's dialect put beside their settings, and what connects us.
_NOT_OURS = {
    "editorInfo",
    "editorPluginInfo",
    "editorConfiguration",
    "copilotCapabilities",
    "token",
}


def section(options: object) -> dict[str, Any]:
    """The settings in what a client sent: bare, within an `infill` section, or nothing."""
    if not isinstance(options, Mapping):
        return {}
    ours = options.get(SECTION, options)
    return dict(ours) if isinstance(ours, Mapping) else {}


def pushed(options: object) -> dict[str, Any] | None:
    """The settings in a didChangeConfiguration; None when it is about other servers only."""
    if not isinstance(options, Mapping):
        return None
    known = SECTION in options or any(option.name in options for option in OPTIONS)
    return section(options) if known else None


def parse(options: object) -> tuple[Settings, list[str]]:
    """Settings from what a client sent, and a message for every value that cannot stand.

    null is "not set" for every option.
    """
    if options is not None and not isinstance(options, Mapping):
        return Settings(), [
            f"The settings of {SECTION} must be an object of names and values, not "
            f"{_shown(options)}. Going on with the defaults."
        ]
    given = {name: value for name, value in section(options).items() if name not in _NOT_OURS}
    values: dict[str, Any] = {}
    messages: list[str] = []
    for field, option in BY_FIELD.items():
        value = given.pop(option.name, None)
        if value is None:
            continue
        if option.accepts(value):
            values[field] = option.resolved(value)
        else:
            messages.append(
                f"{SECTION}.{option.name} is {_shown(value)}, but takes {option.allowed}. "
                f"Going on with {_shown(option.default)}."
            )
    for pattern in values.get("disabled_files", ()):
        if mistake := mistake_in(pattern):
            messages.append(
                f"{SECTION}.disabledFiles has {_shown(pattern)}, which keeps no file away: "
                f"{mistake}."
            )
    for entry in values.get("modes", ()):
        if mistake := mistake_in_mode(entry):
            messages.append(f"{SECTION}.modes has {_shown(entry)}, which says nothing: {mistake}.")
    messages += [_unknown(name) for name in given]
    return Settings(**values), messages


def _unknown(name: object) -> str:
    names = [option.name for option in OPTIONS]
    close = get_close_matches(str(name), names, n=1)
    hint = f"Did you mean {SECTION}.{close[0]}?" if close else "There is: " + ", ".join(names) + "."
    return f"{SECTION}.{name} is not a setting of infill-ls. {hint}"


def _shown(value: object) -> str:
    """As it stands in a settings file, shortened."""
    match value:
        case None:
            text = "null"
        case bool():
            text = "true" if value else "false"
        case str():
            text = f'"{well_formed(value)}"'
        case tuple():
            text = repr(list(value))
        case _:
            text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
