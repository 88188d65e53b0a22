"""What each process of the frozen program runs first, so that engines, jobs, fork server and resource tracker end here.

They are this same executable again. `freeze_support` (PyInstaller's) knows by the arguments what it is to be, and
returns only in the program itself: what comes after it, such as Qt, is in no engine's memory.
"""

import multiprocessing

if __name__ == "__main__":
    multiprocessing.freeze_support()
