"""What a remote engine loads, and when."""

import os
import subprocess
import sys


def test_no_tensor_library_is_loaded() -> None:
    code = (
        "import infill_engine.remote.engine, sys; "
        "assert not {'torch', 'numpy', 'transformers'} & set(sys.modules), 'loaded'"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
