"""A comparison as a terminal table and as Markdown. A model's text is never markup."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from qplayground.core.comparison.caveats import caveats
from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.generation import GenerationSettings
from qplayground.core.memory.estimate import Estimate, Verdict, WeightKinds
from qplayground.core.memory.fit import Fit
from qplayground.core.messages.events import MemoryEstimated
from qplayground.core.model import ModelEntry, ModelSource
from qplayground.core.placement import Placement
from qplayground.report.estimate import estimate_json, estimate_table
from qplayground.report.html import to_html
from qplayground.report.markdown import to_markdown
from qplayground.report.table import outcome, plain_table, table_rows
from tests.comparisons import OUT_OF_MEMORY, cancelled, change_model, comparison, done, failed


def fenced_blocks(markdown: str) -> list[str]:
    """The contents of each fence, closed by CommonMark's rules: up to three spaces, and as many backticks or more."""
    blocks: list[str] = []
    fence = ""
    content: list[str] = []
    for line in re.split(r"\r\n|\r|\n", markdown):
        opening = re.fullmatch(r" {0,3}(`{3,})[^`]*", line)
        closing = re.fullmatch(r" {0,3}(`{3,})[ \t]*", line)
        if fence and closing and len(closing[1]) >= len(fence):
            blocks.append("\n".join(content))
            fence, content = "", []
        elif fence:
            content.append(line)
        elif opening:
            fence = opening[1]
    assert not fence, "a fence is left open"
    return blocks


# ---- the table ----------------------------------------------------------------------------------------------------


def test_a_row_of_figures() -> None:
    smaller = done("nf4")
    smaller.memory.weight_bytes = 113_000_000
    assert table_rows(comparison(done(), smaller)) == [
        (
            "Precision",
            "State",
            "Decode",
            "First token",
            "Prefill",
            "Load",
            "Weights",
            "RAM",
            "Peak RAM w/o scoring",
            "Tokens",
        ),
        (
            *("fp32 (baseline)", "done", "24.1 tok/s", "42.1 ms", "119 tok/s", "1.50 s"),
            *("538 MB", "1.00 GB", "1.20 GB", "3"),
        ),
        (
            *("nf4", "done", "24.1 tok/s ×1.0", "42.1 ms ×1.0", "119 tok/s ×1.0", "1.50 s ×1.0"),
            *("113 MB ×0.21", "1.00 GB ×1.0", "1.20 GB ×1.0", "3"),
        ),
    ]


def test_what_is_not_known_is_a_dash() -> None:
    heading, _, row = table_rows(comparison(done(), failed()))
    assert row == ("nf4", "failed", *("2" if title == "Tokens" else "–" for title in heading[2:]))


def test_an_edited_precision_says_so() -> None:
    edited = done("nf4")
    edited.precision = replace(edited.precision, dtype=Dtype.FLOAT16)
    assert table_rows(comparison(done(), edited))[2][0] == "nf4 (edited)"
    assert "## nf4 (edited)" in to_markdown(comparison(edited))
    assert "nf4 (edited)" in to_html(comparison(edited))


def test_the_plain_table_has_columns_that_line_up() -> None:
    lines = plain_table(comparison(done(), done("nf4"))).splitlines()
    assert lines[0].split("  ")[0] == "Precision"
    starts = [lines[0].index(heading) for heading in table_rows(comparison(done()))[0]]
    for row in (lines[1], lines[2], lines[3]):
        assert all(start == 0 or (row[start - 1] == " " and row[start] != " ") for start in starts), row


def test_the_plain_table_ends_with_every_text() -> None:
    table = plain_table(comparison(done(), failed(), cancelled()))
    assert "\n\n[fp32] AI is to help.\n" in table
    assert "\n\n[nf4] Memory ran out. Close other programs.\n" in table
    assert table.endswith("\n\n[int8] AI is to be … (stopped)")


def test_a_model_cannot_command_the_terminal() -> None:
    table = plain_table(comparison(done(text=" a\x1b[2J\rb\x07\x9b31m\n\tc")))
    assert table.endswith("[fp32] AI is a�[2J�b��31m\n\tc")


def test_outcomes() -> None:
    assert outcome(done()) == " to help."
    assert outcome(failed()) == str(OUT_OF_MEMORY)
    assert outcome(cancelled()) == " to be … (stopped)"


# ---- markdown -----------------------------------------------------------------------------------------------------


def test_markdown_has_a_table_with_a_row_a_run() -> None:
    three = comparison(done(), failed(), cancelled())
    lines, headings = to_markdown(three).splitlines(), table_rows(three)[0]
    first = lines.index("| " + " | ".join(headings) + " |")
    assert lines[first + 1].count("---") == len(headings)
    table = lines[first : first + 5]
    assert all(len(re.findall(r"(?<!\\)\|", line)) == len(headings) + 1 for line in table)
    assert lines[first + 5] == ""
    assert "| fp32 (baseline) | done | 24.1 tok/s |" in table[2]


def test_markdown_says_under_what_circumstances() -> None:
    text = to_markdown(comparison(done()))
    assert text.startswith("# SmolLM2-135M-Instruct (demo): 1 precision compared\n")
    assert r"Some \<CPU\> (AVX512), 2 threads; A \| GPU; torch 2.9.1, transformers 5.20" in text
    assert "at most 50 new tokens, greedy, baseline fp32" in text
    assert "from a package" in text
    dated = comparison(done())
    dated.started_at = "2026-11-21T16:50:09+00:00"
    assert "- Started: 2026-11-21 16:50:09 UTC\n" in to_markdown(dated)
    assert "- Machine: unknown\n" in to_markdown(comparison(done(), machine=None))


def test_reports_say_what_kinds_of_pages_the_ram_is_of() -> None:
    run = done()
    run.memory.anonymous_bytes, run.memory.file_bytes = 800_000_000, 200_000_000
    line = (
        "Of its 1.00 GB of RAM, 800 MB are anonymous, in RAM alone, and 200 MB are pages of mapped files, which the "
        "system can drop."
    )
    both = comparison(run, done("nf4"))
    assert to_markdown(both).splitlines().count(line) == 1
    assert to_html(both).count(f'<p class="quiet">{line}</p>') == 1


def test_markdown_names_the_settings_of_sampling() -> None:
    sampled = comparison(done())
    sampled.settings = GenerationSettings(do_sample=True, temperature=0.5, top_p=0.75, top_k=40, seed=7)
    assert "sampling (temperature 0.5, top-p 0.75, top-k 40, seed 7," in to_markdown(sampled)


def test_markdown_shows_every_text_error_and_stop_in_a_fence() -> None:
    blocks = fenced_blocks(to_markdown(comparison(done(), failed(), cancelled())))
    assert blocks == ["AI is", " to help.", str(OUT_OF_MEMORY), " to be … (stopped)"]


def test_names_are_no_markup() -> None:
    other = comparison(done(), model="/tmp/*a*_b_[c](d)<e>&lt;`f`|g\n# h")
    change_model(other, source=ModelSource.FOLDER)
    text = to_markdown(other)
    assert text.startswith(r"# /tmp/\*a\*\_b\_\[c\](d)\<e\>\&lt;\`f\`\|g # h: 1 precision compared")


def test_a_text_cannot_close_its_fence() -> None:
    for hostile in ("```\n# mine", "   ```\n# mine", "a ````` b\n`````", "\r```\r# mine", "```text\nx\n```"):
        blocks = fenced_blocks(to_markdown(comparison(done(text=hostile), prompt=hostile)))
        assert blocks == [hostile.replace("\r", "\n")] * 2


@given(st.text("` ~\na#", max_size=30), st.text("` ~\na#", max_size=30))
def test_no_text_can_close_its_fence(prompt: str, text: str) -> None:
    blocks = fenced_blocks(to_markdown(comparison(done(text=text), done("nf4"), prompt=prompt)))
    assert blocks == [prompt, text, " to help."]


def test_what_spoilt_a_run_is_said_beside_it() -> None:
    busy, quiet = done("fp32"), done("nf4")
    busy.speed.other_cpus, quiet.speed.other_cpus = 0.9, 0.19
    busy.load.other_cpus, quiet.load.other_cpus = 0.3, 0.2
    both = comparison(busy, quiet)
    (disturbed,) = caveats(both, busy)
    assert disturbed.sentence.startswith(
        "Other programs used 0.3 and 0.9 processors: disturbed while loading and writing"
    )
    assert caveats(both, quiet) == ()
    assert plain_table(both).count(disturbed.sentence) == 1
    assert to_markdown(both).count("Other programs used") == 1
    assert table_rows(both)[1][2:6] == ("24.1 tok/s*", "42.1 ms*", "119 tok/s*", "1.50 s*")
    assert "*" not in "".join(table_rows(both)[2])
    page = to_html(both)
    assert page.count("color-mix(in srgb, var(--hue-0) 25%") == 2 and "var(--hue-1) 25%" not in page
    assert page.count("; pale and *: disturbed") == 2 and "pale" not in to_html(comparison(quiet))


# ---- the estimate -------------------------------------------------------------------------------------------------


MODEL = ModelEntry(id="m", source=ModelSource.FOLDER, context_tokens=4096)


def test_a_cache_that_is_unknown_and_a_context_that_is_too_long_are_said() -> None:
    estimates = (
        Estimate(precision="fp32", unknown="X cannot be run."),
        Estimate(precision="bf16", unknown="X cannot be run."),
    )
    answer = MemoryEstimated(command_id=1, estimates=estimates, context_tokens=5000)
    shown = estimate_table(MODEL, Placement(), answer, dict.fromkeys(("fp32", "bf16"), Fit(Verdict.UNKNOWN)))
    assert shown.count("KV cache unknown: X cannot be run.") == 1
    assert "5,000 tokens are more than the 4,096 it was made for." in shown


def test_an_estimate_says_that_no_text_can_be_written() -> None:
    problem = ErrorInfo(ErrorCode.BROKEN_TOKENIZER, "tokenizer.json is damaged.", "Choose another model.")
    estimates = (Estimate(precision="fp32"),)
    answer = MemoryEstimated(command_id=1, estimates=estimates, context_tokens=9, tokenizer_problem=problem)
    fits = {"fp32": Fit(Verdict.UNKNOWN)}
    shown = estimate_table(MODEL, Placement(), answer, fits)
    assert "No text can be written with it. tokenizer.json is damaged. Choose another model." in shown
    assert json.loads(estimate_json(MODEL, Placement(), answer, fits))["tokenizer_error"]["code"] == "broken_tokenizer"


@pytest.mark.parametrize(
    ("device", "held", "said"),
    [
        ("auto", {"cpu": 5}, ""),
        ("cuda:1", {"cuda:1": 5}, ""),
        ("auto", {"cuda:0": 5}, "5 B on cuda:0"),
        ("auto", {"disk": 5}, "5 B on disk"),  # all of it, so the map has one entry
        ("auto", {"cpu": 5, "disk": 3}, "5 B in RAM, 3 B on disk"),
    ],
)
def test_where_weights_are_is_said_unless_it_was_asked_for(device: str, held: dict[str, int], said: str) -> None:
    kinds = {place: WeightKinds(plain=num_bytes) for place, num_bytes in held.items()}
    estimate = Estimate(precision="fp32", by_device=kinds, device_map={"": next(iter(held))})
    answer = MemoryEstimated(command_id=1, estimates=(estimate,), context_tokens=9, final=True)
    shown = estimate_table(MODEL, Placement(device=device), answer, {"fp32": Fit(Verdict.UNKNOWN)})
    assert [line for line in shown.splitlines() if "weights: " in line] == ([f"fp32: weights: {said}"] if said else [])
