"""SQL as its grammar can read it: what a dialect says otherwise becomes a word, or goes, if a
statement is one without it. Nothing moves, and what stands in strings and comments stays.

Brackets and quotes of what goes are the lexer's to check.
"""

import re

_SKIPPED = r"'(?:[^']|'')*+'|\"[^\"]*+\"|`[^`]*+`|--[^\n]*+|/\*[\s\S]*?(?:\*/|\Z)"
_SKIPPED += r"|\$(?P<dollar>\w*)\$[\s\S]*?(?:\$(?P=dollar)\$|\Z)"
_WORDS = (
    r"%\(\w+\)s|%s\b",  # parameters of Python's drivers
    r"(?<![:\w]):[A-Za-z_]\w*",
    r"@{1,2}[A-Za-z_#]\w*",
    r"\?(?![?|&])(?=[\s,);]|\Z)",
    r"\{\{[^{}]*\}\}",  # a template's
    r"(?<![\w\])\"])\[[A-Za-z_#][\w #$.-]*\]|(?<=[(,])\s*\[\d+\](?=\s*[,)])",  # a quoted name
    r"\bINTERVAL\s+[\d.]+\s+(?:MICROSECOND|SECOND|MINUTE|HOUR|DAY|WEEK|MONTH|QUARTER|YEAR)S?\b",
)
_NUMBERS = r"(?<=LIMIT)\s+(?:\?|[:@]\w+|%\(\w+\)s|%s)|(?<=\()\s*MAX(?=\s*\))"
_NUMBER = r"(?:\d+|\(\s*[\w@?]+\s*\)|[:@]\w+|\?)"
_CLAUSES = (
    rf"(?<=SELECT)\s+TOP\s*{_NUMBER}(?:\s+PERCENT)?(?:\s+WITH\s+TIES)?(?=\s)",
    r"(?<=CONFLICT)\s*\([^()]*\)|(?<=CONFLICT)\s+ON\s+CONSTRAINT\s+\w+",
    r"\bFOR\s+(?:NO\s+KEY\s+)?(?:UPDATE|SHARE)\b(?:\s+OF\s+\w+)?(?:\s+(?:NOWAIT|SKIP\s+LOCKED))?",
    r"\bWITH\s*\(\s*(?:NO|UPD|ROW|PAG|TAB|HOLD|X|READ)\w*(?:\s*,\s*\w+)*\s*\)",
    rf"\bOFFSET\s+{_NUMBER}(?:\s+ROWS?)?(?:\s+FETCH\s+(?:NEXT|FIRST)\s+{_NUMBER}\s+ROWS?\s+ONLY)?"
    r"(?=\s*(?:;|\)|\Z))",
    rf"\bFETCH\s+(?:NEXT|FIRST)\s+{_NUMBER}\s+ROWS?\s+ONLY\b",
    r"\bTABLESAMPLE\s+\w+\s*\([^()]*\)",
    r"\bIDENTITY\s*\(\s*\d+\s*,\s*\d+\s*\)",
    r"\bLATERAL\s+VIEW\s+(?:OUTER\s+)?\w+\s*\([^()]*\)\s*\w+(?:\s+AS\s+\w+(?:\s*,\s*\w+)*)?",
    r"\b(?:UN)?PIVOT\s*\((?:[^()]|\([^()]*\))*\)(?:\s+AS)?(?:\s+\w+)?",
    r"\{%[\s\S]{0,500}?%\}|\{#[\s\S]{0,500}?#\}",
)
_APPLY = r"\b(?:CROSS|OUTER)\s+APPLY\b"
_STATEMENT = re.compile(
    r"\s*(?:(?:CALL|CLOSE|CLUSTER|COMMIT|COPY|DEALLOCATE|DECLARE|DELIMITER|DESC|DESCRIBE|DETACH"
    r"|ATTACH|DISCARD|DO|EXEC|EXECUTE|FETCH|IF|KILL|LISTEN|LOAD|LOCK|NOTIFY|OPEN|PRAGMA|PREPARE"
    r"|PRINT|RAISERROR|REASSIGN|REINDEX|RELEASE|ROLLBACK|SAVEPOINT|THROW|USE|WHILE)\b"
    r"|START\s+TRANSACTION\b|BEGIN(?:\s+(?:TRAN|TRANSACTION|WORK))?\s*\Z)",
    re.IGNORECASE,
)
_PIECE = re.compile(
    rf"(?P<skipped>{_SKIPPED})|(?P<end>;|^[ \t]*GO[ \t]*$)|(?P<apply>{_APPLY})"
    rf"|(?P<clause>{'|'.join(_CLAUSES)})|(?P<number>{_NUMBERS})|(?P<word>{'|'.join(_WORDS)})",
    re.IGNORECASE | re.MULTILINE | re.ASCII,
)
_VISIBLE = re.compile(r"\S", re.ASCII)
_FILLING = re.compile(r"[^\n]")
_FILLED = {"word": "_", "number": "9"}


def plain_sql(text: str) -> str:
    """As long as the text, a character for each."""
    statements: list[str] = []
    parts: list[str] = []
    at = 0
    for found in _PIECE.finditer(text):
        kind, said = found.lastgroup, found[0]
        parts.append(text[at : found.start()])
        at = found.end()
        if kind == "end":
            statements.append(_statement(parts, said))
            parts = []
        elif kind == "clause":
            parts.append(_VISIBLE.sub(" ", said))
        elif kind == "apply":
            parts.append(f"{'CROSS JOIN':{len(said)}}")
        elif kind in _FILLED:
            name = said.lstrip()
            parts.append(said[: -len(name)] + _FILLING.sub(_FILLED[kind], name))
        else:
            parts.append(said)
    return "".join([*statements, _statement([*parts, text[at:]], "")])


def _statement(parts: list[str], end: str) -> str:
    text = "".join(parts)
    if end not in ("", ";"):
        return text + _VISIBLE.sub(" ", end)
    return _VISIBLE.sub(" ", text + end) if _STATEMENT.match(text) else text + end
