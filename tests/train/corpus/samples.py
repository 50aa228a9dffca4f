"""Texts that a package could hold, one of them taken from a benchmark."""

from train.corpus import decontaminate, filter

SOLUTION = '''from typing import List


def nearby_pairs(numbers: List[float], threshold: float) -> bool:
    """ Check whether any two of the given numbers lie nearer than the threshold.
    >>> nearby_pairs([1.0, 2.8, 3.0, 4.0, 5.0, 2.0], 0.3)
    True
    """
    for idx, elem in enumerate(numbers):
        for idx2, elem2 in enumerate(numbers):
            if idx != idx2:
                distance = abs(elem - elem2)
                if distance < threshold:
                    return True
    return False
'''
BENCHMARK = decontaminate.benchmark_of([SOLUTION])
ORDINARY = '''"""Read and write settings files."""

import json
from pathlib import Path


def read_settings(path: Path) -> dict[str, object]:
    """The settings that a file holds, with the defaults for what it leaves out."""
    with path.open(encoding="utf-8") as file:
        settings = json.load(file)
    settings.setdefault("colour", "auto")
    settings.setdefault("workers", 4)
    return settings


def write_settings(path: Path, settings: dict[str, object]) -> None:
    path.write_text(json.dumps(settings, indent=2), encoding="utf-8")
'''


def reason(text: str, path: str = "package/module.py", index: str = "pypi") -> str:
    """Why a file is left out, or '' when it is kept."""
    return filter.filtered(path, text.encode(), index, BENCHMARK)[1]
