"""bitsandbytes' LLM.int8(): one float32 scale per row.

A layer of `out` x `in` = n elements takes n + 4 · out bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import bitsandbytes as bnb
import torch
from bitsandbytes import MatmulLtState
from bitsandbytes.functional import has_avx512bf16
from bitsandbytes.nn import Linear8bitLt
from torch import nn
from transformers import BitsAndBytesConfig
from transformers.integrations.bitsandbytes import dequantize_bnb_weight

from qplayground.core.dtype import Dtype
from qplayground.core.inside import QuantizationParams
from qplayground.core.memory.estimate import WeightKinds
from qplayground.core.quantizers.bitsandbytes_int8 import Int8
from qplayground.engines.transformers.machine import allocator
from qplayground.engines.transformers.quantizers.base import HeldPart
from qplayground.engines.transformers.quantizers.bitsandbytes import BitsandbytesBackend, LinearCodec, check
from qplayground.engines.transformers.quantizers.codec import Codec, RowCodec, Stored

_LARGEST = 127
_SCALES = "SCB"
_GAPS = 8.0
"""`heap_factor` while temporary tensors are smaller than what the heap gives back at once.

Measured at 6 to 9: such tensors leave gaps that do not fit the next ones.
"""
_SCRATCH_BYTES = 12
"""Bytes per output: the int8 product takes 32 bits, and scaling it takes two float32 copies."""


class Int8Backend(BitsandbytesBackend[Int8]):
    """Linear8bitLt, made by transformers."""

    expected_error = 0.0070
    quantizing_bytes = 12

    def config(self, skips: Sequence[str], *, offloads: bool) -> BitsAndBytesConfig:
        return BitsAndBytesConfig(
            load_in_8bit=True,
            llm_int8_threshold=self.options.threshold,
            llm_int8_skip_modules=list(skips) or None,
            llm_int8_enable_fp32_cpu_offload=offloads,
        )

    def predicted(self, rows: int, elements: int, *, repacks: bool) -> WeightKinds:
        return WeightKinds(quantized=elements, scales=4 * rows)

    def layer(self, weight: torch.Tensor) -> nn.Module:
        rows, columns = weight.shape
        made: nn.Module = Linear8bitLt(
            columns, rows, bias=False, has_fp16_weights=False, threshold=self.options.threshold
        )
        made.weight = bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
        return made

    def round_trip(self, weight: torch.Tensor, device: torch.device) -> torch.Tensor:
        rows, scales, _ = bnb.functional.int8_vectorwise_quant(weight.to(device, torch.float16))
        return torch.as_tensor(bnb.functional.int8_vectorwise_dequant(rows, scales))

    @staticmethod
    def owns(module: nn.Module) -> bool:
        return isinstance(module, Linear8bitLt)

    @staticmethod
    def parts(module: Any) -> Iterator[HeldPart]:
        """The first forward moves codes and scales to the layer's state."""
        state = module.state
        yield HeldPart("weight", module.weight, is_code=True)
        for owner in (vars(module.weight), vars(state)):
            if owner.get("CB") is not None:
                yield HeldPart("CB", owner["CB"], is_code=True)
            if owner.get("SCB") is not None:
                yield HeldPart("SCB", owner["SCB"], is_scale=True)

    @staticmethod
    def leading_rows(module: Any, rows: int) -> torch.Tensor:
        """A row is its codes times its scale / 127."""
        weight, state = module.weight, module.state
        codes: torch.Tensor = weight.CB if weight.CB is not None else state.CB
        scales: torch.Tensor = weight.SCB if weight.SCB is not None else state.SCB
        return codes[:rows].cpu().float() * scales[:rows].cpu().view(-1, 1) / _LARGEST

    @staticmethod
    def dequantized(module: Any) -> torch.Tensor:
        return torch.as_tensor(dequantize_bnb_weight(module.weight, module.state))

    @staticmethod
    def codec(params: QuantizationParams, columns: int) -> Codec:
        return LinearCodec(params) if params.kind.has_blocks else Int8Codec(params, columns)

    @staticmethod
    def stored_as(tensor: str) -> str:
        return "int8" if tensor.rpartition(".")[2] == _SCALES else ""

    @staticmethod
    def read(parts: Mapping[str, torch.Tensor], dtype: Dtype | None) -> Stored:
        codes, absmax = parts["weight"], parts[_SCALES].float().view(-1)
        rows, columns = codes.shape
        check(codes.dtype is torch.int8 and absmax.numel() == rows and min(rows, columns) > 0, f"{codes.shape}")
        codec = Int8Codec(QuantizationParams(method="int8", block_size=None, dtype=dtype or Dtype.FLOAT16), columns)
        return Stored(codec, rows, columns, codes.view(-1), codec.scales(absmax))

    @staticmethod
    def split_product(
        codes: torch.Tensor, absmax: torch.Tensor, inputs: torch.Tensor, threshold: float, bias: torch.Tensor | None
    ) -> tuple[torch.Tensor, int]:
        """bitsandbytes' own product. It computes columns that reach the threshold anywhere separately."""
        state = MatmulLtState()
        state.CB, state.SCB = codes, absmax
        state.threshold = threshold
        state.has_fp16_weights = state.is_training = False
        output = bnb.matmul(inputs, codes, state=state, bias=bias)
        return torch.as_tensor(output), 0 if state.idx is None else state.idx.numel()

    def scratch_bytes(self, tokens: int, widest: int) -> int:
        return tokens * widest * _SCRATCH_BYTES

    def gaps_factor(self, tokens: int, widest: int) -> float:
        return _GAPS if tokens * widest * 4 < allocator.KEPT_BYTES else self.heap_factor

    def unfused_itemsize(self, dtype: Dtype) -> int:
        """Without AVX-512, products are computed in float32."""
        fused = has_avx512bf16() or torch.backends.cpu.get_cpu_capability() == "AVX512"
        return 0 if fused else 4


class Int8Codec(RowCodec):
    """Scales each row by its largest weight, after casting weights of any dtype to float16."""

    first_code = -_LARGEST
    caster = "bitsandbytes"

    def __init__(self, params: QuantizationParams, columns: int) -> None:
        super().__init__(params, columns)
        self.levels = torch.arange(-_LARGEST, _LARGEST + 1) / _LARGEST
        self.input_dtype = torch.float16

    def quantize(self, weights: torch.Tensor, largest: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        codes, absmax, _ = bnb.functional.int8_vectorwise_quant(weights.view(-1, self.unit).to(self.input_dtype))
        return codes.view(-1), absmax

    def dequantize(self, codes: torch.Tensor, absmax: torch.Tensor, count: int) -> torch.Tensor:
        rows = codes[:count].view(absmax.numel(), -1)
        return torch.as_tensor(bnb.functional.int8_vectorwise_dequant(rows, absmax)).view(-1).to(self.dtype)
