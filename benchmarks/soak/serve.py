"""The shared server of the soak: the product, round an engine that notes what it was asked.

    python -m benchmarks.soak.serve SOCKET MODEL

In the folder of SOCKET it writes its process id (`server.pid`) and a line for every run of the
engine (`asked.txt`: a digest of the text round the cursor), by which a client can prove that the
server has its text to the letter. While the file `raise` is there, the engine raises.
"""

import hashlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from infill_engine import (
    UNLIMITED,
    Budget,
    Draft,
    Engine,
    EngineConfig,
    EngineInfo,
    InfillRequest,
    load_engine,
)
from infill_engine.load import silent
from infill_ls.server.shared import run_shared

AROUND = 300  # characters on each side


def digest(before: str, after: str) -> str:
    """Of the text round a cursor, as much as every window holds."""
    text = f"{before[-AROUND:]}\0{after[:AROUND]}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Noting:
    """Implements `Engine` over another one."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self._folder = folder

    def infill(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> Iterator[Draft]:
        with (self._folder / "asked.txt").open("a") as file:
            file.write(digest(request.prefix, request.suffix) + "\n")
        if (self._folder / "raise").exists():
            raise RuntimeError("the soak asked for a fault")
        yield from self._engine.infill(request, budget=budget)

    def warm(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> None:
        self._engine.warm(request, budget=budget)

    def forget(self) -> None:
        self._engine.forget()

    def describe(self) -> EngineInfo:
        return self._engine.describe()


def main() -> int:
    socket, model = Path(sys.argv[1]), sys.argv[2]
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    (socket.parent / "server.pid").write_text(str(os.getpid()))

    def load(config: EngineConfig, progress: Callable[[str, float], None] = silent) -> Engine:
        return Noting(load_engine(config, progress), socket.parent)

    return run_shared(socket, EngineConfig(model=model), load=load)


if __name__ == "__main__":
    sys.exit(main())
