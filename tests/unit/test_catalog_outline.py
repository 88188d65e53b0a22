"""The outline of a model on the hub, without its weights: a child process and a hub on this machine."""

import multiprocessing
import multiprocessing.connection
from pathlib import Path

import msgspec

from qplayground.catalog import outline as module
from qplayground.catalog.outline import OUTLINE, read_outline
from qplayground.core.errors import ErrorCode
from qplayground.core.messages.channel import Channel
from qplayground.core.messages.codec import EVENTS
from qplayground.core.messages.commands import FetchOutline
from qplayground.core.messages.events import Event, Failed, JobDone
from tests.unit.catalog_files import TYPES, tensor_file
from tests.unit.hub import REPO, WAIT_S, hub, sharded, tiny_repo
from tests.unit.stub_hub import StubHub

__all__ = ["hub"]  # the fixture


def child(connection: multiprocessing.connection.Connection) -> None:
    module.main(Channel(connection))


def fetch(target: Path) -> Event:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=child, args=(theirs,))
    process.start()
    theirs.close()
    command = FetchOutline(id=5, repo_id=REPO, target=str(target), model_types=TYPES)
    try:
        ours.send_bytes(msgspec.msgpack.encode(command))
        assert ours.poll(WAIT_S), "nothing was said"
        return EVENTS.decode(ours.recv_bytes())
    finally:
        ours.close()
        process.join(WAIT_S)


def test_headers_come_and_weights_do_not(hub: StubHub, tmp_path: Path) -> None:
    hub.repos[REPO] = tiny_repo()
    done = fetch(tmp_path / "outline")
    assert isinstance(done, JobDone), done
    assert (done.entry.id, done.entry.parameters, done.entry.usable) == (REPO, 100_000, False)
    names = {path.name for path in (tmp_path / "outline").iterdir()} - {".cache"}
    assert names == {"config.json", "tokenizer.json", "chat_template.jinja", OUTLINE}
    outline = read_outline(tmp_path / "outline")
    assert outline is not None and outline.files == {"model.safetensors": {"weight": ("F32", 400_000)}}
    assert not hub.served("modeling_evil.py") and not hub.served("pytorch_model.bin")


def test_what_cannot_be_compared_is_refused(hub: StubHub, tmp_path: Path) -> None:
    hub.repos[REPO] = {"config.json": b"{}", "pytorch_model.bin": b"pickle"}
    refused = fetch(tmp_path / "outline")
    assert isinstance(refused, Failed) and refused.error.code is ErrorCode.PICKLED_WEIGHTS


def test_a_missing_shard_is_refused(hub: StubHub, tmp_path: Path) -> None:
    shards = {"model.safetensors.index.json": sharded(), "model-00001-of-00002.safetensors": tensor_file()}
    hub.repos[REPO] = {name: data for name, data in {**tiny_repo(), **shards}.items() if name != "model.safetensors"}
    refused = fetch(tmp_path / "outline")
    assert isinstance(refused, Failed) and refused.error.code is ErrorCode.INCOMPLETE_DOWNLOAD


def test_a_folder_without_an_outline_has_none(tmp_path: Path) -> None:
    assert read_outline(tmp_path) is None
