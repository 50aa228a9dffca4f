"""An editor's end of the soak's shared server: `infill-ls --connect`, but for where it finds it.

python -m benchmarks.soak.connect SOCKET MODEL
"""

import os
import sys
from pathlib import Path

from infill_ls.server.relay import run_relay

ROOT = Path(__file__).parents[2]


def command(socket: Path, model: str) -> list[str]:
    """Runs it."""
    return [sys.executable, "-P", "-m", "benchmarks.soak.connect", str(socket), model]


def environment(folder: Path) -> dict[str, str]:
    """Of this checkout's, as if it were installed: compiled, in a folder of the soak's own."""
    path = os.pathsep.join(str(ROOT / part) for part in (".", "engine", "kernels"))
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    return {**os.environ, "PYTHONPATH": path, **compiled}


def main() -> int:
    socket, model = sys.argv[1:]
    server = [sys.executable, "-P", "-m", "benchmarks.soak.serve", socket, model]
    return run_relay(Path(socket), server)


if __name__ == "__main__":
    sys.exit(main())
