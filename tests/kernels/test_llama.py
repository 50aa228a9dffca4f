"""The blocks and the head are a Llama's too: against transformers', with weights of 4 bits."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import LlamaConfig, LlamaForCausalLM

from infill_kernels import q4
from infill_kernels.blocks import Blocks, Shape, depth
from infill_kernels.heads import Head, Matrix
from infill_kernels.native import native

WIDTH, FF, LAYERS, KV, GROUP, HEAD, VOCABULARY = 192, 256, 3, 1, 3, 64, 320
BASE, EPSILON = 1e5, 1e-5
# Rows are rounded to 8 bits in groups of 32 before each product.
ROUNDING = 0.05


@pytest.fixture(scope="module")
def llama() -> LlamaForCausalLM:
    """Random, and of weights that 4 bits hold exactly."""
    if native()[0] is None:
        pytest.skip(native()[1])
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=WIDTH,
        intermediate_size=FF,
        num_hidden_layers=LAYERS,
        num_attention_heads=KV * GROUP,
        num_key_value_heads=KV,
        vocab_size=VOCABULARY,
        rope_theta=BASE,
        rms_norm_eps=EPSILON,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).eval().float()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.copy_(1 + 0.3 * torch.randn_like(weight))
            else:
                random = torch.randn_like(weight) * weight.shape[-1] ** -0.5
                panels = q4.quantise(random.numpy())
                weight.copy_(torch.from_numpy(q4.dequantise(panels, len(weight))))
    return model


def ours(model: LlamaForCausalLM) -> tuple[Blocks, Head]:
    state = {name: weight.numpy() for name, weight in model.state_dict().items()}

    def matrix(*names: str) -> Matrix:
        weight = np.concatenate([state[name] for name in names])
        return Matrix.of_panels(q4.quantise(weight), len(weight))

    layers, gains = [], []
    for layer in range(LAYERS):
        name = f"model.layers.{layer}."
        heads = [f"{name}self_attn.{part}_proj.weight" for part in "qkv"]
        mlp = [f"{name}mlp.{part}_proj.weight" for part in ("gate", "up")]
        rest = matrix(f"{name}self_attn.o_proj.weight"), matrix(f"{name}mlp.down_proj.weight")
        layers.append([matrix(*heads), rest[0], matrix(*mlp), rest[1]])
        norms = ("input_layernorm", "post_attention_layernorm")
        gains.append([state[f"{name}{norm}.weight"].copy() for norm in norms])
    shape = Shape(kv=KV, group=GROUP, head=HEAD, normed=False, epsilon=EPSILON)
    blocks = Blocks(layers, shape, gains, state["model.norm.weight"].copy())
    return blocks, Head(matrix("model.embed_tokens.weight"))


def angles(count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    turns = np.arange(count)[:, None] * BASE ** (-np.arange(0, HEAD, 2) / HEAD)
    return np.cos(turns).astype(np.float32), np.sin(turns).astype(np.float32)


def expected(model: LlamaForCausalLM, ids: list[int]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0].numpy()


def far(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def test_a_text_in_pieces_and_a_tree_behind_it_are_what_transformers_says(
    llama: LlamaForCausalLM,
) -> None:
    blocks, head = ours(llama)
    generator = np.random.default_rng(0)
    ids = generator.integers(0, VOCABULARY, 60).tolist()
    cos, sin = angles(128)
    keys, values = (np.zeros((LAYERS, 1, KV, 64, HEAD), np.uint16) for _ in range(2))
    states = head.matrix.rows(np.array(ids))[None]

    first = blocks(states[:, :41], cos[:41], sin[:41], keys, values, 0, 0)
    rest = blocks(states[:, 41:], cos[41:60], sin[41:60], keys, values, 41, 0)

    wanted = expected(llama, ids)
    assert far(head.matrix(np.concatenate((first, rest), 1)[0]), wanted) < ROUNDING

    shared = keys[:, 0, :, :50], values[:, 0, :, :50]
    parents = np.array([-1, *(generator.integers(-1, i) for i in range(1, 29))], np.int32)
    tree, deep = generator.integers(0, VOCABULARY, len(parents)), depth(parents)
    own = [np.zeros((LAYERS, 1, KV, len(tree), HEAD), np.uint16) for _ in range(2)]
    turned = cos[50 : 50 + deep], sin[50 : 50 + deep]
    found = blocks(head.matrix.rows(tree)[None], *turned, *own, 0, 0, shared, parents)[0]

    for node in range(len(tree)):
        path, above = [int(tree[node])], int(parents[node])
        while above >= 0:
            path.insert(0, int(tree[above]))
            above = int(parents[above])
        wanted = expected(llama, [*ids[:50], *path])[-1]
        assert far(head.matrix(found[node : node + 1])[0], wanted) < ROUNDING
