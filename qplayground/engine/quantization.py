"""A recipe as transformers' own configuration."""

from collections.abc import Sequence

import torch
from transformers import BitsAndBytesConfig

from qplayground.core.precision import FourBit, Precision


def quantization_config(
    precision: Precision, skips: Sequence[str] = (), *, offloads: bool = False
) -> BitsAndBytesConfig | None:
    """transformers' configuration of a recipe, every default spelled out. None for an unquantized precision.

    `skips`: what is left alone, in place of the library's own list; empty for that. `offloads`: modules may be on the
    processor or on disk beside a GPU, and stay unquantized there.
    """
    if precision.quantization is None:
        return None
    if isinstance(precision.quantization, FourBit):
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=precision.quantization.quant_type,
            bnb_4bit_compute_dtype=getattr(torch, precision.quantization.compute_dtype),
            bnb_4bit_use_double_quant=precision.quantization.double_quantization,
            llm_int8_skip_modules=list(skips) or None,
            llm_int8_enable_fp32_cpu_offload=offloads,
        )
    return BitsAndBytesConfig(
        load_in_8bit=True,
        llm_int8_threshold=precision.quantization.threshold,
        llm_int8_skip_modules=list(skips) or None,
        llm_int8_enable_fp32_cpu_offload=offloads,
    )
