"""The labels at the ticks of an axis."""

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from qplayground.ui.charts.axes import CountAxis, DecadeAxis


@pytest.mark.parametrize("last", [1.0, 2.0, 3.4, 24.0, 10_000.0])
def test_what_is_counted_has_whole_ticks(qtbot: QtBot, last: float) -> None:
    levels = CountAxis("bottom").tickValues(0.0, last, 900)
    found = [value for _, values in levels for value in values]
    assert found and all(value == round(value) for value in found)
    assert CountAxis("bottom").tickStrings([1.0, 2.0], 1.0, 1.0) == ["1", "2"]


@pytest.mark.parametrize(
    ("low", "high", "values", "texts"),
    [
        (-8, 1, [-8, -5, -4, -1, 0, 1], ["10⁻⁸", "10⁻⁵", "10⁻⁴", "10⁻¹", "10⁰", "10¹"]),
        (-5, -3, [float(np.log10(3e-4)), -3], ["3·10⁻⁴", "10⁻³"]),
        (-2, 2, [-2, float(np.log10(0.3)), 0, float(np.log10(70)), 2], ["0.01", "0.3", "1", "70", "100"]),
    ],
)
def test_one_notation_a_logarithmic_axis(
    qtbot: QtBot, low: float, high: float, values: list[float], texts: list[str]
) -> None:
    axis = DecadeAxis("bottom")
    axis.setRange(low, high)
    axis.setLogMode(x=True, y=False)
    assert axis.tickStrings(values, 1.0, 1.0) == texts
