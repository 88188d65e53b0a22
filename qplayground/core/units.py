"""Figures as people read them: three significant digits and a unit. Megabytes are 10^6 bytes."""

import math


def significant(value: float, digits: int = 3) -> str:
    """`value` with that many significant digits and no exponent; `–` for what is not a number."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    rounded = round(value, places)
    if rounded and math.floor(math.log10(abs(rounded))) > math.floor(math.log10(abs(value))):
        places = max(0, places - 1)  # 9.999 became 10.00
    return f"{rounded:,.{places}f}"


def bytes_text(count: int | None) -> str:
    """538060288 → `538 MB`."""
    return _scaled(count, ("TB", "GB", "MB", "kB", "B"))


def seconds_text(seconds: float | None) -> str:
    """0.0421 → `42.1 ms`."""
    if seconds is None:
        return "–"
    return f"{significant(seconds)} s" if abs(seconds) >= 0.9995 else f"{significant(seconds * 1000)} ms"


def rate_text(per_second: float | None) -> str:
    """24.13 → `24.1 tok/s`."""
    return "–" if per_second is None else f"{significant(per_second)} tok/s"


def share_text(share: float | None) -> str:
    """0.9268 → `92.7 %`."""
    return "–" if share is None else f"{significant(100 * share)} %"


def number_text(value: float | None) -> str:
    """A number without a unit, `–` for none."""
    return "–" if value is None else significant(value)


def ratio_text(ratio: float | None, digits: int = 2) -> str:
    """0.3124 → `×0.31`."""
    return "" if ratio is None else f"×{significant(ratio, digits)}"


def count_text(count: int | None) -> str:
    """134515008 → `135 M`."""
    return _scaled(count, ("T", "B", "M", "k", ""))


def _scaled(count: int | None, units: tuple[str, str, str, str, str]) -> str:
    """With the unit of 10^12, 10^9, 10^6 or 10^3, or as it is with the last one."""
    if count is None:
        return "–"
    for factor, unit in zip((10**12, 10**9, 10**6, 10**3), units, strict=False):
        if abs(count) >= 0.9995 * factor:
            return f"{significant(count / factor)} {unit}"
    return f"{count} {units[-1]}".rstrip()
