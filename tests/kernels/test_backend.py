import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import infill_kernels
from infill_kernels import backend, reference


@pytest.mark.parametrize(
    ("wanted", "device", "package", "expected"),
    [
        ("auto", True, True, ("triton", "there is a CUDA device")),
        ("auto", False, True, ("torch", "there is no CUDA device")),
        ("torch", True, True, ("torch", "INFILL_KERNELS=torch")),
        ("triton", False, True, ("triton", "INFILL_KERNELS=triton")),
    ],
)
def test_the_choice_and_its_reason(wanted, device, package, expected):
    assert backend.choose(wanted, device=device, package=package) == expected


def test_without_triton_a_gpu_still_works_and_says_what_is_missing():
    name, reason = backend.choose("auto", device=True, package=False)

    assert name == "torch"
    assert "pip install triton" in reason


@pytest.mark.parametrize(("wanted", "package"), [("cuda", True), ("triton", False)])
def test_what_cannot_be_had_is_an_error_that_shows_the_value(wanted, package):
    with pytest.raises(ValueError, match=wanted):
        backend.choose(wanted, device=True, package=package)


def run(code: str, **environment: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout + done.stderr


def test_triton_is_not_imported_where_it_is_not_chosen():
    code = """
import sys, torch, infill_kernels
infill_kernels.rms_norm(torch.ones(2, 8), torch.ones(8), eps=1e-6)
assert "triton" not in sys.modules
"""
    run(code, INFILL_KERNELS="torch")


def test_what_runs_on_the_cpu_alone_imports_no_torch():
    code = """
import sys, infill_kernels
from infill_kernels import blocks, cells
from infill_kernels.native import native
native()
assert "torch" not in sys.modules
infill_kernels.rms_norm
assert "torch" in sys.modules
"""
    run(code)


def test_a_name_that_is_no_op_is_none():
    with pytest.raises(AttributeError, match="no attribute 'rms_norms'"):
        infill_kernels.rms_norms  # noqa: B018


def test_the_choice_is_logged_with_its_reason():
    code = """
import logging
logging.basicConfig(level=logging.INFO)
from infill_kernels import rms_norm
"""

    assert "kernels: torch, because INFILL_KERNELS=torch" in run(code, INFILL_KERNELS="torch")


def test_tensors_on_the_cpu_go_to_plain_torch_where_triton_is_chosen():
    code = """
import sys, torch, infill_kernels
infill_kernels.rms_norm(torch.ones(2, 8), torch.ones(8), eps=1e-6)
assert "triton" not in sys.modules
"""
    run(code, INFILL_KERNELS="triton")


@pytest.mark.parametrize("name", backend.KERNELS)
def test_a_kernel_has_its_references_signature_and_is_exported(name):
    pytest.importorskip("triton")
    module = __import__(f"infill_kernels.{backend.KERNELS[name]}", fromlist=[name])
    plain = getattr(reference, name)

    assert inspect.signature(getattr(module, name)) == inspect.signature(plain)
    assert inspect.signature(getattr(infill_kernels, name)) == inspect.signature(plain)
    assert name in infill_kernels.__all__


def test_no_module_hides_an_op():
    """`import infill_kernels.x` binds x in the package, so no op may have a module's name."""
    assert not set(backend.KERNELS) & set(backend.KERNELS.values())


def test_everything_that_is_exported_has_a_caller():
    """A kernel that nothing calls but its tests and its benchmark is none."""
    engine = Path(__file__).parents[2] / "engine" / "infill_engine"
    called = {
        alias.name
        for path in engine.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "infill_kernels"
        for alias in node.names
    }

    assert set(infill_kernels.__all__) - called == set()
