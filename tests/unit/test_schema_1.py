"""Files of the first version still open, with every figure: a comparison as JSON, and a history."""

import json
import shutil
from pathlib import Path

import pytest

from qplayground.core.comparison.results import TRANSFORMERS, from_json, to_json
from qplayground.core.errors import PlaygroundError
from qplayground.runtime.storage.history import History

DATA = Path(__file__).parents[1] / "data"
COMPARISON = (DATA / "comparison-schema-1.json").read_bytes()
"""The demo model in three precisions, scored. Written by version 0.1.0 with `compare --json`."""


def test_every_field_is_still_there() -> None:
    before = json.loads(COMPARISON)
    after = json.loads(to_json(from_json(COMPARISON)))

    assert (before["schema"], after["schema"]) == (1, 2)
    model, runs = before.pop("model"), before.pop("runs")
    found = after.pop("runs")
    assert {**after, "schema": 1} == before
    assert len(found) == len(runs) == 3
    for old, new in zip(runs, found, strict=True):
        assert new.pop("id") == old.pop("precision")
        assert new.pop("precision") == old.pop("recipe")
        assert (new.pop("model"), new.pop("engine"), new.pop("lacks")) == (model, TRANSFORMERS, {})
        assert new == old


def test_a_history_of_the_first_version_opens(tmp_path: Path) -> None:
    """It holds the same comparison."""
    shutil.copy(DATA / "history-schema-1.sqlite3", tmp_path / "history.sqlite3")
    history = History(tmp_path / "history.sqlite3")
    (entry,) = history.entries()
    kept = history.load(entry.id)
    history.close()
    assert history.notice == "" and entry.precisions == "bf16, int8, nf4" and entry.state == "done"
    assert to_json(kept) == to_json(from_json(COMPARISON))


@pytest.mark.parametrize(
    ("find", "put", "part"),
    [
        (b'"model": {', b'"no_model": {', "missing required field `model`"),
        (b'"runs": [', b'"no_runs": [', "missing required field `runs`"),
        (b'"recipe": {', b'"no_recipe": {', "in its field runs[0]: Object missing required field `recipe`"),
        (b'"dtype": "bfloat16"', b'"dtype": "bfloat61"', "in its field runs[0].recipe.dtype"),
        (b'"precision": "int8"', b'"precision": "../x"', "its field runs[1].precision cannot be a name"),
        (b'"architecture": "', b'"architecture": 5, "": "', "in its field model.architecture"),
    ],
)
def test_what_is_wrong_is_named_as_the_file_has_it(find: bytes, put: bytes, part: str) -> None:
    assert find in COMPARISON
    with pytest.raises(PlaygroundError) as refused:
        from_json(COMPARISON.replace(find, put, 1))
    assert part in str(refused.value)
