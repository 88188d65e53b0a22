"""Converts a comparison to rows of the history and back."""

from collections.abc import Mapping, Sequence

import msgspec

from qplayground.core.comparison.results import Comparison, Mode, RunState, from_json
from qplayground.core.errors import ErrorCode, fail

_SAVE = """
INSERT INTO comparisons (id, started_at, model, precisions, prompt, state, search) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET precisions = excluded.precisions, state = excluded.state, search = excluded.search
"""
_PUT = "INSERT OR REPLACE INTO contents (id, part, json) VALUES (?, ?, ?)"
_PLACE = "INSERT OR REPLACE INTO placements (id, placed) VALUES (?, ?)"
_TIDY = "DELETE FROM contents WHERE id = ? AND part <> ? AND part NOT IN (SELECT value FROM json_each(?))"
HEAD = ""
"""The part that holds the comparison itself, not a run."""
_SHOWN_PROMPT = 200

Statement = tuple[str, tuple[object, ...]]
"""SQL and its values."""


class HistoryEntry(msgspec.Struct, frozen=True):
    """A comparison in the history's list. `prompt` is its beginning.

    `state` begins with running, done, failed, stopped or unfinished. Unfinished: on another machine, where it may have
    stopped unnoticed. `placed` is the comparison's; also empty if an earlier version saved it.
    """

    id: str
    started_at: str
    model: str
    precisions: str
    prompt: str
    state: str
    note: str
    placed: str = ""


class _Head(msgspec.Struct):
    """A comparison without its runs, and their order. Each run is a part of its own, written when it ends."""

    comparison: Comparison
    order: list[str]


class _RawHead(msgspec.Struct):
    comparison: dict[str, msgspec.Raw]
    order: list[str]


def statements_to_save(comparison: Comparison, changed: Sequence[str] | None = None) -> list[Statement]:
    """The statements of `History.save`: list entry, head, and the changed runs (None: all)."""
    entry = _entry(comparison)
    head = msgspec.json.encode(_Head(msgspec.structs.replace(comparison, runs=[]), _names(comparison)))
    runs = [run for run in comparison.runs if changed is None or run.id in changed]
    values = (entry.id, entry.started_at, entry.model, entry.precisions, entry.prompt, entry.state)
    return [
        (_SAVE, (*values, _search_text(comparison))),
        *([(_PLACE, (entry.id, entry.placed))] if entry.placed else []),
        (_PUT, (entry.id, HEAD, head)),
        (_TIDY, (entry.id, HEAD, msgspec.json.encode(_names(comparison)).decode())),
        *((_PUT, (entry.id, run.id, msgspec.json.encode(run))) for run in runs),
    ]


def joined(parts: Mapping[str, bytes]) -> Comparison:
    """The comparison made of these parts. Raises PlaygroundError(BAD_FILE) if they are damaged."""
    try:
        head = msgspec.json.decode(parts[HEAD], type=_RawHead)
        there = [name for name in head.order if name in parts]  # a run may have been deleted meanwhile
        baseline = head.comparison["baseline"]
        if msgspec.json.decode(baseline) not in there:
            baseline = msgspec.Raw(b"null")
        runs = [msgspec.Raw(parts[name]) for name in there]
        whole = msgspec.json.encode({**head.comparison, "baseline": baseline, "runs": runs})
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError, TypeError) as error:
        hint = "Delete it, and run it again."
        raise fail(ErrorCode.BAD_FILE, "This comparison is damaged.", hint, repr(error)) from error
    return from_json(whole)


def as_stopped(comparison: Comparison) -> Comparison:
    """Mark unfinished runs as stopped: nothing runs them after the comparison was read from a file."""
    for run in comparison.runs:
        if not run.state.is_final:
            begun, run.state = run.state is not RunState.QUEUED, RunState.CANCELLED
            if begun:
                run.finish_reason = run.finish_reason or "cancelled"
    return comparison


def _entry(comparison: Comparison) -> HistoryEntry:
    states = {run.state for run in comparison.runs}
    stopped = any(run.quality is not None and run.quality.was_stopped for run in comparison.runs)
    is_done = states == {RunState.DONE} and not stopped
    state = "done" if is_done else "failed" if RunState.FAILED in states else "stopped"
    return HistoryEntry(
        id=comparison.id,
        started_at=comparison.started_at,
        model=comparison.title,
        precisions=", ".join(_names(comparison)),
        prompt=" ".join(comparison.prompt[:_SHOWN_PROMPT].split()),
        state=state if comparison.mode is Mode.ONCE else f"{state}, {comparison.mode}",
        note="",
        placed=comparison.placed,
    )


def _search_text(comparison: Comparison) -> str:
    parts = (comparison.started_at, comparison.title, comparison.prompt, comparison.placed, *_names(comparison))
    return " ".join((*parts, "")).casefold()


def _names(comparison: Comparison) -> list[str]:
    return [run.id for run in comparison.runs]
