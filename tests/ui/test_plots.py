"""The charts, with hand-made data."""

import math
from itertools import pairwise
from typing import Any

import pyqtgraph as pg
import pytest
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from qplayground.core.comparison.memory_segments import RAM, VRAM, memory_sentences
from qplayground.core.comparison.results import Comparison, MemoryFigures, Run
from qplayground.core.generation import GenerationSettings
from qplayground.core.memory.estimate import Estimate, WeightKinds
from qplayground.core.memory.process_memory import MemorySample, ProcessMemory
from qplayground.core.messages.events import Phase, PhaseStarted
from qplayground.core.precision import READY_PRECISIONS
from qplayground.ui.charts.comparison.memory_bars import MemoryBars, part_brush
from qplayground.ui.charts.comparison.timeline import MemoryTimeline
from qplayground.ui.comparison.memory_bars_view import MemoryBarsView
from qplayground.ui.widgets import theme
from tests.comparisons import MODEL

MB = 1_000_000


def sample(time_s: float, megabytes: float, vram: dict[str, int] | None = None) -> MemorySample:
    return MemorySample(time_s, ProcessMemory(int(megabytes * MB), 0), vram or {})


@pytest.fixture
def timeline(qtbot: QtBot) -> MemoryTimeline:
    timeline = MemoryTimeline()
    qtbot.addWidget(timeline)
    timeline.resize(600, 300)
    timeline.show()
    return timeline


def test_samples_become_curves_in_megabytes_from_the_first_moment(qtbot: QtBot, timeline: MemoryTimeline) -> None:
    for step in range(600):  # more than the arrays first hold
        timeline.add_samples("fp32", [sample(100 + step / 20, 400 + step)])
    qtbot.waitUntil(lambda: "fp32" in timeline.ram.curves)
    times, megabytes = timeline.ram.series["fp32"].times_s, timeline.ram.series["fp32"].megabytes
    assert len(times) == 600
    assert times[0] == 0
    assert times[-1] == pytest.approx(599 / 20)
    assert megabytes[0] == 400
    assert megabytes[-1] == 999


def test_the_axis_starts_at_zero_until_somebody_zooms(qtbot: QtBot, timeline: MemoryTimeline) -> None:
    timeline.add_samples("nf4", [sample(0, 500)])
    timeline.add_samples("nf4", [sample(1, 510)])
    qtbot.waitUntil(lambda: timeline.plot.viewRange()[1][1] > 510)
    assert timeline.plot.viewRange()[1][0] == pytest.approx(0)
    timeline.plot.vb.sigRangeChangedManually.emit([True, True])
    timeline.plot.setYRange(505, 515, padding=0)
    timeline.add_samples("nf4", [sample(2, 900)])
    qtbot.waitUntil(lambda: len(timeline.ram.curves["nf4"].getData()[0]) == 3)
    assert timeline.plot.viewRange()[1] == pytest.approx([505, 515])


def test_what_is_not_seen_is_not_drawn_until_it_is(qtbot: QtBot, timeline: MemoryTimeline) -> None:
    timeline.hide()
    timeline.add_samples("nf4", [sample(0, 500)])
    timer = timeline.findChild(QTimer, options=Qt.FindChildOption.FindDirectChildrenOnly)
    assert timer is not None
    qtbot.waitUntil(lambda: not timer.isActive())
    assert not timeline.ram.curves
    timeline.show()
    assert list(timeline.ram.curves) == ["nf4"]


def test_a_dying_process_does_not_draw_a_cliff(timeline: MemoryTimeline) -> None:
    timeline.add_samples("nf4", [sample(0, 500)])
    timeline.add_samples("nf4", [sample(1, 0)])
    assert list(timeline.ram.series["nf4"].megabytes) == [500]


def test_phases_follow_one_another_and_end_with_the_last_sample(timeline: MemoryTimeline) -> None:
    timeline.begin_phase("fp32", PhaseStarted(1, Phase.LOAD, 10.0))
    timeline.add_samples("fp32", [sample(11, 400)])
    timeline.begin_phase("fp32", PhaseStarted(1, Phase.DECODE, 12.0))
    timeline.add_samples("fp32", [sample(15, 400)])
    spans = [(span.phase, span.start_s, span.end_s) for span in timeline.lane.spans]
    assert spans == [(Phase.LOAD, 0, 2), (Phase.DECODE, 2, 5)]
    assert timeline.lane.spans_at(1.0) == timeline.lane.spans[:1]
    assert "fp32 · load · 400 MB" in timeline.reading(1.0)


def test_an_idle_engine_is_not_drawn_as_if_it_worked(timeline: MemoryTimeline) -> None:
    timeline.begin_phase("fp32", PhaseStarted(1, Phase.DECODE, 10.0))
    timeline.add_samples("fp32", [sample(12, 400)])
    timeline.end_phases("fp32")
    timeline.add_samples("fp32", [sample(30, 400)])
    assert [(span.start_s, span.end_s) for span in timeline.lane.spans] == [(0, 2)]
    assert timeline.reading(15.0) == "15.00 s"
    assert len(timeline.ram.series["fp32"].times_s) == 2
    timeline.begin_phase("fp32", PhaseStarted(2, Phase.PREFILL, 41.0))
    timeline.add_samples("fp32", [sample(42, 400)])
    assert [(span.start_s, span.end_s) for span in timeline.lane.spans] == [(0, 2), (31, 32)]


def test_what_goes_on_at_once_has_rows_of_its_own(timeline: MemoryTimeline) -> None:
    for name in ("fp32", "nf4"):
        timeline.begin_phase(name, PhaseStarted(1, Phase.DECODE, 10.0))
    timeline.add_samples("fp32", [sample(12, 400)])
    timeline.add_samples("nf4", [sample(12, 100)])
    assert [(span.name, span.row) for span in timeline.lane.spans_at(1.0)] == [("fp32", 0), ("nf4", 1)]
    timeline.end_phases("fp32")
    timeline.begin_phase("int8", PhaseStarted(1, Phase.LOAD, 13.0))
    assert timeline.lane.spans[-1].row == 0
    assert timeline.lane.rows == 2
    timeline.clear()
    assert timeline.lane.rows == 1


def test_no_line_leads_from_one_engine_to_the_next(qtbot: QtBot, timeline: MemoryTimeline) -> None:
    timeline.begin_phase("fp32", PhaseStarted(1, Phase.START, 10.0))
    timeline.add_samples("fp32", [sample(11, 400), sample(12, 500)])
    timeline.end_phases("fp32")
    timeline.begin_phase("fp32", PhaseStarted(2, Phase.START, 60.0))
    timeline.add_samples("fp32", [sample(61, 300), sample(62, 450)])
    megabytes = timeline.ram.series["fp32"].megabytes
    assert [math.isnan(value) for value in megabytes] == [False, False, True, False, False]
    assert timeline.ram.series["fp32"].highest_megabytes == 500
    qtbot.waitUntil(lambda: "fp32" in timeline.ram.curves)
    assert timeline.ram.curves["fp32"].opts["connect"] == "finite"
    assert "fp32" in timeline.reading(51.5) and timeline.reading(20.0) == "20.00 s"
    timeline.forget("fp32")
    assert not timeline.ram.series and not timeline.lane.spans


def test_what_is_taken_out_of_a_comparison_leaves_the_chart(qtbot: QtBot, timeline: MemoryTimeline) -> None:
    for name in ("fp32", "int8", "nf4"):
        timeline.begin_phase(name, PhaseStarted(1, Phase.DECODE, 10.0))
        timeline.add_samples(name, [sample(12, 400)])
        timeline.end_phases(name)
    qtbot.waitUntil(lambda: len(timeline.ram.curves) == 3)
    timeline.begin_phase("bf16", PhaseStarted(1, Phase.START, 13.0))  # there is no sample yet
    timeline.keep_only({"fp32", "nf4"})
    assert [label.text for _, label in timeline.legend.items] == ["fp32", "nf4"]
    assert len(timeline.plot.listDataItems()) == 2
    assert {span.name for span in timeline.lane.spans} == {"fp32", "nf4"}


def test_vram_gets_a_plot_of_its_own_only_when_there_is_some(qtbot: QtBot, timeline: MemoryTimeline) -> None:
    timeline.add_samples("fp32", [sample(0, 400)])
    qtbot.waitUntil(lambda: "fp32" in timeline.ram.curves)
    assert not timeline.gpus
    timeline.add_samples("fp32", [sample(1, 400, vram={"cuda:0": 300 * MB, "cuda:1": 200 * MB})])
    timeline.add_samples("nf4", [sample(1, 400, vram={"cuda:1": 100 * MB})])
    qtbot.waitUntil(lambda: "nf4" in timeline.ram.curves)
    first, second = timeline.gpus["cuda:0"], timeline.gpus["cuda:1"]
    assert list(first.series["fp32"].megabytes) == [300] and set(first.curves) == {"fp32"}
    assert list(second.series["nf4"].megabytes) == [100] and set(second.curves) == {"fp32", "nf4"}
    assert second.plot.getAxis("left").labelText == "cuda:1, MB"
    timeline.forget("fp32")
    assert not first.curves and set(second.curves) == {"nf4"}


def test_a_new_comparison_starts_empty(qtbot: QtBot, timeline: MemoryTimeline) -> None:
    timeline.add_samples("fp32", [sample(0, 400)])
    qtbot.waitUntil(lambda: "fp32" in timeline.ram.curves)
    timeline.clear()
    timeline.add_samples("nf4", [sample(50, 100)])
    qtbot.waitUntil(lambda: "nf4" in timeline.ram.curves)
    assert "fp32" not in timeline.ram.curves
    assert timeline.ram.series["nf4"].times_s[0] == 0


def comparison(*memory: MemoryFigures) -> Comparison:
    runs = [
        Run(id=recipe.name, model=MODEL, precision=recipe, memory=figures)
        for recipe, figures in zip(READY_PRECISIONS, memory, strict=False)
    ]
    return Comparison(environment=None, prompt="p", settings=GenerationSettings(), baseline="fp32", runs=runs)


def figures(**changes: Any) -> MemoryFigures:
    kinds = WeightKinds(quantized=80 * MB, scales=10 * MB, plain=20 * MB, buffers=3 * MB)
    predicted = Estimate(
        precision="nf4", by_kind=kinds, kv_cache_bytes=MB, working_bytes=20 * MB, runtime_bytes=370 * MB
    )
    fields = {
        "weight_bytes": 113 * MB,
        "by_kind": kinds,
        "runtime_bytes": 370 * MB,
        "resident_bytes": 500 * MB,
        "peak_resident_bytes": 580 * MB,
        "predicted": predicted,
        "predicted_resident_bytes": predicted.resident_bytes,
    }
    return MemoryFigures(**{**fields, **changes})


def test_the_measured_bar_is_the_resident_memory_with_what_nothing_explains() -> None:
    segments = RAM.measured(figures())
    assert [(segment.role, segment.num_bytes // MB) for segment in segments] == [
        *[("runtime", 370), ("quantized", 80), ("scales", 10), ("plain", 20), ("buffers", 3)],
        *[("beside", 1), ("unexplained", 16)],
    ]
    assert sum(segment.num_bytes for segment in segments) == 500 * MB
    assert RAM.measured(MemoryFigures()) == []


def test_before_it_wrote_there_is_no_cache_to_account_for() -> None:
    assert RAM.measured(figures(peak_resident_bytes=None))[-1].num_bytes == 17 * MB


def test_less_than_the_tensors_is_not_drawn_below_zero() -> None:
    segments = RAM.measured(figures(resident_bytes=400 * MB))
    assert segments[-1].num_bytes == 0
    assert sum(segment.num_bytes for segment in segments) == 400 * MB


def test_parts_that_come_to_more_than_was_measured_are_said(qtbot: QtBot) -> None:
    """The bar has the measured length. Its tooltips, the text beside it and the reports say what was cut."""
    short = figures(resident_bytes=400 * MB)
    bars = MemoryBars()
    qtbot.addWidget(bars)
    bars.show_comparison(comparison(short))
    (text,) = [item.toPlainText() for item in bars.plot.items if isinstance(item, pg.TextItem)]
    assert text == "400 MB, predicted 504 MB\nits parts: 84.0 MB more"
    tips = {item.toolTip() for item in bars.plot.items if isinstance(item, pg.BarGraphItem)}
    assert "measured: 30.0 MB quantized weights, of 80.0 MB that are accounted for" in tips
    (sentence,) = memory_sentences(short)
    assert sentence.startswith("Its known parts come to 84.0 MB more than was measured in RAM")

    crowded = on_gpu(vram_allocated_bytes=80 * MB, vram_reserved_bytes=80 * MB)
    assert sum(part.num_bytes for part in VRAM.measured(crowded)) == 480 * MB
    assert VRAM.caption(crowded).endswith("\nits parts: 11.0 MB more")
    assert "11.0 MB more than was measured in VRAM" in memory_sentences(crowded)[0]
    assert memory_sentences(figures()) == memory_sentences(on_gpu()) == memory_sentences(MemoryFigures()) == ()


def test_the_predicted_bar_is_what_was_reckoned() -> None:
    segments = RAM.predicted(figures())
    assert sum(segment.num_bytes for segment in segments) == figures().predicted_resident_bytes == 504 * MB
    assert "unexplained" not in {segment.role for segment in segments}
    assert RAM.predicted(figures(predicted=None)) == []


def test_weights_on_a_gpu_are_not_drawn_as_ram() -> None:
    roles = {segment.role for segment in RAM.measured(figures(vram_allocated_bytes=540 * MB))}
    assert roles == {"runtime", "unexplained"}
    assert RAM.predicted(figures(vram_allocated_bytes=540 * MB)) == []


def on_gpu(**changes: Any) -> MemoryFigures:
    held = {"cuda:0": WeightKinds(quantized=80 * MB, scales=10 * MB), "cpu": WeightKinds(plain=23 * MB)}
    predicted = Estimate(
        precision="nf4",
        by_kind=sum(held.values(), WeightKinds()),
        by_device=held,
        kv_cache_bytes=MB,
        working_bytes=20 * MB,
    )
    fields = {
        "by_device": held,
        "predicted": predicted,
        "vram_allocated_bytes": 95 * MB,
        "vram_reserved_bytes": 120 * MB,
        "vram_driver_bytes": 520 * MB,
        "vram_context_bytes": 400 * MB,
    }
    return figures(**{**fields, **changes})


def test_vram_is_cudas_own_tensors_what_torch_keeps_and_what_nothing_explains() -> None:
    segments = VRAM.measured(on_gpu())
    assert [(part.role, part.num_bytes // MB) for part in segments if part.num_bytes] == [
        *[("runtime", 400), ("quantized", 80), ("scales", 10), ("beside", 1), ("beside", 25), ("unexplained", 4)],
    ]
    assert sum(part.num_bytes for part in segments) == 520 * MB
    assert {part.role for part in VRAM.predicted(on_gpu())} >= {"runtime", "quantized", "beside"}
    assert [part.num_bytes // MB for part in RAM.measured(on_gpu()) if part.role == "plain"] == [23]
    assert VRAM.measured(figures()) == [] and VRAM.predicted(figures()) == []


def test_what_the_driver_does_not_tell_is_not_made_up() -> None:
    silent = on_gpu(vram_driver_bytes=None, vram_context_bytes=None)
    assert sum(part.num_bytes for part in VRAM.measured(silent)) == 120 * MB
    assert VRAM.caption(silent).startswith("120 MB and CUDA's own, predicted ")


def test_the_bars_of_several_runs_are_drawn(qtbot: QtBot) -> None:
    bars = MemoryBars()
    qtbot.addWidget(bars)
    bars.show_comparison(comparison(figures(), MemoryFigures(), figures()))
    texts = [item.toPlainText() for item in bars.plot.items if isinstance(item, pg.TextItem)]
    assert texts == ["500 MB, predicted 504 MB", "500 MB, predicted 504 MB"]
    tips = {item.toolTip() for item in bars.plot.items if isinstance(item, pg.BarGraphItem)}
    assert "measured: 16.0 MB unexplained" in tips and "predicted: 20.0 MB working memory" in tips


def test_bars_are_drawn_again_when_their_figures_change_and_only_then(qtbot: QtBot) -> None:
    bars = MemoryBars()
    qtbot.addWidget(bars)
    shown = comparison(figures(), figures())
    bars.show_comparison(shown)
    before = {name: list(items) for name, items in bars.items.shown.items()}
    shown.runs[1].memory.peak_resident_bytes = 700 * MB
    bars.show_comparison(shown)
    first, second = (run.id for run in shown.runs)
    assert bars.items.shown[first] == before[first] and bars.items.shown[second] != before[second]
    assert set(bars.plot.items) == {item for items in bars.items.shown.values() for item in items}
    shown.runs.pop()
    bars.show_comparison(shown)
    assert list(bars.items.shown) == [first] and set(bars.plot.items) == set(bars.items.shown[first])


def test_what_was_predicted_is_a_line_as_long_as_the_engine_was_there(qtbot: QtBot, timeline: MemoryTimeline) -> None:
    timeline.set_level("nf4", 504 * MB)
    timeline.add_samples("nf4", [sample(0, 300), sample(5, 500)])
    qtbot.waitUntil(lambda: "nf4" in timeline.level_lines)
    times, levels = timeline.level_lines["nf4"].getData()
    assert list(levels) == [504, 504] and times[-1] - times[0] == 5
    timeline.set_level("nf4", None)
    qtbot.waitUntil(lambda: not timeline.level_lines)


def test_charts_follow_the_scheme(qtbot: QtBot, qapp: QApplication, timeline: MemoryTimeline) -> None:
    timeline.add_samples("fp32", [sample(0, 400)])
    qtbot.waitUntil(lambda: "fp32" in timeline.ram.curves)
    theme.paint(qapp, dark=True)
    dark = theme.color("fp32", dark=True)
    qtbot.waitUntil(lambda: timeline.ram.curves["fp32"].opts["pen"].color() == dark)
    (_, label), *_ = timeline.legend.items
    assert label.item.toHtml().lower().count(timeline.palette().text().color().name().lower())
    theme.paint(qapp, dark=False)


def test_the_curves_have_the_room_of_a_low_timeline(qtbot: QtBot, timeline: MemoryTimeline) -> None:
    timeline.resize(640, 190)
    timeline.begin_phase("fp32", PhaseStarted(0, Phase.LOAD, 0.0))
    timeline.add_samples("fp32", [sample(0, 400), sample(1, 500)])
    qtbot.waitUntil(lambda: "fp32" in timeline.ram.curves and timeline.view.height() == 190)
    qtbot.waitUntil(lambda: timeline.plot.vb.height() >= 90)


def test_a_predicted_level_has_marks_at_its_ends_and_curves_none(qtbot: QtBot, timeline: MemoryTimeline) -> None:
    timeline.add_samples("nf4", [sample(0, 400), sample(1, 500)])
    timeline.set_level("nf4", 450 * MB)
    qtbot.waitUntil(lambda: "nf4" in timeline.level_lines)
    assert timeline.level_lines["nf4"].opts["symbol"] is not None
    assert timeline.ram.curves["nf4"].opts["symbol"] is None
    assert "◇" in timeline.plot.getAxis("bottom").labelText


@pytest.mark.parametrize("percent", [80, 100, 150])
@pytest.mark.parametrize("width", [60, 150, 390, 1200])
def test_a_key_wraps_between_words_and_each_swatch_stays_beside_its_own(qtbot: QtBot, width: int, percent: int) -> None:
    view = MemoryBarsView("a mark")
    qtbot.addWidget(view)
    font = view.key.font()
    font.setPointSizeF(font.pointSizeF() * percent / 100)
    view.key.setFont(font)
    words = view.key.words(width)
    assert " ".join(word.text for word in words) == view.key.text()
    for before, word in pairwise(words):
        left = word.swatch.left() if word.paint else word.area.left()
        if before.area.top() == word.area.top():
            assert before.area.right() < left and word.area.right() < width
        else:
            assert left == 0 and word.area.top() > before.area.bottom()
        if word.paint:
            assert word.swatch.right() < word.area.left()
            assert word.area.top() <= word.swatch.top() < word.swatch.bottom() <= word.area.bottom()


def test_a_key_has_the_room_of_its_lines_at_every_width_and_size(qtbot: QtBot) -> None:
    view = MemoryBarsView()
    qtbot.addWidget(view)
    view.resize(600, 800)
    view.show()
    for width, points in ((600, 9.0), (150, 9.0), (150, 14.0), (900, 14.0), (900, 9.0), (300, 9.0)):
        font = view.key.font()
        font.setPointSizeF(points)
        view.key.setFont(font)
        view.resize(width, 800)
        qtbot.waitUntil(lambda: view.key.height() == view.key.words(view.key.width())[-1].area.bottom() + 1)
        assert view.key.width() > width - 100
    assert view.minimumSizeHint().height() < 200


def test_no_part_of_fp32_looks_like_the_libraries_and_the_key_shows_each(qtbot: QtBot) -> None:
    view = MemoryBarsView()
    qtbot.addWidget(view)
    for dark in (False, True):
        theme.paint(QApplication.instance(), dark)  # type: ignore[arg-type]
        brushes = {role: part_brush(role, theme.color("fp32", dark), view) for role in ("runtime", "plain", "beside")}
        assert brushes["runtime"].style() not in (brushes["plain"].style(), brushes["beside"].style())
        assert sum(word.paint is not None for word in view.key.words(400)) == 6
    theme.paint(QApplication.instance(), dark=False)  # type: ignore[arg-type]
