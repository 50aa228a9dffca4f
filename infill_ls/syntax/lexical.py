"""By what patterns a lexer goes on: in code to what is more than code, and in what is open to its
end. By the rules of the language, and its tables of comments, strings and here-documents."""

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from infill_ls.syntax.comments import LINE_COMMENTS, comment_of, comments_of
from infill_ls.syntax.heredocs import HEREDOCS
from infill_ls.syntax.language import Language
from infill_ls.syntax.raw_strings import HANDLER, MARKUP, RAW_STRINGS, ending

_OVER_LINES = frozenset({'"""', "'''", "`"})
# In the text of JSX that is no quote.
_APOSTROPHE = r"'(?=[a-z])(?<=[a-z]')(?<!\b(?:case|from)')(?<!\breturn')(?<!\bimport')(?<!\bin')"
_CHARACTER = (
    r"(?P<character>'(?:\\(?:x[\da-fA-F]{1,8}|u\{\w{1,8}\}|[uU][\da-fA-F]{4,8}|[0-7]{1,3}|[^\n])"
    r"|[^\\'\n])')"
)
# There an apostrophe behind a word is part of it, or an operator.
_PRIMES = frozenset({"haskell", "ocaml", "fsharp", "julia"})
_ESCAPED = {
    "shellscript": r"\\[\s\S]",
    "clojure": r"\\\S",
    "erlang": r"\$(?:\\.|\S)",
    "latex": r"\\\S",
}
# What takes the next character along in a string, where that is no backslash.
_ESCAPES = {"powershell": "`", "vb": "", "matlab": "", "pascal": "", "ada": "", "fortran": ""}
# There a backslash at its end has a comment of a line go on.
_CONTINUED = frozenset({"c", "cpp", "objective-c"})
TEXT_BEHIND = {"php": r"\?>", "erb": "%>"}
"""Of languages that stand in a text: what ends the code, and a comment of a line."""


@dataclass(frozen=True, slots=True)
class Open:
    """Something that is not closed yet: a "string", a "comment" (a line end closes one of a
    line), a "regex", a "heredoc", the "code" in one of these, or the "text" round a language's
    code. `close` closes it, behind as many closers of inner ones as it is `deep`, which `nests`
    opens; one that is `raw` has no escapes. `code` are what begins code in it. What it holds may
    be of a language of its own (`foreign`)."""

    kind: str
    close: str
    deep: int = 0
    raw: bool = False
    code: tuple[str, ...] = ()
    nests: str = ""
    foreign: bool = False


def interpolation(language: Language, quote: str) -> tuple[str, ...]:
    return tuple(begins for each, begins in language.interpolation if each == quote)


@cache
def code_tokens(language: Language) -> re.Pattern[str]:
    """Finds what is more than code, each in a group of its name."""
    tokens: list[str] = []
    if "<?=" in interpolation(language, '"'):
        tokens.append(r"(?P<code><\?(?:php\b|=))")
    if language.id in TEXT_BEHIND:
        tokens.append(f"(?P<text>{TEXT_BEHIND[language.id]})")
    tokens += [
        f"(?P<comment{number}>{each.begins})" for number, each in enumerate(comments_of(language))
    ]
    if language.line_comment:
        before = r"(?<![^\s;])" if language.spaced else ""
        line = re.escape(language.line_comment) + LINE_COMMENTS.get(language.id, "")
        tokens.append(rf"(?P<line_comment>{before}(?:{line}))")
    if language.id in MARKUP:
        tokens.append(f"(?P<escaped>{HANDLER})")
    if language.tags == "jsx":
        tokens.append(f"(?P<escaped>{_APOSTROPHE})")
    if language.id in RAW_STRINGS:
        tokens.append(f"(?P<raw_string>{RAW_STRINGS[language.id]})")
    if language.id in HEREDOCS:
        before = r"(?<![<\w])" if language.id in ("ruby", "perl", "crystal") else "(?<!<)"
        tokens.append(rf"{before}(?P<heredoc>{HEREDOCS[language.id]})(?!<)")
        tokens.append(r"(?P<newline>\n)")
    if language.id in _ESCAPED:
        tokens.append(f"(?P<escaped>{_ESCAPED[language.id]})")
    if language.id == "shellscript":
        tokens.append(r"(?P<character>\$'(?:\\.|[^'\\])*')")
    if language.quotes:
        tokens.append(f"(?P<quote>{'|'.join(map(re.escape, language.quotes))})")
    if language.characters and "'" not in language.quotes:
        tokens.append((r"(?<!\w)" if language.id in _PRIMES else "") + _CHARACTER)
    if language.regexes:
        tokens.append(r"(?P<slash>(?<!<)/)")
    return re.compile("|".join([*tokens, r"(?P<bracket>[()\[\]{}])"]), re.MULTILINE)


def within_line(inner: Open, language: Language) -> bool:
    if inner.kind != "string" or inner.raw or inner.nests or language.long_strings:
        return False
    return inner.close not in _OVER_LINES


@lru_cache(maxsize=128)  # files name their here-documents as they like
def ends_of(inner: Open, language: Language) -> re.Pattern[str]:
    """Finds what ends what is open, begins code in it, or nests."""
    close = re.escape(inner.close)
    code = "|".join(map(re.escape, inner.code))
    if inner.kind == "heredoc":
        blank, end = ("", r"[ \t]*$") if inner.raw else (r"[ \t]*", r"\b")
        inside = rf"|(?P<skipped>\\[^\n])|(?P<code>{code})" if code else ""
        return re.compile(rf"(?P<close>^{blank}{close}{end}){inside}", re.MULTILINE)
    if inner.close == "\n":
        goes_on = r"(?P<skipped>\\\n)|" if language.id in _CONTINUED else ""
        behind = f"|{TEXT_BEHIND[language.id]}" if language.id in TEXT_BEHIND else ""
        return re.compile(rf"{goes_on}(?P<close>(?=\n{behind}))")
    if inner.kind == "comment":
        comment = comment_of(language, inner.close)
        ends = comment.ends if comment else close
        nested = f"|(?P<nested>{comment.begins})" if comment and comment.nests else ""
        return re.compile(rf"(?P<close>{ends}){nested}", re.MULTILINE)
    if inner.kind == "regex":
        # Within brackets a slash is a character, but for Ruby's.
        ends = r"(?P<close>\])" if inner.deep else r"(?P<close>/\w*)|(?P<nested>\[)"
        if inner.code:
            ends = r"(?P<close>/\w*)|(?P<code>#\{)"
        return re.compile(rf"(?P<skipped>\\[^\n])|{ends}|(?P<line>\n)")
    parts = [r"(?P<doubled>\{\{)"] if inner.code == ("{",) else []
    if language.id == "nix" and inner.close == "''":
        parts.append(r"(?P<quoted>''(?:['$]|\\.))")
    if inner.code:
        parts.append(f"(?P<code>{code})")
    if not inner.raw:
        escape = _ESCAPES.get(language.id, "\\\\")
        parts += [rf"(?P<skipped>{escape}[\s\S])"] if escape else []
    if inner.nests:
        parts.append(ending(inner.nests, inner.close))
    parts.append(rf"(?P<close>{close})")
    if within_line(inner, language):
        parts.append(r"(?P<line>\n)")
    return re.compile("|".join(parts))
