"""What disturbs a figure, how that is noticed, and when it is reported."""

import pytest
from msgspec.structs import replace

from qplayground.core.comparison.caveats import caveats
from qplayground.core.system import processor
from qplayground.core.system.processor import ProcessorTimes, read_processor, used_by_others
from tests.comparisons import MACHINE, change_model, comparison, done


@pytest.mark.parametrize(
    ("span_s", "busy_s", "own_s", "others"),
    [
        (1.0, 1.5, 0.5, 1.0),
        (2.0, 4.0, 4.0, 0.0),
        (2.0, 3.9, 4.0, 0.0),  # the machine's clock is coarser than a process's own
        (0.1, 0.2, 0.0, None),
    ],
)
def test_what_others_used(span_s: float, busy_s: float, own_s: float, others: float | None) -> None:
    assert used_by_others(ProcessorTimes(5, 70, 3), ProcessorTimes(5 + span_s, 70 + busy_s, 3 + own_s)) == others


def test_the_clocks_go_on() -> None:
    before = read_processor()
    while read_processor().time_s < before.time_s + 2 * processor.SHORTEST_S:
        pass
    after = read_processor()
    assert after.own_s > before.own_s
    assert after.busy_s >= before.busy_s
    assert used_by_others(before, after) is not None


@pytest.mark.parametrize(
    ("threads", "cpus", "others", "said"),
    [
        (2, 2, 0.15, False),
        (2, 2, 0.3, True),
        (32, 32, 3.0, True),  # three threads of 32 delay all
        (4, 8, 3.0, False),  # there was room for them
        (4, 8, 4.5, True),
        (2, None, 0.3, True),
    ],
)
def test_others_matter_where_they_take_from_the_threads(
    threads: int, cpus: int | None, others: float, said: bool
) -> None:
    run = done()
    run.speed.other_cpus = others
    both = comparison(run, machine=replace(MACHINE, cpu_threads=threads, cpus=cpus))
    assert bool(caveats(both, run)) is said


def test_a_gpu_writes_whatever_the_processor_does() -> None:
    run = done()
    run.speed.other_cpus = 2.0
    run.device_map = {"": "cuda:0"}
    assert caveats(comparison(run), run) == ()
    run.device_map = {"a": "cuda:0", "b": "cpu"}
    away, disturbed = caveats(comparison(run), run)
    assert "copied to the GPU" in away.text and not away.spoils and disturbed.spoils


def test_a_part_that_went_elsewhere_than_was_shown_is_named() -> None:
    run = done()
    run.requested_map = {"": "cuda:0"}
    run.device_map = {"": "cuda:0"}
    assert caveats(comparison(run), run) == ()
    run.device_map = {"embed": "cuda:0", "layers.0": "cuda:0", "layers.1": "cuda:0"}
    assert caveats(comparison(run), run) == ()  # the same, said more precisely
    run.device_map = {"embed": "cuda:0", "layers.0": "cpu", "layers.1": "cpu"}
    moved = caveats(comparison(run), run)[0]
    assert moved.sentence.startswith(
        "2 parts of the model: not placed as was shown before, layers.0 on cpu and not on "
    )
    assert not moved.spoils


@pytest.mark.parametrize(("made_for", "said"), [(None, False), (5, False), (4, True)])
def test_a_text_that_is_longer_than_the_model_was_made_for_says_so(made_for: int | None, said: bool) -> None:
    run = done("nf4")
    run.prompt_tokens, run.token_ids = 3, [1, 2]
    compared = comparison(run)
    change_model(compared, context_tokens=made_for)
    found = [caveat.sentence for caveat in caveats(compared, run)]
    assert found == (
        ["5 tokens: more than the 4 that the model was made for, so the text can become nonsense."] if said else []
    )


def test_a_load_from_the_disk_says_so() -> None:
    run = done()
    run.load.disk_share = 0.05
    assert caveats(comparison(run), run) == ()
    run.load.disk_share = 0.96
    (caveat,) = caveats(comparison(run), run)
    assert caveat.sentence == "96 % of the file read from the disk: a load from memory is faster."
    assert caveat.spoils == {"load_s"}


def test_a_race_is_no_comparison() -> None:
    run = done()
    run.beside, run.speed.other_cpus = 1, 1.0
    (caveat,) = caveats(comparison(run, done("nf4")), run)
    assert "for show" in caveat.sentence  # and the other racer is not "something else"


@pytest.mark.parametrize("predicted", [None, 1000])
def test_a_kept_model_has_an_old_load_time_and_peak(predicted: int | None) -> None:
    run = done()
    run.load.kept, run.memory.predicted_resident_bytes = True, predicted
    (caveat,) = caveats(comparison(run), run)
    assert "Was in memory already" in caveat.sentence and caveat.spoils == {"load_s"}
    assert "its load peak" in caveat.sentence
    assert ("was not predicted" in caveat.sentence) is (predicted is None)


def test_what_else_ran_does_not_disturb_what_is_on_a_gpu() -> None:
    run = done()
    run.speed.other_cpus = 8.0
    for device in ("cuda:0", "mps"):
        run.device_map = {"": device}
        assert not caveats(comparison(run), run)
        run.device_map = {"layers": device, "head": "cpu"}
        said = [caveat.text for caveat in caveats(comparison(run), run)]
        assert any("copied to the GPU" in text for text in said) and any("disturbed" in text for text in said)
