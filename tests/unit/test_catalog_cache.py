"""The Hugging Face cache: lists text generators, marks incomplete downloads, and leaves everything else out."""

import json
import os
from pathlib import Path

import pytest

from qplayground.catalog.cache import cached_snapshot, scan_cache
from qplayground.core.errors import ErrorCode
from qplayground.core.model import ModelEntry, ModelSource
from tests.unit.catalog_files import COMMIT, LLAMA, TYPES, cache_repo, write_model, write_shards

OTHER_COMMIT = "f" * 40


def only(root: Path) -> ModelEntry:
    (entry,) = scan_cache(TYPES, root)
    return entry


def is_interrupted(entry: ModelEntry) -> bool:
    return not entry.complete and entry.problem is not None and entry.problem.code is ErrorCode.INCOMPLETE_DOWNLOAD


def interrupt(root: Path, repo_id: str) -> None:
    blobs = root / f"models--{repo_id.replace('/', '--')}" / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / "abc.123.incomplete").write_bytes(bytes(77))


def test_no_cache_lists_nothing(tmp_path: Path) -> None:
    assert scan_cache(TYPES, tmp_path / "gone") == []
    (tmp_path / "file").write_text("")
    assert scan_cache(TYPES, tmp_path / "file") == []


def test_a_whole_model_is_listed_under_its_id(tmp_path: Path) -> None:
    snapshot = write_model(cache_repo(tmp_path, "owner/tiny"))
    entry = only(tmp_path)
    assert (entry.id, entry.source, entry.path) == ("owner/tiny", ModelSource.CACHE, str(snapshot))
    assert entry.usable


def test_blobs_behind_links_are_followed(tmp_path: Path) -> None:
    snapshot = write_model(cache_repo(tmp_path, "gpt2"))
    blobs = snapshot.parents[1] / "blobs"
    for number, path in enumerate(sorted(snapshot.iterdir())):
        path.rename(blobs / str(number))
        path.symlink_to(Path("../../blobs") / str(number))
    assert only(tmp_path).usable


def test_entries_come_in_the_order_of_their_ids(tmp_path: Path) -> None:
    for repo_id in ("Zeta/a", "alpha/b", "Mid/c"):
        write_model(cache_repo(tmp_path, repo_id))
    assert [entry.id for entry in scan_cache(TYPES, tmp_path)] == ["alpha/b", "Mid/c", "Zeta/a"]


@pytest.mark.parametrize("main_is_older", [True, False])
def test_the_revision_that_main_refers_to_is_shown(tmp_path: Path, main_is_older: bool) -> None:
    main = write_model(cache_repo(tmp_path, "owner/tiny"))
    other = write_model(cache_repo(tmp_path, "owner/tiny", OTHER_COMMIT, ref=None))
    for path in (main if main_is_older else other).iterdir():
        os.utime(path, (1, 1))
    assert only(tmp_path).path == str(main)


def test_without_main_the_newest_revision_is_shown(tmp_path: Path) -> None:
    old = write_model(cache_repo(tmp_path, "owner/tiny", ref=None))
    new = write_model(cache_repo(tmp_path, "owner/tiny", OTHER_COMMIT, ref="v2"))
    for path in old.iterdir():
        os.utime(path, (1, 1))
    assert only(tmp_path).path == str(new)


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "bert", "architectures": ["BertModel"]},
        {"model_type": "bert", "architectures": ["BertLMHeadModel"]},
        {"model_type": "nomic", "architectures": ["NomicModel"], "auto_map": {"AutoModel": "m.NomicModel"}},
        {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]},
        {"model_type": "x"},
        {"model_type": "x", "architectures": ["XModel"]},
        {"architecture": "resnet50"},
    ],
)
def test_other_kinds_of_models_are_left_out(tmp_path: Path, config: dict[str, object]) -> None:
    write_model(cache_repo(tmp_path, "owner/other"), config)
    interrupt(tmp_path, "owner/other")
    assert scan_cache(TYPES, tmp_path) == []


def test_datasets_and_strange_files_are_left_out(tmp_path: Path) -> None:
    cache_repo(tmp_path, "owner/tiny").parents[1].rename(tmp_path / "datasets--owner--tiny")
    (tmp_path / "version.txt").write_text("1")
    (tmp_path / "models--file").write_text("1")
    (tmp_path / "models--owner--empty").mkdir()
    assert scan_cache(TYPES, tmp_path) == []


def test_a_text_generator_with_code_of_its_own_is_listed_with_the_reason(tmp_path: Path) -> None:
    config = {"model_type": "x", "architectures": ["X"], "auto_map": {"AutoModelForCausalLM": "m.X"}}
    write_model(cache_repo(tmp_path, "owner/x"), config)
    problem = only(tmp_path).problem
    assert problem is not None
    assert problem.code is ErrorCode.REMOTE_CODE


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "mistral3", "architectures": ["Mistral3ForConditionalGeneration"]},
        {"model_type": "llama9", "architectures": ["Llama9ForCausalLM"]},
    ],
    ids=str,
)
def test_a_language_model_that_cannot_be_loaded_is_listed_with_the_reason(
    tmp_path: Path, config: dict[str, object]
) -> None:
    write_model(cache_repo(tmp_path, "owner/x"), config)
    problem = only(tmp_path).problem
    assert problem is not None and problem.code is ErrorCode.UNSUPPORTED


def test_a_config_without_architectures_is_listed(tmp_path: Path) -> None:
    write_model(cache_repo(tmp_path, "owner/x"), {"model_type": "llama"})
    assert only(tmp_path).usable and only(tmp_path).architecture == "llama"


def test_missing_shards_are_an_interrupted_download(tmp_path: Path) -> None:
    write_shards(write_model(cache_repo(tmp_path, "owner/tiny")), present=1, total=2)
    entry = only(tmp_path)
    assert is_interrupted(entry)
    assert entry.problem is not None
    assert "1 of 2" in entry.problem.detail


def test_a_config_without_weights_is_an_interrupted_download(tmp_path: Path) -> None:
    (cache_repo(tmp_path, "owner/tiny") / "config.json").write_text(json.dumps(LLAMA))
    assert is_interrupted(only(tmp_path))


def test_a_tokenizer_still_to_come_is_an_interrupted_download(tmp_path: Path) -> None:
    (write_model(cache_repo(tmp_path, "owner/tiny")) / "tokenizer.json").unlink()
    assert not is_interrupted(only(tmp_path))
    interrupt(tmp_path, "owner/tiny")
    assert is_interrupted(only(tmp_path))


def test_a_download_killed_before_its_first_file_is_listed(tmp_path: Path) -> None:
    interrupt(tmp_path, "owner/tiny")
    refs = tmp_path / "models--owner--tiny" / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    entry = only(tmp_path)
    assert is_interrupted(entry)
    assert (entry.id, entry.path, entry.size_bytes) == ("owner/tiny", None, 77)


def test_what_a_killed_download_left_beside_a_whole_model_does_no_harm(tmp_path: Path) -> None:
    write_model(cache_repo(tmp_path, "owner/tiny"))
    interrupt(tmp_path, "owner/tiny")
    assert only(tmp_path).usable


def test_a_deleted_blob_makes_the_model_incomplete_and_spoils_no_other(tmp_path: Path) -> None:
    write_model(cache_repo(tmp_path, "owner/whole"))
    snapshot = write_model(cache_repo(tmp_path, "owner/broken"))
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to("../../blobs/gone")
    broken, whole = scan_cache(TYPES, tmp_path)
    assert is_interrupted(broken)
    assert whole.usable


def test_a_reference_that_leads_out_of_the_cache_is_not_followed(tmp_path: Path) -> None:
    write_model(tmp_path / "outside")
    snapshot = cache_repo(tmp_path / "hub", "owner/tiny")
    (snapshot.parents[1] / "refs" / "main").write_text("../../../outside")
    assert scan_cache(TYPES, tmp_path / "hub") == []


def test_the_snapshot_of_one_repository_is_found_without_a_scan(tmp_path: Path) -> None:
    snapshot = write_model(cache_repo(tmp_path, "owner/tiny"))
    assert cached_snapshot("owner/tiny", tmp_path) == snapshot
    assert cached_snapshot("owner/other", tmp_path) is None


def break_links(snapshot: Path, *names: str) -> None:
    """A cache copied without its blobs has such links."""
    for name in names:
        (snapshot / name).unlink()
        (snapshot / name).symlink_to(f"../../blobs/{name}-gone")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("config.json", "model.safetensors", "tokenizer.json"), "3 files (config.json and others) are missing"),
        (("model.safetensors",), "1 file (model.safetensors) is missing"),
        (("tokenizer.json",), "1 file (tokenizer.json) is missing"),
        (("config.json",), "1 file (config.json) is missing"),
    ],
)
def test_links_that_lead_nowhere_are_told_as_that(names: tuple[str, ...], told: str, tmp_path: Path) -> None:
    break_links(write_model(cache_repo(tmp_path, "owner/tiny")), *names)
    entry = only(tmp_path)
    assert entry.problem is not None and is_interrupted(entry)
    assert told in entry.problem.message and "Hugging Face cache" in entry.problem.message
    assert "owner/tiny" in entry.problem.message and "did not finish" not in entry.problem.message


def test_a_download_in_the_making_is_told_as_that(tmp_path: Path) -> None:
    break_links(write_model(cache_repo(tmp_path, "owner/tiny")), "model.safetensors")
    interrupt(tmp_path, "owner/tiny")
    problem = only(tmp_path).problem
    assert problem is not None and "did not finish" in problem.message


def test_broken_links_of_what_is_no_model_of_transformers_are_no_model(tmp_path: Path) -> None:
    snapshot = cache_repo(tmp_path, "owner/pictures")
    (snapshot / "model_index.json").symlink_to("../../blobs/gone")
    assert scan_cache(TYPES, tmp_path) == []
