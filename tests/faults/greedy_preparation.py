"""Child process: prepares the demo model, and in the midst of writing wants more memory than a limit may allow."""

from pathlib import Path

from qplayground.core.messages.channel import Channel
from qplayground.engines.transformers import prepare

TARGET = "tests.faults.greedy_preparation"
HELD = "held"
"""The label of the progress that it reports before. Any command lets it go on."""


def main(channel: Channel) -> None:
    """As the preparation's own, but for what is converted."""

    def want_much(gguf: Path, work: Path, report: prepare.Report) -> None:
        import torch

        (work / "model.safetensors").write_bytes(bytes(1 << 20))
        report(HELD, 0, 0, "")
        channel.receive()
        torch.zeros(1 << 30)

    prepare.convert = want_much
    prepare.main(channel)
