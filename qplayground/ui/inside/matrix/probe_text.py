"""Describes the quantization of one weight in one line."""

from qplayground.core.inside import ProbedWeight
from qplayground.core.units import significant


def probe_text(weight: ProbedWeight, columns: int) -> str:
    """Value → block → absmax → code → level → dequantized value. `columns`: those of the matrix."""
    row, column = divmod(weight.block_first, columns)
    weights = "weight" if weight.block_length == 1 else "weights"
    absmax = significant(weight.absmax)
    if weight.absmax_code is not None:
        absmax += f" (stored as code {weight.absmax_code}, was {significant(weight.exact_absmax)})"
    return " → ".join(
        (
            f"Row {weight.row:,}, column {weight.column:,}: {significant(weight.value)}",
            f"block {weight.block:,} ({weight.block_length:,} {weights} from row {row:,}, column {column:,})",
            f"absmax {absmax}",
            f"code {weight.code}",
            f"level {significant(weight.level)}",
            f"{significant(weight.back)}, error {significant(weight.error)}",
        )
    )
