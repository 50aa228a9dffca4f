"""Runs the kernels' tests under Triton's interpreter, a process for each file."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

FILES = sorted((Path(__file__).parent / "interpreted").glob("test_*.py"))


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="the files run on the GPU themselves")
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_kernels_agree_with_their_references_under_the_interpreter(file: Path) -> None:
    environment = os.environ | {
        "TRITON_INTERPRET": "1",
        "INFILL_KERNELS": "triton",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]

    done = subprocess.run(command, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
