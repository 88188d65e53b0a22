"""Codes and scales, compared bit by bit with bitsandbytes on the whole weight. Dequantized values are made by hand."""

import itertools
from typing import Any

import bitsandbytes.functional as bnb
import pytest
import torch

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, PlaygroundError
from qplayground.core.inside import BLOCK_SIZES, QuantizationParams
from qplayground.core.quantizers.registry import METHODS
from qplayground.engines.transformers.inside import bands as bands_module
from qplayground.engines.transformers.inside.quantized import QuantizedValues, described, figures, quantize
from qplayground.engines.transformers.inside.source import SourceWeight
from qplayground.engines.transformers.inside.values import summarize
from tests.engine import by_hand

DTYPES = tuple(Dtype)
SHAPES = {"divides": (128, 256), "does not": (75, 150), "odd": (61, 97), "small": (3, 7)}
FOUR_BIT = ("nf4", "fp4")
UNIFORM = ("uniform4", "uniform3")


def weight(shape: tuple[int, int], dtype: str = "bfloat16") -> torch.Tensor:
    """Weights like a layer's, with one outlier and a row of zeros."""
    found = torch.randn(shape, generator=torch.Generator().manual_seed(7)) * 0.02
    found[1, 2] = 0.9
    found[2] = 0
    return found.to(getattr(torch, dtype))


@pytest.fixture(autouse=True)
def several_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small bands, so that every matrix here has several."""
    monkeypatch.setattr(bands_module, "LARGEST", 1500)
    monkeypatch.setattr(bands_module, "_LEAST", 1500)


@pytest.fixture(autouse=True)
def no_compiler() -> Any:
    """bitsandbytes compiles some functions, which takes seconds for each shape. Uncompiled, results are the same."""
    with torch.compiler.set_stance("force_eager"):
        yield


def made(tensor: torch.Tensor, params: QuantizationParams) -> QuantizedValues:
    return quantize(SourceWeight(tensor), params, "w")


def back(quantized: QuantizedValues) -> torch.Tensor:
    return quantized.part(slice(0, quantized.rows), slice(0, quantized.columns))


def same(one: torch.Tensor | None, other: torch.Tensor) -> bool:
    """Whether both are equal bit by bit."""
    assert one is not None
    assert one.dtype == other.dtype
    return torch.equal(one.reshape(-1), other.reshape(-1))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("method", FOUR_BIT)
def test_four_bits_are_codes_of_bitsandbytes_times_their_scales(method: str, shape: tuple[int, int]) -> None:
    for dtype, block, double in itertools.product(DTYPES, BLOCK_SIZES, (False, True)):
        tensor = weight(shape)
        codes, state = bnb.quantize_4bit(
            tensor.to(getattr(torch, dtype)), blocksize=block, compress_statistics=double, quant_type=method
        )
        params = QuantizationParams(method=method, block_size=block, double_quant=double, dtype=dtype)
        found = made(tensor, params)
        assert same(found.codes, codes), params
        assert same(found.scales.codes if double else found.scales.used, state.absmax), params
        assert same(back(found), by_hand.four_bit(codes, state)), params
        assert torch.equal(found.codec.levels, state.code)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_int8_by_block_is_codes_of_bitsandbytes_times_their_scales(shape: tuple[int, int]) -> None:
    for dtype, block, double in itertools.product(DTYPES, BLOCK_SIZES, (False, True)):
        tensor = weight(shape)
        codes, state = bnb.quantize_blockwise(
            tensor.to(getattr(torch, dtype)), code=bnb.create_linear_map(), blocksize=block, nested=double
        )
        found = made(
            tensor, QuantizationParams(method="int8-block", block_size=block, double_quant=double, dtype=dtype)
        )
        assert same(found.codes, codes)
        assert same(found.scales.codes if double else found.scales.used, state.absmax)
        assert same(back(found), by_hand.by_block(codes, state))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_int8_by_row_is_what_the_layer_does(shape: tuple[int, int], dtype: Dtype) -> None:
    """Int8Params casts to float16, then quantizes by row."""
    tensor = weight(shape)
    layer = bnb_int8(tensor.to(getattr(torch, dtype)))
    found = made(tensor, QuantizationParams(method="int8", dtype=dtype))
    assert same(found.codes, layer.CB)
    assert same(found.scales.used, layer.SCB)
    assert same(back(found), bnb.int8_vectorwise_dequant(layer.CB, layer.SCB).to(getattr(torch, dtype)))


def bnb_int8(tensor: torch.Tensor) -> Any:
    from bitsandbytes.nn import Int8Params

    return Int8Params(tensor, requires_grad=False, has_fp16_weights=False).to("cpu")


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("method", [*FOUR_BIT, "int8-block"])
def test_one_scale_for_all_is_a_single_block(method: str, shape: tuple[int, int]) -> None:
    """bitsandbytes' own operators accept a block of any size."""
    for dtype in DTYPES:
        tensor = weight(shape)
        cast, count = tensor.to(getattr(torch, dtype)), tensor.numel()
        found = made(tensor, QuantizationParams(method=method, block_size=None, dtype=dtype))
        if method == "int8-block":
            codes, absmax = torch.ops.bitsandbytes.quantize_blockwise.default(cast, bnb.create_linear_map(), count)
            whole = torch.ops.bitsandbytes.dequantize_blockwise.default(
                codes, absmax, bnb.create_linear_map(), count, cast.dtype
            )
        else:
            codes, absmax = torch.ops.bitsandbytes.quantize_4bit.default(cast, count, str(method), torch.uint8)
            levels = bnb.get_4bit_type(str(method), device="cpu")
            pairs = torch.stack((codes.view(-1) >> 4, codes.view(-1) & 15), -1).view(-1)[:count]
            whole = (levels[pairs.int()] * absmax).to(cast.dtype)
        assert same(found.codes, codes)
        assert same(found.scales.used, absmax)
        assert same(back(found), whole)


@pytest.mark.parametrize("block", [*BLOCK_SIZES, None])
@pytest.mark.parametrize("method", UNIFORM)
def test_uniform_levels_are_evenly_spaced_and_the_nearest_is_taken(method: str, block: int | None) -> None:
    half = {"uniform4": 7, "uniform3": 3}[method]
    tensor = weight((128, 256))
    found = made(tensor, QuantizationParams(method=method, block_size=block, dtype=Dtype.FLOAT32))
    assert found.codec.levels.tolist() == pytest.approx([k / half for k in range(-half, half + 1)])
    assert found.codec.levels[half] == 0
    size = block or tensor.numel()
    blocks = tensor.float().view(-1, size)
    absmax = blocks.abs().amax(1, keepdim=True)
    some = (absmax > 0).expand_as(blocks).reshape(-1)  # in a block of zeros any code means zero
    scaled = (blocks / absmax).view(-1)[some]
    codes = found.displayed(slice(0, 128), slice(0, 256)).reshape(-1)
    nearest = (scaled.unsqueeze(-1) - found.codec.levels).abs().amin(-1)
    taken = (scaled - found.codec.levels[codes[some].int() + half]).abs()
    assert torch.allclose(taken, nearest, atol=1e-3)  # its search is slightly off near the middle of two levels
    assert same(back(found), found.codec.levels[codes.int() + half] * absmax.expand_as(blocks).reshape(-1))


ANY = [
    QuantizationParams(method=method, block_size=block, double_quant=double, dtype=dtype).checked()
    for method, block, double, dtype in itertools.product(METHODS, (64, 4096, None), (False, True), DTYPES)
]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_any_part_is_a_part_of_the_whole(shape: tuple[int, int]) -> None:
    tensor = weight(shape)
    rows, columns = slice(1, shape[0] - 1), slice(1, shape[1] - 2)
    for params in dict.fromkeys(ANY):
        found = made(tensor, params)
        whole = back(found)
        assert same(found.part(rows, columns), whole[rows, columns]), params
        count = tensor.numel()
        assert same(found.flat(0, count), whole)
        assert same(found.flat(count // 3, count - 1), whole.reshape(-1)[count // 3 : count - 1]), params
        codes = found.displayed(slice(0, shape[0]), slice(0, shape[1]))
        assert same(found.displayed(rows, columns), codes[rows, columns]), params
        assert found.code(count - 1) == int(codes[-1, -1])
        assert found.code(count // 2) == int(codes.reshape(-1)[count // 2])


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_code_times_its_scale_is_the_weight_that_comes_back(shape: tuple[int, int]) -> None:
    tensor = weight(shape)
    for params in dict.fromkeys(ANY):
        found = made(tensor, params)
        codes = found.displayed(slice(0, shape[0]), slice(0, shape[1])).reshape(-1).int()
        absmax = found.scales.used.repeat_interleave(found.block_size)[: tensor.numel()]
        levels = found.codec.levels[codes - found.codec.first_code]
        if not params.kind.has_blocks:
            assert torch.allclose(found.flat(0, tensor.numel()).float(), (levels * absmax).float(), rtol=2**-7)
        else:
            assert same(found.flat(0, tensor.numel()), (levels * absmax).to(found.dtype)), params
        usage = described(found, None).usage.values
        assert usage.tolist() == torch.bincount(codes - found.codec.first_code, minlength=len(usage)).tolist()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_error_is_that_of_doubles(shape: tuple[int, int]) -> None:
    tensor = weight(shape, "float32")
    for params in dict.fromkeys(ANY):
        found = made(tensor, params)
        values = SourceWeight(tensor)
        cost = figures(values, summarize(values, "w").square_sum, found)
        error = back(found).double() - tensor.double()
        relative = float(error.norm() / tensor.double().norm())
        assert cost.relative_error == pytest.approx(relative, rel=1e-5)
        assert cost.max_abs_error == pytest.approx(float(error.abs().max()), rel=1e-6)
        row, column = cost.worst
        assert abs(float(error[row, column])) == pytest.approx(cost.max_abs_error, rel=1e-6)
        assert cost.snr_db == pytest.approx(-20 * torch.log10(torch.tensor(relative)).item(), abs=1e-3)


@pytest.mark.parametrize(
    ("params", "num_bytes"),
    [
        (QuantizationParams(), 128 * 256 // 2 + 4 * 512 + 64),
        (QuantizationParams(double_quant=True), 128 * 256 // 2 + 512 + 4 * 2 + 1024 + 4 + 64),
        (QuantizationParams(method="int8"), 128 * 256 + 4 * 128),
        (QuantizationParams(method="int8-block", block_size=256), 128 * 256 + 4 * 128 + 1024),
        (QuantizationParams(method="uniform3", block_size=None), 128 * 256 * 3 // 8 + 4 + 4 * 7),
    ],
)
def test_bits_a_weight_are_all_bytes_that_are_stored(params: QuantizationParams, num_bytes: int) -> None:
    assert made(weight((128, 256)), params).num_bytes == num_bytes


def test_a_weight_beyond_float16_is_named() -> None:
    tensor = weight((128, 256), "float32")
    tensor[100, 17] = 70_000
    for params in (
        QuantizationParams(method="int8"),
        QuantizationParams(dtype=Dtype.FLOAT16),
        QuantizationParams(dtype=Dtype.FLOAT16, block_size=None),
    ):
        with pytest.raises(PlaygroundError) as caught:
            made(tensor, params)
        assert caught.value.info.code is ErrorCode.NON_FINITE_WEIGHTS
        assert "row 100, column 17" in caught.value.info.message
    assert made(tensor, QuantizationParams()).scales.used.max() == 70_144  # bfloat16 rounds it


def test_a_matrix_of_zeros_has_no_error() -> None:
    values = SourceWeight(torch.zeros(8, 64))
    for params in dict.fromkeys(ANY):
        cost = figures(values, 0.0, quantize(values, params, "w"))
        assert (cost.relative_error, cost.snr_db, cost.max_abs_error) == (0, None, 0), params
