"""The server that a user's windows share: its model loads while the rest of it is imported."""

from collections.abc import Callable
from pathlib import Path

from infill_engine import Engine, EngineConfig, load_engine
from infill_ls.completion.worker import Worker

LINGER_SECONDS = 20.0  # for a window that is opened again


def run_shared(
    path: Path,
    config: EngineConfig,
    *,
    load: Callable[[EngineConfig], Engine] = load_engine,
    linger: float = LINGER_SECONDS,
) -> int:
    """Serves a user's windows round one engine, at `path`, for `linger` seconds after the last."""
    worker = Worker(load)
    worker.begin(config)  # by its command line it is found, so that is what windows want
    from infill_ls.server.windows import run_windows  # while it loads

    return run_windows(path, config, worker, linger)
