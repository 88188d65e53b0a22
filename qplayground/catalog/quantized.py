"""Whether a checkpoint was quantized before it was saved, and by what: from its config, and from its tensors' headers.

Not every config says so. GPTQ's and AWQ's first programs wrote a file of their own beside it (`quantize_config.json`,
`quant_config.json`), others another field, and some nothing; transformers would then take codes for weights. Names and
shapes are those of AutoGPTQ, AutoAWQ, compressed-tensors, MLX and bitsandbytes.
"""

from collections.abc import Mapping
from typing import Any

from qplayground.catalog.headers import TensorInfo

UNNAMED = "method not named"
_BITSANDBYTES = "bitsandbytes"
_FIELDS = ("quantization_config", "compression_config")
"""The second is compressed-tensors' former name for it."""
_SCALES = ("scales", "weight_scale", "weight_scale_inv", "weight_scales", "scale", "scale_weight")
_FLOATING = ("F64", "F32", "BF16", "F16")
_BY_TYPE = {"U32": "mlx", "I8": "int8 codes with scales"}


def method_of_config(fields: Mapping[str, Any]) -> str | None:
    """The method that a config.json names, UNNAMED where it only says that there is one, None for an original."""
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


def method_of_tensors(tensors: Mapping[str, TensorInfo]) -> str | None:
    """The method that tensors of these names, types and shapes are of, None for an original."""
    for name, info in tensors.items():
        module, _, part = name.rpartition(".")
        if part == "qweight":
            return _method_of_packed(info, tensors.get(f"{module}.scales"))
        if part == "weight_packed":
            return "compressed-tensors"
        if part == "SCB" or part.startswith("bitsandbytes__"):
            return _BITSANDBYTES
        if info.dtype.startswith("F8_"):
            return "fp8"
        has_scales = any(f"{module}.{scales}" in tensors for scales in _SCALES)
        if part == "weight" and info.dtype not in _FLOATING and has_scales:
            return _BY_TYPE.get(info.dtype, UNNAMED)
    return None


def _method_of_packed(codes: TensorInfo, scales: TensorInfo | None) -> str:
    """GPTQ packs codes along the inputs and AWQ along the outputs; both have a scale for each output."""
    if scales is None or len(codes.shape) != 2 or len(scales.shape) != 2:
        return UNNAMED
    return "gptq" if codes.shape[1] == scales.shape[1] else "awq"
