"""What a precision costs, in words."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from qplayground.core.commentary.verdicts import coarse_sentence, quality_sentence
from qplayground.core.comparison.results import Comparison
from qplayground.core.measures.quality import Evaluation, Quality
from qplayground.report.html import to_html
from qplayground.report.markdown import to_markdown
from qplayground.report.table import plain_table
from tests.comparisons import comparison, done


def scored(change: float, error: float, *, tokens: int = 1024, text: str = "builtin", of: int = 8883) -> Comparison:
    """fp32, and an nf4 whose perplexity differs by `change`, for a text of `tokens` tokens."""
    wide, narrow = done("fp32"), done("nf4")
    wide.quality = Quality(text=text, scored_tokens=tokens, perplexity=20.0, perplexity_se=1.0)
    narrow.quality = replace(
        wide.quality,
        perplexity=20.0 * (1 + change),
        reference="fp32",
        ppl_ratio=1 + change,
        ppl_ratio_se=error,
        mean_kld=0.02,
        same_top1=0.9,
    )
    shown = comparison(wide, narrow)
    shown.evaluation = Evaluation(text=text, text_sha256="ab" * 32, text_tokens=of, window=256, stride=1232)
    return shown


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (0.011, 0.0076, "no clear difference in perplexity (+1.10 ± 0.76 %, less than twice the error)"),
        (-0.017, 0.025, "no clear difference in perplexity (-1.7 ± 2.5 %, less than twice the error)"),
        (0.262, 0.019, "its perplexity is 26.2 ± 1.9 % higher"),
        (-0.05, 0.012, "its perplexity is 5.0 ± 1.2 % lower"),
        (0.0, 0.0, "its perplexity is the same;"),
        (0.012, 0.0, "its perplexity is 1.20 % higher"),
    ],
)
def test_a_difference_is_clear_from_twice_its_error_on(change: float, error: float, words: str) -> None:
    shown = scored(change, error)
    assert words in (quality_sentence(shown, shown.runs[1]) or "")


def test_what_too_few_tokens_hide_is_said_with_what_to_do() -> None:
    shown = scored(-0.017, 0.025, tokens=128, text="mine.txt", of=295)
    said = coarse_sentence(shown, shown.runs[1])
    assert said == (
        "nf4: only 128 tokens were scored, so that a loss in perplexity of less than about 5.0 % cannot be told from "
        "chance. Score a longer text or the built-in one."
    )
    assert coarse_sentence(shown, shown.runs[0]) is None
    assert said in plain_table(shown) and said in to_html(shown) and said in to_markdown(shown)


@pytest.mark.parametrize(
    ("text", "of", "ways"),
    [
        ("mine.txt", 383, "Score a longer text or the built-in one."),
        ("mine.txt", 384, "Score more of this text, a longer text or the built-in one."),
        ("builtin", 8883, "Score more of this text or a longer text."),
    ],
)
def test_more_of_a_text_is_advised_as_long_as_there_is_more(text: str, of: int, ways: str) -> None:
    shown = scored(0.0, 0.02, tokens=128, text=text, of=of)
    assert (coarse_sentence(shown, shown.runs[1]) or "").endswith(ways)


@pytest.mark.parametrize(("change", "error"), [(0.011, 0.0076), (0.262, 0.019), (0.09, 0.03)])
def test_nothing_is_said_of_small_errors_and_of_losses_that_are_seen(change: float, error: float) -> None:
    shown = scored(change, error)
    assert coarse_sentence(shown, shown.runs[1]) is None


@pytest.mark.parametrize("report", [plain_table, to_html, to_markdown])
def test_a_report_says_what_was_scored(report: Callable[[Comparison], str]) -> None:
    said = report(scored(0.0, 0.01)).replace("\\", "")
    assert "Quality: Compared with fp32 · Text: builtin, 8,883 tokens" in said
    assert "1,024 tokens scored · the second half of windows of 256, 1,232 apart" in said
    assert "Quality: " not in report(comparison(done()))


def test_a_gain_that_is_clear_may_still_be_chance() -> None:
    shown = scored(-0.08, 0.03, tokens=128)
    assert "less than about 6.0 %" in (coarse_sentence(shown, shown.runs[1]) or "")
