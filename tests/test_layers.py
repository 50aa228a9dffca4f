"""Imports point downwards, and what must start fast imports nothing slow."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LSP = {"pygls", "lsprotocol", "tree_sitter"}
TENSORS = {"torch", "transformers", "triton", "safetensors", "tokenizers", "numpy"}
FORBIDDEN = {
    "kernels/infill_kernels": {"infill_engine", "infill_ls", "transformers"} | LSP,
    "engine/infill_engine": {"infill_ls"} | LSP,
    "infill_ls": {"infill_kernels", "pygls", "lsprotocol"} | TENSORS,
}
SLOW = TENSORS | {"h11", "httpx"}
# Asking for a part of the face must not load what is behind it.
LIGHT = [
    "infill_engine",
    "infill_ls",
    "infill_ls.cli.main",
    "infill_ls.server.processes",
    "infill_ls.server.stdio",
]
# What the embedded default consists of: torch is for what it is trained by and compared with.
WITHOUT_TORCH = [
    "infill_engine.local",
    "infill_engine.models.two_sided.loading",
    "infill_kernels",
    "infill_kernels.blocks",
]
# The modules behind the names of `infill_engine/__init__.py`.
PUBLIC_FACE = {
    f"infill_engine.{name}"
    for name in ("budget", "config", "errors", "load", "remedies", "request", "weighing")
}
NOT_SHIPPED = {"train", "bench", "benchmarks", "tests"}
# Within the server's package: a layer imports those below it, and what all of them know.
LAYERS = (("cli", "server", "fim"), ("completion",), ("syntax",))
MOST_LINES, MEAN_LINES = 500, 200


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


def loaded_with(*modules: str) -> set[str]:
    """The packages that are imported once these modules are, in a process of their own."""
    code = (
        f"import sys, {', '.join(modules)}; "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", LIGHT)
def test_starts_without_tensor_libraries(module: str) -> None:
    assert loaded_with(module) & SLOW == set()


def test_the_embedded_default_imports_no_torch() -> None:
    found = loaded_with(*WITHOUT_TORCH)

    assert "numpy" in found
    assert found & {"torch", "triton", "transformers"} == set()


def test_the_server_meets_the_engine_at_its_public_face() -> None:
    for path in sources("infill_ls"):
        inner = {name for name in imported(path) if name.startswith("infill_engine.")}

        assert inner - PUBLIC_FACE == set(), path.relative_to(ROOT)


def module_of(path: Path, folder: str) -> str:
    """The dotted name of a file in a package's folder."""
    parts = path.relative_to((ROOT / folder).parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_among(known: set[str], path: Path) -> set[str]:
    """The modules of `known` that a file names, in functions and for type checkers included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = names & known
            found |= submodules if len(submodules) == len(names) else submodules | {node.module}
    return found & known


def test_no_module_imports_itself_by_a_detour() -> None:
    modules = {module_of(path, folder): path for folder in FORBIDDEN for path in sources(folder)}
    graph = {name: imports_among(set(modules), path) - {name} for name, path in modules.items()}
    circle: list[str] = []
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = error.args[1]

    assert circle == []


def test_a_circle_is_noticed(tmp_path: Path) -> None:
    for name, text in {
        "one": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from layer.two import x\n",
        "two": "def f():\n    from layer import one\n",
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
    known = {"layer", "layer.one", "layer.two"}

    assert imports_among(known, tmp_path / "one.py") == {"layer.two"}
    assert imports_among(known, tmp_path / "two.py") == {"layer.one"}


def is_in(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("level", range(len(LAYERS)))
def test_layers_of_the_server_import_only_what_lies_below(level: int) -> None:
    above = {f"infill_ls.{layer}" for layers in LAYERS[:level] for layer in layers}
    above |= {"infill_ls.cli"} if level == 0 else set()
    for layer in LAYERS[level]:
        for path in sources(f"infill_ls/{layer}"):
            if layer == "cli":
                continue  # it starts the server and measures all of it
            wrong = [name for name in imported(path) if is_in(name, above)]

            assert wrong == [], path.relative_to(ROOT)


def test_what_every_layer_knows_imports_no_layer() -> None:
    layers = {f"infill_ls.{layer}" for layers in LAYERS for layer in layers}
    for path in sorted((ROOT / "infill_ls").glob("*.py")):
        if path.name == "__main__.py":
            continue
        wrong = [name for name in imported(path) if is_in(name, layers)]

        assert wrong == [], path.relative_to(ROOT)


def source_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize(
    "folder", [*FORBIDDEN, "engine/train", "benchmarks", "kernels/bench", "tests", "editors"]
)
def test_a_file_is_one_idea(folder: str) -> None:
    endings = ("*.py", "*.c", "*.lua", "*.ts")
    files = [path for ending in endings for path in (ROOT / folder).rglob(ending)]
    ours = [path for path in files if not {"node_modules", "out", "dist"} & set(path.parts)]
    long = {str(path.relative_to(ROOT)): source_lines(path) for path in ours}

    assert {name: count for name, count in long.items() if count > MOST_LINES} == {}


def test_files_that_ship_are_short_on_average() -> None:
    counts = [source_lines(path) for folder in FORBIDDEN for path in sources(folder)]

    assert sum(counts) / len(counts) <= MEAN_LINES
