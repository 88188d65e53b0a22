"""Checkpoints as other programs quantize them, with the names, types and shapes that the formats document.

Codes are rounded to the nearest level, without the refinements of GPTQ and AWQ. Tests look only at names and shapes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.engine import tiny

GROUP = 32
_PACKED = 8
"""4-bit codes in an int32."""
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_FP8_BLOCK = 32
_FP8_LARGEST = 448.0

Tensors = dict[str, torch.Tensor]


def make(folder: Path, kind: str, family: str = "llama") -> Path:
    """Write a model whose blocks' linear layers are quantized by `kind`, one of KINDS."""
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
    """Codes from 0 to 15, (out, in), and the scale of each group of inputs, (out, groups). Code 8 means zero."""
    grouped = weight.float().view(weight.shape[0], -1, GROUP)
    scales = grouped.abs().amax(-1, keepdim=True) / 7
    codes = (grouped / scales).round().clamp(-8, 7).to(torch.int32) + 8
    return codes.view(weight.shape), scales.squeeze(-1)


def _pack(codes: torch.Tensor, order: tuple[int, ...] = tuple(range(_PACKED))) -> torch.Tensor:
    """Pack eight codes of the last dimension into an int32. The first of `order` is lowest."""
    eights = codes.view(*codes.shape[:-1], -1, _PACKED)[..., list(order)].to(torch.int64)
    words = (eights << torch.arange(0, 32, 4)).sum(-1)
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


def _gptq(weight: torch.Tensor) -> Tensors:
    """AutoGPTQ's layout: packed along the inputs, zero points stored minus one."""
    codes, scales = _groups(weight)
    zeros = torch.full((scales.shape[1], weight.shape[0]), 8 - 1)
    return {
        "qweight": _pack(codes).T,
        "qzeros": _pack(zeros),
        "scales": scales.T.half(),
        "g_idx": (torch.arange(weight.shape[1]) // GROUP).int(),
    }


def _awq(weight: torch.Tensor) -> Tensors:
    """AutoAWQ's GEMM layout: packed along the outputs, in AWQ's own order."""
    codes, scales = _groups(weight)
    zeros = torch.full((scales.shape[1], weight.shape[0]), 8)
    return {
        "qweight": _pack(codes.T.contiguous(), _AWQ_ORDER),
        "qzeros": _pack(zeros, _AWQ_ORDER),
        "scales": scales.T.half(),
    }


def _packed_quantized(weight: torch.Tensor) -> Tensors:
    """compressed-tensors' pack-quantized layout."""
    codes, scales = _groups(weight)
    return {
        "weight_packed": _pack(codes),
        "weight_scale": scales.bfloat16(),
        "weight_shape": torch.tensor(weight.shape),
    }


def _int_quantized(weight: torch.Tensor) -> Tensors:
    """compressed-tensors' int-quantized layout: int8 under the weight's own name, one scale per row."""
    scales = weight.float().abs().amax(1, keepdim=True) / 127
    return {"weight": (weight / scales).round().to(torch.int8), "weight_scale": scales.bfloat16()}


def _fp8(weight: torch.Tensor) -> Tensors:
    """DeepSeek's layout: float8 in square blocks, with each block's inverse scale."""
    rows, columns = (-(-size // _FP8_BLOCK) for size in weight.shape)
    tiles = weight.float().view(rows, _FP8_BLOCK, columns, _FP8_BLOCK)
    scales = tiles.abs().amax((1, 3), keepdim=True) / _FP8_LARGEST
    codes = (tiles / scales).view(weight.shape).to(torch.float8_e4m3fn)
    return {"weight": codes, "weight_scale_inv": scales.view(rows, columns)}


def _mlx(weight: torch.Tensor) -> Tensors:
    """MLX's affine mode: packed under the weight's own name, with one scale and bias per group."""
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
"""For each kind, how it converts a weight, (out, in), and the fields of the JSON files that declare it.

`beside`: a separate file, from the years before config.json had the fields. `old`: another field. `unsaid`: no
declaration.
"""


def method(kind: str) -> str:
    """The name of the kind's method."""
    return next(name for name in ("gptq", "awq", "compressed-tensors", "fp8", "mlx") if kind.startswith(name))
