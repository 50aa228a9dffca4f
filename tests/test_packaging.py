"""What is in the wheel, and what must never be in the tree."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from release.check import MOST_ON_PYPI

import infill_ls
from infill_kernels.native import PARTS
from infill_kernels.prebuilt import MADE

ROOT = Path(__file__).parent.parent
WEIGHTS = "infill_engine/weights"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    builder = WheelBuilder(str(ROOT))
    return Path(next(builder.build(directory=str(folder), versions=["standard"])))


@pytest.fixture(scope="session")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_pypi_takes_it_as_it_is(wheel: Path) -> None:
    assert wheel.stat().st_size < MOST_ON_PYPI


def test_top_level_names_are_the_three_packages(names: list[str]) -> None:
    expected = {
        "infill_ls",
        "infill_engine",
        "infill_kernels",
        f"infill_ls-{infill_ls.__version__}.dist-info",
    }

    assert {name.partition("/")[0] for name in names} == expected


SHIPPED = (
    *("default.safetensors", "tokenizer.json", "MODEL_CARD.md"),
    *("judge.safetensors", "judge_tokenizer.json", "judge_calibration.json", "JUDGE_CARD.md"),
    *("DATA_NOTICE.md", "MANIFEST.tsv", "JUDGE_MANIFEST.tsv"),
)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_embedded_model_is_inside(names: list[str], wheel: Path, name: str) -> None:
    assert f"{WEIGHTS}/{name}" in names
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read(f"{WEIGHTS}/{name}")

    assert packed == (ROOT / "engine" / WEIGHTS / name).read_bytes()


def test_what_is_compiled_on_the_spot_is_inside(names: list[str]) -> None:
    sources = {f"infill_kernels/cpu/{name}" for name in ("host.c", *PARTS)}
    made = {f"infill_kernels/prebuilt/{name}" for name in json.loads(MADE.read_text())["libraries"]}
    assert sources | made <= set(names)


def test_the_plugins_that_setup_writes_are_inside(names: list[str]) -> None:
    neovim = ROOT / "editors" / "neovim"
    files = [path for part in ("plugin", "lua", "doc") for path in (neovim / part).rglob("*.*")]
    expected = {f"infill_ls/plugins/neovim/{path.relative_to(neovim).as_posix()}" for path in files}

    assert len(expected) > 10
    assert expected <= set(names)


def test_types_and_licence_are_inside(names: list[str]) -> None:
    dist_info = f"infill_ls-{infill_ls.__version__}.dist-info"
    expected = {f"{package}/py.typed" for package in ("infill_ls", "infill_engine")} | {
        f"{dist_info}/licenses/LICENSE",
        f"{dist_info}/entry_points.txt",
    }

    assert expected <= set(names)


def test_no_tests_training_or_caches_are_inside(names: list[str]) -> None:
    strangers = [
        name
        for name in names
        if name.endswith((".pyc", ".log", ".pt")) or {"train", "tests"} & set(name.split("/"))
    ]

    assert strangers == []


def test_runs_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    """Unpacked, without the checkout on the path: nothing is missing that `--version` needs."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "infill_ls", "--version"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"infill-ls {infill_ls.__version__}")


@pytest.mark.parametrize("folder", ["engine", "kernels", "tests"])
def test_component_folders_are_no_packages(folder: str) -> None:
    """An importable top-level `kernels` breaks `import transformers`; see CONTRIBUTING.md."""
    assert not (ROOT / folder / "__init__.py").exists()
