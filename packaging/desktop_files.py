"""Installs a Linux desktop's files: `python packaging/desktop_files.py PREFIX [--exec COMMAND] [--homepage URL]`.

Desktop entry, AppStream metainfo, MIME type and icons go to PREFIX/share, named after the application's id. Only
`qplayground/__init__.py` defines that id. With a homepage, the metainfo names it and two screenshots in
URL/docs/pictures/. Software centers fetch these, so publish the folder `docs` there.
"""

import argparse
import os
import re
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from qplayground import APPLICATION_ID, __version__  # noqa: E402

TEMPLATES = ROOT / "packaging" / "linux"
ICONS = ROOT / "resources" / "icons"
NEED_QUOTES = re.compile(r"""[\s"'\\><~|&;$*?#()`%]""")


def release_date() -> str:
    """Today, or the day of SOURCE_DATE_EPOCH, for reproducible builds."""
    moment = os.environ.get("SOURCE_DATE_EPOCH")
    return (datetime.fromtimestamp(int(moment), UTC) if moment else datetime.now(UTC)).date().isoformat()


def exec_argument(text: str) -> str:
    """One argument for the Exec key of a desktop entry: quoted if necessary, then escaped like any string.

    Source: Desktop Entry Specification 1.5, "The Exec key".
    """
    if NEED_QUOTES.search(text):
        text = '"' + re.sub(r'(["`$\\])', r"\\\1", text).replace("%", "%%") + '"'
    return entry_string(text)


def entry_string(text: str) -> str:
    """A value of a desktop entry, with its backslashes escaped."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def lay_out(prefix: Path, command: str = "qplayground", homepage: str | None = None) -> list[Path]:
    """Write every file below the prefix and return them. Raises OSError.

    `command`: name or path of the program that the desktop entry starts. `homepage`: begins with https://.
    """
    values = {
        "APPLICATION_ID": APPLICATION_ID,
        "VERSION": __version__,
        "DATE": release_date(),
        "HOMEPAGE": escape((homepage or "").rstrip("/")),
        "EXEC": exec_argument(command),
        "TRY_EXEC": entry_string(command),
    }
    share = prefix / "share"
    metainfo = share / "metainfo" / f"{APPLICATION_ID}.metainfo.xml"
    written = [
        _filled("entry.desktop", share / "applications" / f"{APPLICATION_ID}.desktop", values),
        _filled("metainfo.xml", metainfo, values),
        _filled("mime.xml", share / "mime" / "packages" / f"{APPLICATION_ID}.xml", values),
    ]
    if homepage is None:
        _leave_out(metainfo, ("url", "screenshots"))
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


def _leave_out(path: Path, elements: tuple[str, ...]) -> None:
    tree = ElementTree.parse(path)
    root = tree.getroot()
    for element in [child for child in root if child.tag in elements]:
        root.remove(element)
    ElementTree.indent(tree)
    tree.write(path, "UTF-8", xml_declaration=True)


def _copied(source: Path, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, path)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Lay out the desktop entry, metainfo, MIME type and icons.")
    parser.add_argument("prefix", type=Path, help="such as /usr/local or ~/.local")
    parser.add_argument(
        "--exec", default="qplayground", help="the program that the desktop entry starts, a name or a path"
    )
    parser.add_argument("--homepage", metavar="URL", help="named in the metainfo, with the screenshots in URL/docs")
    arguments = parser.parse_args()
    if arguments.homepage is not None and not re.match("https?://[^/]", arguments.homepage):
        parser.error(f"the homepage {arguments.homepage!r} must begin with https://")
    for path in lay_out(arguments.prefix, arguments.exec, arguments.homepage):
        print(path)
