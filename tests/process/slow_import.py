"""A target that takes very long to import, like torch from a cold disk. Tests kill it and never wait for it."""

import threading

threading.Event().wait(30)
