"""Rows of texts with aligned columns, for the terminal."""

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], *, texts: int | None = None) -> list[str]:
    """A line a row, and one under the first, which has the headings. What follows the first `texts` columns are
    figures, aligned on the right; by default there are none.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = len(widths) if texts is None else texts
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:left], widths[:left], strict=True)]
        cells += [cell.rjust(width) for cell, width in zip(row[left:], widths[left:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines
