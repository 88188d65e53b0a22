"""The only package that imports torch, transformers, bitsandbytes and accelerate. Runs in child processes, without Qt.

The libraries read these variables on import, so they are set first.
"""

import logging
import os

os.environ["HF_HUB_OFFLINE"] = "1"  # an engine loads folders only; it never calls home
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # asking whether there is a GPU must not make a CUDA context
os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # NVML's order, so that cuda:1 is the same GPU as in the window
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads do not survive a fork

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # int8 logs a cast for every layer and token
for _importing in ("torchao", "torch.utils._pytree"):  # they warn about missing GPU parts
    logging.getLogger(_importing).setLevel(logging.ERROR)

from qplayground.engines.transformers.machine.compiling import compiled_at_first_use  # noqa: E402  # after the variables that torch reads

with compiled_at_first_use():
    import bitsandbytes  # noqa: F401  # before any other part of the engine imports it
