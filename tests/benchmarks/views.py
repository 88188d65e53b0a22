"""Large views: an hour of memory samples and a large matrix, panned and zoomed, and a history of 10,000 comparisons."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.display import display
from tests.benchmarks.figures import Figure, median_of

HOUR_S = 3600
ENGINES = 8
FRAMES = 120
COMPARISONS = 10_000
TYPED = "llama nf4"
ROWS, COLUMNS = 11_008, 4096
BLOCK = 64


def measure() -> list[Figure]:
    """Frames a second of timeline and heat map, seconds to open the history, milliseconds for each typed letter."""
    with display() as screen, tempfile.TemporaryDirectory() as config:
        environment = {**os.environ, **screen, "QPLAYGROUND_CONFIG": config}
        command = [sys.executable, "-m", "tests.benchmarks.views", config]
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True, timeout=600)
    result = json.loads(done.stdout.splitlines()[-1])
    frames, of_matrix = result["frame_s"], result["matrix_frame_s"]
    return [
        Figure("an hour of eight engines: panning and zooming", len(frames) / sum(frames), "frames/s", at_least=30.0),
        Figure("its slowest frame", 1000 * max(frames), "ms"),
        Figure(
            "heat map of 11008 × 4096: panning and zooming", len(of_matrix) / sum(of_matrix), "frames/s", at_least=30.0
        ),
        Figure("the heat map's slowest frame", 1000 * max(of_matrix), "ms"),
        median_of("history of 10,000: opened and painted", result["open_s"], "s", at_most=0.5),
        Figure("history of 10,000: slowest typed letter", 1000 * max(result["letter_s"]), "ms", at_most=100.0),
    ]


def _main(folder: Path) -> None:
    from PySide6.QtWidgets import QApplication

    from qplayground.ui.widgets import theme

    app = QApplication([])
    theme.apply_look(app)
    frames = _timeline(app)
    of_matrix = _heat_map(app)
    opened, letters = _history(app, folder / "history.sqlite3")
    print(
        json.dumps({"frame_s": frames, "matrix_frame_s": of_matrix, "open_s": opened, "letter_s": letters}), flush=True
    )


def _timeline(app: object) -> list[float]:
    import numpy as np

    from qplayground.core.memory.process_memory import MemorySample, ProcessMemory
    from qplayground.core.precision import READY_PRECISIONS
    from qplayground.runtime.comparison.sampler import SAMPLES_PER_S
    from qplayground.ui.charts.comparison.timeline import MemoryTimeline

    timeline = MemoryTimeline()
    timeline.resize(1200, 400)
    timeline.clear(0.0)
    random = np.random.default_rng(0)
    for number, precision in enumerate(READY_PRECISIONS[:ENGINES]):
        levels = 5e8 + 1e8 * number + np.cumsum(random.normal(0, 1e5, HOUR_S * SAMPLES_PER_S))
        samples = [
            MemorySample(index / SAMPLES_PER_S, ProcessMemory(int(level), 0)) for index, level in enumerate(levels)
        ]
        timeline.add_samples(precision.name, samples)
    timeline.show()  # draws what came before
    app.processEvents()  # type: ignore[attr-defined]
    times = []
    for frame in range(FRAMES):
        width = HOUR_S * (0.02 + 0.98 * abs(np.cos(frame / 20)))  # from everything to a minute and back
        left = (HOUR_S - width) * abs(np.sin(frame / 30))
        started = time.perf_counter()
        timeline.plot.setXRange(left, left + width, padding=0)
        app.processEvents()  # type: ignore[attr-defined]  # paints it once
        times.append(time.perf_counter() - started)
    return times


def _heat_map(app: object) -> list[float]:
    """With an overview, a detail image replaced ten times, and block borders where they are drawn."""
    import numpy as np

    from qplayground.core.inside import Picture, Tile
    from qplayground.core.measures.floats import Floats
    from qplayground.ui.charts.inside.heat_map import TILE_HEIGHT, TILE_WIDTH, HeatMap

    random = np.random.default_rng(0)

    def tile(first_row: int, rows: int, first_column: int, columns: int) -> Tile:
        height, width = min(rows, TILE_HEIGHT), min(columns, TILE_WIDTH)
        return Tile(
            picture=Picture.ORIGINAL,
            first_row=first_row,
            rows=rows,
            first_column=first_column,
            columns=columns,
            height=height,
            width=width,
            values=Floats(random.normal(0, 0.02, (height, width)).astype(np.float32).tobytes()),
        )

    heat = HeatMap()
    heat.resize(1200, 700)
    heat.show()
    heat.show_matrix(ROWS, COLUMNS)
    heat.show_blocks(BLOCK)
    heat.show_tile(tile(0, ROWS, 0, COLUMNS), -0.08, 0.08)
    app.processEvents()  # type: ignore[attr-defined]
    times = []
    for frame in range(FRAMES):
        share = 0.005 + 0.995 * abs(np.cos(frame / 20))  # from everything to 20 columns and back
        left = COLUMNS * (1 - share) * abs(np.sin(frame / 30))
        top = ROWS * (1 - share) * abs(np.cos(frame / 30))
        started = time.perf_counter()
        heat.plot.setRange(xRange=(left, left + COLUMNS * share), yRange=(top, top + ROWS * share), padding=0)
        if frame % (FRAMES // 10) == 0:
            heat.show_tile(tile(*heat.seen()), -0.08, 0.08)
        app.processEvents()  # type: ignore[attr-defined]  # paints it once
        times.append(time.perf_counter() - started)
    heat.close()
    return times


def _history(app: object, path: Path) -> tuple[list[float], list[float]]:
    from qplayground.runtime.storage import history as kept
    from qplayground.runtime.storage import history_rows
    from qplayground.ui.history.history_view import HistoryView
    from tests.unit.histories import made

    kept.History(path).close()
    prompts = ("The future of AI is", "Once upon a time", "Write a haiku about rain and the sea")
    models = ("org/Llama-3", "HuggingFaceTB/SmolLM2-135M", "gpt2")
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        for number in range(COMPARISONS):
            one = made(number, "fp32", "nf4", prompt=f"{prompts[number % 3]} {number}", model=models[number % 3 - 1])
            one.started_at = f"{number:08}"
            for statement, values in history_rows.statements_to_save(one):
                file.execute(statement, values)
    opened = []
    for _ in range(5):
        started = time.perf_counter()
        view = HistoryView(kept.History(path))
        view.resize(1200, 300)
        view.show()
        view.refresh()
        app.processEvents()  # type: ignore[attr-defined]
        opened.append(time.perf_counter() - started)
        view.close()
    view.show()
    assert view.table.model().rowCount() == COMPARISONS
    letters = []
    for length in range(1, len(TYPED) + 1):
        started = time.perf_counter()
        view.search.setText(TYPED[:length])
        app.processEvents()  # type: ignore[attr-defined]
        letters.append(time.perf_counter() - started)
    assert 0 < view.table.model().rowCount() < COMPARISONS
    return opened, letters


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
