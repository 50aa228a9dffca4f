"""Strings that begin with a mark of their language's own and end with its counterpart: raw ones,
verbatim ones, Ruby's in brackets, PostgreSQL's between dollars, attributes in markup; and where
there is code in strings."""

import re
from dataclasses import dataclass

PARTNER = {"(": ")", "[": "]", "{": "}", "<": ">"}
_CLOSERS = {"<?php": "?>", "<?=": "?>", "<%": "%>"}

# A quote in text is none. What is said of an attribute that holds code is code.
_ATTRIBUTE = r"(?:(?<==)|(?<==[ ]))(?P<raw>[\"'])"
_IN_TAGS = r"(?:(?<=[=:(,])|(?<=[=:,][ ]))(?P<raw>[\"'])"  # of templates, too
HANDLER = r"(?<!\S)(?:[:@#*(\[][\w.:()\[\]@-]+|(?:v|x|ng|on)[-:][\w.:-]+|on[a-z]+)=[\"']"
"""An attribute that holds code, up to it."""
_PLAIN_MARKUP = frozenset({"html", "xml", "vue", "svelte"})
_TEMPLATES = frozenset({"htmldjango", "handlebars", "erb", "blade", "razor"})
MARKUP = _PLAIN_MARKUP | _TEMPLATES
_FOREIGN = r"(?i:LANGUAGE)\s+['\"]?(?i:pl(?!pgsql\b))\w+['\"]?"

RAW_STRINGS = {
    "rust": r"\b(?:b|c)?r(?P<raw>#*)\"",
    "cpp": r"\b(?:u8|u|U|L)?R\"(?P<raw>[^\s()\\]{0,16})\(",
    "csharp": r"(?:\$?@|@\$)(?P<raw>\")|\$*(?P<fence>\"{3,})",
    "swift": r"(?<!\w)(?P<raw>#+)\"(?P<fence>\"\")?",
    "lua": r"(?<!-)\[(?P<raw>=*)\[",
    "cmake": r"(?<![#\w])\[(?P<raw>=*)\[",
    "r": r"\b[rR](?P<fence>[\"'])(?P<raw>-*)\(",
    "ruby": r"(?<![\w)\]}\"'])%(?:[qQwWiIxr](?P<raw>[\[({<|!/])|(?P<fence>[\[({]))",
    # One of several lines is SQL, where its statement does not say otherwise.
    "sql": rf"{_FOREIGN}\s+(?i:AS)\s+\$(?P<fence>\w*)\$|\$(?P<raw>\w*)\$(?=[^\n]*\$(?P=raw)\$"
    rf"|(?:(?!\$(?P=raw)\$)[\s\S]){{0,8000}}\$(?P=raw)\$(?:\s+\w+){{0,8}}?\s+{_FOREIGN})",
    "elixir": r"~[a-zA-Z]+(?:(?P<fence>\"\"\"|''')|(?P<raw>[\[({<|/\"']))",
    "zig": r"\\\\(?P<raw>)",
    "ocaml": r"\{(?P<raw>[a-z_]*)\|",
    # Of a substitution the second half; what opens it is taken for its beginning.
    "perl": r"(?<![\w$@%&>-])(?:(?:q[qwrx]?|m)(?P<raw>[\[({</|!])"
    r"|(?:s|tr|y)/(?:\\.|[^/\\\n])*+(?P<fence>/))",
    # Where a value begins: elsewhere a quote is a character.
    "yaml": r"(?:^[ \t]*|[:,?-][ \t]+|(?<=[\[{]))(?P<raw>[\"'])",
    "powershell": r"@(?P<raw>[\"'])(?=\n|\Z)",
    "matlab": r"(?<![\w)\]}'.])(?P<raw>')",
    **dict.fromkeys(_PLAIN_MARKUP, _ATTRIBUTE),
    **dict.fromkeys(_TEMPLATES, _IN_TAGS),
}
"""By the id of their language, what they begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawString:
    """`close` ends it, but not where it is `nests` that stands there, or as often as that stood
    there before; `escapes` says whether a backslash takes the next character along. `code` are
    what begins code in it; it is `foreign` where it is code of another language itself."""

    close: str
    nests: str = ""
    escapes: bool = False
    code: tuple[str, ...] = ()
    foreign: bool = False


def raw_string(language_id: str, said: str, raw: str | None, fence: str | None) -> RawString:
    """The string that such a beginning opens, of which these are the groups."""
    mark = raw or ""
    match language_id:
        case "rust":
            return RawString(close=f'"{mark}')
        case "cpp":
            return RawString(close=f'){mark}"')
        case "swift":
            return RawString(close=f'"{fence or ""}{mark}', code=(f"\\{mark}(",))
        case "lua" | "cmake":
            return RawString(close=f"]{mark}]")
        case "r":
            return RawString(close=f"){mark}{fence}")
        case "zig":
            return RawString(close="\n")
        case "ocaml":
            return RawString(close=f"|{mark}}}")
        case "powershell":
            return RawString(close=f"\n{mark}@", code=("$(",) if mark == '"' else ())
        case "yaml":
            return RawString(close=mark, escapes=True)
        case "ruby" | "elixir" | "perl":
            opening = mark or fence or ""
            nests = opening if opening in PARTNER else ""
            plain = said[1] in "qwi" if language_id == "ruby" else said[1].isupper()
            return RawString(
                close=PARTNER.get(opening, opening),
                nests=nests,
                escapes=language_id != "elixir" or not plain,
                code=() if plain or language_id == "perl" else ("#{",),
                foreign=language_id == "elixir" and said[1] in "HLE",
            )
        case "csharp":
            code = ("{",) if "$" in said else ()
            if fence is None:
                return RawString(close=mark, nests=2 * mark, code=code)
            return RawString(close=fence, code=code)
        case "sql":
            return RawString(close=f"${mark or fence or ''}$", foreign=True)
        case _:
            return RawString(close=mark)


def code_end(begins: str) -> str:
    """What ends the code in a string that begins so. Of several brackets the last counts, and of
    braces that are doubled one: the other is text."""
    return _CLOSERS.get(begins) or next(PARTNER[c] for c in reversed(begins) if c in PARTNER)


def ending(nests: str, close: str) -> str:
    """A pattern for what `nests` in a string that `close` ends: twice its quote is one of it."""
    return f"(?P<{'skipped_quote' if nests == 2 * close else 'nested'}>{re.escape(nests)})"
