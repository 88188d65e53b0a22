"""What is kept between two starts, and what happens to an unreadable file."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from filelock import FileLock

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, PlaygroundError
from qplayground.core.generation import GenerationRequest, GenerationSettings
from qplayground.core.precision import DEFAULT_TICKED, READY_PRECISIONS, Precision
from qplayground.core.quantizers.bitsandbytes_4bit import FourBit
from qplayground.core.quantizers.bitsandbytes_int8 import Int8
from qplayground.core.system.saving import save_file
from qplayground.runtime.storage import preferences_file
from qplayground.runtime.storage.preferences import CONFIG_VARIABLE, Preferences, preferences_path

MINE = Precision(
    name="mine", label="mine", dtype=Dtype.FLOAT16, quantization=Int8(threshold=3.5), skip_modules=("a.b",)
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "preferences.json"


class Disk:
    """A disk so busy that a write waits until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writes: list[bytes] = []
        self.begun = threading.Event()
        self.release = threading.Event()
        self.held = True
        self.fails = False

        def save(path: Path, data: bytes, *, private: bool) -> None:
            self.writes.append(data)
            held = self.held
            self.begun.set()
            assert not held or self.release.wait(20)
            if self.fails:
                raise OSError(28, "No space left on device")
            save_file(path, data, private=private)

        monkeypatch.setattr(preferences_file, "save_file", save)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(monkeypatch)
    yield disk
    disk.release.set()


def at_the_next_start(preferences: Preferences) -> Preferences:
    """What another window reads once everything is written."""
    preferences.flush()
    return Preferences.load(preferences.path)


def ready(name: str) -> Precision:
    return next(precision for precision in READY_PRECISIONS if precision.name == name)


def edited_int8(threshold: float = 0.0) -> Precision:
    return msgspec.structs.replace(ready("int8"), quantization=Int8(threshold=threshold))


def test_the_environment_names_another_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path))
    assert preferences_path() == tmp_path / "preferences.json"
    preferences = Preferences.load()
    preferences.set_last_model("gpt2")
    preferences.flush()
    assert Preferences.load(tmp_path / "preferences.json").last_model == "gpt2"


def test_two_windows_lose_nothing_of_each_other(path: Path) -> None:
    one, other = Preferences.load(path), Preferences.load(path)
    one.save_precision(MINE)
    one.flush()
    other.set_ticked(("fp4",))
    other.flush()
    one.remember_prompt("one")
    one.flush()
    other.remember_prompt("other")
    other.flush()
    for preferences in (one, other, Preferences.load(path)):
        assert preferences.precision("mine") == MINE
        assert preferences.ticked == ("fp4",)
        assert preferences.recent_prompts == ("other", "one")


def test_nobody_waits_for_a_busy_disk_and_what_is_newest_by_then_is_written_at_once(path: Path, disk: Disk) -> None:
    preferences = Preferences.load(path)
    preferences.set_last_model("one")
    for number in range(10):
        preferences.remember_prompt(f"prompt {number}")
        preferences.set_ticked(("fp4", "nf4") if number % 2 else ("fp32",))
    preferences.save_precision(MINE)
    preferences.save_precision(msgspec.structs.replace(MINE, name="ours"), replacing="mine")
    shown = (preferences.last_model, preferences.recent_prompts[0], preferences.ticked, preferences.precision("ours"))
    assert shown[:3] == ("one", "prompt 9", ("nf4", "fp4")) and not path.exists()
    disk.release.set()
    preferences.close()
    again = Preferences.load(path)
    assert (again.last_model, again.recent_prompts[0], again.ticked, again.precision("ours")) == shown
    assert len(again.recent_prompts) == 10 and len(again.all_precisions()) == len(READY_PRECISIONS) + 1
    assert len(disk.writes) <= 2  # the one in progress, and one for all the rest
    preferences.set_last_model("another")  # ignored, because it is closed
    assert Preferences.load(path).last_model == "one"


def test_what_another_window_writes_before_this_one_can_stays(path: Path, disk: Disk) -> None:
    one, other = Preferences.load(path), Preferences.load(path)
    may_write = threading.Event()
    one.writer.submit(may_write.wait, 20)
    one.save_precision(MINE)
    one.remember_prompt("one")
    disk.release.set()
    other.save_precision(edited_int8())
    other.save_precision(msgspec.structs.replace(MINE, name="theirs"))
    other.save_precision(msgspec.structs.replace(MINE, label="the same name"))
    other.remember_prompt("other")
    other.close()
    may_write.set()
    one.close()
    for preferences in (one, other, Preferences.load(path)):
        assert [own.name for own in preferences.all_precisions()[len(READY_PRECISIONS) :]] == ["theirs", "mine"]
        assert preferences.precision("mine") == MINE and preferences.is_edited("int8")
        assert preferences.recent_prompts == ("one", "other") and not preferences.notice


def test_a_window_that_hangs_in_a_write_loses_nothing_of_anothers(path: Path, disk: Disk) -> None:
    one, other = Preferences.load(path), Preferences.load(path)
    one.remember_prompt("one")
    assert disk.begun.wait(20)
    disk.held = False  # lets the other's writes through
    other.set_last_model("other")
    flushing = threading.Thread(target=other.flush, daemon=True)
    flushing.start()
    flushing.join(timeout=1)
    disk.release.set()
    one.close()
    other.close()
    last = Preferences.load(path)
    assert (last.recent_prompts, last.last_model, one.notice, other.notice) == (("one",), "other", "", "")
    assert {file.name for file in path.parent.iterdir()} <= {path.name, f".{path.name}.lock"}


def test_a_write_that_waits_too_long_for_another_window_says_so_and_comes_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preferences_file, "LOCK_WAIT_S", 0.05)
    preferences = Preferences.load(path)
    path.parent.mkdir()
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    lock.acquire(timeout=0)
    preferences.set_last_model("gpt2")
    preferences.flush()
    assert "another window is still writing" in preferences.notice and not path.exists()
    lock.release()
    preferences.close()
    assert preferences.notice == "" and Preferences.load(path).last_model == "gpt2"


def test_a_change_that_is_taken_back_leaves_nothing_to_complain_of(path: Path, disk: Disk) -> None:
    disk.fails = True
    disk.release.set()
    preferences = Preferences.load(path)
    notices: list[str] = []
    preferences.tell(lambda: notices.append(preferences.notice))
    for model in ("gpt2", "another", None):
        preferences.set_last_model(model)
        preferences.flush()
    assert len(notices) == 2 and "No space left" in notices[0] and notices[1] == ""
    preferences.close()
    assert not path.exists()


def test_what_cannot_be_written_even_at_the_end_is_one_line_on_stderr(
    path: Path, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    disk.fails = True
    disk.release.set()
    preferences = Preferences.load(path)
    preferences.set_last_model("gpt2")
    preferences.close()
    preferences.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line and "No space left on device" in line


def test_whatever_a_write_fails_with_is_told_and_not_thrown(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(path: Path, data: bytes, *, private: bool) -> None:
        raise MemoryError

    preferences = Preferences.load(path)
    with monkeypatch.context() as patch:
        patch.setattr(preferences_file, "save_file", save)
        preferences.set_last_model("gpt2")
        preferences.flush()
    assert "MemoryError" in preferences.notice and preferences.last_model == "gpt2"
    preferences.close()
    assert preferences.notice == "" and Preferences.load(path).last_model == "gpt2"


def test_what_a_full_disk_did_not_take_is_written_with_the_next_change_or_at_the_end(path: Path, disk: Disk) -> None:
    disk.fails = True
    disk.release.set()
    preferences = Preferences.load(path)
    preferences.set_last_model("gpt2")
    preferences.flush()
    assert "No space left on device" in preferences.notice and preferences.last_model == "gpt2"
    preferences.remember_prompt("one")
    preferences.flush()
    assert not path.exists() and len(disk.writes) == 2
    disk.fails = False
    preferences.close()
    again = Preferences.load(path)
    assert (again.last_model, again.recent_prompts, preferences.notice) == ("gpt2", ("one",), "")


def test_a_file_that_is_damaged_or_goes_while_it_is_used_is_written_anew(path: Path) -> None:
    preferences = Preferences.load(path)
    preferences.save_precision(MINE)
    preferences.flush()
    path.write_bytes(b"[" * 100_000)
    assert preferences.precision("mine") == MINE
    preferences.set_last_model("gpt2")
    preferences.flush()
    aside = path.with_name(f"{path.name}.damaged-1")
    assert aside.exists() and aside.name in preferences.notice
    aside.unlink()
    shutil.rmtree(path.parent)
    preferences.remember_prompt("one")
    again = at_the_next_start(preferences)
    assert (again.precision("mine"), again.last_model, again.recent_prompts) == (MINE, "gpt2", ("one",))


def test_a_precision_of_ones_own_that_a_newer_version_has_as_well_gets_another_name(path: Path) -> None:
    path.parent.mkdir()
    own = b'{"name": "nf4", "label": "mine", "dtype": "float16"}, {"name": "nf4-2", "label": "", "dtype": "float16"}'
    path.write_bytes(b'{"custom": [%s], "last_model": "gpt2"}' % own)
    preferences = Preferences.load(path)
    assert [each.name for each in preferences.all_precisions()[len(READY_PRECISIONS) :]] == ["nf4-3", "nf4-2"]
    assert (preferences.last_model, preferences.notice) == ("gpt2", "")


def test_a_missing_file_means_defaults_and_is_not_written_by_reading(path: Path) -> None:
    preferences = Preferences.load(path)
    assert preferences.all_precisions() == READY_PRECISIONS
    assert preferences.ticked == DEFAULT_TICKED
    assert (preferences.recent_prompts, preferences.recent_folders, preferences.last_model) == ((), (), None)
    assert preferences.notice == ""
    assert not path.parent.exists()


def test_everything_is_there_at_the_next_start(path: Path, tmp_path: Path) -> None:
    preferences = Preferences.load(path)
    preferences.save_precision(MINE)
    preferences.save_precision(edited_int8())
    preferences.set_ticked(("mine", "fp4", "unheard-of"))
    preferences.remember_prompt("Zażółć\ngęślą 🙂")
    preferences.remember_folder(tmp_path)
    preferences.set_last_model("owner/name")

    again = at_the_next_start(preferences)
    assert again.precision("mine") == MINE
    assert again.precision("int8") == edited_int8()
    assert again.is_edited("int8")
    assert not again.is_edited("nf4")
    assert again.all_precisions()[-1] == MINE
    assert again.ticked == ("fp4", "mine")
    assert again.recent_prompts == ("Zażółć\ngęślą 🙂",)
    assert again.recent_folders == (tmp_path,)
    assert again.last_model == "owner/name"
    assert {file.name for file in path.parent.iterdir()} <= {path.name, f".{path.name}.lock"}


def test_an_unknown_name_is_answered_with_the_known_ones(path: Path) -> None:
    with pytest.raises(PlaygroundError) as caught:
        Preferences.load(path).precision("q4")
    assert caught.value.info.code is ErrorCode.BAD_PRECISION
    assert "'q4'" in str(caught.value)
    assert "fp32, bf16, fp16, int8, nf4, nf4-dq, fp4, fp4-dq" in str(caught.value)


def test_a_renamed_precision_keeps_its_place_and_its_tick(path: Path) -> None:
    preferences = Preferences.load(path)
    other = msgspec.structs.replace(MINE, name="other")
    preferences.save_precision(MINE)
    preferences.save_precision(other)
    preferences.set_ticked(("mine",))
    preferences.save_precision(msgspec.structs.replace(MINE, name="ours"), replacing="mine")
    assert [precision.name for precision in preferences.all_precisions()[-2:]] == ["ours", "other"]
    assert preferences.ticked == ("ours",)


@pytest.mark.parametrize(
    ("precision", "replacing"),
    [
        (msgspec.structs.replace(MINE, name="other"), "mine"),  # taken by one of the user's own precisions
        (msgspec.structs.replace(MINE, name="nf4"), "mine"),  # taken by a ready precision
        (msgspec.structs.replace(MINE, name="Not A Name"), None),
        (msgspec.structs.replace(MINE, quantization=Int8(threshold=float("nan"))), None),
        (msgspec.structs.replace(ready("fp32"), name="renamed"), "fp32"),
        (msgspec.structs.replace(ready("fp32"), dtype=Dtype.FLOAT16), None),  # no longer matches its name
        (msgspec.structs.replace(ready("nf4"), quantization=FourBit(quant_type="fp4")), None),
        (msgspec.structs.replace(ready("nf4"), quantization=FourBit(double_quantization=True)), None),
        (msgspec.structs.replace(ready("nf4"), quantization=Int8()), None),
        (msgspec.structs.replace(ready("int8"), label="Eight"), None),
    ],
)
def test_what_is_not_valid_is_refused_and_changes_nothing(
    path: Path, precision: Precision, replacing: str | None
) -> None:
    preferences = Preferences.load(path)
    preferences.save_precision(MINE)
    preferences.save_precision(msgspec.structs.replace(MINE, name="other"))
    before = preferences.all_precisions()
    with pytest.raises(PlaygroundError) as caught:
        preferences.save_precision(precision, replacing=replacing)
    assert caught.value.info.code is ErrorCode.BAD_PRECISION
    assert preferences.all_precisions() == before
    assert at_the_next_start(preferences).all_precisions() == before


def test_options_of_a_ready_precision_can_be_changed_and_reset(path: Path) -> None:
    preferences = Preferences.load(path)
    changed = msgspec.structs.replace(
        ready("nf4"), dtype=Dtype.FLOAT32, quantization=FourBit(compute_dtype=Dtype.FLOAT32), skip_modules=("x",)
    )
    preferences.save_precision(changed)
    assert preferences.precision("nf4") == changed
    preferences.reset_precision("nf4")
    assert preferences.precision("nf4") == ready("nf4")
    preferences.save_precision(changed)
    preferences.save_precision(ready("nf4"))
    assert not preferences.is_edited("nf4")


def test_removing_takes_the_tick_along_and_leaves_ready_ones_alone(path: Path) -> None:
    preferences = Preferences.load(path)
    preferences.save_precision(MINE)
    preferences.set_ticked(("fp32", "mine"))
    preferences.remove_precision("mine")
    preferences.remove_precision("fp32")
    assert preferences.all_precisions() == READY_PRECISIONS
    assert preferences.ticked == ("fp32",)


def test_new_names_are_free_and_valid(path: Path) -> None:
    preferences = Preferences.load(path)
    assert preferences.new_name("nf4") == "nf4-2"
    preferences.save_precision(msgspec.structs.replace(MINE, name="nf4-2"))
    assert preferences.new_name("nf4") == "nf4-3"
    msgspec.structs.replace(MINE, name=preferences.new_name("a" * 40)).checked()


def test_recent_prompts_are_newest_first_without_doubles_and_at_most_twenty(path: Path) -> None:
    preferences = Preferences.load(path)
    for number in range(25):
        preferences.remember_prompt(f"prompt {number}")
    preferences.remember_prompt("prompt 10")
    preferences.remember_prompt("  \n")
    preferences.remember_prompt("half a character \udc80")
    recent = at_the_next_start(preferences).recent_prompts
    assert recent[:3] == ("prompt 10", "prompt 24", "prompt 23")
    assert len(recent) == len(set(recent)) == 20


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b'{"ticked": 3}',
        b'{"custom": [{"name": "Not A Name", "label": "", "dtype": "float16"}]}',
        b'{"edited": {"fp32": {"name": "fp32", "label": "FP32", "dtype": "float16"}}}',
        b'{"edited": {"mine": {"name": "mine", "label": "mine", "dtype": "float16"}}}',
    ],
)
def test_a_damaged_file_is_set_aside_and_said(path: Path, damage: bytes) -> None:
    path.parent.mkdir()
    for number in (1, 2):
        path.write_bytes(damage)
        preferences = Preferences.load(path)
        assert preferences.all_precisions() == READY_PRECISIONS
        assert f"preferences.json.damaged-{number}" in preferences.notice
        assert (path.parent / f"preferences.json.damaged-{number}").read_bytes() == damage
        preferences.set_last_model("gpt2")
        assert at_the_next_start(preferences).last_model == "gpt2"


@pytest.mark.parametrize("writes", [False, True])
def test_a_damaged_file_that_another_window_mends_meanwhile_is_not_set_aside_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, writes: bool
) -> None:
    """Two windows that start together both read it before either has moved it."""
    path.parent.mkdir()
    path.write_bytes(b"{")
    read = preferences_file.read_kept

    def overtaken(file: Path) -> preferences_file.Kept:
        monkeypatch.setattr(preferences_file, "read_kept", read)
        try:
            return read(file)
        finally:
            other = Preferences.load(file)
            assert "damaged-1" in other.notice
            if writes:
                other.set_last_model("gpt2")
            other.close()

    monkeypatch.setattr(preferences_file, "read_kept", overtaken)
    preferences = Preferences.load(path)
    assert not preferences.notice and preferences.last_model == ("gpt2" if writes else None)
    preferences.remember_prompt("one")
    again = at_the_next_start(preferences)
    assert again.last_model == preferences.last_model and again.recent_prompts == ("one",)
    (aside,) = path.parent.glob("*.damaged-*")
    assert aside.read_bytes() == b"{"


def test_a_file_of_a_later_version_with_more_in_it_is_read(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"version": 2, "last_model": "gpt2", "novelty": [1, 2]}')
    preferences = Preferences.load(path)
    assert (preferences.last_model, preferences.notice) == ("gpt2", "")


def test_what_cannot_be_written_is_said_and_still_holds_until_the_end(tmp_path: Path) -> None:
    preferences = Preferences.load(tmp_path / "config" / "preferences.json")
    (tmp_path / "config").write_text("a file where the folder should be")
    preferences.set_last_model("gpt2")
    preferences.flush()
    assert preferences.last_model == "gpt2"
    assert "cannot be written" in preferences.notice


def test_a_write_that_fails_half_way_leaves_the_old_file_and_no_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preferences = Preferences.load(path)
    preferences.set_last_model("gpt2")
    preferences.flush()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    preferences.set_last_model("other")
    preferences.flush()
    assert "No space left on device" in preferences.notice
    assert {file.name for file in path.parent.iterdir()} <= {path.name, f".{path.name}.lock"}
    assert Preferences.load(path).last_model == "gpt2"


def test_nothing_is_overwritten_that_could_neither_be_read_nor_moved(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir()
    path.write_bytes(b"{")

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        preferences = Preferences.load(path)
    preferences.set_last_model("gpt2")
    preferences.flush()
    assert preferences.last_model == "gpt2"
    assert "Nothing is kept this time" in preferences.notice
    assert path.read_bytes() == b"{"


def test_what_was_run_last_is_there_at_the_next_start(path: Path) -> None:
    request = GenerationRequest(prompt="Once", settings=GenerationSettings(max_new_tokens=7, do_sample=True, seed=3))
    preferences = Preferences.load(path)
    preferences.remember_request(request)
    again = at_the_next_start(preferences)
    assert again.last_request == request
    assert again.recent_prompts == ("Once",)


@pytest.mark.parametrize("settings", ['{"max_new_tokens": -1}', '{"min_p": 0.1}', '{"seed": "x"}', "3"])
def test_a_request_of_another_version_costs_nothing_else(path: Path, settings: str) -> None:
    path.parent.mkdir()
    path.write_text(f'{{"ticked": ["nf4"], "last_request": {{"prompt": "Once", "settings": {settings}}}}}')
    preferences = Preferences.load(path)
    assert preferences.last_request is None
    assert preferences.ticked == ("nf4",)
    assert preferences.notice == ""


def test_two_windows_that_change_different_run_options_keep_both(tmp_path: Path) -> None:
    one, other = (Preferences(tmp_path / "preferences.json") for _ in range(2))
    assert one.run_choices == other.run_choices
    one.set_run_choices(keep_loaded=True)
    other.set_run_choices(rounds=5)
    one.close()
    other.close()
    kept = Preferences(tmp_path / "preferences.json").run_choices
    assert (kept.keep_loaded, kept.rounds) == (True, 5)
