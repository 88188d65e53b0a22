"""Single operations in a run without weights, against torch on real tensors."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from qplayground.engines.transformers.model.tracing import CannotRunError, run

Operation = Callable[[torch.Tensor], torch.Tensor]
OPERATIONS: dict[str, Operation] = {
    "same": lambda x: x * x,
    "turned": lambda x: x.transpose(1, 2) + x.transpose(1, 2),
    "turned_and_back": lambda x: (x.transpose(1, 2) * 2.0).transpose(1, 2),
    "a_row": lambda x: x[0, 0] * x,
    "a_row_of_the_turned": lambda x: x.transpose(1, 2) * x[0, :, 0],
    "both_grow": lambda x: x[:, :1] - x[:, :, :1],
    "every_second": lambda x: -x[..., ::2],
    "expanded": lambda x: x[:, :1].expand_as(x) / 2,
    "wider": lambda x: x * x.float(),
    "wider_number": lambda x: x * torch.ones((), dtype=torch.float32, device=x.device),
    "integers": lambda x: x.long() / x.long(),
    "squared": lambda x: x.float() ** 2,
    "out_of": lambda x: 1 / x,
    "complex": lambda x: x.float() * 1j,
    "broadcast_and_turned": lambda x: x.transpose(1, 2)[:1] * x.reshape(2, 8, 3),
}


def traced(operation: Operation) -> torch.Tensor:
    """The operation's output in a run without weights, for a tensor on the meta device."""

    class Model(nn.Module):
        config = SimpleNamespace()

        def _supports_logits_to_keep(self) -> bool:
            return False

        def forward(self, input_ids: torch.Tensor, use_cache: bool) -> dict[str, Any]:
            return {"y": operation(torch.ones(2, 3, 8, dtype=torch.bfloat16, device=input_ids.device))}

    output, _ = run(cast(PreTrainedModel, Model()), 4)
    return cast(torch.Tensor, output["y"])


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_gives_what_it_would_with_values(name: str) -> None:
    """Compares shape, dtype and strides, on which later views depend."""
    found, real = traced(OPERATIONS[name]), OPERATIONS[name](torch.ones(2, 3, 8, dtype=torch.bfloat16))
    assert (found.shape, found.dtype, found.stride()) == (real.shape, real.dtype, real.stride())


def test_numbers_that_have_values_keep_them() -> None:
    """Some models read numbers to decide how often to repeat an operation."""
    read: list[float] = []

    def operation(x: torch.Tensor) -> torch.Tensor:
        read.extend((torch.arange(4.0) * 2.0).tolist())
        return x

    traced(operation)
    assert read == [0, 2, 4, 6]


def test_what_cannot_run_on_one_device_cannot_be_run() -> None:
    with pytest.raises(CannotRunError):
        traced(lambda x: x * torch.ones(8, dtype=torch.bfloat16))
