"""Makes the small model that `benchmarks.finetuning` tunes, of DreamOn's form.

    PYTHONPATH=.:engine:kernels python -m benchmarks.finetuning.pretraining [--out FOLDER]

From random weights, all of which are trained, as the published model came to be: first whole texts
with tokens masked, then holes that grow and end. One core, a minute or two.
"""

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from copy import copy
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor

from benchmarks.finetuning import repositories
from infill_engine import EngineConfig
from infill_engine.models.masked_qwen2.checkpoint import EMBEDDING, HEAD, NORM, Qwen2Sizes
from infill_engine.models.masked_qwen2.denoiser import MaskedQwen2, load_masked_qwen2
from infill_engine.models.masked_qwen2.network import Network
from infill_engine.models.masked_qwen2.text import EXPAND, SPLIT
from infill_ls.cli.files import new_folder
from train.hole_objective import Example, loss_of, noised
from train.masked_tuning import STACKED, example
from train.optimisers import Muon
from train.repository import Source, gaps

BASE = Path(__file__).with_name("base")
SPECIAL = ("<|endoftext|>", "<|beginoftext|>", "<|mask|>", EXPAND)
TEXT_TOKENS = 376
SIZES = Qwen2Sizes(
    vocab_size=TEXT_TOKENS + len(SPECIAL), width=64, hidden=128, layers=2, heads=4, groups=2,
    head_dim=16, eps=1e-6, rope_theta=1e4, max_positions=2048,
)  # fmt: skip
TEXT_STEPS, HOLE_STEPS = 700, 700
TEXT_BATCH, HOLE_BATCH = 16, 8
TOKENS = 384  # of an example, so that whole files are seen
MUON_RATE, ADAM_RATE = 0.02, 3e-3
WARMUP, DECAY = 20, 0.5  # steps; the last share of them, to zero
SEED = 1
EVERY = 100


def write_tokenizer(folder: Path, texts: Sequence[str]) -> None:
    """Byte-level BPE in the two files that Dream's folders have, of the words of some texts."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=TEXT_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # An indentation alone is what stands before many a hole.
    bpe.train_from_iterator([*texts, *["    "] * len(texts)], trainer)
    assert bpe.get_vocab_size() == TEXT_TOKENS, "the texts have words enough"
    bpe.model.save(str(folder))
    added = {str(TEXT_TOKENS + at): {"content": name} for at, name in enumerate(SPECIAL)}
    told = {"eos_token": SPECIAL[0], "bos_token": SPECIAL[1], "mask_token": SPECIAL[2]}
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**told, "added_tokens_decoder": added}, indent=1) + "\n")


def write_random(folder: Path) -> None:
    """config.json and random weights in DreamOn's form."""
    told = {
        "model_type": "Dream",
        "architectures": ["DreamModel"],
        "dtype": "float32",
        "vocab_size": SIZES.vocab_size,
        "hidden_size": SIZES.width,
        "intermediate_size": SIZES.hidden,
        "num_hidden_layers": SIZES.layers,
        "num_attention_heads": SIZES.heads,
        "num_key_value_heads": SIZES.groups,
        "max_position_embeddings": SIZES.max_positions,
        "rope_theta": SIZES.rope_theta,
        "rms_norm_eps": SIZES.eps,
        "tie_word_embeddings": False,
        "mask_token_id": TEXT_TOKENS + SPECIAL.index("<|mask|>"),
    }
    (folder / "config.json").write_text(json.dumps(told, indent=1) + "\n")
    generator = torch.Generator().manual_seed(SEED)
    tensors = {}
    for name, shape in SIZES.shapes(tied=False).items():
        if len(shape) == 2:
            scale = 1.0 if name == EMBEDDING else shape[1] ** -0.5
            tensors[name] = scale * torch.randn(shape, generator=generator)
        else:
            tensors[name] = torch.zeros(shape) if name.endswith("bias") else torch.ones(shape)
    save_file(tensors, folder / "model.safetensors")


def weights(network: Network) -> dict[str, Tensor]:
    """By their names in a checkpoint; what is stacked is taken apart."""
    shapes = network.sizes.shapes(tied=False)
    found = {EMBEDDING: network.table, HEAD: network.head, NORM: network.norm}
    for at, layer in enumerate(network.layers):
        prefix = f"model.layers.{at}."
        for field, names in STACKED.items():
            rows = [shapes[f"{prefix}{name}.weight"][0] for name in names]
            parts = {"weight": getattr(layer, field)}
            if field == "query_key_value":
                parts["bias"] = layer.query_key_value_bias
            for kind, stacked in parts.items():
                each = stacked.split(rows)
                found |= {
                    f"{prefix}{name}.{kind}": part for name, part in zip(names, each, strict=True)
                }
        found[f"{prefix}input_layernorm.weight"] = layer.input_norm
        found[f"{prefix}post_attention_layernorm.weight"] = layer.post_attention_norm
    return {name: part.detach().clone() for name, part in found.items() if torch.is_tensor(part)}


def examples(denoiser: MaskedQwen2, found: Sequence[Source]) -> Iterator[list[Example]]:
    """Batches: whole texts, then holes."""
    rng, text = random.Random(SEED), denoiser.text
    assert text.bos is not None
    assert text.eos is not None
    plain = copy(text)
    plain.expand = plain.end = None
    for _ in range(TEXT_STEPS):
        chosen = [text.encode(rng.choice(found).text) for _ in range(TEXT_BATCH)]
        yield [noised([text.bos], ids, [text.eos], plain, rng) for ids in chosen]
    stream = gaps(found, SEED)
    for _ in range(HOLE_STEPS):
        yield [example(denoiser, gap, TOKENS, rng) for gap in islice(stream, HOLE_BATCH)]


def train(
    matrices: Sequence[Any], others: Sequence[Any], steps: int, losses: Iterator[float]
) -> None:
    """Of weights in place; each of so many losses comes with its gradient."""
    parameters = [each.requires_grad_() for each in [*matrices, *others]]
    optimisers = {
        MUON_RATE: Muon(matrices, MUON_RATE, 0.0, torch.float32),
        ADAM_RATE: torch.optim.AdamW(others, ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0),
    }
    recent: list[float] = []
    for step in range(steps):
        share = min(1.0, (step + 1) / WARMUP, (1 - step / steps) / DECAY)
        recent.append(next(losses))
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for rate, optimiser in optimisers.items():
            optimiser.param_groups[0]["lr"] = rate * share
            optimiser.step()
            optimiser.zero_grad()
        if (step + 1) % EVERY == 0:
            print(f"{step + 1:6} loss {sum(recent) / len(recent):7.3f}", flush=True)
            recent = []
    for each in parameters:
        each.requires_grad_(False)


def losses(denoiser: MaskedQwen2, found: Sequence[Source]) -> Iterator[float]:
    network = denoiser.network
    assert isinstance(network, Network)
    for batch in examples(denoiser, found):
        loss = loss_of(network, batch, denoiser.text)
        loss.backward()
        yield float(loss.detach())


def words() -> list[str]:
    """What the tokenizer is made of: the texts of both repositories."""
    return [
        text
        for convention in (repositories.usual, repositories.own)
        for text in repositories.texts(convention, SEED).values()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.finetuning.pretraining",
        description=(__doc__ or "").partition("\n")[0],
    )
    parser.add_argument("--out", type=new_folder, default=BASE, help="the checkpoint's folder")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    write_tokenizer(out, words())
    write_random(out)
    denoiser = load_masked_qwen2(EngineConfig(model=str(out), threads=1))
    network = denoiser.network
    assert isinstance(network, Network)
    matrices: list[Any] = []
    others: list[Any] = [network.table, network.head, network.norm]
    for layer in network.layers:
        for name in layer.__slots__:
            (matrices if name in STACKED else others).append(getattr(layer, name))
    train(
        matrices,
        others,
        TEXT_STEPS + HOLE_STEPS,
        losses(denoiser, repositories.files(repositories.usual, SEED)),
    )
    save_file(weights(network), out / "model.safetensors")


if __name__ == "__main__":
    main()
