"""What is no judge is refused by name, with the remedy."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infill_engine.config import EngineConfig
from infill_engine.errors import ModelError
from infill_engine.judge.gguf import library as library_module
from infill_engine.judge.gguf import loading
from infill_engine.judge.gguf.judge import GgufJudge
from infill_engine.load import load_engine
from infill_engine.request import InfillRequest
from tests.train import tiny_gguf

pytest.importorskip("xllamacpp", reason="no llama.cpp here: pip install 'infill-ls[gguf]'")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("gguf") / "plain.gguf")


def load(path: Path) -> GgufJudge:
    return loading.load_gguf(EngineConfig(judge=str(path), device="cpu", threads=1))


def test_the_engine_loads_it_and_says_what_it_is(plain: Path) -> None:
    config = EngineConfig(judge=str(plain), device="cpu", threads=1)
    engine = load_engine(config)
    engine.warm(InfillRequest(prefix="a = ", suffix="\n"))
    assert engine.describe().judge.startswith("Tiny: 0 M parameters, llama ")
    assert "fills in the middle" not in engine.describe().judge


def written(path: Path, **how: Any) -> Path:
    tiny_gguf.write_gguf(path, **how)
    return path


def cut_short(path: Path) -> Path:
    written(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def text(path: Path) -> Path:
    path.write_text("no weights")
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path, "cannot read the judge .*No such file.*a folder or a GGUF file"),
        (text, r"is no GGUF file: it begins with b'no w'"),
        (cut_short, "llama.cpp .* cannot read .*corrupted.*download it again"),
        (partial(written, architecture="other"), "cannot read .*unknown model architecture"),
        (partial(written, numbers={"llama.pooling_type": 1}), "is an embedding model"),
        (partial(written, kind="none"), "cannot judge: it has no tokenizer"),
    ],
)
def test_files_that_cannot_judge_are_refused_by_name(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    path = tmp_path / "odd.gguf"
    make(path)
    with pytest.raises(ModelError, match=message) as raised:
        load(path)
    assert "odd.gguf" in str(raised.value)


def test_a_tokenizer_that_loses_text_is_refused(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infill_engine.judge.gguf.vocabulary.PROBE", "\x1d")  # which it lacks
    with pytest.raises(ModelError, match=r"plain.gguf cannot judge: its tokenizer does not give"):
        load(plain)


def test_too_little_memory_is_said_before_anything_is_read(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "free_memory", lambda: 200_000_000)
    monkeypatch.setattr(loading, "Model", None)
    with pytest.raises(ModelError, match=r"needs 0.3 GB of memory and 0.2 GB are free; take a"):
        load(plain)


def test_another_release_of_llama_cpp_is_refused(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library_module.library.cache_clear()
    defaults = {library_module.CONTEXT: (512, 512, 512)}
    monkeypatch.setattr(library_module, "CONTEXT_DEFAULTS", defaults)
    with pytest.raises(ModelError, match="is not the release that is asked for; pip install"):
        load(plain)
    library_module.library.cache_clear()


def test_without_the_extra_it_says_what_to_install(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library_module.library.cache_clear()
    monkeypatch.setitem(sys.modules, "xllamacpp.xllamacpp", None)
    with pytest.raises(ModelError, match=r"not installed .*pip install 'infill-ls\[gguf\]'"):
        load(plain)
    library_module.library.cache_clear()


@pytest.mark.parametrize(
    ("pass_ms", "beams"), [(4.0, None), (6.0, None), (30.0, 1), (39.0, 1), (41.0, 4)]
)
def test_the_shipped_judge_drafts_where_a_line_takes_it_no_longer_than_a_pass(
    pass_ms: float, beams: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = SimpleNamespace(describe=lambda: SimpleNamespace(token_ms=1.0), beams=4)
    monkeypatch.setattr(loading, "load_embedded", lambda: (shipped, ""))
    found = loading._drafter(pass_ms)
    assert (found and found.beams) == beams
    monkeypatch.setattr(loading, "load_embedded", lambda: (None, "off: too slow"))
    assert loading._drafter(pass_ms) is None


@pytest.mark.parametrize(
    ("one_ms", "token_ms", "tokens"),
    [(8.0, 0.7, 32), (8.0, 0.5, 32), (111.0, 31.0, 4), (10.0, 10.0, 1), (2.0, 0.1, 32)],
)
def test_so_much_is_verified_as_lets_a_pass_last_twice_as_long(
    one_ms: float, token_ms: float, tokens: int
) -> None:
    assert loading.worth_verifying(one_ms, token_ms) == tokens
