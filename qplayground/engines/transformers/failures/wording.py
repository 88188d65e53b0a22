"""A library's message, as the end of a sentence."""

_SAID_CHARACTERS = 300
_END_CHARACTERS = 100


def first_line(error: BaseException) -> str:
    """The exception's type and first non-empty line, as the end of a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shortened(f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__)


def shortened(said: str) -> str:
    """A library's message as the end of a sentence. A long one keeps its beginning and end."""
    said = " ".join(said.split())
    if len(said) > _SAID_CHARACTERS:
        said = f"{said[: _SAID_CHARACTERS - _END_CHARACTERS]} … {said[-_END_CHARACTERS:]}"
    return said if said.endswith(".") else f"{said}."
