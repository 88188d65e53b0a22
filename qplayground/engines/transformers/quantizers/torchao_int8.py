"""torchao's int8 weights: codes, and per row a float32 scale and an int8 zero point, which is always zero.

A layer of `out` x `in` = n elements takes n + 5 · out bytes.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from transformers import TorchAoConfig

from qplayground.core.inside import QuantizationParams
from qplayground.core.memory.estimate import WeightKinds
from qplayground.core.quantizers.torchao_int8 import TorchaoInt8
from qplayground.engines.transformers.quantizers.base import Backend, HeldPart, Layer
from qplayground.engines.transformers.quantizers.codec import Codec, RowCodec

_RANGE, _STEPS = 128, 127.5


class TorchaoInt8Backend(Backend[TorchaoInt8]):
    """nn.Linear with an Int8Tensor weight. The library is optional, so it is imported where it is used."""

    expected_error = 0.0071
    quantizing_bytes = 10
    splits = False
    lists_skips = True  # transformers would convert subclasses of nn.Linear, and match its own list with weights

    def config(self, skips: Sequence[str], *, offloads: bool) -> TorchAoConfig:
        return TorchAoConfig(_config(), modules_to_not_convert=self.options.skip_patterns(skips) or None)

    def predicted(self, rows: int, elements: int, *, repacks: bool) -> WeightKinds:
        return WeightKinds(quantized=elements, scales=5 * rows)

    def is_usual(self, layer: Layer) -> bool:
        return not layer.is_deep

    def layer(self, weight: torch.Tensor) -> nn.Module:
        from torchao.quantization import quantize_

        made = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        made.weight = nn.Parameter(weight, requires_grad=False)
        quantize_(made, _config())
        return made

    def round_trip(self, weight: torch.Tensor, device: torch.device) -> torch.Tensor:
        return self.dequantized(self.layer(weight.to(device)))

    @staticmethod
    def owns(module: nn.Module) -> bool:
        weight = module._parameters.get("weight")
        return type(weight).__name__ == "Int8Tensor" and type(weight).__module__.startswith("torchao.")

    @staticmethod
    def parts(module: Any) -> Iterator[HeldPart]:
        weight = module.weight
        yield HeldPart("weight", weight.qdata, is_code=True)
        yield HeldPart("scale", weight.scale, is_scale=True)
        yield HeldPart("zero_point", weight.zero_point, is_scale=True)

    @staticmethod
    def leading_rows(module: Any, rows: int) -> torch.Tensor:
        """A row is its codes times its scale."""
        weight = module.weight
        codes: torch.Tensor = weight.qdata[:rows].cpu().float()
        scales: torch.Tensor = weight.scale[:rows].cpu().float()
        return codes * scales.view(-1, 1)

    @staticmethod
    def dequantized(module: Any) -> torch.Tensor:
        return torch.as_tensor(module.weight.dequantize())

    @staticmethod
    def codec(params: QuantizationParams, columns: int) -> Codec:
        return TorchaoCodec(params, columns)

    def unfused_itemsize(self, dtype: Any) -> int:
        return int(dtype.itemsize)


class TorchaoCodec(RowCodec):
    """Scales each row by its largest weight, which is 127.5 steps.

    Stores a one-byte zero point beside the float32 scale. The absmax is float64, so that the scale is recovered
    exactly.
    """

    first_code = -_RANGE
    scale_bytes = 5

    def __init__(self, params: QuantizationParams, columns: int) -> None:
        super().__init__(params, columns)
        self.levels = torch.arange(-_RANGE, _RANGE) / _STEPS

    def quantize(self, weights: torch.Tensor, largest: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        from torchao.quantization import Int8Tensor, PerRow

        made = Int8Tensor.from_hp(weights.view(-1, self.unit), granularity=PerRow())
        return made.qdata.reshape(-1), made.scale.double().view(-1) * _STEPS

    def dequantize(self, codes: torch.Tensor, absmax: torch.Tensor, count: int) -> torch.Tensor:
        from torchao.quantization import Int8Tensor

        rows = codes[:count].view(absmax.numel(), -1)
        scale = (absmax / _STEPS).float().view(-1, 1)
        zero = torch.zeros_like(scale, dtype=torch.int8)
        made = Int8Tensor(rows, scale, [1, rows.shape[1]], self.dtype, zero_point=zero)
        return torch.as_tensor(made.dequantize()).view(-1).to(self.dtype)


def _config() -> Any:
    from torchao.quantization import Int8WeightOnlyConfig

    return Int8WeightOnlyConfig(version=2, set_inductor_config=False)  # True changes torch for everything else
