"""Going on from what a run has left, whatever became of it."""

import logging
import os
import re
import shutil

import pytest
import torch
from equality import assert_equal
from faster_rcnn.engine import run_folder
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.utils.locks import HeldElsewhereError
from faster_rcnn.utils.monitoring.logs import setup_logging
from faster_rcnn.weights.checkpoint import CheckpointError, load_checkpoint
from many_processes import in_processes
from tiny_runs import at_iteration, draw_dataset, read_metrics, tiny_config, train_tiny

pytestmark = pytest.mark.slow

CONFIG = tiny_config("train.iterations", 4, "train.snapshot_every", 1)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, dataset):
    folder = tmp_path_factory.mktemp("unbroken")
    train_tiny(dataset, CONFIG, folder)
    return folder


@pytest.fixture(scope="module")
def last(unbroken):
    """The state after all updates."""
    return load_checkpoint(RunFolder(unbroken).checkpoint(4))


@pytest.fixture
def folder(tmp_path, unbroken):
    """A finished run with the checkpoints after 2, 3 and 4 updates."""
    shutil.copytree(unbroken, tmp_path / "run")
    return tmp_path / "run"


def flip_a_bit(path):
    """Of a weight: the file's structure is sound."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)  # does not notice


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip_a_bit, cut, empty])
def test_damaged_newest_checkpoint(dataset, folder, unbroken, last, damage, caplog):
    run = RunFolder(folder)
    damage(run.checkpoint(4))
    damaged = run.checkpoint(4).read_bytes()
    caplog.set_level(logging.INFO, "faster_rcnn")
    train_tiny(dataset, CONFIG, folder, seed=7)
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert f"{run.checkpoint(4)} is damaged" in errors[0]
    assert errors[1] == (
        "kept as iter_0000004.pth.damaged; resuming from the previous checkpoint"
    )
    assert f"resumed from {run.checkpoint(3)}" in caplog.messages
    want = RunFolder(unbroken)
    assert_equal(load_checkpoint(run.checkpoint(4)), last)
    assert run.metrics_file.read_bytes() == want.metrics_file.read_bytes()
    aside = run.checkpoint(4).with_name("iter_0000004.pth.damaged")
    assert aside.read_bytes() == damaged


def dangling_link(path):
    path.unlink()
    path.symlink_to(path.with_name("nowhere.pth"))


def folder_in_its_place(path):
    path.unlink()
    path.mkdir()


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def change(**parts):
    """Store other parts in a checkpoint; None takes one away."""

    def changed(path):
        state = torch.load(path, weights_only=True) | parts
        torch.save({k: v for k, v in state.items() if v is not None}, path)

    changed.__name__ = "_".join(f"{k} {str(v)[:12]}" for k, v in parts.items())
    return changed


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (dangling_link, r"is a link to .*nowhere\.pth, which does not exist"),
        (folder_in_its_place, "is a folder, expected"),
        (pipe, "is a pipe, a device or a socket, expected"),
        (change(optimizer=None), "has no optimizer: it contains only"),
        (change(random_states=None, generator=None), "has no generator, random_states"),
        (change(iteration=-1), "is not whole: iteration"),
        (change(optimizer={"state": {}}), "cannot resume"),
        (change(random_states={"python": 1}), "cannot resume"),
        (change(generator=3), "cannot resume"),
        (change(counts={"unknown": 1}), "cannot resume"),
        (change(model={"a": torch.zeros(1)}), "cannot resume"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_newest_checkpoint_that_cannot_be_resumed(
    dataset, folder, unbroken, last, damage, message, caplog
):
    run, want = RunFolder(folder), RunFolder(unbroken)
    run.checkpoint(4).with_name("iter_0000004.pth.damaged").write_text("of before")
    damage(run.checkpoint(4))
    train_tiny(dataset, CONFIG, folder, seed=7)
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert re.search(rf"iter_0000004\.pth .*{message}", errors[0])
    assert errors[1].startswith("kept as iter_0000004.pth.damaged2; resuming")
    assert_equal(load_checkpoint(run.checkpoint(4)), last)
    assert run.metrics_file.read_bytes() == want.metrics_file.read_bytes()


def test_two_damaged_checkpoints(dataset, folder, unbroken):
    run = RunFolder(folder)
    flip_a_bit(run.checkpoint(4))
    cut(run.checkpoint(3))
    train_tiny(dataset, CONFIG, folder, seed=7)
    assert run.metrics_file.read_bytes() == (
        RunFolder(unbroken).metrics_file.read_bytes()
    )


def test_all_checkpoints_damaged(dataset, folder):
    run = RunFolder(folder)
    files = run.checkpoints()
    for path in files:
        cut(path)
    with pytest.raises(CheckpointError, match=r"every checkpoint in .* is damaged"):
        train_tiny(dataset, CONFIG, folder)
    assert run.checkpoints() == files and len(files) == 3


def test_checkpoint_of_another_format_is_not_passed_over(dataset, folder):
    path = RunFolder(folder).checkpoint(4)
    torch.save({"format": "of tomorrow"}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of this program"):
        train_tiny(dataset, CONFIG, folder)
    assert path.exists()


def test_folder_deleted_while_training(tmp_path, dataset, monkeypatch, caplog):
    folder = tmp_path / "run"
    setup_logging(folder / "train.log")
    at_iteration(monkeypatch, 2, lambda: folder.rename(tmp_path / "moved"))
    words = ("train.iterations", 4, "train.snapshot_every", 3)
    train_tiny(dataset, tiny_config(*words), folder)
    setup_logging()
    (error,) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert f"{folder} was deleted or moved during training" in error
    run = RunFolder(folder)
    assert run.recorded_config() == tiny_config(*words)
    files = sorted(p.name for p in folder.iterdir() if "tfevents" not in p.name)
    assert files == [".lock", "checkpoints", "config.yml", "metrics.jsonl", "train.log"]
    assert [line["iteration"] for line in read_metrics(folder)] == [4]
    assert "saved" in run.log_file.read_text()
    # The run is as any other: it resumes, finished as it is.
    train_tiny(dataset, tiny_config(*words), folder)
    assert run.checkpoints() == [run.checkpoint(3), run.checkpoint(4)]


def test_folder_deleted_and_claimed_by_another(tmp_path, dataset, monkeypatch):
    folder = tmp_path / "run"
    words = ("train.iterations", 4, "train.snapshot_every", 3)

    def take():
        folder.rename(tmp_path / "moved")
        monkeypatch.setattr(run_folder, "take_lock", held)

    def held(path):
        raise HeldElsewhereError("process 1")

    at_iteration(monkeypatch, 2, take)
    with pytest.raises(ValueError, match="another run is using"):
        train_tiny(dataset, tiny_config(*words), folder)


def train_here(dataset, config, folder):
    train_tiny(dataset, config, folder, seed=7)


@pytest.mark.processes
def test_all_processes_go_back_to_the_same_checkpoint(tmp_path, dataset):
    config = tiny_config(
        *("train.iterations", 3, "train.snapshot_every", 1, "train.batch_size", 1),
        *("train.images_per_update", 2, "net.norm", "frozen"),
    )
    in_processes(train_here, dataset, config, tmp_path)
    run = RunFolder(tmp_path)
    want = load_checkpoint(run.checkpoint(3))
    cut(run.checkpoint(3))
    in_processes(train_here, dataset, config, tmp_path)
    found = load_checkpoint(run.checkpoint(3))
    for key in ("model", "optimizer", "iteration", "generator", "counts"):
        assert_equal(found[key], want[key])
    assert [line["iteration"] for line in read_metrics(tmp_path)] == [1, 2, 3]


def test_unreadable_images_are_counted_on(tmp_path):
    dataset = draw_dataset(tmp_path / "images", 4)
    dataset.records[0].path.write_bytes(b"no picture")
    words = ("train.snapshot_every", 1, "data.max_unreadable", 1)
    config = tiny_config("train.iterations", 8, *words)
    train_tiny(dataset, config, tmp_path / "run")
    want = read_metrics(tmp_path / "run")
    assert want[-1]["unreadable_images"] == 4
    run = RunFolder(tmp_path / "run")
    for iteration in (7, 8):
        run.checkpoint(iteration).unlink()
    train_tiny(dataset, config, tmp_path / "run")
    assert read_metrics(tmp_path / "run") == want
