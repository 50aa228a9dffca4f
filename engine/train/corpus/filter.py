"""Which files of a package's archive the corpus takes, and as what."""

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from train.corpus import decontaminate
from train.corpus.archives import archive_files, package_facts
from train.corpus.copies import minhash
from train.corpus.packages import Package
from train.corpus.reject import LANGUAGE_OF, path_reason, text_reason
from train.corpus.scrub import scrubbed
from train.corpus.state import SourceFile, archive_folder, facts_path, files_path, replace, say

HASHES = Path(__file__).parent / "benchmark_hashes.npz"


def filtered(
    path: str, data: bytes, index: str, benchmark: decontaminate.Benchmark
) -> tuple[SourceFile | None, str]:
    """A file as it is kept, or None with the reason it is left out."""
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
    return SourceFile(
        path=path,
        language=language,
        text=text,
        digest=hashlib.sha1(" ".join(text.split()).encode()).hexdigest(),
        signature=minhash(lexemes),
        grams=match.token_grams,
    ), ""


def filter_package(root: Path, package: Package, hashes: Path = HASHES) -> dict[str, Any]:
    """Filter one package's archive, store its files and facts, return the facts."""
    folder = archive_folder(root, package)
    archive = next(path for path in folder.iterdir() if path.suffix in (".whl", ".tgz"))
    found = package_facts(archive)
    dropped: Counter[str] = Counter()
    rows = []
    if found.licence:
        benchmark = decontaminate.load(hashes)
        files = list(archive_files(archive))
        if found.description:
            files.append(("README.md", found.description.encode()))
        for path, data in files:
            file, reason = filtered(path, data, package.source, benchmark)
            if file is None:
                dropped[reason] += 1
            else:
                rows.append(json.dumps(asdict(file), separators=(",", ":")) + "\n")
    facts = {
        "index": package.source,
        "name": package.name,
        "dropped": dict(dropped),
        "files": len(rows),
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "version": found.version,
        "licence": found.licence,
        "reason": found.reason,
    }
    facts_path(root, package).parent.mkdir(parents=True, exist_ok=True)
    if found.licence:
        replace(files_path(root, package), gzip.compress("".join(rows).encode(), 1))
    replace(facts_path(root, package), json.dumps(facts).encode())
    return facts


def filter_packages(root: Path, packages: Sequence[Package], workers: int) -> None:
    """Filter every package that is fetched and not yet filtered."""
    todo = [
        package
        for package in packages
        if archive_folder(root, package).exists() and not facts_path(root, package).exists()
    ]
    say(f"filter: {len(todo)} packages")
    with ProcessPoolExecutor(workers) as pool:
        jobs = {pool.submit(filter_package, root, package): package for package in todo}
        for i, job in enumerate(as_completed(jobs), 1):
            if error := job.exception():
                say(f"filter: {jobs[job]}: {error!r}")
            if i % 50 == 0:
                say(f"filter: {i}/{len(todo)}")
