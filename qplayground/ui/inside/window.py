"""The Inside window: the model's modules at the left; matrix, layers, outliers and tour at the right."""

from collections.abc import Sequence
from typing import NamedTuple

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QCloseEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import QMainWindow, QTabWidget

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorInfo
from qplayground.core.generation import GenerationRequest
from qplayground.core.inside import Matrix, ModelOutline, QuantizationParams
from qplayground.core.precision import Precision
from qplayground.runtime.inside.inspector import Inspector
from qplayground.runtime.inside.outliers import OutlierStudy
from qplayground.runtime.inside.survey import LayerSurvey
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.storage.preferences import Preferences
from qplayground.ui.inside.layers.layers_view import LayersView
from qplayground.ui.inside.matrix.matrix_view import MatrixView
from qplayground.ui.inside.module_tree import ModuleTree
from qplayground.ui.inside.outliers.outliers_view import OutliersView
from qplayground.ui.inside.tour.tour_view import TourView
from qplayground.ui.widgets.page import scrolling_page
from qplayground.ui.widgets.parts import splitter
from qplayground.ui.widgets.window_size import USUAL, size_for_screen

_MESSAGE_MS = 10_000
_TREE_WIDTH = 520
"""Shows a short name, kind, sizes in three precisions, and whether a module gets quantized."""


class Subject(NamedTuple):
    """What is shown: a model in its folder, the precisions to estimate, and the prompt for the outliers."""

    title: str
    path: str
    precisions: tuple[Precision, ...]
    request: GenerationRequest


class InsideWindow(QMainWindow):
    """Owns the engines that read the model; they end when it closes. Signal: `closed()`."""

    closed = Signal()

    def __init__(self, launcher: Launcher, preferences: Preferences) -> None:
        super().__init__()
        self._preferences = preferences
        self._subject: Subject | None = None
        self._wanted_module = ""
        self._cannot_list = self._paused = False
        self.inspector = Inspector(launcher, self)
        self.tour_inspector = Inspector(launcher, self)
        self.curve_survey = LayerSurvey(launcher, self)
        self.layers_survey = LayerSurvey(launcher, self)
        self.study = OutlierStudy(launcher, self)
        self.modules = ModuleTree()
        self.matrix = MatrixView(self.inspector)
        self.layers = LayersView(self.curve_survey, self.layers_survey)
        self.outliers = OutliersView(self.study)
        self.tour = TourView(self.tour_inspector)
        self.tabs = QTabWidget(documentMode=True)
        for view, title in (
            (self.matrix, "Matri&x"),
            (self.layers, "&Layers"),
            (self.outliers, "&Outliers"),
            (self.tour, "To&ur"),
        ):
            self.tabs.addTab(view, title)
        self.across = splitter(Qt.Orientation.Horizontal, self.modules, self.tabs)
        self.across.setStretchFactor(1, 1)
        self.setCentralWidget(scrolling_page(self.across))
        self.statusBar().setSizeGripEnabled(False)
        self.statusBar().hide()
        self._connect()
        self._restore()

    def _connect(self) -> None:
        QShortcut(QKeySequence(QKeySequence.StandardKey.Close), self).activated.connect(self.close)
        QShortcut(QKeySequence(QKeySequence.StandardKey.Find), self).activated.connect(self.modules.search.setFocus)
        self.inspector.outlined.connect(self._on_outlined)
        self.inspector.opened.connect(self._on_opened)
        self.inspector.failed.connect(self._on_failed)
        self.modules.module_chosen.connect(self._on_module_chosen)
        self.layers.module_chosen.connect(self.look_at)
        self.outliers.module_chosen.connect(self.modules.select)
        self.tour.outliers_wanted.connect(lambda: self.tabs.setCurrentWidget(self.outliers))
        self.matrix.params_changed.connect(self._on_params_changed)
        self.layers.params_chosen.connect(self.matrix.turn)
        for view in (self.matrix, self.layers, self.outliers, self.tour):
            view.said.connect(self._say)

    # ---- public methods --------------------------------------------------------------------------------------

    def show_model(self, subject: Subject, module: str = "") -> None:
        """Show a model, and this module of it, or one that the model's outline suggests."""
        before, self._subject = self._subject, subject
        self.setWindowTitle(f"Inside {subject.title}")
        is_same = before is not None and (before.path, before.precisions) == (subject.path, subject.precisions)
        if is_same and not self._cannot_list:
            self._show_outliers()
            if module:
                self.look_at(module)
            return
        self._wanted_module = module
        self._cannot_list = False
        self.tour_inspector.unload()
        self.tour.show_model(None)
        self.layers.show_model(subject.path)
        self.inspector.look_at(subject.path, subject.precisions)
        self._show_wanted()
        self._show_outliers()

    def show_request(self, request: GenerationRequest) -> None:
        """Set the prompt to run for outliers."""
        if self._subject is not None:
            self._subject = self._subject._replace(request=request)
            self._show_outliers()

    @Slot(str)
    def look_at(self, module: str) -> None:
        """Show this module's matrix."""
        self.tabs.setCurrentWidget(self.matrix)
        if self.inspector.outline is None:
            self._wanted_module = module
        else:
            self.modules.select(module)

    def set_paused(self, paused: bool) -> None:
        """Pause all reading and measuring during a comparison, so as not to disturb its timings."""
        self._paused, waited = paused, self.inspector.waits
        for inspector in (self.inspector, self.tour_inspector):
            inspector.set_paused(paused)
        if waited:
            self._show_wanted()
        for view in (self.matrix, self.layers, self.outliers, self.tour):
            view.set_paused(paused)

    # ---- events ----------------------------------------------------------------------------------------------

    @Slot(object)
    def _on_outlined(self, outline: ModelOutline) -> None:
        assert self._subject is not None
        compared = () if outline.quantized_by else self._subject.precisions
        self.modules.show_outline(outline, [precision.name for precision in compared])
        self.matrix.show_nothing("Choose a module in the tree.")
        self._show_outliers()
        self.layers.show_obstacle(_survey_obstacle(outline))
        self.tour_inspector.take(self._subject.path)
        self.tour.show_model(outline)
        wanted, self._wanted_module = self._wanted_module, ""
        self.modules.select(wanted if self.modules.module(wanted) is not None else outline.suggested)
        if wanted and self.modules.module(wanted) is None:
            self._say(f"The model has no module named {wanted}.")

    @Slot(str)
    def _on_module_chosen(self, name: str) -> None:
        """Open the module's matrix. If it has none, the engine's reason is shown in its place."""
        is_here = self.inspector.matrix is not None or self.inspector.is_busy
        if name and name == self.inspector.module and is_here:
            return
        if not name:
            self.inspector.open("")
            self._show_no_matrix("The whole model has many matrices. Choose one of its linear layers in the tree.")
            return
        self.inspector.open(name)
        self._show_wanted()
        self.outliers.choose_module(name)

    def _show_wanted(self) -> None:
        """Show that the model or matrix is loading. During a comparison the matrix view shows that it waits."""
        waits, name = self._paused and self.inspector.waits, self.inspector.module
        if self.inspector.outline is None:
            self.modules.show_waiting("Listed when the comparison is over." if waits else "Reading the modules …")
            self.matrix.show_nothing("" if waits else "The model's modules are being listed …")
        else:
            self.matrix.show_nothing(name if waits else f"{name} is being read …")

    def _show_no_matrix(self, reason: str) -> None:
        """Show the reason wherever the module's matrix would be shown."""
        module = self.inspector.module
        self.matrix.show_nothing(module, reason)
        self.layers.show_module(module, reason)

    @Slot(object)
    def _on_opened(self, matrix: Matrix) -> None:
        self.layers.show_module(matrix.module, matrix.fixed_because)

    @Slot(object)
    def _on_failed(self, error: ErrorInfo) -> None:
        if self.inspector.outline is None:
            self._cannot_list = True
            self.modules.show_outline(None)
            self.matrix.show_nothing("The model's modules cannot be listed.", str(error))
        elif self.inspector.matrix is None and not self.matrix.has_matrix:
            self._show_no_matrix(str(error))

    @Slot(object)
    def _on_params_changed(self, params: QuantizationParams) -> None:
        self.layers.show_params(params)
        self._preferences.set_inside_params(params)

    def _show_outliers(self) -> None:
        subject = self._subject
        assert subject is not None
        outline = self.inspector.outline if self.inspector.path == subject.path else None
        self.outliers.show_model(subject.path, outline, subject.request, int8_dtype(subject.precisions))

    @Slot(str)
    def _say(self, sentence: str) -> None:
        self.statusBar().show()
        self.statusBar().showMessage(sentence, _MESSAGE_MS)

    # ---- saved state -----------------------------------------------------------------------------------------

    def _restore(self) -> None:
        size_for_screen(self)
        self.across.setSizes([_TREE_WIDTH, USUAL.width() - _TREE_WIDTH])
        self.restoreGeometry(self._preferences.layout("inside"))
        self.across.restoreState(self._preferences.layout("inside across"))
        params = self._preferences.inside_params
        self.matrix.params.set_params(params)
        self.inspector.set_params(params)
        self.layers.show_params(params)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Save the layout and end all engines, which frees their memory."""
        layouts = {"inside": self.saveGeometry(), "inside across": self.across.saveState()}
        self._preferences.set_layouts({name: bytes(layout.data()) for name, layout in layouts.items()})
        for owner in (
            self.inspector,
            self.tour_inspector,
            self.curve_survey,
            self.layers_survey,
            self.study,
        ):
            owner.close()
        super().closeEvent(event)
        self.closed.emit()


def int8_dtype(precisions: Sequence[Precision]) -> Dtype:
    """The input dtype of LLM.int8(): that of the first such precision."""
    found = (
        precision.dtype for precision in precisions if precision.quantization and precision.quantization.splits_outliers
    )
    return next(found, Dtype.BFLOAT16)


def _survey_obstacle(outline: ModelOutline) -> str:
    """Why layers cannot be measured; empty if they can."""
    if not outline.quantized_by:
        return ""
    return (
        f"This checkpoint was quantized before it was saved ({outline.quantized_by}): without the original weights "
        "there is no error to measure. Open the original model."
    )
