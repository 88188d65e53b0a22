"""Bytes held outside parameters and buffers are counted, before and after the first forward."""

import bitsandbytes as bnb
import pytest
import torch
from bitsandbytes.functional import has_avx512bf16
from torch import nn

from qplayground.engines.transformers.loading.accounting import held_map, held_tensors, weight_bytes

ROWS, COLUMNS = 128, 256
ELEMENTS = ROWS * COLUMNS
BLOCKS = ELEMENTS // 64
CODE, OFFSET, NESTED_CODE, NESTED_ABSMAX = 16 * 4, 4, 256 * 4, 4 * (BLOCKS // 256)


def four_bit(*, nested: bool) -> nn.Module:
    layer = bnb.nn.Linear4bit(COLUMNS, ROWS, bias=False, compress_statistics=nested, quant_type="nf4")
    return _on_cpu(layer)


def eight_bit() -> nn.Module:
    return _on_cpu(bnb.nn.Linear8bitLt(COLUMNS, ROWS, bias=False, has_fp16_weights=False))


def _on_cpu(layer: nn.Module) -> nn.Module:
    return layer.eval().to(torch.bfloat16).to("cpu")


@torch.inference_mode()
def forward(layer: nn.Module) -> None:
    layer(torch.ones(1, COLUMNS, dtype=torch.bfloat16))


def test_int8_counts_its_row_scales() -> None:
    layer = eight_bit()
    assert weight_bytes(layer) == ELEMENTS + 4 * ROWS

    forward(layer)
    assert weight_bytes(layer) == ELEMENTS + 4 * ROWS


def test_four_bit_counts_its_block_scales_and_code() -> None:
    layer = four_bit(nested=False)
    assert weight_bytes(layer) == ELEMENTS // 2 + 4 * BLOCKS + CODE

    forward(layer)
    scale = 2 if has_avx512bf16() else 4
    assert weight_bytes(layer) == ELEMENTS // 2 + scale * BLOCKS + CODE


def test_double_quantization_counts_both_levels() -> None:
    layer = four_bit(nested=True)
    nested = ELEMENTS // 2 + BLOCKS + NESTED_ABSMAX + NESTED_CODE + CODE + OFFSET
    assert weight_bytes(layer) == nested

    forward(layer)  # undone when bitsandbytes repacks for AVX512_BF16
    assert weight_bytes(layer) == (ELEMENTS // 2 + 2 * BLOCKS + CODE + OFFSET if has_avx512bf16() else nested)


def test_each_tensor_says_what_it_is() -> None:
    kinds = [held.kind for held in held_tensors(nn.ModuleDict({"a": four_bit(nested=True)}))]

    assert sorted(kinds) == ["absmax", "code", "nested_absmax", "nested_code", "offset", "weight"]
    assert {held.module for held in held_tensors(nn.ModuleDict({"a": eight_bit()}))} == {"a"}


def test_a_shared_storage_counts_once_and_buffers_count() -> None:
    module = nn.Module()
    module.first = nn.Linear(4, 4, bias=False)
    module.second = nn.Linear(4, 4, bias=False)
    module.second.weight = module.first.weight
    module.register_buffer("table", torch.zeros(3, dtype=torch.int64))

    assert weight_bytes(module) == 4 * 4 * 4 + 3 * 8


def test_parts_of_one_storage_all_count() -> None:
    """transformers loads fused tensors of a checkpoint as views of one tensor, without a copy."""
    model = nn.ModuleList(nn.Linear(COLUMNS, ROWS, bias=False) for _ in range(3))
    for layer, part in zip(model, torch.zeros(3 * ROWS, COLUMNS).chunk(3), strict=True):
        layer.weight = nn.Parameter(part)
    assert weight_bytes(model) == 3 * 4 * ELEMENTS
    assert [held.module for held in held_tensors(model)] == ["0", "1", "2"]


def test_tensors_without_memory_count_nothing() -> None:
    with torch.device("meta"):
        model = nn.Linear(1000, 1000)

    assert weight_bytes(model) == 0


@pytest.mark.parametrize(
    ("mapped", "told"),
    [
        (None, {"": "cpu"}),
        ({"": "cpu"}, {"": "cpu"}),
        ({"a": "cpu", "b": "disk"}, {"a": "cpu", "b": "disk"}),
    ],
)
def test_the_device_map_is_in_words(mapped: dict[str, str] | None, told: dict[str, str]) -> None:
    model = nn.Linear(2, 2)
    model.hf_device_map = mapped  # type: ignore[assignment]

    assert held_map(model) == told
