"""Lays out what a Linux desktop needs: `python packaging/desktop_files.py PREFIX [--exec COMMAND]`.

Desktop entry, AppStream metainfo, MIME type and icons go to PREFIX/share, under the application's id, which is named in
`qplayground/__init__.py` alone.
"""

import argparse
import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from qplayground import APPLICATION_ID, __version__  # noqa: E402

TEMPLATES = ROOT / "packaging" / "linux"
ICONS = ROOT / "qplayground" / "resources" / "icons"
HOMEPAGE = "https://{1}.{0}.io".format(*APPLICATION_ID.split(".")[1:3])
"""The web place of the application id. Whoever publishes the program puts the pictures of docs/ there."""


def release_date() -> str:
    """Today, or the day of SOURCE_DATE_EPOCH, so that a build can be repeated."""
    moment = os.environ.get("SOURCE_DATE_EPOCH")
    return (datetime.fromtimestamp(int(moment), UTC) if moment else datetime.now(UTC)).date().isoformat()


def lay_out(prefix: Path, command: str = "qplayground") -> list[Path]:
    """Write every file below the prefix and return them. `command`: what the desktop entry starts. Raises OSError."""
    values = {
        "APPLICATION_ID": APPLICATION_ID,
        "VERSION": __version__,
        "DATE": release_date(),
        "HOMEPAGE": HOMEPAGE,
        "SCREENSHOTS": f"{HOMEPAGE}/docs",
        "EXEC": command,
    }
    share = prefix / "share"
    written = [
        _filled("entry.desktop", share / "applications" / f"{APPLICATION_ID}.desktop", values),
        _filled("metainfo.xml", share / "metainfo" / f"{APPLICATION_ID}.metainfo.xml", values),
        _filled("mime.xml", share / "mime" / "packages" / f"{APPLICATION_ID}.xml", values),
    ]
    scalable = share / "icons" / "hicolor" / "scalable" / "apps" / f"{APPLICATION_ID}.svg"
    written.append(_copied(ICONS / "qplayground.svg", scalable))
    for icon in sorted(ICONS.glob("*.png")):
        sized = share / "icons" / "hicolor" / f"{icon.stem}x{icon.stem}" / "apps" / f"{APPLICATION_ID}.png"
        written.append(_copied(icon, sized))
    return written


def _filled(template: str, path: Path, values: dict[str, str]) -> Path:
    text = (TEMPLATES / template).read_text("utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def _copied(source: Path, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, path)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Lay out the desktop entry, metainfo, MIME type and icons.")
    parser.add_argument("prefix", type=Path, help="such as /usr/local or ~/.local")
    parser.add_argument("--exec", default="qplayground", help="the command that the desktop entry starts")
    arguments = parser.parse_args()
    for path in lay_out(arguments.prefix, arguments.exec):
        print(path)
