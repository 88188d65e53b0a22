"""Loads the libraries' kernels before the model is measured, so that their memory is not counted as weights."""

import torch
from torch.nn import functional

from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.precision import Precision
from qplayground.core.system.frozen import remedy
from qplayground.engines.transformers.machine.devices import synchronize
from qplayground.engines.transformers.quantizers.registry import backend

_WIDTH = 64


@torch.inference_mode()
def warm_libraries(precision: Precision, device: torch.device) -> None:
    """Run the kernels that a forward in this precision uses: matrix product, attention, (de)quantization.

    Raises PlaygroundError(UNSUPPORTED) where the library cannot quantize on that device. bitsandbytes looks for its
    CUDA library only on first use, and only then reports that it is missing.
    """
    dtype = getattr(torch, precision.dtype)
    hidden = torch.ones(1, 4, _WIDTH, dtype=dtype, device=device)
    functional.linear(hidden, torch.ones(_WIDTH, _WIDTH, dtype=dtype, device=device))
    heads = hidden.view(1, 1, 4, _WIDTH)
    functional.scaled_dot_product_attention(heads, heads, heads, is_causal=True)
    if precision.quantization is None:
        return
    quantizer = backend(precision.quantization)
    try:
        quantizer.layer(torch.zeros(_WIDTH, _WIDTH, dtype=dtype)).eval().to(device)(hidden)
        if device.type != "cpu":
            synchronize(device)  # kernels report their errors only here
    except torch.OutOfMemoryError:
        raise
    except (ImportError, RuntimeError, AttributeError, TypeError, OSError) as error:
        raise _cannot_quantize(precision, quantizer.library, device, error) from error


def _cannot_quantize(precision: Precision, library: str, device: torch.device, error: Exception) -> PlaygroundError:
    cuda = f", CUDA {torch.version.cuda}" if torch.version.cuda else ""
    return fail(
        ErrorCode.UNSUPPORTED,
        f"{library} cannot compute {precision.label} on {device} with torch "
        f"{torch.__version__}{cuda}: it failed to quantize a small tensor.",
        remedy(
            f"Install the {library.split()[0]} that packaging/constraints.txt names, or place the model on the CPU.",
            "Place the model on the CPU.",
        ),
        f"{type(error).__name__}: {error}",
    )
