"""TOML as it stands in a file that is being written: values missing, cut off anywhere.

What is there stays; a value that is missing becomes a slot, and what is open is closed. That the
result is TOML is for `tomllib` to say.
"""

import re
import tomllib
from collections.abc import Iterator

from infill_ls.completion.structures.json_text import HOLE, fault
from infill_ls.completion.structures.patterns import nearest
from infill_ls.completion.structures.scalars import ALPHANUMERIC, inner, quoted
from infill_ls.completion.structures.slots import Edit, Piece, Slot, composed, spliced

_BLANKS = re.compile(r"[ \t]*")
_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_WORD = re.compile(r"\d{4}-\d\d-\d\d [\d:.Z+-]+|[^\s,\[\]{}#=\"']+")
_ESCAPE = r'\\(?:[btnfr"\\]|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8})'
_STRINGS = {
    '"""': re.compile(rf'(?:{_ESCAPE}|\\[ \t]*\r?\n|"{{1,2}}(?!")|[^"\\])*'),
    "'''": re.compile(r"(?:'{1,2}(?!')|[^'])*"),
    '"': re.compile(rf'(?:{_ESCAPE}|[^"\\\r\n])*'),
    "'": re.compile(r"[^'\r\n]*"),
}
_HALF_ESCAPE = re.compile(r"\\(?:u[0-9A-Fa-f]{0,3}|U[0-9A-Fa-f]{0,7})?$")
# What a word that is cut off may become.
_WORDS = (
    *(r"^true$", r"^false$", r"^[+-]?(inf|nan)$"),
    *(r"^[+-]?([1-9]\d*|0)$", r"^[+-]?\d(_?\d)*\.\d+$", r"^[+-]?\d(_?\d)*(\.\d+)?[eE][+-]?\d+$"),
    *(r"^0x[0-9a-fA-F](_?[0-9a-fA-F])*$", r"^0o[0-7](_?[0-7])*$", r"^0b[01](_?[01])*$"),
    r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])"
    r"([ Tt]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)?)?$",
    *(r"^([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?$", r"^[1-9](\d*_\d+)*$"),
)
_PLAIN = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|\[[^\[\]\n#]*\]|[^\s,#\[\]{}"\']+')
_VALUE_TOKENS, _KEY_TOKENS = 12, 6
_DEEPEST = 100


def toml_template(text: str) -> list[Piece]:
    """Pieces that are the document, finished. Raises DocumentError where no text finishes it."""
    reader = _Reader(text)
    reader.document()
    why = ""
    # A name that is cut off may be one that is there already; then it goes on.
    for more in ("", *(f"_{number}" for number in range(2, 12))):
        end = (Edit(start=reader.stop, end=len(text), pieces=(*reader.tail(more), reader.after)),)
        pieces = spliced(text, 0, len(text), [*reader.edits, *end])
        try:
            tomllib.loads(composed(pieces))
        except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
            why = why or str(error)
            continue
        return pieces
    raise fault(text, 0, f"this is no TOML that could be finished: {why}", "correct it there")


def is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def value_slot(begin: str = "") -> Slot:
    def fit(proposal: str) -> str | None:
        said = proposal.strip()
        found = _PLAIN.match(said)
        for text in (found.group() if found else "", *quoted(said)):
            if text and text != '""' and is_toml(f"v = {text}"):
                return text
        return None

    return Slot(fallback='""', fit=fit, max_tokens=_VALUE_TOKENS, initials=ALPHANUMERIC, value=True)


class _Reader:
    """`edits` are for what is missing within the text; what is missing at its end is `tail`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.stop = len(text.rstrip(" \t\r\n"))
        self.after = text[self.stop :] if "\n" in text[self.stop :] else ""
        self.edits: list[Edit] = []
        self.closers: list[Piece] = []  # innermost first
        self.named = False  # whether the text ends within a name

    def tail(self, more: str) -> Iterator[Piece]:
        if self.named:
            yield more
        yield from self.closers

    @property
    def done(self) -> bool:
        return bool(self.closers)

    def document(self) -> None:
        at = self.gap(0)
        while at < self.stop and not self.done:
            at = self.header(at) if self.text[at] == "[" else self.pair(at, ())
            if self.done:
                return
            at = self.blanks(at)
            if at < self.stop and self.text[at] not in "\r\n#":
                raise fault(self.text, at, "something else follows on the line", "remove it")
            at = self.gap(at)

    def gap(self, at: int) -> int:
        found = _GAP.match(self.text, at, self.stop)
        return found.end() if found else at

    def blanks(self, at: int) -> int:
        found = _BLANKS.match(self.text, at, self.stop)
        return found.end() if found else at

    def char(self, at: int) -> str:
        return self.text[at] if at < self.stop else ""

    def header(self, at: int) -> int:
        end = "]]" if self.text.startswith("[[", at) else "]"
        at = self.key(at + len(end), end, (end,))
        if self.done:
            return at
        if not self.text.startswith(end, at):
            if at + 1 >= self.stop:  # one of two brackets, or none
                self.named = at == self.stop
                self.closers = [end[: len(end) - (self.stop - at)]]
                return self.stop
            raise fault(self.text, at, f"a table's name ends with {end}", "put it there")
        return at + len(end)

    def pair(self, at: int, closers: tuple[str, ...]) -> int:
        value = value_slot()
        at = self.key(at, "=", (" = ", value, *closers))
        if self.done:
            return at
        if self.char(at) != "=":
            if at >= self.stop:
                self.named, self.closers = True, [" = ", value, *closers]
                return at
            raise fault(self.text, at, "a name has = and a value behind it", "put them there")
        return self.value(at + 1, closers)

    def key(self, at: int, end: str, closers: tuple[Piece, ...]) -> int:
        """A name with dots; `closers` are for one that is cut off."""
        while True:
            at = self.blanks(at)
            char = self.char(at)
            if char in ('"', "'"):
                at = self.string(at, char, closers, is_key=True)
                if self.done:
                    return at
            elif found := _BARE_KEY.match(self.text, at, self.stop):
                at = found.end()
            elif at >= self.stop:
                slot = Slot(fallback="key", fit=_bare, max_tokens=_KEY_TOKENS)
                self.named, self.closers = False, [slot, *closers]
                return at
            else:
                raise fault(self.text, at, "a name should be here", "write one, in quotes")
            at = self.blanks(at)
            if self.char(at) != ".":
                return at
            at += 1

    def value(self, at: int, closers: tuple[str, ...], least: int = 0) -> int:
        start, at = at, self.blanks(at)
        char = self.char(at)
        if char in ("", ",", "]", "}", "#", "\r", "\n"):
            space = " " if self.text[start - 1] == "=" else ""
            if at >= self.stop:
                self.closers = [space * (self.text[self.stop - 1] == "="), value_slot(), *closers]
                return at
            self.edits.append(Edit(start=start, end=at, pieces=(space, value_slot())))
            return at
        if char in ('"', "'"):
            triple = self.text[at : at + 3]
            return self.string(at, triple if triple == 3 * char else char, closers, is_key=False)
        if char in ("[", "{"):
            if len(closers) >= _DEEPEST:
                raise fault(self.text, at, f"this is deeper than {_DEEPEST} levels", "split it up")
            return (self.array if char == "[" else self.table)(at, closers)
        return self.word(at, closers)

    def word(self, at: int, closers: tuple[str, ...]) -> int:
        found = _WORD.match(self.text, at, self.stop)
        word = found.group() if found else self.text[at]
        end = at + len(word)
        last = end == self.stop
        if word == HOLE or (last and HOLE.startswith(word)):
            self.edits.append(Edit(start=at, end=end, pieces=(value_slot(),)))
            if last:
                self.closers = ["", *closers]
            return end
        if is_toml(f"v = {word}"):
            if last:
                self.closers = ["", *closers]
            return end
        if last:
            for pattern in _WORDS:
                whole = nearest([pattern], begin=word)
                if whole is not None and is_toml(f"v = {whole}"):
                    self.closers = [whole[len(word) :], *closers]
                    return end
        raise fault(
            self.text, at, f"{word[:30]!r} is no TOML value", f"put it in quotes, or write {HOLE}"
        )

    def string(self, at: int, quote: str, closers: tuple[Piece, ...], *, is_key: bool) -> int:
        """From its quote to behind it; `closers` for one that is cut off."""
        found = _STRINGS[quote].match(self.text, at + len(quote))
        assert found is not None, "it may be empty"
        end = found.end()
        if self.text.startswith(quote, end):
            end += len(quote)
            if len(quote) == 3:  # two more quotes may be its own
                more = self.text[end : end + 2]
                end += len(more) - len(more.lstrip(quote[0]))
            return end
        half = _HALF_ESCAPE.match(self.text, end, self.stop)
        if self.text[end:].strip(" \t\r\n") and not half:
            raise fault(
                self.text, end, "the string before this cannot go on like it", f"close it: {quote}"
            )
        self.stop = end if half or len(quote) == 1 else len(self.text)
        self.after = "" if "\n" not in self.text[self.stop :] else "\n"
        # A quote or two of the three that end it are its text, with three behind them.
        self.named, self.closers = is_key, [quote, *closers]
        return self.stop

    def array(self, at: int, closers: tuple[str, ...]) -> int:
        at = self.gap(at + 1)
        inside = ("]", *closers)
        while at < self.stop and self.text[at] != "]":
            at = self.value(at, inside)
            if self.done:
                return at
            at = self.gap(at)
            if self.char(at) == ",":
                at = self.gap(at + 1)
            elif self.char(at) not in ("]", ""):
                raise fault(self.text, at, "a comma is missing before it", "put one there")
        if at >= self.stop:
            comment = "#" in self.text[self.text.rfind("\n", 0, at) + 1 : at]
            self.closers = ["\n" * comment, *inside]
            return at
        return at + 1

    def table(self, at: int, closers: tuple[str, ...]) -> int:
        at = self.blanks(at + 1)
        inside = (" }", *closers)
        comma = None
        while at < self.stop and self.text[at] != "}":
            comma = None
            at = self.pair(at, inside)
            if self.done:
                return at
            at = self.blanks(at)
            if self.char(at) == ",":
                comma, at = at, self.blanks(at + 1)
            elif self.char(at) not in ("}", ""):
                raise fault(self.text, at, "a comma is missing before it", "put one there")
        if comma is not None:
            self.edits.append(Edit(start=comma, end=comma + 1, pieces=()))
        if at >= self.stop:
            self.closers = [*inside]
            return at
        return at + 1


def _bare(proposal: str) -> str | None:
    found = _BARE_KEY.match(proposal.strip())
    return inner(found.group()) if found else None
