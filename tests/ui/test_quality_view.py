"""The Quality tab, from a comparison by the scripted engine to the screen."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pyqtgraph as pg
import pytest
from msgspec.structs import replace
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QMessageBox, QSplitter
from pytestqt.qtbot import QtBot

from qplayground.core.commentary.recommendation import recommendation
from qplayground.core.comparison.results import Comparison
from qplayground.core.measures.floats import Floats
from qplayground.core.measures.quality import LayerError, TextSource
from qplayground.core.units import number_text
from qplayground.report.markdown import to_markdown
from qplayground.ui.charts.comparison import divergences
from qplayground.ui.comparison.quality_view import QualityView
from qplayground.ui.window import MainWindow
from tests.ui.driving import compare, tick, type_prompt


@pytest.fixture
def view(qtbot: QtBot, compared: MainWindow) -> QualityView:
    view = QualityView()
    qtbot.addWidget(view)
    assert compared.session.comparison is not None
    view.show_comparison(compared.session.comparison)
    return view


def comparison_of(window: MainWindow) -> Comparison:
    assert window.session.comparison is not None
    return window.session.comparison


def test_every_run_has_a_sentence_with_its_numbers(view: QualityView) -> None:
    _, *lines = view.sentences.text().splitlines()
    assert lines[0].startswith("fp32 has a perplexity of") and "compared with it" in lines[0]
    assert any(
        line.startswith("nf4 puts the same next token first as fp32") and "of the bytes" in line for line in lines
    )
    assert any("; bf16, the same number type" in line for line in lines if line.startswith("nf4's next-token"))


def test_which_precision_to_pick_comes_first_and_below_the_columns(view: QualityView, compared: MainWindow) -> None:
    said = recommendation(comparison_of(compared))
    assert said and view.sentences.text().splitlines()[0] == said
    notes = compared.results.notes
    assert notes.advice.isVisible() and notes.advice.text() == said


def test_another_baseline_does_not_change_what_the_scores_are_against(view: QualityView, compared: MainWindow) -> None:
    assert "not against the baseline" not in view.sentences.text()
    compared.session.set_baseline("nf4")
    comparison = comparison_of(compared)
    view.show_comparison(comparison)
    _, first, second, *_ = view.sentences.text().splitlines()
    assert "are against fp32" in first and "not against the baseline, nf4" in first
    assert second.startswith("fp32 has a perplexity of") and "were scored against it" in second
    assert to_markdown(comparison).count("are against fp32") == 1


def test_a_score_that_was_stopped_is_said_in_the_column_and_in_the_tab(qtbot: QtBot, ready_window: MainWindow) -> None:
    tick(qtbot, ready_window, "bf16", "nf4")
    type_prompt(qtbot, ready_window, "Once fast=3 bf16=hang-scoring")
    ready_window.options.quality.setCurrentText("1,000 tokens")
    ready_window.tabs.load_charts()
    ready_window.models.compare.click()
    column = ready_window.results.columns["bf16"]
    qtbot.waitUntil(lambda: "scoring the text" in column.state.text(), timeout=10_000)
    with qtbot.waitSignal(ready_window.session.comparison_finished, timeout=10_000):
        ready_window.models.stop.click()
    assert "tokens · scoring stopped" in column.state.text()
    ready_window.tabs.setCurrentIndex(2)
    quality = ready_window.tabs.quality
    assert quality is not None and quality.isVisible()
    assert quality.sentences.text() == "bf16: Scoring was stopped. Run it again."
    assert "scoring stopped" in to_markdown(comparison_of(ready_window))


def open_page(view: QualityView, title: str) -> None:
    """Show a page, because only shown pages are drawn."""
    view.pages.setCurrentIndex(next(place for place in range(view.pages.count()) if view.pages.tabText(place) == title))


def curves(plot: pg.PlotItem) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The drawn curves by name: positions and heights."""
    return {item.name(): (item.xData, item.yData) for item in plot.listDataItems()}


def cells(view: QualityView) -> dict[str, dict[str, str]]:
    """The table's cells, by precision and heading."""
    model = view.table.model()
    headings = [str(model.headerData(column, Qt.Orientation.Horizontal)) for column in range(model.columnCount())]
    titles = [heading.replace("\n", " ") for heading in headings]
    rows = [[str(model.index(row, column).data()) for column in range(len(titles))] for row in range(model.rowCount())]
    return {row[0]: dict(zip(titles, row, strict=True)) for row in rows}


def test_the_baseline_is_a_dot_that_the_others_are_seen_against(view: QualityView) -> None:
    open_page(view, "Against memory")
    places = {name: float(items[0].getData()[1][0]) for name, items in view.trade_off.dots.shown.items()}
    assert places["fp32"] == 0 and all(places[name] > 0 for name in ("bf16", "int8", "nf4"))


def test_every_figure_of_the_divergence_says_so_and_the_mean_change_is_seen_at_once(
    qtbot: QtBot, view: QualityView
) -> None:
    titles = list(cells(view)["nf4"])
    between = titles[titles.index("Mean KLD") : titles.index("Same top, %")]
    assert len(between) == 8 and all(title.endswith(" KLD") for title in between)
    view.resize(970, 300)  # the size of the tab in a window of 1280 pixels
    view.show()
    header = view.table.horizontalHeader()
    last = titles.index("Δp, %")
    qtbot.waitUntil(lambda: view.table.viewport().width() > 900)
    assert header.sectionPosition(last) + header.sectionSize(last) <= view.table.viewport().width()


def test_the_table_has_a_row_a_run(view: QualityView) -> None:
    found = cells(view)
    assert list(found) == ["fp32", "bf16", "int8", "nf4"]
    assert "±" in found["nf4"]["Perplexity"] and "±" in found["nf4"]["Mean KLD"] and found["nf4"]["Max. KLD"] != "–"
    assert found["fp32"]["Mean KLD"] == "–"
    assert "1,000 tokens scored" in view.source.text() and "builtin" in view.source.text()


def test_the_charts_have_a_curve_a_candidate(view: QualityView) -> None:
    open_page(view, "Distribution")
    open_page(view, "Along the text")
    names = {item.name() for item in view.histogram.plot.listDataItems()}
    assert names == {item.name() for item in view.along.plot.listDataItems()} == {"bf16", "int8", "nf4"}


def test_a_page_shows_what_came_while_another_was_seen(view: QualityView, compared: MainWindow) -> None:
    for title in ("Distribution", "Along the text", "Layers", "Against memory", "Figures"):
        open_page(view, title)
    comparison = comparison_of(compared)
    comparison.runs = [run for run in comparison.runs if run.id != "int8"]
    open_page(view, "Distribution")
    view.show_comparison(comparison)
    assert set(curves(view.histogram.plot)) == {"bf16", "nf4"} and "int8" in curves(view.along.plot)
    open_page(view, "Along the text")
    assert set(curves(view.along.plot)) == {"bf16", "nf4"}
    assert [view.candidate.itemText(place) for place in range(view.candidate.count())] == ["bf16", "nf4"]
    open_page(view, "Against memory")
    assert set(view.trade_off.dots.shown) == {"fp32", "bf16", "nf4"}
    open_page(view, "Figures")
    assert "int8" not in view.sentences.text() and set(cells(view)) == {"fp32", "bf16", "nf4"}


@pytest.mark.parametrize(("height", "orientation"), [(180, Qt.Orientation.Horizontal), (600, Qt.Orientation.Vertical)])
def test_chart_and_text_are_whole_in_a_low_window_too(
    view: QualityView, qtbot: QtBot, height: int, orientation: Qt.Orientation
) -> None:
    view.pages.setCurrentIndex(2)
    view.resize(950, height)
    with qtbot.waitExposed(view):
        view.show()
    page = view.pages.currentWidget()
    assert isinstance(page, QSplitter)
    qtbot.waitUntil(lambda: page.orientation() is orientation)
    assert page.height() >= page.minimumSizeHint().height()  # otherwise the axis would be cut
    assert min(page.sizes()) >= 100


def test_the_histogram_ends_with_the_decade_of_the_largest_divergence(view: QualityView, compared: MainWindow) -> None:
    comparison = deepcopy(comparison_of(compared))
    for largest, end in ((0.5, 1), (1.0, 1), (5.0, 10), (0.05, 0.1)):
        for run in divergences.compared(comparison):
            assert run.scored is not None
            run.scored = replace(run.scored, kld=Floats.of([0.002, largest]))
        view.histogram.show_comparison(comparison)
        edges, shares = curves(view.histogram.plot)["nf4"]
        assert edges[-1] == pytest.approx(end)
        assert sum(shares) == pytest.approx(100)


def test_a_spot_in_the_chart_leads_to_the_text_and_back(view: QualityView, qtbot: QtBot) -> None:
    open_page(view, "Along the text")
    view.along.picked.emit(500)
    assert view.text.expectations(500)[0] == f"Here stands {view.text.textCursor().selectedText()!r}."
    said = view.expected.text()
    assert "fp32 expected" in said and "nf4 expected" in said and "nats" in said
    assert view.expected.wordWrap()  # beside the chart there is no room for one line
    view.text.picked.emit(20)
    lines = [item for item in view.along.plot.items if isinstance(item, pg.InfiniteLine)]
    assert [line.value() for line in lines if line.isVisible()] == [20.5] and view.expected.text() != said


def test_the_ground_is_the_chosen_candidates(view: QualityView) -> None:
    open_page(view, "Along the text")
    view.candidate.setCurrentText("bf16")
    said = " ".join(view.text.expectations(3))
    assert "bf16 expected" in said and "nf4 expected" not in said


def test_the_charts_say_what_their_curves_are_and_not_where_the_mouse_is(view: QualityView) -> None:
    open_page(view, "Distribution")
    open_page(view, "Along the text")
    _, along = curves(view.along.plot)["nf4"]
    assert view.along.reading(100.7, 5.0) == view.along.reading(100.2, 0.0)
    assert f"nf4 {number_text(along[100])}" in view.along.reading(100.0, 9.0)
    assert view.along.reading(-1.0, 0.0) == view.along.reading(5000.0, 0.0) == ""
    edges, shares = curves(view.histogram.plot)["nf4"]
    highest = int(shares.argmax())
    inside = float(np.log10(edges[highest])) + 0.01
    assert f"nf4 {number_text(shares[highest])} %" in view.histogram.reading(inside, 0.0)


def test_without_candidates_the_charts_cannot_be_opened(view: QualityView, compared: MainWindow) -> None:
    alone = comparison_of(compared)
    alone.runs = alone.runs[:1]
    view.show_comparison(alone)
    assert [view.pages.isTabEnabled(place) for place in range(view.pages.count())] == [True, *[False] * 4]
    assert "nothing to compare" in view.sentences.text()


def test_long_names_of_layers_do_not_widen_the_window(view: QualityView, compared: MainWindow) -> None:
    before = view.minimumSizeHint().width()
    name = "model.language_model.layers.31.self_attn.a_very_long_projection"
    comparison_of(compared).run("nf4").layer_errors = [LayerError(name, 0.1, 0.2)] * 3
    view.layers.show_comparison(comparison_of(compared))
    assert view.minimumSizeHint().width() <= max(before, 700)


def test_the_worst_layer_is_named(view: QualityView, compared: MainWindow) -> None:
    run = comparison_of(compared).run("nf4")
    run.layer_errors = [LayerError(f"model.layers.{place}.mlp", 0.09, 0.01 * place) for place in range(9)]
    view.layers.show_comparison(comparison_of(compared))
    assert view.layers.worst.text().startswith("worst: layers.8.mlp 8.00 %")
    view.layers.what.setCurrentIndex(1)
    assert "9.00 %" in view.layers.worst.text()
    assert "weights 9.00 %, outputs 4.00 %" in view.layers.reading(4.2, 0)


def test_the_tab_shows_it_and_saves_its_charts(compared: MainWindow) -> None:
    tabs = compared.tabs
    place = next(index for index in range(tabs.count()) if tabs.tabText(index).replace("&", "") == "Quality")
    tabs.setCurrentIndex(place)
    assert tabs.quality is not None and tabs.quality.table.rowCount() == 4
    assert tabs.chart() is None and not tabs.save.isEnabled()  # figures are not a chart
    tabs.quality.pages.setCurrentIndex(1)
    assert tabs.chart() is tabs.quality.histogram.view and tabs.save.isEnabled()


def test_off_scores_nothing(qtbot: QtBot, ready_window: MainWindow) -> None:
    type_prompt(qtbot, ready_window, "Once fast=3")
    ready_window.options.quality.setCurrentText("off")
    assert not ready_window.options.text.isEnabled()
    compare(qtbot, ready_window)
    assert all(run.quality is None for run in comparison_of(ready_window).runs)


def choose_file(window: MainWindow, monkeypatch: pytest.MonkeyPatch, path: Path) -> list[str]:
    """Choose it as the text to be scored. Returns what the window says about it."""
    said: list[str] = []
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *arguments: (str(path), ""))
    monkeypatch.setattr(QMessageBox, "warning", lambda parent, title, text: said.append(text))
    box = window.options.text
    box.setCurrentIndex(box.findData(str(TextSource.FILE)))
    box.activated.emit(box.currentIndex())
    return said


def test_a_file_that_is_no_text_is_refused_when_it_is_chosen(
    ready_window: MainWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "picture.bin"
    path.write_bytes(b"a\x00b")
    (said,) = choose_file(ready_window, monkeypatch, path)
    assert "binary" in said and ready_window.options.text.currentData() == TextSource.BUILTIN


def test_a_file_that_was_spoilt_since_is_refused_before_anything_is_loaded(
    qtbot: QtBot, ready_window: MainWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("words " * 100)
    assert choose_file(ready_window, monkeypatch, path) == []
    assert ready_window.options.text.currentText() == "mine.txt…"
    path.write_bytes(b"a\x00b")
    ready_window.options.quality.setCurrentText("1,000 tokens")
    type_prompt(qtbot, ready_window, "Once fast=3")
    ready_window.models.compare.click()
    assert not ready_window.session.is_busy and "binary" in ready_window.models.error.text()


def test_choosing_no_file_stays_with_the_built_in_text(
    ready_window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *arguments: ("", ""))
    options = ready_window.options
    options.text.setCurrentIndex(options.text.findData(str(TextSource.FILE)))
    options.text.activated.emit(options.text.currentIndex())
    assert options.text.currentData() == TextSource.BUILTIN
