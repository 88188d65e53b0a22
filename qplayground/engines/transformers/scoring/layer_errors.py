"""Quantization error of each layer: its weights against the checkpoint's, and its outputs on a text.

Both are relative errors in the Frobenius norm. Each layer gets the quantized model's inputs, so that only its own error
is seen, not that of the layers before it. The checkpoint is read tensor by tensor as each layer runs.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch.nn import functional

from qplayground.core.measures.quality import LayerError
from qplayground.engines.transformers.loading.load import LoadedModel
from qplayground.engines.transformers.machine.mapped_files import release_pages
from qplayground.engines.transformers.model.checkpoint import Checkpoint
from qplayground.engines.transformers.model.tensor_names import loaded_as
from qplayground.engines.transformers.quantizers.registry import family_of


@contextmanager
def measured(loaded: LoadedModel, errors: list[LayerError], on_layer: Callable[[int, int], None]) -> Iterator[None]:
    """Let the model's next forward fill `errors`: one row per quantized layer, in the order of execution.

    `on_layer` is called before each layer with the number done and the total. An exception from it ends the forward.

    A layer is left out if the checkpoint has its weight under another name, or merged with others.
    """
    checkpoint = Checkpoint.read(loaded.files[0].parent)
    with ExitStack() as hooks:
        sources = {
            name: hooks.enter_context(safe_open(file, framework="pt"))
            for file, names in checkpoint.files.items()
            for name in names
        }
        parameters = loaded_as(loaded.model, sources)
        count = Counter(parameters.values())
        alone = {parameter: tensor for tensor, parameter in parameters.items() if count[parameter] == 1}
        found = [
            (name, module, tensor)
            for name, module in loaded.model.named_modules()
            if family_of(module) is not None and (tensor := alone.get(f"{name}.weight")) is not None
        ]
        for name, module, tensor in found:
            before = partial(_before, errors, len(found), on_layer)
            hooks.callback(module.register_forward_pre_hook(before).remove)
            after = _hook(name, sources[tensor], tensor, errors, checkpoint.files)
            hooks.callback(module.register_forward_hook(after).remove)
        yield


def _before(errors: list[LayerError], total: int, on_layer: Callable[[int, int], None], *_: Any) -> None:
    on_layer(len(errors), total)


def _hook(
    name: str, source: Any, tensor: str, errors: list[LayerError], files: Iterable[Path]
) -> Callable[[Any, tuple[torch.Tensor, ...], torch.Tensor], None]:
    def measure(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        shape = (module.out_features, module.in_features)
        family = family_of(module)
        assert family is not None
        exact = source.get_tensor(tensor).to(output.device).float()
        held = family.dequantized(module).float().reshape(shape)
        if exact.shape != shape or _is_transposed(exact, held):
            exact = exact.T  # a Conv1D's
        if exact.shape != shape:
            return  # merged with others
        bias = None if module.bias is None else module.bias.float()
        ideal = functional.linear(inputs[0].float(), exact, bias)
        errors.append(LayerError(name, _relative(held, exact), _relative(output.float(), ideal)))
        release_pages(files)

    return measure


def _is_transposed(exact: torch.Tensor, held: torch.Tensor) -> bool:
    """A square matrix's shape does not tell."""
    square = exact.shape[0] == exact.shape[1]
    return square and _relative(held, exact.T) < _relative(held, exact)


def _relative(found: torch.Tensor, exact: torch.Tensor) -> float:
    size = float(exact.norm())
    return float((found - exact).norm()) / size if size else 0.0
