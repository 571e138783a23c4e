"""The optimizer's state divided among processes, beside whole ones."""

import shutil

import pytest
import torch
from equality import assert_equal
from faster_rcnn.engine import train_state
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.weights.checkpoint import load_checkpoint
from many_processes import in_processes
from tiny_runs import read_metrics, tiny_config, train_tiny

pytestmark = pytest.mark.processes

WORDS = [
    *("train.batch_size", 1, "train.images_per_update", 2, "train.iterations", 3),
    *("train.clip_norm", 5, "train.snapshot_every", 1, "net.norm", "frozen"),
    *("train.optimizer", "adamw", "train.lr", 0.001),
]
SHARDED = tiny_config(*WORDS, "train.shard_optimizer", True)


def bytes_of_state(dataset, config, folder):
    """Train; give the bytes of the optimizer's state that this process holds."""
    held = []
    gather = train_state.TrainState.gather

    def watched(state):
        optimizer = getattr(state.optimizer, "optim", state.optimizer)
        momenta = [m for s in optimizer.state.values() for m in s.values()]
        held.append(sum(m.nbytes for m in momenta if m.dim()))
        gather(state)
        if hasattr(state.optimizer, "gather"):
            assert not state.optimizer.state

    train_state.TrainState.gather = watched
    train_tiny(dataset, config, folder)
    train_state.TrainState.gather = gather
    return held[-1]


def test_shards_train_as_the_whole(dataset, tmp_path):
    whole, sharded = tmp_path / "whole", tmp_path / "sharded"
    (full, _) = in_processes(bytes_of_state, dataset, tiny_config(*WORDS), whole)
    # Checkpoints have one form: a run with whole states goes on with shares.
    begun, last = (RunFolder(sharded).checkpoint(i) for i in (1, 3))
    begun.parent.mkdir(parents=True)
    shutil.copy(RunFolder(whole).checkpoint(1), begun)
    shares = in_processes(bytes_of_state, dataset, SHARDED, sharded)
    assert sum(shares) == full and max(shares) < 0.55 * full
    assert read_metrics(sharded) == read_metrics(whole)[1:]  # to the bit
    found, want = (
        load_checkpoint(RunFolder(f).checkpoint(3)) for f in (sharded, whole)
    )
    assert_equal(found["model"], want["model"])
    assert_equal(found["optimizer"]["state"], want["optimizer"]["state"])
    assert found["optimizer"]["param_groups"] == want["optimizer"]["param_groups"]
    # And then in a single process.
    last.unlink()
    train_tiny(dataset, SHARDED, sharded, seed=7)
    state = load_checkpoint(last)["optimizer"]["state"]
    for key, momenta in want["optimizer"]["state"].items():
        torch.testing.assert_close(state[key], momenta, rtol=1e-2, atol=2e-5)
