"""Strings that begin with a mark of their language's own and end with its counterpart: raw ones,
verbatim ones, Ruby's in brackets, PostgreSQL's between dollars."""

import re
from dataclasses import dataclass

PARTNER = {"(": ")", "[": "]", "{": "}", "<": ">"}

RAW_STRINGS = {
    "rust": r"\b(?:b|c)?r(?P<raw>#*)\"",
    "cpp": r"\b(?:u8|u|U|L)?R\"(?P<raw>[^\s()\\]{0,16})\(",
    "csharp": r"(?:\$?@|@\$)(?P<raw>\")|\$*(?P<fence>\"{3,})",
    "swift": r"(?<!\w)(?P<raw>#+)\"(?P<fence>\"\")?",
    "lua": r"(?<!-)\[(?P<raw>=*)\[",
    "ruby": r"(?<![\w)\]}\"'])%(?:[qQwWiIxr](?P<raw>[\[({<|!/])|(?P<fence>[\[({]))",
    # One of several lines is code, mostly.
    "sql": r"\$(?P<raw>\w*)\$(?=[^\n]*\$(?P=raw)\$)",
    "elixir": r"~[a-zA-Z](?P<raw>[\[({<|/\"'])",
    "zig": r"\\\\(?P<raw>)",
    "ocaml": r"\{(?P<raw>[a-z_]*)\|",
    # Of a substitution the second half; what opens it is taken for its beginning.
    "perl": r"(?<![\w$@%&>-])(?:(?:q[qwrx]?|m)(?P<raw>[\[({</|!])"
    r"|(?:s|tr|y)/(?:\\.|[^/\\\n])*+(?P<fence>/))",
    # Where a value begins: elsewhere a quote is a character.
    "yaml": r"(?:^[ \t]*|[:,?-][ \t]+|(?<=[\[{]))(?P<raw>[\"'])",
    "powershell": r"@(?P<raw>[\"'])(?=\n|\Z)",
}
"""By the id of their language, what they begin with."""


@dataclass(frozen=True, slots=True)
class RawString:
    """`close` ends it, but not where it is `nests` that stands there, or as often as that stood
    there before; `escapes` says whether a backslash takes the next character along."""

    close: str
    nests: str = ""
    escapes: bool = False


def raw_string(language_id: str, raw: str | None, fence: str | None) -> RawString:
    """The string that such a beginning opens, of which these are the groups."""
    mark = raw or ""
    match language_id:
        case "rust":
            return RawString(f'"{mark}')
        case "cpp":
            return RawString(f'){mark}"')
        case "swift":
            return RawString(f'"{fence or ""}{mark}')
        case "lua":
            return RawString(f"]{mark}]")
        case "zig":
            return RawString("\n")
        case "ocaml":
            return RawString(f"|{mark}}}")
        case "powershell":
            return RawString(f"\n{mark}@")
        case "yaml":
            return RawString(mark, escapes=True)
        case "ruby" | "elixir" | "perl":
            opening = mark or fence or ""
            nests = opening if opening in PARTNER else ""
            return RawString(PARTNER.get(opening, opening), nests, escapes=True)
        case "csharp" if fence is None:
            return RawString(mark, nests=2 * mark)
        case "csharp":
            return RawString(fence or "")
        case _:
            return RawString(f"${mark}$")


def ending(nests: str, close: str) -> str:
    """A pattern for what `nests` in a string that `close` ends: twice its quote is one of it."""
    return f"(?P<{'skipped_quote' if nests == 2 * close else 'nested'}>{re.escape(nests)})"
