"""Validation through the command-line tools: the best checkpoint, and epochs."""

import json

import pytest
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.weights.checkpoint import load_checkpoint
from tiny_runs import checkpoint_names, tiny_settings


@pytest.fixture
def run_folder(tmp_path):
    return RunFolder(tmp_path / "output" / "mobile_v2" / "shapes_train" / "run")


def settings(*words):
    tiny = tiny_settings(*words)
    place = tiny.index("train.iterations")
    del tiny[place : place + 2]  # it would outrank epochs
    return ["--set", *tiny]


@pytest.mark.slow
def test_best_checkpoint_is_tested(drawn_tool, run_folder):
    words = settings(
        *("train.validate_every", 2, "data.val_set", "any", "train.best_by", "loss"),
        *("train.ema", 0.9, "train.epochs", 2.5, "train.snapshots_kept", 1),
        *("train.warmup_iterations", 50),
    )
    status, told, errors = drawn_tool("train_net", *words)
    assert status == 0, errors
    assert "2.5 epochs of 4 images: 5 iterations of 2" in errors
    assert checkpoint_names(run_folder.path) == ["iter_0000005.pth"]
    best = load_checkpoint(run_folder.best_checkpoint)
    assert best["iteration"] in (2, 4, 5) and "mAP_07 = " in told
    # Validation and test are of the same weights, and here of the same images.
    lines = run_folder.metrics_file.read_text().splitlines()
    (line,) = (
        row
        for row in map(json.loads, lines)
        if row["iteration"] == best["iteration"] and "val/loss" in row
    )
    folder = run_folder.folder_of_test("tiny", run_folder.best_checkpoint)
    results = json.loads((folder / "results.json").read_text())
    assert results["headline"]["value"] == line["val/mAP_07"]

    (folder / "results.json").unlink()
    status, again, errors = drawn_tool("test_net", "--checkpoint", "best")
    assert status == 0 and again == told, errors
    assert f"testing {run_folder.best_checkpoint} on tiny" in errors
    # The weights as they were trained, without the average.
    status, raw, errors = drawn_tool(
        "test_net", "--checkpoint", "best", "--set", "train.ema", "0"
    )
    assert status == 0, errors
    assert raw != told
    # Each test is kept, and its table is in the log.
    other = run_folder.folder_of_test(
        "tiny", run_folder.best_checkpoint, "train.ema=0.0"
    )
    assert other != folder
    for place, table in ((folder, told), (other, raw)):
        value = json.loads((place / "results.json").read_text())["headline"]["value"]
        assert f"mAP_07 = {value:.4f}" in table
        assert table.strip().replace("\n", "\n  ") in run_folder.log_file.read_text()


def test_no_best_checkpoint_without_validation(drawn_tool, run_folder):
    status, _, errors = drawn_tool(
        "train_net", "--no-test", "--iters", "1", *settings()
    )
    assert status == 0, errors
    status, _, errors = drawn_tool("test_net", "--checkpoint", "best")
    assert status == 2 and "no best checkpoint in" in errors


def test_validation_without_a_set_is_refused_before_the_run(drawn_tool, run_folder):
    status, _, errors = drawn_tool("train_net", *settings("train.validate_every", 2))
    assert status == 2 and "train.validate_every needs data.val_set" in errors
    assert not run_folder.path.exists()
