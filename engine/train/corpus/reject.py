"""Why a file is left out of the corpus: its path, its text, what its parser says.

Each rule gives the reason in a few words, which the counts in kept.json go by, or "".
"""

import ast
import json
import re
import tomllib
from pathlib import PurePosixPath

from train.corpus import decontaminate, licences
from train.corpus.packages import HELD_OUT_NAMES
from train.holes import parse

MIN_BYTES, MAX_BYTES, MAX_DATA_BYTES = 200, 200_000, 20_000
MAX_MEAN_LINE, MAX_LINE = 100, 1_000
MAX_LITERALS, MAX_TEXT = 0.30, 0.65  # of the bytes: strings without, and with docstrings
LANGUAGE_OF = {
    ".py": "python", ".js": "javascript", ".mjs": "javascript", ".cjs": "javascript",
    ".jsx": "javascript", ".ts": "typescript", ".tsx": "typescript", ".mts": "typescript",
    ".json": "json", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".md": "markdown",
    ".html": "html", ".css": "css", ".sh": "bash",
}  # fmt: skip
# In a wheel, scripts and styles are mostly other people's, under other licences.
NOT_FROM_WHEELS = {"javascript", "typescript", "css"}
DATA_LANGUAGES = {"json", "yaml", "toml", "markdown", "html", "css", "bash"}
VENDORED = frozenset({
    "_vendor", "vendor", "vendors", "vendored", "_vendored", "third_party", "thirdparty",
    "third-party", "3rdparty", "extern", "externals", "_external", "ext_libs", "_thirdparty",
    "node_modules", "bower_components", "site-packages", "bundled", "bundled_libs", "deps",
    "jspm_packages",
})  # fmt: skip
COMPILED_FOLDERS = frozenset({
    "dist", "build", "umd", "cjs", "esm", "esm5", "esm2015", "esm2020", "fesm2015", "fesm2020",
    "fesm2022", "es5", "es6", "commonjs", "module", "bundles", "bundle", "min", "node_modules",
    "lib-esm", "_esm", "_cjs", "dist-src", "browser", "locale", "locales", "i18n", "lang", "nls",
    "typings",
})  # fmt: skip
# "parse" is too common a name for a module.
HELD_OUT_MODULES = {name.replace("-", "_") for name in HELD_OUT_NAMES - {"parse"}} | {
    "sortedlist", "sorteddict", "sortedset",
}  # fmt: skip
# The vendored forms of modules whose file name says nothing.
HELD_OUT_TEXT = re.compile(
    r"opposite of format\(\)|Parse strings using a specification based on the Python format"
)
GENERATED_NAME = re.compile(
    r"_pb2(?:_grpc)?\.pyi?$|(?:^|/)(?:lextab|parsetab|yacctab|versioneer|_version)\.py$|"
    r"\.min\.(?:js|css)$|\.bundle\.js$|\.d\.[cm]?ts$|-lock\.json$|(?:^|/)(?:_?generated|gen)/|"
    r"\.umd\.js$|\.production\.js$|\.map$|(?:^|/)(?:RECORD|direct_url\.json)$"
)
GENERATED_HEAD = re.compile(
    r"do not (?:edit|modify)|auto-?\s?generated|@generated|automatically generated|"
    r"generated (?:by|from)|this file (?:is|was) generated|code generated",
    re.IGNORECASE,
)
COMPILED_TEXT = re.compile(
    r'defineProperty\(exports, ["\']__esModule|__webpack_require__|_interopRequire|'
    r"sourceMappingURL=|__importDefault|__awaiter = |tslib|#__PURE__"
)
# Comments are matched so that a quote inside one does not open a string.
STRING = re.compile(
    r"""#[^\n]*|(?P<block>[rRbBuUfF]{0,2}(?:\"{3}(?:[^"\\]|\\.|"(?!""))*"{3}|'{3}(?:[^'\\]|\\.|'(?!''))*'{3}))"""
    r"""|(?P<line>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""",
    re.DOTALL,
)
CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\r\u2028\u2029\ufeff\ufffd]")
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")


def string_shares(text: str) -> tuple[float, float]:
    """The shares of a Python text in string literals, without and with docstrings."""
    strings = documentation = 0
    for found in STRING.finditer(text):
        size = found.end() - found.start()
        before = text[text.rfind("\n", 0, found.start()) + 1 : found.start()]
        if found["block"] and not before.strip():
            documentation += size
        elif found["block"] or found["line"]:
            strings += size
    return strings / len(text), (strings + documentation) / len(text)


def path_reason(path: str, index: str) -> str:
    """Why a file is left out for its path, or ''."""
    parts = PurePosixPath(path).parts
    folders = {part.lower() for part in parts[:-1]}
    language = LANGUAGE_OF[PurePosixPath(path).suffix]
    if folders & VENDORED:
        return "vendored"
    if index == "pypi" and language in NOT_FROM_WHEELS:
        return "foreign scripts in a wheel"
    if {*parts[:-1], PurePosixPath(path).stem} & HELD_OUT_MODULES:
        return "held-out module"
    if GENERATED_NAME.search(path) or (index == "npm" and folders & COMPILED_FOLDERS):
        return "generated"
    return ""


def text_reason(text: str, language: str, path: str) -> str:
    """Why a file is left out for its content, or ''."""
    limit = MAX_DATA_BYTES if language in DATA_LANGUAGES else MAX_BYTES
    if not MIN_BYTES <= len(text) <= limit:
        return "size"
    if CONTROL.search(text) or len(text.encode()) > 1.3 * len(text):
        return "characters"
    if any(mark in text for mark in decontaminate.MARKS):
        return "benchmark mark"
    if HELD_OUT_TEXT.search(text):
        return "held-out module"
    if language != "markdown" and GENERATED_HEAD.search(text[:1500]):
        return "generated"
    if licences.header_is_restricted(text):
        return "header licence"
    if PRIVATE_KEY.search(text):
        return "private key"
    lines = text.split("\n")
    if len(text) / len(lines) > MAX_MEAN_LINE or max(map(len, lines)) > MAX_LINE:
        return "long lines"
    if sum(map(text.count, "0123456789")) > 0.25 * len(text):
        return "data table"
    return syntax_reason(text, language, path)


def syntax_reason(text: str, language: str, path: str) -> str:
    """Why a file is left out for what its parser says, or ''."""
    try:
        if language == "python":
            strings, with_documentation = string_shares(text)
            ast.parse(text)
            if strings > MAX_LITERALS or with_documentation > MAX_TEXT:
                return "literals"
        elif language == "json":
            json.loads(text)
        elif language == "toml":
            tomllib.loads(text)
        elif language == "markdown" and "```" not in text:
            return "no code in markdown"
        elif language in ("javascript", "typescript"):
            if COMPILED_TEXT.search(text):
                return "generated"
            root = parse(text, language, path)
            if root is None or root.has_error:
                return "syntax"
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "syntax"
    return ""
