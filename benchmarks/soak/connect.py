"""An editor's end of the soak's shared server: `infill-ls --connect`, but for where it finds it.

python -m benchmarks.soak.connect SOCKET MODEL
"""

import sys
from pathlib import Path

from infill_ls.server.relay import run_relay


def main() -> int:
    socket, model = sys.argv[1:]
    command = [sys.executable, "-P", "-m", "benchmarks.soak.serve", socket, model]
    return run_relay(Path(socket), command)


if __name__ == "__main__":
    sys.exit(main())
