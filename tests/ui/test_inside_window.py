"""The Inside window over the scripted engine: tree, matrix, parameters, layers, and comparisons beside it."""

import json
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace
from pyqtgraph.graphicsItems.ScatterPlotItem import Symbols
from PySide6.QtCore import QModelIndex, Qt
from pytestqt.qtbot import QtBot

from qplayground.core.dtype import Dtype
from qplayground.core.generation import GenerationRequest
from qplayground.core.inside import BLOCK_SIZES, ErrorFigures, Kept, LayerRow, QuantizationParams
from qplayground.core.precision import READY_PRECISIONS
from qplayground.core.quantizers import installed
from qplayground.core.quantizers.base import Method
from qplayground.core.quantizers.registry import METHODS, OWNERS
from qplayground.core.units import bytes_text, share_text
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.storage.preferences import Preferences
from qplayground.ui.charts.inside.error_curve import rows_table
from qplayground.ui.inside.layers.curve_box import every_choice
from qplayground.ui.inside.layers.layers_view import every_method
from qplayground.ui.inside.matrix.params_box import ParamsBox
from qplayground.ui.inside.window import InsideWindow, Subject, int8_dtype
from qplayground.ui.widgets import theme
from tests.fakes.inside import COLUMNS, LINEAR, REFUSED, ROWS, SUGGESTED, UNREADABLE, figures, outline, weights
from tests.process.running import pid_of, workers_of
from tests.ui.conftest import FAKE_ENGINE, SUBJECT
from tests.ui.inside_driving import WAIT_MS, choose, turn, wait_quantized

OTHER = LINEAR[0]


def rows(window: InsideWindow) -> dict[str, QModelIndex]:
    """The listed rows in order, by dotted name."""
    found: dict[str, QModelIndex] = {}
    model = window.modules.tree.model()

    def walk(parent: object) -> None:
        for row in range(model.rowCount(parent)):  # type: ignore[arg-type]
            index = model.index(row, 0, parent)  # type: ignore[arg-type]
            found[str(index.data(Qt.ItemDataRole.UserRole + 1))] = index
            walk(index)

    walk(model.index(-1, -1))
    return found


def names(window: InsideWindow) -> list[str]:
    return list(rows(window))


def cells(window: InsideWindow, module: str) -> dict[str, str]:
    """The cells of a module's row, by heading."""
    index = rows(window)[module]
    model = window.modules.tree.model()
    return {
        str(model.headerData(column, Qt.Orientation.Horizontal)): str(index.siblingAtColumn(column).data())
        for column in range(model.columnCount())
    }


# ---- the tree -----------------------------------------------------------------------------------------------------


def test_the_tree_has_every_module_with_its_figures_and_sums_for_parents(inside: InsideWindow) -> None:
    listed = outline(READY_PRECISIONS)
    assert set(names(inside)) >= {"", "model", "model.layers.0", *(module.name for module in listed.modules)}
    found = cells(inside, OTHER)
    assert (found["Kind"], found["Shape"]) == ("Linear", f"{ROWS}×{COLUMNS}")
    assert found["Now"] == bytes_text(2 * ROWS * COLUMNS) and found["nf4"] == bytes_text(ROWS * COLUMNS // 2)
    whole = cells(inside, "")
    assert whole["Now"] == bytes_text(sum(module.stored_bytes for module in listed.modules))
    assert whole["nf4"] == bytes_text(sum(module.bytes["nf4"] for module in listed.modules))
    layer = [module for module in listed.modules if module.name.startswith("model.layers.1.")]
    assert cells(inside, "model.layers.1")["int8"] == bytes_text(sum(module.bytes["int8"] for module in layer))


def test_what_is_not_quantized_says_why(inside: InsideWindow) -> None:
    assert cells(inside, OTHER)["Quantized"] == "yes"
    assert cells(inside, "lm_head")["Quantized"] == "no, tied" and cells(inside, "model")["Quantized"] == ""
    assert Kept.NOT_LINEAR in rows(inside)["model.norm"].data(Qt.ItemDataRole.ToolTipRole)
    inside.modules.select("lm_head")
    assert f"Not quantized, because {Kept.TIED}." in inside.modules.details.text()


def test_a_module_that_one_precision_skips_says_so(inside: InsideWindow) -> None:
    listed = outline(READY_PRECISIONS)
    modules = tuple(replace(one, kept={"nf4": Kept.SKIPPED}) if one.name == OTHER else one for one in listed.modules)
    inside.modules.show_outline(replace(listed, modules=modules), ["fp32", "int8", "nf4"])
    assert cells(inside, OTHER)["Quantized"] == "in some"
    inside.modules.select(OTHER)
    assert f"Quantized, but not in nf4: {Kept.SKIPPED}." in inside.modules.details.text()


def test_what_matters_is_seen_without_scrolling(qtbot: QtBot, inside: InsideWindow) -> None:
    """Holds in the smallest supported window, with any number of precisions."""
    inside.resize(1280, 720)
    qtbot.waitUntil(lambda: inside.width() == 1280)
    tree, model = inside.modules.tree, inside.modules.tree.model()
    ends = {
        str(model.headerData(column, Qt.Orientation.Horizontal)): tree.columnViewportPosition(column)
        + tree.columnWidth(column)
        for column in range(model.columnCount())
    }
    for heading in ("Module", "Kind", "Shape", "Now", "int8", "nf4", "Quantized"):
        assert ends[heading] <= tree.viewport().width(), heading
    assert ends["fp32"] > ends["Quantized"]


def test_a_precision_that_is_not_known_of_a_module_is_unknown_and_no_sum(qtbot: QtBot, inside: InsideWindow) -> None:
    inside.modules.show_outline(outline(READY_PRECISIONS[:1]), ["fp32", "nf4"])
    assert cells(inside, OTHER)["nf4"] == cells(inside, "")["nf4"] == "unknown"
    assert cells(inside, "")["fp32"] != "unknown"


def test_search_leaves_what_matches_and_its_parents(qtbot: QtBot, inside: InsideWindow) -> None:
    qtbot.keyClicks(inside.modules.search, "1.SELF")
    assert names(inside) == [
        "",
        "model",
        "model.layers",
        "model.layers.1",
        "model.layers.1.self_attn",
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.self_attn.o_proj",
    ]
    inside.modules.search.clear()
    assert OTHER in names(inside)


def test_the_tree_says_that_modules_are_read(qtbot: QtBot, inside: InsideWindow) -> None:
    def first() -> str:
        return str(inside.modules.tree.model().index(0, 0).data())

    inside.show_model(Subject("another", "/models/two", READY_PRECISIONS, GenerationRequest()))
    assert first() == "Reading the modules …" and inside.modules.tree.model().rowCount() == 1
    wait_quantized(qtbot, inside)
    assert first() == "whole model"


def test_choosing_what_the_search_hides_shows_it(qtbot: QtBot, inside: InsideWindow) -> None:
    inside.modules.search.setText("norm")
    choose(qtbot, inside, OTHER)
    assert inside.modules.search.text() == ""


def test_the_suggested_module_is_shown_first_and_another_when_it_is_chosen(qtbot: QtBot, inside: InsideWindow) -> None:
    assert inside.inspector.module == SUGGESTED and SUGGESTED in inside.matrix.title.text()
    choose(qtbot, inside, OTHER)
    assert OTHER in inside.matrix.title.text()


@pytest.mark.parametrize("name", ["model.norm", "model.layers.1", "model.layers.2.mlp.breaks", ""])
def test_of_a_module_without_a_matrix_nothing_is_in_view_but_why(qtbot: QtBot, inside: InsideWindow, name: str) -> None:
    inside.tabs.setCurrentWidget(inside.layers)
    qtbot.waitUntil(lambda: bool(inside.layers.curve_box.curve.table()[1:]), timeout=WAIT_MS)
    inside.tabs.setCurrentWidget(inside.matrix)
    inside.modules.select(name)
    qtbot.waitUntil(inside.matrix.nothing.isVisible, timeout=WAIT_MS)
    reason = inside.matrix.nothing.text()
    assert {"model.layers.2.mlp.breaks": "told to fail", "": "whole model"}.get(name, f"{name} is no matrix") in reason
    assert inside.inspector.matrix is None and inside.matrix.heat.table() == [] == inside.matrix.histogram.table()
    assert SUGGESTED not in inside.matrix.title.text() and not inside.matrix.heat.isVisible()
    inside.tabs.setCurrentWidget(inside.layers)
    assert inside.layers.curve_box.state.text() == reason and inside.layers.curve_box.curve.table()[1:] == []
    inside.tabs.setCurrentWidget(inside.matrix)
    choose(qtbot, inside, SUGGESTED)
    assert not inside.matrix.nothing.isVisible() and inside.matrix.heat.isVisible()
    inside.tabs.setCurrentWidget(inside.layers)
    qtbot.waitUntil(lambda: bool(inside.layers.curve_box.curve.table()[1:]), timeout=WAIT_MS)


# ---- parameters ------------------------------------------------------------------------------------------------------


def test_a_param_shows_its_figures(qtbot: QtBot, inside: InsideWindow) -> None:
    turn(inside, "uniform3", 128)
    wanted = QuantizationParams(method="uniform3", block_size=128)
    wait_quantized(qtbot, inside, wanted)
    true = figures(weights(SUGGESTED), wanted)
    box = inside.matrix.params
    assert box.error.text() == f"relative error {share_text(true.relative_error)}"
    assert box.bits.text() == f"{true.bits_per_weight:.3f} bits a weight"
    row, column = true.worst
    assert f"row {row:,}, column {column:,}" in box.worst.text()


def test_while_the_engine_works_the_former_figures_are_grey(qtbot: QtBot, inside: InsideWindow) -> None:
    box = inside.matrix.params
    before = box.error.text()
    turn(inside, "uniform3")
    assert inside.inspector.is_busy
    assert box.busy.isVisible() and not box.error.isEnabled() and box.error.text() == before
    qtbot.waitUntil(lambda: not inside.inspector.is_busy, timeout=WAIT_MS)
    assert not box.busy.isVisible() and box.error.isEnabled() and box.error.text() != before


def test_figures_of_other_params_are_grey_while_a_comparison_is_paused_and_the_title_leaves_their_blocks_out(
    qtbot: QtBot, inside: InsideWindow
) -> None:
    box = inside.matrix.params
    inside.set_paused(True)
    assert box.error.isEnabled() and "75 blocks" in inside.matrix.title.text()
    turn(inside, "uniform3")
    assert not inside.inspector.is_busy and not box.error.isEnabled() and not box.worst.isEnabled()
    assert "block" not in inside.matrix.title.text() and SUGGESTED in inside.matrix.title.text()
    turn(inside, "nf4")  # leaves them as they are
    assert box.error.isEnabled() and "75 blocks" in inside.matrix.title.text()
    wanted = QuantizationParams(method="uniform4", block_size=512)
    inside.layers.curve_box.curve.picked.emit(wanted)
    assert box.params() == wanted and not box.error.isEnabled()
    inside.set_paused(False)
    wait_quantized(qtbot, inside, wanted)
    assert box.error.isEnabled() and "10 blocks" in inside.matrix.title.text()


def test_what_is_pale_beside_the_absmax_is_said_where_blocks_share_a_point(inside: InsideWindow) -> None:
    title, quantized = inside.matrix.scales_title, inside.inspector.quantized_matrix
    assert quantized is not None and title.text() == "Absmax of every block"
    inside.inspector.quantized.emit(replace(quantized, scales=replace(quantized.scales, per_point=9)))
    assert title.text() == "Absmax by 9 blocks: the line their mean, pale the least to the largest"
    inside.matrix.show_nothing()
    assert title.text() == "Absmax of every block"


def test_figures_are_grey_beside_params_that_were_refused(qtbot: QtBot, inside: InsideWindow) -> None:
    turn(inside, "fp4")
    wait_quantized(qtbot, inside, QuantizationParams(method="fp4"))
    box = inside.matrix.params
    box.double_quant.setChecked(True)
    qtbot.waitUntil(inside.matrix.message.isVisible, timeout=WAIT_MS)
    assert not inside.inspector.is_busy and not box.busy.isVisible()
    assert not box.error.isEnabled() and "block" not in inside.matrix.title.text()
    box.double_quant.setChecked(False)
    assert box.error.isEnabled() and "75 blocks" in inside.matrix.title.text()


def test_int8_by_row_has_no_blocks_to_choose(qtbot: QtBot, inside: InsideWindow) -> None:
    turn(inside, "int8")
    box = inside.matrix.params
    assert not box.block_size.isEnabled() and not box.double_quant.isEnabled()
    wait_quantized(qtbot, inside, QuantizationParams(method="int8").checked())
    assert f"{ROWS} rows" in inside.matrix.title.text()
    turn(inside, "nf4")
    assert box.block_size.isEnabled() and box.block_size.currentData() == 64  # unchanged


def test_the_whole_tensor_is_one_block(qtbot: QtBot, inside: InsideWindow) -> None:
    turn(inside, "nf4", None)
    wait_quantized(qtbot, inside, QuantizationParams(block_size=None))
    assert "1 block" in inside.matrix.title.text()


def test_a_block_size_that_does_not_divide_the_matrix_says_how_long_the_last_block_is(
    qtbot: QtBot, inside: InsideWindow
) -> None:
    turn(inside, "nf4", 4096)
    wait_quantized(qtbot, inside, QuantizationParams(block_size=4096))
    assert f"2 blocks, the last one of {ROWS * COLUMNS - 4096} weights" in inside.matrix.title.text()


def test_params_that_cannot_be_tried_say_so_in_a_sentence_and_the_next_ones_take_it_away(
    qtbot: QtBot, inside: InsideWindow
) -> None:
    turn(inside, "fp4")
    wait_quantized(qtbot, inside, QuantizationParams(method="fp4"))
    inside.matrix.params.double_quant.setChecked(True)
    qtbot.waitUntil(inside.matrix.message.isVisible, timeout=WAIT_MS)
    assert "told to fail" in inside.matrix.message.text() and inside.inspector.params == REFUSED
    inside.matrix.params.double_quant.setChecked(False)
    assert not inside.matrix.message.isVisible()


def test_params_are_fixed_for_what_is_quantized_already_and_say_why(qtbot: QtBot, inside: InsideWindow) -> None:
    choose(qtbot, inside, "model.layers.2.mlp.rests")
    box = inside.matrix.params
    assert not box.method.isEnabled() and not box.dtype.isEnabled()
    assert box.rest.isVisible() and "quantized before" in box.rest.text()
    assert not box.bits.isVisible()  # nothing to compare with
    assert "75 blocks" in inside.matrix.title.text()
    choose(qtbot, inside, OTHER)
    assert box.method.isEnabled() and not box.rest.isVisible() and box.bits.isVisible()


def test_params_are_kept_for_the_next_time(
    qtbot: QtBot, inside: InsideWindow, preferences: Preferences, tmp_path: Path
) -> None:
    turn(inside, "uniform4", 256)
    wait_quantized(qtbot, inside, QuantizationParams(method="uniform4", block_size=256))
    inside.close()
    again = InsideWindow(Launcher(FAKE_ENGINE), preferences)
    qtbot.addWidget(again)
    assert (
        again.inspector.params == again.matrix.params.params() == QuantizationParams(method="uniform4", block_size=256)
    )
    again.close()
    preferences.flush()
    kept = json.loads((tmp_path / "preferences.json").read_text())
    kept["inside_knobs"] = {"method": "a newer one"}
    (tmp_path / "preferences.json").write_text(json.dumps(kept))
    third = InsideWindow(Launcher(FAKE_ENGINE), preferences)
    qtbot.addWidget(third)
    assert third.inspector.params == QuantizationParams()
    third.close()


# ---- what goes wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["breaks", "exits"])
def test_a_matrix_that_cannot_be_read_says_so_and_another_can_be_chosen(
    qtbot: QtBot, inside: InsideWindow, name: str
) -> None:
    inside.modules.select(f"model.layers.2.mlp.{name}")
    qtbot.waitUntil(inside.matrix.nothing.isVisible, timeout=WAIT_MS)
    assert inside.inspector.matrix is None and inside.matrix.heat.table() == []
    choose(qtbot, inside, OTHER)
    assert not inside.matrix.nothing.isVisible()


def test_a_model_that_cannot_be_listed_says_so(qtbot: QtBot, inside: InsideWindow) -> None:
    inside.show_model(Subject("broken", "/models/broken", READY_PRECISIONS, GenerationRequest()))
    qtbot.waitUntil(inside.matrix.nothing.isVisible, timeout=WAIT_MS)
    assert "told to fail" in inside.matrix.nothing.text() and names(inside) == []


def test_a_model_that_could_not_be_listed_is_asked_for_again(qtbot: QtBot, inside: InsideWindow) -> None:
    broken = Subject("broken", "/models/broken", READY_PRECISIONS, GenerationRequest())
    inside.show_model(broken)
    worker = workers_of(inside.inspector)[-1]
    inside.show_model(broken)
    assert workers_of(inside.inspector)[-1] is worker  # still listing
    for _ in range(2):
        with qtbot.waitSignal(inside.inspector.failed, timeout=WAIT_MS):
            inside.show_model(broken)
        assert "cannot be listed" in inside.matrix.title.text() and inside.matrix.nothing.isVisible()
    inside.show_model(SUBJECT)
    wait_quantized(qtbot, inside)
    with qtbot.assertNotEmitted(inside.inspector.outlined, wait=200):
        inside.show_model(SUBJECT)


def test_a_layer_that_another_method_quantized_says_so_where_its_matrix_would_be(
    qtbot: QtBot, inside: InsideWindow
) -> None:
    """Its tensors have names other than weight. The engine's message stays while the layer is chosen."""
    with qtbot.waitSignal(inside.inspector.failed, timeout=WAIT_MS):
        inside.show_model(SUBJECT._replace(path="/models/gptq-unreadable"))
    assert inside.inspector.module == inside.matrix.title.text() == UNREADABLE
    assert inside.matrix.nothing.isVisible() and "told to fail" in inside.matrix.nothing.text()
    header = inside.modules.tree.header()
    assert header.count() == 5  # no column for a precision: nothing would be quantized
    assert inside.modules.tree.currentIndex().siblingAtColumn(4).data() == "already"
    assert "Quantized before it was saved (GPTQ)." in inside.modules.details.text()


# ---- layers -------------------------------------------------------------------------------------------------------


def test_every_method_and_block_size_is_offered_once() -> None:
    choices = every_choice(QuantizationParams())
    assert len(set(choices)) == len(choices) and QuantizationParams() in choices
    assert {choice.method for choice in choices} == set(METHODS)
    for method in ("nf4", "uniform4"):
        sizes = {each.block_size for each in choices if each.method is method and not each.double_quant}
        assert sizes == {*BLOCK_SIZES, None}
    own = QuantizationParams(method="uniform3", double_quant=True, dtype=Dtype.FLOAT32)
    assert own in every_choice(own) and {each.dtype for each in every_choice(own)} == {Dtype.FLOAT32}
    assert every_method(own)[0].method == "uniform3" and len(every_method(own)) == len(METHODS)


def show_layers(qtbot: QtBot, inside: InsideWindow) -> None:
    inside.tabs.setCurrentWidget(inside.layers)
    qtbot.waitUntil(lambda: not inside.curve_survey.is_running, timeout=WAIT_MS)


def test_the_curve_is_measured_when_it_is_looked_at_and_the_current_params_are_marked(
    qtbot: QtBot, inside: InsideWindow
) -> None:
    assert not inside.curve_survey.is_running and not inside.layers.curve_box.rows
    show_layers(qtbot, inside)
    assert (
        len(inside.layers.curve_box.rows) == len(every_choice(QuantizationParams())) - 1
    )  # FP4 with double quantization fails
    assert "Not measured" in inside.layers.curve_box.state.text()
    marked = inside.layers.curve_box.curve.marked
    assert marked is not None and marked.params == QuantizationParams()
    assert marked.figures == figures(weights(SUGGESTED), QuantizationParams())


def test_a_point_of_the_curve_turns_the_params(qtbot: QtBot, inside: InsideWindow) -> None:
    show_layers(qtbot, inside)
    wanted = QuantizationParams(method="uniform4", block_size=512)
    inside.layers.curve_box.curve.picked.emit(wanted)
    wait_quantized(qtbot, inside, wanted)
    assert inside.matrix.params.params() == wanted
    marked = inside.layers.curve_box.curve.marked
    assert marked is not None and marked.params == wanted


def test_all_layers_are_measured_in_the_background(qtbot: QtBot, inside: InsideWindow) -> None:
    show_layers(qtbot, inside)
    saving = inside.layers.save.menu()
    (save_layers,) = (action for action in saving.actions() if action.text() == "Error of each layer…")
    saving.aboutToShow.emit()
    assert not save_layers.isEnabled()
    with qtbot.waitSignal(inside.layers_survey.succeeded, timeout=2 * WAIT_MS):
        inside.layers.start.click()
        assert inside.layers.cancel.isVisible() and not inside.layers.start.isEnabled()
    assert [row.module for row in inside.layers.table.rows] == list(LINEAR)
    assert inside.layers.start.isEnabled() and not inside.layers.cancel.isVisible()
    assert len(inside.layers.bars.table()) == 1 + len(LINEAR)
    saving.aboutToShow.emit()
    assert save_layers.isEnabled()
    assert inside.layers.table.rows[0].figures == figures(weights(LINEAR[0]), QuantizationParams())


def test_the_table_sorts_by_numbers_and_leads_to_a_layer(qtbot: QtBot, inside: InsideWindow) -> None:
    show_layers(qtbot, inside)
    with qtbot.waitSignal(inside.layers_survey.succeeded, timeout=2 * WAIT_MS):
        inside.layers.start.click()
    table = inside.layers.table
    table.sortByColumn(2, Qt.SortOrder.DescendingOrder)
    errors = {row.module: row.figures.relative_error for row in table.rows}
    model = table.model()
    shown = [str(model.index(row, 0).data()) for row in range(model.rowCount())]
    assert shown == sorted(errors, key=lambda name: errors[name], reverse=True)
    table.activated.emit(model.index(0, 0))
    assert inside.tabs.currentWidget() is inside.matrix and inside.inspector.module == shown[0]


@pytest.mark.parametrize("every_method", [False, True])
def test_the_table_fits_a_small_window(qtbot: QtBot, inside: InsideWindow, every_method: bool) -> None:
    """Only a layer's name may be cut, and its tool tip has it whole. Figures and methods are never cut."""
    inside.resize(1280, 720)
    show_layers(qtbot, inside)
    inside.layers.all_methods.setChecked(every_method)
    with qtbot.waitSignal(inside.layers_survey.succeeded, timeout=2 * WAIT_MS):
        inside.layers.start.click()
    table = inside.layers.table
    model, header = table.model(), table.horizontalHeader()
    qtbot.waitUntil(lambda: header.length() <= table.viewport().width(), timeout=WAIT_MS)
    assert not table.horizontalScrollBar().isVisible()
    assert table.isColumnHidden(1) is not every_method
    for row in range(model.rowCount()):
        for column in range(1 if every_method else 2, model.columnCount()):
            text = str(model.index(row, column).data())
            assert table.fontMetrics().horizontalAdvance(text) + theme.GRID <= table.columnWidth(column), text
        name = str(model.index(row, 0).data())
        end = ".".join(name.split(".")[-3:])  # includes the number of its block
        assert table.fontMetrics().horizontalAdvance(f"…{end}") + theme.GRID <= table.columnWidth(0), name
        assert name in str(model.index(row, 0).data(Qt.ItemDataRole.ToolTipRole))


def test_a_survey_can_be_cancelled(qtbot: QtBot, inside: InsideWindow) -> None:
    show_layers(qtbot, inside)
    inside.layers.all_methods.setChecked(True)
    inside.layers.start.click()
    inside.layers.cancel.click()
    assert not inside.layers_survey.is_running and inside.layers.state.text() == "Cancelled."
    assert inside.layers.start.isEnabled()


# ---- beside a comparison, and the end -----------------------------------------------------------------------------


def test_both_kinds_of_int8_are_seen_and_named_in_the_curve(qtbot: QtBot, inside: InsideWindow) -> None:
    inside.tabs.setCurrentWidget(inside.layers)
    with qtbot.waitSignal(inside.curve_survey.succeeded, timeout=WAIT_MS):
        pass
    curves = {curve.name(): curve for curve in inside.layers.curve_box.curve.plot.listDataItems()}
    by_row, by_block = curves[METHODS["int8"].label], curves[METHODS["int8-block"].label]
    assert by_row.zValue() > by_block.zValue() and by_row.opts["symbolBrush"] is None
    assert by_row.opts["symbolSize"] > by_block.opts["symbolSize"]


def test_each_method_has_a_symbol_that_can_be_drawn() -> None:
    assert {method.symbol for method in METHODS.values()} <= set(Symbols)


def test_a_file_of_the_curve_has_a_line_a_choice() -> None:
    figures = ErrorFigures(bits_per_weight=4.5, relative_error=0.1, snr_db=20.0, max_abs_error=0.3, worst=(1, 2))
    rows = [LayerRow(module="m", params=QuantizationParams(block_size=None), figures=figures)]
    assert rows_table(rows)[1:] == [["m", "nf4", "", False, 4.5, 0.1, 20.0, 0.3]]
    assert len(rows_table(rows)[0]) == 8 and rows_table([]) == []


def test_the_params_offer_what_the_method_declares(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up = Method("grouped", "grouped", 4, "blue", "h", block_sizes=(32, 128))
    monkeypatch.setitem(METHODS, made_up.name, made_up)
    monkeypatch.setitem(OWNERS, made_up.name, OWNERS["nf4"])
    box = ParamsBox()
    qtbot.addWidget(box)
    box.set_params(QuantizationParams(block_size=128, double_quant=True))
    with qtbot.waitSignal(box.changed) as changed:
        box.method.setCurrentIndex(box.method.findData(made_up.name))
    assert (
        changed.args == [QuantizationParams(method=made_up.name, block_size=128)] and not box.double_quant.isEnabled()
    )
    assert [box.block_size.itemData(place) for place in range(box.block_size.count())] == [32, 128]
    box.block_size.setCurrentIndex(0)
    with qtbot.waitSignal(box.changed) as changed:
        box.method.setCurrentIndex(box.method.findData("fp4"))
    assert changed.args == [QuantizationParams(method="fp4", double_quant=True)]  # 64 is the first of its sizes
    assert made_up.name not in {
        choice.method for choice in every_method(QuantizationParams())
    }  # it has no blocks of 64
    sizes = {choice.block_size for choice in every_choice(QuantizationParams()) if choice.method == made_up.name}
    assert sizes == {32, 128}


def test_params_that_were_kept_of_a_library_that_is_gone_are_the_usual_ones(
    qtbot: QtBot, preferences: Preferences, monkeypatch: pytest.MonkeyPatch
) -> None:
    preferences.set_inside_params(QuantizationParams(method="int8-ao"))
    for torchao, method in (("1", "int8-ao"), ("", "nf4")):
        monkeypatch.setattr(installed, "installed_version", {"torchao": torchao, "bitsandbytes": "1"}.__getitem__)
        window = InsideWindow(Launcher(FAKE_ENGINE), preferences)
        qtbot.addWidget(window)
        assert window.matrix.params.params().method == method
        window.close()


def test_the_axis_of_the_layers_fits_the_bars(inside: InsideWindow) -> None:
    rows = [
        LayerRow(module=name, params=QuantizationParams(), figures=figures(weights(name), QuantizationParams()))
        for name in LINEAR
    ]
    for shown in (rows * 20, rows[:2]):
        inside.layers.bars.show_rows(shown)
        inside.layers.bars.plot.setXRange(-50, 500)
        low, high = inside.layers.bars.plot.viewRange()[0]
        assert low == pytest.approx(-1) and high == pytest.approx(len(shown))


def test_the_layers_of_a_model_that_was_quantized_before_are_not_measured_and_why(
    qtbot: QtBot, inside: InsideWindow
) -> None:
    assert inside.layers.start.isEnabled()
    inside.show_model(SUBJECT._replace(path="/models/gptq"))
    wait_quantized(qtbot, inside)
    layers = inside.layers
    assert not layers.start.isEnabled() and not layers.all_methods.isEnabled()
    assert "quantized before it was saved (GPTQ)" in layers.state.text() and "GPTQ" in layers.start.toolTip()
    inside.set_paused(True)
    inside.set_paused(False)
    assert not layers.start.isEnabled() and "GPTQ" in layers.state.text()
    inside.show_model(Subject("another", "/models/two", READY_PRECISIONS, GenerationRequest()))
    wait_quantized(qtbot, inside)
    assert layers.start.isEnabled() and not layers.state.text()


def test_while_a_comparison_runs_nothing_is_read_or_measured(qtbot: QtBot, inside: InsideWindow) -> None:
    show_layers(qtbot, inside)
    inside.layers.start.click()
    inside.set_paused(True)
    assert not inside.layers_survey.is_running and "comparison began" in inside.layers.state.text()
    assert not inside.layers.start.isEnabled() and "comparison is running" in inside.layers.start.toolTip()
    inside.tabs.setCurrentWidget(inside.matrix)
    inside.modules.select(OTHER)
    assert inside.inspector.matrix is None and not inside.inspector.is_busy
    assert "comparison is running" in inside.matrix.message.text() and inside.matrix.title.text() == OTHER
    inside.set_paused(False)
    assert inside.matrix.title.text() == f"{OTHER} is being read …"
    wait_quantized(qtbot, inside)
    assert inside.inspector.module == OTHER and not inside.matrix.message.isVisible()
    assert inside.layers.start.isEnabled() and not inside.layers.state.text()


def test_the_modules_of_a_model_that_is_looked_at_while_a_comparison_runs_are_listed_afterwards(
    qtbot: QtBot, inside: InsideWindow
) -> None:
    inside.set_paused(True)
    inside.show_model(Subject("another", "/models/two", READY_PRECISIONS, GenerationRequest()))
    tree = inside.modules.tree.model()
    assert tree.index(0, 0).data() == "Listed when the comparison is over."
    assert not inside.matrix.title.text() and "comparison is running" in inside.matrix.message.text()
    inside.set_paused(False)
    assert tree.index(0, 0).data() == "Reading the modules …" and "being listed" in inside.matrix.title.text()
    wait_quantized(qtbot, inside)


def test_closing_ends_every_engine(qtbot: QtBot, inside: InsideWindow) -> None:
    pid = pid_of(inside.inspector)
    with qtbot.waitSignal(inside.closed):
        inside.close()
    assert not psutil.pid_exists(pid)


def test_inputs_of_int8_have_the_type_of_that_precision() -> None:
    assert int8_dtype(READY_PRECISIONS) is next(each.dtype for each in READY_PRECISIONS if each.name == "int8")
    assert int8_dtype(READY_PRECISIONS[:1]) is Dtype.BFLOAT16
