"""Makes weights really resident.

On Linux a checkpoint loaded in its own dtype is only mapped. Its load costs nothing, and the first forward pays for the
disk. So these weights are copied into anonymous memory, where a quantized model's weights are too. That makes
precisions comparable.
"""

from itertools import chain

import torch
from torch import nn

from qplayground.engines.transformers.loading.offload import offloaded_in_ram
from qplayground.engines.transformers.machine.mapped_files import drop_pages, is_mapped, mapped_ranges
from qplayground.engines.transformers.progress import OnProgress


def make_resident(model: nn.Module, on_progress: OnProgress) -> int:
    """Copy every file-backed weight into anonymous memory, keeping ties. Returns the bytes copied.

    The source's pages are released tensor by tensor, so the temporary cost is one tensor and not a second model.
    """
    mapped = mapped_ranges()
    tied: dict[tuple[int, torch.Size], list[torch.Tensor]] = {}
    for tensor in chain(model.parameters(), model.buffers(), offloaded_in_ram(model)):
        if tensor.device.type == "cpu" and is_mapped(tensor, mapped):
            tied.setdefault((tensor.data_ptr(), tensor.shape), []).append(tensor)
    total = sum(sharers[0].nbytes for sharers in tied.values())
    done = 0
    for sharers in tied.values():
        source = sharers[0].data
        copy = source.clone()
        for tensor in sharers:
            tensor.data = copy
        done += copy.nbytes
        drop_pages(source)
        on_progress("Copying into memory", done, total)
    return done
