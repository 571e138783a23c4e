"""Training in float16, with loss scaling; CPUs have its autocast, too."""

import math

import pytest
import torch
from equality import assert_equal
from faster_rcnn.engine import loss_scaling
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.weights.checkpoint import load_checkpoint
from many_processes import in_processes
from tiny_runs import read_metrics, tiny_config, train_tiny
from torch import equal

pytestmark = pytest.mark.slow

# A pass of one image, for float16 takes a CPU long.
HALF = (
    *("train.precision", "float16", "train.batch_size", 1),
    *("train.snapshot_every", 1),
)
KEPT = ("train.snapshots_kept", 9)
SCALER = torch.amp.GradScaler


def start_at(scale, **options):
    """Have every loss scaling start at this scale."""
    loss_scaling.torch.amp.GradScaler = lambda device: SCALER(
        device, init_scale=scale, **options
    )


@pytest.fixture
def starting(monkeypatch):
    monkeypatch.setattr(loss_scaling.torch.amp, "GradScaler", SCALER)  # set back
    return start_at


def checkpoints(folder, *iterations):
    return [load_checkpoint(RunFolder(folder).checkpoint(i)) for i in iterations]


def test_losses_are_those_of_float32(tmp_path, dataset, starting):
    starting(2.0**8)
    for name in ("float32", "float16"):
        config = tiny_config("train.precision", name, "train.iterations", 1)
        train_tiny(dataset, config, tmp_path / name)
    expected, found = (read_metrics(tmp_path / n) for n in ("float32", "float16"))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=0.02)
        # The norm is that of the gradient, not of the scaled one.
        norms = (each["gradient_norm"] for each in (ours, theirs))
        assert math.isclose(*norms, rel_tol=0.2)


def test_overflow_halves_the_scale_and_is_no_fault(tmp_path, dataset, starting, caplog):
    """Under `stop`, the default, too."""
    starting(2.0**40)
    config = tiny_config(*HALF, *KEPT, "train.iterations", 2)
    with caplog.at_level("INFO", "faster_rcnn"):
        train_tiny(dataset, config, tmp_path)
    first, second = checkpoints(tmp_path, 1, 2)
    for key, tensor in first["model"].items():  # norms have seen the images
        assert (
            "running" in key or "batches" in key or equal(tensor, second["model"][key])
        )
    assert first["optimizer"]["state"] == second["optimizer"]["state"] == {}
    assert second["scaling"]["scale"] == 2.0**38
    assert second["counts"]["skipped_updates"] == 0
    assert read_metrics(tmp_path) == []
    assert "overflowed float16 at a loss scale of 1.09951e+12" in caplog.text


def test_resumed_run_is_the_unbroken_one(tmp_path, dataset, starting):
    """The scale and the count of updates until it grows are saved."""
    starting(2.0**6, growth_interval=2)
    words = (*HALF, *KEPT, "train.iterations", 2)
    train_tiny(dataset, tiny_config(*words), tmp_path / "whole")

    def stop(event):
        event.stop = event.iteration == 1

    train_tiny(dataset, tiny_config(*words), tmp_path / "b", callbacks=[stop])
    train_tiny(dataset, tiny_config(*words), tmp_path / "b")
    for whole, broken in zip(
        checkpoints(tmp_path / "whole", 1, 2),
        checkpoints(tmp_path / "b", 1, 2),
        strict=True,
    ):
        for part in ("model", "optimizer", "scaling"):
            assert_equal(broken[part], whole[part])
    assert whole["scaling"]["scale"] == 2.0**7


def _train(dataset, folder):
    start_at(2.0**40)
    words = (*HALF, "train.iterations", 2)
    model = train_tiny(dataset, tiny_config(*words), folder)
    return [float(p.detach().double().sum()) for p in model.parameters()]


@pytest.mark.processes
def test_processes_skip_the_same_updates(tmp_path, dataset):
    first, second = in_processes(_train, dataset, tmp_path)
    assert first == second
    (state,) = checkpoints(tmp_path, 2)
    assert state["scaling"]["scale"] == 2.0**38
