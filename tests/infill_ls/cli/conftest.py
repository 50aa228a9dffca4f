"""A file with a hole in it, and the command line to run on it."""

from pathlib import Path
from typing import Any

import pytest

from tests.infill_ls.cli.runs import ANSWER, SOURCE, Run
from tests.infill_ls.engines import Knowing, always, loads


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "area.py"
    path.write_bytes(SOURCE.encode())
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def start(*arguments: object, load: Any = None) -> Run:
        return Run(capsys, *arguments, load=load or loads(Knowing(always(ANSWER), steps=3)))

    return start
