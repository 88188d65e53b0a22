"""Downloads in a child process, from a hub on this machine. What cannot be compared is refused before its weights."""

import errno
import json
import multiprocessing
import socket
from pathlib import Path

import msgspec
import pytest

from qplayground.catalog import download as module
from qplayground.catalog.cache import scan_cache
from qplayground.catalog.hub_errors import explain
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.messages.channel import Channel
from qplayground.core.messages.codec import EVENTS
from qplayground.core.messages.commands import Download
from qplayground.core.messages.events import Event, Failed, JobDone, Progressed
from tests.unit.catalog_files import LLAMA, TYPES, tensor_file
from tests.unit.hub import REPO, WAIT_S, hub, sharded, tiny_repo
from tests.unit.stub_hub import COMMIT, StubHub

__all__ = ["hub"]  # the fixture


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hf" / "hub"


def child(connection: multiprocessing.connection.Connection) -> None:
    module.main(Channel(connection))


def fetch(repo_id: str) -> list[Event]:
    """Run one download in a separate process and return its events."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=child, args=(theirs,))
    process.start()
    theirs.close()
    events: list[Event] = []
    try:
        ours.send_bytes(msgspec.msgpack.encode(Download(id=5, repo_id=repo_id, model_types=TYPES)))
        while not events or isinstance(events[-1], Progressed):
            assert ours.poll(WAIT_S), "the download said nothing"
            events.append(EVENTS.decode(ours.recv_bytes()))
    finally:
        ours.close()
        process.join(WAIT_S)
    assert all(event.command_id == 5 for event in events)
    return events


def refusal(repo_id: str = REPO) -> ErrorInfo:
    last = fetch(repo_id)[-1]
    assert isinstance(last, Failed), last
    return last.error


def test_a_model_arrives_whole_and_nothing_else_does(hub: StubHub, cache: Path) -> None:
    files = hub.repos[REPO] = tiny_repo()
    *progress, done = fetch(REPO)
    assert isinstance(done, JobDone)
    assert done.entry.usable
    assert (done.entry.id, done.entry.parameters, done.entry.has_chat_template) == (REPO, 100_000, True)
    snapshot = cache / "models--owner--tiny" / "snapshots" / COMMIT
    assert done.entry.path == str(snapshot)
    expected = {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"}
    assert {path.name for path in snapshot.iterdir()} == expected
    total = sum(len(files[name]) for name in expected)
    counts = [event.done for event in progress if isinstance(event, Progressed)]
    assert {event.total for event in progress if isinstance(event, Progressed)} == {total}
    assert (counts[0], counts[-1]) == (0, total)
    assert counts == sorted(counts)
    assert [entry.id for entry in scan_cache(TYPES, cache) if entry.usable] == [REPO]


def test_what_is_there_already_counts_and_is_not_fetched_again(hub: StubHub) -> None:
    hub.repos[REPO] = tiny_repo()
    fetch(REPO)
    hub.requests.clear()
    first, *_, done = fetch(REPO)
    assert isinstance(done, JobDone)
    assert isinstance(first, Progressed)
    assert first.done == first.total
    assert not hub.served("model.safetensors")


def test_shards_are_taken_from_the_index(hub: StubHub) -> None:
    files = hub.repos[REPO] = tiny_repo()
    weights = files.pop("model.safetensors")
    files["model-00001-of-00002.safetensors"] = files["model-00002-of-00002.safetensors"] = weights
    files["model.safetensors.index.json"] = sharded()
    done = fetch(REPO)[-1]
    assert isinstance(done, JobDone)
    assert done.entry.parameters == 200_000
    assert not hub.served("consolidated.safetensors")


def test_shards_missing_on_the_hub(hub: StubHub) -> None:
    files = hub.repos[REPO] = tiny_repo()
    del files["model.safetensors"]
    files["model.safetensors.index.json"] = sharded(("model-00001-of-00001.safetensors",))
    assert refusal().code is ErrorCode.INCOMPLETE_DOWNLOAD


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"model_type": "bert", "architectures": ["BertModel"]}, ErrorCode.NOT_CAUSAL),
        ({"model_type": "x", "architectures": ["X"], "auto_map": {"AutoConfig": "x.X"}}, ErrorCode.REMOTE_CODE),
        ({"quantized": True}, ErrorCode.BROKEN_CONFIG),
    ],
)
def test_a_model_that_cannot_be_compared_leaves_nothing(
    hub: StubHub, cache: Path, config: dict[str, object], code: ErrorCode
) -> None:
    hub.repos[REPO] = tiny_repo(config)
    assert refusal().code is code
    assert not hub.served("model.safetensors")
    assert not (cache / "models--owner--tiny").exists()


@pytest.mark.parametrize(
    ("weights", "code"),
    [
        ("pytorch_model.bin", ErrorCode.PICKLED_WEIGHTS),
        ("tiny.Q4_1.gguf", ErrorCode.GGUF_ONLY),
        ("README.md", ErrorCode.NO_WEIGHTS),
    ],
)
def test_a_repository_without_safetensors_is_refused(hub: StubHub, weights: str, code: ErrorCode) -> None:
    hub.repos[REPO] = {"config.json": json.dumps(LLAMA).encode(), weights: b"x"}
    assert refusal().code is code
    assert not hub.served(weights)


def test_an_unknown_model(hub: StubHub) -> None:
    error = refusal("owner/nowhere")
    assert error.code is ErrorCode.MODEL_NOT_FOUND
    assert "owner/nowhere" in error.message


def test_a_gated_model(hub: StubHub) -> None:
    hub.repos[REPO] = tiny_repo()
    hub.gated.add(REPO)
    error = refusal()
    assert error.code is ErrorCode.GATED
    assert f"huggingface.co/{REPO}" in error.hint


@pytest.mark.parametrize(
    "repo_id", ["", "../../etc", "a/b/c", "owner/..", "owner/a--b", "https://x/y", "a b", "x" * 97]
)
def test_ids_that_are_none_are_refused_without_asking(hub: StubHub, repo_id: str) -> None:
    error = refused_in_process(repo_id)
    assert error.code is ErrorCode.MODEL_NOT_FOUND
    assert hub.requests == []


def test_no_hub_within_reach(hub: StubHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    error = refusal()
    assert error.code is ErrorCode.NO_NETWORK
    assert "OFFLINE" not in error.message


def test_a_hub_in_trouble(hub: StubHub) -> None:
    hub.broken = True
    error = refusal()
    assert error.code is ErrorCode.NO_NETWORK
    assert "500" in error.message


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_the_offline_switch_is_named(hub: StubHub, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    hub.repos[REPO] = tiny_repo()
    monkeypatch.setenv(variable, "1")
    error = refusal()
    assert error.code is ErrorCode.NO_NETWORK
    assert variable in error.message
    assert hub.requests == []


def test_a_full_disk_is_noticed_before_and_during(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(Exception, match="are free at") as caught:
        module.require_space(10**18)
    assert explain(caught.value, REPO).code is ErrorCode.DISK_FULL
    wrapped = RuntimeError("in a thread")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert explain(wrapped, REPO).code is ErrorCode.DISK_FULL


def test_bytes_are_reported_at_most_ten_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    reports: list[tuple[int, int]] = []
    progress = module.Progress(lambda done, total: reports.append((done, total)), cached=100, total=1100)
    bar_class = progress.bar_class()
    received, written = bar_class(unit="B", total=0, initial=0), bar_class(unit="B", total=0, initial=0)
    files = bar_class(desc="Fetching 4 files", total=4)
    for _ in range(100):
        now += 0.01
        received.update(10)
        written.update(9)
        files.update(1)
    progress.finish()
    assert 9 <= len(reports) <= 12
    assert (reports[0], reports[-1]) == ((100, 1100), (1100, 1100))
    assert reports == sorted(reports)
    assert reports[5][0] > 300


def refused_in_process(repo_id: str) -> ErrorInfo:
    """A refusal that needs neither the hub nor a process."""
    try:
        module.download(repo_id, TYPES, lambda done, total: None)
    except Exception as error:
        return explain(error, repo_id)
    raise AssertionError("it was accepted")


def test_a_small_file_beside_an_index_is_refused_before_it_comes(hub: StubHub) -> None:
    shards = {f"model-{part:05}-of-00002.safetensors": tensor_file(elements=90_000) for part in (1, 2)}
    hub.repos[REPO] = {**tiny_repo(), **shards, "model.safetensors.index.json": sharded()}
    hub.repos[REPO]["model.safetensors"] = tensor_file(elements=100)
    error = refusal()
    assert error.code is ErrorCode.MISPLACED_WEIGHTS
    assert "720 kB" in error.message and not hub.served("model.safetensors")


def test_a_whole_file_beside_an_index_is_taken(hub: StubHub) -> None:
    shards = {f"model-{part:05}-of-00002.safetensors": tensor_file(elements=50_000) for part in (1, 2)}
    hub.repos[REPO] = {**tiny_repo(), **shards, "model.safetensors.index.json": sharded()}
    assert isinstance(fetch(REPO)[-1], JobDone)
    assert not hub.served("model-00001-of-00002.safetensors")


def test_weights_in_a_subfolder_of_the_repository(hub: StubHub) -> None:
    hub.repos[REPO] = {"config.json": json.dumps(LLAMA).encode(), "fp32/model.safetensors": tensor_file()}
    error = refusal()
    assert error.code is ErrorCode.MISPLACED_WEIGHTS and "subfolder fp32" in error.message
