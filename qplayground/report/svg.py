"""Bar charts as SVG elements, for reports that no program has to draw."""

from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree as Xml

_WIDTH, _ROW, _JOINED, _BAR = 640, 26, 18, 16
_LEFT, _RIGHT = 110, 170


class Bar(NamedTuple):
    """One row: a name, its stretches as (value, fill, what it is), what stands beside it, and a whisker if any.

    `mark` is a value with a line of its own; `is_joined`: close below the row before.
    """

    name: str
    parts: Sequence[tuple[float, str, str]]
    caption: str
    whisker: tuple[float, float] | None = None
    mark: float | None = None
    is_joined: bool = False


def bar_chart(title: str, bars: Sequence[Bar]) -> str:
    """Horizontal bars from zero, on one scale. Colours of text and lines are the page's (`currentColor`)."""
    height = sum(map(_height, bars)) + 8
    chart = Xml.Element(
        "svg",
        {"viewBox": f"0 0 {_WIDTH} {height}", "width": "100%", "role": "img", "aria-label": title, "class": "chart"},
    )
    reach = [max(sum(part[0] for part in bar.parts), bar.mark or 0, (bar.whisker or (0, 0))[1]) for bar in bars]
    scale = (_WIDTH - _LEFT - _RIGHT) / (max(reach, default=0) or 1)
    below = 4.0
    for bar, end in zip(bars, reach, strict=True):
        below += _height(bar)
        middle = below - _ROW / 2
        _text(chart, _LEFT - 8, middle, bar.name, "end")
        left = float(_LEFT)
        for value, fill, what in bar.parts:
            size = {"width": f"{value * scale:.1f}", "height": str(_BAR), "style": f"fill:{fill}"}
            part = Xml.SubElement(chart, "rect", {"x": f"{left:.1f}", "y": f"{middle - _BAR / 2:.1f}", **size})
            Xml.SubElement(part, "title").text = f"{bar.name}, {what}"
            left += value * scale
        if bar.whisker is not None:
            low, high = (_LEFT + value * scale for value in bar.whisker)
            _line(chart, low, middle, high, middle)
            for x in (low, high):
                _line(chart, x, middle - 4, x, middle + 4)
        if bar.mark is not None:
            x = _LEFT + bar.mark * scale
            _line(chart, x, middle - _BAR / 2 - 2, x, middle + _BAR / 2 + 2)
        _text(chart, _LEFT + end * scale + 8, middle, bar.caption, "start")
    return Xml.tostring(chart, encoding="unicode")


def _height(bar: Bar) -> int:
    return _JOINED if bar.is_joined else _ROW


def _text(chart: Xml.Element, x: float, y: float, text: str, anchor: str) -> None:
    where = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "dominant-baseline": "central"}
    Xml.SubElement(chart, "text", where).text = text


def _line(chart: Xml.Element, x1: float, y1: float, x2: float, y2: float) -> None:
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    Xml.SubElement(chart, "line", {key: f"{value:.1f}" for key, value in ends.items()})
