"""Trying bitsandbytes on a small matrix: what works, what silently computes wrongly, what fails."""

import bitsandbytes as bnb
import pytest
import torch

from qplayground.core.diagnosis.diagnosis import Outcome
from qplayground.core.dtype import Dtype
from qplayground.core.messages.commands import CheckUp
from qplayground.core.messages.events import CheckedUp, CheckStarted, CudaFound, MethodChecked
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.core.quantizers.bitsandbytes_4bit import FourBit
from qplayground.engines.transformers import checkup
from qplayground.engines.transformers.quantizers.bitsandbytes_4bit import FourBitBackend
from tests.engine.conftest import UseProcessor

QUANTIZED = tuple(precision for precision in READY_PRECISIONS if precision.is_quantized)
NF4 = next(precision for precision in QUANTIZED if precision.name == "nf4")
INT8 = next(precision for precision in QUANTIZED if precision.name == "int8")
CPU = torch.device("cpu")
EXPECTED_ERROR = {"int8": 0.0070, "nf4": 0.092, "fp4": 0.122}
"""Relative error of normally distributed weights after quantization."""


@pytest.mark.parametrize("precision", [*QUANTIZED, *(each.without_bfloat16() for each in QUANTIZED)], ids=str)
def test_every_method_works_and_is_as_far_off_as_its_bits_say(precision: Precision) -> None:
    check = checkup.check_method(precision, CPU)
    assert (check.outcome, check.problem, check.device) == (Outcome.WORKS, "", "cpu")
    assert check.relative_error is not None
    bits = precision.quantization.quant_type if isinstance(precision.quantization, FourBit) else "int8"
    assert 0.9 < check.relative_error / EXPECTED_ERROR[bits] < 1.5


def test_a_device_is_asked_about_each_method_but_those_that_are_known() -> None:
    events = list(checkup.check_up(CheckUp(id=7, precisions=QUANTIZED, skip=(("cpu", "nf4"), ("cuda:9", "int8")))))
    assert isinstance(events[0], CudaFound) and events[0].cuda.library.startswith("libbitsandbytes")
    assert events[0].cuda.torch_cuda == torch.version.cuda
    assert isinstance(events[-1], CheckedUp)
    started = [event for event in events if isinstance(event, CheckStarted) and event.device == "cpu"]
    checked = [event.check for event in events if isinstance(event, MethodChecked) and event.check.device == "cpu"]
    left = [precision.name for precision in QUANTIZED if precision.name != "nf4"]
    assert [event.precision for event in started] == [check.precision for check in checked] == left
    assert started[-1].total - started[-1].done >= 1
    assert {event.command_id for event in events} == {7}


def test_a_wrong_result_is_noticed_without_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    real = bnb.functional.dequantize_4bit
    monkeypatch.setattr(bnb.functional, "dequantize_4bit", lambda *given, **named: real(*given, **named).roll(1))
    check = checkup.check_method(NF4, CPU)
    assert check.outcome is Outcome.WRONG
    assert check.relative_error is not None and check.relative_error > 1
    assert "the result is wrong (relative error 1" in check.problem and "at most 18.4 %" in check.problem


def test_a_wrong_product_is_noticed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    real = bnb.nn.Linear8bitLt.forward
    monkeypatch.setattr(bnb.nn.Linear8bitLt, "forward", lambda layer, hidden: real(layer, hidden) * 1.1)
    check = checkup.check_method(INT8, CPU)
    assert check.outcome is Outcome.WRONG
    assert check.relative_error == pytest.approx(0.1, abs=0.01)


def test_values_that_are_not_finite_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bnb.nn.Linear4bit, "forward", lambda _, hidden: hidden.new_full((len(hidden), 128), torch.nan))
    check = checkup.check_method(NF4, CPU)
    assert check.outcome is Outcome.WRONG and "relative error –" in check.problem


def test_a_matrix_that_was_not_quantized_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FourBitBackend, "round_trip", lambda _backend, weight, _device: weight)
    check = checkup.check_method(NF4, CPU)
    assert check.outcome is Outcome.WRONG and check.problem.startswith("nothing was quantized")


def test_an_exception_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("\n\n  CUDA VERSION MISMATCH  \n\nand a page of advice")

    monkeypatch.setattr(bnb.functional, "quantize_4bit", fail)
    check = checkup.check_method(NF4, CPU)
    assert (check.outcome, check.relative_error) == (Outcome.FAILED, None)
    assert check.problem == "RuntimeError: CUDA VERSION MISMATCH"


@pytest.mark.parametrize(
    ("processor", "inputs", "outputs"),
    [
        ("avx512", (32, 48, 80, 96, 160, 720, 1056, 1120, 1376, 4304), ()),
        ("avx512_bf16", checkup.ODD_INPUTS, checkup.ODD_OUTPUTS),
    ],
)
def test_widths_that_go_wrong_are_named_and_the_method_works_otherwise(
    processor: str, inputs: tuple[int, ...], outputs: tuple[int, ...], use_processor: UseProcessor
) -> None:
    use_processor(processor)
    check = checkup.check_method(NF4, CPU)
    assert (check.outcome, check.unfit_inputs, check.unfit_outputs) == (Outcome.WORKS, inputs, outputs)
    assert checkup.check_method(INT8, CPU).unfit_inputs == ()


def test_a_precision_that_is_not_quantized_fails() -> None:
    check = checkup.check_method(Precision(name="fp32", label="FP32", dtype=Dtype.FLOAT32), CPU)
    assert check.outcome is Outcome.FAILED and "fp32 is not quantized" in check.problem
