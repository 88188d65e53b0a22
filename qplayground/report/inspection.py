"""What quantizing costs each layer, as JSON and as a table."""

from collections.abc import Sequence
from statistics import median

import msgspec

from qplayground.core.dtype import Dtype
from qplayground.core.inside import LayerRow, LeftOut, QuantizationParams
from qplayground.core.model import ModelEntry
from qplayground.core.units import share_text, significant
from qplayground.report.columns import aligned

_HEADINGS = ("Module", "Method", "Block", "Double quant.", "Bits a weight", "Relative error", "SNR", "Largest error")
_TEXTS = 4
"""So many columns are texts; figures are aligned on the right."""


def inspection_json(entry: ModelEntry, dtype: Dtype, rows: Sequence[LayerRow], left_out: Sequence[LeftOut]) -> bytes:
    """A row a layer and choice. `block_size` is null for one scale over the whole tensor and for methods with one a
    row; `relative_error` is ‖Q − W‖ / ‖W‖ and `snr_db` −20 log10 of it, null where there is no error;
    `max_abs_error` is what tables call the largest error.
    """
    shown = {"model": entry.id, "dtype": dtype, "rows": [_fields(row) for row in rows], "left_out": left_out}
    return msgspec.json.format(msgspec.json.encode(shown), indent=2)


def inspection_table(rows: Sequence[LayerRow]) -> str:
    """Aligned columns, then, of several layers, what each choice costs them all."""
    return "\n".join(aligned([_HEADINGS, *map(_line, rows)], texts=_TEXTS) + _summary(rows))


def left_out_text(left_out: LeftOut) -> str:
    """A line on what was not measured."""
    return f"{left_out.module} was left out: {left_out.reason}"


def _fields(row: LayerRow) -> dict[str, object]:
    params, figures = row.params, row.figures
    return {
        "module": row.module,
        "method": params.method,
        "block_size": params.block_size,
        "double_quant": params.double_quant,
        "bits_per_weight": figures.bits_per_weight,
        "relative_error": figures.relative_error,
        "snr_db": figures.snr_db,
        "max_abs_error": figures.max_abs_error,
    }


def _line(row: LayerRow) -> tuple[str, ...]:
    params, figures = row.params, row.figures
    return (
        row.module,
        params.method,
        _block(params),
        "yes" if params.double_quant else "no",
        f"{figures.bits_per_weight:.3f}",
        share_text(figures.relative_error),
        "–" if figures.snr_db is None else f"{figures.snr_db:.2f} dB",
        significant(figures.max_abs_error),
    )


def _block(params: QuantizationParams) -> str:
    if not params.kind.has_blocks:
        return "row"
    return "tensor" if params.block_size is None else str(params.block_size)


def _summary(rows: Sequence[LayerRow]) -> list[str]:
    by_params: dict[QuantizationParams, list[LayerRow]] = {}
    for row in rows:
        by_params.setdefault(row.params, []).append(row)
    if max(map(len, by_params.values()), default=0) < 2:
        return []
    lines = ["", "Relative error:"]
    for params, found in by_params.items():
        worst = max(found, key=lambda row: row.figures.relative_error)
        middle = share_text(median(row.figures.relative_error for row in found))
        lines.append(
            f"  {params.label}: median {middle} of {len(found)} layers, "
            f"worst {share_text(worst.figures.relative_error)} ({worst.module})"
        )
    return lines
