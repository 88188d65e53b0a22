"""What is said once of several runs."""

from qplayground.core.notes import notes, notes_on
from tests.comparisons import comparison, done


def test_there_is_nothing_to_say_of_sound_figures() -> None:
    assert notes(comparison(done(), done("nf4"))) == ()


def test_what_is_true_of_several_runs_is_said_once_with_each_ones_measure() -> None:
    first, second, third = done("fp32"), done("bf16"), done("nf4")
    first.load.disk_share, second.load.disk_share = 0.96, 0.85
    (note,) = notes(comparison(first, second, third))
    measures = "fp32 (96% of the file read from the disk), bf16 (85% of the file read from the disk)"
    assert note.sentence == f"{measures}: a cold load; from memory it is faster."


def test_what_spoils_comes_before_what_explains() -> None:
    slow, wide = done("int8"), done("fp32")
    slow.memory.weight_bytes, wide.memory.weight_bytes = 1, 2
    slow.speed.decode_tokens_per_s, wide.speed.decode_tokens_per_s = 1.0, 2.0
    wide.load.disk_share = 0.5
    shown = comparison(slow, wide)
    shown.baseline = "fp32"
    assert [note.spoils for note in notes(shown)] == [True, False]
    assert notes(shown)[1].sentence.startswith("int8: smaller than fp32, and slower")
    (alone,) = notes_on(shown, slow)
    assert alone.sentence.startswith("Smaller than fp32, and slower") and not alone.spoils
