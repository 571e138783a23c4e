"""A finished run goes on for longer, or at another rate."""

import json

import pytest
from equality import assert_equal
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.engine.solver import learning_rate
from faster_rcnn.weights.checkpoint import load_checkpoint
from tiny_runs import checkpoint_names, tiny_settings

pytestmark = pytest.mark.slow

SETTINGS = (
    *("train.warmup_iterations", 0, "train.ema", 0.5, "train.lr_steps", "[100]"),
    *("train.schedule", "step"),
)


@pytest.fixture
def train(drawn_tool):
    tiny = tiny_settings(*SETTINGS)
    place = tiny.index("train.iterations")
    del tiny[place : place + 2]

    def run(tag, *words, first=False):
        settings = ["--set", *tiny] if first else []
        return drawn_tool("train_net", "--no-test", *settings, *words, tag=tag)

    return run


@pytest.fixture
def folder(tmp_path):
    parent = tmp_path / "output" / "mobile_v2" / "shapes_train"
    return lambda tag: RunFolder(parent / tag)


def test_longer_run_is_that_of_the_length_from_the_start(train, folder):
    assert train("whole", "--iters", 5, first=True)[0] == 0
    assert train("mine", "--iters", 3, first=True)[0] == 0
    status, _, errors = train("mine", "--iters", 5, first=True)
    assert status == 2 and "--tag mine --extend continues that run" in errors
    status, _, errors = train("mine", "--extend", "--iters", 5)
    assert status == 0, errors
    assert "extended after 3 iterations: train.iterations 3 -> 5" in errors
    run, whole = folder("mine"), folder("whole")
    assert checkpoint_names(run.path) == ["iter_0000003.pth", "iter_0000005.pth"]
    want = load_checkpoint(whole.checkpoint(5))
    assert_equal(load_checkpoint(run.checkpoint(5)), want)
    assert run.metrics_file.read_bytes() == whole.metrics_file.read_bytes()
    assert run.recorded_config() == whole.recorded_config()
    assert "after iteration 3: train.iterations 3 -> 5" in run.config_file.read_text()


def test_another_rate_and_schedule(train, folder):
    assert train("mine", "--iters", 2, first=True)[0] == 0
    words = ("--iters", 4, "--set", "train.lr", 0.002, "train.schedule", "polynomial")
    status, _, errors = train("mine", "--extend", *words)
    assert status == 0, errors
    assert "learning rate 0.01 -> 0.00107" in errors
    run = folder("mine")
    config = run.recorded_config()
    lines = map(json.loads, run.metrics_file.read_text().splitlines())
    rates = [line["lr"] for line in lines]
    assert rates[:2] == [0.01, 0.01]
    assert rates[2:] == [pytest.approx(learning_rate(i, config.train)) for i in (2, 3)]
    # The same again finds nothing to do; nor does less than was done.
    assert train("mine", "--extend", *words)[0] == 0
    status, _, errors = train("mine", "--extend", "--iters", 3)
    assert status == 2 and "iterations that the run has made, found 3" in errors
    assert run.recorded_config() == config


def test_what_cannot_change(train, folder):
    assert train("mine", "--iters", 1, first=True)[0] == 0
    before = folder("mine").config_file.read_text()
    for words, message in (
        (("--set", "train.momentum", 0.5), "train.momentum cannot change"),
        (("--seed", 9), "train.seed cannot change in a run"),
        (("--set", "net.norm", "batch", "train.lr", 1), "net.norm cannot change"),
    ):
        status, _, errors = train("mine", "--extend", "--iters", 2, *words)
        assert status == 2 and message in errors
        assert folder("mine").config_file.read_text() == before


def test_no_run_to_extend(train, run_tool, tmp_path):
    status, _, errors = train("mine", "--extend", "--iters", 2)
    assert status == 2 and "found none with this --tag" in errors
    words = ("shapes", "mobile_v2", "--extend", "--output", tmp_path / "output")
    status, _, errors = run_tool("train_net", *words)
    assert status == 2 and "--extend needs --tag" in errors
