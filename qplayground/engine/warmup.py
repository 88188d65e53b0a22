"""Paying for the libraries before the model is weighed, so that their share is not booked on its weights."""

import bitsandbytes as bnb
import torch
from torch.nn import functional

from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.frozen import remedy
from qplayground.core.precision import FourBit, Int8, Precision
from qplayground.engine.machine import synchronize

_WIDTH = 64


@torch.inference_mode()
def warm_libraries(precision: Precision, device: torch.device) -> None:
    """Touch the kernels that a forward in this precision uses: matrix product, attention, (de)quantization.

    Raises PlaygroundError(UNSUPPORTED) where bitsandbytes cannot quantize on that device; its own library for CUDA is
    looked for only when it is first used, and says then that it is not there.
    """
    dtype = getattr(torch, precision.dtype)
    hidden = torch.ones(1, 4, _WIDTH, dtype=dtype, device=device)
    functional.linear(hidden, torch.ones(_WIDTH, _WIDTH, dtype=dtype, device=device))
    heads = hidden.view(1, 1, 4, _WIDTH)
    functional.scaled_dot_product_attention(heads, heads, heads, is_causal=True)
    layer: torch.nn.Module
    if isinstance(precision.quantization, FourBit):
        layer = bnb.nn.Linear4bit(
            _WIDTH,
            _WIDTH,
            bias=False,
            compute_dtype=getattr(torch, precision.quantization.compute_dtype),
            compress_statistics=precision.quantization.double_quantization,
            quant_type=precision.quantization.quant_type,
        )
    elif isinstance(precision.quantization, Int8):
        layer = bnb.nn.Linear8bitLt(
            _WIDTH, _WIDTH, bias=False, has_fp16_weights=False, threshold=precision.quantization.threshold
        )
    else:
        return
    try:
        layer.eval().to(dtype).to(device)(hidden)
        if device.type != "cpu":
            synchronize(device)  # what a kernel cannot do is said only then
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AttributeError, OSError) as error:
        raise _cannot_quantize(precision, device, error) from error


def _cannot_quantize(precision: Precision, device: torch.device, error: Exception) -> PlaygroundError:
    cuda = f", CUDA {torch.version.cuda}" if torch.version.cuda else ""
    return fail(
        ErrorCode.UNSUPPORTED,
        f"bitsandbytes {bnb.__version__} cannot compute {precision.label} on {device} with torch "
        f"{torch.__version__}{cuda}: it failed to quantize a small tensor.",
        remedy(
            "Install the version of bitsandbytes that packaging/constraints.txt names (python -m bitsandbytes says "
            "what it finds), or place the model on the CPU.",
            "Place the model on the CPU.",
        ),
        f"{type(error).__name__}: {error}",
    )
