"""Whether it pays to train the canvas model further, and two changes, asked by short runs.

    PYTHONPATH=engine:kernels python -m train.canvas_pilot --data data/shards --out artifacts/as-is
    PYTHONPATH=engine:kernels python -m train.canvas_pilot --data data/shards --out artifacts/new \
        --least-masked 0.1 --bigrams 0.03

They go on from the shipped weights. --least-masked: no canvas is drawn that has a smaller share of
its cells masked, pins and wrong cells apart. --bigrams: a vector of the last two tokens read is
added to what each layer gives out on the two streams, the same one at each, scaled for each; it
learns at that rate. Both runs read the same rows and holes. How long, and when a run stops, is said
in `pilot`; measured is val.npz. What a run learned stays in OUT/state.pt, for the engine knows no
such vectors. The last line is JSON.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infill_engine.models.two_sided.layers import mlp
from infill_engine.models.two_sided.loading import WEIGHTS
from infill_engine.models.two_sided.network import TwoSidedNetwork, load_network
from infill_engine.models.two_sided.training_pass import TrainingOps, reversal
from train import pilot
from train.batches import BatchShape, batch, tensors
from train.config import TrainConfig, shards_folder
from train.loader import shards_of
from train.objective import Losses, losses
from train.optimisers import optimisers
from train.pilot import Pilot, Sums
from train.validation import masked
from train.windows import ShardSet

BUCKETS = 16_381  # of pairs of tokens in each direction: a prime, so that pairs spread
STREAM_WEIGHT = 0.3  # of each, what a whole run ends with
MEASURED = BatchShape(row=512, canvas=32, share=1.0)
MASKED = {"canvas, nothing visible": 1.0, "canvas, half visible": 0.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class CanvasPilot(Pilot):
    """`tokens` are a step's and `measured` rows; `bigrams` is their rate, 0 is without them."""

    minutes: float = 10.0
    every: float = 2.5
    tokens: int = 2048
    muon_lr: float = 0.004
    adam_lr: float = 6e-4
    least_masked: float = 0.0
    bigrams: float = 0.0
    measured: int = 16


class Bigrams(nn.Module):
    """Vectors of pairs of tokens, by hash: those that are read forward, then those backward."""

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(2 * BUCKETS, width))
        self.scale = nn.Parameter(torch.ones(layers))

    def forward(self, rows: Tensor, lengths: Tensor, vocab_size: int) -> Tensor:
        """rows [B, N] -> [2 * B * N, D], of the prefix's stream and of the suffix's."""
        backward = rows.gather(1, reversal(lengths, rows.shape[1])[0])
        found = []
        for ids in (rows, backward):
            before = F.pad(ids, (1, 0))[:, :-1]
            found.append((before * vocab_size + ids) % BUCKETS + BUCKETS * len(found))
        return F.embedding(torch.cat(found).flatten(), self.table)


def ops_with(
    bigrams: Bigrams | None, network: TwoSidedNetwork, data: Mapping[str, Tensor]
) -> TrainingOps:
    """The parts of a pass over a batch, of which each layer's last one adds the bigrams."""
    if bigrams is None:
        return TrainingOps()
    added = bigrams(data["rows"], data["lengths"], network.config.vocab_size)
    scales = {id(block.down): bigrams.scale[at] for at, block in enumerate(network.layers)}

    def with_bigrams(x: Tensor, attended: Tensor, out: Tensor, up: Tensor, down: Tensor) -> Tensor:
        streams, canvases = mlp(x, attended, out, up, down).split((len(added), len(x) - len(added)))
        return torch.cat((streams + scales[id(down)] * added, canvases))

    return TrainingOps(mlp=with_bigrams)


class CanvasLearner:
    """The canvas model, learning from shards in batches of some shapes."""

    def __init__(
        self,
        network: TwoSidedNetwork,
        learned: ShardSet,
        held_out: ShardSet,
        config: CanvasPilot,
        *,
        shapes: Sequence[BatchShape] = TrainConfig().shapes,
        measured_in: BatchShape = MEASURED,
    ) -> None:
        self._network, self._shards, self._config = network.requires_grad_(True), learned, config
        self._shapes = shapes
        self._bigrams: Bigrams | None = None
        rates = TrainConfig(muon_lr=config.muon_lr, adam_lr=config.adam_lr)
        self._optimisers = optimisers(network, rates)
        if config.bigrams:
            self._bigrams = Bigrams(network.config.num_layers, network.config.d_model)
            own = torch.optim.AdamW(
                self._bigrams.parameters(), config.bigrams, betas=(0.9, 0.95), weight_decay=0.0
            )
            self._optimisers.append(own)
        self._rates = [each.param_groups[0]["lr"] for each in self._optimisers]
        rng = np.random.default_rng(1234)
        drawn = [
            batch(
                held_out,
                rng,
                tokens=measured_in.row,
                shape=measured_in,
                vocab_size=network.config.vocab_size,
            )
            for _ in range(config.measured)
        ]
        self._measured = {
            name: [tensors(masked(each, share)) for each in drawn] for name, share in MASKED.items()
        }

    @property
    def _modules(self) -> list[nn.Module]:
        return [self._network, *([self._bigrams] if self._bigrams else [])]

    def _losses(self, data: Mapping[str, Tensor]) -> Losses:
        return losses(
            self._network,
            data,
            stream_weight=STREAM_WEIGHT,
            dtype=torch.float32,
            ops=ops_with(self._bigrams, self._network, data),
        )

    def learn(self, step: int, share: float) -> int:
        config = self._config
        rng = np.random.default_rng((config.seed, step))
        shares = np.array([shape.share for shape in self._shapes])
        data = batch(
            self._shards,
            rng,
            tokens=config.tokens,
            shape=self._shapes[rng.choice(len(shares), p=shares / shares.sum())],
            vocab_size=self._network.config.vocab_size,
            least_masked=config.least_masked,
        )
        self._losses(tensors(data)).total.backward()  # type: ignore[no-untyped-call]
        for module in self._modules:
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        for optimiser, rate in zip(self._optimisers, self._rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * share
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return int(data.lengths.sum())

    @torch.no_grad()
    def measure(self) -> dict[str, Sums]:
        found: dict[str, list[tuple[float, float]]] = {}
        for name, batches in self._measured.items():
            for data in batches:
                parts = self._losses(data).parts
                weight = float(data["weight"].sum())
                found.setdefault(name, []).append((float(parts["canvas"]) * weight, weight))
                if MASKED[name] == 1.0:  # the streams see no canvas
                    known = float((data["lengths"] - 1).sum())
                    for stream in ("prefix", "suffix"):
                        row = (float(parts[stream]) * known, known)
                        found.setdefault(stream, []).append(row)
        return {name: np.array(rows) for name, rows in found.items()}

    def state(self) -> dict[str, Any]:
        return {
            "modules": [each.state_dict() for each in self._modules],
            "optimisers": [each.state_dict() for each in self._optimisers],
        }

    def load(self, state: dict[str, Any]) -> None:
        for module, saved in zip(self._modules, state["modules"], strict=True):
            module.load_state_dict(saved)
        for optimiser, saved in zip(self._optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)


def sets(folder: Path, network: TwoSidedNetwork) -> tuple[ShardSet, ShardSet]:
    """The shards to learn from and those to measure by, with the table in the network's weights."""
    without = replace(network.config, ngram_table=False)
    learned, held_out = shards_of(folder, without), shards_of(folder, without, "val.npz")
    if not learned.shards or not held_out.shards:
        raise SystemExit(
            f"{folder} holds no train-*.npz, or no val.npz, and both are needed; make them with "
            "`python -m train.corpus`"
        )
    learned.table = held_out.table = network.table
    return learned, held_out


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.canvas_pilot", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--data", type=shards_folder, default="data/shards")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=WEIGHTS / "default.safetensors")
    pilot.add_options(parser, CanvasPilot())
    options = vars(parser.parse_args(arguments))
    config = pilot.chosen(options, CanvasPilot)
    torch.set_num_threads(1)
    network = load_network(options["weights"])
    learner = CanvasLearner(network, *sets(options["data"], network), config)
    run = pilot.train(learner, options["out"], config)
    print(pilot.as_line(run, pilot=asdict(config)))


if __name__ == "__main__":
    main()
