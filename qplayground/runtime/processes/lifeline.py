"""Imported by the fork server, before all else and by nobody else: ends it when the window goes while it still imports.

Once it serves, it ends with the pipe to its parent, as Python made it; while it imports nobody reads that pipe.
"""

import os
import signal
from types import FrameType

from qplayground.runtime.processes.child import PARENT_VARIABLE

_TICK_S = 0.2


def _check(_number: int, _frame: FrameType | None) -> None:
    if str(os.getppid()) != os.environ.get(PARENT_VARIABLE):
        os._exit(1)
    if signal.getsignal(signal.SIGCHLD) is not signal.SIG_DFL:  # it serves: `multiprocessing.forkserver.main`
        signal.setitimer(signal.ITIMER_REAL, 0)


signal.signal(signal.SIGALRM, _check)
signal.setitimer(signal.ITIMER_REAL, _TICK_S, _TICK_S)
