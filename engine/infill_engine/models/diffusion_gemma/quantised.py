"""DiffusionGemma's experts in 8 or 4 bits: as modules, in a checkpoint, and through transformers.

The experts are 90 % of the weights and nearly all of what a step reads; everything else stays as
it is. A quantised checkpoint is an ordinary folder of transformers: its config.json names our
method, its safetensors hold for each expert matrix `NAME` the codes, and `NAME_scale`.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from infill_engine.config import Format
from infill_engine.models.checkpoint import METHOD
from infill_engine.models.diffusion_gemma.checkpoint import EXPERT_MATRICES
from infill_engine.models.finite import not_finite
from infill_engine.models.quantised import quantise, stored_as
from infill_kernels import ExpertWeights, Fp8, Int4, moe
from infill_kernels.formats import GROUP


class QuantisedExperts(nn.Module):
    """Stands in for `DiffusionGemmaTextExperts`, in the encoder and in the decoder alike.

    E experts, D wide outside and F inside; `dtype` is what the model computes in.
    """

    def __init__(
        self, name: Format, experts: int, outside: int, inside: int, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.format: Format = name
        for matrix, rows, inputs in (
            ("gate_up_proj", 2 * inside, outside),
            ("down_proj", outside, inside),
        ):
            if name == "fp8":
                codes = torch.empty(experts, rows, inputs, dtype=torch.float8_e4m3fn)
                scale = torch.empty(experts, rows, 1, dtype=torch.float32)
            else:
                codes = torch.empty(experts, rows, inputs // 2, dtype=torch.uint8)
                scale = torch.empty(experts, inputs // GROUP, rows, dtype=dtype)
            setattr(self, matrix, nn.Parameter(codes, requires_grad=False))
            setattr(self, f"{matrix}_scale", nn.Parameter(scale, requires_grad=False))

    @property
    def gate_up(self) -> ExpertWeights:
        return self._weights("gate_up_proj")

    @property
    def down(self) -> ExpertWeights:
        return self._weights("down_proj")

    def _weights(self, matrix: str) -> Fp8 | Int4:
        codes = getattr(self, matrix).detach()
        scale = getattr(self, f"{matrix}_scale").detach()
        return stored_as(self.format, codes, scale)

    def forward(self, hidden: Tensor, experts: Tensor, weights: Tensor) -> Tensor:
        """hidden [N, D], experts [N, k] int64, weights [N, k] float32 -> [N, D]."""
        return moe(hidden, experts, weights, self.gate_up, self.down)


def quantise_model(
    model: Any, name: Format, device: torch.device, *, progress: Callable[[float], None]
) -> None:
    """Quantises the experts of a loaded model in place, a layer at a time on `device`."""
    encoder, decoder = model.model.encoder.language_model.layers, model.model.decoder.layers
    for at, (encode, decode) in enumerate(zip(encoder, decoder, strict=True)):
        made = _empty(name, decode.experts)
        for matrix in EXPERT_MATRICES:
            found, error = quantise(getattr(decode.experts, matrix).detach(), name, device)
            if not math.isfinite(error):
                key = f"model.decoder.layers.{at}.experts.{matrix}"
                raise not_finite(key, model.config.name_or_path)
            setattr(made, matrix, nn.Parameter(found.codes, requires_grad=False))
            setattr(made, f"{matrix}_scale", nn.Parameter(found.scale, requires_grad=False))
        encode.experts = decode.experts = made
        progress((at + 1) / len(decoder))


def _empty(name: Format, experts: Any) -> QuantisedExperts:
    count, rows, outside = experts.gate_up_proj.shape
    with torch.device("meta"):
        return QuantisedExperts(name, count, outside, rows // 2, experts.gate_up_proj.dtype)


@cache
def teach_transformers() -> None:
    """Lets `from_pretrained` read our quantised checkpoints."""
    from transformers.quantizers.auto import register_quantization_config, register_quantizer
    from transformers.quantizers.base import HfQuantizer
    from transformers.utils.quantization_config import QuantizationConfigMixin

    @register_quantization_config(METHOD)
    class InfillConfig(QuantizationConfigMixin):
        def __init__(self, format: Format = "int4", **_: Any) -> None:
            self.quant_method: Any = METHOD
            self.format: Format = format

    @register_quantizer(METHOD)
    class InfillQuantizer(HfQuantizer):
        quantization_config: InfillConfig

        def _process_model_before_weight_loading(self, model: Any, **_: Any) -> None:
            # The experts of the two passes become one module when they are loaded, instead of
            # parameters tied by names that transformers knows.
            for key in [key for key in model.all_tied_weights_keys if ".experts." in key]:
                del model.all_tied_weights_keys[key]
            encoder = model.model.encoder.language_model.layers
            for encode, decode in zip(encoder, model.model.decoder.layers, strict=True):
                decode.experts = _empty(self.quantization_config.format, decode.experts)
                encode.experts = nn.Module()

        def _process_model_after_weight_loading(self, model: Any, **_: Any) -> Any:
            encoder = model.model.encoder.language_model.layers
            for encode, decode in zip(encoder, model.model.decoder.layers, strict=True):
                encode.experts = decode.experts
            return model

        def is_serializable(self) -> bool:
            return False

        @property
        def is_trainable(self) -> bool:
            return False
