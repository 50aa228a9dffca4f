"""Where an editor's cursor stands: holes cut from real files, the same ones on every machine.

The files are modules of Python's standard library, which everybody has and no training saw, and
hand-written ones of other languages under `benchmarks/cases`, where the hole stands in ⟦ ⟧.
A hole is chosen by a hash of where it is, never by chance.

    line       the rest of a line, cursor after its indentation
    tail       the rest of a line, cursor after `.`, `(`, `, `, ` = ` or `[`
    inner      what stands between brackets that the editor closed
    arguments  the same in a call
    block      two to seven lines of statements
    span       some characters, every other time from within a name
"""

import ast
import hashlib
import io
import sysconfig
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from infill_engine import RequestError
from infill_ls.syntax.language import language_id_of

MODULES = (
    "argparse.py", "ast.py", "bdb.py", "calendar.py", "cmd.py", "codeop.py",
    "configparser.py", "contextlib.py", "copy.py", "csv.py", "dataclasses.py", "difflib.py",
    "dis.py", "email/message.py", "enum.py", "filecmp.py", "fileinput.py", "fractions.py",
    "functools.py", "getopt.py", "gettext.py", "gzip.py", "heapq.py", "html/parser.py",
    "http/cookies.py", "imaplib.py", "inspect.py", "ipaddress.py", "json/decoder.py",
    "json/encoder.py", "linecache.py", "locale.py", "logging/handlers.py", "mailbox.py",
    "netrc.py", "optparse.py", "pickletools.py", "plistlib.py", "pprint.py", "profile.py",
    "queue.py", "random.py", "sched.py", "selectors.py", "shelve.py", "shlex.py", "shutil.py",
    "smtplib.py", "socketserver.py", "statistics.py", "string.py", "tarfile.py", "tempfile.py",
    "textwrap.py", "threading.py", "timeit.py", "tokenize.py", "trace.py", "turtle.py",
    "unittest/case.py", "urllib/parse.py", "uuid.py", "wsgiref/handlers.py", "zipfile.py",
)  # fmt: skip
KINDS = ("line", "tail", "inner", "arguments", "block", "span")
ONE_LINE = frozenset({"line", "tail", "inner", "arguments"})
OPEN, CLOSE = "⟦", "⟧"
CLOSER = {"(": ")", "[": "]", "{": "}"}
NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER, tokenize.STRING,
}  # fmt: skip
MIN_CHARS, MAX_CHARS = 3, 100  # of a hole on one line


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A hole and what stood in it. `name` is FILE:LINE:COL, from 1."""

    name: str
    kind: str
    language_id: str
    prefix: str
    reference: str
    suffix: str

    @property
    def max_lines(self) -> int:
        return 1 if self.kind in ONE_LINE else 8


@dataclass(frozen=True, slots=True)
class Token:
    kind: int
    text: str
    start: int
    end: int
    row: int


class Source:
    """A Python file and its tokens, by offset."""

    language_id = "python"

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text

    @cached_property
    def starts(self) -> list[int]:
        """Of every line; and once more the end."""
        lines = self.text.split("\n")
        starts = [0]
        for line in lines:
            starts.append(starts[-1] + len(line) + 1)
        return starts

    @cached_property
    def tokens(self) -> list[Token]:
        readline = io.StringIO(self.text).readline
        return [
            Token(
                token.type,
                token.string,
                self.starts[token.start[0] - 1] + token.start[1],
                self.starts[token.end[0] - 1] + token.end[1],
                token.start[0] - 1,
            )
            for token in tokenize.generate_tokens(readline)
        ]

    @cached_property
    def code_rows(self) -> list[list[Token]]:
        """The tokens of each line that holds code and nothing else."""
        rows: dict[int, list[Token]] = {}
        other: set[int] = set()
        for token in self.tokens:
            last = token.row + self.text.count("\n", token.start, token.end)
            if token.kind == tokenize.COMMENT:
                other.add(token.row)
            elif token.kind not in NO_CODE:
                rows.setdefault(token.row, []).append(token)
            elif token.kind == tokenize.STRING and last > token.row:
                other |= set(range(token.row, last + 1))
        return [tokens for row, tokens in sorted(rows.items()) if row not in other]

    def line(self, row: int) -> str:
        return self.text[self.starts[row] : self.starts[row + 1] - 1]

    def end_of(self, row: int) -> int:
        return self.starts[row] + len(self.line(row).rstrip())

    def spans(self, kind: str) -> "Iterator[Span]":
        """Where a hole of the kind may be."""
        return FINDERS[kind](self)

    def case(self, kind: str, start: int, end: int) -> Case:
        line = self.text.count("\n", 0, start)
        return Case(
            name=f"{self.name}:{line + 1}:{start - self.starts[line] + 1}",
            kind=kind,
            language_id=self.language_id,
            prefix=self.text[:start],
            reference=self.text[start:end],
            suffix=self.text[end:],
        )


Span = tuple[int, int]


def line_spans(source: Source) -> Iterator[Span]:
    for row in source.code_rows:
        if len(row) > 1:
            yield row[0].start, source.end_of(row[0].row)


def tail_spans(source: Source) -> Iterator[Span]:
    for row in source.code_rows:
        for token, after in pairwise(row):
            spaced = token.text in (",", "=")
            if spaced and after.start == token.end + 1:
                yield after.start, source.end_of(token.row)
            elif token.text in (".", "(", "["):
                yield token.end, source.end_of(token.row)


def bracket_spans(source: Source, calls: bool) -> Iterator[Span]:
    for row in source.code_rows:
        for at, token in enumerate(row):
            if token.text not in CLOSER:
                continue
            before = row[at - 1] if at else None
            called = (
                token.text == "("
                and before is not None
                and before.kind == tokenize.NAME
                and before.end == token.start
                and (at < 2 or row[at - 2].text not in ("def", "class"))
            )
            close = _closing(row, at)
            if close is not None and called == calls:
                yield token.end, close.start


def _closing(row: Sequence[Token], at: int) -> Token | None:
    depth = 0
    for token in row[at:]:
        depth += (token.text in CLOSER) - (token.text in CLOSER.values())
        if depth == 0:
            return token if token.text == CLOSER[row[at].text] else None
    return None


def inner_spans(source: Source) -> Iterator[Span]:
    return bracket_spans(source, calls=False)


def argument_spans(source: Source) -> Iterator[Span]:
    return bracket_spans(source, calls=True)


def block_spans(source: Source) -> Iterator[Span]:
    for node in ast.walk(ast.parse(source.text)):
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list):
                yield from _runs(source, [each for each in body if isinstance(each, ast.stmt)])


def _runs(source: Source, body: Sequence[ast.stmt]) -> Iterator[Span]:
    for at, first in enumerate(body):
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            continue  # a docstring
        row = first.lineno - 1
        indent = source.line(row).encode()[: first.col_offset].decode()
        if indent.strip():
            continue  # it shares its line with something before it
        start = source.starts[row] + len(indent)
        for last in body[at:]:
            assert last.end_lineno is not None, "the parser sets it"
            end = source.end_of(last.end_lineno - 1)
            if 2 <= last.end_lineno - first.lineno + 1 <= 7:
                yield start, end


def character_spans(source: Source) -> Iterator[Span]:
    for number, row in enumerate(source.code_rows):
        names = [token for token in row if token.kind == tokenize.NAME and len(token.text) > 3]
        if number % 2 and names:
            token = names[hashed(source.name, number) % len(names)]
            start = token.start + 1 + hashed(source.name, number, "cut") % (len(token.text) - 1)
        else:
            room = source.end_of(row[0].row) - row[0].start
            start = row[0].start + hashed(source.name, number, "start") % room
        end = start + 4 + hashed(source.name, number, "length") % 37
        yield start, min(end, source.end_of(row[0].row))


FINDERS: dict[str, Callable[[Source], Iterator[Span]]] = {
    "line": line_spans,
    "tail": tail_spans,
    "inner": inner_spans,
    "arguments": argument_spans,
    "block": block_spans,
    "span": character_spans,
}


def hashed(*parts: object) -> int:
    """What chooses instead of chance: the same on every machine."""
    text = ":".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def cut(source: Source, kind: str, count: int) -> list[Case]:
    """The first `count` holes of a kind by their hash, none of them overlapping another."""
    spans = {
        span
        for span in source.spans(kind)
        if len(source.text[span[0] : span[1]].strip()) >= MIN_CHARS
        and (kind == "block" or span[1] - span[0] <= MAX_CHARS)
    }
    chosen: list[Span] = []
    for span in sorted(spans, key=lambda span: hashed(source.name, kind, *span)):
        if len(chosen) == count:
            break
        if all(span[1] <= start or span[0] >= end for start, end in chosen):
            chosen.append(span)
    return [source.case(kind, *span) for span in chosen]


def modules() -> dict[str, str]:
    """The texts of those modules that this Python has."""
    root = Path(sysconfig.get_path("stdlib"))
    texts = {}
    for name in MODULES:
        path = root / name
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                texts[name] = file.read().replace("\r\n", "\n")
    return texts


def python_cases(count: int) -> list[Case]:
    """`count` cases, of every kind and module as evenly as it goes.

    A smaller count is always the head of a larger one.
    """
    texts = modules()
    if not texts:
        raise RequestError(
            f"the cases are cut from Python's own modules, and {sysconfig.get_path('stdlib')} "
            "holds none as source; run the bench with another Python"
        )
    names = sorted(texts, key=hashed)
    cases: list[Case] = []
    rounds = count // (len(names) * len(KINDS)) + 1
    sources = [Source(name, texts[name]) for name in names[: max(1, -(-count // len(KINDS)))]]
    found = [{kind: cut(source, kind, rounds) for kind in KINDS} for source in sources]
    for turn in range(rounds):
        for by_kind in found:
            cases += [by_kind[kind][turn] for kind in KINDS if turn < len(by_kind[kind])]
    return cases[:count]


def written_cases(folder: Path) -> list[Case]:
    """The hand-written files: KIND_NAME.EXT, with the hole in ⟦ ⟧."""
    return [_written(path) for path in sorted(folder.glob("*_*.*"))]


def _written(path: Path) -> Case:
    text = path.read_text(encoding="utf-8")
    prefix, opened, rest = text.partition(OPEN)
    reference, closed, suffix = rest.partition(CLOSE)
    kind = path.name.partition("_")[0]
    if not (opened and closed and kind in KINDS):
        raise RequestError(
            f"{path} is not KIND_NAME.EXT with one ⟦hole⟧ in it; KIND is one of {', '.join(KINDS)}"
        )
    line = prefix.count("\n")
    return Case(
        name=f"{path.name}:{line + 1}:{len(prefix) - prefix.rfind(chr(10))}",
        kind=kind,
        language_id=language_id_of(path.name),
        prefix=prefix,
        reference=reference,
        suffix=suffix,
    )
