"""Files that are written whole or not at all."""

import errno
import os
from pathlib import Path
from uuid import uuid4


def save_file(path: Path, data: bytes, *, private: bool = False) -> None:
    """Put the data there; whatever goes wrong, what was there before stays. Raises OSError.

    A device or a pipe is written to as it is, and so is a file beside which no other can be made. `private`: readable
    by nobody else.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    place = Path(os.path.realpath(path))  # a link goes on pointing there
    scratch = place.with_name(f".qplayground-{uuid4().hex}")
    mode = 0o600 if private else 0o666
    try:
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM) or not place.exists():
            raise
        place.write_bytes(data)
        return
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if place.exists():
            scratch.chmod(place.stat().st_mode)
        scratch.replace(place)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def set_aside(path: Path) -> Path:
    """Give a damaged file a name beside its own that no other has, and return that. Raises OSError."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return path.replace(aside)
