"""How long there is no model after the shared server was killed, while nothing else is done.

    python -m benchmarks.soak.recovery --kills 5

The last line is JSON; `back_seconds` are from each death to the first run of the new server's
engine, about a text that was typed meanwhile.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.soak.connect import command, environment
from benchmarks.soak.editor import Editor, knows_text
from benchmarks.soak.faults import Ground, server_killed
from infill_ls.cli.machine import commit, this_machine

SETTLED_SECONDS = 3.0  # before the next kill: the judge is loaded while nothing is to do


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak.recovery", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--model", default="default")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="infill-soak-") as folder:
        back = recoveries(Path(folder), options.model, options.kills)
    result = {
        "back_seconds": [round(seconds, 2) for seconds in back],
        "median": round(statistics.median(back), 2),
        "commit": commit(),
        "cpu": this_machine().cpu,
    }
    print(json.dumps(result))
    return 0


def recoveries(folder: Path, model: str, kills: int) -> list[float]:
    """In seconds. Raises TimeoutError where the server does not come back with the text."""

    def new_editor() -> Editor:
        return Editor(command(folder / "shared.sock", model), environment(folder), cancels=False)

    ground, editor, back = Ground(folder=folder, new_editor=new_editor), new_editor(), []
    editor.start(60.0)
    try:
        for number in range(kills + 1):
            if number:
                server_killed(ground)
            start = time.monotonic()
            if not knows_text(editor, ground.asked, 60.0):
                raise TimeoutError(f"the server did not come back: {editor.told}")
            back.append(time.monotonic() - start)
            time.sleep(SETTLED_SECONDS)
    finally:
        editor.leave()
    return back[1:]  # the first is no death, but a start that compiles


if __name__ == "__main__":
    sys.exit(main())
