"""A comparison as a table for spreadsheets: one row a run, units in the headings, every digit."""

import csv
import io

from qplayground.core.comparison.caveats import caveats
from qplayground.core.comparison.metrics import METRICS, Metric, ratio, shown_metrics
from qplayground.core.comparison.results import Comparison, Run
from qplayground.core.measures.samples import Samples

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(comparison: Comparison) -> str:
    """RFC 4180, with a heading. Texts that a spreadsheet would take for formulas are quoted by an apostrophe."""
    output = io.StringIO()
    writer = csv.writer(output)
    writer.writerow(
        [
            "precision",
            "recipe",
            "state",
            "baseline",
            *(f"{metric.key} ({metric.unit})" for metric in METRICS),
            *(f"{metric.key} / baseline" for metric in METRICS if metric.more_is_better is not None),
            *(f"{metric.key} {what}" for metric in _sampled(comparison) for what in ("n", "mean", "sd")),
            "mode",
            "caveats",
            "not known",
            "text",
            "error",
        ]
    )
    for run in comparison.runs:
        samples = [metric.spread(run) for metric in _sampled(comparison)]
        writer.writerow(
            [
                _harmless(run.id),
                _harmless(run.precision.summary),
                run.state,
                run.id == comparison.baseline,
                *(metric.read(run) for metric in METRICS),
                *(ratio(metric, run, comparison) for metric in METRICS if metric.more_is_better is not None),
                *(figure for found in samples for figure in _summary(found)),
                comparison.mode,
                _harmless(" ".join(caveat.sentence for caveat in caveats(comparison, run))),
                _harmless(_not_known(comparison, run)),
                _harmless(run.text),
                _harmless("" if run.error is None else str(run.error)),
            ]
        )
    return output.getvalue()


def _not_known(comparison: Comparison, run: Run) -> str:
    """Which figures its engine cannot give, and why: `weight_bytes, resident_bytes: The model is elsewhere.`"""
    keys: dict[str, list[str]] = {}
    for metric in shown_metrics(comparison):
        if metric.reason_missing(run):
            keys.setdefault(metric.reason_missing(run), []).append(metric.key)
    return " ".join(f"{', '.join(each)}: {reason}" for reason, each in keys.items())


def _sampled(comparison: Comparison) -> list[Metric]:
    return [metric for metric in METRICS if any(metric.spread(run) is not None for run in comparison.runs)]


def _summary(samples: Samples | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if samples is None else (samples.n, samples.mean, samples.sd)


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
