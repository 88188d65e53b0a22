"""A child of the quality benchmark: how much an engine grows when it scores a text of a given number of tokens."""

import json
import sys
import tempfile
from pathlib import Path

import psutil

from qplayground.core.measures.quality import TextSource
from qplayground.core.measures.windows import ALL_TOKENS
from qplayground.core.memory.process_memory import forget_peak, peak_resident_bytes, read_process_memory
from qplayground.core.messages.commands import Score
from qplayground.core.precision import READY_PRECISIONS
from qplayground.engines.transformers.loading.load import load_model
from qplayground.engines.transformers.scoring.score import score_text
from tests.engine import tiny


def main(tokens: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = tiny.make(Path(folder) / "model")
        loaded = load_model(tiny.load_command(path), lambda phase: None, lambda *_: None)
        word = len(loaded.tokenizer(" cat dog", add_special_tokens=False)["input_ids"])
        command = Score(
            id=1,
            source=TextSource.BUILTIN,
            name="builtin",
            text=" cat dog" * (tokens // word),
            tokens=ALL_TOKENS,
            baseline=READY_PRECISIONS[0],
            reference="fp32",
            folder=f"{folder}/baselines",
            limit_bytes=4 << 30,
        )
        before = read_process_memory(psutil.Process()).resident_bytes
        forget_peak()
        score_text(loaded, command, (), lambda: False, lambda *_: None)
        print(json.dumps({"grown": peak_resident_bytes() - before}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
