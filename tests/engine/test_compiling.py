"""An engine does not import torch's compiler until something is compiled."""

import subprocess
import sys
from typing import Any

import pytest
import torch

from qplayground.engines.transformers.machine.compiling import compiled_at_first_use


@pytest.mark.parametrize("options", [{}, {"dynamic": False}])
def test_a_function_is_compiled_once_when_it_is_first_called(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def compile_now(function: Any, **given: Any) -> Any:
        asked.append(given)
        return lambda number: 10 * function(number)

    monkeypatch.setattr(torch, "compile", compile_now)
    with compiled_at_first_use():
        decorate: Any = torch.compile(**options)
        double = decorate(lambda number: 2 * number)
        also = torch.compile(lambda number: 3 * number, **options)
    assert asked == [] and vars(torch)["compile"] is compile_now
    assert [double(1), double(2), also(1)] == [20, 40, 30]
    assert asked == [options, options]


def test_importing_an_engine_imports_no_compiler() -> None:
    code = "import sys, qplayground.engines.transformers.host; print('torch._inductor.compile_fx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
