"""Hues and line styles of the precisions, and the colour scheme that everything follows."""

from itertools import combinations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QPalette
from PySide6.QtWidgets import QApplication, QLabel
from pytestqt.qtbot import QtBot

from qplayground.core import hues
from qplayground.core.precision import DEFAULT_TICKED, READY_PRECISIONS
from qplayground.ui.widgets import theme

READY = [precision.name for precision in READY_PRECISIONS]
CUSTOM = [f"test-theme-{number}" for number in range(24)]


def luminance(color: QColor) -> float:
    def linear(channel: float) -> float:
        return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(channel) for channel in (color.redF(), color.greenF(), color.blueF()))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: QColor, other: QColor) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", READY + CUSTOM[:8])
def test_every_hue_stands_out_from_what_it_is_drawn_on(name: str, dark: bool) -> None:
    palette = theme.palette(dark)
    for role in (QPalette.ColorRole.Base, QPalette.ColorRole.Window, QPalette.ColorRole.AlternateBase):
        assert contrast(theme.color(name, dark), palette.color(role)) >= 3


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read(dark: bool) -> None:
    palette, role = theme.palette(dark), QPalette.ColorRole
    for text in (role.Text, role.WindowText, role.PlaceholderText, role.BrightText, role.Link):
        for ground in (role.Base, role.Window):
            assert contrast(palette.color(text), palette.color(ground)) >= 4.5
    assert contrast(palette.color(role.HighlightedText), palette.color(role.Highlight)) >= 4.5
    assert contrast(palette.color(role.ButtonText), palette.color(role.Button)) >= 4.5


@pytest.mark.parametrize("dark", [False, True])
def test_ready_precisions_have_hues_of_their_own_as_far_as_there_are_eight(dark: bool) -> None:
    """torchao's int8 shares int8's hue, with another line style."""
    assert len({theme.color(name, dark).name() for name in READY}) == min(len(READY), len(hues.HUES)) == 8


def test_precisions_are_told_apart_without_colour_where_they_usually_stand_together() -> None:
    assert len({theme.line_style(name) for name in DEFAULT_TICKED}) == len(DEFAULT_TICKED)
    assert Qt.PenStyle.NoPen not in {theme.line_style(name) for name in READY + CUSTOM}


def test_no_two_precisions_share_both_hue_and_line() -> None:
    for one, other in combinations(READY + CUSTOM, 2):
        assert (theme.color(one, False).name(), theme.line_style(one)) != (
            theme.color(other, False).name(),
            theme.line_style(other),
        )


def test_a_custom_precision_keeps_its_hue_through_other_precisions_and_its_own_renaming() -> None:
    before = theme.color("test-theme-stable", False), theme.line_style("test-theme-stable")
    theme.color("test-theme-later", False)
    assert (theme.color("test-theme-stable", False), theme.line_style("test-theme-stable")) == before
    hues.rename("test-theme-stable", "test-theme-renamed")
    assert (theme.color("test-theme-renamed", False), theme.line_style("test-theme-renamed")) == before
    assert theme.color("fp32", False) == QColor("black")


def test_the_look_follows_the_scheme_while_the_program_runs(qapp: QApplication, qtbot: QtBot) -> None:
    theme.apply_look(qapp)
    label = QLabel("text")
    qtbot.addWidget(label)
    label.show()
    hints = qapp.styleHints()
    for scheme, dark in ((Qt.ColorScheme.Dark, True), (Qt.ColorScheme.Light, False)):
        hints.colorSchemeChanged.emit(scheme)  # the offscreen platform has no scheme to change
        assert theme.is_dark(qapp) is dark
        qtbot.waitUntil(lambda dark=dark: theme.is_dark(label) is dark)  # type: ignore[misc]


@pytest.mark.parametrize("dark", [True, False])
def test_a_swatch_shows_the_hue(qapp: QApplication, qtbot: QtBot, dark: bool) -> None:
    theme.paint(qapp, dark)
    label = QLabel()
    qtbot.addWidget(label)
    image = theme.swatch("int8", label).pixmap(theme.SWATCH, theme.SWATCH).toImage()
    assert image.pixelColor(image.rect().center()) == theme.color("int8", dark)


def test_digits_are_tabular_and_small_is_smaller(qapp: QApplication) -> None:
    font = qapp.font()
    assert QFont.Tag("tnum") in theme.tabular(font).featureTags()
    assert theme.small(font).pointSizeF() < font.pointSizeF()
    assert font == qapp.font()


def test_the_application_icon_has_every_size(qapp: QApplication) -> None:
    sizes = theme.application_icon().availableSizes()
    assert sorted(size.width() for size in sizes) == sorted(theme.ICON_SIZES)
