"""Outcomes as lines, totals and a table."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.sweep.outcome import Outcome, Verdict
from tests.sweep.plain import PRECISIONS


def verdicts(outcome: Outcome) -> list[Verdict]:
    """One verdict for each precision."""
    if outcome.ended:
        return [Verdict.FAILED] * len(PRECISIONS)
    if outcome.error:
        return [Verdict.NOT_BUILT] * len(PRECISIONS)
    return [case.verdict for case in outcome.cases.values()]


def line(outcome: Outcome) -> str:
    """A type's verdicts, with the reasons of those that are not ok."""
    if outcome.error or outcome.ended:
        return f"{outcome.model_type}: {outcome.error or outcome.ended}"
    said = ", ".join(f"{name} {case.verdict}" for name, case in outcome.cases.items())
    reasons = "".join(f"\n    {reason}" for reason in _reasons(outcome))
    return f"{outcome.model_type} ({outcome.written}, {outcome.seconds:g} s): {said}{reasons}"


def totals(outcomes: Sequence[Outcome]) -> str:
    """How many types have each verdict, by precision."""
    lines = []
    for place, precision in enumerate(PRECISIONS):
        counts = Counter(verdicts(outcome)[place] for outcome in outcomes)
        said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
        lines.append(f"{precision}: {said}")
    return "\n".join(lines)


def markdown(outcomes: Sequence[Outcome]) -> str:
    """Totals, then a row for each type."""
    rows = [("type", *PRECISIONS, "why"), ("---",) * (len(PRECISIONS) + 2)]
    rows += [
        (outcome.model_type, *verdicts(outcome), outcome.error or outcome.ended or "<br>".join(_reasons(outcome)))
        for outcome in outcomes
    ]
    body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    return f"{totals(outcomes)}\n\n{body}"


def _reasons(outcome: Outcome) -> Iterator[str]:
    """Each reason once, with its precisions."""
    by_reason: dict[str, list[str]] = {}
    for precision, case in outcome.cases.items():
        if case.reason:
            by_reason.setdefault(case.reason, []).append(precision)
    for reason, precisions in by_reason.items():
        yield f"{', '.join(precisions)}: {reason}"
