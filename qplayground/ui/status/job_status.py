"""The running job in the status bar: its title, its progress, and a Cancel button."""

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QLabel, QProgressBar, QWidget

from qplayground.core.messages.events import Progressed
from qplayground.core.units import bytes_text
from qplayground.runtime.models.jobs import Job
from qplayground.runtime.models.library import Library
from qplayground.ui.widgets.parts import button, in_row

_BAR_WIDTH = 160


class JobStatus(QWidget):
    """Shows the job's progress. Hidden while there is no job."""

    def __init__(self, library: Library) -> None:
        super().__init__()
        self.label = QLabel(textFormat=Qt.TextFormat.PlainText)
        self.bar = QProgressBar()
        self.bar.setFixedWidth(_BAR_WIDTH)
        self.bar.setAccessibleName("Progress of the job")
        self.cancel = button("Cancel", library.cancel_job)
        in_row(self.label, self.bar, self.cancel, within=self)
        library.job_started.connect(self._on_started)
        library.job_ended.connect(self.hide)
        self.hide()

    @Slot(object)
    def _on_started(self, job: Job) -> None:
        self._title = job.title
        self.label.setText(job.title)
        self.bar.setRange(0, 0)
        job.progressed.connect(self._on_progressed)
        self.show()

    @Slot(object)
    def _on_progressed(self, event: Progressed) -> None:
        self.bar.setRange(0, 1000 if event.total else 0)
        self.bar.setValue(round(1000 * event.done / max(event.total, 1)))
        in_bytes = event.unit == "bytes" and event.total
        amount = f"{bytes_text(event.done)} of {bytes_text(event.total)}" if in_bytes else ""
        self.label.setText(" · ".join(part for part in (self._title, event.label.lower(), amount) if part))
