"""Whether a judge that was trained to read what follows a hole first says more of what stood in it.

    PYTHONPATH=.:engine:kernels python -m train.judge_reading FOLDER --trained artifacts/holes

FOLDER holds wheels or loose source files, of packages first released after the judge was trained.
Of the same holes: the shipped judge behind what stands before them, as it reads today, and the one
that `judge_pilot holes` left, behind both sides and, as a control, behind what stands before them
alone. A line is right where every token of its rest is the likeliest one, so that greedy text would
be it; a token across the cursor is not helped by what is typed of it. It ends after --holes holes
or --minutes of this process's own processor time. The last line is JSON.
"""

import argparse
import json
import random
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaForCausalLM

from infill_engine.errors import ModelError
from infill_engine.judge.vocabulary import JudgeVocabulary
from infill_ls.syntax.language import language_id_of
from train.corpus.state import say
from train.judge import WEIGHTS
from train.judge_calibration import texts
from train.judge_examples import (
    LANGUAGES,
    LEAST,
    Example,
    Text,
    before_only,
    holes,
    suffix_first,
)
from train.judge_nats import llama
from train.pilot import Sums, gained

EVERY = 10  # holes, a line of progress


@torch.inference_mode()
def said(
    network: LlamaForCausalLM, example: Example, vocabulary: JudgeVocabulary
) -> tuple[float, int, bool]:
    """Nats and tokens of a hole's goal, and whether the rest of its first line is right."""
    start = example.weights.index(1.0)
    wanted = torch.tensor(example.ids[start:])
    hidden = network.model(torch.tensor(example.ids)[None, :-1]).last_hidden_state[0]
    chances = network.lm_head(hidden[start - 1 :]).log_softmax(-1)
    breaks = [b"\n" in vocabulary.token_bytes[token] for token in wanted.tolist()]
    line = breaks.index(True) if True in breaks else len(breaks)
    right = bool((chances.argmax(-1) == wanted)[:line].all())
    return -float(chances.gather(1, wanted[:, None]).sum()), len(wanted), right


def fresh(folder: Path) -> list[Text]:
    return [
        Text(name=name, text=text)
        for name, text in texts(folder)
        if language_id_of(name).removesuffix("react") in LANGUAGES and len(text) >= LEAST
    ]


def compared(rows: dict[str, list[tuple[float, int, bool]]]) -> dict[str, dict[str, object]]:
    """Of each reading its nats per token, how much less than the first one with its standard error,
    the percentage of lines that are right, and how many the first one has not and alone has."""
    found: dict[str, dict[str, object]] = {}
    first, *_ = rows
    before: Sums = np.array([row[:2] for row in rows[first]])
    right_before = np.array([row[2] for row in rows[first]])
    for name, each in rows.items():
        after, right = np.array([row[:2] for row in each]), np.array([row[2] for row in each])
        gain, error = gained(before, after)
        found[name] = {
            "nats": round(float(after[:, 0].sum() / after[:, 1].sum()), 4),
            "gain": round(gain, 4),
            "error": round(error, 4),
            "right": round(100 * float(right.mean()), 1),
            "won": int((right & ~right_before).sum()),
            "lost": int((right_before & ~right).sum()),
        }
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.judge_reading", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trained", type=Path, required=True, help="the folder of a judge")
    parser.add_argument("--judge", type=Path, default=WEIGHTS, help="the folder of the shipped one")
    parser.add_argument("--holes", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=20.0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    vocabulary = JudgeVocabulary(options.judge / "judge_tokenizer.json")
    shipped = llama(options.judge / "judge.safetensors")
    trained = llama(options.trained / "judge.safetensors")
    readings = {
        "shipped, before only": (shipped, before_only),
        "trained, after first": (trained, suffix_first),
        "trained, before only": (trained, before_only),
    }
    files = fresh(options.folder)
    if not files:
        raise SystemExit(
            f"{options.folder} holds no source file of {LEAST} characters; give wheels"
        )
    rows: dict[str, list[tuple[float, int, bool]]] = {name: [] for name in readings}
    for count, hole in enumerate(islice(holes(files, random.Random("fresh")), options.holes), 1):
        for name, (network, layout) in readings.items():
            rows[name].append(said(network, layout(hole, vocabulary), vocabulary))
        if count % EVERY == 0:
            say(f"{count} holes: {compared(rows)}")
        if time.process_time() > 60 * options.minutes:
            break
    print(json.dumps({"holes": count, "readings": compared(rows)}))


if __name__ == "__main__":
    try:
        main()
    except ModelError as error:
        raise SystemExit(str(error)) from None
