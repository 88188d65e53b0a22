"""The recommended precision, in a sentence that the figures support."""

import pytest
from markupsafe import escape
from msgspec.structs import replace

from qplayground.core.commentary.recommendation import recommendation
from qplayground.core.comparison.results import Comparison, Run, RunState
from qplayground.core.measures.quality import Evaluation, Quality
from qplayground.report.html import to_html
from qplayground.report.markdown import to_markdown
from qplayground.report.table import plain_table
from tests.comparisons import comparison, done, failed

SIZES = {"fp32": 538_000_000, "bf16": 269_000_000, "int8": 163_000_000, "nf4": 116_000_000}


def scored(name: str, change: float, error: float, speed: float = 12.0, *, against: str = "fp32") -> Run:
    run = done(name)
    run.memory.weight_bytes, run.speed.decode_tokens_per_s = SIZES[name], speed
    run.quality = Quality(
        text="builtin", scored_tokens=1024, perplexity=20.0, reference=against, ppl_ratio=1 + change, ppl_ratio_se=error
    )
    return run


def compared(*candidates: Run) -> Comparison:
    """These runs beside an fp32 that decodes 24 tokens a second."""
    wide = done("fp32")
    wide.memory.weight_bytes, wide.speed.decode_tokens_per_s = SIZES["fp32"], 24.0
    wide.quality = Quality(text="builtin", scored_tokens=1024, perplexity=20.0)
    shown = comparison(wide, *candidates)
    shown.evaluation = Evaluation(text="builtin", text_sha256="ab" * 32, text_tokens=8883, window=256, stride=1232)
    return shown


def test_the_smallest_without_a_clear_loss_is_named_with_its_speed_everywhere() -> None:
    shown = compared(scored("bf16", 0.001, 0.001), scored("int8", 0.011, 0.0076, 11.0), scored("nf4", 0.262, 0.019))
    said = (
        "Pick int8. Its weights take 163 MB, 30.3 % of fp32's, with no clear loss in perplexity on this text. "
        "It decodes at 0.46 times the speed of fp32."
    )
    assert recommendation(shown) == said
    assert said in plain_table(shown) and said in to_markdown(shown) and escape(said) in to_html(shown)


@pytest.mark.parametrize(("change", "is_picked"), [(0.0, True), (0.0199, True), (0.0201, False), (-0.05, True)])
def test_a_loss_is_clear_from_twice_its_error_on(change: float, is_picked: bool) -> None:
    said = recommendation(compared(scored("nf4", change, 0.01))) or ""
    assert said.startswith(f"Pick {'nf4' if is_picked else 'fp32'}. ")
    assert is_picked or said.endswith(
        " Each smaller precision that was scored has a clearly higher perplexity on this text."
    )


def test_a_reference_that_is_the_smallest_is_named_as_such() -> None:
    shown = compared(scored("nf4", 0.0, 0.0))
    narrow, wide = shown.runs[1], shown.runs[0]
    narrow.quality, wide.quality = wide.quality, replace(narrow.quality, reference="nf4")  # type: ignore[type-var]
    said = "Pick nf4. No other precision that was scored has smaller weights."
    assert recommendation(shown) == said


def test_what_too_few_tokens_hide_is_not_picked_and_not_passed_over() -> None:
    shown = compared(scored("int8", 0.001, 0.002), scored("nf4", 0.01, 0.02))
    assert recommendation(shown) == (
        "No precision can be picked yet: too few tokens were scored to see a loss of nf4. "
        "Score more of this text or a longer text."
    )
    shown = compared(scored("int8", 0.01, 0.02), scored("nf4", 0.001, 0.002))  # nf4 is smaller, whatever int8 loses
    assert "Pick nf4." in (recommendation(shown) or "")


def test_a_speed_that_is_spoilt_or_not_there_is_no_figure() -> None:
    shown = compared(scored("nf4", 0.0, 0.001))
    shown.runs[0].speed.other_cpus = 1.5
    assert (recommendation(shown) or "").endswith("The speeds cannot be compared: something disturbed them (*).")
    shown.runs[0].speed.other_cpus = shown.runs[1].speed.decode_tokens_per_s = None
    assert (recommendation(shown) or "").endswith("The speed was not measured.")


def test_nothing_is_said_where_the_figures_are_not_there() -> None:
    assert recommendation(comparison(done("fp32"), done("nf4"))) is None
    assert recommendation(compared()) is None
    assert recommendation(compared(failed("nf4"))) is None
    waiting = compared(scored("int8", 0.0, 0.001), scored("nf4", 0.0, 0.001))
    waiting.runs[2].state = RunState.SCORING
    assert recommendation(waiting) is None
    mixed = compared(scored("int8", 0.0, 0.001), scored("nf4", 0.0, 0.001, against="int8"))
    assert recommendation(mixed) is None
    shown = compared(scored("nf4", 0.0, 0.001))
    del shown.runs[0]  # its reference was removed
    assert recommendation(shown) is None
    shown = compared(scored("nf4", 0.0, 0.001))
    shown.runs[1].memory.weight_bytes = None
    assert recommendation(shown) is None


def test_one_that_failed_is_passed_over() -> None:
    said = recommendation(compared(scored("int8", 0.0, 0.001), failed("nf4"))) or ""
    assert said.startswith("Pick int8.")
