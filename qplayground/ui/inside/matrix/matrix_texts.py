"""Describes a matrix and its blocks in words."""

from qplayground.core.inside import Matrix, QuantizationParams, QuantizedMatrix
from qplayground.core.units import bytes_text, significant


def block_weights(params: QuantizationParams, matrix: Matrix) -> int:
    """The number of weights that share a scale."""
    if not params.kind.has_blocks:
        return matrix.columns
    return params.block_size or matrix.rows * matrix.columns


def matrix_title(matrix: Matrix) -> str:
    """Its module, shape, bytes and values: `model.norm · 64 × 64 · 8.19 kB as bfloat16 · -0.1 to 0.1, std 0.02`."""
    turned = ", transposed" if matrix.transposed else ""
    stored = f"{bytes_text(matrix.stored_bytes)} as {matrix.stored_dtype}"
    values = f"{significant(matrix.lowest)} to {significant(matrix.highest)}, std {significant(matrix.std)}"
    return f"{matrix.module} · {matrix.rows:,} × {matrix.columns:,}{turned} · {stored} · {values}"


def blocks_text(quantized: QuantizedMatrix) -> str:
    """The number of blocks, and the length of the last one if it is shorter."""
    rows = not quantized.params.kind.has_blocks
    count = f"{quantized.blocks:,} {'row' if rows else 'block'}{'s' * (quantized.blocks != 1)}"
    size = quantized.params.block_size
    short = size is not None and not rows and quantized.last_block != size
    return f"{count}, the last one of {quantized.last_block:,} weights" if short else count
