"""Scoring in a comparison: its order, what candidates get from the baseline, and what a failure affects."""

from collections.abc import Iterator
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from qplayground.core.comparison.results import Mode, RunState, from_json, to_json
from qplayground.core.errors import ErrorCode
from qplayground.core.measures.quality import QualityRequest, TextSource
from qplayground.core.messages.commands import Score
from qplayground.runtime.comparison.plan_state import PlanState
from qplayground.runtime.processes.launcher import Launcher
from tests.process.stages import FAKE, MODEL, Stage, wanted

BUILTIN = QualityRequest(source=TextSource.BUILTIN, name="builtin", text="a text", tokens=120)
PROMPT = QualityRequest(source=TextSource.PROMPT, name="prompt", tokens=120)


@pytest.fixture
def stage(qtbot: QtBot) -> Iterator[Stage]:
    stage = Stage(qtbot, Launcher(FAKE))
    yield stage
    stage.session.close()


def run(stage: Stage, qtbot: QtBot, prompt: str, *names: str, **how: Any) -> None:
    how.setdefault("quality", BUILTIN)
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=20_000):
        stage.session.compare(MODEL, wanted(names, prompt, **how))


def test_every_run_is_scored_against_the_baseline(stage: Stage, qtbot: QtBot) -> None:
    run(stage, qtbot, "once", "fp32", "nf4")
    base, other = stage.run("fp32"), stage.run("nf4")
    assert base.quality is not None and base.quality.reference is None and base.quality.perplexity
    assert other.quality is not None and other.quality.reference == "fp32" and other.quality.mean_kld
    assert stage.comparison.evaluation is not None and len(stage.comparison.evaluation.pieces) == 120
    assert ("fp32", RunState.SCORING) in stage.states and stage.run("nf4").state is RunState.DONE
    assert from_json(to_json(stage.comparison)) == stage.comparison


def test_the_baseline_goes_first_wherever_it_stands(stage: Stage, qtbot: QtBot) -> None:
    run(stage, qtbot, "once", "nf4", "fp32", baseline="fp32")
    assert [one.id for one in stage.comparison.runs] == ["nf4", "fp32"]
    first = next(name for name, state in stage.states if state is RunState.STARTING)
    assert first == "fp32"
    quality = stage.run("nf4").quality
    assert quality is not None and quality.reference == "fp32"


def test_a_reference_that_was_removed_is_still_what_others_are_compared_with(stage: Stage, qtbot: QtBot) -> None:
    run(stage, qtbot, "once", "fp32", "nf4")
    stage.session.remove("fp32")
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=20_000):
        stage.session.run_again("nf4")
    quality = stage.run("nf4").quality
    assert stage.run("nf4").state is RunState.DONE and quality is not None and quality.reference == "fp32"


def test_without_a_text_nothing_is_scored(stage: Stage, qtbot: QtBot) -> None:
    run(stage, qtbot, "once", "fp32", quality=None)
    assert stage.run("fp32").quality is None and ("fp32", RunState.SCORING) not in stage.states


def test_the_prompts_tokens_come_from_the_baseline(stage: Stage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, int] = {}
    score = PlanState.score

    def note(work: PlanState, run_id: str, command_id: int) -> Score:
        command = score(work, run_id, command_id)
        given[run_id] = len(command.token_ids)
        return command

    monkeypatch.setattr(PlanState, "score", note)
    run(stage, qtbot, "once", "fp32", "nf4", quality=PROMPT)
    assert given == {"fp32": 0, "nf4": 240}


@pytest.mark.parametrize("mode", [Mode.BENCHMARK, Mode.RACE])
def test_benchmarks_and_races_are_scored_once(stage: Stage, qtbot: QtBot, mode: Mode) -> None:
    run(stage, qtbot, "once", "fp32", "nf4", mode=mode, rounds=2 if mode is Mode.BENCHMARK else 1)
    assert [stage.phases(name).count("score") for name in ("fp32", "nf4")] == [1, 1]
    assert all(one.quality is not None and one.state is RunState.DONE for one in stage.comparison.runs)


def test_an_engine_that_dies_while_scoring_costs_its_run_and_not_its_text(stage: Stage, qtbot: QtBot) -> None:
    run(stage, qtbot, "fp32=exit-scoring once", "fp32", "nf4")
    base = stage.run("fp32")
    assert base.state is RunState.FAILED and base.error is not None and base.error.code is ErrorCode.ENGINE_DIED
    assert len(base.token_ids) == 8 and base.quality is None
    assert stage.run("nf4").state is RunState.DONE


def test_a_score_can_be_stopped_within_a_second(stage: Stage, qtbot: QtBot) -> None:
    stage.session.compare(MODEL, wanted(["fp32"], "hang-scoring", quality=BUILTIN))
    qtbot.waitUntil(lambda: stage.phases("fp32").count("score") == 1, timeout=10_000)
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=1000):
        stage.session.stop()
    run = stage.run("fp32")
    assert run.state is RunState.DONE and len(run.token_ids) == 8
    assert run.quality is not None and run.quality.was_stopped and run.quality.text == "builtin"
    stage.session.run_again("fp32")
    assert stage.run("fp32").quality is None
    stage.session.stop()


def test_a_run_that_goes_again_is_scored_again(stage: Stage, qtbot: QtBot) -> None:
    run(stage, qtbot, "once", "fp32", "nf4")
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=20_000):
        stage.session.run_again("nf4")
        assert stage.run("nf4").quality is None
    assert stage.run("nf4").quality is not None
    assert stage.phases("fp32").count("score") == 1
