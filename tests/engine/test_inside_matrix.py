"""The open matrix, through the engine's commands: figures, tiles, single weights, and what cannot be opened."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bitsandbytes.functional import int8_vectorwise_dequant
from msgspec.structs import replace
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode
from qplayground.core.inside import Matrix, Picture, ProbedWeight, QuantizationParams, QuantizedMatrix, Tile
from qplayground.core.messages.events import Failed
from qplayground.core.messages.inside import (
    MatrixOpened,
    MatrixQuantized,
    ModelOutlined,
    OpenMatrix,
    OutlineModel,
    ProbeWeight,
    QuantizeMatrix,
    ReadTile,
    TileRead,
    WeightProbed,
)
from qplayground.core.precision import READY_PRECISIONS
from qplayground.engines.transformers import host
from qplayground.engines.transformers.inside import tiles as tiles_module
from qplayground.engines.transformers.inside.quantized import quantize
from qplayground.engines.transformers.inside.source import Source, SourceWeight, read_weight
from qplayground.engines.transformers.inside.tiles import read_tile
from tests.engine import by_hand, foreign, tiny
from tests.engine.conftest import ModelFolder, RecordingChannel, load_quietly

LAYER = "model.layers.1.mlp.down_proj"
WEIGHTS = "model.safetensors"
DEFAULT = QuantizationParams()


class Asked:
    """An engine that answers immediately."""

    def __init__(self) -> None:
        self._channel = RecordingChannel()
        self._engine = host.Engine(self._channel)

    def __call__(self, command: Any) -> list[Any]:
        self._channel.sent.clear()
        self._engine.carry_out(command)
        return list(self._channel.sent)

    def open(
        self, path: Path, module: str = LAYER, params: QuantizationParams = DEFAULT
    ) -> tuple[Matrix, QuantizedMatrix]:
        (opened,) = self(OpenMatrix(id=1, path=str(path), module=module))
        (quantized,) = self(QuantizeMatrix(id=2, params=params))
        assert isinstance(opened, MatrixOpened) and isinstance(quantized, MatrixQuantized), (opened, quantized)
        return opened.matrix, quantized.quantized

    def refusal(self, command: Any) -> Any:
        """The error of a command, which must be its only answer."""
        (failed,) = self(command)
        assert isinstance(failed, Failed), failed
        return failed.error

    def tile(self, picture: Picture, rows: slice, columns: slice, height: int, width: int) -> Tile:
        (read,) = self(
            ReadTile(
                id=3,
                picture=picture,
                first_row=rows.start,
                rows=rows.stop - rows.start,
                first_column=columns.start,
                columns=columns.stop - columns.start,
                height=height,
                width=width,
            )
        )
        assert isinstance(read, TileRead), read
        return read.tile

    def probe(self, row: int, column: int) -> ProbedWeight:
        (probed,) = self(ProbeWeight(id=4, row=row, column=column))
        assert isinstance(probed, WeightProbed), probed
        return probed.weight


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def copy(model_folder: ModelFolder, tmp_path: Path) -> Callable[[str], Path]:
    """A folder that may be changed."""
    return lambda family: Path(shutil.copytree(model_folder(family), tmp_path / "copy"))


def opening(path: Path, module: str) -> OpenMatrix:
    return OpenMatrix(id=1, path=str(path), module=module)


def change(path: Path, module: str, edit: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tensors = load_file(path / WEIGHTS)
    tensors[f"{module}.weight"] = edit(tensors[f"{module}.weight"].clone()).contiguous()
    save_file(tensors, path / WEIGHTS, metadata={"format": "pt"})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_the_matrix_is_told_as_it_is_stored(asked: Asked, copy: Callable[[str], Path], dtype: str) -> None:
    path = copy("llama")
    change(path, LAYER, lambda tensor: tensor.to(getattr(torch, dtype)))
    matrix, _ = asked.open(path)
    tensor = load_file(path / WEIGHTS)[f"{LAYER}.weight"].double()
    assert (matrix.rows, matrix.columns, matrix.stored_dtype) == (64, 128, dtype)
    assert matrix.stored_bytes == 64 * 128 * getattr(torch, dtype).itemsize
    assert matrix.lowest == pytest.approx(tensor.min().item())
    assert matrix.highest == pytest.approx(tensor.max().item())
    assert matrix.mean == pytest.approx(tensor.mean().item(), abs=1e-9)
    assert matrix.std == pytest.approx(tensor.std(correction=0).item())
    counts, edges = np.histogram(tensor.numpy(), len(matrix.histogram.counts))
    found = np.array(matrix.histogram.counts.values)
    assert matrix.histogram.low == pytest.approx(edges[0])
    assert matrix.histogram.high == pytest.approx(edges[-1])
    assert found.sum() == tensor.numel()
    assert np.abs(np.cumsum(found) - np.cumsum(counts)).max() <= 1  # a weight may lie on an edge in single precision


def test_a_conv1d_is_shown_as_the_layer_has_it(asked: Asked, model_folder: ModelFolder) -> None:
    path = model_folder("gpt2")
    matrix, quantized = asked.open(path, "transformer.h.0.attn.c_attn")
    stored = load_file(path / WEIGHTS)
    tensor = next(value for name, value in stored.items() if name.endswith("h.0.attn.c_attn.weight"))
    assert (matrix.rows, matrix.columns, matrix.transposed) == (192, 64, True)
    assert tensor.shape == (64, 192)
    weight = asked.probe(5, 3)
    assert weight.value == pytest.approx(tensor[3, 5].item())
    assert quantized.blocks == 192


@pytest.mark.parametrize("recipe", ["nf4", "nf4-dq", "fp4", "int8"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_loaded_engine_holds_the_same(model_folder: ModelFolder, family: str, recipe: str) -> None:
    path, precision = model_folder(family), tiny.precision(recipe)
    model = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.bfloat16, quantization_config=bnb_config(recipe), device_map={"": "cpu"}
    )
    source = Source(path)
    method = "int8" if recipe == "int8" else recipe[:3]
    params = QuantizationParams(method=method, double_quant=recipe.endswith("-dq"), dtype=precision.dtype).checked()
    layers = [(n, m) for n, m in model.named_modules() if type(m).__name__ in ("Linear4bit", "Linear8bitLt")]
    assert layers
    for name, module in layers:
        found = quantize(read_weight(source, name, source.weight(name)), params, name)
        held = module.weight
        assert torch.equal(found.codes, held.data.view(-1)), name
        if method == "int8":
            assert torch.equal(found.scales.used, held.SCB)
        elif params.double_quant:
            assert found.scales.codes is not None and torch.equal(found.scales.codes, held.quant_state.absmax)
        else:
            assert torch.equal(found.scales.used, held.quant_state.absmax)
        assert torch.equal(found.part(slice(0, found.rows), slice(0, found.columns)), turned_back(module))
        held_bytes = sum(
            each.numel() * each.element_size()
            for each in (
                [held.data, held.SCB]
                if method == "int8"
                else [held.data, *(t for t in state_tensors(held.quant_state) if t is not None)]
            )
        )
        assert found.num_bytes == held_bytes


def turned_back(module: Any) -> torch.Tensor:
    """The dequantized weights of a layer that has not run yet."""
    held = module.weight
    if type(module).__name__ == "Linear4bit":
        return by_hand.four_bit(held.data, held.quant_state).to(torch.bfloat16)
    return torch.as_tensor(int8_vectorwise_dequant(held.data, held.SCB)).to(torch.bfloat16)


def state_tensors(state: Any) -> list[torch.Tensor | None]:
    nested = state.state2
    return [state.absmax, state.code, state.offset, *((nested.absmax, nested.code) if nested else ())]


def bnb_config(recipe: str) -> BitsAndBytesConfig:
    if recipe == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=recipe[:3],
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_use_double_quant=recipe.endswith("-dq"),
    )


# ---- tiles -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("picture", Picture)
@pytest.mark.parametrize(
    "params",
    [
        QuantizationParams(),
        QuantizationParams(method="int8", block_size=None),
        QuantizationParams(method="int8-ao", block_size=None),  # its lowest code is -128
        QuantizationParams(dtype=Dtype.FLOAT32),
    ],
)
def test_as_many_pixels_as_weights_show_each(
    asked: Asked, model_folder: ModelFolder, picture: Picture, params: QuantizationParams
) -> None:
    path = model_folder("llama")
    asked.open(path, params=params)
    expected = whole(path, params)[picture]
    tile = asked.tile(picture, slice(3, 20), slice(5, 90), 1000, 1000)
    assert (tile.height, tile.width) == (17, 85)
    assert torch.equal(shown(tile), expected[3:20, 5:90])
    outside = asked.tile(picture, slice(-10, 100), slice(-5, 500), 1000, 1000)
    assert (outside.first_row, outside.rows, outside.first_column, outside.columns) == (0, 64, 0, 128)
    assert torch.equal(shown(outside), expected)


@pytest.mark.parametrize("most", [1 << 20, 300, 64])
@pytest.mark.parametrize("picture", Picture)
def test_a_pixel_shows_its_largest_weight(
    asked: Asked, model_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch, picture: Picture, most: int
) -> None:
    monkeypatch.setattr(tiles_module, "_PIECE", most)
    path = model_folder("llama")
    for params in (QuantizationParams(), QuantizationParams(method="int8", block_size=None, dtype=Dtype.FLOAT32)):
        asked.open(path, params=params)
        pictures = {each: values.numpy() for each, values in whole(path, params).items()}
        sizes = np.abs(pictures[Picture.DEQUANTIZED if picture is Picture.CODES else picture])
        for height, width in ((10, 13), (63, 6), (1, 1), (5, 128)):
            tile = asked.tile(picture, slice(1, 64), slice(2, 128), height, width)
            assert (tile.height, tile.width) == (min(height, 63), min(width, 126))
            pixels = shown(tile).numpy()
            for y, x in np.ndindex(tile.height, tile.width):
                rows = slice(1 + y * 63 // tile.height, 1 + (y + 1) * 63 // tile.height)
                columns = slice(2 + x * 126 // tile.width, 2 + (x + 1) * 126 // tile.width)
                those = sizes[rows, columns]
                assert pixels[y, x] in pictures[picture][rows, columns][those == those.max()], (params, y, x)


def shown(tile: Tile) -> torch.Tensor:
    return torch.tensor(tile.values.values).view(tile.height, tile.width)


def whole(path: Path, params: QuantizationParams) -> dict[Picture, torch.Tensor]:
    """Each picture of LAYER, in float32."""
    source = Source(path)
    weight = read_weight(source, LAYER, source.weight(LAYER))
    made = quantize(weight, params, "w")
    everything = slice(0, made.rows), slice(0, made.columns)
    original, back = weight.part(*everything).float(), made.part(*everything).float()
    return {
        Picture.ORIGINAL: original,
        Picture.CODES: made.displayed(*everything).float(),
        Picture.DEQUANTIZED: back,
        Picture.ERROR: back - original,
    }


def test_a_part_outside_is_refused(asked: Asked, model_folder: ModelFolder) -> None:
    tile = ReadTile(id=3, picture=Picture.ERROR, first_row=64, rows=5, first_column=0, columns=5, height=9, width=9)
    assert asked.refusal(tile).message == "No matrix is open."
    asked.open(model_folder("llama"))
    assert asked.refusal(tile).message == "That part lies outside of the matrix."
    assert asked.refusal(replace(tile, first_row=0, height=0)).code is ErrorCode.BAD_SETTINGS


def test_the_largest_weight_of_a_large_matrix_is_never_lost() -> None:
    tensor = torch.zeros(3001, 997, dtype=torch.bfloat16)
    tensor[2999, 996], tensor[17, 500] = -3, 2
    asked = ReadTile(
        id=1, picture=Picture.ORIGINAL, first_row=0, rows=3001, first_column=0, columns=997, height=700, width=90
    )
    pixels = shown(read_tile(asked, SourceWeight(tensor), None))
    assert pixels[699, 89] == -3
    assert (pixels != 0).sum() == 2


# ---- one weight ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        QuantizationParams(),
        QuantizationParams(double_quant=True, method="fp4"),
        QuantizationParams(method="int8", block_size=None),
        QuantizationParams(method="int8-ao", block_size=None),
        QuantizationParams(method="uniform3", block_size=None),
        QuantizationParams(method="int8-block", block_size=4096),
    ],
)
def test_a_weight_goes_all_the_way(asked: Asked, model_folder: ModelFolder, params: QuantizationParams) -> None:
    path = model_folder("llama")
    asked.open(path, params=params)
    pictures = whole(path, params)
    size = params.block_size or 64 * 128 if params.kind.has_blocks else 128
    for row, column in ((0, 0), (63, 127), (17, 66)):
        weight, index = asked.probe(row, column), row * 128 + column
        assert (weight.block, weight.block_first) == (index // size, index // size * size)
        assert weight.block_length == min(size, 64 * 128 - weight.block_first)
        assert weight.value == pictures[Picture.ORIGINAL][row, column]
        assert weight.code == pictures[Picture.CODES][row, column]
        assert weight.back == pictures[Picture.DEQUANTIZED][row, column]
        product = torch.tensor(weight.level) * torch.tensor(weight.absmax)
        assert weight.back == pytest.approx(product.to(torch.bfloat16).item(), rel=2**-7)
        block = pictures[Picture.ORIGINAL].view(-1)[weight.block_first :][: weight.block_length]
        assert weight.exact_absmax == pytest.approx(block.to(torch.bfloat16).abs().max().item(), rel=2**-8)
        assert (weight.absmax_code is None) is not params.double_quant
        values = list(weight.block_values.values)
        assert len(values) == min(4096, weight.block_length)
        assert weight.value in values
    assert asked.refusal(ProbeWeight(id=1, row=64, column=0)).code is ErrorCode.BAD_SETTINGS


def test_scales_of_many_blocks_are_runs_of_them(asked: Asked, copy: Callable[[str], Path]) -> None:
    path = copy("llama")
    change(path, LAYER, lambda tensor: torch.arange(64 * 2000).float().view(64, 2000))
    _, quantized = asked.open(path)
    scales = quantized.scales
    absmax = np.arange(64 * 2000).reshape(-1, 64).max(1).astype(np.float32)
    absmax = torch.tensor(absmax).to(torch.bfloat16).float().numpy()
    assert (scales.count, scales.per_point, len(scales.mean)) == (2000, 2, 1000)
    assert list(scales.lowest.values) == absmax[::2].tolist()
    assert list(scales.highest.values) == absmax[1::2].tolist()
    assert list(scales.mean.values) == pytest.approx(absmax.reshape(-1, 2).mean(1).tolist())
    assert sum(scales.histogram.counts.values) == 2000


# ---- what stays, and what cannot be opened --------------------------------------------------------------------------


def test_a_param_that_fails_leaves_what_was_there(asked: Asked, copy: Callable[[str], Path]) -> None:
    path = copy("llama")
    change(path, LAYER, lambda tensor: tensor.index_fill_(0, torch.tensor(3), 1e5))
    asked.open(path)
    before = asked.probe(3, 0)
    refused = asked.refusal(QuantizeMatrix(id=2, params=QuantizationParams(method="int8")))
    assert "row 3, column 0" in refused.message and "float16" in refused.message
    assert asked.refusal(QuantizeMatrix(id=2, params=QuantizationParams(block_size=100))).code is ErrorCode.BAD_SETTINGS
    assert asked.probe(3, 0) == before
    (quantized,) = asked(QuantizeMatrix(id=2, params=QuantizationParams(method="fp4")))
    assert quantized.quantized.params == QuantizationParams(method="fp4")
    assert asked.probe(3, 0) != before


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_first_weight_that_is_no_number_is_named(
    asked: Asked, copy: Callable[[str], Path], dtype: torch.dtype, bad: float
) -> None:
    def spoil(tensor: torch.Tensor) -> torch.Tensor:
        tensor[7, 9] = tensor[60, 1] = bad
        return tensor.to(dtype)

    path = copy("llama")
    change(path, LAYER, spoil)
    error = asked.refusal(opening(path, LAYER))
    assert error.code is ErrorCode.NON_FINITE_WEIGHTS
    assert "row 7, column 9" in error.message


@pytest.mark.parametrize("dtype", ["int32", "uint8"])
def test_integers_in_a_weights_place_are_codes(asked: Asked, copy: Callable[[str], Path], dtype: str) -> None:
    path = copy("llama")
    change(path, LAYER, lambda tensor: tensor.to(getattr(torch, dtype)))
    error = asked.refusal(opening(path, LAYER))
    assert error.code is ErrorCode.ALREADY_QUANTIZED  # a matrix of integers is never an original
    assert LAYER in error.message and "method not named" in error.message


def test_what_is_no_matrix_says_so(asked: Asked, model_folder: ModelFolder) -> None:
    path = model_folder("llama")
    assert "1 dimension (64)" in asked.refusal(opening(path, "model.norm")).message
    assert "has no weight of its own" in asked.refusal(opening(path, "model.layers.0")).message
    typo = asked.refusal(opening(path, "model.layers.1.mlp.down_prj"))
    assert LAYER in typo.hint
    tied = asked.refusal(opening(model_folder("llama-tied"), "lm_head"))
    assert "tied to that of model.embed_tokens" in tied.message
    experts = asked.refusal(opening(model_folder("mixtral"), "model.layers.0.mlp.experts"))
    assert "holds gate_up_proj (2 × 256 × 64), down_proj (2 × 64 × 128). Only matrices" in experts.message
    router, _ = asked.open(model_folder("mixtral"), "model.layers.0.mlp.gate")
    assert (router.rows, router.columns) == (2, 64)
    matrix, _ = asked.open(path, "model.embed_tokens")
    assert (matrix.rows, matrix.columns) == (tiny.VOCABULARY, 64)


def test_files_that_changed_are_read_anew_and_gone_ones_said(asked: Asked, copy: Callable[[str], Path]) -> None:
    path = copy("llama")
    before, _ = asked.open(path)
    change(path, LAYER, lambda tensor: 2 * tensor)
    after, _ = asked.open(path)
    assert after.highest == 2 * before.highest
    with (path / WEIGHTS).open("r+b") as file:
        file.truncate(5000)
    assert asked.refusal(opening(path, LAYER)).code is ErrorCode.BROKEN_WEIGHTS
    shutil.rmtree(path)
    assert asked.refusal(opening(path, LAYER)).code is ErrorCode.INCOMPLETE_DOWNLOAD


# ---- models already quantized ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["nf4", "nf4-dq", "fp4-dq", "int8"])
def test_codes_that_were_stored_are_shown_as_they_are(
    asked: Asked, model_folder: ModelFolder, tmp_path: Path, recipe: str
) -> None:
    path = tmp_path / recipe
    model = AutoModelForCausalLM.from_pretrained(
        model_folder("llama"), dtype=torch.bfloat16, quantization_config=bnb_config(recipe), device_map={"": "cpu"}
    )
    model.save_pretrained(path)
    held = model.get_submodule(LAYER)
    (outlined,) = asked(OutlineModel(id=1, path=str(path), precisions=READY_PRECISIONS))
    assert isinstance(outlined, ModelOutlined), outlined
    assert outlined.outline.quantized_by == f"bitsandbytes {recipe.partition('-')[0].upper()}"
    assert outlined.outline.suggested.startswith("model.layers.")
    (opened,) = asked(opening(path, LAYER))
    assert isinstance(opened, MatrixOpened), opened
    matrix, stored = opened.matrix, opened.matrix.stored
    assert stored is not None and stored.figures is None
    assert outlined.outline.quantized_by in matrix.fixed_because
    assert (stored.params.method, stored.params.double_quant) == (recipe.partition("-")[0], recipe.endswith("-dq"))
    back = turned_back(held).float()
    everything = slice(0, 64), slice(0, 128), 64, 128
    assert torch.equal(shown(asked.tile(Picture.DEQUANTIZED, *everything)), back)
    assert torch.equal(shown(asked.tile(Picture.ORIGINAL, *everything)), back)
    assert not shown(asked.tile(Picture.ERROR, *everything)).any()
    codes = held.weight.data.view(-1)
    if recipe != "int8":
        codes = torch.stack((codes >> 4, codes & 15), -1)
    assert torch.equal(shown(asked.tile(Picture.CODES, *everything)), codes.view(64, 128).float())
    assert matrix.highest == back.max()
    assert asked.refusal(QuantizeMatrix(id=2, params=QuantizationParams())).message == matrix.fixed_because
    matrix, quantized = asked.open(path, "lm_head")  # not quantized, so methods can be tried on it
    assert not matrix.fixed_because and quantized.figures is not None


def test_codes_that_do_not_fit_their_scales_are_refused(
    asked: Asked, model_folder: ModelFolder, tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(
        model_folder("llama"), dtype=torch.bfloat16, quantization_config=bnb_config("nf4"), device_map={"": "cpu"}
    )
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    for name, wrong in {f"{LAYER}.weight": (100, 1), f"{LAYER}.weight.absmax": (5,)}.items():
        changed = tensors | {name: torch.zeros(wrong, dtype=tensors[name].dtype)}
        save_file(changed, tmp_path / WEIGHTS, metadata={"format": "pt"})
        assert asked.refusal(opening(tmp_path, LAYER)).code is ErrorCode.BROKEN_WEIGHTS


@pytest.mark.parametrize("kind", foreign.KINDS)
def test_what_others_quantized_is_named(asked: Asked, tmp_path: Path, kind: str) -> None:
    path = foreign.make(tmp_path, kind)
    method = foreign.method(kind)
    title = method if "-" in method else method.upper()
    (outlined,) = asked(OutlineModel(id=1, path=str(path), precisions=READY_PRECISIONS))
    assert outlined.outline.quantized_by == title
    modules = {module.name: module for module in outlined.outline.modules}
    assert modules[LAYER].is_quantized and modules[LAYER].shape == (64, 128)
    assert not modules["lm_head"].is_quantized
    assert not any(module.bytes or module.kept for module in modules.values())
    error = asked.refusal(opening(path, LAYER))
    assert error.code is ErrorCode.ALREADY_QUANTIZED and f"({title})" in error.message
    matrix, _ = asked.open(path, "lm_head")
    assert not matrix.fixed_because


def test_torch_has_its_threads_back(asked: Asked, model_folder: ModelFolder) -> None:
    before = torch.get_num_threads()
    asked.open(model_folder("llama"), "model.embed_tokens")
    asked.refusal(ProbeWeight(id=1, row=-1, column=0))
    assert torch.get_num_threads() == before


def test_a_loaded_model_stays_loaded(model_folder: ModelFolder) -> None:
    """Looking inside takes nothing from a model that the engine has loaded."""
    loaded = load_quietly(model_folder("llama"), "nf4")
    before = loaded.weight_bytes
    Asked().open(model_folder("llama"))
    assert loaded.weight_bytes == before
