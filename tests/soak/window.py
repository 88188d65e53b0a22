"""A window in which random things happen. Its last line of output says what they left behind, as JSON."""

import gc
import io
import json
import os
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable

import psutil
from PySide6.QtCore import QEventLoop, QThread, QTimer
from PySide6.QtWidgets import QApplication

from qplayground.catalog.demo import DEMO_ID
from qplayground.core.comparison.results import RunState
from qplayground.core.measures.quality import TextSource
from qplayground.core.memory.process_memory import read_process_memory
from qplayground.runtime.processes.launcher import ENGINE_TARGET, Launcher
from qplayground.runtime.storage.evaluation_text import builtin_text
from qplayground.runtime.storage.preferences import Preferences, preferences_path
from qplayground.ui.application import make_window
from qplayground.ui.watchdog import Watchdog
from qplayground.ui.widgets import theme
from qplayground.ui.window import MainWindow

_WARM_UP = 12
"""Comparisons before the first measurement: they fill caches, draw each chart once, and trigger late imports."""
_PATIENCE_MS = 60_000
"""Then Stop is pressed. Without AVX-512, a slow CPU takes longer for the texts of int8 and 4-bit precisions."""
_SCORED_CHARACTERS = 1500
"""One window of text. Scoring more takes minutes with a real model and shows nothing new about leaks."""
_LONGEST_S = 600
_FAULTS = (
    *(
        f"{what}-{where}"
        for what in ("exit", "segfault", "fail", "hang")
        for where in ("loading", "generating", "scoring")
    ),
    *("flood", "late", "twice", "nonsense", "slow", "ignore-cancel"),
)
_ENDLESS = ("slow", "ignore-cancel", "hang")


class _Standstills(io.StringIO):
    """The watchdog's output stream. Counts standstills, and prints which of them were the window's own work.

    Stacks go to a real file, because faulthandler needs one.
    """

    count = 0

    def write(self, text: str) -> int:
        self.count += "held up" in text
        return sys.stderr.write(text)

    def fileno(self) -> int:
        return sys.stderr.fileno()


class Soak:
    """Does what people do, and what they fear."""

    def __init__(self, window: MainWindow, seed: int, *, scripted: bool) -> None:
        self.window = window
        self.session = window.session
        self.chance = random.Random(seed)
        self.scripted = scripted
        self.runs: Counter[str] = Counter()
        self.speechless = 0
        self.endless = 0
        self._timers: list[QTimer] = []

    def _later(self, at_most_ms: int, act: Callable[[], object]) -> None:
        """Act after a random delay, if a comparison still runs then."""
        timer = QTimer(singleShot=True, interval=self.chance.randint(0, at_most_ms))
        timer.timeout.connect(act)
        timer.start()
        self._timers.append(timer)

    def comparison(self) -> None:
        """One comparison with a random mishap, then random actions on its results."""
        window, chance = self.window, self.chance
        for precision in window.precisions.precisions():
            row = window.precisions.row(precision.name)
            assert row is not None
            if row.tick.isChecked() != (chance.random() < (0.4 if self.scripted else 0.25)):
                row.tick.click()
        names = [precision.name for precision in window.precisions.selected() if precision.name != "fp16"]
        if not names:
            return
        window.options.modes.setCurrentIndex(chance.choice((0, 0, 0, 1, window.options.modes.count() - 1)))
        window.options.keep_loaded.setChecked(chance.random() < 0.3)
        window.options.quality.setCurrentIndex(chance.randrange(2))
        window.tabs.setCurrentIndex(chance.randrange(window.tabs.count()))
        window.prompt.max_new_tokens.setValue(chance.randint(1, 12))
        told = self._prompt(names)
        window.prompt.text.setPlainText(told)
        must_stop = any(word in told for word in _ENDLESS)
        window.models.compare.click()
        pace_ms = 600 if self.scripted else 8000
        if must_stop or chance.random() < 0.2:
            self._later(pace_ms, self.session.stop)
        if chance.random() < 0.2:
            self._later(pace_ms, self._kill_one)
        for _ in range(chance.randrange(3)):
            self._later(pace_ms, self._change)
        self._until_idle(must_stop)
        for _ in range(chance.randrange(3)):
            self._change()
            self._until_idle(must_stop)
        self._count()

    def plain(self) -> None:
        """A comparison without mishaps, so that every chart is drawn before anything is measured."""
        self.window.prompt.text.setPlainText("Once")
        self.window.prompt.max_new_tokens.setValue(12)
        self.window.models.compare.click()
        self._until_idle(must_stop=False)

    def _prompt(self, names: list[str]) -> str:
        if not self.scripted:
            return self.chance.choice(("The future of AI is", "Once upon a time", "2 + 2 =", "def main():"))
        words = ["Once", f"fast={self.chance.randint(1, 40)}"]
        if self.chance.random() < 0.6:
            words += [f"{name}={self.chance.choice(_FAULTS)}" for name in self.chance.sample(names, 1)]
        return " ".join(words)

    def _change(self) -> None:
        """A change that a person makes to a comparison, after it or while it runs."""
        comparison = self.session.comparison
        if comparison is None:
            return
        name = self.chance.choice(comparison.runs).id
        there = {run.id for run in comparison.runs}
        others = [precision for precision in self.window.precisions.precisions() if precision.name not in there]
        others = [precision for precision in others if precision.name != "fp16"]
        acts: list[Callable[[], object]] = [
            lambda: self.session.move(name, self.chance.randrange(len(comparison.runs))),
            lambda: self.session.set_baseline(name),
            lambda: self.session.run_again(name),
            lambda: self.session.remove(name),
            lambda: self.session.set_keep_loaded(self.chance.random() < 0.5),
            lambda: self.session.unload(name),
            lambda: self.window.results.changes.setChecked(self.chance.random() < 0.5),
            lambda: self.window.results.tint.setChecked(self.chance.random() < 0.5),
            lambda: self.window.tabs.setCurrentIndex(self.chance.randrange(self.window.tabs.count())),
        ]
        if others:
            acts.append(lambda: self.session.add(self.chance.choice(others)))
        self.chance.choice(acts)()

    def _kill_one(self) -> None:
        """As the system does when memory runs out."""
        found = engines()
        if found:
            os.kill(self.chance.choice(found).pid, signal.SIGKILL)

    def _until_idle(self, must_stop: bool) -> None:
        stop = QTimer(interval=300 if must_stop else _PATIENCE_MS)
        stop.timeout.connect(self.session.stop)
        stop.start()
        if not wait_for(lambda: not self.session.is_busy, _LONGEST_S):
            self.endless += 1
            print(f"did not end: {self.window.prompt.text.toPlainText()!r}", file=sys.stderr)
            self.session.stop()
        self._timers.clear()

    def _count(self) -> None:
        comparison = self.session.comparison
        for run in comparison.runs if comparison is not None else ():
            self.runs[run.state] += 1
            if run.state is RunState.FAILED and not (run.error and run.error.message.endswith(".") and run.error.hint):
                self.speechless += 1
                print(f"no sentence: {run.error}", file=sys.stderr)


def engines() -> list[psutil.Process]:
    """Every process below this one except the fork server and the resource tracker."""
    kept = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            server = any(name in " ".join(process.cmdline()) for name in kept) and process.ppid() == os.getpid()
            if not server and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def measure(window: MainWindow) -> dict[str, dict[str, int]]:
    """Bytes and counts, once nothing is loaded and everything is idle."""
    window.session.set_keep_loaded(False)
    window.options.keep_loaded.setChecked(False)
    window.tabs.setCurrentIndex(0)
    wait_for(lambda: not window.session.loaded and not window.session.is_busy)
    wait_for(lambda: len(engines()) <= 1)  # the planner's own engine
    wait_for(lambda: not any(thread.isRunning() for thread in window.session.findChildren(QThread)))
    window.history_store.entries()
    gc.collect()
    process = psutil.Process()
    server = [child for child in process.children() if "multiprocessing.forkserver" in " ".join(child.cmdline())]
    memory = {"window": read_process_memory(process).anonymous_bytes}
    if server:
        memory["fork server"] = read_process_memory(server[0]).anonymous_bytes
    counts = {"threads": threading.active_count(), "processes": len(engines()), "open files": process.num_fds()}
    return {"memory": memory, "counts": counts}


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> bool:
    """Run an event loop until the condition holds, or the time is up. Qt deletes objects only inside a loop."""
    loop = QEventLoop()
    ticking, deadline = QTimer(interval=10), QTimer(singleShot=True, interval=round(1000 * seconds))
    ticking.timeout.connect(lambda: loop.quit() if condition() else None)
    deadline.timeout.connect(loop.quit)
    ticking.start()
    deadline.start()
    loop.exec()
    return condition()


def score_little() -> None:
    """Let the next window score a short text file."""
    text = preferences_path().with_name("scored.txt")
    text.parent.mkdir(parents=True, exist_ok=True)
    text.write_text(builtin_text()[:_SCORED_CHARACTERS], encoding="utf-8")
    preferences = Preferences.load()
    preferences.set_run_choices(text=TextSource.FILE, file=str(text))
    preferences.close()


def main(kind: str, rounds: int, seed: int) -> None:
    scripted = kind == "scripted engine"
    if not scripted:
        score_little()
    application = QApplication([])
    theme.apply_look(application)
    window = make_window(Launcher("tests.fakes.engine" if scripted else ENGINE_TARGET))
    window.show()
    standstills = _Standstills()
    if scripted:
        window.start_up.load_charts()
        window.session.probe()
        window.library.refresh()
    else:
        window.start_up.begin()
    wait_for(lambda: window.session.machine is not None and window.memory.chart is not None, 60)
    window.models.want(DEMO_ID)
    wait_for(window.models.compare.isEnabled, 300)
    assert window.models.compare.isEnabled(), "there is no demo model"
    assert scripted or window.options.text.currentData() == TextSource.FILE, "a long text would be scored"
    soak = Soak(window, seed, scripted=scripted)
    window.comparing.plan.loadable = lambda wanted: tuple(wanted)  # type: ignore[method-assign]
    window.comparing.plan.confirm = lambda wanted: tuple(wanted)  # type: ignore[method-assign]
    window.comparing.plan.confirm_race = lambda wanted: True  # type: ignore[method-assign]
    for tab in range(window.tabs.count()):
        window.tabs.setCurrentIndex(tab)
        soak.plain()
    for _ in range(_WARM_UP if scripted else 2):
        soak.comparison()
    watchdog = Watchdog(standstills)
    before = measure(window)
    soak.runs.clear()
    for number in range(rounds):
        soak.comparison()
        print(f"{kind}: {number + 1} of {rounds}", file=sys.stderr, end="\r", flush=True)
    after = measure(window)
    watchdog.stop()
    left = {part: {name: after[part][name] - before[part].get(name, 0) for name in after[part]} for part in after}
    window.close()
    states = {"done": RunState.DONE, "failed": RunState.FAILED, "stopped": RunState.CANCELLED}
    figures = {name: soak.runs[state] for name, state in states.items()}
    found = {**left, **figures, "speechless": soak.speechless, "endless": soak.endless}
    print(json.dumps({**found, "standstills": standstills.count}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
