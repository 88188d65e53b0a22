"""What quantization costs each layer, as JSON and as a table, and how the choices are parsed."""

import json

import pytest

from qplayground.console.inspect import parse_params
from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, PlaygroundError
from qplayground.core.inside import ErrorFigures, LayerRow, LeftOut, QuantizationParams
from qplayground.core.model import ModelEntry, ModelSource
from qplayground.core.quantizers import installed
from qplayground.report.inspection import inspection_json, inspection_table, left_out_text

ENTRY = ModelEntry(id="owner/name", source=ModelSource.CACHE)
NF4 = QuantizationParams()
INT8 = QuantizationParams(method="int8").checked()


def row(module: str, params: QuantizationParams = NF4, error: float = 0.09, bits: float = 4.5) -> LayerRow:
    figures = ErrorFigures(
        bits_per_weight=bits, relative_error=error, snr_db=ErrorFigures.decibels(error), max_abs_error=0.0123456
    )
    return LayerRow(module=module, params=params, figures=figures)


def test_json_has_a_row_a_layer_and_choice() -> None:
    left_out = (LeftOut("lm_head", "Its weights are integers."),)
    found = json.loads(inspection_json(ENTRY, Dtype.BFLOAT16, [row("a"), row("a", INT8, 0.0)], left_out))
    assert (found["model"], found["dtype"]) == ("owner/name", "bfloat16")
    assert found["rows"][0] == {
        "module": "a",
        "method": "nf4",
        "block_size": 64,
        "double_quant": False,
        "bits_per_weight": 4.5,
        "relative_error": 0.09,
        "snr_db": pytest.approx(20.915, abs=1e-3),
        "max_abs_error": 0.0123456,
    }
    assert (found["rows"][1]["block_size"], found["rows"][1]["snr_db"]) == (None, None)  # by row, and without error
    assert found["left_out"] == [{"module": "lm_head", "reason": "Its weights are integers."}]


def test_the_table_has_columns_that_line_up() -> None:
    whole = QuantizationParams(method="uniform4", block_size=None, double_quant=True)
    lines = inspection_table([row("a.long.name"), row("b", INT8, 0.0), row("c", whole, 0.5)]).splitlines()
    assert lines[0].split()[:3] == ["Module", "Method", "Block"]
    assert lines[2].split() == ["a.long.name", "nf4", "64", "no", "4.500", "9.00", "%", "20.92", "dB", "0.0123"]
    assert lines[3].split() == ["b", "int8", "row", "no", "4.500", "0", "%", "–", "0.0123"]
    assert lines[4].split() == ["c", "uniform4", "tensor", "yes", "4.500", "50.0", "%", "6.02", "dB", "0.0123"]
    assert len({len(line) for line in lines}) == 1  # figures are aligned with their headings
    assert len(lines) == 5  # a median of one layer means nothing


def test_several_layers_are_summed_up() -> None:
    rows = [row("a", error=0.08), row("b", error=0.10), row("c", error=0.09), row("a", INT8, 0.01)]
    table = inspection_table(rows)
    assert "NF4, blocks of 64: median 9.00 % of 3 layers, worst 10.0 % (b)" in table
    assert "INT8 by row: median 1.00 % of 1 layers, worst 1.00 % (a)" in table


def test_a_method_whose_library_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "installed_version", lambda name: "")
    with pytest.raises(PlaygroundError, match="pip install torchao") as refused:
        parse_params("int8-ao", "64", double_quant=False, dtype=Dtype.BFLOAT16)
    assert refused.value.info.code is ErrorCode.MISSING_PACKAGE


def test_what_was_left_out_is_said() -> None:
    assert left_out_text(LeftOut("lm_head", "It is tied.")) == "lm_head was left out: It is tied."


def test_every_method_is_measured_with_every_block_size() -> None:
    found = parse_params("nf4, int8", "64,tensor", double_quant=False, dtype=Dtype.FLOAT16)
    assert [(each.method, each.block_size) for each in found] == [
        ("nf4", 64),
        ("nf4", None),
        ("int8", None),
    ]
    assert {each.dtype for each in found} == {Dtype.FLOAT16} and not any(each.double_quant for each in found)


def test_double_quantization_is_measured_beside_single() -> None:
    found = parse_params("fp4,int8,int8-block", "64", double_quant=True, dtype=Dtype.BFLOAT16)
    assert [(each.method, each.double_quant) for each in found] == [
        ("fp4", False),
        ("fp4", True),
        ("int8", False),  # it has no blocks, so no double quantization
        ("int8-block", False),
        ("int8-block", True),
    ]


@pytest.mark.parametrize(
    ("methods", "sizes", "sentence"),
    [
        (
            "nf5",
            "64",
            "There is no method named 'nf5'. Known ones: int8, int8-ao, int8-block, nf4, fp4, uniform4, uniform3.",
        ),
        (" , ", "64", "No method is named. Give one or more, such as nf4,fp4,int8."),
        ("nf4", "", "No block size is named. Give one or more, such as 64,256,4096."),
        ("nf4", "63", "'63' is no block size. Choose from 64, 128, 256, 512, 1024, 2048, 4096 and tensor."),
        ("int8", "64,many", "'many' is no block size."),
        ("nf4", "٦٤", "'٦٤' is no block size."),
    ],
)
def test_wrong_choices_are_refused(methods: str, sizes: str, sentence: str) -> None:
    with pytest.raises(PlaygroundError) as refused:
        parse_params(methods, sizes, double_quant=False, dtype=Dtype.BFLOAT16)
    assert refused.value.info.code is ErrorCode.BAD_SETTINGS
    assert str(refused.value.info).startswith(sentence)
