"""Files that are written whole or not at all."""

import os
from pathlib import Path
from uuid import uuid4


def save_file(path: Path, data: bytes) -> None:
    """Put the data there; whatever goes wrong, what was there before stays. Raises OSError.

    What is no plain file, a device or a pipe, is written to as it is.
    """
    path = path.resolve()  # a link goes on pointing there
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    scratch = path.with_name(f".qplayground-{uuid4().hex}")
    try:
        with scratch.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            scratch.chmod(path.stat().st_mode)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
