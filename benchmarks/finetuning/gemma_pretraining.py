"""Makes the small model that `benchmarks.finetuning` tunes, of DiffusionGemma's form.

    PYTHONPATH=.:engine:kernels python -m benchmarks.finetuning.gemma_pretraining [--out FOLDER]

From random weights, all of which are trained, by the loss that fine-tuning has: first whole texts
on the canvas, then holes. One core, some minutes.
"""

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from benchmarks.finetuning import repositories
from benchmarks.finetuning.pretraining import SEED, TOKENS, train, words
from infill_engine import EngineConfig, InfillRequest, load_engine
from infill_ls.cli.files import new_folder
from train.gemma_tuning import GemmaHoles
from train.recipe import exact
from train.repository import Source, gaps

GEMMA_BASE = Path(__file__).with_name("gemma_base")
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>", "<|channel>", "<channel|>")
IMAGES = ("<|image>", "<image|>", "<|image|>")
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
# Merges stay within these, as nearly all of Gemma's do.
WORD = r"▁{2,}|▁?[A-Za-z]+|▁?[^A-Za-z▁\n]+|\n+|▁"
# What frames a prompt, so that it is not spelled out.
FRAME = (
    "Write the python file, without any explanation. It ends like this:\n```python\n",
    "user\n",
    "model\n",
    "thought\n",
)
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "global_head_dim": 32,
    "num_global_key_value_heads": 1,
    "num_experts": 4,
    "top_k_experts": 2,
    "moe_intermediate_size": 16,
    "sliding_window": 512,
    "max_position_embeddings": 2048,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    "use_bidirectional_attention": "vision",
}
VISION = {
    "model_type": "gemma4_vision",
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "patch_size": 4,
    "position_embedding_size": 16,
}
TEXT_STEPS, HOLE_STEPS = 600, 600
TEXT_BATCH, HOLE_BATCH = 16, 8
CHECKED = 60


def write_tokenizer(folder: Path, texts: Sequence[str]) -> int:
    """tokenizer.json of Gemma's kind, of the words of some texts; how many tokens it has."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    bpe.normalizer = normalizers.Replace(" ", "▁")
    bpe.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "isolated")
    trainer = trainers.BpeTrainer(special_tokens=[*SPECIAL, *BYTES], show_progress=False)
    # An indentation alone is what stands before many a hole.
    bpe.train_from_iterator([*texts, *["    "] * len(texts), *FRAME * 2], trainer)
    bpe.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    told = json.loads(bpe.to_str())
    # Bytes are ordinary tokens there.
    added = [each for each in told["added_tokens"] if each["content"] in SPECIAL]
    vocabulary = told["model"]["vocab"]
    for name in IMAGES:
        added.append({**added[0], "id": len(vocabulary), "content": name})
        vocabulary[name] = len(vocabulary)
    told["added_tokens"] = added
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
    return len(vocabulary)


def write_random(folder: Path, vocab: int) -> None:
    """config.json and random weights in DiffusionGemma's form."""
    from transformers import DiffusionGemmaConfig, DiffusionGemmaForBlockDiffusion

    told = {
        "model_type": "diffusion_gemma",
        "architectures": ["DiffusionGemmaForBlockDiffusion"],
        "dtype": "float32",
        "canvas_length": 32,
        "boi_token_id": vocab - 3,
        "eoi_token_id": vocab - 2,
        "image_token_id": vocab - 1,
        "text_config": {"vocab_size": vocab, **SIZES},
        "vision_config": VISION,
    }
    torch.manual_seed(SEED)
    made = DiffusionGemmaForBlockDiffusion(DiffusionGemmaConfig.from_dict(told))
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
    made.save_pretrained(folder)
    # What it says is what the engine does without it, and its version.
    (folder / "generation_config.json").unlink()
    (folder / "config.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def losses(holes: GemmaHoles, found: Sequence[Source]) -> Iterator[float]:
    """Whole texts behind a prompt that begins an empty file, then holes; with their gradients."""
    rng, text = random.Random(SEED), holes.text
    empty = holes.sides(InfillRequest(prefix="", suffix="", language_id="python"))
    prompt = torch.tensor([empty.prefix_ids])
    for _ in range(TEXT_STEPS):
        chosen = [
            holes.sides(InfillRequest(prefix="", suffix=rng.choice(found).text)).suffix_ids
            for _ in range(TEXT_BATCH)
        ]
        width = max(map(len, chosen))
        clean = torch.tensor([[*ids, *[text.pad] * (width - len(ids))] for ids in chosen])
        loss = holes.loss_of(prompt, clean, torch.ones(width, dtype=torch.bool))
        loss.backward()  # type: ignore[no-untyped-call]
        yield float(loss.detach())
    stream = gaps(found, SEED)
    for _ in range(HOLE_STEPS):
        yield holes.backward([*islice(stream, HOLE_BATCH)])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.finetuning.gemma_pretraining",
        description=(__doc__ or "").partition("\n")[0],
    )
    parser.add_argument(
        "--out", type=new_folder, default=GEMMA_BASE, help="the checkpoint's folder"
    )
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    write_random(out, write_tokenizer(out, words()))
    config = EngineConfig(model=str(out), threads=1)
    holes = GemmaHoles(config, TOKENS, SEED)
    # Of the two passes, which share them, files have the decoder's names.
    parameters = {
        name.replace("encoder.language_model", "decoder"): each
        for name, each in holes.model.named_parameters()
    }
    matrices = [each for each in parameters.values() if each.dim() > 1]
    others = [each for each in parameters.values() if each.dim() == 1]
    found = repositories.files(repositories.usual, SEED)
    train(matrices, others, TEXT_STEPS + HOLE_STEPS, losses(holes, found))
    stored = load_file(out / "model.safetensors")
    assert parameters.keys() <= stored.keys(), "modules are called as in a checkpoint"
    trained = {name: each.detach().contiguous() for name, each in parameters.items()}
    save_file(stored | trained, out / "model.safetensors", {"format": "pt"})
    alike = repositories.files(repositories.usual, SEED + 1)
    measured = repositories.kept_holes(alike, SEED, CHECKED)
    right = exact(load_engine(config), measured, holes.asked)
    print(f"{right} of {len(measured)} holes exact in other files of the kind that it learned")


if __name__ == "__main__":
    main()
