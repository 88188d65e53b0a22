"""A comparison as one HTML file that needs nothing else: figures, charts, texts. Model output is never markup."""

from functools import cache

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from qplayground.core.commentary.notes import notes_on
from qplayground.core.commentary.recommendation import recommendation
from qplayground.core.commentary.verdicts import source_text
from qplayground.core.comparison.baseline import text_changes
from qplayground.core.comparison.caveats import spoilt
from qplayground.core.comparison.memory_segments import KINDS, RAM, VRAM, Place, memory_sentences
from qplayground.core.comparison.metrics import BY_KEY, Metric, beside_text, figure_text, range_text, shown_metrics
from qplayground.core.comparison.results import Comparison, Run
from qplayground.core.hues import hue
from qplayground.core.system.resources import resource
from qplayground.core.units import bytes_text
from qplayground.report.describe import machine_text, name_text, settings_text, state_text, title_text, when_text
from qplayground.report.svg import Bar, bar_chart
from qplayground.report.table import outcome, quality_lines

_STRENGTHS = dict(zip(KINDS, (100, 75, 50, 50), strict=True))
_PALE = 25
_MEMORY_KEY = (
    ", predicted above measured. The parts are libraries (grey), quantized weights (full colour), their scales, "
    "weights left alone, KV cache and working memory (lightest). Dark grey is what no tensor accounts for; | is the "
    "peak. Point at a part for its name"
)


def to_html(comparison: Comparison) -> str:
    """The page. Nothing in it is fetched from anywhere, and no script runs in it."""
    return _template().render(
        comparison=comparison,
        title=title_text(comparison),
        names=[run.id for run in comparison.runs],
        hue=hue,
        circumstances=list(filter(None, _circumstances(comparison))),
        metrics=shown_metrics(comparison),
        name_text=name_text,
        state_text=state_text,
        figure_text=figure_text,
        small_texts=_small_texts,
        advice=recommendation(comparison),
        charts=_charts(comparison),
        same_text=_same_text,
        notes_on=notes_on,
        sentences=lambda run: (*memory_sentences(run.memory), *quality_lines(comparison, run)),
        changes=lambda run: _changes(comparison, run),
    )


@cache
def _template() -> Template:
    source = resource("report.html.j2").read_text("utf-8")
    settings = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return settings.from_string(source)


def _circumstances(comparison: Comparison) -> tuple[str, ...]:
    scored = source_text(comparison)
    return (
        machine_text(comparison),
        settings_text(comparison),
        when_text(comparison),
        *(model.provenance for model in comparison.models),
        f"Quality: {scored}" if scored else "",
    )


def _small_texts(metric: Metric, run: Run, comparison: Comparison) -> list[str]:
    return list(filter(None, (range_text(metric, run), beside_text(metric, run, comparison))))


def _charts(comparison: Comparison) -> list[tuple[str, Markup]]:
    """With their captions."""
    drawn = [(place.name, _memory(comparison, place)) for place in (RAM, VRAM)]
    charts = [(f"{name}{_MEMORY_KEY}", Markup(chart)) for name, chart in drawn if chart]
    for key in ("decode_tokens_per_s", "ttft_s"):
        metric = BY_KEY[key]
        bars, any_doubtful = [], False
        for index, run in enumerate(comparison.runs):
            value, spread = metric.read(run), metric.spread(run)
            if value is not None:
                whisker = (min(spread.values), max(spread.values)) if spread is not None and spread.n > 1 else None
                text = figure_text(metric, run, comparison)
                is_doubtful = key in spoilt(comparison, run)
                any_doubtful |= is_doubtful
                fill = f"color-mix(in srgb, var(--hue-{index}) {_PALE}%, transparent)"
                fill = fill if is_doubtful else f"var(--hue-{index})"
                bars.append(Bar(run.id, [(value, fill, text)], text, whisker))
        legend = "; line: lowest to highest sample" if any(bar.whisker for bar in bars) else ""
        legend += "; pale and *: disturbed, and no ranking, see the notes beside the texts" if any_doubtful else ""
        charts.append((f"{metric.title}{legend}", Markup(bar_chart(metric.title, bars))))
    return charts


def _memory(comparison: Comparison, place: Place) -> str:
    """Two bars a run, as the window draws them: what was predicted, if it was, and below it what was measured."""
    bars = []
    for index, run in enumerate(comparison.runs):
        measured = place.measured(run.memory)
        if not measured:
            continue
        predicted = place.predicted(run.memory)
        for what, segments in (("predicted", predicted), ("measured", measured)):
            parts = [
                (float(part.num_bytes), _fill(part.role, index), f"{what}: {part.name} {bytes_text(part.num_bytes)}")
                for part in segments
                if part.num_bytes
            ]
            text = f"{bytes_text(sum(part.num_bytes for part in segments))} {what}"
            is_second = what == "measured" and bool(predicted)
            mark = place.peak(run.memory) if what == "measured" else None
            if segments:
                bars.append(Bar("" if is_second else run.id, parts, text, mark=mark, is_joined=is_second))
    return bar_chart(place.name, bars) if bars else ""


def _fill(role: str, index: int) -> str:
    if role == "runtime":
        return "var(--line)"
    if role == "unexplained":
        return "var(--quiet)"
    return f"color-mix(in srgb, var(--hue-{index}) {_STRENGTHS.get(role, 20)}%, transparent)"


def _same_text(run: Run) -> str:
    if run.divergence is None or run.divergence.first_token is None:
        return ""
    common = run.divergence.common_prefix_tokens
    return f"; the first {common} tokens are the baseline's" if common else "; it differs from the first token"


def _changes(comparison: Comparison, run: Run) -> list[tuple[str, str, str]]:
    """The text in pieces: what only it has, what only the baseline's has, what follows in both."""
    if run.error is not None or run.divergence is None or run.id == comparison.baseline:
        return [("", "", outcome(run))]
    baseline = comparison.run(comparison.baseline or "")
    return [
        (change.only_ours, change.only_theirs, change.kept + change.uncompared)
        for change in text_changes(run, baseline)
    ]
