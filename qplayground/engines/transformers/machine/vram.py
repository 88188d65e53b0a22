"""GPU memory as torch's allocator counts it, for each GPU that holds a part of the model."""

from collections.abc import Iterable

import torch

from qplayground.core.memory.process_memory import VramFigures
from qplayground.core.placement import is_cuda


class VramMeter:
    """Reads the memory of the GPUs among `devices`. On the CPU alone there is nothing to read."""

    def __init__(self, devices: Iterable[str]) -> None:
        self._gpus = [device for device in devices if is_cuda(device)]

    def forget_peaks(self) -> None:
        """Reset the peaks to what is allocated now."""
        for gpu in self._gpus:
            torch.cuda.reset_peak_memory_stats(gpu)

    def read(self) -> dict[str, VramFigures]:
        """Bytes by GPU, once each has finished its work."""
        found = {}
        for gpu in self._gpus:
            torch.cuda.synchronize(gpu)
            found[gpu] = VramFigures(
                allocated_bytes=torch.cuda.memory_allocated(gpu),
                reserved_bytes=torch.cuda.memory_reserved(gpu),
                peak_bytes=torch.cuda.max_memory_allocated(gpu),
            )
        return found
