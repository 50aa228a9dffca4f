"""Holes cut from packages that training never saw: the same ones on every machine.

The packages are those that `train.corpus.packages.held_out` names, at fixed versions, fetched by
name with pip and npm; or whatever lies under a folder, one package an entry: archives, or loose
files.
A hole is chosen by a hash of where it is. Knows no engine.
"""

import re
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, zip_longest
from pathlib import Path, PurePosixPath

import tree_sitter

from infill_ls.cli.bench.cases import (
    CLOSER,
    KINDS,
    Case,
    Source,
    Span,
    Token,
    character_spans,
    cut,
    hashed,
    line_spans,
    tail_spans,
)
from infill_ls.syntax.language import language_id_of, language_of
from train.corpus.archives import archive_files
from train.corpus.fetch import fetch_one
from train.corpus.packages import Package
from train.corpus.reject import MAX_BYTES, path_reason, syntax_reason
from train.corpus.state import archive_folder

PYTHON = {
    "boltons": "26.2.0", "cytoolz": "1.2.0", "funcy": "2.1", "glom": "25.12.0",
    "humanize": "4.17.0", "inflection": "0.5.1", "more-itertools": "11.2.1", "networkx": "3.6.1",
    "parse": "1.22.4", "pydash": "8.1.0", "sortedcontainers": "2.4.0", "textdistance": "4.6.3",
    "toolz": "1.2.0",
}  # fmt: skip
# Well-known ones that the hold-out rule takes out and that ship what people wrote.
SCRIPTS = {
    "@docusaurus/utils": "3.10.2", "@lumino/widgets": "2.10.0", "@uppy/dashboard": "6.0.3",
    "crypto-js": "4.2.0", "css-select": "7.0.0", "css-tree": "3.2.1", "express": "5.3.0",
    "hapi": "18.1.0", "luxon": "3.7.2", "picomatch": "4.0.7", "postcss": "8.5.33",
    "redux": "5.0.1", "sinon": "22.1.0", "tone": "15.5.44", "unified": "11.0.5",
}  # fmt: skip
GROUPS = ("python", "scripts")
SCRIPT_ENDS = {".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx", ".mts"}
TYPED_ENDS = {".ts", ".tsx", ".mts"}
MIN_BYTES = 1_000
FILES, PER_FILE = 12, 24  # of a package, and holes of a kind: a large one is not everything
TESTS = re.compile(r"(?:^|[/_.-])(?:tests?|testing|spec|__tests__|conftest|benchmarks?)(?=[/_.-])")
ARCHIVES = (".whl", ".tgz")
# What tree-sitter's trees of JavaScript and TypeScript call things.
SCRIPT_CALLS = {"arguments"}
SCRIPT_BODIES = {"program", "statement_block", "class_body", "switch_case", "interface_body"}
NO_ROWS = {"comment", "template_string", "regex", "jsx_text", "html_comment", "hash_bang_line"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A hole to fill. `unit` is what cases have in common, so that they are no independent
    evidence: a file, or a problem of HumanEval. `check` is Python that, put behind the whole text,
    raises where the answer is wrong; "" where nothing can be run.
    """

    group: str
    kind: str
    unit: str
    case: Case
    check: str = ""

    def with_answer(self, answer: str) -> str:
        return self.case.prefix + answer + self.case.suffix


def fetched(cache: Path, say: Callable[[str], None]) -> dict[str, dict[str, Path]]:
    """By group and name@version the folders of the packages, fetched where they are not there.

    What cannot be fetched is said and left out.
    """
    found: dict[str, dict[str, Path]] = {}
    for group, index, separator, versions in (
        ("python", "pypi", "==", PYTHON),
        ("scripts", "npm", "@", SCRIPTS),
    ):
        found[group] = {}
        for name, version in versions.items():
            wanted = Package(index, name + separator + version)
            folder = archive_folder(cache, wanted)
            if not folder.exists():
                say(f"fetching {wanted.name}")
                if reason := fetch_one(cache, wanted):
                    say(f"{wanted.name} is left out: {reason}")
                    continue
            found[group][wanted.name] = folder
    return found


def given(folder: Path) -> dict[str, dict[str, Path]]:
    """The entries of a folder as packages, each in both groups: its files tell what it has."""
    entries = {path.name: path for path in sorted(folder.iterdir())}
    return dict.fromkeys(GROUPS, entries)


def files(package: Path) -> Iterator[tuple[str, bytes]]:
    """Paths within the package and contents; archives are read, loose files taken as they are."""
    paths = [package] if package.is_file() else sorted(p for p in package.rglob("*") if p.is_file())
    for path in paths:
        if path.suffix in ARCHIVES:
            yield from archive_files(path)
        elif path.suffix in {".py", *SCRIPT_ENDS} and path.stat().st_size <= MAX_BYTES:
            yield (
                path.name if path == package else path.relative_to(package).as_posix(),
                (path.read_bytes()),
            )


def written(package: Path, group: str) -> dict[str, bytes]:
    """The files of a package in the languages of the group, tests among them, by path."""
    wanted = {".py"} if group == "python" else SCRIPT_ENDS
    return {
        path: data
        for path, data in files(package)
        if PurePosixPath(path).suffix in wanted
        and not (group == "scripts" and path_reason(path, "npm"))
    }


def not_compiled(contents: dict[str, bytes]) -> dict[str, bytes]:
    """Beside TypeScript, JavaScript is what a compiler made."""
    typed = {p: d for p, d in contents.items() if PurePosixPath(p).suffix in TYPED_ENDS}
    return typed or contents


def sources(name: str, package: Path, group: str) -> list[Source]:
    """Some files of a package that people wrote and that parse, chosen by hash."""
    contents = not_compiled(
        {
            path: data
            for path, data in written(package, group).items()
            if len(data) >= MIN_BYTES and not TESTS.search("/" + path)
        }
    )
    found: list[Source] = []
    for path in sorted(contents, key=lambda path: hashed(name, path)):
        if len(found) == FILES:
            break
        try:
            text = contents[path].decode("utf-8").replace("\r\n", "\n")
        except UnicodeDecodeError:
            continue
        language = "python" if group == "python" else language_id_of(path)
        broken = "\r" in text or syntax_reason(text, language.removesuffix("react"), path)
        if not broken and (group == "python" or text.isascii()):
            whole = f"{name}/{path}"
            found.append(Source(whole, text) if group == "python" else Script(whole, text))
    return found


def tasks(packages: dict[str, dict[str, Path]], kinds: Sequence[str], limit: int) -> list[Task]:
    """At most `limit` holes of each group and kind, of every package as evenly as it goes.

    A smaller limit gives the head of what a larger one gives.
    """
    found: list[Task] = []
    kinds = [kind for kind in KINDS if kind in kinds]
    for group, entries in packages.items() if kinds else ():
        texts = [sources(name, path, group) for name, path in entries.items()]
        for kind in kinds:
            in_turn = [
                _in_turn([cut(source, kind, PER_FILE) for source in of_package])
                for of_package in texts
            ]
            found += [
                Task(group=group, kind=kind, unit=case.name.partition(":")[0], case=case)
                for case in _in_turn(in_turn)[:limit]
            ]
    return found


def _in_turn(lists: Sequence[Sequence[Case]]) -> list[Case]:
    """The first of each, the second of each, and so on."""
    return [case for case in chain.from_iterable(zip_longest(*lists)) if case is not None]


class Script(Source):
    """JavaScript or TypeScript in ASCII, so that a byte is a character; tokens are the leaves of
    its syntax tree."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name, text)
        self.language_id = language_id_of(name)

    @cached_property
    def nodes(self) -> list[tree_sitter.Node]:
        grammar = language_of(self.language_id).grammar
        assert grammar is not None, f"{self.language_id} has a grammar"
        found, left = [], [tree_sitter.Parser(grammar).parse(self.text.encode()).root_node]
        while left:
            node = left.pop()
            found.append(node)
            left += reversed(node.children)
        return found

    @cached_property
    def code_rows(self) -> list[list[Token]]:
        rows: dict[int, list[Token]] = {}
        other: set[int] = set()
        for node in self.nodes:
            first, last = node.start_point.row, node.end_point.row
            if node.type == "comment" or (node.type in NO_ROWS and last > first):
                other |= set(range(first, last + 1))
            elif not node.child_count and node.end_byte > node.start_byte:
                start, end = node.start_byte, node.end_byte
                kind = tokenize.NAME if node.type.endswith("identifier") else tokenize.OP
                rows.setdefault(first, []).append(
                    Token(kind, self.text[start:end], start, end, first)
                )
        return [
            tokens
            for row, tokens in sorted(rows.items())
            if row not in other and any(c.isalnum() for c in self.line(row))
        ]

    def spans(self, kind: str) -> Iterator[Span]:
        match kind:
            case "line":
                return line_spans(self)
            case "tail":
                return tail_spans(self)
            case "span":
                return character_spans(self)
            case "block":
                return self._blocks()
            case _:
                return self._between_brackets(calls=kind == "arguments")

    def _between_brackets(self, calls: bool) -> Iterator[Span]:
        for node in self.nodes:
            if node.child_count < 3 or (node.type in SCRIPT_CALLS) != calls:
                continue
            first, last = node.children[0], node.children[-1]
            same_row = node.start_point.row == node.end_point.row
            if same_row and CLOSER.get(first.type) == last.type:
                yield first.end_byte, last.start_byte

    def _blocks(self) -> Iterator[Span]:
        for body in self.nodes:
            if body.type not in SCRIPT_BODIES:
                continue
            statements = [
                node
                for node in body.named_children
                if node.type != "comment"
                and not self.line(node.start_point.row)[: node.start_point.column].strip()
            ]
            for at, first in enumerate(statements):
                for last in statements[at:]:
                    lines = last.end_point.row - first.start_point.row + 1
                    if lines > 7:
                        break
                    if lines >= 2:
                        yield first.start_byte, self.end_of(last.end_point.row)
