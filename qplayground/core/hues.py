"""One hue and one line style a precision, the same in the window and in every report."""

from qplayground.core.quantizers.registry import READY

HUES: dict[str, tuple[str, str]] = {
    # Okabe & Ito's set: on light, on dark. Shifted in lightness alone, and only as far as a contrast of 3:1 asks.
    "black": ("#000000", "#E6E6E6"),
    "sky blue": ("#1C92D4", "#56B4E9"),
    "blue": ("#0072B2", "#007ABF"),
    "orange": ("#B87F00", "#E69F00"),
    "bluish green": ("#009E73", "#009E73"),
    "yellow": ("#958B0C", "#F0E442"),
    "vermillion": ("#D55E00", "#D55E00"),
    "reddish purple": ("#C76C9F", "#CC79A7"),
}
LINES = ("solid", "dash", "dot", "dash dot", "dash dot dot")
_READY = {ready.name: (ready.hue, ready.line) for ready in READY}
# Ready precisions use up the eight hues, so a custom one shares a hue and never both hue and line. The hues
# of the precisions that are seldom ticked come first.
_CUSTOM_ORDER = ("fp4-dq", "nf4-dq", "fp16", "fp4", "int8", "nf4", "bf16", "fp32")
_custom_places: dict[str, int] = {}


def hue(name: str, dark: bool) -> str:
    """The hue of the precision of that name as `#RRGGBB`, for a light or a dark ground."""
    return HUES[_hue_and_line(name)[0]][dark]


def line(name: str) -> str:
    """The line style of the precision of that name, one of LINES."""
    return LINES[_hue_and_line(name)[1]]


def is_shared(name: str) -> bool:
    """Whether that precision has the hue of one before it, so that the hue alone does not tell it."""
    own = _hue_and_line(name)[0]
    return name != next(ready for ready, (hue, _) in _READY.items() if hue == own)


def rename(old: str, new: str) -> None:
    """Let a custom precision keep its hue and line under another name."""
    if old in _custom_places and new not in _custom_places:
        _custom_places[new] = _custom_places.pop(old)


def _hue_and_line(name: str) -> tuple[str, int]:
    if name in _READY:
        return _READY[name]
    place = _custom_places.setdefault(name, len(_custom_places))
    turn, index = divmod(place, len(_CUSTOM_ORDER))
    shared, _ = _READY[_CUSTOM_ORDER[index]]
    taken = {line for hue, line in _READY.values() if hue == shared}
    free = [line for line in range(len(LINES)) if line not in taken]
    return shared, free[turn % len(free)]
