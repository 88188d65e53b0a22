"""The sweep itself, on two types in a child process, and how it reports outcomes."""

import pytest
from msgspec.structs import replace

from tests.sweep import building, children, table
from tests.sweep.outcome import Case, Ours, Outcome, Plain, Verdict

LLAMA, BERT = "llama", "bert"


def test_types_are_tried_in_a_child_and_both_agree() -> None:
    found = list(children.outcomes([LLAMA, BERT]))
    assert [outcome.model_type for outcome in found] == [LLAMA, BERT]
    for outcome in found:
        assert not outcome.error and not outcome.ended
        for case in outcome.cases.values():
            assert len(set(case.plain.ids)) >= building.LEAST_TOKENS
            assert case.ours.ids == case.plain.ids and case.ours.predicted_bytes == case.plain.weight_bytes
    assert table.verdicts(found[0]) == [Verdict.OK] * 4


def test_a_type_that_takes_too_long_costs_itself_alone() -> None:
    (outcome,) = children.outcomes([LLAMA], limit_s=0.01)
    assert "0.01 seconds" in outcome.ended and set(table.verdicts(outcome)) == {Verdict.FAILED}


@pytest.mark.parametrize("model_type", ["gemma3_text", "qwen3_5"])
def test_a_config_is_small_and_has_every_kind_of_layer(model_type: str) -> None:
    config = building.tiny_config(model_type).get_text_config()
    usual = type(config)()
    assert config.hidden_size == 64 and config.num_hidden_layers == len(config.layer_types) <= building.MOST_LAYERS
    assert set(config.layer_types) == set(usual.layer_types)


RAN = Plain(ids=[5, 6], weight_bytes=10, quantized=1, cache_bytes=4)
RIGHT = Ours(ids=[5, 6], predicted_bytes=10, held_bytes=10, cache_bytes=4)


@pytest.mark.parametrize(
    ("plain", "ours", "verdict"),
    [
        (RAN, RIGHT, Verdict.OK),
        (RAN, replace(RIGHT, ids=[5, 7]), Verdict.DIFFERS),
        (RAN, replace(RIGHT, predicted_bytes=11), Verdict.BYTES_OFF),
        (RAN, replace(RIGHT, predicted_bytes=8, held_bytes=8), Verdict.BYTES_OFF),
        (RAN, replace(RIGHT, unforeseen=["lm_head"]), Verdict.BYTES_OFF),
        (RAN, replace(RIGHT, cache_bytes=5), Verdict.BYTES_OFF),
        (RAN, replace(RIGHT, cache_bytes=None), Verdict.CACHE_UNKNOWN),
        (RAN, replace(RIGHT, script_ids=[5]), Verdict.SCRIPT_DIFFERS),
        (RAN, Ours(error="It cannot.", code="unsupported"), Verdict.REFUSED),
        (RAN, Ours(error="It would convert nothing.", code="not_quantized"), Verdict.REFUSED),
        (Plain(ids=[5]), Ours(error="It would convert nothing.", code="not_quantized"), Verdict.NOTHING_TO_QUANTIZE),
        (RAN, Ours(error="An error it does not know.", code="internal"), Verdict.FAILED),
        (Plain(error="ValueError: no"), RIGHT, Verdict.PLAIN_DOES_NOT_RUN),
    ],
)
def test_a_verdict(plain: Plain, ours: Ours, verdict: Verdict) -> None:
    assert Case(plain=plain, ours=ours).verdict is verdict


def test_layers_that_are_kept_are_kept_on_both_sides() -> None:
    case = Case(plain=Plain(error="RuntimeError: no"), ours=replace(RIGHT, skips=["dt_proj"]), alike=RAN)
    assert case.verdict is Verdict.KEPT and "RuntimeError" in case.reason
    assert Case(plain=RAN, ours=case.ours, alike=Plain(ids=[5, 7])).verdict is Verdict.DIFFERS


def test_the_table_has_a_row_for_each_type_and_its_reasons() -> None:
    wrong = Case(plain=RAN, ours=replace(RIGHT, cache_bytes=5))
    cases = {"fp32": Case(plain=RAN, ours=RIGHT), "bf16": wrong, "int8": wrong, "nf4": wrong}
    text = table.markdown([Outcome(model_type="made_up", cases=cases), Outcome(model_type="other", error="No | way.")])
    assert (
        "| made_up | ok | bytes off | bytes off | bytes off | bf16, int8, nf4: KV cache: 5 predicted, 4 held |" in text
    )
    assert "| other | not built | not built | not built | not built | No \\| way. |" in text
    assert "fp32: 1 ok, 1 not built" in text
