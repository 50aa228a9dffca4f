"""Where strings, comments, regular expressions and here-documents are in a text, by the rules of
its language. Works on fragments: what is open at a text's end is a state to go on from.

A parser knows better; this is for where there is none, or where the file is broken. Offsets are
code points. Takes time in proportion to the text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

from infill_engine.budget import UNLIMITED, Budget
from infill_ls.syntax.comments import comment_of, comments_of
from infill_ls.syntax.heredocs import heredoc
from infill_ls.syntax.language import Language, language_of
from infill_ls.syntax.lexical import Open, code_tokens, ends_of, interpolation, within_line
from infill_ls.syntax.raw_strings import PARTNER, code_end, raw_string

_LOOK_BACK = 40  # characters
_CHUNK = 8_000  # characters whose state at the end is known by heart
_PART = 1_000  # characters that are lexed at once, and known by heart: an edit changes one of them
_INDENTED = re.compile(r" *(?=[^ \n])")
# What has code in a string, and what begins that, where a mark before the quote says so.
_FORMATTED = {
    "python": (re.compile(r"(?:^|\W)(?:[fFtT][rR]?|[rR][fFtT])\Z"), "{"),
    **dict.fromkeys(("csharp", "fsharp", "vb"), (re.compile(r"\$\Z"), "{")),
    "scala": (re.compile(r"(?:^|\W)[a-z]\w*\Z"), "${"),
}
# What stands round the code of a language, by whose rules, and what begins code in its attributes.
_TEXT = {
    "php": replace(
        language_of("html"),
        interpolation=tuple((quote, begins) for quote in "\"'" for begins in ("<?php", "<?=")),
    )
}
_FIRST_CODE = re.compile(r"(?P<text><\?(?:php\b|=)|\A\s*<[!a-zA-Z])|\?>")
# Behind these words and characters a slash begins a regular expression, elsewhere it divides.
_BEFORE_REGEX = re.compile(
    r"(?:(?:^|[^\w$.])(?:return|typeof|case|in|of|delete|void|throw|new|else|do|instanceof|yield"
    r"|await|if|unless|when|and|or|not|while|until|then)|[(,=:\[!&|?{;+*%~^>-])\s*\Z"
)
_WITHOUT_ESCAPES = {("shellscript", "'"), ("go", "`"), ("powershell", "'"), ("nix", "''")}


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
        return last is not None and (last.kind == "regex" or within_line(last, language))


START = State()
_TEXT_FRAME = Open("text", "")


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
    at, broken_off = 0, False
    for end in _part_ends(text, language):
        part = _lexed(text[at:end], language, state, before)
        pieces += [(at + low, at + high, kind) for low, high, kind in part.pieces]
        brackets += [at + offset for offset in part.brackets]
        state, before, broken_off = part.state, part.tail, broken_off or part.broken_off
        at = end
    return Lexed(
        pieces=tuple(pieces),
        brackets=tuple(brackets),
        state=state,
        broken_off=broken_off,
        tail=before,
    )


def at_end(text: str, language: Language, state: State = START) -> tuple[State, str]:
    """What is open at the text's end, and the last code before it: `state` and `tail` of `lex`, for
    less."""
    at, before = 0, ""
    for end in _part_ends(text, language):
        state, before = _ended(text[at:end], language, state, before)
        at = end
    return state, before


def _part_ends(text: str, language: Language) -> Iterator[int]:
    """After some whole lines, and before the last one, which is the one that is typed: no token of
    code goes on from one line to the next, but what SQL says of a body may stand behind it."""
    at = 0
    if language.id != "sql":
        while len(text) - at > 2 * _PART:
            at = text.find("\n", at + _PART) + 1 or len(text)
            yield at
        last = text.rfind("\n", at) + 1
        if last:
            at = last
            yield at
    if at < len(text) or not text:
        yield len(text)


@lru_cache(maxsize=256)
def _lexed(text: str, language: Language, state: State, before: str) -> Lexed:
    run = _run(text, language, state, before)
    return Lexed(
        pieces=tuple(run.pieces),
        brackets=tuple(run.brackets),
        state=run.state,
        broken_off=run.broken_off,
        tail=run.tail(len(text)),
    )


@lru_cache(maxsize=1024)  # enough for a file of 10,000 lines
def _ended(text: str, language: Language, state: State, before: str) -> tuple[State, str]:
    run = _run(text, language, state, before)
    return run.state, run.tail(len(text))


def _run(text: str, language: Language, state: State, before: str) -> "_Run":
    run = _Run(
        before=before[-_LOOK_BACK:],
        text=text,
        language=language,
        open=list(state.open),
        heredocs=list(state.heredocs),
    )
    while run.at < len(text):
        run.go_on()
    return run


def closed_at(text: str, language: Language, state: State) -> int:
    """Where the closer stands of what is open last where the text starts; the text's length where
    nothing closes it."""
    run = _Run(text=text, language=language, open=list(state.open), heredocs=[])
    while run.at < len(text) and len(run.open) >= len(state.open):
        run.go_on()
    if len(run.open) >= len(state.open):
        return len(text)
    return run.at if run.broken_off else max(run.at - len(state.quote), 0)


def comment_lacks_end(after: str, language: Language, close: str) -> bool:
    """Of a comment that may take several lines, whether it would take in what follows it, all or
    up to another comment: whoever wrote it has not closed it yet."""
    comment = comment_of(language, close) or next(iter(comments_of(language)), None)
    if comment is None:
        return False
    closed = re.search(comment.ends, after, re.MULTILINE)
    another = re.search(comment.begins, after, re.MULTILINE)
    return closed is None or (another is not None and another.start() < closed.start())


def beginning(text: str, language: Language) -> State:
    """What is open where a document begins: of PHP the text round its code, unless the document is
    a piece of code alone."""
    if language.id not in _TEXT:
        return START
    first = _FIRST_CODE.search(text)
    return State((_TEXT_FRAME,)) if first is not None and first["text"] else START


def state_at(
    text: str, language: Language, state: State = START, *, budget: Budget = UNLIMITED
) -> State:
    """What is open at the text's end. Its parts are known by heart, so that of a longer one, or
    after BudgetSpent, only the rest is looked at. Raises BudgetSpent."""
    at = 0
    while at < len(text):
        budget.check()
        end = text.find("\n", at + _CHUNK, at + 2 * _CHUNK) + 1 or at + 2 * _CHUNK
        state = _state_after(text[at:end], language, state)
        at = end
    return state


@lru_cache(maxsize=512)
def _state_after(text: str, language: Language, state: State) -> State:
    return at_end(text, language, state)[0]


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

    @property
    def state(self) -> State:
        return State(tuple(self.open), tuple(self.heredocs))

    def go_on(self) -> None:
        inner = self.open[-1] if self.open else None
        if inner is None or inner.kind in ("code", "text"):
            self._go_on_in_code()
        elif self.language.id == "yaml" and inner.kind == "heredoc":
            self._go_on_in_block(inner)
        else:
            self._go_on_inside(inner)

    @property
    def rules(self) -> Language:
        """By which it goes on: those of the text, where that is not code."""
        if not self.open or self.open[0].kind != "text":
            return self.language
        around = next(each.kind for each in reversed(self.open) if each.kind in ("code", "text"))
        return self.language if around == "code" else _TEXT[self.language.id]

    def _go_on_in_block(self, inner: Open) -> None:
        """To the end of a line, or out of the block where that is indented too little."""
        start = self.at
        line = _INDENTED.match(self.text, start) if inner.deep else None
        if line is not None and len(line[0]) <= len(inner.close):
            self.open.pop()
            return
        self.at = self.text.find("\n", start) + 1 or len(self.text)
        self.open[-1] = replace(inner, deep=int(self.text[self.at - 1] == "\n"))
        self._piece(start, inner.kind)

    def _go_on_inside(self, inner: Open) -> None:
        """To the end of what is open, or to the code in it."""
        alike = inner if inner.deep < 2 else replace(inner, deep=1)
        found = ends_of(alike, self.rules).search(self.text, self.at)
        start, self.at = self.at, found.end() if found else len(self.text)
        if found is None:
            self._piece(start, inner.kind)
            return
        said = found[0]
        if found.lastgroup == "code":
            self.open.append(Open("code", code_end(said)))
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
        for found in code_tokens(self.rules).finditer(self.text, self.at):
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
            elif name is not None and name.startswith("comment"):
                close = comments_of(self.rules)[int(name.removeprefix("comment"))].close
                level = found.groupdict().get("level")
                self._begin(start, Open("comment", close if level is None else f"]{level}]"))
            elif name == "code":
                self.open.pop()  # of the text round it
            elif name == "text":
                self._text(said, start)
            elif name == "quote":
                self._begin(start, self._string(said, start))
            elif name == "raw_string":
                self._raw_string(found)
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

    def _text(self, said: str, start: int) -> None:
        """Behind the end of code."""
        if self.open and self.open[-1].close == said:
            self.open.pop()
            self._piece(start, self.open[-1].kind)
        elif not self.open and self.language.id in _TEXT:
            self.open.append(_TEXT_FRAME)

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
        code = interpolation(language, quote)
        mark, begins = _FORMATTED.get(language.id, (None, ""))
        if mark is not None and mark.search(self.text[max(start - 8, 0) : start]):
            code = (begins,)
        raw = (language.id, quote) in _WITHOUT_ESCAPES
        return Open("string", quote, raw=raw, code=code)

    def _raw_string(self, found: re.Match[str]) -> None:
        language = self.rules
        raw = raw_string(language.id, found[0], found["raw"], found.groupdict().get("fence"))
        code = raw.code or interpolation(language, raw.close)
        inner = Open(
            kind="string",
            close=raw.close,
            raw=not raw.escapes,
            code=code,
            nests=raw.nests,
            foreign=raw.foreign,
        )
        self._begin(found.start(), inner)

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
        begun = heredoc(self.language.id, found, line)
        if begun is not None:
            inner = Open(
                kind="heredoc",
                close=begun.mark,
                deep=int(self.language.id == "yaml"),  # at the beginning of a line
                raw=not begun.trimmed,
                code=begun.code,
                foreign=begun.foreign,
            )
            self.heredocs.append(inner)
