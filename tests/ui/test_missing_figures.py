"""What the window shows if a run's engine lacks something: "–", with the reason where a reader looks for it."""

import pyqtgraph as pg
import pytest
from PySide6.QtCore import QPointF, Qt
from pytestqt.qtbot import QtBot

from qplayground.core.comparison.results import Comparison
from qplayground.core.measures.quality import LayerError
from qplayground.ui.charts.comparison.layer_errors import LayerErrors
from qplayground.ui.charts.comparison.memory_bars import MemoryBars
from qplayground.ui.charts.comparison.trade_off import TradeOffChart
from qplayground.ui.comparison.figures_table import FiguresTable
from qplayground.ui.comparison.results_view import ResultsView
from qplayground.ui.comparison.token_text import describe
from qplayground.ui.status.kept_models import KeptModels
from qplayground.ui.widgets import theme
from qplayground.ui.window import MainWindow
from tests.comparisons import comparison, done, remote
from tests.fakes.remote import ELSEWHERE
from tests.ui.driving import offered_at


@pytest.fixture
def shown() -> Comparison:
    return comparison(done(), remote())


def test_its_column_has_dashes_whose_tips_say_why(qtbot: QtBot, shown: Comparison) -> None:
    view = ResultsView()
    qtbot.addWidget(view)
    view.show_comparison(shown)
    ours, theirs = view.columns["nf4"].figures, view.columns["fp32"].figures
    for key in ("weight_bytes", "resident_bytes", "peak_resident_bytes"):
        assert (ours.labels[key].text(), ours.ratios[key].text()) == ("–", "")
        assert ours.labels[key].toolTip().endswith(f"\n{ELSEWHERE}")
        assert ELSEWHERE not in theirs.labels[key].toolTip()
    assert "–" not in ours.labels["decode_tokens_per_s"].text()
    assert view.notes.remarks.text().startswith("nf4: no figures (–) for memory, weights and predicted memory. ")


def test_a_reason_from_a_file_is_never_markup(qtbot: QtBot, shown: Comparison) -> None:
    shown.runs[1].lacks = dict.fromkeys(shown.runs[1].lacks, "<img src='x'>.")
    view, table = ResultsView(), FiguresTable()
    for widget in (view, table):
        qtbot.addWidget(widget)
    view.show_comparison(shown)
    table.show_comparisons([shown])
    tips = [view.columns["nf4"].figures.labels["resident_bytes"].toolTip(), describe(shown.runs[1].tokens[0], "<img>")]
    tips += [str(table.model().index(1, column).data(Qt.ItemDataRole.ToolTipRole)) for column in range(2, 9)]
    assert not any("<img" in tip for tip in tips) and sum("&lt;img" in tip for tip in tips) == 5


def test_its_row_has_dashes_whose_tips_say_why(qtbot: QtBot, shown: Comparison) -> None:
    table = FiguresTable()
    qtbot.addWidget(table)
    table.show_comparisons([shown])
    model = table.model()
    titles = [model.headerData(column, Qt.Orientation.Horizontal) for column in range(model.columnCount())]
    for title in ("Weights", "RAM", "Peak RAM w/o scoring"):
        index = model.index(1, titles.index(title))
        assert (index.data(), index.data(Qt.ItemDataRole.ToolTipRole)) == ("–", theme.tip(ELSEWHERE))
        assert model.index(0, titles.index(title)).data(Qt.ItemDataRole.ToolTipRole) is None


def test_its_tokens_say_why_they_have_no_probability(qtbot: QtBot, shown: Comparison) -> None:
    view = ResultsView()
    qtbot.addWidget(view)
    view.show_comparison(shown)
    text = view.columns["nf4"].text
    assert describe(shown.runs[1].tokens[0], text.no_probabilities).endswith(
        "<br>The server does not say how likely a token was."
    )
    assert view.columns["fp32"].text.no_probabilities == ""


def test_its_menu_has_no_modules_and_says_why(qtbot: QtBot, shown: Comparison) -> None:
    view = ResultsView()
    qtbot.addWidget(view)
    view.show_comparison(shown)
    menu = view.make_menu("nf4")
    (modules,) = [action for action in menu.actions() if "module" in action.text()]
    (script,) = [action for action in menu.actions() if "Python" in action.text()]
    assert not script.isEnabled()  # it would be a script for transformers
    assert not modules.isEnabled() and modules.toolTip() == theme.tip(ELSEWHERE) and menu.toolTipsVisible()


def test_the_bars_of_memory_have_a_dash_in_its_place(qtbot: QtBot, shown: Comparison) -> None:
    bars = MemoryBars()
    qtbot.addWidget(bars)
    bars.show_comparison(shown)
    labels = [item for item in bars.plot.items if isinstance(item, pg.TextItem)]
    assert [label.toPlainText() for label in labels] == ["1.00 GB", "–"]
    assert [label.toolTip() for label in labels] == ["", theme.tip(ELSEWHERE)]


def test_the_trade_off_says_who_is_not_drawn(qtbot: QtBot, shown: Comparison) -> None:
    chart = TradeOffChart()
    qtbot.addWidget(chart)
    chart.show_comparison(shown)
    assert chart.key.text() == f"nf4 is not drawn: {ELSEWHERE}"
    chart.across.setCurrentIndex(chart.across.findData("ttft_s"))
    assert "not drawn" not in chart.key.text()


def test_a_layer_that_cannot_be_looked_into_says_why(qtbot: QtBot, shown: Comparison) -> None:
    shown.runs[1].layer_errors = [
        LayerError("model.layers.0.mlp", 0.1, 0.2),
        LayerError("model.layers.1.mlp", 0.1, 0.2),
    ]
    layers = LayerErrors()
    qtbot.addWidget(layers)
    layers.show_comparison(shown)
    action = offered_at(layers, QPointF(1, 0.1))
    assert not action.isEnabled() and action.text() == "The server does not show its weights."


def test_kept_models_of_unknown_size_have_no_sum(
    qtbot: QtBot, window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: dict[str, int | None] = {"fp32": 538_000_000, "nf4": None}
    monkeypatch.setattr(type(window.session), "loaded", property(lambda _session: loaded))
    kept = KeptModels(window.session)
    qtbot.addWidget(kept)
    assert kept.text() == "2 in memory, – of weights ▾"
    kept.menu().aboutToShow.emit()
    assert [action.text() for action in kept.menu().actions()[:2]] == ["Unload fp32, 538 MB", "Unload nf4, –"]
