"""The history's file: what it keeps, finds, changes, and survives."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qplayground.core.comparison.results import Mode, RunState
from qplayground.core.errors import ErrorCode, PlaygroundError
from qplayground.core.measures.quality import SCORING_STOPPED, Quality
from qplayground.core.placement import Placement
from qplayground.runtime.storage.history import History, HistoryGoneError, history_path
from tests.comparisons import cancelled, done, failed
from tests.unit.histories import made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "history.sqlite3"


@pytest.fixture
def history(path: Path) -> Iterator[History]:
    history = History(path)
    yield history
    history.close()


def ids(history: History, wanted: str = "") -> list[str]:
    return [entry.id for entry in history.entries(wanted)]


@pytest.mark.parametrize("changed", [[], ["nf4"]])
def test_a_part_of_a_comparison_is_not_kept(history: History, changed: list[str]) -> None:
    one = made(1)
    with pytest.raises(HistoryGoneError):
        history.save(one, changed).result()
    assert history.entries() == []
    history.save(one).result()
    history.save(one, ["nf4"]).result()
    assert history.load("0001") == one


def test_what_is_saved_is_there_again_the_newest_first(history: History, path: Path) -> None:
    first, second = made(1), made(2)
    for one in (first, second):
        history.save(one).result()
    assert ids(history) == ["0002", "0001"]
    history.close()
    again = History(path)
    assert ids(again) == ["0002", "0001"]
    assert again.load("0001") == first
    assert again.notice == ""
    again.close()


def test_it_is_found_by_every_word(history: History) -> None:
    history.save(made(1, "fp32", prompt="Once upon a Time", model="org/Llama")).result()
    history.save(made(2, "fp32", "nf4-dq", prompt="ÜBER uns")).result()
    history.annotate("0001", "Talk in Žilina").result()
    assert ids(history, "llama upon") == ["0001"]
    assert ids(history, "NF4-DQ") == ["0002"]
    assert ids(history, "über") == ["0002"]
    assert ids(history, "2026-11-01") == ["0001"]
    assert ids(history, "žilina once") == ["0001"]
    assert ids(history, "llama über") == []
    assert ids(history, "%") == ids(history, "' OR 1") == []
    assert len(ids(history, "  ")) == 2


def test_saving_again_replaces_and_keeps_the_note(history: History) -> None:
    one = made(1, "fp32")
    history.save(one).result()
    history.annotate("0001", "mine").result()
    one.runs.append(failed("nf4"))
    history.save(one).result()
    (entry,) = history.entries()
    assert (entry.precisions, entry.state, entry.note) == ("fp32, nf4", "failed", "mine")
    assert len(history.load("0001").runs) == 2


@pytest.mark.parametrize(
    ("runs", "state"), [((done(),), "done"), ((done(), failed()), "failed"), ((done(), cancelled()), "stopped")]
)
def test_the_state_of_the_whole(history: History, runs: tuple[object, ...], state: str) -> None:
    one = made(1)
    one.runs = list(runs)  # type: ignore[arg-type]
    history.save(one).result()
    assert history.entries()[0].state == state


def test_a_score_that_was_stopped_makes_the_whole_stopped(history: History) -> None:
    one = made(1)
    one.runs[1].quality = Quality(text="builtin", note=SCORING_STOPPED)
    history.save(one).result()
    assert states(history) == ["stopped"]


def test_where_it_was_placed_is_told_and_found(history: History, path: Path) -> None:
    usual, placed = made(1), made(2)
    placed.placement, placed.placement_name = Placement(device="cpu", threads=1), "One core"
    for one in (usual, placed):
        history.save(one).result()
    assert [entry.placed for entry in history.entries()] == ["One core (CPU, 1 thread)", ""]
    assert ids(history, "one core") == [placed.id]
    history.delete([placed.id]).result()
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT count(*) FROM placements").fetchone() == (0,)


def test_the_mode_is_told(history: History) -> None:
    one = made(1)
    one.mode = Mode.BENCHMARK
    history.save(one).result()
    assert history.entries()[0].state == "done, benchmark"


def states(history: History) -> list[str]:
    return [entry.state for entry in history.entries()]


def test_what_is_in_work_runs_as_long_as_its_process_says_so(history: History, path: Path) -> None:
    one, other = made(1), History(path)
    one.runs[1].state = RunState.GENERATING
    history.save(one).result()
    assert states(other) == ["running"] and other.running() == {"0001"}
    assert [run.state for run in other.load("0001").runs] == [RunState.DONE, RunState.QUEUED]
    one.mode = Mode.BENCHMARK
    history.save(one).result()
    assert states(other) == ["running, benchmark"]
    one.runs[1].state = RunState.DONE
    history.save(one).result()
    assert states(other) == ["done, benchmark"] and other.running() == frozenset()
    history.mark_running("0001").result()
    assert states(other) == ["running, benchmark"]
    assert [run.state for run in other.load("0001").runs] == [RunState.DONE, RunState.DONE]
    history.close()
    assert states(other) == ["done, benchmark"]
    other.close()


def test_what_was_in_work_when_its_window_closed_counts_as_stopped(history: History, path: Path) -> None:
    one, other = made(1), History(path)
    one.runs[1].state = RunState.GENERATING
    history.save(one).result()
    history.close()
    assert states(other) == ["stopped"]
    assert [run.state for run in other.load("0001").runs] == [RunState.DONE, RunState.CANCELLED]
    other.close()


def test_whose_process_is_another_now_or_another_machines(history: History) -> None:
    one = made(1)
    one.runs[1].state = RunState.GENERATING
    history.save(one).result()
    with closing(sqlite3.connect(history.path)) as file, file:
        file.execute("UPDATE running SET started_at = started_at - 3600")  # another process has the id now
    assert states(history) == ["stopped"] and history.running() == frozenset()
    assert history.load("0001").runs[1].state is RunState.CANCELLED
    history.save(one).result()
    with closing(sqlite3.connect(history.path)) as file, file:
        file.execute("UPDATE running SET machine = 'another', pid = 1")
    assert states(history) == ["unfinished"] and history.running() == frozenset()
    assert history.load("0001").runs[1].state is RunState.QUEUED


def test_a_history_of_before_knows_no_owners(history: History, path: Path) -> None:
    one = made(1)
    one.runs[1].state = RunState.GENERATING
    history.save(one).result()
    history.close()
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("DROP TABLE running")
    again = History(path)
    assert states(again) == ["stopped"] and again.notice == ""
    again.save(one).result()
    assert states(again) == ["running"]
    again.close()


def test_only_the_runs_that_changed_are_written_again(history: History) -> None:
    one = made(1)
    history.save(one).result()
    one.runs[0].text, one.runs[1].text = "new", "unseen"
    history.save(one, ["fp32"]).result()
    assert [run.text for run in history.load("0001").runs] == ["new", " to help."]
    one.runs.reverse()
    history.save(one, []).result()
    assert [run.id for run in history.load("0001").runs] == ["nf4", "fp32"]
    del one.runs[0]
    history.save(one, []).result()
    assert [run.id for run in history.load("0001").runs] == ["fp32"]


def test_an_entry_that_misses_its_baseline_is_still_opened(history: History) -> None:
    one = made(1, "fp32", "bf16", "nf4")
    history.save(one).result()
    with closing(sqlite3.connect(history.path)) as file, file:
        file.execute("DELETE FROM contents WHERE part = 'fp32'")  # earlier versions left this when they were killed
    loaded = history.load("0001")
    assert [run.id for run in loaded.runs] == ["bf16", "nf4"]
    assert loaded.baseline == "bf16"


def test_what_was_removed_does_not_come_back(history: History) -> None:
    one = made(1, "fp32", "nf4")
    history.save(one).result()
    removed = one.runs.pop()
    history.save(one, []).result()
    one.runs.append(removed)
    with pytest.raises(HistoryGoneError):
        history.save(one, []).result()
    assert [run.id for run in history.load("0001").runs] == ["fp32"]


def test_a_page_pasted_into_the_search_is_no_trouble(history: History) -> None:
    history.save(made(1)).result()
    assert history.entries("word " * 5000) == []
    assert history.problem == ""
    assert len(history.entries()) == 1


def test_deleted_ones_are_gone(history: History) -> None:
    for number in (1, 2, 3):
        history.save(made(number)).result()
    history.delete(["0001", "0003"]).result()
    assert ids(history) == ["0002"]
    with pytest.raises(PlaygroundError) as gone:
        history.load("0001")
    assert gone.value.info.code is ErrorCode.BAD_FILE


@pytest.mark.parametrize("damage", [b"", b"nonsense" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(path: Path, damage: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(damage)
    history = History(path)
    history.save(made(1)).result()
    assert ids(history) == ["0001"]
    history.close()
    if damage:
        assert "renamed to" in history.notice
        assert path.with_name("history.sqlite3.damaged-1").read_bytes() == damage
    else:
        assert history.notice == ""  # an empty file counts as new


def test_damage_in_the_middle_is_met_when_it_is_read(path: Path) -> None:
    history = History(path)
    for number in range(200):
        history.save(made(1, prompt=f"{number} " * 500, started_at=f"{number}")).result()
        history.save(made(number + 2, prompt=f"{number} " * 50, started_at=f"{number}")).result()
    history.close()
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    for page in range(1, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = os.urandom(64)
    path.write_bytes(data)
    history = History(path)
    assert history.entries() == []
    assert history.notice
    history.save(made(7)).result()
    assert ids(history) == ["0007"]
    history.close()


def test_a_newer_file_is_left_alone(path: Path) -> None:
    History(path).close()
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("PRAGMA user_version = 9")
    before = path.read_bytes()
    history = History(path)
    history.save(made(1)).result()
    assert history.entries() == []
    assert "newer version" in history.notice
    history.close()
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_used_costs_the_history_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    history = History(tmp_path / "file" / "history.sqlite3")
    history.save(made(1)).result()
    assert history.entries() == []
    assert "Comparisons are not kept" in history.notice
    history.close()


def test_two_programs_write_one_history(path: Path) -> None:
    one, other = History(path), History(path)
    outcomes = [history.save(made(number)) for number in range(1, 20) for history in (one, other)]
    for outcome in outcomes:
        outcome.result()
    assert len(ids(one)) == len(ids(other)) == 19
    for history in (one, other):
        history.close()


_WRITER = """
import sys
from contextlib import closing
from pathlib import Path
from qplayground.core.comparison.results import RunState
from qplayground.runtime.storage.history import History
from tests.unit.histories import made
history = History(Path(sys.argv[1]))
for number in range(1, 10_000):
    one = made(number, started_at=str(number))
    one.runs[1].state = RunState.GENERATING
    history.save(one).result()
    print(number, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_kill_loses_nothing_that_was_saved(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        saved = 0
        while saved < 20:
            saved = int(writer.stdout.readline())
        reader = History(path)
        assert "running" in states(reader)
        reader.close()
        writer.send_signal(signal.SIGKILL)
        saved = max([saved, *(int(line) for line in writer.stdout.read().split("\n")[:-1] if line)])
    history = History(path)
    assert history.notice == ""
    kept = ids(history)
    assert {f"{number:04}" for number in range(1, saved + 1)} <= set(kept)
    assert set(states(history)) == {"stopped"}
    assert all(history.load(name).runs for name in kept[:5])
    history.close()


@settings(max_examples=20, deadline=None)
@given(st.text(max_size=60), st.text(max_size=30))
def test_any_text_is_kept_and_found(tmp_path_factory: pytest.TempPathFactory, prompt: str, note: str) -> None:
    history = History(tmp_path_factory.mktemp("history") / "h.sqlite3")
    history.save(made(1, prompt=f"x{prompt}")).result()
    history.annotate("0001", note).result()
    assert history.load("0001").prompt == f"x{prompt}"
    words = f"x{prompt}".split("\0")[0].split()
    assert ids(history, words[0] if words else "") == ["0001"]
    assert history.entries()[0].note == note
    history.close()


def test_it_is_kept_where_everything_is() -> None:
    assert history_path().parent == Path(os.environ["QPLAYGROUND_CONFIG"])
