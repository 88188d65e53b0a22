"""First script of each process of the frozen program. Engines, jobs, fork server and resource tracker get no further.

They run the same executable. PyInstaller's `freeze_support` tells them apart by their arguments. It returns only in the
program itself, so no engine holds what is imported later, such as Qt.
"""

import multiprocessing

if __name__ == "__main__":
    multiprocessing.freeze_support()
