"""Engines that die, hang, babble or run out of memory: only that precision's run is lost."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec.structs import replace
from pytestqt.qtbot import QtBot

from qplayground.core.comparison.results import RunState
from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode
from qplayground.core.measures.floats import Floats
from qplayground.core.measures.quality import Quality, QualityRequest, ScoredTokens, TextSource
from qplayground.core.messages.events import Generated, Hello, Loaded, Phase, RunEvent
from qplayground.core.model import ModelEntry, ModelSource
from qplayground.core.precision import Precision
from qplayground.core.quantizers.bitsandbytes_4bit import FourBit
from qplayground.engines.transformers.scoring.baselines import Baselines, KeptScores
from qplayground.runtime.comparison.conductor import Conductor
from qplayground.runtime.processes.launcher import ENGINE_TARGET, Launcher
from qplayground.runtime.processes.process import ProcessExit
from qplayground.runtime.processes.worker import ChildWorker
from tests.daily import daily
from tests.engine import tiny
from tests.faults.baselines import KEY
from tests.process.stages import FAKE, MODEL, Stage, wanted

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals, limits and fork servers as Linux has them")

SCORED = QualityRequest(source=TextSource.BUILTIN, name="builtin", text="a text", tokens=120)
AROUND = ("fp32", "int8", "nf4")
NF4 = tiny.precision("nf4")
STOP_LIMIT_MS = 2000
MANY = 250
"""Tokens for which the wide model's cache needs 130 MB. The allocator reserves some 64 MB of address space."""


@pytest.fixture
def stage(qtbot: QtBot) -> Iterator[Stage]:
    stage = Stage(qtbot, Launcher(FAKE))
    yield stage
    stage.session.close()


def fork_servers() -> list[psutil.Process]:
    """The live fork servers of this process."""
    living = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in living if "multiprocessing.forkserver" in " ".join(child.cmdline())]


def conductor_of(stage: Stage) -> Conductor:
    conductor = stage.session.findChild(Conductor)
    assert isinstance(conductor, Conductor)
    return conductor


def compare(stage: Stage, qtbot: QtBot, prompt: str, *names: str, **how: Any) -> None:
    how.setdefault("quality", SCORED)
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=20_000):
        stage.session.compare(MODEL, wanted(names or AROUND, prompt, **how))


def check_only_int8_failed(stage: Stage, qtbot: QtBot) -> None:
    """The other runs are complete and nothing is left behind. The next comparison and the same run again succeed."""
    for run in stage.comparison.runs:
        if run.id == "int8":
            assert run.state is RunState.FAILED and run.error is not None
            assert run.error.message.endswith(".") and run.error.hint.endswith(".")
        else:
            assert (run.state, run.error, len(run.token_ids)) == (RunState.DONE, None, 8)
            assert run.quality is not None and run.quality.perplexity is not None
    assert stage.engines() == []
    compare(stage, qtbot, "once")
    assert set(stage.outcomes().values()) == {RunState.DONE}, [run.error for run in stage.comparison.runs]
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=20_000):
        stage.session.run_again("int8")
    assert stage.run("int8").state is RunState.DONE and stage.engines() == []


def kill_at(stage: Stage, phase: Phase, name: str = "int8") -> None:
    """Kill that precision's engine once, as soon as it reports the start of a phase."""
    killed: list[int] = []

    def on_phase(who: str, event: Any) -> None:
        if who == name and event.phase is phase and not killed:
            killed.extend(stage.engines())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    stage.session.phase_started.connect(on_phase)


@pytest.mark.parametrize("phase", [Phase.START, Phase.QUANTIZE, Phase.CHECK, Phase.PREFILL, Phase.DECODE, Phase.SCORE])
def test_an_engine_that_is_killed_costs_its_run_alone(stage: Stage, qtbot: QtBot, phase: Phase) -> None:
    kill_at(stage, phase)
    where = {Phase.SCORE: "scoring", Phase.START: "loading", Phase.QUANTIZE: "loading"}.get(phase, "generating")
    compare(stage, qtbot, f"int8=hang-{where}")
    error = stage.error("int8")
    assert error.code is ErrorCode.OUT_OF_MEMORY and "killed from outside" in error.message
    check_only_int8_failed(stage, qtbot)


@pytest.mark.parametrize("stop_at", ["loading", "generating", "scoring"])
def test_an_engine_that_hangs_is_stopped_and_what_was_there_stays(stage: Stage, qtbot: QtBot, stop_at: str) -> None:
    stage.session.compare(MODEL, wanted(("fp32", "int8"), f"int8=hang-{stop_at}", quality=SCORED))
    waits = {"loading": Phase.QUANTIZE, "generating": Phase.DECODE, "scoring": Phase.SCORE}[stop_at]
    stage.wait_for(lambda: waits in stage.phases("int8"))
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=STOP_LIMIT_MS):
        stage.session.stop()
    assert stage.run("fp32").state is RunState.DONE and len(stage.run("fp32").token_ids) == 8
    assert stage.run("int8").state.is_final and stage.engines() == []
    compare(stage, qtbot, "once")
    assert set(stage.outcomes().values()) == {RunState.DONE}, [run.error for run in stage.comparison.runs]


@pytest.mark.parametrize("behaviour", ["flood", "late", "twice"])
def test_an_engine_that_babbles_gives_what_it_would_have_given(stage: Stage, qtbot: QtBot, behaviour: str) -> None:
    compare(stage, qtbot, "once")
    expected = [(run.id, run.text, run.state, run.quality) for run in stage.comparison.runs]
    compare(stage, qtbot, f"once {behaviour}")
    found = [(run.id, run.text, run.state, run.quality) for run in stage.comparison.runs]
    assert found == expected and stage.engines() == []


def test_an_engine_that_talks_nonsense_costs_its_run_alone(stage: Stage, qtbot: QtBot) -> None:
    compare(stage, qtbot, "int8=nonsense")
    assert "cannot be read" in stage.error("int8").message
    check_only_int8_failed(stage, qtbot)


@pytest.mark.parametrize("mishap", ["exit", "segfault", "fail"])
@pytest.mark.parametrize("where", ["loading", "generating", "scoring"])
def test_an_engine_that_breaks_costs_its_run_alone(stage: Stage, qtbot: QtBot, mishap: str, where: str) -> None:
    compare(stage, qtbot, f"int8={mishap}-{where}")
    check_only_int8_failed(stage, qtbot)


def test_an_idle_engine_that_crashes_costs_nothing(stage: Stage, qtbot: QtBot) -> None:
    """The window says so and keeps the results. The next prompt loads it again, and reuses the other kept engine."""
    stage.session.set_keep_loaded(True)
    compare(stage, qtbot, "once", "fp32", "int8")
    texts = {run.id: run.text for run in stage.comparison.runs}
    assert set(stage.session.loaded) == {"fp32", "int8"}
    worker = stage.session.findChild(ChildWorker, "int8")
    assert worker is not None and worker.pid is not None
    os.kill(worker.pid, signal.SIGSEGV)
    stage.wait_for(lambda: set(stage.session.loaded) == {"fp32"})
    assert any(line.startswith("int8, loaded and idle: ") and "SIGSEGV" in line for line in stage.log), stage.log
    assert stage.outcomes() == {"fp32": RunState.DONE, "int8": RunState.DONE}
    assert {run.id: run.text for run in stage.comparison.runs} == texts
    compare(stage, qtbot, "once", "fp32", "int8")
    assert stage.outcomes() == {"fp32": RunState.DONE, "int8": RunState.DONE}
    assert (stage.run("fp32").load.kept, stage.run("int8").load.kept) == (True, False)


def test_a_failed_run_has_the_engines_last_output(stage: Stage, qtbot: QtBot) -> None:
    compare(stage, qtbot, "int8=exit-loading")
    assert "about to exit" in stage.error("int8").detail
    compare(stage, qtbot, "flood int8=fail-generating")
    detail = stage.error("int8").detail
    assert detail.startswith(f"Model: {MODEL.id}\n\nscripted\n\n") and len(detail) > 1000


@pytest.mark.parametrize("when", ["idle", "busy"])
def test_a_fork_server_that_is_killed_is_replaced(stage: Stage, qtbot: QtBot, when: str) -> None:
    compare(stage, qtbot, "once")
    (server,) = fork_servers()
    if when == "busy":
        before = stage.phases("int8").count(Phase.DECODE)
        stage.session.compare(MODEL, wanted(AROUND, "int8=slow"))
        stage.wait_for(lambda: stage.phases("int8").count(Phase.DECODE) > before)
        with qtbot.waitSignal(stage.session.comparison_finished, timeout=30_000):
            server.kill()
        assert stage.outcomes() == {"fp32": RunState.DONE, "int8": RunState.FAILED, "nf4": RunState.DONE}
        assert stage.error("int8").hint
    else:
        server.kill()
        stage.wait_for(lambda: server.status() == psutil.STATUS_ZOMBIE)  # a parent reaps it
    compare(stage, qtbot, "once")
    assert set(stage.outcomes().values()) == {RunState.DONE}, [run.error for run in stage.comparison.runs]


KILLED_WHILE_KEEPING = """
import os, sys, torch
from pathlib import Path
from qplayground.engines.transformers.scoring.baselines import Baselines
from tests.faults.baselines import KEY
with Baselines(Path(sys.argv[1]), 1 << 30).writing(KEY, "float32") as writing:
    writing.write(torch.zeros(8, 1000))
    os.kill(os.getpid(), 9)
"""


def test_a_baseline_whose_engine_was_killed_while_keeping_it_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "baselines"
    command = [sys.executable, "-c", KILLED_WHILE_KEEPING, str(folder)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -signal.SIGKILL and len(list(folder.iterdir())) == 1
    baselines = Baselines(folder, 1 << 30)
    assert baselines.find(KEY) is None
    with baselines.writing(KEY, "float32"):
        assert len(list(folder.iterdir())) == 1  # its leftovers are gone; this one's exist
    assert list(folder.iterdir()) == []


def kept_scores(dtype: str) -> KeptScores:
    """The scores of eight tokens."""
    eight = Floats(bytes(32))
    tokens = ScoredTokens(nll=eight, top=("a",) * 8, top_ids=(1,) * 8, top_p=eight)
    return KeptScores(dtype=dtype, quality=Quality(text="a"), tokens=tokens)


def test_one_baseline_that_two_engines_keep_at_once_is_kept_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with two windows on one cache. The first baseline is in use before the second is finished."""
    import torch

    scores = kept_scores("float32")
    one, other = (Baselines(tmp_path, 1 << 30) for _ in range(2))

    def finish_first(scratch: Path, target: Path) -> Path:
        """Finish the first one just before the rename."""
        monkeypatch.undo()
        first.finish(scores)
        return scratch.rename(target)

    with (
        one.writing(KEY, "float32") as first,
        other.writing(KEY, "float32") as second,
        other.writing(KEY, "float32") as third,
    ):
        for writing in (first, second, third):
            writing.write(torch.zeros(8, 1000))
        monkeypatch.setattr(Path, "rename", finish_first)
        second.finish(scores)
        kept = one.find(KEY)
        assert kept is not None
        inode = (tmp_path / KEY.name).stat().st_ino
        third.finish(scores)
        assert (tmp_path / KEY.name).stat().st_ino == inode and kept.rows(0, 8).shape == (8, 1000)
    assert [path.name for path in tmp_path.iterdir()] == [KEY.name]


@pytest.mark.parametrize(
    ("first", "then", "kept"),
    [("float16", "float32", "float32"), ("float32", "float16", "float32"), ("float16", "float16", "float16")],
)
def test_of_two_kept_at_once_the_more_exact_one_stays(tmp_path: Path, first: str, then: str, kept: str) -> None:
    """The disk was fuller for one of them. An equally exact baseline does not replace the existing one."""
    import torch

    one, other = (Baselines(tmp_path, 1 << 30) for _ in range(2))
    with one.writing(KEY, first) as early, other.writing(KEY, then) as late:
        for writing in (early, late):
            writing.write(torch.zeros(8, 1000))
        early.finish(kept_scores(first))
        inode = (tmp_path / KEY.name).stat().st_ino
        late.finish(kept_scores(then))
    found = one.find(KEY)
    assert found is not None and found.scores.dtype == kept and found.rows(0, 8).shape == (8, 1000)
    assert ((tmp_path / KEY.name).stat().st_ino == inode) is (first == kept)
    assert [path.name for path in tmp_path.iterdir()] == [KEY.name]


# ---- memory that runs out -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with 100 MB of weights in a few tensors."""
    folder = tmp_path_factory.mktemp("large")
    return tiny.make(folder, lambda: tiny.llama(hidden_size=1280, intermediate_size=5120, num_hidden_layers=1))


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a KV cache of 512 kB per token and 67 MB of weights. It never ends a text by itself.

    No width is below 64, because bitsandbytes' kernel for AVX512-BF16 takes no less.
    """
    sizes: dict[str, Any] = {"num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 8}
    sizes |= {"hidden_size": 64, "head_dim": 2048, "eos_token_id": None}
    return tiny.make(tmp_path_factory.mktemp("wide"), lambda: tiny.llama(**sizes))


FOUR_BIT_MLP = Precision(
    name="nf4",
    label="NF4 but its attention",
    dtype=Dtype.FLOAT32,
    quantization=FourBit("nf4", Dtype.FLOAT32),
    skip_modules=("self_attn",),
)
"""For the wide model: its attention takes at least 0.1 s per token in 4 bits, but little in float32."""


def compare_two(stage: Stage, qtbot: QtBot, folder: Path, tokens: int = 2, small: Precision = NF4, **how: Any) -> None:
    """Compare fp32 and a 4-bit precision of a real model in a folder."""
    entry = ModelEntry(
        id=str(folder),
        source=ModelSource.FOLDER,
        path=str(folder),
        architecture="LlamaForCausalLM",
        parameters=1,
        complete=True,
    )
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=120_000):
        both = replace(wanted((), tiny.PROMPT, tokens, **how), precisions=(tiny.precision("fp32"), small))
        stage.session.compare(entry, both)


def limit_address_space(pid: int, spare_mb: int) -> None:
    """Limit a process to its current address space plus `spare_mb`."""
    process = psutil.Process(pid)
    most = process.memory_info().vms + spare_mb * 1_000_000
    process.rlimit(resource.RLIMIT_AS, (most, most))


@pytest.mark.parametrize("spare_mb", daily([0, 60], 0))
def test_memory_that_runs_out_is_said_and_the_smaller_one_runs(qtbot: QtBot, large_model: Path, spare_mb: int) -> None:
    """A real limit on a real engine, at several points of the load."""
    stage = Stage(qtbot, Launcher(ENGINE_TARGET))
    limited: list[int] = []

    def limit(name: str, hello: Hello) -> None:
        if name == "fp32":
            limit_address_space(hello.pid, spare_mb)
            limited.append(hello.pid)

    conductor_of(stage).greeted.connect(limit)
    compare_two(stage, qtbot, large_model)
    assert limited and stage.outcomes() == {"fp32": RunState.FAILED, "nf4": RunState.DONE}
    error = stage.error("fp32")
    assert error.code is ErrorCode.OUT_OF_MEMORY, (error, error.detail)
    assert "smaller precision" in error.hint
    stage.session.close()


@pytest.fixture
def real_stage(qtbot: QtBot) -> Iterator[Stage]:
    """A session with real engines."""
    stage = Stage(qtbot, Launcher(ENGINE_TARGET))
    yield stage
    stage.session.close()


def limit_fp32_after(stage: Stage, said: type[Loaded] | type[Generated]) -> None:
    """Leave fp32's engine little more memory from this event on, while it waits for the next command."""
    pids: list[int] = []

    def on_said(name: str, event: RunEvent) -> None:
        if name == "fp32" and isinstance(event, said):
            limit_address_space(pids[0], 20)

    conductor_of(stage).greeted.connect(lambda name, hello: pids.append(hello.pid) if name == "fp32" else None)
    conductor_of(stage).said.connect(on_said)


@pytest.mark.exhaustive
def test_memory_that_runs_out_while_writing_is_said(qtbot: QtBot, real_stage: Stage, wide_model: Path) -> None:
    """Text written so far stays, and the next precision runs."""
    stage = real_stage
    limit_fp32_after(stage, Loaded)
    compare_two(stage, qtbot, wide_model, MANY, FOUR_BIT_MLP)
    assert stage.outcomes() == {"fp32": RunState.FAILED, "nf4": RunState.DONE}
    error = stage.error("fp32")
    assert error.code is ErrorCode.OUT_OF_MEMORY and "smaller precision" in error.hint, (error, error.detail)
    assert 0 < len(stage.run("fp32").token_ids) < MANY and stage.run("fp32").text
    assert stage.engines() == []


@pytest.mark.exhaustive
def test_memory_that_runs_out_while_scoring_leaves_the_text(qtbot: QtBot, real_stage: Stage, wide_model: Path) -> None:
    """Its column says why it has no figures. The next precision is scored."""
    stage = real_stage
    limit_fp32_after(stage, Generated)
    text = QualityRequest(source=TextSource.BUILTIN, name="builtin", text=tiny.PROMPT * 400, tokens=400)
    compare_two(stage, qtbot, wide_model, 2, FOUR_BIT_MLP, quality=text, baseline="nf4")
    assert stage.outcomes() == {"fp32": RunState.DONE, "nf4": RunState.DONE}
    quality = stage.run("fp32").quality
    assert quality is not None and quality.perplexity is None and quality.note is not None
    assert quality.note.code is ErrorCode.OUT_OF_MEMORY, quality.note
    assert len(stage.run("fp32").token_ids) == 2
    scored = stage.run("nf4").quality
    assert scored is not None and scored.perplexity is not None
    assert stage.engines() == []


@pytest.mark.exhaustive
def test_memory_that_is_gone_when_a_kept_model_is_used_again_is_said(
    qtbot: QtBot, real_stage: Stage, wide_model: Path
) -> None:
    """An idle engine does not notice the limit. The next, longer text fails, and then the model is loaded anew."""
    stage = real_stage
    greeted: dict[str, int] = {}
    conductor_of(stage).greeted.connect(lambda name, hello: greeted.update({name: hello.pid}))
    stage.session.set_keep_loaded(True)
    compare_two(stage, qtbot, wide_model, 2, FOUR_BIT_MLP)
    assert set(stage.session.loaded) == {"fp32", "nf4"}
    limit_address_space(greeted["fp32"], 20)
    compare_two(stage, qtbot, wide_model, MANY, FOUR_BIT_MLP)
    assert stage.outcomes() == {"fp32": RunState.FAILED, "nf4": RunState.DONE}
    assert stage.error("fp32").code is ErrorCode.OUT_OF_MEMORY, stage.error("fp32")
    assert set(stage.session.loaded) == {"nf4"}
    compare_two(stage, qtbot, wide_model, 3, FOUR_BIT_MLP)
    assert stage.outcomes() == {"fp32": RunState.DONE, "nf4": RunState.DONE}


def test_a_bus_error_is_a_file_that_shrank() -> None:
    error = ProcessExit(-signal.SIGBUS, requested=False).error
    assert error is not None and error.code is ErrorCode.BROKEN_WEIGHTS and "cut short" in error.message


@pytest.mark.parametrize(
    ("code", "output"),
    [
        (-9, ""),
        (-6, "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc"),
        (1, "Traceback …\nMemoryError"),
        (1, "OSError: [Errno 12] Cannot allocate memory"),
        (-6, "RuntimeError: CUDA error: out of memory"),
    ],
)
def test_an_end_for_want_of_memory_is_recognised(code: int, output: str) -> None:
    error = ProcessExit(code, requested=False, output_tail=output).error
    assert error is not None and error.code is ErrorCode.OUT_OF_MEMORY and "smaller" in error.hint


@pytest.mark.parametrize(
    ("code", "output"),
    [
        (-11, "CUDA out of memory\nSegmentation fault"),
        (1, "RuntimeError: out of memory\nwent on\nfor\na\nwhile"),
        (1, "MemoryErrorHandler registered"),
    ],
)
def test_what_was_survived_is_not_what_it_died_of(code: int, output: str) -> None:
    error = ProcessExit(code, requested=False, output_tail=output).error
    assert error is not None and error.code is ErrorCode.ENGINE_DIED


Damage = Callable[[Path], None]


def _cut_short(file: Path) -> None:
    os.truncate(file, 4096)


def _gone(file: Path) -> None:
    file.unlink()


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_cut_short, {ErrorCode.BROKEN_WEIGHTS}),
        (_gone, {ErrorCode.NO_WEIGHTS, ErrorCode.INCOMPLETE_DOWNLOAD}),
    ],
)
def test_weights_that_change_while_they_are_loaded_are_said(
    qtbot: QtBot, large_model: Path, tmp_path: Path, damage: Damage, said: set[ErrorCode]
) -> None:
    folder = tmp_path / "changing"
    folder.mkdir()
    for file in large_model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (weights,) = folder.glob("*.safetensors")
    stage = Stage(qtbot, Launcher(ENGINE_TARGET))

    def on_progress(name: str, event: Any) -> None:
        if "weights" in event.label.lower() and weights.exists():
            damage(weights)

    stage.session.progressed.connect(on_progress)
    compare_two(stage, qtbot, folder)
    assert stage.error("nf4").code in said and stage.error("nf4").hint
    first = stage.run("fp32").error
    assert first is None or first.code in said
    assert stage.engines() == []
    stage.session.close()
