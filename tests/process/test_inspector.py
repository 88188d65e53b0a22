"""Asking an engine for Inside: only the last question of each kind counts."""

from collections.abc import Iterator

import psutil
import pytest
from msgspec.structs import replace
from PySide6.QtCore import QObject
from pytestqt.qtbot import QtBot

from qplayground.core.errors import ErrorInfo
from qplayground.core.inside import (
    LayerRow,
    LeftOut,
    Matrix,
    Picture,
    ProbedWeight,
    QuantizationParams,
    QuantizedMatrix,
    Tile,
)
from qplayground.core.precision import READY_PRECISIONS
from qplayground.runtime.inside.inspector import Inspector
from qplayground.runtime.inside.survey import LayerSurvey
from qplayground.runtime.processes.launcher import Launcher
from tests.fakes.inside import LINEAR, REFUSED, SUGGESTED, figures, outline, quantized, weights
from tests.process.running import client_of, pid_of, workers_of
from tests.process.stages import FAKE

WAIT_MS = 10_000
PATH = "/models/one"
Q_PROJ, O_PROJ = LINEAR[0], LINEAR[1]
RESTS = "model.layers.2.mlp.rests"
BREAKS, EXITS, HANGS = (f"model.layers.2.mlp.{name}" for name in ("breaks", "exits", "hangs"))


class Heard(QObject):
    """All signals of an inspector."""

    def __init__(self, inspector: Inspector) -> None:
        super().__init__()
        self.opened: list[Matrix] = []
        self.quantized: list[QuantizedMatrix] = []
        self.tiles: list[Tile] = []
        self.weights: list[ProbedWeight] = []
        self.failed: list[ErrorInfo] = []
        self.busy: list[bool] = []
        for signal, kept in (
            (inspector.opened, self.opened),
            (inspector.quantized, self.quantized),
            (inspector.tile_read, self.tiles),
            (inspector.probed, self.weights),
            (inspector.failed, self.failed),
            (inspector.busy_changed, self.busy),
        ):
            signal.connect(kept.append)


@pytest.fixture
def inspector(qtbot: QtBot) -> Iterator[Inspector]:
    inspector = Inspector(Launcher(FAKE))
    yield inspector
    inspector.close()


@pytest.fixture
def heard(inspector: Inspector) -> Heard:
    return Heard(inspector)


@pytest.fixture
def opened(inspector: Inspector, heard: Heard, qtbot: QtBot) -> Inspector:
    """An inspector with one open, quantized matrix."""
    inspector.look_at(PATH, READY_PRECISIONS)
    inspector.open(Q_PROJ)
    qtbot.waitUntil(lambda: bool(heard.quantized), timeout=WAIT_MS)
    return inspector


def test_the_modules_are_listed_and_a_matrix_is_opened_and_quantized(
    opened: Inspector, heard: Heard, qtbot: QtBot
) -> None:
    assert opened.outline == outline(READY_PRECISIONS) and opened.outline.suggested == SUGGESTED
    assert opened.matrix is not None and opened.matrix.module == Q_PROJ
    assert opened.quantized_matrix is not None
    assert opened.quantized_matrix.figures == figures(weights(Q_PROJ), QuantizationParams())
    assert heard.busy == [True, False] and not opened.is_busy


def test_a_model_that_cannot_be_read_says_so(inspector: Inspector, heard: Heard, qtbot: QtBot) -> None:
    inspector.look_at("/models/broken", READY_PRECISIONS)
    qtbot.waitUntil(lambda: bool(heard.failed), timeout=WAIT_MS)
    assert inspector.outline is None


def test_of_params_turned_in_a_hurry_the_first_and_the_last_are_tried(
    opened: Inspector, heard: Heard, qtbot: QtBot
) -> None:
    heard.quantized.clear()
    for size in (128, 256, 512, 1024):
        opened.set_params(QuantizationParams(block_size=size))
    assert opened.params.block_size == 1024
    qtbot.waitUntil(lambda: not opened.is_busy and len(heard.quantized) == 2, timeout=WAIT_MS)
    assert [each.params.block_size for each in heard.quantized] == [128, 1024]


def test_the_same_params_are_not_tried_again(opened: Inspector, heard: Heard) -> None:
    heard.busy.clear()
    opened.set_params(QuantizationParams())
    assert not opened.is_busy and not heard.busy


def test_of_modules_chosen_in_a_hurry_the_last_is_opened(opened: Inspector, heard: Heard, qtbot: QtBot) -> None:
    heard.opened.clear()
    heard.quantized.clear()
    for module in LINEAR[1:5]:
        opened.open(module)
    assert opened.matrix is None and opened.module == LINEAR[4]
    qtbot.waitUntil(lambda: bool(heard.quantized), timeout=WAIT_MS)
    assert [matrix.module for matrix in heard.opened] == [LINEAR[4]] and len(heard.quantized) == 1


def test_params_turned_while_a_matrix_is_read_are_the_only_ones_tried(
    inspector: Inspector, heard: Heard, qtbot: QtBot
) -> None:
    inspector.take(PATH)
    inspector.open(Q_PROJ)
    inspector.set_params(QuantizationParams(method="int8"))
    qtbot.waitUntil(lambda: bool(heard.quantized) and not inspector.is_busy, timeout=WAIT_MS)
    assert [quantized.params for quantized in heard.quantized] == [QuantizationParams(method="int8").checked()]


def test_the_picture_of_a_matrix_comes_before_it_is_quantized(inspector: Inspector, heard: Heard, qtbot: QtBot) -> None:
    order: list[str] = []
    inspector.opened.connect(lambda _: inspector.read_tile(Picture.ORIGINAL, 0, 4, 0, 4, 4, 4))
    inspector.tile_read.connect(lambda _: order.append("picture"))
    inspector.quantized.connect(lambda _: order.append("codes"))
    inspector.take(PATH)
    inspector.open(Q_PROJ)
    qtbot.waitUntil(lambda: len(order) == 2, timeout=WAIT_MS)
    assert order == ["picture", "codes"] and heard.busy == [True, False]


def test_of_tiles_and_weights_asked_for_in_a_hurry_the_last_ones_count(
    opened: Inspector, heard: Heard, qtbot: QtBot
) -> None:
    for row in range(10):
        opened.read_tile(Picture.ORIGINAL, row, 1, 0, 100, 1, 100)
        opened.probe(row, row)
    qtbot.waitUntil(lambda: len(heard.tiles) == 2 and len(heard.weights) == 2, timeout=WAIT_MS)
    assert [tile.first_row for tile in heard.tiles] == [0, 9]
    assert [weight.row for weight in heard.weights] == [0, 9]
    assert list(heard.tiles[1].values.values) == weights(Q_PROJ)[9].tolist()
    assert heard.weights[1].back == float(quantized(weights(Q_PROJ), QuantizationParams())[2][9, 9])


def test_a_tile_of_the_matrix_before_is_not_shown(opened: Inspector, heard: Heard, qtbot: QtBot) -> None:
    opened.read_tile(Picture.ORIGINAL, 0, 1, 0, 100, 1, 100)
    opened.open(O_PROJ)
    opened.read_tile(Picture.ORIGINAL, 1, 1, 0, 100, 1, 100)
    assert opened.matrix is None  # until it is open, none of it can be read
    qtbot.waitUntil(lambda: bool(heard.tiles), timeout=WAIT_MS)
    assert [tile.first_row for tile in heard.tiles] == [1]
    assert list(heard.tiles[0].values.values) == weights(O_PROJ)[1].tolist()


def test_params_that_cannot_be_tried_say_so_and_leave_what_was_there(
    opened: Inspector, heard: Heard, qtbot: QtBot
) -> None:
    before = opened.quantized_matrix
    opened.set_params(REFUSED)
    qtbot.waitUntil(lambda: bool(heard.failed), timeout=WAIT_MS)
    assert opened.quantized_matrix is before and opened.matrix is not None and not opened.is_busy


def test_a_matrix_whose_params_are_fixed_is_open_with_its_stored_codes(
    opened: Inspector, heard: Heard, qtbot: QtBot
) -> None:
    opened.open(RESTS)
    qtbot.waitUntil(lambda: opened.matrix is not None and opened.quantized_matrix is not None, timeout=WAIT_MS)
    assert opened.quantized_matrix is not None and opened.quantized_matrix.figures is None
    assert not opened.is_busy and heard.busy[-1] is False
    opened.set_params(QuantizationParams(method="int8"))
    assert not opened.is_busy


def test_a_matrix_that_cannot_be_read_says_so_and_the_next_is_opened(
    opened: Inspector, heard: Heard, qtbot: QtBot
) -> None:
    opened.open(BREAKS)
    qtbot.waitUntil(lambda: bool(heard.failed), timeout=WAIT_MS)
    assert opened.matrix is None and not opened.is_busy
    opened.open(O_PROJ)
    qtbot.waitUntil(lambda: opened.quantized_matrix is not None, timeout=WAIT_MS)


def test_an_engine_that_dies_over_a_matrix_is_told_of_and_replaced(
    opened: Inspector, heard: Heard, qtbot: QtBot
) -> None:
    opened.open(EXITS)
    qtbot.waitUntil(lambda: bool(heard.failed), timeout=WAIT_MS)
    assert len(heard.failed) == 1 and not opened.is_busy
    opened.open(O_PROJ)
    qtbot.waitUntil(lambda: opened.quantized_matrix is not None, timeout=WAIT_MS)


def test_an_engine_that_is_killed_while_nothing_is_asked_is_told_of_and_params_read_the_matrix_again(
    opened: Inspector, heard: Heard, qtbot: QtBot
) -> None:
    psutil.Process(pid_of(opened)).kill()
    qtbot.waitUntil(lambda: bool(heard.failed), timeout=WAIT_MS)
    assert opened.matrix is None
    heard.opened.clear()
    heard.quantized.clear()
    opened.set_params(QuantizationParams(block_size=128))
    qtbot.waitUntil(lambda: bool(heard.quantized), timeout=WAIT_MS)
    assert (heard.opened[0].module, heard.quantized[0].params.block_size) == (Q_PROJ, 128)


def test_an_engine_that_says_nothing_is_ended(opened: Inspector, heard: Heard, qtbot: QtBot) -> None:
    client_of(opened).silence.setInterval(100)
    opened.open(HANGS)
    qtbot.waitUntil(lambda: bool(heard.failed), timeout=WAIT_MS)
    assert "did not answer for" in heard.failed[0].message and not opened.is_busy


def test_nothing_is_read_while_something_is_timed(inspector: Inspector, heard: Heard, qtbot: QtBot) -> None:
    inspector.set_paused(True)
    inspector.look_at(PATH, READY_PRECISIONS)
    inspector.open(Q_PROJ)
    inspector.set_params(QuantizationParams(block_size=256))
    assert not workers_of(inspector) and not inspector.is_busy
    inspector.set_paused(False)
    qtbot.waitUntil(lambda: bool(heard.quantized), timeout=WAIT_MS)
    assert [each.params.block_size for each in heard.quantized] == [256] and inspector.outline is not None


def test_the_open_matrix_is_still_looked_at_while_something_is_timed(
    opened: Inspector, heard: Heard, qtbot: QtBot
) -> None:
    heard.quantized.clear()
    opened.set_params(QuantizationParams(method="uniform3"))  # already being worked on
    opened.set_paused(True)
    qtbot.waitUntil(lambda: bool(heard.quantized), timeout=WAIT_MS)
    opened.set_params(QuantizationParams(block_size=256))
    opened.read_tile(Picture.CODES, 0, 1, 0, 100, 1, 100)
    opened.probe(3, 5)
    qtbot.waitUntil(lambda: bool(heard.tiles) and bool(heard.weights), timeout=WAIT_MS)
    codes = quantized(weights(Q_PROJ), QuantizationParams(method="uniform3"))[0]
    assert list(heard.tiles[0].values.values) == codes[0].tolist() and heard.weights[0].code == codes[3, 5]
    assert not opened.is_busy and len(heard.quantized) == 1
    opened.set_paused(False)
    qtbot.waitUntil(lambda: len(heard.quantized) == 2, timeout=WAIT_MS)
    assert heard.quantized[1].params.block_size == 256


def test_another_model_lets_the_one_before_go(opened: Inspector, heard: Heard, qtbot: QtBot) -> None:
    before = pid_of(opened)
    opened.look_at("/models/two", READY_PRECISIONS[:1])
    assert opened.matrix is None and opened.outline is None
    qtbot.waitUntil(lambda: opened.outline is not None, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not psutil.pid_exists(before), timeout=WAIT_MS)


def test_closing_ends_the_engine(opened: Inspector, heard: Heard) -> None:
    pid = pid_of(opened)
    opened.close()
    assert not psutil.pid_exists(pid)
    heard.failed.clear()
    opened.open(O_PROJ)
    assert not workers_of(opened) and not heard.failed


# ---- surveys ------------------------------------------------------------------------------------------------------


@pytest.fixture
def survey(qtbot: QtBot) -> Iterator[LayerSurvey]:
    survey = LayerSurvey(Launcher(FAKE))
    yield survey
    survey.close()


def test_a_survey_gives_a_row_for_each_layer_and_params_and_lets_its_engine_go(
    survey: LayerSurvey, qtbot: QtBot
) -> None:
    rows: list[LayerRow] = []
    left: list[tuple[LeftOut, ...]] = []
    survey.measured.connect(rows.append)
    survey.succeeded.connect(left.append)
    params = (QuantizationParams(), QuantizationParams(method="int8").checked(), REFUSED)
    signals = [survey.started, survey.progressed, survey.measured, survey.succeeded, survey.finished]
    with qtbot.waitSignals(signals, order="simple", timeout=WAIT_MS):
        survey.start(PATH, params, (Q_PROJ, O_PROJ))
        assert survey.is_running
    assert [[one.module for one in left_out] for left_out in left] == [[Q_PROJ, O_PROJ]]
    assert [(row.module, row.params.method) for row in rows] == [
        (module, each.method) for module in (Q_PROJ, O_PROJ) for each in params[:2]
    ]
    assert rows[0].figures == figures(weights(Q_PROJ), QuantizationParams())
    qtbot.waitUntil(lambda: not workers_of(survey), timeout=WAIT_MS)


def test_a_cancelled_survey_says_so_once_and_no_more(survey: LayerSurvey, qtbot: QtBot) -> None:
    rows: list[LayerRow] = []
    survey.start(PATH, tuple(replace(QuantizationParams(), block_size=size) for size in (64, 128)))
    with qtbot.waitSignals([survey.cancelled, survey.finished], order="strict"):
        survey.cancel()
    survey.measured.connect(rows.append)
    assert not survey.is_running
    qtbot.waitUntil(lambda: not workers_of(survey), timeout=WAIT_MS)
    with qtbot.waitSignal(survey.succeeded, timeout=WAIT_MS):
        survey.start(PATH, (QuantizationParams(),), (O_PROJ,))
    assert [row.module for row in rows] == [O_PROJ]


def test_a_survey_of_what_cannot_be_read_fails(survey: LayerSurvey, qtbot: QtBot) -> None:
    with qtbot.waitSignals([survey.failed, survey.finished], order="strict", timeout=WAIT_MS):
        survey.start("/models/broken", (QuantizationParams(),))
    assert not survey.is_running
