"""Ends the fork server if the window ends while the server still imports. Only the fork server imports this, first.

Once the server serves, Python ends it with the pipe to its parent. While it imports, nothing reads that pipe.
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
