"""Runs the program on the same folder, in this process: its figures, its text, and its script's text."""

import contextlib
import io
from pathlib import Path
from typing import Any

from qplayground.core.comparison.results import ComparedModel, Comparison, Mode, Run
from qplayground.core.errors import ErrorInfo
from qplayground.core.messages.commands import Generate
from qplayground.core.messages.events import Failed, Loaded
from qplayground.report.script import to_script
from tests.engine import tiny
from tests.engine.conftest import carry_out, tokens_of
from tests.sweep.building import NEW_TOKENS
from tests.sweep.outcome import Ours
from tests.sweep.plain import first_line

WITH_SCRIPT = ("fp32", "nf4")


def run(folder: Path, precision: str) -> Ours:
    """Load and generate, like a new engine."""
    request = tiny.request(max_new_tokens=NEW_TOKENS)
    events = carry_out(tiny.load_command(folder, precision, request), Generate(id=2, request=request))
    failed = next((event.error for event in events if isinstance(event, Failed)), None)
    loaded = next((event for event in events if isinstance(event, Loaded)), None)
    ours = Ours(ids=[token.id for token in tokens_of(events)])
    if loaded is not None and loaded.estimate is not None and loaded.by_kind is not None:
        ours.predicted_bytes, ours.held_bytes = loaded.estimate.by_kind.total, loaded.by_kind.total
        ours.unforeseen, ours.skips = list(loaded.unforeseen), list(loaded.skips)
        ours.cache_bytes, ours.unknown = loaded.estimate.kv_cache_bytes, loaded.estimate.unknown
    if failed is not None:
        _say(ours, failed)
    elif loaded is not None and precision in WITH_SCRIPT:
        _run_script(ours, folder, precision, loaded)
    return ours


def _say(ours: Ours, error: ErrorInfo) -> None:
    ours.error, ours.code, ours.detail = str(error), error.code, error.detail[:500]


def _run_script(ours: Ours, folder: Path, precision: str, loaded: Loaded) -> None:
    recipe, request = tiny.precision(precision), tiny.request(max_new_tokens=NEW_TOKENS)
    run = Run(
        id=recipe.name,
        model=ComparedModel("tiny", "folder", None, None, str(folder)),
        precision=recipe,
        device_map=loaded.device_map,
        skips=loaded.skips,
        attention=loaded.attention,
    )
    comparison = Comparison(
        environment=None,
        prompt=request.prompt,
        settings=request.settings,
        mode=Mode.ONCE,
        baseline=recipe.name,
        runs=[run],
    )
    names: dict[str, Any] = {}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(to_script(comparison, run), "script.py", "exec"), names)
        ours.script_ids = names["new_ids"]
    except Exception as error:
        ours.script_error = first_line(error)
