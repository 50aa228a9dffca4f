"""The network's inference in plain torch: the reference of what is compiled, and its stand-in.

It takes and gives numpy's arrays. Shapes: B rows, n tokens, D width, K key/value heads, G queries
of each, E head width, L layers, V vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from infill_engine.models.two_sided.config import MATRICES, Precision, TwoSidedConfig
from infill_engine.models.two_sided.inference import Computing, InferenceNetwork
from infill_engine.models.two_sided.layers import Weight, mlp, norm, product, project, rotate
from infill_engine.models.two_sided.network import TwoSidedNetwork
from infill_engine.models.two_sided.ngram_table import NgramTable
from infill_engine.models.two_sided.packed import GRAIN, pack
from infill_kernels.heads import Likeliest, Statistics
from infill_kernels.rows import RowStatistics
from infill_kernels.wavefront import always

Array = NDArray[Any]


def in_torch(
    config: TwoSidedConfig,
    weights: Mapping[str, Array],
    precision: Precision | None,
    *,
    table: NgramTable | None = None,
    device: str = "cpu",
    threads: int | None = None,
    reason: str = "",
) -> InferenceNetwork:
    """The network, computed by torch, for a reason. Without a precision it is that of the weights;
    with a number of threads, torch is set to it."""
    if threads is not None:
        torch.set_num_threads(threads)

    def packed(weight: Array) -> Weight:
        tensor = torch.from_numpy(np.require(weight, requirements="W")).to(device)
        return tensor if precision is None else pack(tensor, precision)

    blocks = [
        [packed(weights[f"blocks.{layer}.{name}"]) for name in MATRICES]
        for layer in range(config.num_layers)
    ]
    rounds = precision == "bfloat16"
    floats = np.promote_types(weights["stream"].dtype, np.float32)
    computing = Computing(
        blocks=PlainBlocks(blocks, config.split, device, GRAIN if rounds else 1),
        head=PlainHead(packed(weights["embed"]), device),
        multiply=lambda weight: PlainProduct(packed(weight), device),
        cached=np.dtype(np.uint16) if rounds else floats,
        kept_in=precision or str(floats),
        kernels=f"plain torch: {reason}" if reason else "plain torch",
        device=device,
        threads=torch.get_num_threads(),
    )
    return InferenceNetwork(config, weights, computing, table)


def of_module(network: TwoSidedNetwork) -> InferenceNetwork:
    """What is trained, as it is now: whoever changes its weights asks for another one."""
    exact = network.dtype == torch.float64
    weights = {
        name: weight.to("cpu", torch.float64 if exact else torch.float32).numpy()
        for name, weight in network.state_dict().items()
    }
    device = str(network.device)
    return in_torch(network.config, weights, None, table=network.table, device=device)


class PlainProduct:
    """As `infill_kernels.heads.Matrix`."""

    def __init__(self, weight: Weight, device: str) -> None:
        self._weight, self._device = weight, device

    @torch.inference_mode()
    def __call__(self, x: Array) -> Array:
        found: Array = product(_tensor(x).to(self._device), self._weight).cpu().numpy()
        return found


class PlainHead:
    """As `infill_kernels.heads.Head`."""

    def __init__(self, weight: Weight, device: str) -> None:
        self.matrix = PlainProduct(weight, device)

    def bias(self, forbidden: NDArray[np.bool_]) -> Array:
        return np.where(forbidden, np.float32(-1e30), np.float32(0))

    @torch.inference_mode()
    def __call__(
        self, x: Array, *, bias: Array | None = None, chosen: NDArray[Any] | None = None
    ) -> Statistics:
        logits = self._logits(x, bias)
        most, best = logits.max(-1)
        total = logits.logsumexp(-1)
        share = (logits - total[:, None]).exp_()
        # What has no share is so small that it would be no number, times 0.
        entropy = total - (share * logits).sum(-1)
        asked = torch.zeros_like(most)
        if chosen is not None:
            asked = logits.gather(-1, torch.from_numpy(chosen)[:, None])[:, 0]
        return Statistics(
            best.int().numpy(), *(each.numpy() for each in (most, total, entropy, asked))
        )

    @torch.inference_mode()
    def likeliest(self, x: Array, count: int, *, bias: Array | None = None) -> Likeliest:
        logits = self._logits(x, bias)
        most, best = logits.topk(count)
        return Likeliest(best.int().numpy(), most.numpy(), logits.logsumexp(-1).numpy())

    def _logits(self, x: Array, bias: Array | None) -> Tensor:
        logits = _tensor(self.matrix(x))
        return logits if bias is None else logits + _tensor(bias)


class PlainBlocks:
    """As `infill_kernels.blocks.Blocks`, with caches of any float type; the only gain is `final`.

    oneDNN compiles for each size of bfloat16 (see `packed.up_to_grain`), so `grain` bounds how many
    there are: of tokens it is a multiple, and of keys of 4 times that.
    """

    def __init__(
        self,
        blocks: Sequence[Sequence[Weight]],
        split: tuple[int, int, int],
        device: str = "cpu",
        grain: int = 1,
        *,
        normed: bool = True,
        epsilon: float = 1e-6,
        final: Array | None = None,
    ) -> None:
        self._blocks, self._split = blocks, split
        self._device, self._grain = device, grain
        self._normed, self._epsilon, self._final = normed, epsilon, final

    @torch.inference_mode()
    def __call__(
        self,
        x: Array,
        cos: Array,
        sin: Array,
        keys: Array,
        values: Array,
        at: int,
        seen: int,
        shared: tuple[Array, Array] | None = None,
        parents: NDArray[np.int32] | None = None,
        going: Callable[[], bool] = always,  # and all is read at once
    ) -> Array:
        (B, n, _), (K, parts, E) = x.shape, self._split
        G = parts - 2
        seen_own, depths = visibility(n, at, seen, parents)
        own = seen_own.shape[1]
        common = [] if shared is None else [_tensor(part) for part in shared]
        before = common[0].shape[2] if common else 0
        # What is padding sees all that the last token sees, for nothing would give no number.
        more = -n % self._grain, -(before + own) % (4 * self._grain) if self._grain > 1 else 0
        visible = np.pad(seen_own, ((0, 0), (before, 0)), constant_values=True)
        visible = np.pad(np.pad(visible, ((0, 0), (0, more[1]))), ((0, more[0]), (0, 0)), "edge")
        mask = None if visible.all() else self._placed(visible).repeat(G, 1)
        state, cosine, sine = (
            F.pad(self._placed(each), (0, 0, 0, more[0])) for each in (x, cos[depths], sin[depths])
        )
        caches = _tensor(keys), _tensor(values)

        def read(layer: int, number: int, new: Tensor) -> Tensor:
            """Puts the tokens' keys or values into their cache; what is seen of it [B, K, N, E]."""
            cache = caches[number][layer]
            cache[:, :, at : at + n] = new[:, :n].transpose(1, 2)
            whole = cache[:, :, :own]
            if common:
                whole = torch.cat((common[number][layer].expand(B, -1, -1, -1), whole), 2)
            return F.pad(whole, (0, 0, 0, more[1])).to(self._device)

        for layer, block in enumerate(self._blocks):
            q, k, v = project(
                state,
                block[0],
                cosine,
                sine,
                self._split,
                normed=self._normed,
                epsilon=self._epsilon,
            )
            near, far = read(layer, 0, k), read(layer, 1, v)
            # The query group is folded into the query axis, so that keys are never repeated.
            folded = q.permute(0, 2, 3, 1, 4).reshape(B, K, -1, E).to(near.dtype)
            attended = F.scaled_dot_product_attention(folded, near, far, mask)
            attended = attended.view(B, K, G, -1, E).permute(0, 3, 1, 2, 4).flatten(2)
            state = mlp(state, attended.to(state.dtype), *block[1:], epsilon=self._epsilon)
        found: Array = norm(state, self._epsilon)[:, :n].cpu().numpy()
        return found if self._final is None else found * self._final

    def steps(
        self,
        head: PlainHead,
        biases: Array,
        cos: Array,
        sin: Array,
        keys: Array,
        values: Array,
        shared: tuple[Array, Array],
    ) -> "PlainSteps":
        return PlainSteps(self, head, biases, (cos, sin), (keys, values), shared)

    @torch.inference_mode()
    def turn(self, keys: Array, cos: Array, sin: Array, to: Array) -> None:
        _tensor(to).copy_(rotate(_tensor(keys), _tensor(cos), _tensor(sin)))

    def _placed(self, x: Array) -> Tensor:
        return torch.from_numpy(x).to(self._device)


@dataclass(frozen=True, slots=True)
class PlainSteps:
    """As `infill_kernels.blocks.Steps`."""

    blocks: PlainBlocks
    head: PlainHead
    biases: Array
    angles: tuple[Array, Array]
    own: tuple[Array, Array]
    shared: tuple[Array, Array]

    def cells(
        self, at: NDArray[Any], which: NDArray[Any], places: NDArray[Any]
    ) -> tuple[NDArray[Any], ...]:
        return at, which, places

    def __call__(self, x: Array, cells: tuple[NDArray[Any], ...], told: RowStatistics) -> None:
        at, which, places = cells
        states = norm(_tensor(x)).numpy()
        keys, values = (each[:, : len(x)] for each in self.own)
        hidden = self.blocks(states, *self.angles, keys, values, 0, x.shape[1], self.shared)
        said = self.head(hidden.reshape(-1, x.shape[-1])[at], bias=self.biases[which])
        for whole, part in (
            (told.best, said.best),
            (told.entropy, said.entropy),
            (told.confidence, np.exp(said.most - said.total)),
        ):
            whole.reshape(-1)[places] = part


def visibility(
    n: int, at: int, seen: int, parents: NDArray[np.int32] | None
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which places [n, N] each of n tokens from `at` on sees in its own row, and where it stands
    among the angles [n]: in the order of what is read now or, in a tree, as deep as it is."""
    own = np.arange(n)
    if parents is None:
        ends = np.full(n, seen) if seen else at + 1 + own
        return np.arange(max(seen, at + n)) < ends[:, None], own
    mask = np.eye(at + n, dtype=np.bool_)
    for token, parent in enumerate(parents.tolist()):
        if parent >= 0:
            mask[token] |= mask[parent]
    return mask[at:], mask[at:].sum(1) - 1


def _tensor(x: Array) -> Tensor:
    """The same memory; of uint16 bfloat16."""
    if x.dtype == np.uint16:
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(x)
