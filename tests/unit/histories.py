"""Comparisons for a history."""

from qplayground.core.comparison.baseline import refresh_divergence
from qplayground.core.comparison.results import Comparison
from qplayground.core.model import ModelSource
from tests.comparisons import change_model, comparison, done


def made(
    number: int, *names: str, prompt: str = "AI is", model: str = "demo", started_at: str | None = None
) -> Comparison:
    one = comparison(*(done(name) for name in names or ("fp32", "nf4")), prompt=prompt)
    one.id = f"{number:04}"
    one.started_at = started_at or f"2026-11-{number:02}T10:00:00+00:00"
    change_model(one, id=model, source=ModelSource.FOLDER)
    refresh_divergence(one)
    return one
