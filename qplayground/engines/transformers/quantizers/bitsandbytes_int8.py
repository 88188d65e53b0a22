"""bitsandbytes' LLM.int8(): a float32 scale a row, n + 4 · out bytes for a layer of `out` x `in` = n elements."""

from collections.abc import Iterator, Sequence
from typing import Any

import bitsandbytes as bnb
import torch
from bitsandbytes.functional import has_avx512bf16
from bitsandbytes.nn import Linear8bitLt
from torch import nn
from transformers import BitsAndBytesConfig
from transformers.integrations.bitsandbytes import dequantize_bnb_weight
from transformers.pytorch_utils import Conv1D

from qplayground.core.dtype import Dtype
from qplayground.core.memory.estimate import WeightKinds
from qplayground.core.quantizers.bitsandbytes_int8 import Int8
from qplayground.engines.transformers.machine import allocator
from qplayground.engines.transformers.quantizers.base import Backend, HeldPart, Layer

_LARGEST = 127
_ALIGNED_OUTPUTS, _ALIGNED_INPUTS = 32, 64
_GAPS = 8.0
"""`heap_factor` as long as temporary tensors are smaller than what the heap gives back at once: measured at 6 to 9,
because they leave gaps that do not fit the next ones.
"""
_SCRATCH_BYTES = 12
"""An int8 product takes 32 bits, and its scaling two copies as float32."""


class Int8Backend(Backend[Int8]):
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

    def converts(self, module: nn.Module) -> bool:
        return type(module) is nn.Linear or isinstance(module, Conv1D)

    def is_usual(self, layer: Layer) -> bool:
        return layer.rows % _ALIGNED_OUTPUTS == 0 and layer.columns % _ALIGNED_INPUTS == 0 and not layer.is_deep

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
        """The layer's state takes codes and scales over in the first forward."""
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

    def scratch_bytes(self, tokens: int, widest: int) -> int:
        return tokens * widest * _SCRATCH_BYTES

    def gaps_factor(self, tokens: int, widest: int) -> float:
        return _GAPS if tokens * widest * 4 < allocator.KEPT_BYTES else self.heap_factor

    def unfused_itemsize(self, dtype: Dtype) -> int:
        """Without AVX-512 products are computed in float32."""
        fused = has_avx512bf16() or torch.backends.cpu.get_cpu_capability() == "AVX512"
        return 0 if fused else 4
