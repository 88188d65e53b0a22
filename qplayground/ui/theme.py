"""The look: one hue and one line style a precision, an 8-pixel grid, tabular digits, a quiet light and dark palette."""

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QFont, QIcon, QPainter, QPalette, QPixmap
from PySide6.QtWidgets import QApplication, QWidget

GRID = 8
HALF_GRID = 4
SWATCH = 12
"""Spacings and margins are these or multiples of them, in device-independent pixels."""

_HUES: dict[str, tuple[str, str]] = {
    # Okabe & Ito's set: on light, on dark. Shifted in lightness alone, and only as far as a contrast of 3:1 asks.
    "black": ("#000000", "#E6E6E6"),
    "sky blue": ("#1C92D4", "#56B4E9"),
    "blue": ("#0072B2", "#007ABF"),
    "orange": ("#B87F00", "#E69F00"),
    "bluish green": ("#009E73", "#009E73"),
    "yellow": ("#958B0C", "#F0E442"),
    "vermillion": ("#D55E00", "#D55E00"),
    "reddish purple": ("#C76C9F", "#CC79A7"),
}
_LINES = (
    Qt.PenStyle.SolidLine,
    Qt.PenStyle.DashLine,
    Qt.PenStyle.DotLine,
    Qt.PenStyle.DashDotLine,
    Qt.PenStyle.DashDotDotLine,
)
_READY: dict[str, tuple[str, int]] = {
    "fp32": ("black", 0),
    "bf16": ("sky blue", 1),
    "fp16": ("blue", 4),
    "int8": ("orange", 3),
    "nf4": ("bluish green", 2),
    "nf4-dq": ("yellow", 0),
    "fp4": ("vermillion", 1),
    "fp4-dq": ("reddish purple", 3),
}
# Eight ready precisions use up the eight hues, so a custom one shares a hue and never both hue and line. The hues
# of the precisions that are seldom ticked come first.
_CUSTOM_ORDER = ("fp4-dq", "nf4-dq", "fp16", "fp4", "int8", "nf4", "bf16", "fp32")
_custom_places: dict[str, int] = {}


def color(name: str, dark: bool) -> QColor:
    """The hue of the precision of that name, at least 3:1 against the base of the light or the dark look."""
    hue, _ = _hue_and_line(name)
    return QColor(_HUES[hue][dark])


def line_style(name: str) -> Qt.PenStyle:
    """The line style of the precision of that name."""
    _, line = _hue_and_line(name)
    return _LINES[line]


def swatch(name: str, shown: QWidget) -> QIcon:
    """A square in the hue of that precision, for a label of `shown`; make it anew when its palette changes."""
    ratio = shown.devicePixelRatioF()
    pixmap = QPixmap(round(SWATCH * ratio), round(SWATCH * ratio))
    pixmap.setDevicePixelRatio(ratio)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(color(name, is_dark(shown)))
    painter.drawRoundedRect(QRectF(0, 0, SWATCH, SWATCH), 2, 2)
    painter.end()
    return QIcon(pixmap)


def _hue_and_line(name: str) -> tuple[str, int]:
    if name in _READY:
        return _READY[name]
    place = _custom_places.setdefault(name, len(_custom_places))
    turn, index = divmod(place, len(_CUSTOM_ORDER))
    hue, line = _READY[_CUSTOM_ORDER[index]]
    return hue, (line + 1 + turn % (len(_LINES) - 1)) % len(_LINES)


def rename(old: str, new: str) -> None:
    """Let a custom precision keep its hue and line under another name."""
    if old in _custom_places and new not in _custom_places:
        _custom_places[new] = _custom_places.pop(old)


def is_dark(shown: QWidget | QApplication) -> bool:
    """Whether that is drawn on a dark base. The palette follows the system's scheme, see `apply_look`."""
    return shown.palette().color(QPalette.ColorRole.Base).lightness() < 128


def tabular(font: QFont) -> QFont:
    """That font with digits of one width, where it has them."""
    copy = QFont(font)
    copy.setFeature(QFont.Tag("tnum"), 1)
    return copy


def small(font: QFont) -> QFont:
    """That font a step smaller, for what explains."""
    copy = QFont(font)
    if font.pointSizeF() > 0:
        copy.setPointSizeF(font.pointSizeF() * 0.92)
    return copy


def palette(dark: bool) -> QPalette:
    """The colours of the program. `PlaceholderText` is also the colour of secondary text."""
    role = QPalette.ColorRole
    colors = {
        role.Window: ("#F2F2F2", "#2B2B2B"),
        role.WindowText: ("#1A1A1A", "#E8E8E8"),
        role.Base: ("#FFFFFF", "#1F1F1F"),
        role.AlternateBase: ("#F7F7F7", "#262626"),
        role.Text: ("#1A1A1A", "#E8E8E8"),
        role.Button: ("#F2F2F2", "#363636"),
        role.ButtonText: ("#1A1A1A", "#E8E8E8"),
        role.BrightText: ("#B3261E", "#FFB4AB"),
        role.ToolTipBase: ("#FFFFFF", "#3A3A3A"),
        role.ToolTipText: ("#1A1A1A", "#E8E8E8"),
        role.PlaceholderText: ("#5C5C5C", "#ABABAB"),
        role.Light: ("#FFFFFF", "#4A4A4A"),
        role.Midlight: ("#FAFAFA", "#404040"),
        role.Mid: ("#C8C8C8", "#4A4A4A"),
        role.Dark: ("#A8A8A8", "#1A1A1A"),
        role.Shadow: ("#808080", "#101010"),
        role.Link: ("#3F51B5", "#A3B1FF"),
        role.Accent: ("#4656C0", "#98A6FF"),
        role.Highlight: ("#4656C0", "#98A6FF"),
        role.HighlightedText: ("#FFFFFF", "#101010"),
    }
    made = QPalette()
    for key, pair in colors.items():
        made.setColor(key, QColor(pair[dark]))
    for key in (role.WindowText, role.Text, role.ButtonText, role.PlaceholderText):
        made.setColor(QPalette.ColorGroup.Disabled, key, QColor(("#8C8C8C", "#7C7C7C")[dark]))
    return made


def paint(app: QApplication, dark: bool) -> None:
    """Give every widget the light or the dark palette."""
    colors = palette(dark)
    app.setPalette(colors)
    # Fusion draws outlines in a darker shade of Window, which on a dark window leaves an empty tick box unseen.
    # Nothing of these is filled with Window.
    outlined = QPalette(colors)
    outlined.setColor(QPalette.ColorRole.Window, QColor("#ACACAC"))
    for kind in ("QCheckBox", "QRadioButton", "QLineEdit", "QAbstractSpinBox"):
        app.setPalette(outlined, kind)  # type: ignore[arg-type]  # PySide6 takes a str; its stub says bytes


def apply_look(app: QApplication) -> None:
    """Give the program its look, and keep it to the system's light or dark scheme while it runs."""
    app.setStyle("Fusion")
    hints = app.styleHints()

    def follow(scheme: Qt.ColorScheme) -> None:
        paint(app, scheme == Qt.ColorScheme.Dark)

    unknown = hints.colorScheme() == Qt.ColorScheme.Unknown
    paint(app, is_dark(app) if unknown else hints.colorScheme() == Qt.ColorScheme.Dark)
    hints.colorSchemeChanged.connect(follow)
