"""Where strings, comments, regular expressions and here-documents are in a text, by the rules of
its language. Works on fragments: what is open at a text's end is a state to go on from.

A parser knows better; this is for where there is none, or where the file is broken. Offsets are
code points. Takes time in proportion to the text.
"""

import re
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache

from infill_engine.budget import UNLIMITED, Budget
from infill_ls.syntax.language import Language
from infill_ls.syntax.raw_strings import PARTNER, RAW_STRINGS, ending, raw_string

_LOOK_BACK = 40  # characters
_CHUNK = 8_000  # characters whose state at the end is known by heart
_PART = 1_000  # characters that are lexed at once, and known by heart: an edit changes one of them
_OVER_LINES = frozenset({'"""', "'''", "`"})
_CHARACTER = (
    r"(?P<character>'(?:\\(?:x[\da-fA-F]{1,8}|u\{\w{1,8}\}|[uU][\da-fA-F]{4,8}|[0-7]{1,3}|[^\n])"
    r"|[^\\'\n])')"
)
# There an apostrophe behind a word is part of it, or an operator.
_PRIMES = frozenset({"haskell", "ocaml", "fsharp", "julia"})
_ESCAPED = {"shellscript": r"\\[\s\S]", "clojure": r"\\\S", "erlang": r"\$(?:\\.|\S)"}
# What takes the next character along in a string, where that is no backslash.
_ESCAPES = {"powershell": "`", "vb": ""}
_MORE_LINE_COMMENTS = {"php": r"|#(?!\[)", "terraform": "|//", "ini": "|^[ \t]*#"}
_LONG_COMMENTS = {"lua": r"--\[(?P<level>=*)\["}
_CONTINUED = frozenset(
    {"c", "cpp", "objective-c"}
)  # a comment of a line, by a backslash at its end
_FORMATTED = re.compile(r"(?:^|\W)(?:[fFtT][rR]?|[rR][fFtT])\Z")
# Behind these words and characters a slash begins a regular expression, elsewhere it divides.
_BEFORE_REGEX = re.compile(
    r"(?:(?:^|[^\w$.])(?:return|typeof|case|in|of|delete|void|throw|new|else|do|instanceof|yield"
    r"|await|if|unless|when|and|or|not|while|until|then)|[(,=:\[!&|?{;+*%~^>-])\s*\Z"
)
_WITHOUT_ESCAPES = {("shellscript", "'"), ("go", "`"), ("powershell", "'"), ("nix", "''")}
_HEREDOCS = {
    "shellscript": r"<<(?P<trim>-?)[ \t]*(?P<mark>'[^'\n]+'|\"[^\"\n]+\"|\\?[A-Za-z_][\w.-]*)",
    "ruby": r"<<(?:(?P<trim>[~-])(?P<mark>['\"`]?\w+['\"`]?)|(?P<plain>['\"`]?[A-Z]\w*['\"`]?))",
    "perl": r"<<(?P<trim>~?)(?P<mark>'[^'\n]+'|\"[^\"\n]+\"|[A-Z_]\w*)",
    "terraform": r"<<(?P<trim>-?)(?P<mark>[A-Za-z_]\w*)",
    "php": r"<<<(?P<trim>)[ \t]*(?P<mark>['\"]?\w+['\"]?)(?=[ \t]*(?:\n|\Z))",
}


@dataclass(frozen=True, slots=True)
class Open:
    """Something that is not closed yet: a "string", a "comment" (a line end closes one of a
    line), a "regex", a "heredoc", or the "code" in a string. `close` closes it, behind as many
    closers of inner ones as it is `deep`, which `nests` opens; one that is `raw` has no escapes.
    `code` are what begins code in it."""

    kind: str
    close: str
    deep: int = 0
    raw: bool = False
    code: tuple[str, ...] = ()
    nests: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """What is open at a place, the innermost last, and the here-documents that begin with the
    next line."""

    open: tuple[Open, ...] = ()
    heredocs: tuple[Open, ...] = ()

    @property
    def quote(self) -> str:
        """What closes the innermost string; "" where none is open."""
        strings = (each for each in reversed(self.open) if each.kind in ("string", "regex"))
        return next((each.close for each in strings), "")

    @property
    def kind(self) -> str:
        """What the place itself stands in."""
        return self.open[-1].kind if self.open else "code"

    def ends_with_line(self, language: Language) -> bool:
        """Whether something is open that cannot go on in the next line."""
        last = self.open[-1] if self.open else None
        return last is not None and (last.kind == "regex" or _within_line(last, language))


START = State()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexed:
    """`pieces` are start, end and kind of what is no code, in order, a "character" one of its own;
    `brackets` the offsets of those in code. `broken_off`: a string ended with its line, without its
    quote. `tail` is the last code, a comment behind it left out."""

    pieces: tuple[tuple[int, int, str], ...]
    brackets: tuple[int, ...]
    state: State
    broken_off: bool
    tail: str

    def within_character(self, offset: int) -> bool:
        """Whether a character literal begins before the offset and ends behind it."""
        return any(k == "character" and low < offset < high for low, high, k in self.pieces)

    def kinds(self, size: int) -> str:
        """Of each of the text's characters: code " ", comment "c", or "s" for all else."""
        found, at = [], 0
        for start, end, kind in self.pieces:
            found += [" " * (start - at), ("c" if kind == "comment" else "s") * (end - start)]
            at = end
        return "".join(found) + " " * (size - at)


@lru_cache(maxsize=16)  # both sides are asked about again with every text; it keeps the texts
def lex(text: str, language: Language, state: State = START, *, before: str = "") -> Lexed:
    """`state` is what is open where the text starts, `before` the last code before it, if it is
    known: by it a slash divides or begins a regular expression."""
    pieces, brackets = list[tuple[int, int, str]](), list[int]()
    at, end, broken_off = 0, _part_end(text, 0), False
    while end < len(text):
        part = _lexed(text[at:end], language, state, before)
        pieces += [(at + low, at + high, kind) for low, high, kind in part.pieces]
        brackets += [at + offset for offset in part.brackets]
        state, before, broken_off = part.state, part.tail, broken_off or part.broken_off
        at, end = end, _part_end(text, end)
    last = _lexed(text[at:], language, state, before)
    if not at:
        return last
    return Lexed(
        pieces=(*pieces, *((at + low, at + high, kind) for low, high, kind in last.pieces)),
        brackets=(*brackets, *(at + offset for offset in last.brackets)),
        state=last.state,
        broken_off=broken_off or last.broken_off,
        tail=last.tail,
    )


def _part_end(text: str, at: int) -> int:
    """After some whole lines: no token of code goes on from one line to the next."""
    if len(text) - at <= 2 * _PART:
        return len(text)
    return text.find("\n", at + _PART) + 1 or len(text)


@lru_cache(maxsize=256)
def _lexed(text: str, language: Language, state: State, before: str) -> Lexed:
    run = _Run(
        before=before[-_LOOK_BACK:],
        text=text,
        language=language,
        open=list(state.open),
        heredocs=list(state.heredocs),
    )
    while run.at < len(text):
        run.go_on()
    return Lexed(
        pieces=tuple(run.pieces),
        brackets=tuple(run.brackets),
        state=State(tuple(run.open), tuple(run.heredocs)),
        broken_off=run.broken_off,
        tail=run.tail(len(text)),
    )


def closed_at(text: str, language: Language, state: State) -> int:
    """Where the closer stands of what is open last where the text starts; the text's length where
    nothing closes it."""
    run = _Run(text=text, language=language, open=list(state.open), heredocs=[])
    while run.at < len(text) and len(run.open) >= len(state.open):
        run.go_on()
    if len(run.open) >= len(state.open):
        return len(text)
    return run.at if run.broken_off else max(run.at - len(state.quote), 0)


def comment_lacks_end(after: str, language: Language) -> bool:
    """Of a comment that may take several lines, whether it would take in what follows it, all or
    up to another comment: whoever wrote it has not closed it yet."""
    opening, end = language.comment or ("", "")
    if not end:
        return False
    closed, another = after.find(end), after.find(opening)
    return closed < 0 or 0 <= another < closed


def state_at(text: str, language: Language, *, budget: Budget = UNLIMITED) -> State:
    """What is open at the text's end. Its parts are known by heart, so that of a longer one, or
    after BudgetSpent, only the rest is looked at. Raises BudgetSpent."""
    state, at = START, 0
    while at < len(text):
        budget.check()
        end = text.find("\n", at + _CHUNK, at + 2 * _CHUNK) + 1 or at + 2 * _CHUNK
        state = _state_after(text[at:end], language, state)
        at = end
    return state


@lru_cache(maxsize=512)
def _state_after(text: str, language: Language, state: State) -> State:
    return lex(text, language, state).state


@dataclass(slots=True, kw_only=True)
class _Run:
    """How far one text is lexed."""

    text: str
    language: Language
    open: list[Open]
    heredocs: list[Open]
    before: str = ""
    at: int = 0
    pieces: list[tuple[int, int, str]] = field(default_factory=list)
    brackets: list[int] = field(default_factory=list)
    broken_off: bool = False

    def go_on(self) -> None:
        if self.open and self.open[-1].kind != "code":
            self._go_on_inside(self.open[-1])
        else:
            self._go_on_in_code()

    def _go_on_inside(self, inner: Open) -> None:
        """To the end of what is open, or to the code in it."""
        alike = inner if inner.deep < 2 else replace(inner, deep=1)
        found = _ending(alike, self.language).search(self.text, self.at)
        start, self.at = self.at, found.end() if found else len(self.text)
        if found is None:
            self._piece(start, inner.kind)
            return
        said = found[0]
        if found.lastgroup == "code":
            self.open.append(Open("code", PARTNER[said[-1]]))
        elif found.lastgroup == "nested":
            self.open[-1] = replace(inner, deep=inner.deep + 1)
        elif found.lastgroup == "line":
            self.at = found.start()
            self.broken_off = True
            self.open.pop()
        elif found.lastgroup == "close" and inner.deep:
            self.open[-1] = replace(inner, deep=inner.deep - 1)
        elif found.lastgroup == "close":
            self.open.pop()
        self._piece(start, inner.kind)

    def _go_on_in_code(self) -> None:
        """To the next place where something else opens, or this code is closed."""
        for found in _code(self.language).finditer(self.text, self.at):
            name, said, start = found.lastgroup, found[0], found.start()
            if name == "bracket" and not self.open:
                self.brackets.append(start)
                continue
            self.at = found.end()
            depth = len(self.open)
            if name == "bracket":
                self._bracket(said, start)
            elif name == "newline":
                self.open += reversed(self.heredocs)
                self.heredocs.clear()
            elif name == "line_comment":
                self._begin(start, Open("comment", "\n"))
            elif name == "character":
                self._piece(start, name)
            elif name == "comment":
                assert self.language.comment is not None, "it was looked for"
                level = found.groupdict().get("level")
                end = self.language.comment[1] if level is None else f"]{level}]"
                self._begin(start, Open("comment", end))
            elif name == "quote":
                self._begin(start, self._string(said, start))
            elif name == "raw_string":
                raw = raw_string(self.language.id, found["raw"], found.groupdict().get("fence"))
                inner = Open("string", raw.close, raw=not raw.escapes, nests=raw.nests)
                self._begin(start, inner)
            elif name == "slash":
                self._slash(start)
            elif name == "heredoc":
                self._heredoc(found)
            if len(self.open) != depth:
                return
        self.at = len(self.text)

    def _begin(self, start: int, inner: Open) -> None:
        self._piece(start, inner.kind)
        self.open.append(inner)

    def _piece(self, start: int, kind: str) -> None:
        if start < self.at:
            self.pieces.append((start, self.at, kind))

    def _bracket(self, bracket: str, start: int) -> None:
        inner = self.open[-1] if self.open else None
        if inner is not None and bracket == inner.close:
            if not inner.deep:
                self.open.pop()
                self._piece(start, self.open[-1].kind)
                return
            self.open[-1] = replace(inner, deep=inner.deep - 1)
        elif inner is not None and PARTNER.get(bracket) == inner.close:
            self.open[-1] = replace(inner, deep=inner.deep + 1)
        self.brackets.append(start)

    def _string(self, quote: str, start: int) -> Open:
        language = self.language
        code = tuple(begins for each, begins in language.interpolation if each == quote)
        if language.id == "python" and _FORMATTED.search(self.text[max(start - 3, 0) : start]):
            code = ("{",)
        raw = (language.id, quote) in _WITHOUT_ESCAPES
        return Open("string", quote, raw=raw, code=code)

    def _slash(self, start: int) -> None:
        before = self.tail(start)
        begins = _BEFORE_REGEX.search(before) is not None
        if self.language.id == "ruby" and not begins:
            # It may be an argument without parentheses, or begin a statement.
            argument = self.text[start + 1 : start + 2] not in ("", " ", "=")
            found = re.search(r"(\n)[ \t]*\Z|\w[ \t]\Z", before)
            begins = found is not None and (argument or found[1] is not None)
        if begins:
            code = ("#{",) if self.language.id == "ruby" else ()
            self._begin(start, Open("regex", "/", code=code))

    def tail(self, end: int) -> str:
        """The code before an offset that everything up to is lexed."""
        for low, high, kind in reversed(self.pieces):
            if kind != "comment" or self.text[high:end].strip():
                break
            end = low
        before = self.before if end < _LOOK_BACK else ""
        return before + self.text[max(end - _LOOK_BACK, 0) : end]

    def _heredoc(self, found: re.Match[str]) -> None:
        line = self.text[max(found.start() - 200, 0) : found.start()].rpartition("\n")[2]
        if line.count("((") > line.count("))"):
            return  # a shift in arithmetic
        named = found.groupdict()
        mark = (named["mark"] or named.get("plain") or "").strip("'\"`\\")
        trim = bool(named["trim"]) or self.language.id == "php"
        self.heredocs.append(Open("heredoc", mark, raw=not trim))


@cache
def _code(language: Language) -> re.Pattern[str]:
    """Finds what is more than code, each in a group of its name."""
    tokens: list[str] = []
    if language.comment:
        begins = _anchor(language) + re.escape(language.comment[0])
        tokens.append(f"(?P<comment>{_LONG_COMMENTS.get(language.id, begins)})")
    if language.line_comment:
        before = r"(?<![^\s;])" if language.spaced else ""
        line = re.escape(language.line_comment) + _MORE_LINE_COMMENTS.get(language.id, "")
        tokens.append(rf"(?P<line_comment>{before}(?:{line}))")
    if language.id in RAW_STRINGS:
        tokens.append(f"(?P<raw_string>{RAW_STRINGS[language.id]})")
    if language.id in _HEREDOCS:
        before = r"(?<![<\w])" if language.id in ("ruby", "perl") else "(?<!<)"
        tokens.append(rf"{before}(?P<heredoc>{_HEREDOCS[language.id]})(?!<)")
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


def _anchor(language: Language) -> str:
    """Ruby's comments of several lines begin and end at the beginning of one."""
    return "^" if language.id == "ruby" else ""


def _within_line(inner: Open, language: Language) -> bool:
    if inner.kind != "string" or inner.raw or inner.nests or language.long_strings:
        return False
    return inner.close not in _OVER_LINES


@lru_cache(maxsize=128)  # files name their here-documents as they like
def _ending(inner: Open, language: Language) -> re.Pattern[str]:
    """Finds what ends what is open, begins code in it, or nests."""
    close = re.escape(inner.close)
    if inner.kind == "heredoc":
        blank, end = ("", r"[ \t]*$") if inner.raw else (r"[ \t]*", r"\b")
        return re.compile(rf"(?P<close>^{blank}{close}{end})", re.MULTILINE)
    if inner.close == "\n":
        goes_on = r"(?P<skipped>\\\n)|" if language.id in _CONTINUED else ""
        return re.compile(rf"{goes_on}(?P<close>(?=\n))")
    if inner.kind == "comment":
        nested = ""
        if language.nested_comments and language.comment:
            nested = rf"|(?P<nested>{re.escape(language.comment[0])})"
        return re.compile(rf"(?P<close>{_anchor(language)}{close}){nested}", re.MULTILINE)
    if inner.kind == "regex":
        # Within brackets a slash is a character, but for Ruby's.
        ends = r"(?P<close>\])" if inner.deep else r"(?P<close>/\w*)|(?P<nested>\[)"
        if inner.code:
            ends = r"(?P<close>/\w*)|(?P<code>#\{)"
        return re.compile(rf"(?P<skipped>\\[^\n])|{ends}|(?P<line>\n)")
    parts = [r"(?P<doubled>\{\{)"] if inner.code == ("{",) else []
    if inner.code:
        parts.append(f"(?P<code>{'|'.join(map(re.escape, inner.code))})")
    if not inner.raw:
        escape = _ESCAPES.get(language.id, "\\\\")
        parts += [rf"(?P<skipped>{escape}[\s\S])"] if escape else []
    if inner.nests:
        parts.append(ending(inner.nests, inner.close))
    parts.append(rf"(?P<close>{close})")
    if _within_line(inner, language):
        parts.append(r"(?P<line>\n)")
    return re.compile("|".join(parts))
