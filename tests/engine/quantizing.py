"""Peak memory of quantizing one layer, in a separate process: `python -m tests.engine.quantizing NAME...`.

Prints a line for each precision: its name, and bytes per element beyond the process with the layer in 16 bits. A
process that has done other work would also count heap pages that it reuses.
"""

import sys

import torch

from qplayground.core.memory.process_memory import forget_peak, peak_resident_bytes
from qplayground.core.precision import READY_PRECISIONS
from qplayground.engines.transformers.machine import allocator
from qplayground.engines.transformers.quantizers.registry import backend


def main(names: list[str]) -> None:
    for precision in READY_PRECISIONS:
        if precision.name not in names or precision.quantization is None:
            continue
        quantizer = backend(precision.quantization)
        weight = torch.randn(2048, 2048).to(torch.bfloat16)
        quantizer.layer(weight[:64].clone()).to("cpu")  # imports and loads the libraries
        allocator.enter_loading()
        allocator.release()
        forget_peak()
        before = peak_resident_bytes()
        layer = quantizer.layer(weight).to("cpu")
        print(precision.name, (peak_resident_bytes() - before + weight.nbytes) / weight.numel(), flush=True)
        del layer


if __name__ == "__main__":
    main(sys.argv[1:])
