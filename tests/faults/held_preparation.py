"""Child process: prepares the demo model, and waits before the manifest until it is told to go on."""

from pathlib import Path

from qplayground.core.messages.channel import Channel
from qplayground.core.messages.events import Progressed
from qplayground.engines.transformers import prepare

TARGET = "tests.faults.held_preparation"
HELD = "held"
"""The label of the progress that it reports there. Any command lets it go on."""


def main(channel: Channel) -> None:
    """As the preparation's own."""
    write_manifest = prepare.write_manifest

    def wait_and_write(work: Path) -> None:
        channel.send(Progressed(1, HELD, 0, 0, ""))
        channel.receive()
        write_manifest(work)

    prepare.write_manifest = wait_and_write
    prepare.main(channel)
