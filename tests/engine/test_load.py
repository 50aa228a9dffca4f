"""From a configuration to an engine, where something is missing."""

import sys

import pytest

from infill_engine import EngineConfig, ModelError, load_engine
from infill_engine.remedies import has_gpu, installing


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            {"dtype": "float32"},
            r"^--dtype float32 \(infill.dtype\) is computed by torch, which is not installed",
        ),
        ({"device": "cuda"}, r"pip install 'infill-ls\[torch\]' adds it"),
        ({"model": "hub:some/model"}, r"pip install 'infill-ls\[gpu\]'"),
        ({"model": "hub:foo"}, "hub:foo names no model of the hub; write hub:OWNER/NAME"),
        ({"model": "no/where"}, "no such folder: no/where; "),
        ({"model": "nowhere"}, "no weights at nowhere; .*--model or infill.model"),
        ({"device": "mps"}, r"--device mps \(infill.device\) takes a GPU, and none was found here"),
    ],
)
def test_without_torch_it_is_said_what_takes_it(
    monkeypatch: pytest.MonkeyPatch, config: dict[str, str], says: str
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr("infill_engine.load.has_gpu", lambda device: device != "mps")
    for name in [name for name in sys.modules if name.startswith("infill_engine.models.")]:
        if name.endswith(("plain", "packed")) or "diffusion_gemma" in name:
            monkeypatch.delitem(sys.modules, name)

    with pytest.raises(ModelError, match=says):
        load_engine(EngineConfig(judge="off", **config))


@pytest.mark.parametrize(
    ("prefix", "command"),
    [
        ("/home/me/.local/share/uv/tools/infill-ls", "uv tool install 'infill-ls[gpu]'"),
        ("/home/me/.local/share/pipx/venvs/infill-ls", "pipx install --force 'infill-ls[gpu]'"),
        ("/srv/venv", "pip install 'infill-ls[gpu]'"),
    ],
)
def test_what_is_lacking_is_added_by_what_installed_the_rest(
    monkeypatch: pytest.MonkeyPatch, prefix: str, command: str
) -> None:
    monkeypatch.setattr("sys.prefix", prefix)

    assert installing("gpu") == command


def test_a_gpu_is_looked_for_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("os.path.exists", lambda _: False)
    assert not has_gpu("cuda:0")
    assert has_gpu("cpu")
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    assert has_gpu("cuda:0")


@pytest.mark.parametrize("judge", ["", " "])
def test_an_empty_name_is_no_judge(judge: str) -> None:
    with pytest.raises(ValueError, match=f"judge='{judge}' names none; it is auto, off"):
        EngineConfig(judge=judge)
