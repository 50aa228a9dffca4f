"""One run of the command line, in this process, with an engine that knows the answer."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from infill_engine import Engine, EngineConfig
from infill_ls.cli import main as cli

SOURCE = "def area(radius):\n    return \n\n\nprint(area(2))\n"
ANSWER = "math.pi * radius**2"


class Run:
    """What it printed, and the code it ended with."""

    def __init__(
        self,
        capsys: pytest.CaptureFixture[str],
        *arguments: object,
        load: Callable[[EngineConfig], Engine],
    ) -> None:
        self.code = cli.main([str(argument) for argument in arguments], load=load)
        self.out, self.err = capsys.readouterr()

    @property
    def json(self) -> dict[str, Any]:
        answer = json.loads(self.out)
        assert isinstance(answer, dict)
        return answer
