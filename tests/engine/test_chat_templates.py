"""Where chat templates are found: the list of models and the engine agree."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from qplayground.catalog.inspect import has_chat_template
from qplayground.core.errors import ErrorCode
from qplayground.core.messages.events import Failed
from tests.engine import tiny
from tests.engine.conftest import ModelFolder, carry_out

SHOWN = "{{ messages[0].content }}"
EXTRA = "additional_chat_templates/"
PLACES: list[tuple[dict[str, Any], bool]] = [
    ({}, False),
    ({"chat_template.jinja": SHOWN}, True),
    ({"chat_template.jinja": ""}, False),
    ({"chat_template.jinja": "", "tokenizer_config.json": SHOWN}, False),
    ({"tokenizer_config.json": SHOWN}, True),
    ({"tokenizer_config.json": ""}, False),
    ({"tokenizer_config.json": [{"name": "default", "template": SHOWN}]}, True),
    ({"tokenizer_config.json": [{"name": "tool_use", "template": SHOWN}]}, False),
    ({"chat_template.json": {"chat_template": SHOWN}}, False),
    ({EXTRA + "tool_use.jinja": SHOWN}, False),
    ({EXTRA + "tool_use.jinja": SHOWN, "tokenizer_config.json": SHOWN}, False),
    ({EXTRA + "tool_use.jinja": SHOWN, "chat_template.jinja": SHOWN}, True),
    ({EXTRA + "default.jinja": SHOWN}, True),
    ({EXTRA + "default.jinja": "", "chat_template.jinja": SHOWN}, False),
    ({EXTRA + "readme.txt": SHOWN, "tokenizer_config.json": SHOWN}, True),
]


@pytest.mark.parametrize(("files", "expected"), PLACES, ids=[" ".join(files) or "none" for files, _ in PLACES])
def test_the_list_and_the_engine_agree(
    files: dict[str, Any], expected: bool, model_folder: ModelFolder, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(model_folder("llama"), tmp_path / "model"))
    (folder / "chat_template.jinja").unlink()
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        if name == "tokenizer_config.json":
            tiny.edit_json(folder / name, chat_template=content)
        else:
            (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))

    event = carry_out(tiny.load_command(folder, asked=tiny.request(chat_template=True)))[-1]

    assert has_chat_template(folder) is expected
    assert (event.error.code if isinstance(event, Failed) else None) is (
        None if expected else ErrorCode.NO_CHAT_TEMPLATE
    )
