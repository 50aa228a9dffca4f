"""What a wheel or the archive of an npm package holds: its facts and its files."""

import json
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import Path, PurePosixPath
from typing import Any

from train.corpus import licences
from train.corpus.reject import LANGUAGE_OF, MAX_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveFacts:
    """What an archive says of its package."""

    version: str
    licence: str | None  # None where it is not permissive, for `reason`
    reason: str
    description: str = ""  # markdown


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


def package_facts(archive: Path) -> ArchiveFacts:
    """The facts of a wheel or an npm package."""
    return wheel_facts(archive) if archive.suffix == ".whl" else npm_facts(archive)


def wheel_facts(archive: Path) -> ArchiveFacts:
    with zipfile.ZipFile(archive) as wheel:
        name = next(n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
        meta = BytesParser().parsebytes(wheel.read(name))
    classifiers = [str(each) for each in meta.get_all("Classifier") or []]
    licence, reason = licences.licence_of(
        meta["License-Expression"], str(meta["License"] or ""), classifiers
    )
    markdown = "markdown" in str(meta["Description-Content-Type"])
    body = meta.get_payload(decode=True) if markdown else b""
    return ArchiveFacts(
        version=str(meta["Version"]),
        licence=licence,
        reason=reason,
        description=body.decode("utf-8", "replace") if isinstance(body, bytes) else "",
    )


def npm_facts(archive: Path) -> ArchiveFacts:
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
    return ArchiveFacts(version=str(facts.get("version", "")), licence=licence, reason=reason)
