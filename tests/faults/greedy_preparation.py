"""Child process: prepares the demo model, and during the write asks for more memory than a limit may allow."""

from pathlib import Path

from qplayground.core.messages.channel import Channel
from qplayground.engines.transformers import prepare

TARGET = "tests.faults.greedy_preparation"
HELD = "held"
"""The label of the progress that it reports before that. Any command lets it continue."""


def main(channel: Channel) -> None:
    """The preparation's own main, except for the conversion."""

    def want_much(gguf: Path, work: Path, report: prepare.Report) -> None:
        import torch

        (work / "model.safetensors").write_bytes(bytes(1 << 20))
        report(HELD, 0, 0, "")
        channel.receive()
        torch.zeros(1 << 30)

    prepare.convert = want_much
    prepare.main(channel)
