"""The guided tour: its texts, and pictures with figures from the engine."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from PySide6.QtCore import Qt, QUrl
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from qplayground.core.inside import Kept, ModelOutline, Picture, QuantizationParams
from qplayground.core.measures.floats import Counts, Floats
from qplayground.core.precision import READY_PRECISIONS
from qplayground.core.units import share_text, significant
from qplayground.runtime.inside.inspector import Inspector
from qplayground.runtime.processes.launcher import Launcher
from qplayground.ui.inside.tour.tour_facts import TileNeed, TourFacts
from qplayground.ui.inside.tour.tour_figures import (
    BitsPicture,
    ChoicesPicture,
    KeptPicture,
    parts_of,
    quantizing_precision,
)
from qplayground.ui.inside.tour.tour_pictures import (
    EVEN,
    EVEN_WHOLE,
    INT8,
    NF4,
    NF4_TWICE,
    DequantizePicture,
    MatrixPicture,
    price_of,
)
from qplayground.ui.inside.tour.tour_steps import Step, read_steps
from qplayground.ui.inside.tour.tour_view import PICTURES, TourView
from qplayground.ui.widgets import theme
from tests.fakes.inside import SUGGESTED, figures, levels_of, outline, quantized, weights
from tests.process.running import workers_of
from tests.ui.conftest import FAKE_ENGINE

OUTLINE = outline(READY_PRECISIONS)
STEPS = read_steps()
WAIT_MS = 20_000


class Tour:
    """The view and its inspector."""

    def __init__(self, qtbot: QtBot, view: TourView, inspector: Inspector) -> None:
        self.qtbot, self.view, self.inspector = qtbot, view, inspector

    def show_model(self, of: ModelOutline | None = OUTLINE) -> None:
        self.inspector.take("/a/model")
        self.view.show_model(of)

    def go_to(self, name: str) -> None:
        """Choose a step and wait for its picture."""
        self.view.list.setCurrentRow([step.name for step in STEPS].index(name))
        self.qtbot.waitUntil(lambda: self.view.stack.currentWidget() is self.view.picture, timeout=WAIT_MS)

    def wait_for_caption(self, beginning: str) -> None:
        self.qtbot.waitUntil(lambda: self.caption.startswith(beginning), timeout=WAIT_MS)

    @property
    def caption(self) -> str:
        return self.view.picture.caption.text()


@pytest.fixture
def tour(qtbot: QtBot, qapp: QApplication) -> Iterator[Tour]:
    theme.apply_look(qapp)
    inspector = Inspector(Launcher(FAKE_ENGINE))
    view = TourView(inspector)
    qtbot.addWidget(view)
    view.resize(900, 600)
    with qtbot.waitExposed(view):
        view.show()
    yield Tour(qtbot, view, inspector)
    inspector.close()


# ---- the texts ----------------------------------------------------------------------------------------------------


def test_there_are_ten_steps_each_with_a_picture() -> None:
    assert [step.name for step in STEPS] == list(PICTURES)
    assert len(STEPS) == 10


@pytest.mark.parametrize("step", STEPS, ids=[step.name for step in STEPS])
def test_a_step_has_a_title_and_a_few_sentences(step: Step) -> None:
    name, title, text = step
    assert text.startswith(f"# {title}\n\n") and 3 < len(title) < 50
    assert 40 <= len(text.split()) <= 140
    assert max(len(line) for line in text.splitlines()) <= 120
    assert name == name.lower()


def test_the_texts_name_no_figure_of_a_model() -> None:
    """Figures come from the engine. A text may name what is equal for all models, such as 64 weights in a block."""
    found = {number for step in STEPS for number in re.findall(r"\d+(?:\.\d+)?", step.text)}
    assert found <= {"64", "32", "256", "16", "4", "6", "8", "1"}


# ---- going through it ---------------------------------------------------------------------------------------------


def test_next_and_back_go_through_all_steps(tour: Tour) -> None:
    tour.show_model()
    assert not tour.view.back.isEnabled()
    for place, step in enumerate(STEPS):
        assert tour.view.list.currentRow() == place
        assert tour.view.text.toPlainText().startswith(step.title)
        tour.qtbot.waitUntil(lambda: tour.view.stack.currentWidget() is tour.view.picture, timeout=WAIT_MS)
        assert tour.caption and all(chart.table() for chart in tour.view.picture.save.charts.values())
        assert tour.view.next.isEnabled() == (place < 9)
        tour.view.next.click()
    tour.view.back.click()
    assert tour.view.list.currentRow() == 8


def test_nothing_is_read_before_the_tour_is_seen(tour: Tour) -> None:
    tour.view.hide()
    tour.show_model()
    assert not tour.inspector.is_busy and tour.inspector.module == ""
    tour.view.show()
    tour.qtbot.waitUntil(lambda: tour.view.stack.currentWidget() is tour.view.picture, timeout=WAIT_MS)
    assert tour.inspector.module == SUGGESTED == tour.view.heading.text()


def test_the_matrix_is_shown_as_it_is(tour: Tour) -> None:
    tour.show_model()
    tour.go_to("weight-matrix")
    picture = tour.view.picture
    assert isinstance(picture, MatrixPicture)
    matrix = weights(SUGGESTED)
    assert "48 rows × 100 columns are 4,800 weights" in tour.caption
    assert significant(float(matrix.max())) in tour.caption and significant(float(matrix.min())) in tour.caption
    assert picture.map.table()[1][1] == pytest.approx(float(matrix[0, 0]))


def test_rounding_shows_real_weights_and_what_they_become(tour: Tour) -> None:
    tour.show_model()
    tour.go_to("rounding")
    rows = tour.view.picture.plot.table()  # type: ignore[attr-defined]
    matrix = weights(SUGGESTED)
    _, absmax, back = quantized(matrix, EVEN)
    for place in range(64):
        assert rows[1 + place] == [place, pytest.approx(float(matrix[0, place])), pytest.approx(float(back[0, place]))]
    levels = [row[0] for row in rows[67:]]
    assert levels == pytest.approx([float(level * absmax[0]) for level in levels_of(EVEN)])
    assert "16 levels" in tour.caption


def test_one_scale_for_all_is_compared_with_blocks(tour: Tour) -> None:
    tour.show_model()
    tour.go_to("one-scale")
    matrix = weights(SUGGESTED)
    used = {params: len(set(quantized(matrix, params)[2][0, :64].tolist())) for params in (EVEN, EVEN_WHOLE)}
    assert (
        f"They now use {used[EVEN_WHOLE]} of 16 levels; with a scale of their own they used {used[EVEN]}"
        in tour.caption
    )
    for params in (EVEN, EVEN_WHOLE):
        assert share_text(figures(matrix, params).relative_error) in tour.caption


@pytest.mark.parametrize(
    ("step", "params"),
    [
        (
            "blocks",
            (EVEN_WHOLE, *(QuantizationParams(method="uniform4", block_size=size) for size in (4096, 1024, 256, 64))),
        ),
        ("double-quantization", (NF4, NF4_TWICE)),
        ("llm-int8", (INT8, NF4)),
    ],
)
def test_choices_stand_beside_each_other(tour: Tour, step: str, params: tuple[QuantizationParams, ...]) -> None:
    tour.show_model()
    tour.go_to(step)
    picture, matrix = tour.view.picture, weights(SUGGESTED)
    assert isinstance(picture, ChoicesPicture)
    for row, each in enumerate(params):
        found = figures(matrix, each)
        texts = [picture.table.model().index(row, column).data() for column in range(3)]
        heading = picture.table.model().headerData(0, Qt.Orientation.Horizontal)
        assert each.label in (texts[0], f"{heading}, {texts[0]}")
        assert texts[1:] == [f"{found.bits_per_weight:.3f}", share_text(found.relative_error)]
        room = picture.table.columnWidth(0) - 2 * theme.HALF_GRID
        assert step != "blocks" or picture.table.fontMetrics().horizontalAdvance(texts[0]) <= room
        bar = picture.chart.table()[1 + row]
        assert bar[0] == each.label
        expected = found.bits_per_weight if isinstance(picture, BitsPicture) else 100 * found.relative_error
        assert sum(bar[1:]) == pytest.approx(expected)  # type: ignore[arg-type]


def test_absmax_and_codebooks_are_the_engines(tour: Tour) -> None:
    tour.show_model()
    tour.go_to("absmax")
    _, absmax, _ = quantized(weights(SUGGESTED), NF4)
    assert f"{len(absmax)} blocks of 64 weights" in tour.caption
    assert significant(float(absmax.max())) in tour.caption
    tour.go_to("codebooks")
    for params in (NF4, EVEN):
        error = share_text(figures(weights(SUGGESTED), params).relative_error)
        assert f"{params.kind.label}: relative error {error}" in tour.caption


def test_nf4s_larger_single_error_is_explained_where_it_is_so(tour: Tour) -> None:
    tour.show_model()
    tour.go_to("codebooks")
    facts = tour.view.findChild(TourFacts)
    assert isinstance(facts, TourFacts)
    quantized_by = facts.quantized
    assert quantized_by[NF4].figures is not None
    levels = [-1.0, -0.6962, *[place / 20 for place in range(-6, 6)], 0.723, 1.0]

    def price(nf4: tuple[float, float], even: tuple[float, float]) -> str:
        """The sentence on the price, for given relative and largest errors."""
        made = []
        for params, (relative, largest) in ((NF4, nf4), (EVEN, even)):
            found = quantized_by[params]
            assert found.figures is not None
            made.append(replace(found, figures=replace(found.figures, relative_error=relative, max_abs_error=largest)))
        usage = Counts.of([1, *[9] * 14, 1])
        even_levels = Floats.of([place / 7 for place in range(-7, 8)])
        return price_of(replace(made[0], levels=Floats.of(levels), usage=usage), replace(made[1], levels=even_levels))

    said = price(nf4=(0.09, 0.273), even=(0.11, 0.17))
    assert "by up to 0.273, even levels by up to 0.170" in said
    assert "0.277 and 0.304 of the absmax apart; even ones are 0.143" in said
    assert f"Only {share_text(2 / 128)} of the weights" in said
    assert not price(nf4=(0.09, 0.15), even=(0.11, 0.17))
    assert not price(nf4=(0.12, 0.273), even=(0.11, 0.17))


def test_a_weight_is_followed_and_another_one_can_be(tour: Tour) -> None:
    tour.show_model()
    tour.go_to("dequantize")
    picture = tour.view.picture
    assert isinstance(picture, DequantizePicture)
    matrix = weights(SUGGESTED)
    codes, absmax, back = quantized(matrix, NF4)
    for column in (0, 9):
        picture.column.setValue(column)
        value = f"Value {significant(float(matrix[0, column]), 4)} "
        tour.wait_for_caption(value)
        assert f"code {int(codes[0, column])} " in tour.caption
        assert significant(float(absmax[0]), 4) in tour.caption
        assert f"{significant(float(back[0, column]), 4)}, error" in tour.caption


def test_what_stays_adds_up(tour: Tour) -> None:
    tour.show_model()
    tour.go_to("what-stays")
    assert isinstance(tour.view.picture, KeptPicture)
    assert quantizing_precision(OUTLINE) == "nf4"
    parts = {name: (count, size) for name, count, size, _ in parts_of(OUTLINE, "nf4")}
    assert set(parts) == {"quantized", Kept.NOT_LINEAR.value, Kept.TIED.value}
    assert sum(count for count, _ in parts.values()) == len(OUTLINE.modules)
    assert sum(size for _, size in parts.values()) == sum(module.bytes["nf4"] for module in OUTLINE.modules)
    assert parts[Kept.TIED.value] == (1, 0)
    assert tour.view.picture.table.rowCount() == 3
    assert quantizing_precision(outline(())) == ""


def test_the_link_leads_to_the_outliers(tour: Tour) -> None:
    tour.show_model()
    tour.go_to("llm-int8")
    assert "tab:outliers" in tour.view.text.toHtml()
    with tour.qtbot.waitSignal(tour.view.outliers_wanted):
        tour.view.text.anchorClicked.emit(QUrl("tab:outliers"))


def test_a_tile_is_kept_as_what_it_was_asked_as(qtbot: QtBot, tour: Tour) -> None:
    """The step is left between question and answer, while the matrix is still being quantized."""
    whole, row = TileNeed(Picture.ORIGINAL), TileNeed(Picture.ORIGINAL, rows=1, columns=64)
    tour.view.hide()
    facts = TourFacts(tour.inspector)
    tour.inspector.take("/a/model")
    facts.start(OUTLINE)
    facts.collect((whole,))
    tour.inspector.opened.connect(lambda: facts.collect((row,)))
    qtbot.waitUntil(lambda: facts.is_complete, timeout=WAIT_MS)
    assert (facts.tiles[row].rows, facts.tiles[row].columns) == (1, 64)


# ---- what goes wrong ----------------------------------------------------------------------------------------------


def test_a_matrix_whose_params_are_fixed_says_why(tour: Tour) -> None:
    """Steps that need no parameter are still shown."""
    tour.show_model(replace(OUTLINE, suggested="model.layers.2.mlp.rests"))
    tour.go_to("weight-matrix")
    tour.view.list.setCurrentRow(1)
    assert tour.view.stack.currentWidget() is tour.view.message
    assert tour.view.message.text() == "It was quantized before, so nothing can be tried on it."
    tour.go_to("what-stays")


@pytest.mark.parametrize(("module", "sentence"), [("breaks", "was told to fail"), ("exits", "engine")])
def test_a_matrix_that_cannot_be_read_says_why(tour: Tour, module: str, sentence: str) -> None:
    tour.show_model(replace(OUTLINE, suggested=f"model.layers.2.mlp.{module}"))
    tour.qtbot.waitUntil(lambda: sentence in tour.view.message.text(), timeout=WAIT_MS)
    assert tour.view.stack.currentWidget() is tour.view.message
    tour.go_to("what-stays")  # the outline is known


def test_an_engine_that_was_lost_is_begun_again(tour: Tour) -> None:
    tour.show_model()
    tour.go_to("weight-matrix")
    with tour.qtbot.waitSignal(tour.inspector.failed, timeout=WAIT_MS):
        (worker,) = workers_of(tour.inspector)
        worker.end()
    tour.go_to("rounding")


def test_during_a_comparison_the_picture_waits(tour: Tour) -> None:
    tour.inspector.set_paused(True)
    tour.view.set_paused(True)
    said = tour.view.message.text()
    assert said.startswith("A comparison is running.")  # before a module is known, too
    tour.show_model()
    assert tour.view.message.text() == said
    assert tour.view.stack.currentWidget() is tour.view.message
    tour.inspector.set_paused(False)
    tour.view.set_paused(False)
    tour.qtbot.waitUntil(lambda: tour.view.stack.currentWidget() is tour.view.picture, timeout=WAIT_MS)


def test_another_model_is_drawn_anew(tour: Tour) -> None:
    tour.show_model()
    tour.go_to("weight-matrix")
    tour.view.show_model(None)
    assert tour.view.stack.currentWidget() is tour.view.message
    tour.show_model(replace(OUTLINE, suggested="model.layers.0.self_attn.q_proj"))
    tour.qtbot.waitUntil(lambda: tour.view.heading.text() == "model.layers.0.self_attn.q_proj", timeout=WAIT_MS)
    tour.go_to("weight-matrix")
    assert significant(float(weights("model.layers.0.self_attn.q_proj").min())) in tour.caption


@pytest.mark.parametrize("dark", [False, True])
def test_pictures_are_saved_in_every_format(tour: Tour, qapp: QApplication, tmp_path: Path, dark: bool) -> None:
    theme.paint(qapp, dark)
    tour.show_model()
    for step in STEPS:
        tour.go_to(step.name)
        for name, chart in tour.view.picture.save.charts.items():
            for suffix in (".png", ".svg", ".csv"):
                target = tmp_path / f"{name}{suffix}"
                with tour.qtbot.waitSignal(tour.view.said) as said:
                    tour.view.picture.save.save(chart, target)
                assert said.args == [f"Saved as {target}"]
                if suffix == ".csv":
                    rows = list(csv.reader(target.read_text("utf-8").splitlines()))
                    assert len(rows) == len(chart.table()) > 1, target
                else:
                    assert target.stat().st_size > 100, target
    theme.paint(qapp, False)
