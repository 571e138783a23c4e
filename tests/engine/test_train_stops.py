"""Runs that stop: losses that are not finite, signals, a full disk."""

import errno
import logging
import os
import signal
import threading
import time

import pytest
import torch
from equality import assert_equal
from faster_rcnn.engine import train_record
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.engine.train import Interrupted, NonFiniteLossError, check_finite
from faster_rcnn.utils import files
from faster_rcnn.weights.checkpoint import load_checkpoint
from patience import PATIENCE
from spoilt_losses import spoil_gradient, spoilt
from tiny_runs import (
    at_iteration,
    checkpoint_names,
    read_metrics,
    tiny_config,
    train_tiny,
)

pytestmark = pytest.mark.slow

# Losses that are not finite.


SPOILT = ("train.iterations", 4, "train.snapshot_every", 2, "train.log_every", 10)


@pytest.fixture(scope="module")
def sound_run(tmp_path_factory, dataset):
    folder = tmp_path_factory.mktemp("sound")
    train_tiny(dataset, tiny_config(*SPOILT), folder)
    return {i: load_checkpoint(RunFolder(folder).checkpoint(i)) for i in (2, 4)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda loss: loss * float("nan"), "rpn_box is nan"),
        (lambda loss: loss + float("inf"), "rpn_box is inf"),
        (spoil_gradient, "gradient norm is nan"),
    ],
    ids=["nan", "inf", "gradient"],
)
def test_loss_that_is_not_finite_stops_at_once(
    tmp_path, dataset, sound_run, change, message
):
    config = tiny_config(*SPOILT)
    with spoilt([4], change), pytest.raises(NonFiniteLossError) as caught:
        train_tiny(dataset, config, tmp_path)
    text = str(caught.value)
    assert text.startswith(f"{message} at iteration 4, images image")
    assert text.count("image") > 2 and "train.lr" in text
    # The last good checkpoint is there, and sound.
    run = RunFolder(tmp_path)
    assert run.checkpoints() == [run.checkpoint(2)]
    assert not read_metrics(tmp_path)
    assert_equal(load_checkpoint(run.checkpoint(2)), sound_run[2])
    # The same command goes on from it.
    train_tiny(dataset, config, tmp_path, seed=4)
    assert_equal(load_checkpoint(run.checkpoint(4)), sound_run[4])


def test_images_of_the_guilty_batch_are_named(tmp_path, dataset, monkeypatch):
    seen = []
    step = train_record.TrainRecord.step
    monkeypatch.setattr(
        train_record.TrainRecord,
        "step",
        lambda self, done, model, batch, *rest, **options: (
            seen.append(batch.image_ids),
            step(self, done, model, batch, *rest, **options),
        ),
    )
    config = tiny_config("train.iterations", 3)
    train_tiny(dataset, config, tmp_path / "sound")
    with spoilt([3]), pytest.raises(NonFiniteLossError) as caught:
        train_tiny(dataset, config, tmp_path / "spoilt")
    assert f"images {', '.join(seen[2])}. " in str(caught.value)


def test_learning_rate_far_too_high(tmp_path, dataset):
    config = tiny_config(
        "train.iterations", 20, "train.lr", 1e12, "train.snapshot_every", 1
    )
    with pytest.raises(NonFiniteLossError, match=r"is (nan|inf) at iteration [2-9],"):
        train_tiny(dataset, config, tmp_path)
    state = load_checkpoint(RunFolder(tmp_path).newest_checkpoint())
    weights = [v for v in state["model"].values() if v.is_floating_point()]
    assert weights and state["iteration"] == len(read_metrics(tmp_path))


def test_check_finite():
    fine = {"a": torch.tensor(1e30), "b": torch.tensor(-2)}
    check_finite(fine, 0, ("x",))
    for bad in (float("nan"), float("inf"), float("-inf")):
        values = {**fine, "c": torch.tensor(bad)}
        with pytest.raises(NonFiniteLossError, match=r"^c is .*iteration 8, .*x, y\."):
            check_finite(values, 7, ("x", "y"))


# Signals.

SHORT = tiny_config("train.iterations", 2)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_and_stops(tmp_path, dataset, monkeypatch, number, caplog):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    at_iteration(monkeypatch, 2, lambda: os.kill(os.getpid(), number))
    caplog.set_level(logging.INFO, "faster_rcnn")
    with pytest.raises(Interrupted, match=f"{number.name} after iteration 2; the same"):
        train_tiny(dataset, tiny_config(), tmp_path)
    assert checkpoint_names(tmp_path) == ["iter_0000002.pth"]
    load_checkpoint(RunFolder(tmp_path).newest_checkpoint())
    assert any(
        message.startswith(f"{number.name}: saving") for message in caplog.messages
    )
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("before", [signal.default_int_handler, signal.SIG_IGN])
def test_second_signal_stops_at_once(tmp_path, dataset, monkeypatch, before):
    """Also where the parent had SIGINT ignored, as a script's background job has."""
    ours = signal.signal(signal.SIGINT, before)

    def twice():
        first = signal.getsignal(signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        # The system counts two as one where the first has not been taken yet.
        end = time.monotonic() + PATIENCE
        while signal.getsignal(signal.SIGINT) is first and time.monotonic() < end:
            pass
        os.kill(os.getpid(), signal.SIGINT)

    at_iteration(monkeypatch, 2, twice)
    try:
        with pytest.raises(KeyboardInterrupt):
            train_tiny(dataset, tiny_config(), tmp_path)
    finally:
        left = signal.signal(signal.SIGINT, ours)
    assert not checkpoint_names(tmp_path)
    assert left is before


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_signal_in_the_last_iteration_ends_the_run(tmp_path, dataset, monkeypatch):
    at_iteration(monkeypatch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted, match="SIGTERM after iteration 2"):
        train_tiny(dataset, SHORT, tmp_path)
    assert checkpoint_names(tmp_path) == ["iter_0000002.pth"]
    train_tiny(dataset, SHORT, tmp_path)  # nothing is left to train


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_signal_in_the_last_save_ends_the_run(tmp_path, dataset, monkeypatch):
    keep = RunFolder.keep_newest

    def stop(run, count):
        keep(run, count)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunFolder, "keep_newest", stop)
    with pytest.raises(Interrupted, match="SIGTERM after iteration 2"):
        train_tiny(dataset, SHORT, tmp_path)
    assert checkpoint_names(tmp_path) == ["iter_0000002.pth"]


# A full disk.


def test_full_disk_leaves_the_earlier_checkpoint(tmp_path, dataset, monkeypatch):
    config = tiny_config("train.iterations", 6, "train.snapshot_every", 2)
    save, calls = torch.save, []

    def full(state, path, *rest, **options):
        calls.append(path)
        if len(calls) < 3:
            save(state, path, *rest, **options)
        if len(calls) >= 2:
            with open(path, "ab") as file:  # some of it was written
                file.write(b"cut")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"disk is full, so iter_0000004\.pth") as caught:
        train_tiny(dataset, config, tmp_path)
    assert caught.value.errno == errno.ENOSPC
    folder = RunFolder(tmp_path).checkpoint(2).parent
    assert [path.name for path in folder.iterdir()] == ["iter_0000002.pth"]
    assert load_checkpoint(RunFolder(tmp_path).newest_checkpoint())["iteration"] == 2
    monkeypatch.setattr(torch, "save", save)
    train_tiny(dataset, config, tmp_path)
    assert checkpoint_names(tmp_path) == [f"iter_{i:07d}.pth" for i in (2, 4, 6)]


@pytest.fixture
def slow_disk(monkeypatch):
    """Let a checkpoint reach the disk only after the third update, and maybe fail."""
    updated, sync = threading.Event(), files._sync_file

    def set_up(fail):
        def slow(path):
            if path.name.startswith(".iter_0000002"):
                assert updated.wait(PATIENCE), "training waits for the disk"
                fail()
            sync(path)

        at_iteration(monkeypatch, 3, updated.set)
        monkeypatch.setattr(files, "_sync_file", slow)

    return set_up


CONFIG = tiny_config("train.iterations", 4, "train.snapshot_every", 2)


def test_disk_is_written_beside_the_next_update(tmp_path, dataset, slow_disk):
    slow_disk(lambda: None)
    train_tiny(dataset, CONFIG, tmp_path)
    assert checkpoint_names(tmp_path) == ["iter_0000002.pth", "iter_0000004.pth"]
    # It holds the weights of its iteration, not those of the update beside it.
    first = load_checkpoint(RunFolder(tmp_path).checkpoint(2))
    plain = tmp_path / "plain"
    train_tiny(dataset, CONFIG, plain)
    assert_equal(first, load_checkpoint(RunFolder(plain).checkpoint(2)))


def test_disk_that_fails_beside_the_next_update(tmp_path, dataset, slow_disk):
    def full():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    slow_disk(full)
    with pytest.raises(OSError, match=r"disk is full, so iter_0000002\.pth"):
        train_tiny(dataset, CONFIG, tmp_path)
    assert not list((tmp_path / "checkpoints").iterdir())
