"""Tests quantizers on this machine: quantizes, dequantizes and multiplies a small matrix on every device."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.cextension import ErrorHandlerMockBNBNativeLibrary, get_available_cuda_binary_versions, lib
from torch.nn import functional

from qplayground.core.diagnosis.diagnosis import CudaBuild, MethodCheck, Outcome
from qplayground.core.messages.commands import CheckUp
from qplayground.core.messages.events import CheckedUp, CheckStarted, CudaFound, MethodChecked
from qplayground.core.placement import CPU, MPS
from qplayground.core.precision import Precision
from qplayground.core.units import share_text
from qplayground.engines.transformers.quantizers.base import Backend, Layer
from qplayground.engines.transformers.quantizers.kernels import obstacle
from qplayground.engines.transformers.quantizers.registry import backend

_ROWS, _COLUMNS = 128, 256
_SCALE = 0.02
ODD_INPUTS = (32, 48, 72, 80, 96, 160, 200, 720, 1056, 1120, 1376, 4304)
ODD_OUTPUTS = (4, 16, 48, 80)
"""Widths of real models' layers that some kernels compute wrongly or refuse."""
_BATCHES = (1, 4)  # a single row goes through other kernels than several
_PROBLEM_CHARACTERS = 300

_FACTOR = 2.0
"""Allowed factor over the expected error. Rounding adds little to the weights' error; int8 products add half."""


def check_up(command: CheckUp) -> Iterator[CudaFound | CheckStarted | MethodChecked | CheckedUp]:
    """Answer the command. Each check holds what its method raised. The caller must detect a crash of the process."""
    yield CudaFound(command.id, cuda_build())
    asked = [(device, precision) for device in devices() for precision in command.precisions]
    tried = [(device, precision) for device, precision in asked if (device, precision.name) not in command.skip]
    for place, (device, precision) in enumerate(tried, len(asked) - len(tried)):
        yield CheckStarted(command_id=command.id, precision=precision.name, device=device, done=place, total=len(asked))
        yield MethodChecked(command.id, check_method(precision, torch.device(device)))
    yield CheckedUp(command.id)


def cuda_build() -> CudaBuild:
    """CUDA versions that torch and bitsandbytes were built for."""
    loaded = not isinstance(lib, ErrorHandlerMockBNBNativeLibrary)
    return CudaBuild(
        torch_cuda=torch.version.cuda,
        available=torch.cuda.is_available(),
        bitsandbytes_cuda=tuple(get_available_cuda_binary_versions()),
        library=Path(lib._lib._name).name if loaded else "",
    )


def devices() -> list[str]:
    """The CPU and every GPU that torch can use."""
    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [CPU, *gpus, *([MPS] if torch.backends.mps.is_available() else [])]


@torch.inference_mode()
def check_method(precision: Precision, device: torch.device) -> MethodCheck:
    """Try a quantized precision on a device: whether it runs, and whether its results are accurate enough."""
    outcome, problem, error = Outcome.WORKS, "", None
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    try:
        matrix_error, *product_errors = _errors(_usable(precision, device), device)
        error = float(torch.tensor([matrix_error, *product_errors]).max())  # torch's max keeps a NaN, Python's may not
        problem = _doubt(precision, matrix_error, error)
        if problem:
            outcome = Outcome.WRONG
        elif device.type == CPU:
            inputs, outputs = _unfit(precision)
    except Exception as failure:  # the libraries raise exceptions of any type
        outcome, problem = Outcome.FAILED, _sentence(failure)
    return MethodCheck(
        precision=precision.name,
        label=precision.label,
        library="" if precision.quantization is None else precision.quantization.library,
        device=str(device),
        outcome=outcome,
        relative_error=error,
        problem=problem,
        unfit_inputs=inputs,
        unfit_outputs=outputs,
    )


def _unfit(precision: Precision) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Input widths and output widths, of those that fail on some CPUs, that fail on this one."""
    kind = precision.quantization
    assert kind is not None
    inputs = (columns for columns in ODD_INPUTS if obstacle(Layer(_ROWS, columns), kind, precision.dtype))
    outputs = (rows for rows in ODD_OUTPUTS if obstacle(Layer(rows, _COLUMNS), kind, precision.dtype))
    return tuple(inputs), tuple(outputs)


def _usable(precision: Precision, device: torch.device) -> Precision:
    """The precision as it runs on a GPU without bfloat16."""
    if device.type != "cuda":
        return precision
    with torch.cuda.device(device):
        return precision if torch.cuda.is_bf16_supported(including_emulation=False) else precision.without_bfloat16()


def _errors(precision: Precision, device: torch.device) -> list[float]:
    """Relative errors of the dequantized matrix, then of products with it."""
    dtype = getattr(torch, precision.dtype)
    random = torch.Generator().manual_seed(0)
    weight = (_SCALE * torch.randn(_ROWS, _COLUMNS, generator=random)).to(dtype)
    quantizer = _backend(precision)
    layer = quantizer.layer(weight).eval().to(device)
    errors = [_relative_error(quantizer.round_trip(weight, device), weight)]
    for rows in _BATCHES:
        hidden = torch.randn(rows, _COLUMNS, generator=random).to(dtype)
        exact = functional.linear(hidden.float(), weight.float())
        errors.append(_relative_error(layer(hidden.to(device)), exact))
    return errors


def _backend(precision: Precision) -> Backend[Any]:
    if precision.quantization is None:
        raise ValueError(f"{precision.name} is not quantized")
    return backend(precision.quantization)


def _relative_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    exact = exact.double()
    return float((found.to("cpu").double() - exact).norm() / exact.norm())


def _doubt(precision: Precision, matrix_error: float, error: float) -> str:
    """What is wrong with the errors; empty if nothing. A NaN counts as too large."""
    expected = _backend(precision).expected_error
    if not error <= _FACTOR * expected:
        return f"the result is wrong (relative error {share_text(error)}, at most {share_text(_FACTOR * expected)})."
    if matrix_error < expected / _FACTOR:
        return f"nothing was quantized (relative error {share_text(matrix_error)}, about {share_text(expected)})."
    return ""


def _sentence(error: Exception) -> str:
    """The exception's type and first non-empty line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0][:_PROBLEM_CHARACTERS] if lines else ""
    return f"{type(error).__name__}: {first}".removesuffix(": ")
