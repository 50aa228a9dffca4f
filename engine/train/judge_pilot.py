"""Whether it pays to train the judge further, asked by a short run.

    PYTHONPATH=.:engine:kernels python -m train.judge_pilot text --root data --out artifacts/text
    PYTHONPATH=.:engine:kernels python -m train.judge_pilot holes --root data --out artifacts/holes

`text`: as a language model of the corpus under --root (`train.corpus`, up to kept.json). `holes`:
what follows a hole is read first, then what stands before it, then what stood in it is said; holes
are as somebody leaves them who writes. What is trained is said in `judge_tuning`, how long and when
it stops in `pilot`: measured are the corpus' validation packages. At the end OUT is a folder for
`--judge`; run again with another --share, nothing is trained and OUT written anew. The last line is
JSON.
"""

import argparse
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from infill_engine.errors import ModelError
from infill_engine.judge.vocabulary import JudgeVocabulary
from train import pilot
from train.judge import WEIGHTS
from train.judge_examples import (
    Example,
    Text,
    before_only,
    holes,
    suffix_first,
    texts_of,
    windows,
)
from train.judge_nats import llama
from train.judge_tuning import attach, write
from train.pilot import Pilot, Run, Sums

BESIDE = ("judge_tokenizer.json", "judge_calibration.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgePilot(Pilot):
    """`measured` are examples, `tokens` a window's, `batch` the examples of a step."""

    batch: int = 4
    tokens: int = 512
    rate: float = 5e-4
    measured: int = 24


def nats(network: LlamaForCausalLM, example: Example) -> torch.Tensor:
    """Of each token but the first, [n - 1], 0 where its weight is 0."""
    ids, weights = torch.tensor(example.ids), torch.tensor(example.weights[1:])
    hidden = network.model(ids[None, :-1]).last_hidden_state[0]
    at = torch.nonzero(weights)[:, 0]
    said = F.cross_entropy(network.lm_head(hidden[at]), ids[1:][at], reduction="none")
    return torch.zeros(len(weights)).index_add(0, at, said * weights[at])


@torch.inference_mode()
def sums(network: LlamaForCausalLM, examples: Sequence[Example]) -> Sums:
    """Of the tokens that count whole, such as those of a goal."""
    found = []
    for example in examples:
        counted = [float(weight == 1.0) for weight in example.weights]
        whole = Example(name=example.name, ids=example.ids, weights=counted)
        found.append((float(nats(network, whole).sum()), sum(counted)))
    return np.array(found)


class JudgeLearner:
    """The judge, learning from examples that `drawn` gives without end."""

    def __init__(
        self,
        network: LlamaForCausalLM,
        drawn: Callable[[random.Random], Iterator[Example]],
        measured: Sequence[Example],
        config: JudgePilot,
    ) -> None:
        self._network, self._drawn, self._measured = network, drawn, measured
        self._config = config
        self._parameters = attach(network)
        self._optimiser = torch.optim.AdamW(
            self._parameters.values(), lr=config.rate, weight_decay=0.0
        )

    def learn(self, step: int, share: float) -> int:
        config = self._config
        for group in self._optimiser.param_groups:
            group["lr"] = config.rate * share
        drawn = self._drawn(random.Random(f"{config.seed}:{step}"))
        batch = list(islice(drawn, config.batch))
        weight = sum(sum(example.weights) for example in batch)
        for example in batch:
            (nats(self._network, example).sum() / weight).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._parameters.values(), 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        return sum(len(example.ids) for example in batch)

    def measure(self) -> dict[str, Sums]:
        return {"said": sums(self._network, self._measured)}

    def state(self) -> dict[str, Any]:
        parameters = {name: each.detach() for name, each in self._parameters.items()}
        return {"parameters": parameters, "optimiser": self._optimiser.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        self._network.load_state_dict(state["parameters"], strict=False)
        self._optimiser.load_state_dict(state["optimiser"])


def examples_of(
    kind: str, texts: Sequence[Text], vocabulary: JudgeVocabulary, tokens: int
) -> Callable[[random.Random], Iterator[Example]]:
    if kind == "text":
        return lambda draw: windows(texts, vocabulary, tokens, draw)
    return lambda draw: (suffix_first(hole, vocabulary) for hole in holes(texts, draw))


def prefix_only(
    network: LlamaForCausalLM, texts: Sequence[Text], vocabulary: JudgeVocabulary, count: int
) -> Sums:
    """What a judge says of the holes that are measured, reading them as the shipped one does."""
    asked = islice(holes(texts, random.Random("kept")), count)
    return sums(network, [before_only(hole, vocabulary) for hole in asked])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.judge_pilot", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("kind", choices=("text", "holes"))
    parser.add_argument("--root", type=Path, default=Path("data"), help="of the corpus")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--judge", type=Path, default=WEIGHTS, help="the folder of the judge")
    parser.add_argument(
        "--share",
        type=float,
        default=1.0,
        help="of the way from the judge to what was learned, that OUT has gone (1.0)",
    )
    pilot.add_options(parser, JudgePilot())
    options = vars(parser.parse_args(arguments))
    config = pilot.chosen(options, JudgePilot)
    torch.set_num_threads(1)
    vocabulary = JudgeVocabulary(options["judge"] / "judge_tokenizer.json")
    learned, kept = texts_of(options["root"])
    if not learned or not kept:
        raise SystemExit(
            f"{options['root']} holds {len(learned)} files to learn from and {len(kept)} to "
            "measure by, and both are needed; make a corpus with `python -m train.corpus`"
        )
    kind, out = options["kind"], options["out"]
    source = options["judge"] / "judge.safetensors"
    network = llama(source)
    said: dict[str, object] = {"kind": kind, "pilot": asdict(config)}
    if kind == "holes":
        alone = prefix_only(network, kept, vocabulary, config.measured)
    drawn = examples_of(kind, kept, vocabulary, config.tokens)(random.Random("kept"))
    learner = JudgeLearner(
        network,
        examples_of(kind, learned, vocabulary, config.tokens),
        list(islice(drawn, config.measured)),
        config,
    )
    run: Run = pilot.train(learner, out, config)
    if kind == "holes":
        said["prefix only"] = float(alone[:, 0].sum() / alone[:, 1].sum())
        both = run.sums[-1]["said"]
        trained = prefix_only(network, kept, vocabulary, config.measured)
        said["gained over the prefix only"] = pilot.gained(alone, both)
        # What is learned of code in general is no worth of what follows.
        said["of that by the prefix only, trained"] = pilot.gained(alone, trained)
    share = options["share"]
    note = f"{kind}, {run.step} steps, {share:g} of the way"
    write(source, out / "judge.safetensors", network, note, share)
    for name in BESIDE:
        if (options["judge"] / name).exists():
            shutil.copy(options["judge"] / name, out / name)
    print(pilot.as_line(run, **said))


if __name__ == "__main__":
    try:
        main()
    except ModelError as error:
        raise SystemExit(str(error)) from None
