"""Which cases of a test `make test` runs. `make test-all`, and so CI, also runs the others."""

from collections.abc import Iterable
from typing import Any

import pytest


def daily(cases: Iterable[Any], *kept: Any) -> list[Any]:
    """Cases for `parametrize`. All except `kept` are marked as exhaustive."""
    cases = list(cases)
    if missing := [case for case in kept if case not in cases]:
        raise ValueError(f"no cases of this test: {missing}")
    return [
        case
        if case in kept
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.exhaustive)
        for case in cases
    ]
