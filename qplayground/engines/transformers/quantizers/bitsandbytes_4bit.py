"""bitsandbytes' NF4 and FP4.

Block size B = 64. A layer of `out` x `in` = n elements has nb = ceil(n / B) blocks, which run on from row to row:

- Single quantization: ceil(n / 2) + 4 · nb + 64 bytes. Two codes per byte (the first in the upper half), a float32
  absmax per block, and a codebook of sixteen float32.
- Double quantization: ceil(n / 2) + nb + 4 · ceil(nb / 256) + 1024 + 64 + 4 bytes. The absmax is a uint8 code. A second
  level adds a codebook of 256 float32, an absmax per 256 blocks, and a float32 offset. The first level's absmax is
  codebook[code] · second absmax + offset.
- Repacked by the first forward, on CPUs with AVX512-BF16: ceil(n / 2) + 2 · nb + 64 (+ 4) bytes. The absmax becomes
  bfloat16. The second level goes; the offset stays.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import bitsandbytes as bnb
import torch
from bitsandbytes.functional import QuantState, has_avx512bf16
from bitsandbytes.nn import Linear4bit
from msgspec.structs import replace
from torch import nn
from transformers import BitsAndBytesConfig
from transformers.integrations.bitsandbytes import dequantize_bnb_weight

from qplayground.core.dtype import Dtype
from qplayground.core.inside import QuantizationParams
from qplayground.core.memory.estimate import WeightKinds
from qplayground.core.quantizers.bitsandbytes_4bit import FourBit
from qplayground.engines.transformers.quantizers.base import HeldPart
from qplayground.engines.transformers.quantizers.bitsandbytes import (
    BitsandbytesBackend,
    BlockCodec,
    LinearCodec,
    check,
    nested_scales,
)
from qplayground.engines.transformers.quantizers.codec import BYTE, Codec, Stored

BLOCK = 64
_NESTED_BLOCK = 256
_CODE_BYTES = 16 * 4
_NESTED_CODE_BYTES = 256 * 4
_OFFSET_BYTES = 4
_EXPECTED_ERROR = {"nf4": 0.092, "fp4": 0.122}
_QUANTIZING_BYTES = {"nf4": 16, "fp4": 30}
_REFUSED, _PACKING = "n must be divisible by block_n", "_convert_weight_packed_for_cpu"
"""The fused kernel's error, and the function that prepares a layer for it. That one raises only for bad shapes."""


class FourBitBackend(BitsandbytesBackend[FourBit]):
    """Linear4bit, made by transformers."""

    heap_factor = 2.5

    def __init__(self, options: FourBit) -> None:
        super().__init__(options)
        self.expected_error = _EXPECTED_ERROR[options.quant_type]
        self.quantizing_bytes = _QUANTIZING_BYTES[options.quant_type]

    def config(self, skips: Sequence[str], *, offloads: bool) -> BitsAndBytesConfig:
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=self.options.quant_type,
            bnb_4bit_compute_dtype=getattr(torch, self.options.compute_dtype),
            bnb_4bit_use_double_quant=self.options.double_quantization,
            llm_int8_skip_modules=list(skips) or None,
            llm_int8_enable_fp32_cpu_offload=offloads,
        )

    @staticmethod
    def refusal(text: str, functions: Set[str]) -> str:
        if _REFUSED in text or _PACKING in functions:
            return (
                "bitsandbytes' 4-bit kernel for this processor cannot compute a layer of this size. Outputs must be a "
                "multiple of 32, and inputs a multiple of the block size, 64."
            )
        return ""

    def predicted(self, rows: int, elements: int, *, repacks: bool) -> WeightKinds:
        blocks = -(-elements // BLOCK)
        nested = self.options.double_quantization
        if repacks:
            scales = 2 * blocks + _OFFSET_BYTES * nested
        elif nested:
            scales = blocks + 4 * -(-blocks // _NESTED_BLOCK) + _NESTED_CODE_BYTES + _OFFSET_BYTES
        else:
            scales = 4 * blocks
        return WeightKinds(quantized=-(-elements // 2), scales=scales + _CODE_BYTES)

    def bias_dtype(self) -> Dtype:
        return self.options.compute_dtype

    def rescaled(self) -> "FourBitBackend":
        """transformers quantizes it again, with bitsandbytes' own defaults."""
        return FourBitBackend(replace(self.options, quant_type="fp4", double_quantization=True))

    def repacks(self) -> bool:
        return bool(has_avx512bf16())

    def layer(self, weight: torch.Tensor) -> nn.Module:
        rows, columns = weight.shape
        made: nn.Module = Linear4bit(
            columns,
            rows,
            bias=False,
            compute_dtype=getattr(torch, self.options.compute_dtype),
            quant_type=self.options.quant_type,
        )
        made.weight = bnb.nn.Params4bit(
            weight,
            requires_grad=False,
            quant_type=self.options.quant_type,
            compress_statistics=self.options.double_quantization,
            blocksize=BLOCK,
        )
        return made

    def round_trip(self, weight: torch.Tensor, device: torch.device) -> torch.Tensor:
        packed, state = bnb.functional.quantize_4bit(
            weight.to(device),
            quant_type=self.options.quant_type,
            compress_statistics=self.options.double_quantization,
            blocksize=BLOCK,
        )
        return torch.as_tensor(bnb.functional.dequantize_4bit(packed, state))

    def rows_until_a_block_begins(self, columns: int) -> int:
        return BLOCK // math.gcd(columns, BLOCK)

    @staticmethod
    def owns(module: nn.Module) -> bool:
        return isinstance(module, Linear4bit)

    @staticmethod
    def parts(module: Any) -> Iterator[HeldPart]:
        yield HeldPart("weight", module.weight, is_code=True)
        state = getattr(module.weight, "quant_state", None)
        if state is None:
            return
        scales = {"absmax": state.absmax, "code": state.code, "offset": state.offset}
        nested = getattr(state, "state2", None)  # gone once repacked for the CPU
        if nested is not None:
            scales |= {"nested_absmax": nested.absmax, "nested_code": nested.code}
        for kind, tensor in scales.items():
            if tensor is not None:
                yield HeldPart(kind, tensor, is_scale=True)

    @staticmethod
    def shape(module: Any) -> tuple[int, ...]:
        state = getattr(module.weight, "quant_state", None)
        return tuple(module.weight.shape if state is None else state.shape)

    @staticmethod
    def leading_rows(module: Any, rows: int) -> torch.Tensor:
        weight = module.weight
        count = rows * weight.quant_state.shape[1]
        return by_hand(weight.data, weight.quant_state, count).view(rows, -1)

    @staticmethod
    def dequantized(module: Any) -> torch.Tensor:
        """On some CPUs the weight was repacked for a special kernel. bitsandbytes can undo that, but changes the
        layer's state and leaves the scales repacked. So a copy of the state is used.
        """
        held = module.weight.quant_state
        if not getattr(held, "packing_format_for_cpu", False):
            return torch.as_tensor(dequantize_bnb_weight(module.weight, None))
        state = copy.copy(held)
        state.original_nested = False  # its scales are no longer integers
        codes, state = bnb.functional._convert_weight_packed_for_cpu_inverse(module.weight.data, state)
        state.absmax = held.absmax.T.reshape(-1).float().contiguous()
        return torch.as_tensor(bnb.functional.dequantize_4bit(codes, state))

    @staticmethod
    def codec(params: QuantizationParams, columns: int) -> Codec:
        return LinearCodec(params) if params.kind.is_contrast else FourBitCodec(params)

    @staticmethod
    def stored_as(tensor: str) -> str:
        return next((kind for kind in _EXPECTED_ERROR if tensor.endswith(f"bitsandbytes__{kind}")), "")

    @staticmethod
    def read(parts: Mapping[str, torch.Tensor], dtype: Dtype | None) -> Stored:
        state = QuantState.from_dict(
            {name: part for name, part in parts.items() if name.startswith("weight.")}, torch.device("cpu")
        )
        rows, columns = state.shape
        count, scales = rows * columns, state.absmax
        codes, needed = parts["weight"].contiguous().view(torch.uint8).view(-1), -(-count // 2)
        blocks = -(-count // state.blocksize)
        check(min(rows, columns) > 0, f"{state.shape}")
        check(codes.numel() >= needed, f"{codes.numel():,} bytes of codes for {count:,} weights")
        check(scales.numel() == blocks, f"{scales.numel():,} scales for {blocks:,} blocks")
        codec = FourBitCodec(
            QuantizationParams(
                method=state.quant_type,
                block_size=state.blocksize,
                double_quant=state.nested,
                dtype=Dtype(str(state.dtype).removeprefix("torch.")),
            )
        )
        check(torch.equal(state.code, codec.levels), f"levels {state.code.tolist()}")
        if not state.nested:
            return Stored(codec, rows, columns, codes[:needed], codec.scales(scales.float()))
        nested = state.state2
        runs = -(-blocks // nested.blocksize)
        check(nested.absmax.numel() == runs and nested.code.numel() == BYTE, f"{nested.absmax.numel():,} nested scales")
        return Stored(codec, rows, columns, codes[:needed], nested_scales(scales, nested, state.offset))

    def unfused_itemsize(self, dtype: Dtype) -> int:
        return 0 if has_avx512bf16() else dtype.itemsize


class FourBitCodec(BlockCodec):
    """NF4 and FP4."""

    per_byte = 2

    def __init__(self, params: QuantizationParams) -> None:
        super().__init__(params, bnb.functional.get_4bit_type(params.method, device="cpu"))

    def _encode(self, weights: torch.Tensor, block: int) -> tuple[torch.Tensor, torch.Tensor]:
        codes, state = bnb.functional.quantize_4bit(weights, blocksize=block, quant_type=self.params.method)
        return codes.view(-1), state.absmax

    def _decode(self, codes: torch.Tensor, absmax: torch.Tensor, block: int, count: int) -> torch.Tensor:
        shape = torch.Size((1, count + count % 2))
        state = QuantState(absmax, shape, None, block, self.params.method, self.dtype)
        return torch.as_tensor(bnb.functional.dequantize_4bit(codes.view(-1, 1), state)).reshape(-1)[:count]

    def displayed(self, codes: torch.Tensor, count: int) -> torch.Tensor:
        return torch.stack((codes >> 4, codes & 15), dim=-1).view(-1)[:count].to(torch.int16)

    def usage(self, codes: torch.Tensor, count: int) -> torch.Tensor:
        pairs = torch.bincount(codes, minlength=BYTE).view(16, 16)
        found = pairs.sum(0) + pairs.sum(1)
        if count % 2:
            found[int(codes[-1]) & 15] -= 1  # bitsandbytes' padding
        return found


def by_hand(packed: torch.Tensor, state: Any, count: int) -> torch.Tensor:
    """Dequantize the first `count` packed codes with a QuantState in plain torch. Returns them flat, float32."""
    pairs = packed.reshape(-1)[: -(-count // 2)].cpu().view(torch.uint8)
    codes = torch.stack((pairs >> 4, pairs & 15), dim=-1).view(-1)[:count]
    blocks = -(-count // state.blocksize)
    scales = _absmax(state)[:blocks].repeat_interleave(state.blocksize)[:count]
    table: torch.Tensor = state.code.cpu().float()
    return table[codes.int()] * scales


def _absmax(state: Any) -> torch.Tensor:
    absmax: torch.Tensor = state.absmax.cpu().reshape(-1)
    if not state.nested:
        return absmax.float()
    nested = state.state2
    scales: torch.Tensor = nested.absmax.cpu().float().repeat_interleave(nested.blocksize)[: absmax.numel()]
    table: torch.Tensor = nested.code.cpu().float()
    offset: torch.Tensor = state.offset.cpu().float()
    return table[absmax.int()] * scales + offset
