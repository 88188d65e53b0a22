"""The theme: a hue and line style for each precision, an 8-pixel grid, tabular digits, light and dark palettes."""

from collections.abc import Callable
from html import escape

from PySide6.QtCore import QEvent, QObject, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QIcon, QPainter, QPalette, QPixmap
from PySide6.QtWidgets import QApplication, QLabel, QWidget

from qplayground.core import hues
from qplayground.core.system.resources import resource

GRID = 8
HALF_GRID = 4
SWATCH = 12
"""Spacings and margins are multiples of these, in device-independent pixels."""

ICON_SIZES = (16, 24, 32, 48, 64, 128, 256)
"""Sizes of the application icon, in pixels."""

_HOLLOW = 3
_LINES = {
    "solid": Qt.PenStyle.SolidLine,
    "dash": Qt.PenStyle.DashLine,
    "dot": Qt.PenStyle.DotLine,
    "dash dot": Qt.PenStyle.DashDotLine,
    "dash dot dot": Qt.PenStyle.DashDotDotLine,
}


def color(name: str, dark: bool) -> QColor:
    """The hue of this precision. Its contrast is at least 3:1 against the base of the light or dark palette."""
    return QColor(hues.hue(name, dark))


def line_style(name: str) -> Qt.PenStyle:
    """The line style of this precision."""
    return _LINES[hues.line(name)]


def swatch(name: str, shown: QWidget) -> QIcon:
    """A square in this precision's hue, for a label of `shown`. Rebuild it when the palette changes.

    It is hollow if the precision shares its hue with a built-in one.
    """
    ratio = shown.devicePixelRatioF()
    pixmap = QPixmap(round(SWATCH * ratio), round(SWATCH * ratio))
    pixmap.setDevicePixelRatio(ratio)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(color(name, is_dark(shown)))
    square = QRectF(0, 0, SWATCH, SWATCH)
    painter.drawRoundedRect(square, 2, 2)
    if hues.is_shared(name):
        painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_Clear)
        painter.drawRect(square.adjusted(_HOLLOW, _HOLLOW, -_HOLLOW, -_HOLLOW))
    painter.end()
    return QIcon(pixmap)


def application_icon() -> QIcon:
    """The application icon in all its sizes."""
    icon = QIcon()
    folder = resource("icons")
    for size in ICON_SIZES:
        pixmap = QPixmap()
        pixmap.loadFromData((folder / f"{size}.png").read_bytes(), "PNG")
        icon.addPixmap(pixmap)
    return icon


def is_dark(shown: QWidget | QApplication) -> bool:
    """Whether the widget has a dark base. The palette follows the system's colour scheme, see `apply_look`."""
    return shown.palette().color(QPalette.ColorRole.Base).lightness() < 128


def tabular(font: QFont) -> QFont:
    """A copy of the font with tabular digits, if it has them."""
    copy = QFont(font)
    copy.setFeature(QFont.Tag("tnum"), 1)
    return copy


def tip(text: str) -> str:
    """Plain text for a tool tip, escaped: Qt would interpret it as markup and load its images."""
    return f"<span>{escape(text)}</span>" if text else ""


def literal(text: str) -> str:
    """Plain text for widgets without a plain-text mode, such as QMessageBox. Escaped only if it could be markup."""
    if "<" not in text and "&" not in text:
        return text
    return f"<span>{escape(text).replace(chr(10), '<br>')}</span>"


TEXT_PERCENT = "qplayground text percent"
"""Application property: the text size in per cent of the system's. The application's font outlives a window."""


def text_scale() -> float:
    """The text size relative to the system's. Scale pixel sizes of anything that holds text by it."""
    app = QApplication.instance()
    found = None if app is None else app.property(TEXT_PERCENT)
    return found / 100 if isinstance(found, int) else 1.0


class _Follower(QObject):
    def __init__(self, widget: QWidget, fit: Callable[[], None]) -> None:
        super().__init__(widget)
        self._fit = fit
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.FontChange:
            self._fit()
        return False


def follow_text(widget: QWidget, fit: Callable[[], None]) -> None:
    """Call `fit` now and whenever the widget's font changes."""
    fit()
    _Follower(widget, fit)


def fixed_font() -> QFont:
    """The system's fixed-width font, scaled like other text."""
    font = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
    if font.pointSizeF() > 0:
        font.setPointSizeF(font.pointSizeF() * text_scale())
    return font


def small(font: QFont) -> QFont:
    """A copy of the font, slightly smaller, for explanations."""
    copy = QFont(font)
    if font.pointSizeF() > 0:
        copy.setPointSizeF(font.pointSizeF() * 0.92)
    return copy


def small_label(text: str = "") -> QLabel:
    """A small, muted line with tabular digits. A long text does not widen the window."""
    label = QLabel(text, textFormat=Qt.TextFormat.PlainText)
    label.setFont(tabular(small(label.font())))
    label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
    label.setMinimumWidth(1)
    return label


def palette(dark: bool) -> QPalette:
    """The program's colours. `PlaceholderText` is also used for secondary text."""
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
    """Apply the light or dark palette to all widgets."""
    colors = palette(dark)
    app.setPalette(colors)
    # Fusion derives outlines from a darker Window colour, which makes an empty check box invisible on a dark window.
    # None of these widgets is filled with Window.
    outlined = QPalette(colors)
    outlined.setColor(QPalette.ColorRole.Window, QColor("#ACACAC"))
    for kind in ("QCheckBox", "QRadioButton", "QLineEdit", "QAbstractSpinBox"):
        app.setPalette(outlined, kind)  # type: ignore[arg-type]  # PySide6 takes a str; its stub says bytes


def apply_look(app: QApplication) -> None:
    """Apply the theme, and follow the system's light or dark colour scheme while running."""
    app.setStyle("Fusion")
    hints = app.styleHints()

    def follow(scheme: Qt.ColorScheme) -> None:
        paint(app, scheme == Qt.ColorScheme.Dark)

    unknown = hints.colorScheme() == Qt.ColorScheme.Unknown
    paint(app, is_dark(app) if unknown else hints.colorScheme() == Qt.ColorScheme.Dark)
    hints.colorSchemeChanged.connect(follow)
