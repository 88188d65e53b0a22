"""Comparisons that the first version wrote: one model for all runs, which were named after their precision."""

import re

import msgspec

_Fields = dict[str, msgspec.Raw]


def upgraded(data: bytes) -> bytes:
    """The JSON of schema 1 as that of schema 2. Raises msgspec.MsgspecError where it is not whole."""
    comparison = msgspec.json.decode(data, type=_Fields)
    model = _taken(comparison, "model", "")
    runs = msgspec.json.decode(_taken(comparison, "runs", ""), type=list[_Fields])
    comparison["runs"] = msgspec.Raw(msgspec.json.encode([_run(run, model, at) for at, run in enumerate(runs)]))
    return msgspec.json.encode({**comparison, "schema": 2})


def as_written(sentence: str) -> str:
    """A sentence that names fields of schema 2, with the names that schema 1 has for them."""
    sentence = re.sub(r"\bruns\[\d+\]\.model\b", "model", sentence)
    sentence = re.sub(r"(\bruns\[\d+\])\.precision\b", r"\1.recipe", sentence)
    return re.sub(r"(\bruns\[\d+\])\.id\b", r"\1.precision", sentence)


def _run(run: _Fields, model: msgspec.Raw, index: int) -> _Fields:
    place = f".runs[{index}]"
    return {"id": _taken(run, "precision", place), "precision": _taken(run, "recipe", place), "model": model, **run}


def _taken(fields: _Fields, name: str, place: str) -> msgspec.Raw:
    if name not in fields:
        raise msgspec.ValidationError(f"Object missing required field `{name}` - at `${place}`")
    return fields.pop(name)
