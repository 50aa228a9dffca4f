"""What an error says of options and of what is not installed, in the words of who reads it."""

import os
import shutil
import sys
from pathlib import Path

# What drivers of GPUs that torch calls CUDA leave: NVIDIA's, AMD's, and Windows' for a Linux in it.
_CUDA = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


def named(option: str, value: object) -> str:
    """An option of `EngineConfig` as it is typed, and as an editor has it."""
    return f"--{option} {value} (infill.{option})"


def installing(extra: str) -> str:
    """The command that adds an extra, by the tool that made this environment."""
    package = f"'infill-ls[{extra}]'"
    parts = Path(sys.prefix).parts
    if "uv" in parts and "tools" in parts:
        return f"uv tool install {package}"
    if "pipx" in parts:
        return f"pipx install --force {package}"
    return f"pip install {package}"


def has_gpu(device: str) -> bool:
    """Whether there may be one of the kind, as far as it can be told without torch."""
    if device.startswith("cuda"):
        return shutil.which("nvidia-smi") is not None or any(map(os.path.exists, _CUDA))
    return device not in ("mps", "mlx") or sys.platform == "darwin"
