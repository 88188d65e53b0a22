"""No quantizer at all: every weight in one floating point format."""

from qplayground.core.dtype import Dtype
from qplayground.core.quantizers.base import ReadyPrecision

READY = (
    ReadyPrecision("fp32", "FP32", Dtype.FLOAT32, None, "black", 0),
    ReadyPrecision("bf16", "BF16", Dtype.BFLOAT16, None, "sky blue", 1),
    ReadyPrecision("fp16", "FP16", Dtype.FLOAT16, None, "blue", 4),
)
