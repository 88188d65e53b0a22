"""What quantizing one layer takes for a moment, in a process of its own: `python -m tests.engine.quantizing NAME...`.

Prints a line a precision: its name, and bytes an element beyond what the process held without the layer in 16 bits.
In a process that has done other things, pages that come back to its heap count too.
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
        quantizer.layer(weight[:64].clone()).to("cpu")  # what it imports and loads
        allocator.enter_loading()
        allocator.release()
        forget_peak()
        before = peak_resident_bytes()
        layer = quantizer.layer(weight).to("cpu")
        print(precision.name, (peak_resident_bytes() - before + weight.nbytes) / weight.numel(), flush=True)
        del layer


if __name__ == "__main__":
    main(sys.argv[1:])
