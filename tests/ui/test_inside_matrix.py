"""The Matrix tab: tiles, borders, the weight under the mouse, and files."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import QApplication, QFileDialog
from pytestqt.qtbot import QtBot

from qplayground.core.inside import Histogram, Picture, ProbedWeight, QuantizationParams, Scales, Tile
from qplayground.core.measures.floats import Counts, Floats
from qplayground.core.units import significant
from qplayground.ui.charts.inside.block_borders import block_borders
from qplayground.ui.charts.inside.code_scale import CodeScale
from qplayground.ui.charts.inside.heat_map import HeatMap
from qplayground.ui.charts.inside.scales_plot import median_absmax
from qplayground.ui.charts.inside.tile_stack import tile_values
from qplayground.ui.inside.matrix.matrix_view import MatrixView
from qplayground.ui.inside.matrix.probe_text import probe_text
from qplayground.ui.inside.saving import SaveButton
from qplayground.ui.inside.window import InsideWindow
from tests.fakes.inside import COLUMNS, LARGE_COLUMNS, LARGE_ROWS, LINEAR, ROWS, SUGGESTED, figures, quantized, weights
from tests.ui.inside_driving import WAIT_MS, choose, turn, wait_quantized

LARGE = next(name for name in LINEAR if name.endswith("large"))


@pytest.fixture
def view(qtbot: QtBot, inside: InsideWindow) -> MatrixView:
    """The Matrix tab with the whole matrix drawn."""
    wait_for(qtbot, inside.matrix, Picture.ORIGINAL)
    return inside.matrix


def wait_for(qtbot: QtBot, view: MatrixView, picture: Picture) -> None:
    def is_shown() -> bool:
        tile = view.heat.tiles.overview
        return tile is not None and tile.picture is picture and view.image.is_current

    qtbot.waitUntil(is_shown, timeout=WAIT_MS)


def has_detail(view: MatrixView) -> bool:
    return view.heat.tiles.detail is not None


def values_in(heat: HeatMap) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    assert heat.tiles.overview is not None
    return tile_values(heat.tiles.overview)


def levels(heat: HeatMap) -> tuple[float, float]:
    """The range of the colours, equal in the picture and its key."""
    low, high = heat.key.levels()
    assert list(heat.overview.getLevels()) == [low, high]
    return low, high


# ---- pictures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("picture", list(Picture))
def test_each_picture_shows_its_values(qtbot: QtBot, view: MatrixView, picture: Picture) -> None:
    view.image.pictures[picture].click()
    wait_for(qtbot, view, picture)
    of = weights(SUGGESTED)
    codes, _, back = quantized(of, QuantizationParams())
    wanted = {
        Picture.ORIGINAL: of,
        Picture.CODES: codes,
        Picture.DEQUANTIZED: back,
        Picture.ERROR: back - of,
    }
    assert np.array_equal(values_in(view.heat), wanted[picture])


def test_colours_are_around_zero_and_the_same_before_and_after(qtbot: QtBot, view: MatrixView) -> None:
    first = levels(view.heat)
    assert first[0] == -first[1]
    assert f"from {significant(first[0])} to {significant(first[1])}" in view.image.legend.text()
    view.image.pictures[Picture.DEQUANTIZED].click()
    wait_for(qtbot, view, Picture.DEQUANTIZED)
    assert levels(view.heat) == first
    view.image.pictures[Picture.ERROR].click()
    wait_for(qtbot, view, Picture.ERROR)
    low, high = levels(view.heat)
    assert low == -high and 0 < high <= figures(weights(SUGGESTED), QuantizationParams()).max_abs_error
    view.image.pictures[Picture.CODES].click()
    wait_for(qtbot, view, Picture.CODES)
    assert levels(view.heat) == (0.0, 15.0)


def test_colours_of_codes_follow_their_levels_and_say_so(qtbot: QtBot, view: MatrixView) -> None:
    """FP4's codes are not ordered by level, and its −0 lies below its 0."""
    third = 1 / 3
    positive = [0.0, 0.0052, 2 * third, 1.0, third, 0.5, third / 2, 0.25]
    scale = CodeScale(Floats.of([*positive, *(-level for level in positive)]), 0)
    in_order = [11, 10, 13, 12, 15, 14, 9, 8, 0, 1, 6, 7, 4, 5, 2, 3]
    assert scale.ranks(np.array(in_order, np.float32)).tolist() == list(range(16))
    assert [text.partition(":")[0] for _, text in scale.ticks()] == [str(code) for code in in_order]
    assert scale.ends() == ("code 11 (level -1)", "code 3 (level 1)")
    tile = Tile(
        picture=Picture.CODES,
        first_row=0,
        rows=ROWS,
        first_column=0,
        columns=COLUMNS,
        height=2,
        width=2,
        values=Floats.of([11, 3, 8, 0]),
    )
    view.heat.show_tile(tile, 0, scale.highest_rank, scale)
    assert view.heat.overview.image.tolist() == [[0, 15], [7, 8]]
    assert list(levels(view.heat)) == [0, 15] and view.heat.key.axis._tickLevels == [scale.ticks()]
    view.image.pictures[Picture.CODES].click()
    wait_for(qtbot, view, Picture.CODES)
    assert "in the order of the levels, from code 0 (level -1) to code 15 (level 1)" in view.image.legend.text()
    view.image.pictures[Picture.ORIGINAL].click()
    wait_for(qtbot, view, Picture.ORIGINAL)
    assert view.heat.key.axis._tickLevels is None


def test_a_scale_of_many_codes_names_a_few() -> None:
    scale = CodeScale(Floats.of([place / 127 for place in range(-127, 128)]), -127)
    assert [text for _, text in scale.ticks()][::4] == ["-127", "0", "127"]
    assert scale.ranks(np.array([-127, 0, 127], np.float32)).tolist() == [0, 127, 254]


def test_other_params_draw_the_codes_anew(qtbot: QtBot, inside: InsideWindow, view: MatrixView) -> None:
    view.image.pictures[Picture.CODES].click()
    wait_for(qtbot, view, Picture.CODES)
    turn(inside, "int8")
    wanted = QuantizationParams(method="int8").checked()
    wait_quantized(qtbot, inside, wanted)
    wait_for(qtbot, view, Picture.CODES)
    assert np.array_equal(values_in(view.heat), quantized(weights(SUGGESTED), wanted)[0])
    assert levels(view.heat) == (0.0, 254.0)


def test_a_large_matrix_has_an_overview_and_the_part_in_view_in_detail(
    qtbot: QtBot,
    inside: InsideWindow,
    view: MatrixView,
) -> None:
    choose(qtbot, inside, LARGE)
    wait_for(qtbot, view, Picture.ORIGINAL)
    overview = view.heat.tiles.overview
    assert overview is not None and (overview.rows, overview.columns) == (LARGE_ROWS, LARGE_COLUMNS)
    assert overview.height * overview.width <= 700 * 1000 and not has_detail(view)
    assert "a pixel is the largest of" in view.image.legend.text()
    view.heat.plot.setRange(xRange=(100, 180), yRange=(50, 90), padding=0)
    qtbot.waitUntil(lambda: has_detail(view), timeout=WAIT_MS)
    detail = view.heat.tiles.detail
    assert detail is not None and view.heat.tiles.overview is overview  # still below it
    first_row, rows, first_column, columns = view.heat.seen()
    assert (detail.first_row, detail.rows, detail.first_column, detail.columns) == (
        first_row,
        rows,
        first_column,
        columns,
    )
    part = weights(LARGE)[first_row : first_row + rows, first_column : first_column + columns]
    assert np.array_equal(tile_values(detail), part) and "a pixel" not in view.image.legend.text()


def test_the_overview_has_no_more_values_than_the_screen_has_pixels(
    qtbot: QtBot,
    inside: InsideWindow,
    view: MatrixView,
) -> None:
    choose(qtbot, inside, LARGE)
    wait_for(qtbot, view, Picture.ORIGINAL)
    inside.resize(900, 600)

    def fits() -> bool:
        tile, (height, width) = view.heat.tiles.overview, view.heat.pixels()
        return tile is not None and tile.height <= 1.1 * height and tile.width <= 1.1 * width

    assert not fits()  # some pixels would not be drawn
    qtbot.waitUntil(fits, timeout=WAIT_MS)
    assert not view.heat.needs_detail


def test_a_part_that_is_sharp_already_is_not_asked_for_again(
    qtbot: QtBot,
    inside: InsideWindow,
    view: MatrixView,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []
    choose(qtbot, inside, LARGE)
    wait_for(qtbot, view, Picture.ORIGINAL)
    view.heat.plot.setRange(xRange=(100, 180), yRange=(50, 90), padding=0)
    qtbot.waitUntil(lambda: view.heat.tiles.detail is not None, timeout=WAIT_MS)
    monkeypatch.setattr(inside.inspector, "read_tile", lambda *question: asked.append(question))
    with qtbot.waitSignal(view.heat.settled):
        view.heat.plot.setRange(xRange=(110, 150), yRange=(60, 80), padding=0)
    assert not asked


def test_the_error_cannot_be_chosen_where_nothing_is_there_to_compare_with(
    qtbot: QtBot,
    inside: InsideWindow,
    view: MatrixView,
) -> None:
    view.image.pictures[Picture.ERROR].click()
    wait_for(qtbot, view, Picture.ERROR)
    choose(qtbot, inside, "model.layers.2.mlp.rests")
    qtbot.waitUntil(lambda: view.image.pictures[Picture.ORIGINAL].isChecked(), timeout=WAIT_MS)
    assert not view.image.pictures[Picture.ERROR].isEnabled() and view.image.pictures[Picture.CODES].isEnabled()


# ---- borders ------------------------------------------------------------------------------------------------------


def borders_by_definition(block: int, rows: int, columns: int) -> set[tuple[float, float, float, float]]:
    """Unit edges between neighbours of different blocks, inside the matrix."""
    number = np.arange(rows * columns).reshape(rows, columns) // block
    upright = {
        (column, row, column, row + 1)
        for row in range(rows)
        for column in range(1, columns)
        if number[row, column] != number[row, column - 1]
    }
    level = {
        (column, row, column + 1, row)
        for row in range(1, rows)
        for column in range(columns)
        if number[row, column] != number[row - 1, column]
    }
    return {(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in upright | level}


def unit_edges(x: np.ndarray, y: np.ndarray, rows: int, columns: int) -> set[tuple[float, float, float, float]]:
    """The same from the drawn lines, without the matrix's outer edges."""
    found = set()
    for (x1, x2), (y1, y2) in zip(x.reshape(-1, 2), y.reshape(-1, 2), strict=True):
        if x1 == x2 and 0 < x1 < columns:
            found |= {(x1, float(row), x1, float(row + 1)) for row in range(int(y1), int(y2))}
        elif y1 == y2 and 0 < y1 < rows:
            found |= {(float(column), y1, float(column + 1), y1) for column in range(int(x1), int(x2))}
    return found


@pytest.mark.parametrize("block", [1, 3, 4, 6, 7, 12, 17, 24, 30, 60, 100])
def test_borders_are_where_neighbours_belong_to_different_blocks(block: int) -> None:
    rows, columns = 6, 12
    x, y = block_borders(block, rows, columns, (0, rows, 0, columns))
    assert unit_edges(x, y, rows, columns) == borders_by_definition(block, rows, columns)


def test_borders_are_drawn_from_six_pixels_on(qtbot: QtBot, view: MatrixView) -> None:
    heat = view.heat
    heat.show_blocks(64)
    x, _ = heat.borders.getData()
    assert x is not None and len(x)
    heat.show_blocks(1)
    heat.plot.setRange(xRange=(0, COLUMNS), yRange=(0, ROWS), padding=0)
    assert heat.plot.vb.size().width() / COLUMNS < 6
    x, _ = heat.borders.getData()
    assert x is None or not len(x)
    heat.show_blocks(None)
    x, _ = heat.borders.getData()
    assert x is None or not len(x)


# ---- one weight ---------------------------------------------------------------------------------------------------


def test_the_weight_under_the_mouse_is_followed(qtbot: QtBot, view: MatrixView) -> None:
    at = view.heat.plot.vb.mapViewToScene(view.heat.plot.vb.viewRect().center().__class__(5.5, 3.5))
    view.heat.plot.scene().sigMouseMoved.emit(at)
    qtbot.waitUntil(lambda: "→" in view.probe.text(), timeout=WAIT_MS)
    of = weights(SUGGESTED)
    codes, absmax, back = quantized(of, QuantizationParams())
    block = (3 * COLUMNS + 5) // 64
    text = view.probe.text()
    assert text.startswith(f"Row 3, column 5: {significant(float(of[3, 5]))} → block {block} (64 weights from row 2")
    assert f"code {int(codes[3, 5])} →" in text and f"absmax {significant(float(absmax[block]))}" in text
    assert f"→ {significant(float(back[3, 5]))}, error" in text
    assert view.histogram.level_weights.max() == pytest.approx(float(absmax[block]))
    assert len(view.histogram.ticks.getData()[0]) == 2 * 64  # two ends of a line for each weight of the block
    QApplication.sendEvent(view.heat.view, QEvent(QEvent.Type.Leave))
    x, _ = view.histogram.ticks.getData()
    assert "→" not in view.probe.text() and (x is None or not len(x))
    assert view.histogram.level_weights.max() == pytest.approx(float(np.median(absmax)))


def test_arrow_keys_go_on_from_a_weight_and_stop_at_the_edge(qtbot: QtBot, view: MatrixView) -> None:
    view.heat.clicked.emit(0, 7)
    qtbot.waitUntil(lambda: "Row 0, column 7" in view.probe.text(), timeout=WAIT_MS)
    qtbot.keyClick(view.heat.view, Qt.Key.Key_Right)
    qtbot.keyClick(view.heat.view, Qt.Key.Key_Up)
    qtbot.waitUntil(lambda: "Row 0, column 8" in view.probe.text(), timeout=WAIT_MS)
    qtbot.keyClick(view.heat.view, Qt.Key.Key_Down)
    qtbot.waitUntil(lambda: "Row 1, column 8" in view.probe.text(), timeout=WAIT_MS)


def test_a_kept_weight_is_followed_under_other_params(
    qtbot: QtBot,
    inside: InsideWindow,
    view: MatrixView,
) -> None:
    view.look_at(3, 5)
    qtbot.waitUntil(lambda: "→" in view.probe.text(), timeout=WAIT_MS)
    turn(inside, "uniform3")
    code = int(quantized(weights(SUGGESTED), QuantizationParams(method="uniform3"))[0][3, 5])
    qtbot.waitUntil(lambda: f"code {code} →" in view.probe.text(), timeout=WAIT_MS)


def test_the_worst_weight_is_gone_to(qtbot: QtBot, view: MatrixView) -> None:
    view.params.worst.click()
    row, column = figures(weights(SUGGESTED), QuantizationParams()).worst
    qtbot.waitUntil(lambda: f"Row {row}, column {column}:" in view.probe.text(), timeout=WAIT_MS)
    first_row, rows, first_column, columns = view.heat.seen()
    assert first_row <= row < first_row + rows and first_column <= column < first_column + columns


def test_a_row_and_column_are_gone_to_and_others_refused(qtbot: QtBot, view: MatrixView) -> None:
    view.image.go_to.setText("40, 99")
    qtbot.keyClick(view.image.go_to, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: "Row 40, column 99" in view.probe.text(), timeout=WAIT_MS)
    for wrong in ("48, 0", "1", "a, b", "-1, 0"):
        view.image.go_to.setText(wrong)
        qtbot.keyClick(view.image.go_to, Qt.Key.Key_Return)
        assert "Type a row from 0 to 47" in view.message.text()


def test_a_block_of_the_scales_is_gone_to(qtbot: QtBot, view: MatrixView) -> None:
    view.scales.picked.emit(5)
    qtbot.waitUntil(lambda: "block 5 " in view.probe.text(), timeout=WAIT_MS)
    assert "Row 3, column 20" in view.probe.text()


def test_a_doubly_quantized_absmax_tells_its_own_code() -> None:
    weight = ProbedWeight(
        row=3,
        column=130,
        value=0.0124,
        block=12_345,
        block_first=3 * 200 + 128,
        block_length=64,
        absmax=0.0364,
        exact_absmax=0.0365,
        absmax_code=77,
        code=11,
        level=0.338,
        back=0.0123,
        block_values=Floats.of([0.0124]),
    )
    assert probe_text(weight, 200) == (
        "Row 3, column 130: 0.0124 → block 12,345 (64 weights from row 3, column 128) → "
        "absmax 0.0364 (stored as code 77, was 0.0365) → code 11 → level 0.338 → 0.0123, error -0.000100"
    )


def test_the_middle_absmax_comes_from_the_histogram_where_there_are_too_many() -> None:
    def scales(per_point: int) -> Scales:
        values = Floats.of([1.0, 2.0, 9.0])
        histogram = Histogram(0.0, 10.0, Counts.of([1, 8, 1, 0, 0]))
        return Scales(count=10, per_point=per_point, lowest=values, mean=values, highest=values, histogram=histogram)

    assert median_absmax(scales(1)) == 2.0
    assert median_absmax(scales(4)) == pytest.approx(3.0)


# ---- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chart", ["heat", "histogram", "scales"])
def test_each_picture_and_its_numbers_are_saved(view: MatrixView, tmp_path: Path, chart: str) -> None:
    shown = getattr(view, chart)
    button = SaveButton({"It": shown})
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".csv", b"")):
        path = tmp_path / f"it{suffix}"
        button.save(shown, path)
        assert path.read_bytes().startswith(start) and path.stat().st_size > 100


def test_the_heat_maps_numbers_are_those_in_view_with_their_rows_and_columns(
    qtbot: QtBot, view: MatrixView, tmp_path: Path
) -> None:
    with qtbot.waitSignal(view.heat.settled):
        view.heat.plot.setRange(xRange=(10, 20), yRange=(4, 9), padding=0)
    path = tmp_path / "it.csv"
    SaveButton({"It": view.heat}).save(view.heat, path)
    rows = list(csv.reader(path.read_text().splitlines()))
    assert rows[0] == ["original: row / column", *map(str, range(10, 20))]
    assert [row[0] for row in rows[1:]] == ["4", "5", "6", "7", "8"]
    assert float(rows[2][3]) == float(weights(SUGGESTED)[5, 12])


def test_the_numbers_of_a_large_matrix_say_which_rows_they_stand_for(
    qtbot: QtBot,
    inside: InsideWindow,
    view: MatrixView,
) -> None:
    choose(qtbot, inside, LARGE)
    wait_for(qtbot, view, Picture.ORIGINAL)
    rows = view.heat.table()
    assert " to " in str(rows[1][0]) and str(rows[-1][0]).endswith(str(LARGE_ROWS - 1))
    assert str(rows[0][-1]).endswith(str(LARGE_COLUMNS - 1))


def spans(heading: list[object]) -> list[tuple[int, int]]:
    ends = [str(each).split(" to ") for each in heading]
    return [(int(each[0]), int(each[-1])) for each in ends]


@pytest.mark.parametrize(("rows", "columns", "height", "width"), [(10, 7, 4, 3), (11, 8, 7, 8), (9, 5, 1, 2)])
def test_the_spans_of_pixels_follow_each_other_as_the_engine_cuts_them(
    view: MatrixView, rows: int, columns: int, height: int, width: int
) -> None:
    """A pixel's first row or column is the floor of its share. Its last one precedes the next pixel's first."""
    view.heat.show_matrix(rows, columns)
    tile = Tile(
        picture=Picture.ORIGINAL,
        first_row=0,
        rows=rows,
        first_column=0,
        columns=columns,
        height=height,
        width=width,
        values=Floats.of([0.0] * (height * width)),
    )
    view.heat.show_tile(tile, -1.0, 1.0)
    heading, *lines = view.heat.table()
    for found, count, pixels in (
        (spans(heading[1:]), columns, width),
        (spans([line[0] for line in lines]), rows, height),
    ):
        assert [first for first, _ in found] == [place * count // pixels for place in range(pixels)]
        assert [last for _, last in found] == [first - 1 for first, _ in found[1:]] + [count - 1]


def test_the_numbers_of_the_scales_are_the_curve_and_then_the_histogram(view: MatrixView) -> None:
    rows = view.scales.table()
    absmax = quantized(weights(SUGGESTED), QuantizationParams())[1]
    gap = rows.index([])
    assert [row[2] for row in rows[1:gap]] == absmax.tolist()
    assert rows[gap + 1] == ["absmax from", "to", "blocks"]
    counts, edges = np.histogram(absmax, bins=len(rows) - gap - 2)
    assert [row[2] for row in rows[gap + 2 :]] == counts.tolist()
    assert [row[0] for row in rows[gap + 2 :]] == pytest.approx(edges[:-1].tolist())


def test_a_file_that_cannot_be_written_says_so_in_the_view(
    view: MatrixView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "nowhere" / "it.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), "CSV"))
    button = next(each for each in view.findChildren(SaveButton) if "Matrix" in each.accessibleName())
    button.click()
    assert "cannot be written" in view.message.text() and not path.exists()
