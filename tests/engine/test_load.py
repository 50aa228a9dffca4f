"""From a configuration to an engine, where something is missing."""

import sys

import pytest

from infill_engine import EngineConfig, ModelError, load_engine


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"dtype": "float32"}, "dtype='float32' is computed by torch, which is not installed"),
        ({"device": "cuda"}, r"pip install 'infill-ls\[torch\]' adds it"),
        ({"model": "hub:some/model"}, r"pip install 'infill-ls\[gpu\]'"),
    ],
)
def test_without_torch_it_is_said_what_takes_it(
    monkeypatch: pytest.MonkeyPatch, config: dict[str, str], says: str
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("infill_engine.models.")]:
        if name.endswith(("plain", "packed")) or "diffusion_gemma" in name:
            monkeypatch.delitem(sys.modules, name)

    with pytest.raises(ModelError, match=says):
        load_engine(EngineConfig(judge="off", **config))
