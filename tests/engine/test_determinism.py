"""Same seed, same bits."""

import logging
import os

import pytest
import torch
from equality import assert_equal
from faster_rcnn.engine import determinism
from faster_rcnn.engine.determinism import be_deterministic
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.utils.device import random_states, restore_random_states
from faster_rcnn.weights.checkpoint import load_checkpoint
from tiny_runs import CPU, draw_dataset, tiny_config, train_tiny

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _keep_states(monkeypatch):
    states = random_states()
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    filled = torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = filled
    restore_random_states(states)


@pytest.mark.parametrize("deterministic", [False, True])
def test_same_bits(tmp_path, deterministic):
    """Also from another number of loader processes, and with the flag."""
    dataset = draw_dataset(tmp_path / "images", 5)
    words = ("data.colour_jitter", 0.3, "data.scale_jitter", "[0.6, 1.4]")
    runs = []
    for workers in (0, 2):
        folder = tmp_path / str(workers)
        if workers and deterministic:
            be_deterministic(CPU)
        train_tiny(dataset, tiny_config(*words, "data.workers", workers), folder)
        runs.append(RunFolder(folder))
    one, other = runs
    assert one.metrics_file.read_bytes() == other.metrics_file.read_bytes()
    states = [load_checkpoint(run.newest_checkpoint()) for run in runs]
    for state in states:
        del state["config"]["data"]["workers"]
    assert_equal(*states)


def test_operators_without_determinism_are_reported(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "faster_rcnn")
    monkeypatch.setattr(determinism, "kernels_for", lambda *_: object())
    be_deterministic(torch.device("cuda"))
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"  # the user's own stands
    (text,) = caplog.messages
    assert "another kind of CPU or GPU" in text and "no deterministic form" in text


def test_a_gpu_without_our_pooling_is_refused(monkeypatch):
    monkeypatch.setattr(determinism, "kernels_for", lambda *_: None)
    with pytest.raises(ValueError, match=r"needs the project's own RoI pooling on cud"):
        be_deterministic(torch.device("cuda"))
    assert not torch.are_deterministic_algorithms_enabled()
    be_deterministic(CPU)
