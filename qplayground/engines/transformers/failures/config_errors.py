"""Turns transformers' errors about a config.json into messages that name the field."""

import re
import traceback
from collections.abc import Iterable

from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassFieldValidationError

from qplayground.engines.transformers.failures.wording import first_line, shortened

_FIELD = re.compile(
    r"Field '(\w+)' (?:expected \w+, got \w+ \(value: (.*?)\)(?:;|$)|with value (.*?) doesn't match)", re.DOTALL
)
_KIND = re.compile(r"' expected (\w+), got")
_QUOTES = "'\""
_NUMBERS = {"float": float, "int": int}
_WORDS = {
    "float": "a float",
    "int": "an integer",
    "str": "text",
    "bool": "true or false",
    "NoneType": "null",
    "dict": "an object",
    "list": "a list",
}
_CHANGE = "Change it in config.json to what the original model has there."


def config_sentence(error: Exception) -> tuple[str, str]:
    """What is wrong, and what to do."""
    text = str(error)
    if isinstance(error, StrictDataclassFieldValidationError):
        return _field(text)
    if isinstance(error, StrictDataclassClassValidationError):
        reason = shortened(text.partition("Error: ")[2].strip() or text)
        return f"The fields of config.json do not fit together: {reason}", "Compare them with the original model's."
    if isinstance(error, KeyError) and _was_raised_in(error, "transformers.activations"):
        return (
            f"config.json names {error.args[0]!r} as an activation function, which transformers does not know.",
            "Correct the field that names it, hidden_act as a rule.",
        )
    if isinstance(error, KeyError) and re.fullmatch(r"\w+", str(error.args[0])):
        return f"A part of config.json lacks the field {error.args[0]}, which transformers needs.", _CHANGE
    return (
        f"transformers cannot build the model that config.json describes: {first_line(error)}",
        "Compare config.json with the original model's. A newer transformers may know a newer model.",
    )


def _was_raised_in(error: Exception, module: str) -> bool:
    frames = traceback.walk_tb(error.__traceback__)
    return module in (frame.f_globals.get("__name__") for frame, _ in frames)


def _field(text: str) -> tuple[str, str]:
    """One field has the wrong type. Where several types are allowed, the library lists each one it expected."""
    found = _FIELD.search(text)
    kinds = dict.fromkeys(_KIND.findall(text))
    if found is None or not kinds:
        return f"config.json has a field that transformers refuses: {shortened(text)}", _CHANGE
    name, value = found[1], found[2] or found[3]
    wanted = " or ".join(_WORDS.get(kind, kind) for kind in kinds)
    said = shortened("null" if value == "None" else value)
    return f"config.json: {name} must be {wanted}, and it is {said}", _hint(kinds, value)


def _hint(kinds: Iterable[str], value: str) -> str:
    """A number written as text, or without its point, gets an exact correction."""
    for kind in kinds:
        try:
            return f"Write it in config.json as the number {_NUMBERS[kind](value.strip(_QUOTES))}."
        except (KeyError, ValueError, OverflowError):
            continue
    return _CHANGE
