"""Small random DiffusionGemma checkpoints with a real tokenizer, made on the fly.

The vocabulary has the published layout in small: specials first, 256 byte tokens, merges learned
from a little code, and the image ids at the end. Nothing it says means anything; its shapes,
files, loading path and arithmetic are those of the real model.
"""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

VOCAB = 640
SPECIALS = ("<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>", "<|channel>", "<channel|>")
IMAGES = ("<|image>", "<image|>", "<|image|>")
PAD, EOS, BOS, TURN, TURN_END = 0, 1, 2, 4, 5

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|turn>{{ message['role'] }}\n"
    "{{ message['content'] }}<turn|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn>model\n{% endif %}"
)

CODE = '''
def area(width, height):
    """The area of a rectangle."""
    return width * height


class Point:
    def __init__(self, x, y):
        self.x = x
        self.y = y

    def distance(self, other):
        return ((self.x - other.x) ** 2 + (self.y - other.y) ** 2) ** 0.5


for index, value in enumerate(values):
    if value is None:
        continue
    print(f"{index}: {value}")

function total(items) { return items.reduce((sum, item) => sum + item.price, 0); }
```python
'''


def tokenizer() -> Tokenizer:
    """BPE with byte fallback, spaces as U+2581, as Gemma's is."""
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - len(IMAGES),
        special_tokens=[*SPECIALS, *bytes_],
        show_progress=False,
    )
    trained = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    # Learned per line, or the trainer would see one endless word.
    lines = [line + "\n" for line in CODE.split("\n")] + ["    ", "        ", "\n\n"]
    trained.train_from_iterator(lines * 4, trainer)
    description = json.loads(trained.to_str())
    # The byte tokens are ordinary entries of Gemma's vocabulary, not added ones.
    specials = [t for t in description["added_tokens"] if t["content"] in SPECIALS]
    vocabulary = description["model"]["vocab"]
    at = len(vocabulary)
    for name in IMAGES:
        vocabulary[name] = at
        specials.append({**specials[0], "id": at, "content": name})
        at += 1
    description["added_tokens"] = specials
    made = Tokenizer.from_str(json.dumps(description))
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return made


def config(vocab: int = VOCAB, canvas_length: int = 32, **text: Any) -> Any:
    """A DiffusionGemmaConfig of the published shape in small; `text` overrides its text part."""
    from transformers import DiffusionGemmaConfig, DiffusionGemmaTextConfig
    from transformers.models.gemma4 import Gemma4VisionConfig

    sizes: dict[str, Any] = {
        "vocab_size": vocab,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "global_head_dim": 32,
        "num_global_key_value_heads": 1,
        "num_experts": 8,
        "top_k_experts": 2,
        "moe_intermediate_size": 32,
        "sliding_window": 64,
        "max_position_embeddings": 2048,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "use_bidirectional_attention": "vision",
    }
    vision = Gemma4VisionConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        patch_size=4,
        position_embedding_size=64,
    )
    return DiffusionGemmaConfig(
        text_config=DiffusionGemmaTextConfig(**(sizes | text)),
        vision_config=vision,
        canvas_length=canvas_length,
        boi_token_id=vocab - 3,
        eoi_token_id=vocab - 2,
        image_token_id=vocab - 1,
    )


def model(seed: int = 0, sharpness: float = 40.0, inertia: float = 0.5, **overrides: Any) -> Any:
    """A random DiffusionGemmaForBlockDiffusion that settles.

    Fresh weights give flat logits, of which about one token a step is accepted, and a canvas that
    never comes to rest. `sharpness` multiplies the embedding; `inertia` is how much a layer adds to
    the residual stream, so that at 0 every token stays what it is and at 1 none does.
    Norm weights, scales and layer scalars are randomised too, or an op could ignore them unseen.
    """
    from transformers import DiffusionGemmaForBlockDiffusion

    torch.manual_seed(seed)
    made = DiffusionGemmaForBlockDiffusion(config(**overrides)).eval()
    branches = ("post_attention_layernorm.weight", "post_feedforward_layernorm.weight")
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith(("norm.weight", "scale")) or "layernorm" in name:
                parameter.uniform_(0.7, 1.3)
            if name.endswith(branches):
                parameter.mul_(inertia)
        for part in (made.model.decoder, made.model.encoder.language_model):
            for layer in part.layers:
                layer.layer_scalar.uniform_(0.6, 1.1)
        made.model.decoder.embed_tokens.weight.mul_(sharpness)
        # Beside such an embedding fresh weights are small, and self-conditioning would not matter.
        conditioning = made.model.decoder.self_conditioning
        conditioning.gate_proj.weight.mul_(8)
        conditioning.up_proj.weight.mul_(8)
        conditioning.down_proj.weight.mul_(sharpness / 4)
    return made


def save(folder: Path, seed: int = 0, dtype: torch.dtype = torch.float32, **overrides: Any) -> Path:
    """A complete checkpoint folder: weights, configuration, tokenizer with a chat template."""
    model(seed, **overrides).to(dtype).save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": "<bos>",
                "eos_token": "<eos>",
                "pad_token": "<pad>",
                "unk_token": "<unk>",
                "additional_special_tokens": [*SPECIALS[4:], *IMAGES],
                "chat_template": CHAT_TEMPLATE,
            }
        )
    )
    return folder
