"""The tree of bytes in each module."""

from PySide6.QtWidgets import QTreeWidgetItem
from pytestqt.qtbot import QtBot

from qplayground.core.comparison.results import Run, from_json, to_json
from qplayground.core.memory.estimate import WeightKinds
from qplayground.ui.dialogs.modules_dialog import ModulesDialog
from qplayground.ui.history.comparison_window import ComparisonWindow
from qplayground.ui.window import MainWindow
from tests.comparisons import done
from tests.ui.driving import compare, type_prompt

MODULES = {
    "model.embed_tokens": WeightKinds(plain=1000),
    "model.layers.0.q_proj": WeightKinds(quantized=500, scales=20),
    "model.layers.1.q_proj": WeightKinds(quantized=500, scales=30),
}


def held(device_map: dict[str, str], *unforeseen: str) -> Run:
    run = done("nf4")
    run.memory.by_module, run.memory.unforeseen, run.device_map = MODULES, list(unforeseen), device_map
    return run


def items(dialog: ModulesDialog) -> dict[str, QTreeWidgetItem]:
    """The rows of the tree, by branch name."""
    found: dict[str, QTreeWidgetItem] = {}

    def walk(branch: str, item: QTreeWidgetItem | None) -> None:
        assert item is not None
        found[branch] = item
        for place in range(item.childCount()):
            child = item.child(place)
            assert child is not None
            walk(f"{branch}.{child.text(0).rstrip('*')}".lstrip("."), child)

    (whole,) = [dialog.tree.topLevelItem(place) for place in range(dialog.tree.topLevelItemCount())]
    walk("", whole)
    return found


def texts(dialog: ModulesDialog, branch: str) -> list[str]:
    item = items(dialog)[branch]
    return [item.text(column) for column in range(dialog.tree.columnCount())]


def test_every_branch_has_its_sum(qtbot: QtBot) -> None:
    dialog = ModulesDialog(held({"": "cpu"}, "model.layers.1.q_proj"))
    qtbot.addWidget(dialog)
    assert texts(dialog, "") == ["whole model", "1.00 kB", "50 B", "1.00 kB", "–", "2.05 kB", "RAM"]
    assert texts(dialog, "model.layers") == ["layers", "1.00 kB", "50 B", "–", "–", "1.05 kB", "RAM"]
    assert texts(dialog, "model.layers.1.q_proj")[0] == "q_proj*"
    assert texts(dialog, "model.layers.0.q_proj")[0] == "q_proj"


def test_a_split_model_says_where_each_module_is(qtbot: QtBot) -> None:
    dialog = ModulesDialog(held({"model": "cuda:0", "model.layers.1": "cpu"}))
    qtbot.addWidget(dialog)
    assert not dialog.tree.isColumnHidden(6)
    assert texts(dialog, "")[-1] == texts(dialog, "model.layers")[-1] == "cuda:0, RAM"
    assert texts(dialog, "model.layers.1.q_proj")[-1] == "RAM"
    assert texts(dialog, "model.embed_tokens")[-1] == "cuda:0"
    whole = ModulesDialog(held({"": "cpu"}))
    qtbot.addWidget(whole)
    assert whole.tree.isColumnHidden(6)


def test_a_search_shows_what_it_finds_and_what_that_is_part_of(qtbot: QtBot) -> None:
    dialog = ModulesDialog(held({}))
    qtbot.addWidget(dialog)
    dialog.search.setText("LAYERS.1")
    shown = {branch for branch, item in items(dialog).items() if not item.isHidden()}
    assert shown == {"", "model", "model.layers", "model.layers.1", "model.layers.1.q_proj"}
    dialog.search.clear()
    assert not any(item.isHidden() for item in items(dialog).values())


def test_a_columns_menu_opens_it(qtbot: QtBot, ready_window: MainWindow) -> None:
    type_prompt(qtbot, ready_window, "Once fast=3")
    compare(qtbot, ready_window)
    menu = ready_window.results.make_menu("nf4")
    (action,) = (action for action in menu.actions() if "module" in action.text())
    action.trigger()
    (dialog,) = ready_window.findChildren(ModulesDialog)
    assert texts(dialog, "")[-2] == "116 MB" and dialog.isVisible()


def test_a_saved_comparisons_menu_opens_it_too(qtbot: QtBot, ready_window: MainWindow) -> None:
    type_prompt(qtbot, ready_window, "Once fast=3")
    compare(qtbot, ready_window)
    assert ready_window.session.comparison is not None
    saved = from_json(to_json(ready_window.session.comparison))
    saved.run("fp32").memory.by_module.clear()  # as saved by earlier versions
    reader = ComparisonWindow([saved])
    qtbot.addWidget(reader)
    reader.show()
    (action,) = (action for action in reader.views[0].make_menu("nf4").actions() if "module" in action.text())
    action.trigger()
    (dialog,) = reader.findChildren(ModulesDialog)
    assert texts(dialog, "")[-2] == "116 MB" and dialog.isVisible()
    (action,) = (action for action in reader.views[0].make_menu("fp32").actions() if "module" in action.text())
    assert not action.isEnabled() and "not saved" in action.text()
