"""What is known of a plan so far, and how it changes later commands."""

from qplayground.core.capabilities import Capability
from qplayground.core.comparison.results import TRANSFORMERS, Mode
from qplayground.core.generation import GenerationRequest
from qplayground.core.memory.estimate import Estimate, WeightKinds
from qplayground.core.placement import Placement
from qplayground.core.precision import READY_PRECISIONS
from qplayground.runtime.comparison.plan import Plan, RunPlan
from qplayground.runtime.comparison.plan_state import PlanState

RUN = RunPlan("nf4", "/m", next(each for each in READY_PRECISIONS if each.name == "nf4"), TRANSFORMERS)
SMALL = Estimate(
    precision="nf4",
    by_kind=WeightKinds(quantized=8),
    kv_cache_bytes=16,
    working_bytes=1,
    load_extra_bytes=1,
    runtime_bytes=1,
    least_runtime_bytes=1,
    by_device={"cpu": WeightKinds(quantized=8)},
    device_map={"": "cpu"},
)
AUTO = Placement()


def has_room(lacks: dict[Capability, str], shown: Estimate = SMALL, placement: Placement = AUTO, gpus: int = 0) -> bool:
    plan = Plan(runs=(RUN,), placement=placement, request=GenerationRequest(), mode=Mode.ONCE, rounds=1)
    state = PlanState(plan, {RUN: lacks})
    state.record_estimates({"nf4": shown}, gpus=gpus)
    return state.has_room("nf4", ["fp32"])


def test_what_is_known_of_a_run_makes_room_only_where_it_holds_without_the_kept_ones() -> None:
    assert has_room({})
    assert not has_room({}, SMALL.without_text)  # the estimate is for another text
    assert not has_room({}, gpus=1)  # free GPU memory decides the placement
    assert has_room({}, placement=Placement(device="cpu"), gpus=1)


def test_what_is_predicted_of_transformers_makes_no_room_for_another_engine() -> None:
    assert has_room({})
    assert not has_room({Capability.PREDICTION: "It predicts nothing."})
    assert has_room({Capability.PREDICTION: "It predicts nothing.", Capability.MEMORY: "It is elsewhere."})
