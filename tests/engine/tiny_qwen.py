"""Small random masked Qwen2 checkpoints in the two shapes that are published, made on the fly.

DreamOn's has a class of its own in config.json, vocabulary and merges in two files, and tokens that
make holes longer and shorter; Open-dCoder's is an ordinary Qwen2 with a mask among its tokens.
Nothing they say means anything; shapes, files, loading and arithmetic are those of the real ones.
"""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from tests.engine.tiny_gemma import CODE

LEARNED = 400  # tokens of text; what is added stands behind them, and rows without a token last
EOS, FIM, BOS, MASK, EXPAND = range(LEARNED, LEARNED + 5)
VOCAB = 448
ADDED = {
    "<|endoftext|>": EOS,
    "<|fim_prefix|>": FIM,
    "<|beginoftext|>": BOS,
    "<|mask|>": MASK,
    "<|expand|>": EXPAND,
}


def tokenizer() -> Tokenizer:
    """Byte-level BPE, cut as Qwen2 cuts."""
    from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

    from infill_engine.models.masked_qwen2.text import SPLIT

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=LEARNED,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([CODE] * 4, trainer)
    assert made.get_vocab_size() == LEARNED
    return made


def model(seed: int = 0, sharpness: float = 6.0, **overrides: Any) -> Any:
    """A random Qwen2ForCausalLM of the published shape in small, which is sure of some tokens.

    Norms and biases are randomised too, or one of them could be left out unseen; the rows of the
    head that make holes longer and shorter are larger, so that they are said now and then.
    """
    from transformers import Qwen2Config, Qwen2ForCausalLM

    sizes: dict[str, Any] = {
        "vocab_size": VOCAB,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "rope_theta": 1e6,
        "tie_word_embeddings": False,
        "initializer_range": 0.1,
    }
    torch.manual_seed(seed)
    made = Qwen2ForCausalLM(Qwen2Config(**(sizes | overrides))).eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.7, 1.3)
            elif name.endswith("bias"):
                parameter.uniform_(-0.5, 0.5)
        made.lm_head.weight.mul_(sharpness)
        if not made.config.tie_word_embeddings:
            made.lm_head.weight[[EOS, EXPAND]] *= 4
    return made


def save_dreamon(folder: Path, dtype: torch.dtype = torch.float32, **model_: Any) -> Path:
    """As `Dream-org/DreamOn-v0-7B` is laid out."""
    model(**model_).to(dtype).save_pretrained(folder)
    path = folder / "config.json"
    told = json.loads(path.read_text())
    told |= {
        "model_type": "Dream",
        "architectures": ["DreamModel"],
        "auto_map": {"AutoConfig": "configuration_dream.DreamConfig"},
        "mask_token_id": MASK,
    }
    path.write_text(json.dumps(told))
    made = json.loads(tokenizer().to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(made["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in made["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "DreamTokenizer",
                "bos_token": "<|beginoftext|>",
                "eos_token": "<|endoftext|>",
                "mask_token": "<|mask|>",
                "added_tokens_decoder": {
                    str(at): {"content": name, "special": name != "<|fim_prefix|>"}
                    for name, at in ADDED.items()
                },
            }
        )
    )
    return folder


def save_open_dcoder(folder: Path, dtype: torch.dtype = torch.float32, **model_: Any) -> Path:
    """As `fredzzp/open-dcoder-0.5B` is laid out: one table of tokens, and a tokenizer.json."""
    model(**({"tie_word_embeddings": True, "sharpness": 8.0} | model_)).to(dtype).save_pretrained(
        folder
    )
    made = json.loads(tokenizer().to_str())
    names = {name: at for name, at in ADDED.items() if at <= MASK and at != BOS}
    made["added_tokens"] = [
        {
            "id": at,
            "content": name,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": name != "<|fim_prefix|>",
        }
        for name, at in names.items()
    ]
    (folder / "tokenizer.json").write_text(json.dumps(made))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": "<|endoftext|>", "mask_token": "<|mask|>", "bos_token": None})
    )
    return folder
