"""Comments by the id of their language, beside those of the table of languages: what else opens
one, what ends it, and where the two are not always spelled the same. Data alone."""

import re
from dataclasses import dataclass
from functools import cache

from infill_ls.syntax.traits import Language


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """One within a line or over several: `begins` and `ends` are patterns, `close` is how one
    writes what ends it, "" where nothing does. `nests` says whether it holds further ones."""

    begins: str
    close: str
    ends: str
    nests: bool = False


def _comment(begins: str, close: str, ends: str = "", *, nests: bool = False) -> Comment:
    return Comment(begins=begins, close=close, ends=ends or re.escape(close), nests=nests)


_MARKUP = _comment("<!--", "-->")
_TAGGED = _comment(
    r"\{%[-+~]?\s*comment\b[^%\n]*%\}", "{% endcomment %}", r"\{%[-+~]?\s*endcomment\b[^%\n]*%\}"
)
_HASHED = _comment(r"\{%[-+~]?\s*#", "%}")  # Liquid's
_REST = _comment("^__(?:END|DATA)__$", "", "(?!)")  # of a file is no code any more
_POD = r"^=(?:pod|head[1-6]|over|item|back|begin|end|for|encoding)\b"

_MORE = {
    "htmldjango": (_MARKUP, _TAGGED, _HASHED),
    "jinja": (_TAGGED, _HASHED),
    # Templates are named so too. A brace and a hash may be text.
    "html": (_TAGGED, _comment(r"\{#(?=\s)", "#}")),
    "handlebars": (_comment(r"\{\{~?!--", "--}}", r"--~?\}\}"), _comment(r"\{\{~?!", "}}")),
    "erb": (_comment("<%--", "--%>"), _comment("<%#", "%>")),
    "blade": (_comment(r"\{\{--", "--}}"),),
    "razor": (_comment(r"@\*", "*@"),),
    "markdown": (_MARKUP,),
    "latex": (_comment(r"\\begin\{comment\}", r"\end{comment}"),),
    "perl": (_comment(_POD, "=cut", r"^=cut\b[^\n]*"), _REST),
    "ruby": (_comment("^=begin", "=end", "^=end"), _REST),
    "lua": (_comment(r"--\[(?P<level>=*)\[", "]]"),),  # of a level it has its own end
    "cmake": (_comment(r"#\[(?P<level>=*)\[", "]]"),),
    "fsharp": (_comment(r"\(\*(?!\))", "*)", nests=True),),
    "d": (_comment(r"/\+", "+/", nests=True),),
    "pascal": (_comment(r"\(\*", "*)"),),
    "matlab": (_comment(r"^[ \t]*[%#]\{[ \t]*$", "%}", r"^[ \t]*[%#]\}[ \t]*$", nests=True),),
}
LINE_COMMENTS = {
    "php": r"|#(?!\[)",
    "terraform": "|//",
    "ini": "|^[ \t]*#",
    "matlab": r"|\.\.\.",
}
"""What begins one of a line beside the language's `line_comment`."""


@cache
def comments_of(language: Language) -> tuple[Comment, ...]:
    more = _MORE.get(language.id, ())
    if language.comment is None or any(each.close == language.comment[1] for each in more):
        return more
    begins, close = language.comment
    return (_comment(re.escape(begins), close, nests=language.nested_comments), *more)


def comment_of(language: Language, close: str) -> Comment | None:
    return next((each for each in comments_of(language) if each.close == close), None)
