"""A measured figure and its target."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field


@dataclass
class Figure:
    """`value` is the median unless the name says otherwise. `at_most` or `at_least` is the target, if any."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    samples: list[float] = field(default_factory=list)

    @property
    def met(self) -> bool:
        above = self.at_most is not None and self.value > self.at_most
        below = self.at_least is not None and self.value < self.at_least
        return not above and not below

    @property
    def target(self) -> str:
        if self.at_most is not None:
            return f"≤ {self.at_most:g}"
        return "" if self.at_least is None else f"≥ {self.at_least:g}"

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "met": self.met}


def median_of(
    name: str, samples: Sequence[float], unit: str, *, at_most: float | None = None, at_least: float | None = None
) -> Figure:
    """A figure whose value is the median of its samples."""
    return Figure(name, statistics.median(samples), unit, at_most, at_least, list(samples))


def table(figures: Sequence[Figure]) -> str:
    """Aligned rows: figure, measured, spread, target, met."""
    rows = _rows(figures)
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def markdown(figures: Sequence[Figure]) -> str:
    """The same rows as a Markdown table."""
    head, *rows = _rows(figures)
    lines = [" | ".join(row) for row in (head, ("---",) * len(head), *rows)]
    return "".join(f"| {line} |\n" for line in lines)


def _rows(figures: Sequence[Figure]) -> list[tuple[str, str, str, str, str]]:
    rows = [("figure", "measured", "spread", "target", "")]
    for figure in figures:
        spread = f"{_digits(min(figure.samples))} … {_digits(max(figure.samples))}" if len(figure.samples) > 1 else ""
        verdict = "" if not figure.target else "met" if figure.met else "MISSED"
        rows.append((figure.name, f"{_digits(figure.value)} {figure.unit}", spread, figure.target, verdict))
    return rows


def _digits(value: float) -> str:
    """At least three digits, without an exponent where a person would write none."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
