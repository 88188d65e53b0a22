"""A comparison as one HTML file that needs nothing else: figures, charts, texts. Model output is never markup."""

from html import escape

from qplayground.core.baseline import text_changes
from qplayground.core.caveats import spoilt
from qplayground.core.hues import hue
from qplayground.core.memory_segments import KINDS, RAM, VRAM, Place, memory_sentences
from qplayground.core.metrics import BY_KEY, Metric, beside_text, figure_text, range_text, shown_metrics
from qplayground.core.notes import notes_on
from qplayground.core.recommendation import recommendation
from qplayground.core.results import Comparison, Run
from qplayground.core.units import bytes_text
from qplayground.core.verdicts import source_text
from qplayground.report.describe import machine_text, name_text, settings_text, state_text, title_text, when_text
from qplayground.report.svg import Bar, bar_chart
from qplayground.report.table import outcome, quality_lines

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ground: #fff; --text: #1a1a1a; --quiet: #5c5c5c; --line: #c8c8c8; {light} }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ground: #1f1f1f; --text: #e8e8e8; --quiet: #ababab; --line: #4a4a4a; {dark} }}
}}
body {{ background: var(--ground); color: var(--text); font: 15px/1.45 system-ui, sans-serif; margin: 2em auto;
  max-width: 1100px; padding: 0 1em; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: right; padding: .25em .8em; border-bottom: 1px solid var(--line); white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; }}
small, .quiet {{ color: var(--quiet); }}
.wide {{ overflow-x: auto; }}
.chart text {{ fill: currentColor; font-size: 12px; }}
.chart line {{ stroke: currentColor; stroke-width: 1.5; }}
.charts {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 1.5em; }}
.runs {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 1.5em; }}
.text {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
h3 span {{ display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .5em; }}
ins {{ text-decoration: none; background: color-mix(in srgb, currentColor 14%, transparent); }}
del {{ color: var(--quiet); }}
.caveat {{ color: #b3261e; }}
@media (prefers-color-scheme: dark) {{ .caveat {{ color: #ffb4ab; }} }}
</style>
<h1>{title}</h1>
<p class="quiet">{circumstances}</p>
<h2>Figures</h2>
<div class="wide">{table}</div>
{advice}
<p class="quiet">RAM is the engine's whole resident memory, the libraries' share included. MB are 10<sup>6</sup> bytes.
× is the figure over the baseline's. Of a benchmark's rounds the median is given, with the lowest … highest. A figure
with * is spoilt; its text says by what.</p>
<div class="charts">{charts}</div>
<h2>Prompt</h2>
<p class="text">{prompt}</p>
<h2>Texts</h2>
<p class="quiet">Words that the baseline does not have are shaded; its own that are missing are struck out.</p>
<div class="runs">{runs}</div>
</html>
"""


_STRENGTHS = dict(zip(KINDS, (100, 75, 50, 50), strict=True))
_PALE = 25
_MEMORY_KEY = (
    ", what was predicted above what was measured: libraries (grey), quantized weights (full colour), their scales, "
    "weights left alone, KV cache and working memory (lightest), what no tensor accounts for (dark grey); |: peak. "
    "Point at a part for its name"
)


def to_html(comparison: Comparison) -> str:
    """The page. Nothing in it is fetched from anywhere, and no script runs in it."""
    names = [run.id for run in comparison.runs]
    advice = recommendation(comparison)
    return _PAGE.format(
        title=escape(title_text(comparison)),
        light=" ".join(f"--hue-{index}: {hue(name, False)};" for index, name in enumerate(names)),
        dark=" ".join(f"--hue-{index}: {hue(name, True)};" for index, name in enumerate(names)),
        circumstances="<br>".join(
            escape(line)
            for line in (
                machine_text(comparison),
                settings_text(comparison),
                when_text(comparison),
                *(model.provenance for model in comparison.models),
                _scored_text(comparison),
            )
            if line
        ),
        table=_table(comparison),
        advice=f"<p>{escape(advice)}</p>" if advice else "",
        charts="".join(f"<figure>{chart}</figure>" for chart in _charts(comparison)),
        prompt=escape(comparison.prompt),
        runs="".join(_run(comparison, run, index) for index, run in enumerate(comparison.runs)),
    )


def _scored_text(comparison: Comparison) -> str:
    scored = source_text(comparison)
    return f"Quality: {scored}" if scored else ""


def _table(comparison: Comparison) -> str:
    metrics = shown_metrics(comparison)
    heads = "".join(f'<th title="{escape(metric.description)}">{escape(metric.title)}</th>' for metric in metrics)
    rows = []
    for run in comparison.runs:
        name = escape(name_text(run)) + (" <small>baseline</small>" if run.id == comparison.baseline else "")
        cells = "".join(f"<td>{_cell(metric, run, comparison)}</td>" for metric in metrics)
        rows.append(f"<tr><td>{name}</td><td>{state_text(run)}</td>{cells}</tr>")
    return f"<table><tr><th>Precision</th><th>State</th>{heads}</tr>{''.join(rows)}</table>"


def _cell(metric: Metric, run: Run, comparison: Comparison) -> str:
    beside = beside_text(metric, run, comparison)
    spread = escape(range_text(metric, run))
    small = "<br>".join(filter(None, (spread, beside)))
    return escape(figure_text(metric, run, comparison)) + (f"<br><small>{small}</small>" if small else "")


def _charts(comparison: Comparison) -> list[str]:
    drawn = [(place.label.partition(",")[0], _memory(comparison, place)) for place in (RAM, VRAM)]
    charts = [f"<figcaption>{name}{_MEMORY_KEY}</figcaption>{chart}" for name, chart in drawn if chart]
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
        charts.append(f"<figcaption>{escape(metric.title)}{legend}</figcaption>{bar_chart(metric.title, bars)}")
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
    return bar_chart(place.label.partition(",")[0], bars) if bars else ""


def _fill(role: str, index: int) -> str:
    if role == "runtime":
        return "var(--line)"
    if role == "unexplained":
        return "var(--quiet)"
    return f"color-mix(in srgb, var(--hue-{index}) {_STRENGTHS.get(role, 20)}%, transparent)"


def _run(comparison: Comparison, run: Run, index: int) -> str:
    sentences = (*memory_sentences(run.memory), *quality_lines(comparison, run))
    notes = "".join(
        f'<p class="{"caveat" if note.spoils else "quiet"}">{escape(note.sentence)}</p>'
        for note in notes_on(comparison, run)
    ) + "".join(f'<p class="quiet">{escape(sentence)}</p>' for sentence in sentences)
    return (
        f'<section><h3><span style="background:var(--hue-{index})"></span>{escape(run.precision.label)}</h3>'
        f'<p class="quiet">{escape(run.precision.summary)}{_same(run)}</p>{notes}'
        f'<p class="text">{_marked(comparison, run)}</p></section>'
    )


def _same(run: Run) -> str:
    if run.divergence is None or run.divergence.first_token is None:
        return ""
    common = run.divergence.common_prefix_tokens
    return f"; the first {common} tokens are the baseline's" if common else "; it differs from the first token"


def _marked(comparison: Comparison, run: Run) -> str:
    if run.error is not None or run.divergence is None or run.id == comparison.baseline:
        return escape(outcome(run))
    baseline = comparison.run(comparison.baseline or "")
    return "".join(
        f"<ins>{escape(change.only_ours)}</ins>" * bool(change.only_ours)
        + f"<del>{escape(change.only_theirs)}</del>" * bool(change.only_theirs)
        + escape(change.kept + change.uncompared)
        for change in text_changes(run, baseline)
    )
