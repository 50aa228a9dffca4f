"""`infill-ls try`: nothing has to be there but the package, not even torch."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from infill_ls.cli.errors import NOTHING
from infill_ls.cli.example import EXAMPLE, HOLE
from tests.infill_ls.engines import Knowing, always, loads

HEAD = "def price(self, item_price: float, item_count: int) -> float:"
WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # whoever imports it is told that it is not there
from infill_ls.cli.main import main
sys.exit(main(["try"]))
"""


def test_fills_the_hole_and_says_what_comes_next(run: Any) -> None:
    done = run("try", load=loads(Knowing(always(HEAD))))

    assert done.code == 0
    assert f" 18 ┃     {HEAD}\n" in done.out
    assert "discounts.py:18:5  python" in done.out
    assert done.out.endswith("Next: infill-ls setup, which puts it into your editors.\n")
    compile(EXAMPLE.replace(HOLE, HEAD), "discounts.py", "exec")


def test_nothing_to_offer_is_not_passed_over(run: Any) -> None:
    done = run("try", load=loads(Knowing(always(")"))))

    assert done.code == NOTHING
    assert "see infill-ls doctor" in done.err


def test_the_model_that_ships_fills_it_without_torch(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], env=env, cwd=tmp_path, capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert f" 18 ┃     {HEAD}\n" in done.stdout
    assert "✓ no new syntax error" in done.stdout
