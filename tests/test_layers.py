"""Imports point downwards, and what must start fast imports nothing slow."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LSP = {"pygls", "lsprotocol", "tree_sitter"}
TENSORS = {"torch", "transformers", "triton", "safetensors", "tokenizers", "numpy"}
FORBIDDEN = {
    "kernels/infill_kernels": {"infill_engine", "infill_ls", "transformers"} | LSP,
    "engine/infill_engine": {"infill_ls"} | LSP,
    "infill_ls": {"infill_kernels"} | TENSORS,
}
SLOW = TENSORS | {"httpx"}
# Asking for a part of the face must not load what is behind it.
LIGHT = ["infill_engine", "infill_ls", "infill_ls.cli.main", "infill_ls.server.processes"]
# The modules behind the names of `infill_engine/__init__.py`.
PUBLIC_FACE = {
    f"infill_engine.{name}" for name in ("budget", "config", "errors", "load", "request")
}
NOT_SHIPPED = {"train", "bench", "tests"}


def imported(path: Path) -> Iterator[str]:
    """Every absolute module name in a file, imports inside functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert node.module is not None
            yield node.module


def sources(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, f"{folder} holds no Python file: the test would pass without looking"
    return found


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_point_downwards(folder: str) -> None:
    for path in sources(folder):
        tops = {name.partition(".")[0] for name in imported(path)}

        assert tops & FORBIDDEN[folder] == set(), path.relative_to(ROOT)


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_no_relative_imports(folder: str) -> None:
    for path in sources(folder):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            relative = isinstance(node, ast.ImportFrom) and node.level > 0

            assert not relative, f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_nothing_that_ships_imports_what_does_not(folder: str) -> None:
    for path in sources(folder):
        tops = {name.partition(".")[0] for name in imported(path)}

        assert tops & NOT_SHIPPED == set(), path.relative_to(ROOT)


@pytest.mark.parametrize("module", LIGHT)
def test_starts_without_tensor_libraries(module: str) -> None:
    code = (
        f"import sys, {module}; "
        f"print(*sorted({SLOW!r} & {{name.partition('.')[0] for name in sys.modules}}))"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
    )

    assert done.stdout.split() == []


def test_the_server_meets_the_engine_at_its_public_face() -> None:
    for path in sources("infill_ls"):
        inner = {name for name in imported(path) if name.startswith("infill_engine.")}

        assert inner - PUBLIC_FACE == set(), path.relative_to(ROOT)
