"""A target that takes very long to import, as torch does on a cold disk. It is killed, never waited for."""

import threading

threading.Event().wait(30)
