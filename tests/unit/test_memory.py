"""Memory of the calling process, as reported by the kernel."""

import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a program cannot become another one")
def test_the_peak_is_not_that_of_the_process_before_exec() -> None:
    ask = "from qplayground.core.memory.process_memory import peak_resident_bytes; print(peak_resident_bytes())"
    become = f"import os, sys; large = b'x' * 300_000_000; os.execv(sys.executable, [sys.executable, '-c', {ask!r}])"
    done = subprocess.run([sys.executable, "-c", become], check=True, capture_output=True, text=True, timeout=60)
    assert 1_000_000 < int(done.stdout) < 200_000_000
