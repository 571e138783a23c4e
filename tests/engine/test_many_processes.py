"""Training and testing in two processes, beside one."""

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from equality import assert_equal
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.engine.train import Interrupted
from faster_rcnn.engine.train_record import TrainRecord
from faster_rcnn.utils.distributed import collectives
from faster_rcnn.weights.checkpoint import load_checkpoint
from many_processes import in_processes, start_processes
from tiny_runs import (
    checkpoint_names,
    draw_dataset,
    read_metrics,
    run_test,
    tiny_config,
    tiny_detector,
    train_tiny,
)

pytestmark = pytest.mark.processes

# Two images per update in any case: one process makes two passes, or two one each.
WORDS = [
    *("net.norm", "frozen", "train.batch_size", 1, "train.images_per_update", 2),
    *("train.iterations", 4, "train.clip_norm", 5, "train.snapshot_every", 2),
]


@pytest.fixture(scope="module")
def alone(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    train_tiny(dataset, tiny_config(*WORDS), folder)
    return folder


def train_here(dataset, config, folder, seed=0):
    train_tiny(dataset, config, folder, seed=seed + collectives.process_rank().rank)
    assert collectives.process_rank().processes == 2


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    # Their first weights differ: those of the main process count.
    in_processes(train_here, dataset, tiny_config(*WORDS), folder)
    return folder


@pytest.fixture
def together(finished, tmp_path):
    """The finished run of two processes."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def assert_same_run(one, other):
    """Weights, momenta and logged numbers agree to rounding."""
    states = [load_checkpoint(RunFolder(f).newest_checkpoint()) for f in (one, other)]
    assert states[0]["iteration"] == states[1]["iteration"]
    assert_close(states[0]["model"], states[1]["model"])
    assert_close(states[0]["optimizer"]["state"], states[1]["optimizer"]["state"])
    lines = list(zip(read_metrics(one), read_metrics(other), strict=True))
    assert len(lines) == states[0]["iteration"]
    for line, other_line in lines:
        assert line == pytest.approx(other_line, rel=2e-4, abs=1e-6)


def assert_close(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, dict):
            assert_close(value, other[key])
        elif isinstance(value, torch.Tensor) and value.is_floating_point():
            torch.testing.assert_close(value, other[key], rtol=1e-3, atol=2e-5)


def test_two_processes_train_as_one(alone, together):
    assert checkpoint_names(together) == ["iter_0000002.pth", "iter_0000004.pth"]
    assert_same_run(together, alone)


def test_a_run_resumes_with_another_number_of_processes(dataset, alone, together):
    (together / "checkpoints" / "iter_0000004.pth").unlink()
    train_tiny(dataset, tiny_config(*WORDS), together, seed=7)
    assert_same_run(together, alone)


def test_resumed_run_of_two_processes_equals_an_unbroken_one(dataset, together):
    last = together / "checkpoints" / "iter_0000004.pth"
    want, lines = load_checkpoint(last), read_metrics(together)
    last.unlink()
    in_processes(train_here, dataset, tiny_config(*WORDS), together, 9)
    found = load_checkpoint(last)
    for key in ("model", "optimizer", "iteration", "generator"):
        assert_equal(found[key], want[key])
    assert read_metrics(together) == lines


NORMS = [
    *("net.norm", "batch", "data.size_multiple", 32, "train.images_per_update", 3),
    *("train.batch_size", 1, "train.iterations", 3, "train.snapshot_every", 1),
    *("train.lr", 1e-6, "train.ema", 0.5),
]


def statistics_here(dataset, config, folder):
    model = train_tiny(dataset, config, folder)
    # As arrays, which go through a pipe without shared memory.
    return {k: v.numpy() for k, v in statistics_of(model.state_dict()).items()}


def statistics_of(state):
    return {k: v for k, v in state.items() if "running" in k or "tracked" in k}


def test_statistics_of_trained_norms_are_those_of_one_process(dataset, tmp_path):
    """Here of one and two passes; and a run goes on with another number of them."""
    config = tiny_config(*NORMS)
    want = tensors(statistics_here(dataset, config, tmp_path / "1"))
    first = statistics_of(tiny_detector(config).state_dict())
    moved = [(v - first[k]).abs().max() for k, v in want.items() if "var" in k]
    assert max(moved) > 0.1  # the passes make a difference
    assert all(v == 9 for k, v in want.items() if "tracked" in k)
    folder = tmp_path / "2"
    found = list(map(tensors, in_processes(statistics_here, dataset, config, folder)))
    assert_equal(found[1], found[0])  # to the bit, as they have to stay
    assert_close_statistics(found[0], want)
    state, alone = (
        load_checkpoint(RunFolder(tmp_path / name).checkpoint(3)) for name in "21"
    )
    assert_equal(statistics_of(state["model"]), found[0])
    averages = (statistics_of(s["ema"]["weights"]) for s in (state, alone))
    assert_close_statistics(*averages)
    # A run that began with two processes goes on with one.
    for iteration in (2, 3):
        RunFolder(folder).checkpoint(iteration).unlink()
    resumed = tensors(statistics_here(dataset, config, folder))
    assert_close_statistics(resumed, want)


def tensors(arrays):
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def assert_close_statistics(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        torch.testing.assert_close(value, other[key], rtol=1e-2, atol=1e-3)


def stop_one(dataset, config, folder):
    """Send a signal to the second process alone."""
    if not collectives.is_main():
        step, signals = torch.optim.SGD.step, iter([signal.SIGTERM])

        def with_signal(*arguments, **options):
            for number in signals:  # in the first step alone
                os.kill(os.getpid(), number)
            return step(*arguments, **options)

        torch.optim.SGD.step = with_signal
    with pytest.raises(Interrupted) as caught:
        train_here(dataset, config, folder)
    return str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_all_stop_after_the_same_update(dataset, alone, tmp_path):
    texts = in_processes(stop_one, dataset, tiny_config(*WORDS), tmp_path)
    assert texts[0].startswith("stopped by another process after iteration 2;")
    assert texts[1].startswith("stopped by SIGTERM after iteration 2;")
    assert checkpoint_names(tmp_path) == ["iter_0000002.pth"]


def fail_to_log(dataset, config, folder):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    TrainRecord.step = full
    train_here(dataset, config, folder)


def test_full_disk_of_the_main_process_ends_all(dataset, tmp_path):
    ended = start_processes(fail_to_log, dataset, tiny_config(*WORDS), tmp_path)
    assert [status for status, _ in ended] == [1, 1]


def test_images_without_objects_on_one_side(tmp_path):
    """Every parameter takes part though no loss reaches it; else all would hang."""
    dataset = draw_dataset(tmp_path / "images", 2)
    bare = dataset.records[0]
    for name in ("boxes", "classes", "difficult", "crowd", "areas", "object_ids"):
        object.__setattr__(bare, name, getattr(bare, name)[:0])
    in_processes(train_here, dataset, tiny_config(*WORDS), tmp_path / "run")
    assert len(read_metrics(tmp_path / "run")) == 4


def results_here(dataset, config, folder):
    evaluation = run_test(dataset, config, folder)
    return None if evaluation is None else evaluation.to_json()


@pytest.mark.parametrize("images", [1, 7])
def test_detections_are_those_of_one_process(tmp_path, images):
    dataset = draw_dataset(tmp_path / "images", images)
    config = tiny_config("data.test_short_side", 32, "test.batch_size", 2)
    want = results_here(dataset, config, tmp_path / "one")
    first, second = in_processes(results_here, dataset, config, tmp_path / "two")
    assert first == want and second is None
    one, two = (
        (tmp_path / name / "detections.json").read_bytes() for name in ("one", "two")
    )
    assert one == two and len(one) > 1000
