"""Which of the filtered files are kept: no copies, no benchmark, not too much of one package."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from train.corpus.copies import Copies
from train.corpus.packages import Package, is_validation
from train.corpus.reject import DATA_LANGUAGES
from train.corpus.state import SourceFile, facts_path, packed_packages, replace, say, source_files

PACKAGE_BYTES = 14_000_000
CLIENT_BYTES = 1_500_000
DATA_BYTES = 150_000  # of a package, for each language that is no programming language
CLIENTS = re.compile(
    r"^(?:botocore|boto3|aiobotocore|kubernetes.*|google-api-python-client|google-cloud-.*|twilio|"
    r"openstacksdk|azure-.*|ccxt|googleapis-.*|langchain-community|moto|awscli|aws-sdk|stripe|"
    r"plotly|troposphere|holidays|faker|babel|chemicals|fluids|litellm|cfn-lint)$"
)
COMMON_PACKAGES = 4  # a benchmark gram in this many packages is nobody's


def common_grams(root: Path, packages: Sequence[Package]) -> set[int]:
    """The benchmark grams that so many packages hold that they point at no benchmark."""
    holders: Counter[int] = Counter()
    for package in packages:
        holders.update({gram for file in source_files(root, package) for gram in file.grams})
    return {gram for gram, count in holders.items() if count >= COMMON_PACKAGES}


def kept_of(
    package: Package,
    files: Sequence[SourceFile],
    common: set[int],
    copies: Copies,
    dropped: Counter[str],
) -> list[int]:
    """The indices of a package's files that are kept; adds to `copies` and `dropped`."""
    budget = CLIENT_BYTES if CLIENTS.match(package.name) else PACKAGE_BYTES
    data_budget = dict.fromkeys(DATA_LANGUAGES, DATA_BYTES)
    kept = []
    for number, file in sorted(enumerate(files), key=lambda row: row[1].digest):
        if set(file.grams) - common:
            dropped["benchmark 10-gram"] += 1
        elif reason := copies.reason(file):
            dropped[reason] += 1
        elif min(budget, data_budget.get(file.language, budget)) < len(file.text):
            dropped["package cap"] += 1
        else:
            budget -= len(file.text)
            if file.language in data_budget:
                data_budget[file.language] -= len(file.text)
            kept.append(number)
    return sorted(kept)


def dedup(root: Path, packages: Sequence[Package]) -> None:
    """Decide which files are kept: kept.json, with the counts of what every filter dropped."""
    paths = {package: facts_path(root, package) for package in packages}
    facts = {
        package: json.loads(path.read_text(encoding="utf-8"))
        for package, path in paths.items()
        if path.exists()
    }
    _, done = packed_packages(root)

    def order(package: Package) -> tuple[bool, bool, bytes]:
        # Validation first, so that a copy of its files falls out of training and not the reverse;
        # then what shards hold already, so that a copy of that is not packed again.
        digest = hashlib.sha1(package.name.encode()).digest()
        return not is_validation(package.name), package not in done, digest

    usable = sorted((package for package in facts if facts[package]["licence"]), key=order)
    say(f"dedup: {len(usable)} packages of {len(facts)} have a permissive licence")
    common, copies = common_grams(root, usable), Copies()
    dropped: Counter[str] = Counter()
    for fact in facts.values():
        dropped.update(fact["dropped"])
    kept, tally = [], Counter[str]()
    for i, package in enumerate(usable, 1):
        files = list(source_files(root, package))
        numbers = kept_of(package, files, common, copies, dropped)
        role = "val" if is_validation(package.name) else "train"
        for number in numbers:
            tally[f"{role} {files[number].language} files"] += 1
            tally[f"{role} {files[number].language} bytes"] += len(files[number].text)
        if numbers:
            kept.append((package, numbers))
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
    replace(root / "kept.json", json.dumps({"counts": counts, "kept": kept}).encode())
    say(json.dumps(counts, indent=1))
