"""Runs with averaged weights, validation and early stopping."""

import json
import os
import signal

import pytest
import torch
from equality import assert_equal
from faster_rcnn.engine import validation, validation_metrics
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.engine.train import Interrupted
from faster_rcnn.engine.validation_metrics import ValidationMetrics
from faster_rcnn.inference.detector_evaluation import evaluate_detector as run_test
from faster_rcnn.utils.distributed import collectives
from faster_rcnn.weights.checkpoint import detector_weights, load_checkpoint
from faster_rcnn.weights.recognition import import_weights
from many_processes import in_processes
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import (
    CPU,
    at_iteration,
    checkpoint_names,
    draw_dataset,
    read_metrics,
    tiny_config,
    tiny_detector,
    train_tiny,
)

pytestmark = pytest.mark.slow

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    return draw_dataset(tmp_path_factory.mktemp("held out"), 3, seed=1)


def newest(folder):
    return load_checkpoint(RunFolder(folder).newest_checkpoint())


def validations(folder):
    return [line for line in read_metrics(folder) if "val/loss" in line]


@pytest.fixture(scope="module")
def plain(dataset, tmp_path_factory):
    """A run without any of it, every update saved."""
    folder = tmp_path_factory.mktemp("plain")
    config = tiny_config("train.snapshot_every", 1, "train.snapshots_kept", 10)
    train_tiny(dataset, config, folder)
    return folder


def test_training_is_the_same_with_average_and_validation(
    tmp_path, dataset, held_out, plain
):
    config = tiny_config("train.ema", 0.5, "train.validate_every", 1)
    train_tiny(dataset, config, tmp_path, validation_set=held_out)
    with_both, without = newest(tmp_path), newest(plain)
    assert with_both.keys() - without.keys() == {"ema", "validation"}
    for key in without.keys() - {"config"}:
        assert_equal(with_both[key], without[key])
    lines = [line for line in read_metrics(tmp_path) if "val/loss" not in line]
    assert lines == read_metrics(plain)


def test_average_is_that_of_the_saved_weights(tmp_path, dataset, plain):
    config = tiny_config("train.ema", 0.2)
    train_tiny(dataset, config, tmp_path)
    average = newest(tmp_path)["ema"]
    first = tiny_detector(config, classes=3).state_dict()
    want = {name: first[name].double() for name in average["weights"]}
    # The net is trained from random weights, its norms included.
    assert "backbone.features.0.1.running_var" in want
    assert "pixel_mean" not in want
    for t, path in enumerate(RunFolder(plain).checkpoints()):
        weights = load_checkpoint(path)["model"]
        decay = min(0.2, (1 + t) / (10 + t))
        for name, mean in want.items():
            want[name] = decay * mean + (1 - decay) * weights[name].double()
    assert average["updates"] == 4
    for name, mean in want.items():
        found = average["weights"][name].double()
        torch.testing.assert_close(found, mean, rtol=1e-5, atol=1e-6)


def test_validation_sees_the_averaged_weights(tmp_path, dataset, held_out):
    config = tiny_config("train.ema", 0.9, "train.validate_every", 4)
    train_tiny(dataset, config, tmp_path / "run", validation_set=held_out)
    state = load_checkpoint(RunFolder(tmp_path / "run").best_checkpoint)
    assert state["iteration"] == 4
    (line,) = validations(tmp_path / "run")

    def losses_of(averaged):
        model = tiny_detector(config)
        model.load_state_dict(detector_weights(state, averaged=averaged))
        place = {"device": CPU, "dtype": torch.float32}
        if averaged:
            folder = tmp_path / "test"
            test = run_test(
                model, held_out, config, folder=folder, checkpoint="", **place
            )
            assert (
                test.scalars().items()
                <= {
                    name.removeprefix("val/"): value for name, value in line.items()
                }.items()
            )
        return validation_metrics.measure(model, held_out, config, **place).loss

    assert losses_of(True) == line["val/loss"] != losses_of(False)
    # They are also what others take the file's weights for.
    name = "box_head.predictor.scores.weight"
    imported = import_weights(RunFolder(tmp_path / "run").best_checkpoint)
    assert torch.equal(imported.state[name], state["ema"]["weights"][name])
    assert not torch.equal(state["model"][name], state["ema"]["weights"][name])


def test_validation_is_logged(tmp_path, dataset, held_out, caplog):
    config = tiny_config("train.iterations", 5, "train.validate_every", 2)
    with caplog.at_level("INFO", "faster_rcnn"):
        train_tiny(dataset, config, tmp_path, validation_set=held_out)
    lines = validations(tmp_path)
    assert [line["iteration"] for line in lines] == [2, 4, 5]
    assert {"val/rpn_cls", "val/head_box", "val/mAP_07", "val/AP_07/disc"} <= set(
        lines[0]
    )
    events = EventAccumulator(str(RunFolder(tmp_path).tensorboard)).Reload()
    for name in ("val/loss", "val/mAP_07"):
        curve = [(event.step, event.value) for event in events.Scalars(name)]
        want = [(line["iteration"], pytest.approx(line[name])) for line in lines]
        assert curve == want
    told = [m for m in caplog.messages if m.startswith("validation after")]
    assert told[0] == (
        f"validation after 2 iterations: loss {lines[0]['val/loss']:.4f}, mAP_07 "
        f"{lines[0]['val/mAP_07']:.4f}, the best so far"
    )


WORDS = [
    *("train.iterations", 6, "train.snapshot_every", 3, "train.validate_every", 2),
    *("train.ema", 0.9, "train.log_every", 2, "train.snapshots_kept", 9),
    *("train.best_by", "loss"),
]


@pytest.fixture(scope="module")
def unbroken(dataset, held_out, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    train_tiny(dataset, tiny_config(*WORDS), folder, validation_set=held_out)
    return folder


@posix
def test_resumed_run_equals_an_unbroken_one(
    tmp_path, dataset, held_out, unbroken, monkeypatch
):
    config = tiny_config(*WORDS)
    # Between two validations, and where one is due.
    for stop, seed in ((3, 0), (4, 17)):
        at_iteration(monkeypatch, stop, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted, match=f"after iteration {stop};"):
            train_tiny(
                dataset,
                config,
                tmp_path / "broken",
                seed=seed,
                validation_set=held_out,
            )
        done = [line["iteration"] for line in validations(tmp_path / "broken")]
        assert done == [2]
    train_tiny(dataset, config, tmp_path / "broken", seed=18, validation_set=held_out)
    assert_same_run(unbroken, tmp_path / "broken")


def assert_same_run(one, other):
    """The last state, the best state and all numbers are the same to the bit."""
    runs = [RunFolder(folder) for folder in (one, other)]
    assert_equal(*(load_checkpoint(run.newest_checkpoint()) for run in runs))
    assert_equal(*(load_checkpoint(run.best_checkpoint) for run in runs))
    first, second = (run.metrics_file.read_bytes() for run in runs)
    assert first == second and first.count(b"val/loss") == 3


@posix
@pytest.mark.parametrize("stop", [2, 6])
def test_signal_during_a_validation(
    tmp_path, dataset, held_out, unbroken, monkeypatch, stop
):
    config = tiny_config(*WORDS)
    measure_batch = validation_metrics._measure_batch

    def with_signal(*arguments, **options):
        # Within the validation that follows this number of them.
        if len(validations(tmp_path / "broken")) == stop // 2 - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return measure_batch(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(validation_metrics, "_measure_batch", with_signal)
        with pytest.raises(Interrupted, match=f"SIGTERM after iteration {stop};"):
            train_tiny(dataset, config, tmp_path / "broken", validation_set=held_out)
    assert newest(tmp_path / "broken")["iteration"] == stop
    train_tiny(dataset, config, tmp_path / "broken", seed=5, validation_set=held_out)
    assert_same_run(unbroken, tmp_path / "broken")


def scripted(monkeypatch, scores):
    """Have validations give these scores."""
    left = iter(scores)

    def measure(*arguments, **options):
        ap = next(left)
        return ValidationMetrics({"rpn_cls": 1.0}, {"AP": ap}, ("AP", ap))

    monkeypatch.setattr(validation, "measure", measure)


STOPPING = [
    *("train.iterations", 20, "train.validate_every", 2, "train.patience", 2),
    *("train.snapshots_kept", 1),
]


def test_early_stopping_and_the_best_checkpoint(
    tmp_path, dataset, held_out, monkeypatch, caplog
):
    scripted(monkeypatch, [0.1, 0.4, 0.3, 0.4])
    config = tiny_config(*STOPPING, "train.validate_every", 1)
    with caplog.at_level("INFO", "faster_rcnn"):
        train_tiny(dataset, config, tmp_path, validation_set=held_out)
    assert caplog.messages.count("stopped early after iteration 4") == 1
    assert checkpoint_names(tmp_path) == ["iter_0000004.pth"]
    best = load_checkpoint(RunFolder(tmp_path).best_checkpoint)
    assert best["iteration"] == 2
    assert best["validation"] == {
        **{"last": 2, "best": 0.4, "best_iteration": 2, "without_gain": 0}
    }
    # The same command finds it finished.
    before = RunFolder(tmp_path).metrics_file.read_bytes()
    train_tiny(dataset, config, tmp_path, seed=3, validation_set=held_out)
    assert checkpoint_names(tmp_path) == ["iter_0000004.pth"]
    assert RunFolder(tmp_path).metrics_file.read_bytes() == before


def test_early_stopping_is_remembered_across_a_stop(
    tmp_path, dataset, held_out, monkeypatch
):
    scripted(monkeypatch, [0.4, 0.1, 0.2])
    at_iteration(monkeypatch, 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    config = tiny_config(*STOPPING)
    with pytest.raises(Interrupted):
        train_tiny(dataset, config, tmp_path, validation_set=held_out)
    train_tiny(dataset, config, tmp_path, validation_set=held_out)
    assert checkpoint_names(tmp_path) == ["iter_0000006.pth"]


def train_here(dataset, held_out, config, folder, seed=0):
    # The first weights differ: those of the main process count.
    seed += collectives.process_rank().rank
    train_tiny(dataset, config, folder, seed=seed, validation_set=held_out)


# Two images per update in any case: one process makes two passes, or two one each.
SHARED = ["train.batch_size", 1, "train.images_per_update", 2, "train.ema", 0.9]


@pytest.mark.processes
def test_two_processes_validate_as_one(tmp_path, dataset, held_out):
    # Norms are trained, each process's on its own images: those of the main one count.
    config = tiny_config(
        *(*SHARED, "train.validate_every", 2, "train.snapshot_every", 2),
        *("test.batch_size", 1),
    )
    in_processes(train_here, dataset, held_out, config, tmp_path)
    line = validations(tmp_path)[-1]
    state = newest(tmp_path)
    model = tiny_detector(config)
    model.load_state_dict(detector_weights(state, averaged=True))
    alone = validation_metrics.measure(
        model, held_out, config, device=CPU, dtype=torch.float32
    )
    assert line == {"iteration": 4} | alone.numbers()

    (tmp_path / "checkpoints" / "iter_0000004.pth").unlink()
    lines = read_metrics(tmp_path)
    in_processes(train_here, dataset, held_out, config, tmp_path, 9)
    again = newest(tmp_path)
    for key in ("model", "ema", "optimizer", "validation"):
        assert_equal(again[key], state[key])
    assert read_metrics(tmp_path) == lines


def train_scripted(dataset, held_out, config, folder):
    """The main process alone knows the scores."""
    with pytest.MonkeyPatch.context() as patch:
        scores = iter([0.4, 0.1, 0.2])

        def add_up(*arguments):
            assert collectives.is_main()
            ap = next(scores)
            return ValidationMetrics({"rpn_cls": 1.0}, {"AP": ap}, ("AP", ap))

        patch.setattr(validation_metrics, "_add_up", add_up)
        train_tiny(dataset, config, folder, validation_set=held_out)
    return json.dumps(collectives.gather("done"))


@pytest.mark.processes
def test_all_processes_stop_early_together(tmp_path, dataset, held_out):
    config = tiny_config(*STOPPING, *SHARED, "net.norm", "frozen")
    ended = in_processes(train_scripted, dataset, held_out, config, tmp_path)
    assert ended == ['["done", "done"]', "[]"]
    assert checkpoint_names(tmp_path) == ["iter_0000006.pth"]
    best = load_checkpoint(RunFolder(tmp_path).best_checkpoint)
    assert best["iteration"] == 2


def stop_one(dataset, held_out, config, folder):
    """Send a signal to the second process alone, in its validation."""
    measure_batch = validation_metrics._measure_batch

    def with_signal(*arguments, **options):
        validation_metrics._measure_batch = measure_batch
        if not collectives.is_main():
            os.kill(os.getpid(), signal.SIGTERM)
        return measure_batch(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation_metrics, "_measure_batch", with_signal)
        with pytest.raises(Interrupted) as caught:
            train_tiny(dataset, config, folder, validation_set=held_out)
    return str(caught.value)


@pytest.mark.processes
@posix
def test_signal_to_one_process_in_a_validation(tmp_path, dataset):
    config = tiny_config(
        *SHARED, "train.validate_every", 2, "net.norm", "frozen", "test.batch_size", 1
    )
    texts = in_processes(stop_one, dataset, dataset, config, tmp_path)
    assert texts[0].startswith("stopped by another process after iteration 2;")
    assert texts[1].startswith("stopped by SIGTERM after iteration 2;")
    assert checkpoint_names(tmp_path) == ["iter_0000002.pth"]
    assert not validations(tmp_path)
