"""Which files of a workspace a file imports: by what it says and by their paths.

A path in a repository mostly ends as an import says it. Of several that do, the nearest is meant.
"""

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator

# Paths that would do, the likeliest first: with a slash in front as they are, else the end of a
# path; with one at the end all files of a folder.
Alternatives = list[str]

MAX_IMPORTS = 40  # of a file; what comes first is near the top
HEAD = 20_000  # characters of a file, in which its imports stand
SCRIPT_ENDS = (".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".mts", ".vue", ".svelte", ".d.ts")
_PYTHON = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<origin>[.\w]+)[ \t]+import[ \t]+(?P<names>\([^)]*\)|[^\n]*)"
    r"|import[ \t]+(?P<modules>[\w., \t]+))",
    re.MULTILINE,
)
_SCRIPT = re.compile(r"""(?:\bfrom|\brequire\s*\(|\bimport\s*\(?)\s*["']([^"'\n]+)["']""")
_GO = re.compile(r'^(?:import)?[ \t]*\(?[ \t]*(?:[\w.]+[ \t]+)?"([\w./-]+/[\w./-]+)"', re.MULTILINE)
_RUST_MOD = re.compile(r"^\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*;", re.MULTILINE)
_RUST_USE = re.compile(r"^\s*(?:pub\s+)?use\s+(crate|super|self)((?:::\w+)+)", re.MULTILINE)
_JAVA = re.compile(r"^\s*import\s+(?:static\s+)?([\w.]+)", re.MULTILINE)
_C = re.compile(r'^[ \t]*#[ \t]*include[ \t]*["<]([^">\n]+)[">]', re.MULTILINE)


class Paths:
    """Known paths, by what they end with. Immutable."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = frozenset(paths)
        self._by_name: dict[str, list[str]] = {}
        self._by_folder: dict[str, list[str]] = {}
        for path in sorted(self._paths):
            folder, _, name = path.rpartition("/")
            self._by_name.setdefault(name, []).append(path)
            self._by_folder.setdefault(folder, []).append(path)

    def in_folder(self, folder: str) -> list[str]:
        return self._by_folder.get(folder, [])

    def named(self, name: str) -> list[str]:
        return self._by_name.get(name, [])

    def found(self, alternatives: Alternatives, origin: str) -> list[str]:
        """What the first of the alternatives that is there means in a file."""
        for each in alternatives:
            if each.endswith("/"):
                ending = "/" + each.strip("/")
                folders = [folder for folder in self._by_folder if folder.endswith(ending)]
                if folders:
                    return self._by_folder[_nearest(folders, origin)]
            elif each.startswith("/") or each[1:2] == ":":
                if each in self._paths:
                    return [each]
            else:
                ending = "/" + each
                ends = [path for path in self.named(each.rpartition("/")[2])
                        if path.endswith(ending)]  # fmt: skip
                if ends:
                    return [_nearest(ends, origin)]
        return []


def _nearest(paths: Iterable[str], origin: str) -> str:
    """The one with most folders in common, the shorter of two."""
    parts = origin.split("/")

    def shared(path: str) -> int:
        pairs = enumerate(zip(path.split("/"), parts, strict=False))
        return next((at for at, (one, other) in pairs if one != other), len(parts))

    return max(paths, key=lambda path: (shared(path), -len(path)))


def imported(text: str, path: str, language_id: str, paths: Paths) -> list[str]:
    """The files of `paths` that a file at `path` imports, in its order."""
    finder = _FINDERS.get(language_id)
    if finder is None:
        return []
    found: dict[str, None] = {}
    for alternatives in finder(text[:HEAD], path):
        found.update(dict.fromkeys(paths.found(alternatives, path)))
        if len(found) >= MAX_IMPORTS:
            break
    found.pop(path, None)
    return list(found)[:MAX_IMPORTS]


def _python(text: str, path: str) -> Iterator[Alternatives]:
    for match in _PYTHON.finditer(text):
        if match["origin"] is None:
            for module in match["modules"].split(","):
                name = module.split()[0] if module.split() else ""
                yield _modules(name.replace(".", "/"))
            continue
        origin = match["origin"].lstrip(".")
        dots = len(match["origin"]) - len(origin)
        base = origin.replace(".", "/")
        if dots:
            folder = path
            for _ in range(dots):
                folder = posixpath.dirname(folder)
            base = posixpath.join(folder, base).rstrip("/")
        for name in re.findall(r"\w+", match["names"].partition("#")[0]):
            yield _modules(f"{base}/{name}", only_itself=True)
        yield _modules(base)


def _modules(base: str, *, only_itself: bool = False) -> Alternatives:
    """A module's file; else its package's, from which a name was imported."""
    if not base.strip("/"):
        return []
    found = [f"{base}.py", f"{base}.pyi"]
    return found if only_itself else [*found, f"{base}/__init__.py"]


def _script(text: str, path: str) -> Iterator[Alternatives]:
    for match in _SCRIPT.finditer(text):
        name = match[1]
        if name.startswith("."):
            base = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
        elif name.startswith(("@/", "~/", "src/")):
            base = name.removeprefix("@/").removeprefix("~/")
        else:
            continue  # a package
        stem = re.sub(r"\.[cm]?jsx?$", "", base)  # TypeScript says .js of what is .ts
        yield [base, *(stem + end for end in SCRIPT_ENDS),
               *(f"{base}/index{end}" for end in SCRIPT_ENDS)]  # fmt: skip


def _go(text: str, path: str) -> Iterator[Alternatives]:
    for match in _GO.finditer(text):
        parts = match[1].split("/")
        yield ["/".join(parts[at:]) + "/" for at in range(len(parts))]


def _rust(text: str, path: str) -> Iterator[Alternatives]:
    folder, _, name = path.rpartition("/")
    stem = name.removesuffix(".rs")
    inside = folder if stem in ("lib", "main", "mod") else f"{folder}/{stem}"
    for match in _RUST_MOD.finditer(text):
        yield [f"{inside}/{match[1]}.rs", f"{inside}/{match[1]}/mod.rs"]
    for match in _RUST_USE.finditer(text):
        parts = match[2].removeprefix("::").split("::")
        above = folder if match[1] == "super" else inside
        base = "src" if match[1] == "crate" else above
        whole = [f"{base}/{'/'.join(parts[:end])}" for end in range(len(parts), 0, -1)]
        yield [f"{each}{end}" for each in whole for end in (".rs", "/mod.rs")]


def _java(text: str, path: str) -> Iterator[Alternatives]:
    end = posixpath.splitext(path)[1]
    for match in _JAVA.finditer(text):
        parts = match[1].split(".")
        # Of a static import the last part is a member.
        yield ["/".join(parts) + end, "/".join(parts[:-1]) + end]


def _c(text: str, path: str) -> Iterator[Alternatives]:
    folder = posixpath.dirname(path)
    for match in _C.finditer(text):
        yield [posixpath.normpath(f"{folder}/{match[1]}"), match[1].lstrip("./")]


_FINDERS: dict[str, Callable[[str, str], Iterator[Alternatives]]] = {
    "python": _python,
    **dict.fromkeys(
        ("javascript", "javascriptreact", "typescript", "typescriptreact", "vue", "svelte"), _script
    ),
    "go": _go,
    "rust": _rust,
    **dict.fromkeys(("java", "kotlin", "scala"), _java),
    **dict.fromkeys(("c", "cpp"), _c),
}
