"""Decides once, at import, whether ops run as Triton kernels or in plain torch, and logs why.

    INFILL_KERNELS=auto    Triton where there is a CUDA device and the package (the default)
    INFILL_KERNELS=torch   plain torch everywhere
    INFILL_KERNELS=triton  Triton, or an error that says what is missing

What `blocks` compiles for the CPU is left alone but for INFILL_KERNELS=torch, which forbids it too.

Triton is imported with the first op, and never where it is not chosen. Where it is, tensors that
are on the CPU still go to plain torch: one process may run a small model there. Under
TRITON_INTERPRET=1 they do not.
"""

import importlib
import importlib.util
import logging
import os
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

logger = logging.getLogger(__name__)
CHOICES = ("auto", "torch", "triton")

# Every op that has a kernel, and the module it is in.
KERNELS = {
    "add_norms": "norms",
    "canvas_attention": "attention",
    "gated": "norms",
    "head_statistics": "statistics",
    "join_norms": "norms",
    "moe": "experts",
    "moe_parts": "experts",
    "probabilities": "statistics",
    "rms_norm": "norms",
    "row_statistics": "statistics",
    "split_norm_rope": "rope",
    "sum_norms": "norms",
    "top_experts": "routing",
}

P = ParamSpec("P")
R = TypeVar("R")


def choose(wanted: str, *, device: bool, package: bool) -> tuple[str, str]:
    """The backend, "torch" or "triton", and the reason."""
    if wanted not in CHOICES:
        raise ValueError(f"INFILL_KERNELS={wanted!r} is none of {', '.join(CHOICES)}")
    if wanted == "triton" and not package:
        raise ValueError("INFILL_KERNELS=triton, but triton is not installed: pip install triton")
    if wanted != "auto":
        return wanted, f"INFILL_KERNELS={wanted}"
    if not device:
        return "torch", "there is no CUDA device"
    if not package:
        return "torch", "triton is not installed, though there is a CUDA device: pip install triton"
    return "triton", "there is a CUDA device"


def interpreted() -> bool:
    """Whether Triton runs kernels on the CPU, in Python."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def _usable() -> bool:
    """A device that Triton's kernels here are made for: tensor cores with bfloat16."""
    return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)


NAME, REASON = choose(
    os.environ.get("INFILL_KERNELS", "auto"),
    device=_usable(),
    package=importlib.util.find_spec("triton") is not None,
)
logger.info("kernels: %s, because %s", NAME, REASON)


def select(reference: Callable[P, R]) -> Callable[P, R]:
    """The op to use for a reference: itself, or a choice between it and its kernel by device."""
    name = reference.__name__
    if NAME == "torch":
        return reference
    kernel: Callable[P, R] | None = None

    def op(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal kernel
        first: Any = args[0]
        assert isinstance(first, Tensor), f"{name} takes a tensor first"
        if not first.is_cuda and not interpreted():
            return reference(*args, **kwargs)
        if kernel is None:
            module = importlib.import_module(f"infill_kernels.{KERNELS[name]}")
            kernel = getattr(module, name)
        if not first.is_cuda:
            return kernel(*args, **kwargs)
        # Triton launches on the current device, which need not be the tensors'.
        with torch.cuda.device(first.device):
            return kernel(*args, **kwargs)

    update_wrapper(op, reference)
    return op
