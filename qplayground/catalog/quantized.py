"""Detects whether a checkpoint is already quantized, and by which method, from its config and its tensor headers.

Both are needed. The first GPTQ and AWQ programs wrote a file of their own (`quantize_config.json`,
`quant_config.json`), others another field, and some nothing; transformers would then take codes for weights. Other
configs declare quantization although the weights are plain again. The names and shapes are those of AutoGPTQ, AutoAWQ,
compressed-tensors, MLX, Metal, bitsandbytes, torchao, quanto, HQQ, AQLM, ExLlama, QuIP#, gpt-oss' MXFP4 and NVIDIA's
NVFP4.
"""

from collections.abc import Mapping
from typing import Any

from qplayground.catalog.headers import TensorInfo

UNNAMED = "method not named"
_BITSANDBYTES = "bitsandbytes"
_FIELDS = ("quantization_config", "compression_config")
"""`compression_config` is compressed-tensors' former name."""
_SCALES = ("scales", "weight_scale", "weight_scale_inv", "weight_scales", "scale", "scale_weight")
_FLOATING = ("F64", "F32", "BF16", "F16")
_NARROW = {"F4": "fp4", "F6_E2M3": "fp6", "F6_E3M2": "fp6"}
_BY_PART = {
    "SCB": _BITSANDBYTES,
    "_weight_qdata": "torchao",
    "W_q": "hqq",
    "codebooks": "aqlm",
    "q_weight": "exl2",
    "trellis": "exl3",
    "Qidxs": "quip#",
}
"""Tensor name → method. Unquantized models have no such tensors."""
_BY_TYPE = {"U32": "mlx", "I8": "int8 codes with scales"}


def method_of_config(fields: Mapping[str, Any]) -> str | None:
    """The method in a config.json; UNNAMED if it declares quantization without a method; None if it does not."""
    for name in _FIELDS:
        settings = fields.get(name)
        if settings and not isinstance(settings, dict):
            return f"{name} cannot be read"
        if settings and "quant_method" in settings:
            return str(settings["quant_method"])[:40]
        if settings and (settings.get("load_in_8bit") or settings.get("load_in_4bit")):  # as transformers reads it
            return _BITSANDBYTES
    mlx = fields.get("quantization")
    if isinstance(mlx, dict) and "group_size" in mlx and "bits" in mlx:
        return "mlx"
    return UNNAMED if any(fields.get(name) for name in _FIELDS) else None


def field_of_config(fields: Mapping[str, Any]) -> str:
    """The config field that `method_of_config` uses; empty without one."""
    return next((name for name in (*_FIELDS, "quantization") if fields.get(name)), "")


def method_of_tensors(tensors: Mapping[str, TensorInfo]) -> str | None:
    """The quantization method that the tensors' names, types and shapes show, or None."""
    for name, info in tensors.items():
        module, _, part = name.rpartition(".")
        if part == "qweight":
            return _method_of_packed(info, tensors.get(f"{module}.scales"))
        if part == "weight_packed":
            return "nvfp4" if f"{module}.weight_global_scale" in tensors else "compressed-tensors"
        if part in _BY_PART:
            return _BY_PART[part]
        if part.startswith("bitsandbytes__"):
            return _BITSANDBYTES
        if part == "_data" and module.endswith(".weight"):
            return "quanto"
        if name.endswith("_blocks") and f"{name.removesuffix('_blocks')}_scales" in tensors:
            return "mxfp4"
        if part == "weight" and info.dtype not in _FLOATING and len(info.shape) > 1 and not _is_fp8(info):
            return _method_of_codes(module, info, tensors)
        if (_is_fp8(info) and "scale" not in part) or info.dtype in _NARROW:
            return _NARROW.get(info.dtype, "fp8")
    return None


def _is_fp8(info: TensorInfo) -> bool:
    return info.dtype.startswith("F8_")


def _method_of_codes(module: str, info: TensorInfo, tensors: Mapping[str, TensorInfo]) -> str:
    """The method of a `weight` that holds codes, by the tensors beside it."""
    if f"{module}.SCB" in tensors or any(name.startswith(f"{module}.weight.quant_state.") for name in tensors):
        return _BITSANDBYTES
    if f"{module}.weight_scale_2" in tensors:
        return "nvfp4"
    if f"{module}.qbiases" in tensors:
        return "metal"
    if any(f"{module}.{scales}" in tensors for scales in _SCALES):
        return _BY_TYPE.get(info.dtype, UNNAMED)
    return _NARROW.get(info.dtype, UNNAMED)


def _method_of_packed(codes: TensorInfo, scales: TensorInfo | None) -> str:
    """GPTQ packs codes along the inputs, AWQ along the outputs. Both have one scale per output."""
    if scales is None or len(codes.shape) != 2 or len(scales.shape) != 2:
        return UNNAMED
    return "gptq" if codes.shape[1] == scales.shape[1] else "awq"
