"""What a library said, as the end of a sentence."""

_SAID_CHARACTERS = 300
_END_CHARACTERS = 100


def first_line(error: BaseException) -> str:
    """The kind of an exception and its first line that says something, as the end of a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shortened(f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__)


def shortened(said: str) -> str:
    """A library's words as the end of a sentence; of long ones the beginning and the end."""
    said = " ".join(said.split())
    if len(said) > _SAID_CHARACTERS:
        said = f"{said[: _SAID_CHARACTERS - _END_CHARACTERS]} … {said[-_END_CHARACTERS:]}"
    return said if said.endswith(".") else f"{said}."
