"""The views of a comparison: tokens, columns and their menus, the table, the charts, and exported files."""

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyqtgraph as pg
import pytest
from msgspec.structs import replace
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QColor, QGuiApplication, QImage, QPainter, QTextCursor
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QApplication, QLabel, QMenu, QMessageBox, QWidget
from pytestqt.qtbot import QtBot
from shiboken6 import isValid

from qplayground.core.comparison.results import Comparison, Mode, Run, RunState
from qplayground.core.measures.divergence import diverge
from qplayground.core.measures.samples import Samples
from qplayground.core.messages.events import Phase, PhaseStarted, Progressed
from qplayground.core.tokens import Alternative, Token
from qplayground.ui.charts.comparison.speed import SpeedCharts, latencies_ms
from qplayground.ui.charts.comparison.trade_off import TradeOffChart
from qplayground.ui.comparison.comparison_tabs import ComparisonTabs
from qplayground.ui.comparison.figures_table import FiguresTable
from qplayground.ui.comparison.results_view import ResultsView
from qplayground.ui.comparison.token_text import TokenText, describe
from qplayground.ui.widgets import theme
from tests.comparisons import MODEL, READY, comparison, done, failed
from tests.ui.driving import choose_in_menu


def token(index: int, text: str, probability: float | None = 0.5) -> Token:
    rest = () if probability is None else (Alternative(text, 0.5), Alternative(" <b>", 0.25))
    return Token(index, text, 0.1 * (index + 1), probability, None if probability is None else 1, rest)


TOKENS = [token(0, " to"), token(1, " 🦙"), token(2, ""), token(3, " help.")]


def three() -> Comparison:
    """fp32; nf4, which differs from the second token on and is smaller and faster; int8, which failed."""
    base, other = done(text=" to help us."), done("nf4", " to hurt us.")
    base.token_ids, other.token_ids = [1, 2, 3], [1, 5, 3]
    base.tokens = [token(1, " to"), token(2, " help"), token(3, " us.")]
    other.tokens = [token(1, " to"), token(5, " hurt"), token(3, " us.")]
    other.memory.weight_bytes, other.speed.decode_tokens_per_s = 113_000_000, 48.0
    made = comparison(base, other, failed("int8"), prompt="AI is")
    for run in made.runs[:2]:
        run.divergence = diverge(run.token_ids, base.token_ids)
    return made


# ---- the text -------------------------------------------------------------------------------------------------------


@pytest.fixture
def text(qtbot: QtBot) -> TokenText:
    widget = TokenText()
    qtbot.addWidget(widget)
    widget.resize(400, 200)
    widget.show()
    return widget


def middle(text: TokenText, at: int) -> QPoint:
    """The middle of the character at that position of the document."""
    cursor = QTextCursor(text.document())
    cursor.setPosition(at)
    left = text.cursorRect(cursor)
    cursor.setPosition(at + 1)
    right = text.cursorRect(cursor)
    return QPoint((left.x() + right.x()) // 2, left.center().y())


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("tinted", [True, False])
def test_the_token_under_the_mouse(text: TokenText, streamed: bool, tinted: bool) -> None:
    text.set_tinted(tinted)
    if streamed:
        text.show_text("AI is", [], "")
        text.append_tokens(TOKENS[:2])
        text.append_tokens(TOKENS[2:])
    else:
        text.show_text("AI is", TOKENS, " to 🦙 help.")
    assert text.toPlainText() == "AI is to 🦙 help."
    document = "AI is to 🦙 help."
    found = text.token_at(middle(text, document.index("to")))
    assert found is TOKENS[0]
    assert text.token_at(middle(text, 1)) is None
    assert text.token_at(middle(text, len("AI is to 🦙".encode("utf-16-le")) // 2 + 2)) is TOKENS[3]


def test_the_first_difference_is_marked_and_what_follows_shaded(text: TokenText) -> None:
    text.show_text("AI is", TOKENS, " to 🦙 help.")
    text.set_first_difference(1)
    marked, shaded = text.extraSelections()
    assert marked.cursor.selectedText() == " 🦙"
    assert shaded.cursor.selectedText() == " help."
    text.set_first_difference(None)
    assert text.extraSelections() == []


def test_a_text_without_tokens_or_beyond_them_is_shown_whole(text: TokenText) -> None:
    text.show_text("A", [], "bc")
    assert text.toPlainText() == "Abc"
    text.show_text("A", TOKENS[:1], " to�")
    assert text.toPlainText() == "A to�"
    text.show_text("A", TOKENS[:1], "other")
    assert text.toPlainText() == "Aother"


@pytest.mark.parametrize("tinted", [True, False])
def test_tokens_stay_in_place_after_any_line_end(text: TokenText, tinted: bool) -> None:
    tokens = [token(0, "a\r\n"), token(1, "b\r\n"), token(2, "c"), token(3, "d")]
    text.set_tinted(tinted)
    text.show_text("", [], "")
    text.append_tokens(tokens)
    for _ in range(2):
        at = text.toPlainText().index("c")
        assert text.token_at(middle(text, at)) is tokens[2]
        text.show_text("", tokens, "a\r\nb\r\ncd")


def test_less_likely_tokens_have_a_stronger_ground(text: TokenText) -> None:
    text.set_tinted(True)
    text.show_text("", [token(0, "sure", 0.99), token(1, "unsure", 0.1)], "sureunsure")

    def alpha(at: int) -> int:
        cursor = QTextCursor(text.document())
        cursor.setPosition(at + 1)
        return cursor.charFormat().background().color().alpha()

    assert alpha(5) > alpha(1) + 50
    text.set_tinted(False)
    cursor = QTextCursor(text.document())
    cursor.setPosition(6)
    assert cursor.charFormat().background().style() is Qt.BrushStyle.NoBrush


def test_a_tip_says_what_the_model_thought() -> None:
    tip = describe(token(7, " to"))
    assert "␣to" in tip and "50.0 %" in tip and "rank 1" in tip
    assert "&lt;b&gt;" in tip and "<b>" not in tip.replace("<b>␣to</b>", "")
    assert "benchmark" in describe(token(7, " to", None))
    assert "part of a character" in describe(token(7, ""))


# ---- the columns ----------------------------------------------------------------------------------------------------


@pytest.fixture
def results(qtbot: QtBot) -> ResultsView:
    view = ResultsView()
    qtbot.addWidget(view)
    view.resize(900, 500)
    view.show()
    view.show_comparison(three())
    return view


def test_what_is_to_be_said_of_the_figures_stands_below_the_columns(results: ResultsView) -> None:
    assert not results.notes.isVisible()
    comparison = three()
    comparison.runs[0].load.disk_share = 0.9
    results.show_comparison(comparison)
    assert results.notes.isVisible() and "a load from memory is faster" in results.notes.remarks.text()
    assert not results.notes.caveats.isVisible()  # not a warning: every first load after a start reads the disk
    comparison.runs[1].beside = 1
    comparison.runs[1].state = RunState.GENERATING
    results.refresh_run(comparison.runs[1].id)
    assert "a race" not in results.notes.caveats.text()  # columns do not move while text is written
    comparison.runs[1].state = RunState.DONE
    results.refresh_run(comparison.runs[1].id)
    assert "a race" in results.notes.caveats.text()


def test_a_candidate_stands_beside_the_baseline(results: ResultsView) -> None:
    base, other = results.columns["fp32"], results.columns["nf4"]
    assert other.figures.ratios["weight_bytes"].text() == "×0.21"
    assert other.figures.ratios["decode_tokens_per_s"].text() == "×2.0"
    assert base.figures.ratios["weight_bytes"].text() == ""
    assert "differs from token 2" in other.state.text()
    marked, _ = other.text.extraSelections()
    assert marked.cursor.selectedText() == " hurt"
    assert base.text.extraSelections() == []


def test_texts_of_strangers_are_no_markup(qtbot: QtBot) -> None:
    made = three()
    made.runs[1].precision = replace(made.runs[1].precision, label="<img src='/x.png'>")
    made.runs[2].error = replace(made.runs[2].error, message="<b>x</b>", detail="<img src='/y.png'>")  # type: ignore[type-var]
    view = ResultsView(read_only=True)
    qtbot.addWidget(view)
    view.show_comparison(made)
    for label in view.findChildren(QLabel):
        if "<" in label.text():
            assert label.textFormat() is Qt.TextFormat.PlainText, label.text()
    tips = [widget.toolTip() for widget in view.findChildren(QWidget)]
    assert not any("<img" in tip or "<b>" in tip for tip in tips)
    assert any("&lt;img" in tip for tip in tips)


def test_a_text_that_ends_sooner_is_not_called_the_same(results: ResultsView) -> None:
    made = three()
    made.runs[0].state, made.runs[0].token_ids = RunState.CANCELLED, [1]
    made.runs[1].divergence = diverge(made.runs[1].token_ids, [1])
    results.show_comparison(made)
    assert "same for 1 token" in results.columns["nf4"].state.text()
    made.runs[0].token_ids = list(made.runs[1].token_ids)
    made.runs[1].divergence = diverge(made.runs[1].token_ids, made.runs[0].token_ids)
    results.columns["nf4"].refresh()
    assert "same text" in results.columns["nf4"].state.text()


def test_another_baseline_changes_every_column(results: ResultsView) -> None:
    made = results.comparison
    assert made is not None
    with_baseline: list[str] = []
    results.baseline_chosen.connect(with_baseline.append)
    choose_in_menu(results, "nf4", "Use as baseline")
    assert with_baseline == ["nf4"]
    before = results.columns["nf4"]
    made.baseline = "nf4"
    results.show_comparison(made)
    assert results.columns["nf4"] is before
    assert results.columns["fp32"].figures.ratios["weight_bytes"].text() == "×4.8"
    assert results.columns["nf4"].figures.ratios["weight_bytes"].text() == ""


@pytest.mark.parametrize("differences", [False, True])
def test_columns_that_show_another_comparison_look_as_new_ones_do(
    qtbot: QtBot, results: ResultsView, differences: bool
) -> None:
    results.changes.setChecked(differences)
    results.tint.setChecked(True)
    results.columns["nf4"].text.selectAll()
    results.show_phase("nf4", PhaseStarted(1, Phase.DECODE, 0.0))
    results.show_progress("nf4", Progressed(1, "weights", 1, 20))
    results.columns["fp32"].add_tokens([token(9, " stays away")])
    results.columns["fp32"].add_tokens([token(9, " stays away too")])
    other = done("bf16", " a longer text than the one before, of another precision.")
    queued = Run(id="fp32", model=MODEL, precision=READY["fp32"], state=RunState.STARTING)
    another = comparison(failed("fp4"), queued, other, done("int8"), prompt="What")
    another.baseline = "bf16"
    before = list(results.columns.values())
    results.show_comparison(another)
    assert list(results.columns.values())[:3] == before

    fresh = ResultsView()
    qtbot.addWidget(fresh)
    fresh.changes.setChecked(differences)
    fresh.tint.setChecked(True)
    fresh.resize(results.size())
    fresh.show()
    fresh.show_comparison(another)
    qtbot.waitUntil(lambda: all(results.columns[name].size() == made.size() for name, made in fresh.columns.items()))
    for name, column in fresh.columns.items():
        shown = results.columns[name]
        assert shown.grab().toImage() == column.grab().toImage(), name
        for widgets in zip(*(each.findChildren(QWidget) for each in (shown, column)), strict=True):
            told = [(widget.accessibleName(), widget.toolTip(), widget.isVisible()) for widget in widgets]
            assert told[0] == told[1]
    with_baseline: list[str] = []
    results.baseline_chosen.connect(with_baseline.append)
    results.columns["fp32"].menu.click()
    menu = QApplication.activePopupWidget()
    assert isinstance(menu, QMenu)
    menu.actions()[0].trigger()
    menu.close()
    assert with_baseline == ["fp32"]


def test_columns_without_a_run_go(qtbot: QtBot, results: ResultsView) -> None:
    before = list(results.columns.values())
    results.show_comparison(comparison(done("bf16")))
    assert list(results.columns.values()) == before[:1]
    qtbot.waitUntil(lambda: [isValid(column) for column in before] == [True, False, False])


def grounds(results: ResultsView) -> set[str]:
    """The background colours of the baseline's text."""
    block = results.columns["fp32"].text.document().begin()
    return {each.format.background().color().name(QColor.NameFormat.HexArgb) for each in block.textFormats()}


def test_a_legend_stands_beside_tinted_texts(results: ResultsView) -> None:
    assert results.legend.isHidden()
    results.tint.click()
    assert not results.legend.isHidden()
    assert len(grounds(results)) > 1
    results.changes.click()  # words have no tint; without the legend the baseline has none either
    assert results.legend.isHidden() and len(grounds(results)) == 1
    results.changes.click()
    assert len(grounds(results)) > 1
    assert not results.legend.isHidden()
    timed = three()
    timed.mode = Mode.BENCHMARK  # reads no probabilities
    results.show_comparison(timed)
    assert results.legend.isHidden()


def test_differences_are_shown_word_by_word(results: ResultsView) -> None:
    results.changes.setChecked(True)
    assert results.columns["nf4"].text.toPlainText() == "AI is to help hurt us."
    assert results.columns["fp32"].text.toPlainText() == "AI is to help us."
    results.changes.setChecked(False)
    assert results.columns["nf4"].text.toPlainText() == "AI is to hurt us."


def test_beside_a_baseline_that_wrote_nothing_there_are_no_differences(results: ResultsView) -> None:
    nothing, written = failed("fp32"), done("nf4", " to hurt us.")
    nothing.text, nothing.token_ids = "", []
    results.changes.setChecked(True)
    results.show_comparison(comparison(nothing, written))
    block = results.columns["nf4"].text.document().begin()
    assert block.text() == "AI is to hurt us."
    assert {each.format.background().style() for each in block.textFormats()} == {Qt.BrushStyle.NoBrush}


def test_texts_and_scripts_are_copied(results: ResultsView, qapp: QApplication) -> None:
    clipboard = QGuiApplication.clipboard()
    choose_in_menu(results, "nf4", "Copy text")
    assert clipboard.text() == "AI is to hurt us."
    choose_in_menu(results, "nf4", "Copy as Python script")
    assert "load_in_4bit=True" in clipboard.text()
    results.copy.click()
    assert clipboard.text().startswith("# SmolLM2-135M-Instruct")


def test_the_menu_offers_only_what_can_be_done(results: ResultsView) -> None:
    made = results.comparison
    assert made is not None
    made.runs[0].state = RunState.GENERATING

    def enabled(name: str) -> set[str]:
        return {action.text().replace("&", "") for action in results.make_menu(name).actions() if action.isEnabled()}

    assert not {"Use as baseline", "Run again", "Remove", "Move left"} & enabled("fp32")
    assert {"Use as baseline", "Run again", "Remove", "Move left", "Move right"} <= enabled("nf4")
    assert "Copy text" in enabled("int8")  # an unfinished text can be copied too


def test_what_is_wished_of_a_run_is_passed_on(results: ResultsView) -> None:
    wishes: list[tuple[object, ...]] = []
    results.run_again_requested.connect(lambda name: wishes.append(("again", name)))
    results.remove_requested.connect(lambda name: wishes.append(("remove", name)))
    results.move_requested.connect(lambda name, place: wishes.append(("move", name, place)))
    for text in ("Run again", "Remove", "Move left", "Move right"):
        choose_in_menu(results, "nf4", text)
    assert wishes == [("again", "nf4"), ("remove", "nf4"), ("move", "nf4", 0), ("move", "nf4", 2)]


def test_texts_scroll_together_when_a_reader_scrolls(qtbot: QtBot, results: ResultsView) -> None:
    made = three()
    for run in made.runs[:2]:
        run.text = "word " * 2000
        run.tokens = []
    results.show_comparison(made)
    qtbot.waitUntil(lambda: results.columns["nf4"].text.verticalScrollBar().maximum() > 50)
    first, other = (results.columns[name].text.verticalScrollBar() for name in ("fp32", "nf4"))
    first.setValue(0)
    other.setValue(0)
    first.triggerAction(first.SliderAction.SliderToMaximum)
    assert other.value() == other.maximum()
    first.setValue(3)  # not scrolled by a reader
    assert other.value() == other.maximum()


def test_what_streams_is_followed_and_all_texts_are_at_their_top_when_it_is_over(
    qtbot: QtBot, results: ResultsView
) -> None:
    made = three()
    made.runs[0].text, made.runs[0].tokens = "word " * 2000, []
    made.runs[1].text, made.runs[1].tokens = "", []
    results.show_comparison(made)
    first, other = (results.columns[name].text for name in ("fp32", "nf4"))
    other.append_tokens([token(1, " word")] * 2000)
    bar = other.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.maximum() > 50)
    assert bar.value() == bar.maximum()
    results.resize(900, 420)  # as when a note appears
    qtbot.waitUntil(lambda: results.height() == 420)
    other.append_tokens([token(1, " word")] * 20)
    assert bar.value() == bar.maximum()
    results.line_up(made)
    assert bar.value() == first.verticalScrollBar().value() == 0
    bar.triggerAction(bar.SliderAction.SliderPageStepAdd)
    read_at = bar.value()
    other.append_tokens([token(1, " word")] * 20)
    results.line_up(made)
    assert bar.value() == read_at > 0 and first.verticalScrollBar().value() > 0


def test_many_notes_leave_the_texts_their_room_until_they_are_asked_for(qtbot: QtBot, results: ResultsView) -> None:
    made = three()
    results.show_comparison(made)
    assert not results.notes.more.isVisible()
    for run in made.runs[:2]:
        run.load.disk_share, run.caution = 0.9, f"Something about {run.id} that is long. " * 6
    results.show_comparison(made)
    notes = results.notes
    line = notes.advice.fontMetrics().lineSpacing()
    qtbot.waitUntil(lambda: notes.more.isVisible() and notes.height() < 4 * line + 8)
    assert notes.more.text() == "… more"
    notes.more.click()
    qtbot.waitUntil(lambda: notes.height() > 5 * line)
    assert notes.area.verticalScrollBar().maximum() == 0  # all of it is visible


# ---- the table ------------------------------------------------------------------------------------------------------


def column_of(table: FiguresTable, title: str) -> int:
    model = table.model()
    return next(
        column for column in range(model.columnCount()) if model.headerData(column, Qt.Orientation.Horizontal) == title
    )


def test_the_table_sorts_by_figures_and_not_by_their_text(qtbot: QtBot) -> None:
    made = three()
    made.runs[0].speed.decode_tokens_per_s = 103.0
    table = FiguresTable()
    qtbot.addWidget(table)
    table.show_comparisons([made])
    column = column_of(table, "Decode")

    def order() -> list[str]:
        return [str(table.model().index(row, 0).data()).split()[0] for row in range(3)]

    assert order() == ["fp32", "nf4", "int8"]
    table.sortByColumn(column, Qt.SortOrder.AscendingOrder)
    assert order() == ["nf4", "fp32", "int8"]
    table.sortByColumn(column, Qt.SortOrder.DescendingOrder)
    assert order() == ["int8", "fp32", "nf4"]


def test_the_table_is_copied_as_cells(qtbot: QtBot) -> None:
    table = FiguresTable()
    qtbot.addWidget(table)
    table.show_comparisons([three()])
    qtbot.keyClick(table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    lines = [line.split("\t") for line in QGuiApplication.clipboard().text().split("\n")]
    assert [line[0] for line in lines] == ["Precision", "fp32 (baseline)", "nf4", "int8"]
    assert {len(line) for line in lines} == {table.model().columnCount()}
    table.selectRow(1)
    table.copy()
    assert len(QGuiApplication.clipboard().text().split("\n")) == 2


# ---- the charts -----------------------------------------------------------------------------------------------------


def sampled() -> Comparison:
    made = three()
    made.runs[0].speed.samples = Samples.of([20.0, 24.0, 28.0])
    return made


def test_latencies_are_between_tokens() -> None:
    assert np.allclose(latencies_ms(token.time_s for token in three().runs[0].tokens), [200, 100, 100])


def test_axes_say_the_figures_in_the_units_of_their_labels(qtbot: QtBot) -> None:
    """pyqtgraph scales an axis by the prefix of its range at the moment when prefixes were switched off."""
    charts = SpeedCharts()
    qtbot.addWidget(charts)
    charts.resize(900, 300)
    charts.show_comparison(sampled())
    theme.paint(QApplication.instance(), dark=True)  # type: ignore[arg-type]
    theme.paint(QApplication.instance(), dark=False)  # type: ignore[arg-type]
    for plot in (*charts.bars.values(), charts.latency):
        for side in ("left", "bottom"):
            assert plot.getAxis(side).autoSIPrefixScale == 1.0
    first = charts.bars["ttft_s"].getAxis("bottom")
    assert 0.04 < first.range[1] < 0.2


def test_the_crosshair_reads_the_tokens_times(qtbot: QtBot) -> None:
    charts = SpeedCharts()
    qtbot.addWidget(charts)
    charts.resize(900, 300)
    charts.show()
    charts.show_comparison(three())
    assert charts.reading(1.2, 5.0) == "token 1: fp32 200 ms · nf4 200 ms"
    assert charts.reading(40, 5.0) == ""
    box = charts.latency.vb.sceneBoundingRect()
    charts.latency.scene().sigMouseMoved.emit(box.center())
    lines = [item for item in charts.latency.items if isinstance(item, pg.InfiniteLine)]
    assert lines and all(line.isVisible() for line in lines)


def test_a_run_is_drawn_again_where_its_figures_changed_and_only_then(qtbot: QtBot) -> None:
    charts, chart = SpeedCharts(), TradeOffChart()
    made = three()
    for widget in (charts, chart):
        qtbot.addWidget(widget)
        widget.show_comparison(made)
    speed, first = charts.items["decode_tokens_per_s"].shown, charts.items["ttft_s"].shown
    dots, curves = chart.dots.shown, charts.curves.shown
    before = [dict(shown) for shown in (speed, first, dots, curves)]
    made.runs[1].speed.decode_tokens_per_s = 12.5
    for widget in (charts, chart):
        widget.show_comparison(made)
    assert [shown["fp32"] for shown in (speed, first, dots, curves)] == [shown["fp32"] for shown in before]
    changed = [shown["nf4"] != was["nf4"] for shown, was in zip((speed, first, dots, curves), before, strict=True)]
    assert changed == [True, False, True, False]
    assert "12.5" in speed["nf4"][-1].toPlainText()
    assert set(chart.plot.items).issuperset(item for items in dots.values() for item in items)
    assert not set(chart.plot.items).intersection(before[2]["nf4"])
    made.runs.pop(1)
    for widget in (charts, chart):
        widget.show_comparison(made)
    assert [list(shown) for shown in (speed, first, dots, curves)] == [["fp32"]] * 4
    assert len(charts.latency.listDataItems()) == 1


def test_what_something_spoilt_is_drawn_pale_and_the_charts_say_what_that_means(qtbot: QtBot) -> None:
    charts, chart = SpeedCharts(), TradeOffChart()
    made = three()
    for widget in (charts, chart):
        qtbot.addWidget(widget)
        widget.show_comparison(made)
    assert not charts.key.text and "pale" not in chart.key.text()
    made.runs[1].speed.other_cpus = 0.9
    for widget in (charts, chart):
        widget.show_comparison(made)
    assert charts.key.text.startswith("pale and *: disturbed") and "pale and *" in chart.key.text()
    for items in charts.items.values():
        sound, spoilt = (items.shown[name][0].opts["brush"].alpha() for name in ("fp32", "nf4"))
        assert sound == 255 and spoilt < 100
    sound, spoilt = (chart.dots.shown[name][0].opts["brush"].color().alpha() for name in ("fp32", "nf4"))
    assert sound == 255 and spoilt < 100
    sound, spoilt = (charts.curves.shown[name][0].opts["pen"].color().alpha() for name in ("fp32", "nf4"))
    assert sound == 255 and spoilt < 150


def test_the_front_joins_what_nothing_beats(qtbot: QtBot) -> None:
    chart = TradeOffChart()
    qtbot.addWidget(chart)
    made = three()
    chart.show_comparison(made)
    assert chart.front == ["nf4"]  # smaller and faster
    made.runs[1].speed.decode_tokens_per_s = 3.0
    chart.show_comparison(made)
    assert chart.front == ["nf4", "fp32"]
    made.runs[1].beside = 1
    chart.show_comparison(made)
    assert chart.front == ["fp32"]  # a run in a race is never on the front
    chart.up.setCurrentIndex(chart.up.findData("new_tokens"))
    assert chart.front == []


@pytest.fixture
def tabs(qtbot: QtBot) -> ComparisonTabs:
    tabs = ComparisonTabs()
    qtbot.addWidget(tabs)
    tabs.resize(900, 300)
    tabs.show()
    tabs.load_charts()
    return tabs


def drawn(tabs: ComparisonTabs) -> bool:
    return tabs.trade_off is not None and bool(tabs.trade_off.dots.shown)


def test_tabs_are_drawn_when_they_are_seen(tabs: ComparisonTabs) -> None:
    assert not tabs.save.isEnabled()
    tabs.show_comparison(three())
    assert tabs.speed is not None and tabs.speed.curves.shown
    assert not drawn(tabs)
    tabs.setCurrentIndex(2)
    assert drawn(tabs)
    assert tabs.save.isEnabled()
    tabs.setCurrentIndex(3)
    assert tabs.table.model().rowCount() == 3
    assert not tabs.save.isEnabled()


@pytest.mark.parametrize("tab", [0, 2])
def test_charts_are_saved(tabs: ComparisonTabs, tmp_path: Path, tab: int) -> None:
    tabs.show_comparison(sampled())
    tabs.setCurrentIndex(tab)
    tabs.save_chart(tmp_path / "a.png")
    tabs.save_chart(tmp_path / "a.svg")
    assert QImage(str(tmp_path / "a.png")).width() > 1000
    drawing = QSvgRenderer(str(tmp_path / "a.svg"))
    assert drawing.isValid()
    assert _difference(QImage(str(tmp_path / "a.png")), drawing) < 0.004
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    lines = [group for group in root.findall(".//{*}g") if any(child.tag.endswith("polyline") for child in group)]
    assert lines and all(group.get("transform", "").startswith("matrix(1,0,0,1,") for group in lines)


def _difference(picture: QImage, drawing: QSvgRenderer) -> float:
    """How far the drawing is from the picture, from 0 to 1. Bars and axes of different scales give 0.008 or more."""
    drawn = QImage(picture.size(), QImage.Format.Format_RGB32)
    painter = QPainter(drawn)
    drawing.render(painter)
    painter.end()

    def coarse(image: QImage) -> np.ndarray:
        small = image.scaled(90, 40, mode=Qt.TransformationMode.SmoothTransformation)
        small = small.convertToFormat(QImage.Format.Format_Grayscale8)
        rows = np.frombuffer(small.constBits(), np.uint8).reshape(small.height(), small.bytesPerLine())
        return rows[:, : small.width()].astype(float) / 255

    return float(np.abs(coarse(picture) - coarse(drawn)).mean())


def test_a_chart_that_cannot_be_saved_says_so(
    tabs: ComparisonTabs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    answer: Callable[..., None] = lambda parent, title, text: said.append(text)  # noqa: E731
    monkeypatch.setattr(QMessageBox, "warning", answer)
    tabs.show_comparison(sampled())
    for name in ("a.png", "a.svg"):
        tabs.save_chart(tmp_path / "nowhere" / name)
    assert len(said) == 2
    assert all("Choose another place" in text for text in said)
