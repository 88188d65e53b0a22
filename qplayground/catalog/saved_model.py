"""Checks whether the model of a saved comparison is still in its folder."""

from pathlib import Path

from qplayground.catalog.inspect import inspect_folder
from qplayground.core.comparison.results import ComparedModel
from qplayground.core.model import ModelSource


def saved_model_obstacle(model: ComparedModel) -> str:
    """A sentence why the weights cannot be inspected; empty if they can. Reads the headers of the model's files.

    Another model in the same folder is detected by its architecture and number of parameters.
    """
    if not model.path or not Path(model.path).is_dir():
        return "The model of this comparison is no longer on this machine, so Inside cannot open it."
    entry = inspect_folder(Path(model.path), source=ModelSource.FOLDER, model_types=None)
    if entry.inside_path is None:
        return "The model of this comparison is no longer complete, so Inside cannot open it."
    now, then = (entry.architecture, entry.parameters), (model.architecture, model.parameters)
    if any(before is not None and before != found for found, before in zip(now, then, strict=True)):
        return "Another model has taken the place of this comparison's, so Inside cannot open it."
    return ""
