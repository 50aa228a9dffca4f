"""The real server process round an engine of a stated property: `serve.py SPEC [--tcp HOST:PORT]
[--fim]`.

Tests start this in place of `infill-ls`; everything but the engine is the product. SPEC is JSON:
`texts` that the engine always knows (without them it knows `use_<last name>`), its `steps` and
`seconds` a step, the `journal` file, `gate`: a file that must exist before loading ends,
`noisy` for an engine that prints while it loads, `model` false for none at all, and the `token`
that TCP clients must know.
"""

import argparse
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "engine"), str(ROOT / "kernels")]

from infill_engine import Engine, EngineConfig  # noqa: E402
from infill_engine.load import silent  # noqa: E402
from infill_ls.fim.address import FimAddress  # noqa: E402
from infill_ls.server.stdio import run_stdio  # noqa: E402
from tests.infill_ls.engines import Journal, Knowing, always, last_name, unloadable  # noqa: E402


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("spec", type=json.loads)
    parser.add_argument("--tcp", default="")
    parser.add_argument("--fim", action="store_true")
    options = parser.parse_args(arguments)
    spec: dict[str, Any] = options.spec
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")

    def load(config: EngineConfig, progress: Callable[[str, float], None] = silent) -> Engine:
        while "gate" in spec and not Path(spec["gate"]).exists():
            time.sleep(0.005)
        progress("reading weights", 0.5)
        if spec.get("noisy"):
            print("hello from a library", flush=True)
            subprocess.run([sys.executable, "-c", "print('hello from a child')"], check=True)
        if not spec.get("model", True):
            unloadable(config)
        journal = Journal(Path(spec["journal"])) if "journal" in spec else Journal()
        journal.note(f"loaded:{config.model}:{config.threads}:torch={'torch' in sys.modules}")
        knows = always(*spec["texts"]) if "texts" in spec else last_name
        return Knowing(
            knows, steps=spec.get("steps", 1), seconds=spec.get("seconds", 0.0), journal=journal
        )

    fim = FimAddress(host="127.0.0.1", port=0) if options.fim else None
    if options.tcp or fim:
        from infill_ls.server.processes import run_fim, run_tcp  # stdio starts without it

        if not options.tcp:
            return run_fim(fim, EngineConfig(), load=load)
        host, _, port = options.tcp.rpartition(":")
        return run_tcp(host, int(port), EngineConfig(), token=spec.get("token"), fim=fim, load=load)
    return run_stdio(EngineConfig(), load=load)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
