"""Two engines in one comparison. One lacks capabilities, and is never asked for them."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import pytest
from pytestqt.qtbot import QtBot

from qplayground.core.capabilities import Capability
from qplayground.core.commentary.verdicts import quality_sentence, reference_sentence
from qplayground.core.comparison.results import Comparison, MemoryFigures, RunState, from_json, to_json
from qplayground.core.measures.quality import QualityRequest, TextSource
from qplayground.core.memory.estimate import Estimate, Verdict
from qplayground.core.memory.fit import Fit
from qplayground.core.model import ModelEntry
from qplayground.core.system.machine import Machine
from qplayground.report.table import plain_table
from qplayground.runtime.comparison import plan_state
from qplayground.runtime.comparison.request import ComparisonRequest
from qplayground.runtime.comparison.sampler import Sampler
from qplayground.runtime.processes.launcher import Launcher
from tests.fakes.remote import ELSEWHERE, LACKS
from tests.process.stages import FAKE, MODEL, Stage, recipes, request

REMOTE = "remote"
BUILTIN = QualityRequest(source=TextSource.BUILTIN, name="builtin", text="a text", tokens=120)
NOT_FOUND = Fit(Verdict.WONT_FIT)


class Mixed(ComparisonRequest, frozen=True, kw_only=True):
    """Runs some of the precisions on the other engine."""

    remote: tuple[str, ...] = ()

    def comparison(self, model: ModelEntry, machine: Machine | None, now: datetime) -> Comparison:
        made = super().comparison(model, machine, now)
        for run in made.runs:
            run.engine = REMOTE if run.id in self.remote else run.engine
        return made


@pytest.fixture
def stage(qtbot: QtBot) -> Iterator[Stage]:
    stage = Stage(qtbot, Launcher(FAKE, engines={REMOTE: "tests.fakes.remote"}))
    yield stage
    stage.session.close()


def compare(
    stage: Stage,
    qtbot: QtBot,
    names: Sequence[str],
    remote: Sequence[str],
    *,
    quality: QualityRequest | None = None,
    shown: dict[str, Estimate] | None = None,
) -> Comparison:
    wanted = Mixed(
        precisions=tuple(recipes(names)), request=request("once upon"), quality=quality, remote=tuple(remote)
    )
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=20_000):
        stage.session.compare(MODEL, wanted, shown)
    return stage.comparison


def test_a_run_without_memory_and_scoring_has_its_text_and_the_reasons(stage: Stage, qtbot: QtBot) -> None:
    found = compare(stage, qtbot, ["fp32", "nf4"], ["nf4"], quality=BUILTIN)
    base, other = found.run("fp32"), found.run("nf4")

    assert (base.state, other.state) == (RunState.DONE, RunState.DONE)
    assert (base.lacks, other.lacks) == ({}, LACKS)
    assert other.text and other.speed.decode_tokens_per_s and other.load.seconds is not None
    assert other.memory == MemoryFigures() and base.memory.resident_bytes
    assert base.quality is not None and base.quality.perplexity
    assert (quality_sentence(found, other) or "").startswith("nf4: The server does not score texts.")
    assert ("nf4", RunState.SCORING) not in stage.states and "score" not in stage.phases("nf4")
    assert stage.log == []
    assert f"No figures (–) for memory, weights and predicted memory. {ELSEWHERE}" in plain_table(found)
    assert from_json(to_json(found)) == found


def test_only_a_process_that_holds_its_model_is_sampled(
    stage: Stage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[str] = []
    monkeypatch.setattr(Sampler, "watch", lambda _sampler, key, _pid: watched.append(key))
    compare(stage, qtbot, ["fp32", "nf4"], ["nf4"])
    assert watched == ["fp32"]


def test_where_the_baseline_cannot_be_scored_the_first_that_can_is_the_reference(stage: Stage, qtbot: QtBot) -> None:
    found = compare(stage, qtbot, ["fp32", "bf16", "nf4"], ["fp32"], quality=BUILTIN)

    assert found.baseline == "fp32"
    references = [run.quality.reference for run in found.runs if run.quality is not None]
    assert references == [None, None, "bf16"]
    assert "The server does not score texts." in (reference_sentence(found) or "")
    assert found.evaluation is not None


def test_what_was_predicted_of_one_engine_is_not_held_against_another(stage: Stage, qtbot: QtBot) -> None:
    shown = {
        name: Estimate(precision=name, kv_cache_bytes=1, runtime_bytes=2, device_map={"": "cpu"})
        for name in ("fp32", "nf4")
    }
    found = compare(stage, qtbot, ["fp32", "nf4"], ["nf4"], shown=shown)

    assert found.run("fp32").memory.predicted == shown["fp32"]
    assert found.run("nf4").memory.predicted is None and found.run("nf4").requested_map == {}


def test_a_kept_engine_lacks_in_the_next_comparison_what_it_did(stage: Stage, qtbot: QtBot) -> None:
    stage.session.set_keep_loaded(True)
    compare(stage, qtbot, ["nf4"], ["nf4"])
    assert stage.session.loaded == {"nf4": None}

    found = compare(stage, qtbot, ["nf4"], ["nf4"], quality=BUILTIN)

    assert found.run("nf4").load.kept and found.run("nf4").lacks == LACKS
    assert found.run("nf4").state is RunState.DONE and "score" not in stage.phases("nf4")


def test_no_prediction_is_asked_and_no_room_made_for_what_is_elsewhere(
    stage: Stage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scripted engine fails if asked. Once it is known to hold nothing here, no kept engine is unloaded for it."""
    monkeypatch.setattr(plan_state, "fit_now", lambda estimates, scores: NOT_FOUND)
    compare(stage, qtbot, ["int8", "nf4"], ["int8", "nf4"])
    stage.session.set_keep_loaded(True)

    found = compare(stage, qtbot, ["fp32", "int8", "nf4"], ["int8", "nf4"])

    assert [run.error for run in found.runs] == [None] * 3
    assert set(stage.session.loaded) == {"fp32", "int8", "nf4"}


def test_a_run_that_goes_again_with_another_engine_lacks_nothing_any_more(stage: Stage, qtbot: QtBot) -> None:
    compare(stage, qtbot, ["fp32", "nf4"], ["nf4"])
    run = stage.run("nf4")
    run.engine = stage.run("fp32").engine

    with qtbot.waitSignal(stage.session.comparison_finished, timeout=20_000):
        stage.session.run_again("nf4")

    assert run.lacks == {} and run.memory.resident_bytes


def test_the_reason_is_there_for_a_load_that_failed_too(stage: Stage, qtbot: QtBot) -> None:
    wanted = Mixed(precisions=tuple(recipes(["nf4"])), request=request("fail-loading"), remote=("nf4",))
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=20_000):
        stage.session.compare(MODEL, wanted)

    assert stage.run("nf4").state is RunState.FAILED
    assert stage.run("nf4").lacks[Capability.MEMORY] == ELSEWHERE
