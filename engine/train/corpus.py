"""The training corpus, from package names to token shards, in one resumable command.

    PYTHONPATH=engine python -m train.corpus all --root data --data BENCHMARKS

runs the stages below in order; each can be run alone, and none repeats what its state under
`--root` says is done. The names to fetch are engine/train/packages.txt.

    fetch      wheels and npm packages by name      -> fetch/{pypi,npm}/NAME/
    filter     licences, quality, secrets, marks    -> filtered/{pypi,npm}/NAME.jsonl.gz and .json
    dedup      copies, decontamination, caps        -> kept.json
    tokenizer  byte-level BPE                       -> infill_engine/weights/tokenizer.json
    pack       tokens and spans                     -> shards/{val,train-NNN}.npz, MANIFEST.tsv
    carry      shards as xz within a size           -> carry/*.shard
    unpack     the reverse, needs numpy only

`hashes` reads the benchmarks under `--data DIR` and writes the grams' hashes beside this file;
`filter` uses those, so the check repeats without the benchmarks. Licence of a package and of a
file's header: licences.py. What training must not see by name: `held_out`.
"""

import argparse
import ast
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train import decontaminate, licences, shards

CORPUS_DATE = "2026-11-21"
HERE = Path(__file__).parent
WEIGHTS = HERE.parent / "infill_engine" / "weights"
PACKAGES = HERE / "packages.txt"
HASHES = HERE / "benchmark_hashes.npz"

HELD_OUT_BYTE = 13  # first byte of sha256(name) below this: never in training
VALIDATION_BYTE = 20  # from HELD_OUT_BYTE to below this: validation
HELD_OUT_NAMES = frozenset({
    "boltons", "cytoolz", "funcy", "glom", "humanize", "inflection", "more-itertools", "networkx",
    "parse", "pydash", "sortedcontainers", "textdistance", "toolz",
})  # fmt: skip
BENCHMARK_NAMES = re.compile(
    r"^(?:human-?eval.*|evalplus.*|bigcodebench.*|mxeval.*|multipl-e.*|lm-eval.*|opencompass.*|"
    r"mbpp.*|code-?eval.*)$"
)

MIN_BYTES, MAX_BYTES, MAX_DATA_BYTES = 200, 200_000, 20_000
MAX_MEAN_LINE, MAX_LINE = 100, 1_000
MAX_LITERALS, MAX_TEXT = 0.30, 0.65  # of the bytes: strings without, and with docstrings
PACKAGE_BYTES = 14_000_000
CLIENT_BYTES = 1_500_000
DATA_BYTES = 150_000  # of a package, for each language that is no programming language
CLIENTS = re.compile(
    r"^(?:botocore|boto3|aiobotocore|kubernetes.*|google-api-python-client|google-cloud-.*|twilio|"
    r"openstacksdk|azure-.*|ccxt|googleapis-.*|langchain-community|moto|awscli|aws-sdk|stripe|"
    r"plotly|troposphere|holidays|faker|babel|chemicals|fluids|litellm|cfn-lint)$"
)
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
HELD_OUT_MODULES = frozenset({
    "boltons", "cytoolz", "funcy", "glom", "humanize", "inflection", "more_itertools", "networkx",
    "pydash", "sortedcontainers", "textdistance", "toolz", "sortedlist", "sorteddict",
    "sortedset",
})  # fmt: skip
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
EMAIL = re.compile(
    r"\b[\w.+-]{1,64}@(?!example\.)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,12}\b"
)
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
SECRETS = (
    (re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b"), "AKIA" + "X" * 16),
    (re.compile(r"\bgh[pousr]_[A-Za-z0-9]{30,}\b"), "ghp_" + "x" * 36),
    (re.compile(r"\bgithub_pat_\w{30,}\b"), "github_pat_" + "x" * 36),
    (re.compile(r"\bglpat-[\w-]{18,}\b"), "glpat-" + "x" * 20),
    (re.compile(r"\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,}\b"), "sk-" + "x" * 24),
    (re.compile(r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}\b"), "sk_test_" + "x" * 16),
    (re.compile(r"\bxox[abpros]-[A-Za-z0-9-]{10,}\b"), "xoxb-" + "x" * 12),
    (re.compile(r"\bAIza[\w-]{35}\b"), "AIza" + "x" * 35),
    (re.compile(r"\bhf_[A-Za-z0-9]{30,}\b"), "hf_" + "x" * 34),
    (re.compile(r"\b(?:npm_[A-Za-z0-9]{36}|pypi-[\w-]{50,})\b"), "npm_" + "x" * 36),
    (re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}\b"), "eyJx.eyJx.x"),
    (
        re.compile(
            r"(?i)((?:password|passwd|secret|api_?key|access_?token|auth_?token)[\"']?\s*[:=]\s*[\"'])"
            r"(?=[^\"'\s]*\d)(?=[^\"'\s]*[A-Za-z])[A-Za-z0-9+/_-]{20,}={0,2}(?=[\"'])"
        ),
        r"\1xxxxxxxxxxxxxxxx",
    ),
)  # fmt: skip
SECRET_START = re.compile(
    r"A(?:KIA|SIA|ROA|IDA)[A-Z0-9]|gh[pousr]_|github_pat_|glpat-|sk[-_]|rk_|xox[abpros]-|AIza|hf_|"
    r"npm_|pypi-|eyJ|(?i:passw|secret|api_?key|_?token)"
)

NUM_HASHES, BANDS = 64, 16
NEAR = 0.8  # share of equal MinHash values from which two files are copies
MIN_LEXEMES = 50
COMMON_PACKAGES = 4  # a benchmark gram in this many packages is nobody's
SHARD_TOKENS = 25_000_000
STAGES = (
    "all", "hashes", "fetch", "filter", "dedup", "tokenizer", "pack", "carry", "unpack",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One file that passed the filters."""

    path: str
    language: str
    text: str
    digest: str  # sha1 of the text with white space folded
    signature: tuple[int, ...]  # MinHash, empty for a file too short to compare
    grams: tuple[int, ...]  # benchmark 10-grams it holds


def normalised(name: str) -> str:
    """A project name as the package index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def first_byte(name: str) -> int:
    """The byte of the hold-out rule."""
    return hashlib.sha256(normalised(name).encode()).digest()[0]


def held_out(name: str) -> bool:
    """Whether training must never see a package, by its name."""
    name = normalised(name)
    return (
        first_byte(name) < HELD_OUT_BYTE
        or name in HELD_OUT_NAMES
        or BENCHMARK_NAMES.match(name) is not None
    )


def is_validation(name: str) -> bool:
    """Whether a package is kept for validation, whole."""
    return HELD_OUT_BYTE <= first_byte(name) < VALIDATION_BYTE


def say(*words: object) -> None:
    """One line of progress."""
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)


def package_list(path: Path) -> list[tuple[str, str]]:
    """The (index, name) pairs of a list, those by rule held out left away."""
    pairs = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            index, name = line.split()
            if not held_out(name):
                pairs.append((index, name))
    return pairs


# fetch


def folder_of(root: Path, index: str, name: str) -> Path:
    """Where a package's archive lies."""
    return root / "fetch" / index / name.replace("/", "+")


def fetch_one(root: Path, index: str, name: str) -> str:
    """Download one package with the index's own client; the reason when that fails, else ''."""
    target = folder_of(root, index, name)
    if target.exists():
        return ""
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    command = [*pip, "-d", ".", name] if index == "pypi" else ["npm", "pack", "--silent", name]
    try:
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        shutil.rmtree(work)
        return "timeout"
    if done.returncode:
        shutil.rmtree(work)
        return (done.stderr.strip().splitlines() or ["failed"])[-1]
    work.chmod(0o755)
    work.rename(target)
    return ""


def fetch(root: Path, packages: Sequence[tuple[str, str]], workers: int) -> None:
    """Download what is missing; what fails is listed in fetch/failed.tsv and tried again later."""
    missing = [p for p in packages if not folder_of(root, *p).exists()]
    say(f"fetch: {len(missing)} of {len(packages)} packages missing")
    failed = []
    with ThreadPoolExecutor(workers) as pool:
        jobs = {pool.submit(fetch_one, root, *package): package for package in missing}
        for i, job in enumerate(as_completed(jobs), 1):
            if reason := job.result():
                failed.append((*jobs[job], reason))
            if i % 50 == 0:
                say(f"fetch: {i}/{len(missing)}, {len(failed)} failed")
    if failed:
        lines = "".join("\t".join(row) + "\n" for row in failed)
        (root / "fetch" / "failed.tsv").write_text(lines, encoding="utf-8")


# filter


def archive_files(archive: Path) -> Iterator[tuple[str, bytes]]:
    """The files of a wheel or an npm package that could be source, by path."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for entry in wheel.infolist():
                wanted = PurePosixPath(entry.filename).suffix in LANGUAGE_OF
                if wanted and entry.file_size <= MAX_BYTES:
                    yield entry.filename, wheel.read(entry)
    else:
        with tarfile.open(archive) as tar:
            for member in tar:
                path = member.name.partition("/")[2]
                wanted = member.isfile() and PurePosixPath(path).suffix in LANGUAGE_OF
                file = tar.extractfile(member) if wanted and member.size <= MAX_BYTES else None
                if file:
                    yield path, file.read()


def package_facts(archive: Path) -> tuple[str, str | None, str, str]:
    """Version, licence (or None with the reason) and the description of a package's archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            name = next(n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
            meta = BytesParser().parsebytes(wheel.read(name))
        classifiers = meta.get_all("Classifier") or []
        licence, reason = licences.licence_of(
            meta["License-Expression"], str(meta["License"] or ""), [str(c) for c in classifiers]
        )
        markdown = "markdown" in str(meta["Description-Content-Type"])
        body = meta.get_payload(decode=True) if markdown else b""
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else ""
        return str(meta["Version"]), licence, reason, text
    with tarfile.open(archive) as tar:
        member = next(m for m in tar if m.name.partition("/")[2] == "package.json")
        file = tar.extractfile(member)
        assert file is not None, "package.json is a file"
        facts: dict[str, Any] = json.load(file)
    declared = facts.get("license") or facts.get("licenses") or ""
    if isinstance(declared, list):
        declared = " AND ".join(str(d.get("type") if isinstance(d, dict) else d) for d in declared)
    if isinstance(declared, dict):
        declared = str(declared.get("type", ""))
    licence, reason = licences.licence_of(None, str(declared), [])
    return str(facts.get("version", "")), licence, reason, ""


def scrubbed(text: str) -> str:
    """A text without secrets and e-mail addresses, each replaced by one of the same shape."""
    # Most files hold none, and a search for the start of one is cheaper than all the patterns.
    if SECRET_START.search(text):
        for pattern, placeholder in SECRETS:
            text = pattern.sub(placeholder, text)
    return EMAIL.sub("user@example.com", text) if "@" in text else text


def string_shares(text: str) -> tuple[float, float]:
    """The shares of a Python text in string literals, without and with docstrings."""
    strings = documentation = 0
    for found in STRING.finditer(text):
        size = found.end() - found.start()
        if (
            found["block"]
            and not text[text.rfind("\n", 0, found.start()) + 1 : found.start()].strip()
        ):
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
    head = text[:1500]
    if language != "markdown" and GENERATED_HEAD.search(head):
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
            from train import spans  # the grammars are needed here only

            root = spans.parse(text, language, path)
            if root is None or root.has_error:
                return "syntax"
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "syntax"
    return ""


def minhash(lexemes: NDArray[np.uint64]) -> tuple[int, ...]:
    """64 minima over the file's 5-grams; empty for a file too short to compare."""
    if len(lexemes) < MIN_LEXEMES:
        return ()
    shingles = np.unique(decontaminate.grams(lexemes, 5))
    lowest = [
        int(((shingles * multiplier) >> np.uint64(32)).min()) for multiplier in _multipliers()
    ]
    return tuple(lowest)


def _multipliers() -> NDArray[np.uint64]:
    draw = np.random.default_rng(0).integers(1, 1 << 63, NUM_HASHES, np.uint64)
    odd: NDArray[np.uint64] = draw * np.uint64(2) + np.uint64(1)
    return odd


def filtered(
    path: str, data: bytes, index: str, benchmark: decontaminate.Benchmark
) -> tuple[Document | None, str]:
    """A file as a document, or None with the reason it is left out."""
    if reason := path_reason(path, index):
        return None, reason
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return None, "characters"
    language = LANGUAGE_OF[PurePosixPath(path).suffix]
    if reason := text_reason(text, language, path):
        return None, reason
    lexemes = decontaminate.lexemes(text)
    match = decontaminate.match(lexemes, text, benchmark)
    if match.line_run:
        return None, "benchmark line run"
    if match.window:
        return None, "benchmark window"
    text = scrubbed(text)
    return Document(
        path=path,
        language=language,
        text=text,
        digest=hashlib.sha1(" ".join(text.split()).encode()).hexdigest(),
        signature=minhash(lexemes),
        grams=match.token_grams,
    ), ""


def stored(root: Path, index: str, name: str) -> Path:
    """The file that holds a package's documents; its facts are beside it as .json."""
    return root / "filtered" / index / (name.replace("/", "+") + ".jsonl.gz")


def filter_one(root: Path, index: str, name: str) -> dict[str, Any]:
    """Filter one package's archive, store its documents and facts, return the facts."""
    target = stored(root, index, name)
    archive = next(
        p for p in folder_of(root, index, name).iterdir() if p.suffix in (".whl", ".tgz")
    )
    facts: dict[str, Any] = {"index": index, "name": name, "dropped": {}, "files": 0}
    facts["sha256"] = hashlib.sha256(archive.read_bytes()).hexdigest()
    version, licence, reason, description = package_facts(archive)
    facts |= {"version": version, "licence": licence, "reason": reason}
    dropped: Counter[str] = Counter()
    buffer = io.BytesIO()
    if licence:
        benchmark = decontaminate.load(HASHES)
        files = list(archive_files(archive))
        if description:
            files.append(("README.md", description.encode()))
        with gzip.open(buffer, "wt", compresslevel=1, encoding="utf-8") as out:
            for path, data in files:
                document, reason = filtered(path, data, index, benchmark)
                if document is None:
                    dropped[reason] += 1
                    continue
                facts["files"] += 1
                row = {name: getattr(document, name) for name in Document.__slots__}
                out.write(json.dumps(row, separators=(",", ":")) + "\n")
    facts["dropped"] = dict(dropped)
    target.parent.mkdir(parents=True, exist_ok=True)
    if licence:
        _replace(target, buffer.getvalue())
    _replace(facts_path(target), json.dumps(facts).encode())
    return facts


def facts_path(target: Path) -> Path:
    """The facts beside a package's documents; written last, so their presence means done."""
    return target.with_name(target.name.removesuffix(".jsonl.gz") + ".json")


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(data)
    partial.replace(path)


def filter_packages(root: Path, packages: Sequence[tuple[str, str]], workers: int) -> None:
    """Filter every package that is fetched and not yet filtered."""
    todo = [
        p
        for p in packages
        if folder_of(root, *p).exists() and not facts_path(stored(root, *p)).exists()
    ]
    say(f"filter: {len(todo)} packages")
    with ProcessPoolExecutor(workers) as pool:
        jobs = {pool.submit(filter_one, root, *package): package for package in todo}
        for i, job in enumerate(as_completed(jobs), 1):
            if error := job.exception():
                say(f"filter: {jobs[job]}: {error!r}")
            if i % 50 == 0:
                say(f"filter: {i}/{len(todo)}")


# dedup


def documents(root: Path, index: str, name: str) -> Iterator[Document]:
    """The filtered documents of a package, in their order."""
    with gzip.open(stored(root, index, name), "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            row["signature"], row["grams"] = tuple(row["signature"]), tuple(row["grams"])
            yield Document(**row)


class Copies:
    """What was kept so far, to tell exact and near copies of it by."""

    def __init__(self) -> None:
        self._digests: set[str] = set()
        self._signatures: list[NDArray[np.uint32]] = []
        self._bands: dict[bytes, int] = {}

    def reason(self, document: Document) -> str:
        """'exact copy', 'near copy', or '' after remembering the document."""
        if document.digest in self._digests:
            return "exact copy"
        self._digests.add(document.digest)
        if not document.signature:
            return ""
        signature = np.array(document.signature, np.uint32)
        rows = signature.reshape(BANDS, -1)
        keys = [bytes([band]) + rows[band].tobytes() for band in range(BANDS)]
        for candidate in {self._bands[key] for key in keys if key in self._bands}:
            if float((self._signatures[candidate] == signature).mean()) >= NEAR:
                return "near copy"
        for key in keys:
            self._bands.setdefault(key, len(self._signatures))
        self._signatures.append(signature)
        return ""


def common_grams(
    root: Path, packages: Sequence[tuple[str, str]], threshold: int = COMMON_PACKAGES
) -> set[int]:
    """The benchmark grams that so many packages hold that they point at no benchmark."""
    holders: Counter[int] = Counter()
    for package in packages:
        holders.update({g for document in documents(root, *package) for g in document.grams})
    return {gram for gram, count in holders.items() if count >= threshold}


def dedup(root: Path, packages: Sequence[tuple[str, str]]) -> None:
    """Decide which documents are kept: kept.json, with the counts of what every filter dropped."""
    facts = {}
    for package in packages:
        path = facts_path(stored(root, *package))
        if path.exists():
            facts[package] = json.loads(path.read_text(encoding="utf-8"))
    usable = [p for p in packages if p in facts and facts[p]["licence"]]
    _, done = packed_packages(root)
    # Validation first, so that a copy of its files falls out of training and not the reverse; then
    # what shards hold already, so that a copy of that is not packed again.
    usable.sort(
        key=lambda p: (not is_validation(p[1]), p not in done, hashlib.sha1(p[1].encode()).digest())
    )
    say(f"dedup: {len(usable)} packages of {len(facts)} have a permissive licence")
    common = common_grams(root, usable)
    copies = Copies()
    dropped: Counter[str] = Counter()
    kept: list[tuple[tuple[str, str], list[int]]] = []
    for fact in facts.values():
        dropped.update(fact["dropped"])
    tally: Counter[str] = Counter()
    for i, package in enumerate(usable, 1):
        budget = CLIENT_BYTES if CLIENTS.match(package[1]) else PACKAGE_BYTES
        data_budget = dict.fromkeys(DATA_LANGUAGES, DATA_BYTES)
        rows = sorted(enumerate(documents(root, *package)), key=lambda row: row[1].digest)
        chosen = []
        for number, document in rows:
            if set(document.grams) - common:
                dropped["benchmark 10-gram"] += 1
                continue
            if reason := copies.reason(document):
                dropped[reason] += 1
                continue
            room = min(budget, data_budget.get(document.language, budget))
            if room < len(document.text):
                dropped["package cap"] += 1
                continue
            budget -= len(document.text)
            if document.language in data_budget:
                data_budget[document.language] -= len(document.text)
            chosen.append(number)
            role = "val" if is_validation(package[1]) else "train"
            tally[f"{role} {document.language} files"] += 1
            tally[f"{role} {document.language} bytes"] += len(document.text)
        if chosen:
            kept.append((package, sorted(chosen)))
        if i % 100 == 0:
            say(f"dedup: {i}/{len(usable)}")
    counts = {
        "packages considered": len(packages),
        "packages fetched and read": len(facts),
        "packages without a permissive licence": len(facts) - len(usable),
        "packages kept": len(kept),
        "common grams ignored": len(common),
        "dropped": dict(dropped.most_common()),
        "kept": dict(sorted(tally.items())),
    }
    _replace(root / "kept.json", json.dumps({"counts": counts, "kept": kept}).encode())
    say(json.dumps(counts, indent=1))


def packed_packages(root: Path) -> tuple[int, set[tuple[str, str]]]:
    """How many training shards are whole, and the packages whose documents they hold."""
    path = root / "shards" / "packages.json"
    if not path.exists():
        return 0, set()
    state = json.loads(path.read_text(encoding="utf-8"))
    return state["shards"], {(index, name) for index, name in state["packages"]}


def kept_documents(
    root: Path, without: Container[tuple[str, str]] = ()
) -> Iterator[tuple[str, Document]]:
    """(package name, document) of everything kept, packages in a mixed order."""
    kept = json.loads((root / "kept.json").read_text(encoding="utf-8"))["kept"]
    for (index, name), numbers in kept:
        if (index, name) in without:
            continue
        wanted = set(numbers)
        for number, document in enumerate(documents(root, index, name)):
            if number in wanted:
                yield name, document


# tokenizer and pack


def write_manifest(root: Path, packages: Container[tuple[str, str]]) -> None:
    """MANIFEST.tsv: of each package in shards its version, licence, archive hash and index."""
    rows = []
    for path in (root / "filtered").glob("*/*.json"):
        fact = json.loads(path.read_text(encoding="utf-8"))
        if (fact["index"], fact["name"]) in packages:
            cells = (fact[key] for key in ("name", "version", "licence", "sha256", "index"))
            rows.append("\t".join(" ".join(str(cell).split()) for cell in cells) + "\n")
    head = f"# corpus of {CORPUS_DATE}; nothing uploaded later is in it\n"
    columns = "package\tversion\tlicence\tsha256\tsource\n"
    _replace(root / "MANIFEST.tsv", (head + columns + "".join(sorted(rows))).encode())


def train_tokenizer(root: Path, target: Path, vocabulary: int, megabytes: float) -> None:
    """Train the BPE on a sample of the training documents."""
    from train import tokenizer

    total = sum(len(d.text) for n, d in kept_documents(root) if not is_validation(n))
    share = min(1.0, megabytes * 1e6 / max(total, 1))

    def sample() -> Iterator[str]:
        for name, document in kept_documents(root):
            if not is_validation(name) and int(document.digest[:8], 16) / 2**32 < share:
                yield document.text

    say(f"tokenizer: {total * share / 1e6:.0f} MB of {total / 1e6:.0f} MB")
    tokenizer.save(tokenizer.train(sample(), vocabulary), target)


class PieceIds(dict[str, tuple[int, ...]]):
    """The ids of pre-split pieces, remembered: source repeats itself."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(path))

    def __missing__(self, piece: str) -> tuple[int, ...]:
        if len(self) > 1_000_000:
            self.clear()
        self[piece] = ids = tuple(self._tokenizer.encode(piece, add_special_tokens=False).ids)
        return ids


def _counts(path: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def pack_documents(root: Path, tokenizer_path: Path, shard_tokens: int, limit: int) -> None:
    """Write shards/val.npz and shards/train-NNN.npz; `limit` training tokens at most (0: all).

    Packages that shards hold already are skipped and the numbers go on, so that a trainer that
    watches the folder gets what is new. val.npz is written once: its figures stay comparable.
    """
    from train import spans
    from train.tokenizer import LANGUAGES

    folder = root / "shards"
    folder.mkdir(exist_ok=True)
    ids = PieceIds(tokenizer_path)
    rows: dict[bool, list[tuple[NDArray[np.uint16], int, list[tuple[int, int, int]]]]]
    rows = {True: [], False: []}
    sizes = {True: 0, False: 0}
    counts: Counter[str] = Counter()
    shard_number, done = packed_packages(root)
    held = (folder / "val.npz").exists() and bool(done)
    names: set[str] = set()
    total = 0

    def flush(validation: bool) -> None:
        nonlocal shard_number
        if not rows[validation]:
            return
        # Neighbours of one package are far apart, so that a window batch mixes packages.
        rng = np.random.default_rng(shard_number)
        order = rng.permutation(len(rows[validation]))
        name = "val.npz" if validation else f"train-{shard_number:03}.npz"
        shards.save(shards.shard_of([rows[validation][i] for i in order]), folder / name)
        say(f"pack: {name}, {sizes[validation] / 1e6:.1f}M tokens")
        shard_number += not validation
        rows[validation], sizes[validation] = [], 0

    for name, document in kept_documents(root, without=done):
        validation = is_validation(name)
        if validation and held:
            continue
        names.add(name)
        packed = spans.pack(
            document.text,
            document.language,
            document.path,
            ids.__getitem__,
            int(document.digest[:12], 16),
        )
        role = "val" if validation else "train"
        counts[f"{role} {document.language} tokens"] += len(packed.tokens)
        counts["spans"] += len(packed.spans)
        counts["spans that cut a piece"] += packed.cuts
        counts["spans that cut a word"] += packed.words_cut
        for _, _, kind in packed.spans:
            counts[f"spans {spans.KINDS[kind]}"] += 1
        language = LANGUAGES.index(document.language)
        rows[validation].append((np.array(packed.tokens, np.uint16), language, packed.spans))
        sizes[validation] += len(packed.tokens)
        total += 0 if validation else len(packed.tokens)
        if not validation:
            flush(True)
            if sizes[False] >= shard_tokens:
                flush(False)
            if limit and total >= limit:
                break
    flush(True)
    flush(False)
    kept = json.loads((root / "kept.json").read_text(encoding="utf-8"))["kept"]
    done |= {(index, name) for (index, name), _ in kept if name in names}
    state = {"shards": shard_number, "packages": sorted(done)}
    _replace(folder / "packages.json", json.dumps(state).encode())
    write_manifest(root, done)
    counts.update(_counts(root / "packed.json"))
    _replace(root / "packed.json", json.dumps(dict(sorted(counts.items())), indent=1).encode())
    say(json.dumps(counts, indent=1))


def carry(root: Path, megabytes: float) -> None:
    """Pack shards in order into carry/, until together they would be over a size in MiB."""
    folder = root / "carry"
    folder.mkdir(exist_ok=True)
    room = int(megabytes * 2**20)
    for path in [root / "shards" / "val.npz", *sorted((root / "shards").glob("train-*.npz"))]:
        data = shards.carried(shards.load(path))
        if len(data) > room:
            break
        room -= len(data)
        _replace(folder / f"{path.stem}.shard", data)
        say(f"carry: {path.stem} {len(data) / 2**20:.1f} MiB")


def unpack(source: Path, target: Path) -> None:
    """Turn carried shards back into arrays."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.shard")):
        shards.save(shards.unpacked(path.read_bytes()), target / f"{path.stem}.npz")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one stage, or all of them."""
    parser = argparse.ArgumentParser(
        prog="train.corpus", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "stage",
        choices=STAGES,
    )
    parser.add_argument("--root", type=Path, default=Path("data"), help="state and results")
    parser.add_argument("--data", type=Path, help="folder of the benchmarks, for the hashes")
    parser.add_argument("--packages", type=Path, default=PACKAGES)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tokenizer", type=Path, default=WEIGHTS / "tokenizer.json")
    parser.add_argument("--vocabulary", type=int, default=6144)
    parser.add_argument("--sample-mb", type=float, default=45)
    parser.add_argument("--shard-tokens", type=int, default=SHARD_TOKENS)
    parser.add_argument("--max-tokens", type=int, default=0, help="training tokens; 0: all")
    parser.add_argument("--carry-mib", type=float, default=60)
    options = parser.parse_args(arguments)
    root: Path = options.root
    root.mkdir(parents=True, exist_ok=True)
    if options.stage == "unpack":
        unpack(root / "carry", root / "shards")
        return
    packages = package_list(options.packages)
    every = options.stage == "all"
    if options.stage == "hashes" or (every and options.data):
        assert options.data, "--data DIR names the benchmarks to hash"
        benchmark = decontaminate.benchmark_of(decontaminate.benchmark_texts(options.data))
        decontaminate.save(benchmark, HASHES)
    if every or options.stage == "fetch":
        fetch(root, packages, max(4, options.workers))
    if every or options.stage == "filter":
        filter_packages(root, packages, options.workers)
    if every or options.stage == "dedup":
        dedup(root, packages)
    if options.stage == "tokenizer" or (every and not options.tokenizer.exists()):
        train_tokenizer(root, options.tokenizer, options.vocabulary, options.sample_mb)
    if every or options.stage == "pack":
        pack_documents(root, options.tokenizer, options.shard_tokens, options.max_tokens)
    if options.stage == "carry":
        carry(root, options.carry_mib)


if __name__ == "__main__":
    main()
