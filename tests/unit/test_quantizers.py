"""What families of quantizers say of themselves, and what becomes of one whose library is missing."""

import pytest

from qplayground.core import hues
from qplayground.core.errors import ErrorCode, PlaygroundError
from qplayground.core.generation import GenerationRequest, GenerationSettings
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.core.quantizers import installed
from qplayground.core.quantizers.base import Place, Switch
from qplayground.core.quantizers.registry import FAMILIES, READY
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
