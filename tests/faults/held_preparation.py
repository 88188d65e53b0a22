"""Child process: prepares the demo model, but waits for a command before it writes the manifest."""

from pathlib import Path

from qplayground.core.messages.channel import Channel
from qplayground.core.messages.events import Progressed
from qplayground.engines.transformers import prepare

TARGET = "tests.faults.held_preparation"
HELD = "held"
"""The label of the progress that it reports there. Any command lets it continue."""


def main(channel: Channel) -> None:
    """The preparation's own main, with the wait."""
    write_manifest = prepare.write_manifest

    def wait_and_write(work: Path) -> None:
        channel.send(Progressed(1, HELD, 0, 0, ""))
        channel.receive()
        write_manifest(work)

    prepare.write_manifest = wait_and_write
    prepare.main(channel)
