"""Checkpoints as other programs quantize them: names, types and shapes as the formats' documentation gives them.

Their codes are made by rounding to the nearest of the levels that each format has, without what makes GPTQ and AWQ
better than that: nothing here looks at more than names and shapes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.engine import tiny

GROUP = 32
_PACKED = 8
"""Codes of 4 bits in an int32."""
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_FP8_BLOCK = 32
_FP8_LARGEST = 448.0

Tensors = dict[str, torch.Tensor]


def make(folder: Path, kind: str, family: str = "llama") -> Path:
    """Write that model with the linear layers of its blocks quantized by `kind`, one of KINDS."""
    tiny.make(folder, family)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    convert, settings = KINDS[kind]
    for name in [name for name in tensors if ".layers." in name and tensors[name].ndim == 2]:
        module = name.removesuffix(".weight")
        made = convert(tensors.pop(name))
        tensors |= {f"{module}.{part}": held.contiguous() for part, held in made.items()}
    path.unlink()
    save_file(tensors, path, metadata={"format": "pt"})
    for file, fields in settings.items():
        tiny.edit_json(folder / file, **fields)
    return folder


def _groups(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes from 0 to 15, (out, in), and the scale of each group of inputs, (out, groups); 8 stands for zero."""
    grouped = weight.float().view(weight.shape[0], -1, GROUP)
    scales = grouped.abs().amax(-1, keepdim=True) / 7
    codes = (grouped / scales).round().clamp(-8, 7).to(torch.int32) + 8
    return codes.view(weight.shape), scales.squeeze(-1)


def _pack(codes: torch.Tensor, order: tuple[int, ...] = tuple(range(_PACKED))) -> torch.Tensor:
    """Eight codes of the last dimension in an int32, the first of `order` lowest."""
    eights = codes.view(*codes.shape[:-1], -1, _PACKED)[..., list(order)].to(torch.int64)
    words = (eights << torch.arange(0, 32, 4)).sum(-1)
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


def _gptq(weight: torch.Tensor) -> Tensors:
    """AutoGPTQ's: packed along the inputs, zero points stored less one."""
    codes, scales = _groups(weight)
    zeros = torch.full((scales.shape[1], weight.shape[0]), 8 - 1)
    return {
        "qweight": _pack(codes).T,
        "qzeros": _pack(zeros),
        "scales": scales.T.half(),
        "g_idx": (torch.arange(weight.shape[1]) // GROUP).int(),
    }


def _awq(weight: torch.Tensor) -> Tensors:
    """AutoAWQ's GEMM layout: packed along the outputs, in an order of its own."""
    codes, scales = _groups(weight)
    zeros = torch.full((scales.shape[1], weight.shape[0]), 8)
    return {
        "qweight": _pack(codes.T.contiguous(), _AWQ_ORDER),
        "qzeros": _pack(zeros, _AWQ_ORDER),
        "scales": scales.T.half(),
    }


def _packed_quantized(weight: torch.Tensor) -> Tensors:
    """compressed-tensors' pack-quantized."""
    codes, scales = _groups(weight)
    return {
        "weight_packed": _pack(codes),
        "weight_scale": scales.bfloat16(),
        "weight_shape": torch.tensor(weight.shape),
    }


def _int_quantized(weight: torch.Tensor) -> Tensors:
    """compressed-tensors' int-quantized: int8 under the weight's own name, a scale for each row."""
    scales = weight.float().abs().amax(1, keepdim=True) / 127
    return {"weight": (weight / scales).round().to(torch.int8), "weight_scale": scales.bfloat16()}


def _fp8(weight: torch.Tensor) -> Tensors:
    """DeepSeek's: float8 in square blocks, with the inverse of each one's scale."""
    rows, columns = (-(-size // _FP8_BLOCK) for size in weight.shape)
    tiles = weight.float().view(rows, _FP8_BLOCK, columns, _FP8_BLOCK)
    scales = tiles.abs().amax((1, 3), keepdim=True) / _FP8_LARGEST
    codes = (tiles / scales).view(weight.shape).to(torch.float8_e4m3fn)
    return {"weight": codes, "weight_scale_inv": scales.view(rows, columns)}


def _mlx(weight: torch.Tensor) -> Tensors:
    """MLX's affine mode: packed under the weight's own name, with a scale and a bias a group."""
    codes, scales = _groups(weight)
    return {"weight": _pack(codes).view(torch.uint32), "scales": scales.half(), "biases": (-8 * scales).half()}


_GPTQ = {"bits": 4, "group_size": GROUP, "desc_act": False, "sym": True, "true_sequential": True}
_AWQ = {"zero_point": True, "q_group_size": GROUP, "w_bit": 4, "version": "GEMM"}
_MLX = {"group_size": GROUP, "bits": 4}

KINDS: dict[str, tuple[Callable[[torch.Tensor], Tensors], dict[str, Any]]] = {
    "gptq": (_gptq, {"config.json": {"quantization_config": _GPTQ | {"quant_method": "gptq"}}}),
    "gptq-beside": (_gptq, {"quantize_config.json": _GPTQ}),
    "awq": (
        _awq,
        {
            "config.json": {
                "quantization_config": {
                    "quant_method": "awq",
                    "bits": 4,
                    "group_size": GROUP,
                    "version": "gemm",
                    "zero_point": True,
                    "modules_to_not_convert": None,
                }
            }
        },
    ),
    "awq-beside": (_awq, {"quant_config.json": _AWQ}),
    "compressed-tensors": (
        _packed_quantized,
        {"config.json": {"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized"}}},
    ),
    "compressed-tensors-old": (
        _int_quantized,
        {"config.json": {"compression_config": {"quant_method": "compressed-tensors", "format": "int-quantized"}}},
    ),
    "fp8": (
        _fp8,
        {
            "config.json": {
                "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [_FP8_BLOCK] * 2}
            }
        },
    ),
    "fp8-unsaid": (_fp8, {}),
    "mlx": (_mlx, {"config.json": {"quantization": _MLX}}),
    "mlx-both": (_mlx, {"config.json": {"quantization": _MLX, "quantization_config": _MLX}}),
}
"""How each converts a weight, (out, in), and the fields of the JSON files that say so. `beside` are those of the years
before config.json had them; `old` and `unsaid` have them elsewhere, or nowhere."""


def method(kind: str) -> str:
    """The method's own name."""
    return next(name for name in ("gptq", "awq", "compressed-tensors", "fp8", "mlx") if kind.startswith(name))
