"""The picker: what it lists, what it refuses, and the jobs that add models."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import QFileDialog
from pytestqt.qtbot import QtBot

from qplayground.catalog.demo import HUB_ID, DemoOrigin, DemoSource
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.model import ModelEntry, ModelSource
from qplayground.runtime.machine.gpus import Gpu
from qplayground.runtime.models import library as library_module
from qplayground.runtime.models.library import Library
from qplayground.runtime.processes.launcher import Launcher
from qplayground.ui.setup.model_bar import ModelBar
from qplayground.ui.status.job_status import JobStatus
from tests.process import children
from tests.unit.catalog_files import LLAMA, tensor_file, write_model

LEFT = Qt.MouseButton.LeftButton
DEMO = ModelEntry(
    id="demo",
    source=ModelSource.DEMO,
    path="/demo",
    architecture="LlamaForCausalLM",
    parameters=134_515_008,
    size_bytes=538_060_288,
    complete=True,
    context_tokens=8192,
    stored_dtype="float32",
    provenance="from a package",
)
UNPREPARED = msgspec.structs.replace(DEMO, path=None, complete=False)
CACHED = msgspec.structs.replace(DEMO, id="owner/model", source=ModelSource.CACHE, path="/cached")
PARTIAL = ModelEntry(
    id="owner/partial",
    source=ModelSource.CACHE,
    problem=ErrorInfo(ErrorCode.INCOMPLETE_DOWNLOAD, "The download was interrupted.", "Download it again."),
)


@pytest.fixture
def library(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    monkeypatch.setattr(library_module, "DOWNLOAD_TARGET", children.TARGET)
    monkeypatch.setattr(library_module, "OUTLINE_TARGET", children.TARGET)
    library = Library(Launcher(fork=False))
    yield library
    library.close()


Find = Callable[[list[ModelEntry]], None]


@pytest.fixture
def find(qtbot: QtBot, library: Library, monkeypatch: pytest.MonkeyPatch) -> Find:
    """A scan of this machine that finds these models."""

    def scan(entries: list[ModelEntry]) -> None:
        monkeypatch.setattr(library_module, "list_models", lambda types, folders: entries)
        with qtbot.waitSignal(library.entries_changed, timeout=10_000):
            library.refresh()

    return scan


@pytest.fixture
def bar(qtbot: QtBot, library: Library) -> ModelBar:
    bar = ModelBar(library, [Gpu(0, "A GPU", 8_000_000_000, 6_000_000_000, True)])
    qtbot.addWidget(bar)
    bar.resize(1200, 80)
    bar.show()
    return bar


def test_before_the_first_scan_it_says_that_it_looks(bar: ModelBar) -> None:
    assert bar.models.itemText(0) == "Looking for models…"
    assert bar.current() is None
    assert not bar.compare.isEnabled()


def test_every_entry_shows_its_size_and_source_and_the_line_below_says_more(bar: ModelBar, find: Find) -> None:
    find([DEMO, CACHED])
    assert bar.models.itemText(0) == "SmolLM2-135M-Instruct · 135 M · 538 MB · demo"
    assert bar.models.itemText(1) == "model · 135 M · 538 MB · hub cache"
    for part in ("LlamaForCausalLM", "135 M parameters", "538 MB on disk in float32", "8,192", "from a package"):
        assert part in bar.details.text()
    assert bar.compare.isEnabled()


def test_a_partial_download_is_listed_and_cannot_be_picked(qtbot: QtBot, bar: ModelBar, find: Find) -> None:
    find([DEMO, PARTIAL])
    model = bar.models.model()
    assert isinstance(model, QStandardItemModel)
    item = model.item(1)
    assert "incomplete" in item.text()
    assert not item.isEnabled()
    assert item.toolTip() == "The download was interrupted. Download it again."
    qtbot.keyClick(bar.models, Qt.Key.Key_Down)
    assert bar.current() == DEMO


def test_picking_with_the_keyboard_tells_the_window(qtbot: QtBot, bar: ModelBar, find: Find) -> None:
    find([DEMO, CACHED])
    with qtbot.waitSignal(bar.model_changed) as changed:
        qtbot.keyClick(bar.models, Qt.Key.Key_Down)
    assert changed.args == [CACHED]


def test_the_pick_survives_a_new_scan(bar: ModelBar, find: Find) -> None:
    find([DEMO, CACHED])
    bar.models.setCurrentIndex(1)
    find([DEMO, PARTIAL, CACHED])
    assert bar.current() == CACHED


def test_the_device_list_has_what_the_machine_has(bar: ModelBar) -> None:
    texts = [bar.device.itemText(row) for row in range(bar.device.count())]
    assert texts == ["Auto", "A GPU · 6.00 GB free", "CPU", "", "Placement…"]
    assert bar.device.placement.device == "auto"
    bar.device.setCurrentIndex(1)
    assert bar.device.placement.device == "cuda:0"


def test_busy_swaps_the_verbs(qtbot: QtBot, bar: ModelBar, find: Find) -> None:
    find([DEMO])
    bar.set_busy(True)
    assert not bar.compare.isEnabled()
    assert bar.stop.isEnabled()
    with qtbot.waitSignal(bar.stop_requested):
        qtbot.mouseClick(bar.stop, LEFT)
    bar.set_busy(False)
    with qtbot.waitSignal(bar.compare_requested):
        qtbot.mouseClick(bar.compare, LEFT)


def test_opening_a_folder_picks_it(
    qtbot: QtBot, bar: ModelBar, library: Library, find: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find([DEMO])
    folder = write_model(tmp_path / "mine")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *args: str(folder))
    with qtbot.waitSignal(library.folder_opened):
        qtbot.mouseClick(bar.open_folder, LEFT)
    current = bar.current()
    assert current is not None
    assert current.path == str(folder)
    assert not bar.error.isVisible()
    find([DEMO])  # an earlier scan that does not know it
    assert bar.current() == current


def test_a_folder_that_is_quantized_already_can_be_looked_into_and_not_compared(
    qtbot: QtBot, bar: ModelBar, library: Library, find: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find([DEMO])
    folder = write_model(tmp_path / "mine", {**LLAMA, "quantization_config": {"quant_method": "fp8"}})
    (folder / "model.safetensors").write_bytes(tensor_file(dtype="F8_E4M3", item_bytes=1))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *args: str(folder))
    with qtbot.waitSignal(library.folder_opened):
        qtbot.mouseClick(bar.open_folder, LEFT)
    current = bar.current()
    assert current is not None and current.path == str(folder)
    assert "already quantized" in bar.models.currentText()
    assert "(fp8)" in bar.details.text() and bar.details.text().endswith("Inside… can still open it.")
    assert not bar.error.isVisible()
    assert bar.inside.isEnabled() and not bar.compare.isEnabled()
    assert "(fp8)" in bar.compare.toolTip()


def test_a_folder_that_is_no_model_is_explained(
    qtbot: QtBot, bar: ModelBar, library: Library, find: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find([DEMO])
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *args: str(tmp_path))
    with qtbot.waitSignal(library.folder_opened):
        qtbot.mouseClick(bar.open_folder, LEFT)
    assert bar.error.isVisible()
    assert "config.json" in bar.error.text()
    assert bar.current() == DEMO


def test_a_download_shows_its_progress_and_is_picked_when_done(
    qtbot: QtBot, bar: ModelBar, library: Library, find: Find
) -> None:
    find([DEMO])
    status = JobStatus(library)
    qtbot.addWidget(status)
    seen: list[str] = []
    library.job_started.connect(lambda job: job.progressed.connect(lambda event: seen.append(status.label.text())))
    bar.hub_id.click()
    qtbot.keyClicks(bar.hub_edit, "complete")
    with qtbot.waitSignals([library.model_added, library.job_ended], timeout=10_000):
        qtbot.keyClick(bar.hub_edit, Qt.Key.Key_Return)
    assert any("Downloading complete" in text for text in seen)
    assert bar.current() == children.ENTRY
    assert not bar.hub_edit.isVisible()
    assert status.isHidden()


def test_a_model_on_the_hub_is_looked_up_and_downloaded_afterwards(
    qtbot: QtBot, bar: ModelBar, library: Library, find: Find
) -> None:
    find([DEMO])
    bar.hub_id.click()
    qtbot.keyClicks(bar.hub_edit, "made")
    with qtbot.waitSignals([library.model_added, library.job_ended], timeout=10_000):
        qtbot.mouseClick(bar.look_up, LEFT)
    entry = bar.current()
    assert entry is not None and entry.source is ModelSource.HUB and entry.outline_path is not None
    folder = Path(entry.outline_path)
    assert folder.is_dir() and bar.models.currentText().endswith("not downloaded")
    assert not bar.compare.isEnabled() and "not downloaded" in bar.compare.toolTip()
    find([DEMO])  # another scan of this machine
    assert bar.current() == entry
    with qtbot.waitSignals([library.model_added, library.job_ended], timeout=10_000):
        qtbot.mouseClick(bar.prepare, LEFT)
    assert bar.current() == children.ENTRY
    find([DEMO])  # a scan that began before the download ended
    assert all(found.source is not ModelSource.HUB for found in library.entries)
    find([DEMO, msgspec.structs.replace(CACHED, id="made")])
    assert [found.source for found in library.entries if found.id == "made"] == [ModelSource.CACHE]
    library.close()
    assert not folder.exists()


def test_looking_up_what_is_here_picks_it(bar: ModelBar, library: Library, find: Find) -> None:
    find([DEMO, CACHED])
    library.look_up(CACHED.id)
    assert library.job is None and bar.current() == CACHED


def test_an_interrupted_download_leaves_the_outline(qtbot: QtBot, bar: ModelBar, library: Library, find: Find) -> None:
    with qtbot.waitSignal(library.job_ended, timeout=10_000):
        library.look_up("made")
    find([DEMO, msgspec.structs.replace(PARTIAL, id="made")])
    assert [found.source for found in library.entries if found.id == "made"] == [ModelSource.HUB]


def test_a_failed_download_says_why_and_the_id_stays(qtbot: QtBot, bar: ModelBar, library: Library, find: Find) -> None:
    find([DEMO])
    bar.hub_id.click()
    qtbot.keyClicks(bar.hub_edit, "fail")
    with qtbot.waitSignal(library.job_ended, timeout=10_000):
        qtbot.mouseClick(bar.download, LEFT)
    assert bar.error.text() == str(children.FAILURE)
    assert bar.hub_edit.text() == "fail"
    assert bar.hub_edit.isVisible()
    bar.hub_id.click()
    assert bar.error.isHidden()


@pytest.mark.parametrize("asked", ["download", "look_up"])
def test_closing_the_hub_row_takes_away_what_it_was_refused(
    qtbot: QtBot, bar: ModelBar, library: Library, asked: str
) -> None:
    library.download("hang")
    bar.hub_id.click()
    qtbot.keyClicks(bar.hub_edit, "owner/name")
    qtbot.mouseClick(getattr(bar, asked), LEFT)
    assert bar.error.text().startswith("Downloading hang is still going on.")
    bar.hub_id.click()
    assert bar.error.isHidden()


def test_closing_the_hub_row_leaves_what_is_wrong_with_a_folder(
    qtbot: QtBot, bar: ModelBar, library: Library, tmp_path: Path
) -> None:
    bar.hub_id.click()
    qtbot.keyClicks(bar.hub_edit, "fail")
    with qtbot.waitSignal(library.job_ended, timeout=10_000):
        qtbot.mouseClick(bar.download, LEFT)
    with qtbot.waitSignal(library.folder_opened):
        library.open_folder(str(tmp_path))
    bar.hub_id.click()
    assert bar.error.isVisible() and "config.json" in bar.error.text()


def test_closing_the_hub_row_leaves_what_another_job_failed_for(qtbot: QtBot, bar: ModelBar, library: Library) -> None:
    bar.hub_id.click()
    qtbot.keyClicks(bar.hub_edit, "fail")
    with qtbot.waitSignal(library.job_ended, timeout=10_000):
        qtbot.mouseClick(bar.download, LEFT)
    with qtbot.waitSignal(library.job_ended, timeout=10_000):
        library.download("fail")  # as the demo model's button does
    bar.hub_id.click()
    assert bar.error.isVisible() and bar.error.text() == str(children.FAILURE)


def test_a_job_can_be_cancelled(qtbot: QtBot, bar: ModelBar, library: Library) -> None:
    status = JobStatus(library)
    qtbot.addWidget(status)
    library.download("hang")
    assert library.job is not None
    with qtbot.waitSignal(library.job.progressed, timeout=10_000):
        pass
    with qtbot.waitSignal(library.job_ended, timeout=2000):
        qtbot.mouseClick(status.cancel, LEFT)
    assert not bar.error.isVisible()


def test_an_unprepared_demo_offers_to_be_prepared(
    qtbot: QtBot, bar: ModelBar, library: Library, find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    find([UNPREPARED])
    assert "not prepared yet" in bar.models.itemText(0)
    assert not bar.compare.isEnabled()
    assert bar.prepare.isVisible()
    hub = DemoSource(DemoOrigin.HUB, None, "")
    monkeypatch.setattr(library_module, "demo_sources", lambda: [hub])
    with qtbot.waitSignal(library.job_started) as started:
        qtbot.mouseClick(bar.prepare, LEFT)
    assert started.args[0].title == f"Downloading {HUB_ID}" and library.is_preparing
    with qtbot.waitSignal(library.job_ended, timeout=10_000):
        library.cancel_job()
    find([DEMO])
    qtbot.waitUntil(lambda: not bar.prepare.isVisible())  # the job's end also starts a scan
