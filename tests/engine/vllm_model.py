"""The small random DiffusionGemma behind `vllm_contract.py`, denoised as vLLM does."""

import json
import threading
from inspect import signature
from pathlib import Path
from typing import Any

import tiny_gemma
import torch
from tokenizers import Tokenizer
from transformers import DiffusionGemmaForBlockDiffusion, DynamicCache
from vllm_rules import CANVAS

STEPS = 4
# Its name from transformers 5.24 on, and the one before.
named = signature(DiffusionGemmaForBlockDiffusion.forward).parameters
CACHE = "cache" if "cache" in named else "past_key_values"
BOUND, T_MIN, T_MAX, CONFIDENCE = 0.1, 0.4, 0.8, 0.005


class Model:
    def __init__(self, folder: Path) -> None:
        if not (folder / "config.json").exists():
            tiny_gemma.save(folder, canvas_length=CANVAS)
        loaded = DiffusionGemmaForBlockDiffusion.from_pretrained(folder)
        self.network = loaded.eval()
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.config = json.loads((folder / "tokenizer.json").read_text())
        self.vocabulary = loaded.config.text_config.vocab_size
        self.lock = threading.Lock()

    @torch.inference_mode()
    def denoise(
        self, prompt: list[int], seed: list[int] | None, pins: list[int], width: int, cap: int, wait
    ):
        """The raw argmax canvas and its log-probabilities at T = 1, [T] and [T, V]."""
        network = self.network
        with self.lock:
            text = network.config.get_text_config(decoder=True)
            cache = DynamicCache(config=text)
            ids = torch.tensor([prompt])
            at = torch.arange(len(prompt))[None]
            encoder = network.model.encoder
            encoder(input_ids=ids, position_ids=at, **{CACHE: cache})
        start = torch.randint(self.vocabulary, (1, width)) if seed is None else torch.tensor([seed])
        pinned = torch.zeros(1, width, dtype=torch.bool)
        pinned[0, pins] = True
        position = len(prompt) + torch.arange(width)[None]
        current, soft, previous = start, None, None
        for step in range(min(cap, STEPS)):
            wait()
            with self.lock:
                logits = network(
                    decoder_input_ids=current,
                    decoder_position_ids=position,
                    self_conditioning_logits=soft,
                    **{CACHE: cache},
                ).logits
            # The cap cuts this schedule, it does not compress it.
            z = logits / (T_MIN + (T_MAX - T_MIN) * (STEPS - step) / STEPS)
            p = z.softmax(-1)
            entropy = torch.special.entr(p).sum(-1)
            best = z.argmax(-1)
            ascending, order = entropy.sort(-1)
            within = ascending.cumsum(-1) - ascending <= BOUND
            accepted = torch.zeros_like(pinned).scatter(-1, order, within)
            drawn = torch.multinomial(p[0], 1).T
            fresh = torch.randint(self.vocabulary, current.shape)
            current = torch.where(pinned, start, torch.where(accepted, drawn, fresh))
            stable = previous is not None and bool((best == previous).all())
            if stable and float(entropy.mean()) < CONFIDENCE:
                break
            previous, soft = best, z
        return best[0].tolist(), logits[0].float().log_softmax(-1)

    @torch.inference_mode()
    def recite(self, script: Any, seed: Any, pins: Any, best: list[int], table: Any) -> None:
        """As a model would that knows the text: it is sure of it, and of nothing else."""
        held = set(pins)
        hole = [at for at in range(len(seed)) if at not in held]
        table[:] = torch.tensor(-9.0)
        for at in pins:
            best[at] = seed[at]
            table[at, seed[at]] = -0.1
        sure = -4.0
        for text, logprob in script.items():
            ids = self.tokenizer.encode(text, add_special_tokens=False).ids
            if len(ids) == len(hole):
                sure = logprob
                for at, token in zip(hole, ids, strict=True):
                    best[at] = token
        for at in hole:
            table[at, best[at]] = sure

    def logprobs(self, best: list[int], table: Any, named: Any, count: int) -> dict[str, Any]:
        tops = []
        for at, token in enumerate(best):
            wanted = named or table[at].topk(count).indices.tolist()
            tops.append(
                {f"token_id:{t}": max(float(table[at, t]), -9999.0) for t in [token, *wanted]}
            )
        return {
            "text_offset": [0] * len(best),
            "token_logprobs": [float(table[at, token]) for at, token in enumerate(best)],
            "tokens": [f"token_id:{token}" for token in best],
            "top_logprobs": tops,
        }
