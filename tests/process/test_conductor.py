"""Runs by id: several models, one precision twice, and a second engine beside the transformers one."""

from collections.abc import Iterator

import pytest
from pytestqt.qtbot import QtBot

from qplayground.core.comparison.results import TRANSFORMERS, Mode, RunState
from qplayground.core.generation import GenerationRequest, GenerationSettings
from qplayground.core.messages.events import Event, Failed, Generated, Loaded
from qplayground.core.placement import Placement
from qplayground.core.precision import READY_PRECISIONS
from qplayground.runtime.comparison.conductor import Conductor
from qplayground.runtime.comparison.plan import Plan, RunPlan
from qplayground.runtime.processes.launcher import Launcher

FAKE = "tests.fakes.engine"
NF4 = next(precision for precision in READY_PRECISIONS if precision.name == "nf4")
REQUEST = GenerationRequest(prompt="once upon", settings=GenerationSettings(max_new_tokens=4))


@pytest.fixture
def conductor(qtbot: QtBot) -> Iterator[Conductor]:
    """`transformers` has no working engine here, so any run that succeeds used the other engine."""
    launcher = Launcher("tests.process.no_such_engine", engines={"scripted": FAKE}, fork=False)
    made = Conductor(launcher)
    yield made
    made.close()
    launcher.close()


def plan(*runs: RunPlan) -> Plan:
    return Plan(runs=runs, placement=Placement(), request=REQUEST, mode=Mode.ONCE, rounds=1)


def carried_out(conductor: Conductor, qtbot: QtBot, wanted: Plan) -> list[tuple[str, Event]]:
    said: list[tuple[str, Event]] = []
    conductor.said.connect(lambda name, event: said.append((name, event)))
    with qtbot.waitSignal(conductor.finished, timeout=20_000):
        conductor.prepare(wanted, {})
        conductor.begin()
    return said


def test_two_models_in_one_precision_are_two_runs(conductor: Conductor, qtbot: QtBot) -> None:
    one, other = (RunPlan(name, path, NF4, "scripted") for name, path in (("nf4", "/models/a"), ("nf4-2", "/models/b")))

    said = carried_out(conductor, qtbot, plan(one, other))

    for run in (one, other):
        ours = [event for name, event in said if name == run.id]
        assert (
            sum(isinstance(event, Loaded) for event in ours) == sum(isinstance(event, Generated) for event in ours) == 1
        )
        assert conductor.state(run.id) is RunState.DONE


def test_each_run_is_carried_out_by_its_own_engine(conductor: Conductor, qtbot: QtBot) -> None:
    wanted = plan(RunPlan("a", "/m", NF4, TRANSFORMERS), RunPlan("b", "/m", NF4, "scripted"))

    said = carried_out(conductor, qtbot, wanted)

    assert [name for name, event in said if isinstance(event, Failed)] == ["a"]
    assert (conductor.state("a"), conductor.state("b")) == (RunState.FAILED, RunState.DONE)


def test_a_kept_model_is_that_of_its_run_and_of_no_other_with_that_id(conductor: Conductor, qtbot: QtBot) -> None:
    conductor.set_keep_loaded(True)
    carried_out(conductor, qtbot, plan(RunPlan("nf4", "/models/a", NF4, "scripted")))
    assert list(conductor.loaded) == ["nf4"]

    said = carried_out(conductor, qtbot, plan(RunPlan("nf4", "/models/b", NF4, "scripted")))
    assert sum(isinstance(event, Loaded) for _, event in said) == 1

    said = carried_out(conductor, qtbot, plan(RunPlan("nf4", "/models/b", NF4, "scripted")))
    assert not any(isinstance(event, Loaded) for _, event in said)
