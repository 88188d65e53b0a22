"""What quantizer families declare, and what happens to one whose library is missing."""

import pytest
from msgspec import ValidationError, json

from qplayground.core import hues
from qplayground.core.errors import ErrorCode, PlaygroundError
from qplayground.core.generation import GenerationRequest, GenerationSettings
from qplayground.core.inside import QuantizationParams
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.core.quantizers import installed
from qplayground.core.quantizers.base import Method, Place, Switch
from qplayground.core.quantizers.registry import FAMILIES, METHODS, OWNERS, READY, available_methods
from qplayground.runtime.comparison.request import ComparisonRequest

AO = next(precision for precision in READY_PRECISIONS if precision.name == "int8-ao")


@pytest.fixture
def without_torchao(monkeypatch: pytest.MonkeyPatch) -> None:
    real = installed.installed_version
    monkeypatch.setattr(installed, "installed_version", lambda name: "" if name == "torchao" else real(name))


def test_no_two_families_or_ready_precisions_can_be_taken_for_each_other() -> None:
    assert len({family.title for family in FAMILIES}) == len(FAMILIES)
    assert len({family.__struct_config__.tag for family in FAMILIES}) == len(FAMILIES)
    assert len({ready.name for ready in READY}) == len({ready.label for ready in READY}) == len(READY)
    assert len({(ready.hue, ready.line) for ready in READY}) == len(READY)


def test_custom_precisions_never_have_hue_and_line_of_a_ready_one() -> None:
    ready = {(hues.hue(each.name, False), hues.line(each.name)) for each in READY}
    custom = {(hues.hue(f"own-{number}", False), hues.line(f"own-{number}")) for number in range(24)}
    assert len(ready) == len(READY) and len(custom) == 24 and not ready & custom


@pytest.mark.parametrize("family", FAMILIES)
def test_every_option_is_a_field_and_explains_itself(family: type) -> None:
    made = family()
    assert {option.name for option in made.options} == set(made.__struct_fields__)
    for option in made.options:
        assert option.label and option.explanation.endswith(".")
        assert isinstance(getattr(made, option.name), bool) is isinstance(option, Switch)
    for on_gpu in (False, True):
        assert made.why_slower(Place(on_gpu, None)).endswith(".")


def test_no_two_methods_can_be_taken_for_each_other() -> None:
    declared = [method for family in FAMILIES for method in family.methods]
    assert len({method.name for method in declared}) == len({method.label for method in declared}) == len(declared)
    assert len({(method.hue, method.symbol) for method in declared}) == len(declared)
    assert list(METHODS) == ["int8", "int8-ao", "int8-block", "nf4", "fp4", "uniform4", "uniform3"]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_method_is_shown_like_the_precision_that_stores_so(method: Method) -> None:
    assert method.hue in hues.HUES
    ready = {each.name: each for each in READY}.get(method.name)
    assert (ready is None) is method.is_contrast
    if ready is not None:
        assert (ready.hue, type(ready.options)) == (method.hue, OWNERS[method.name])


def test_params_are_those_that_the_method_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "grouped", Method("grouped", "grouped", 4, "blue", "h", block_sizes=(32, 128)))
    assert QuantizationParams(method="grouped", block_size=32, double_quant=True).checked() == QuantizationParams(
        method="grouped", block_size=32
    )
    for size, said in ((64, "64 weights is not offered. Choose from 32, 128."), (None, "the whole tensor is not")):
        with pytest.raises(PlaygroundError, match=said):
            QuantizationParams(method="grouped", block_size=size).checked()
    by_row = QuantizationParams(method="int8-ao", block_size=64, double_quant=True).checked()
    assert by_row == QuantizationParams(method="int8-ao", block_size=None)


def test_a_method_that_nobody_declares_is_no_message() -> None:
    assert json.decode(json.encode(QuantizationParams(method="fp4")), type=QuantizationParams) == QuantizationParams(
        method="fp4"
    )
    with pytest.raises(ValidationError, match="no method named 'nf5'"):
        json.decode(b'{"method": "nf5"}', type=QuantizationParams)


def test_methods_of_a_library_that_is_missing_or_too_old_are_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available_methods() == list(METHODS.values())
    for torchao in ("", "0.9.1"):
        versions = {"torchao": torchao, "bitsandbytes": "1"}
        monkeypatch.setattr(installed, "installed_version", versions.__getitem__)
        assert available_methods() == [each for name, each in METHODS.items() if name != "int8-ao"]


def test_what_is_not_installed_is_said_with_the_command_that_installs_it(without_torchao: None) -> None:
    error = installed.missing(AO.quantization)
    assert error is not None and error.code is ErrorCode.MISSING_PACKAGE
    assert str(error) == "torchao is not installed, which quantizes to torchao INT8. Install it: pip install torchao"
    assert all(installed.missing(each.quantization) is None for each in READY_PRECISIONS if each != AO)


def test_a_comparison_with_it_is_refused_before_anything_starts(without_torchao: None) -> None:
    def wanted(precision: Precision) -> ComparisonRequest:
        request = GenerationRequest(prompt="Once", settings=GenerationSettings())
        return ComparisonRequest(precisions=(precision,), request=request)

    wanted(READY_PRECISIONS[0]).check()
    with pytest.raises(PlaygroundError, match="pip install torchao"):
        wanted(AO).check()


def test_one_that_is_too_old_is_said_with_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "installed_version", lambda name: "0.9.1")
    assert str(installed.missing(AO.quantization)) == (
        "torchao 0.9.1 is too old: 0.18 is needed. Install it: pip install --upgrade torchao"
    )


def test_what_is_no_package_is_not_installed() -> None:
    assert installed.installed_version("no-such-package") == "" != installed.installed_version("torch")
