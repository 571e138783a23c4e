import logging
import os
import signal

import pytest
import torch
from equality import assert_equal
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.engine.train import Interrupted
from faster_rcnn.weights.checkpoint import load_checkpoint
from tiny_runs import (
    RETINANET,
    at_iteration,
    checkpoint_names,
    draw_dataset,
    read_metrics,
    tiny_config,
    tiny_detector,
    train_tiny,
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("workers", "changes"),
    [
        (0, ("train.optimizer", "sgd")),
        (1, ("train.optimizer", "adamw")),
        (0, (*RETINANET, "train.ema", 0.5)),
    ],
    ids=["sgd", "adamw", "retinanet"],
)
def test_resumed_run_equals_an_unbroken_one(
    tmp_path, dataset, monkeypatch, workers, changes
):
    config = tiny_config(
        *("train.iterations", 6, *changes),
        *("train.lr", 0.003, "train.schedule", "cosine"),
        *("train.warmup_iterations", 4, "train.clip_norm", 5),
        *("train.log_every", 2, "train.picture_every", 2),
        *("data.short_sides", "[48,64]", "data.colour_jitter", 0.2),
        *("data.workers", workers),
    )
    train_tiny(dataset, config, tmp_path / "unbroken")
    # Stopped twice, once between two log lines and once where there is one.
    for stop, seed in ((3, 0), (4, 17)):
        at_iteration(monkeypatch, stop, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            train_tiny(dataset, config, tmp_path / "broken", seed=seed)
    # What the new process draws before it resumes has no effect.
    train_tiny(dataset, config, tmp_path / "broken", seed=18)
    assert checkpoint_names(tmp_path / "unbroken") == ["iter_0000006.pth"]
    assert checkpoint_names(tmp_path / "broken") == [
        f"iter_{i:07d}.pth" for i in (3, 4, 6)
    ]
    one, other = (
        load_checkpoint(RunFolder(tmp_path / name).newest_checkpoint())
        for name in ("unbroken", "broken")
    )
    assert one["iteration"] == 6
    assert one["optimizer"]["state"] and one["model"]
    assert_equal(one, other)
    one, other = (
        RunFolder(tmp_path / name).metrics_file.read_bytes()
        for name in ("unbroken", "broken")
    )
    assert one == other and one.count(b"\n") == 3


def test_model_follows_the_checkpoint(tmp_path, dataset):
    model = train_tiny(dataset, tiny_config("train.iterations", 2), tmp_path)
    state = load_checkpoint(RunFolder(tmp_path).newest_checkpoint())
    assert_equal(state["model"], model.state_dict())
    assert state["classes"] == list(dataset.classes)
    assert state["config"]["train"]["iterations"] == 2


def test_finished_run_is_left_alone(tmp_path, dataset):
    config = tiny_config("train.iterations", 2)
    train_tiny(dataset, config, tmp_path)
    (path,) = RunFolder(tmp_path).checkpoints()
    before = (path.stat().st_mtime_ns, read_metrics(tmp_path))
    model = train_tiny(dataset, config, tmp_path, seed=9)
    assert (path.stat().st_mtime_ns, read_metrics(tmp_path)) == before
    assert_equal(load_checkpoint(path)["model"], model.state_dict())


def test_newest_checkpoints_are_kept(tmp_path, dataset):
    config = tiny_config(
        *("train.iterations", 5, "train.snapshot_every", 1, "train.snapshots_kept", 2)
    )
    train_tiny(dataset, config, tmp_path)
    assert checkpoint_names(tmp_path) == ["iter_0000004.pth", "iter_0000005.pth"]


def test_learning_rate_follows_the_schedule(tmp_path, dataset):
    config = tiny_config(
        *("train.iterations", 5, "train.lr", 0.001, "train.lr_steps", "[4]"),
        *("train.warmup_iterations", 2, "train.warmup_factor", 0.5),
    )
    train_tiny(dataset, config, tmp_path)
    rates = [line["lr"] for line in read_metrics(tmp_path)]
    assert rates == pytest.approx([0.0005, 0.00075, 0.001, 0.001, 0.0001])


@pytest.mark.parametrize("limit", [0, 1e-3])
def test_gradient_is_clipped(tmp_path, dataset, limit):
    config = tiny_config(
        *("train.iterations", 1, "train.lr", 1, "train.clip_norm", limit),
        *("train.weight_decay", 0, "train.momentum", 0, "net.norm", "frozen"),
    )
    before = dict(tiny_detector(config).named_parameters())
    after = train_tiny(dataset, config, tmp_path).named_parameters()
    moved = torch.stack([(p - before[name]).detach().norm() for name, p in after])
    (line,) = read_metrics(tmp_path)
    norm = line["gradient_norm"]  # the one before clipping
    assert norm > 0.1
    assert moved.norm().item() == pytest.approx(limit or norm, rel=0.01)


def test_bfloat16(tmp_path, dataset):
    config = tiny_config("train.iterations", 2, "train.precision", "bfloat16")
    model = train_tiny(dataset, config, tmp_path)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert all(0 < line["loss"] < 10 for line in read_metrics(tmp_path))


def test_unreadable_image_does_not_stop_training(tmp_path, caplog):
    dataset = draw_dataset(tmp_path / "images", 3)
    dataset.records[1].path.write_bytes(b"no image")
    config = tiny_config("train.iterations", 3)  # two epochs
    with caplog.at_level(logging.WARNING, "faster_rcnn"):
        train_tiny(dataset, config, tmp_path / "run")
    assert read_metrics(tmp_path / "run")[-1]["unreadable_images"] == 2
    assert sum("image1.png: expected an image" in m for m in caplog.messages) == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_no_readable_image_stops_training(tmp_path, workers):
    dataset = draw_dataset(tmp_path / "images", 2)
    for record in dataset.records:
        record.path.unlink()
    with pytest.raises(ValueError, match="20 images in a row cannot be used"):
        train_tiny(dataset, tiny_config("data.workers", workers), tmp_path / "run")


def test_dataset_of_other_classes_is_not_resumed(tmp_path, dataset):
    config = tiny_config("train.iterations", 1)
    train_tiny(dataset, config, tmp_path)
    other = draw_dataset(tmp_path / "images", 2)
    object.__setattr__(other, "classes", ("__background__", "disc", "box"))
    with pytest.raises(ValueError, match="trained on the classes box, disc, but tiny"):
        train_tiny(other, config, tmp_path)
