import functools
import logging

import pytest
import torch
from faster_rcnn.cli.user_errors import clear_errors
from faster_rcnn.engine import out_of_memory
from faster_rcnn.engine.costs import estimate_memory
from faster_rcnn.engine.out_of_memory import (
    NotEnoughMemoryError,
    is_out_of_memory,
    memory_advice,
)
from faster_rcnn.model.two_stage import TwoStage
from tiny_runs import CPU, draw_dataset, tiny_config, tiny_detector, train_tiny

pytestmark = pytest.mark.slow

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...\nmore"


@functools.cache
def estimated(size, dtype):
    """The memory of the tiny detector, whatever the batch."""
    config = tiny_config()
    return estimate_memory(tiny_detector(config), config.train, size, dtype=dtype)


@pytest.fixture(autouse=True)
def _estimate_once(monkeypatch):
    def estimate(model, train, size, *, dtype):
        return estimated(size, dtype)

    monkeypatch.setattr(out_of_memory, "estimate_memory", estimate)


def advice(config, error, dtype=torch.float32):
    with (
        pytest.raises(NotEnoughMemoryError) as caught,
        memory_advice(tiny_detector(config), config, device=CPU, dtype=dtype),
    ):
        raise error
    assert caught.value.__cause__ is error
    return str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError(FULL),
        torch.OutOfMemoryError(FULL),
        MemoryError("no memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ..."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_error_advises_on_remedies(error):
    config = tiny_config("train.batch_size", 6, "train.accumulate", 2)
    text = advice(config, error)
    assert str(error).partition("\n")[0] in text.splitlines()[0]
    assert "memory of training, estimated: 0." in text
    assert "6 images of 96 x 64 in a pass" in text
    for key in (
        "train.batch_size 3 train.accumulate 4",  # the same 12 images
        "train.precision bfloat16",
        "data.short_sides, data.long_side",
        "rpn.train_pre_nms",
        "head.rois_per_image",
    ):
        assert key in text


def test_only_remaining_remedies_are_advised():
    text = advice(
        tiny_config("train.batch_size", 1), MemoryError(), dtype=torch.bfloat16
    )
    assert "train.accumulate" not in text and "train.precision" not in text


@pytest.mark.parametrize(("size", "smaller"), [(2, 1), (3, 1), (9, 3), (16, 8)])
def test_smaller_passes_make_the_same_update(size, smaller):
    text = advice(tiny_config("train.batch_size", size), MemoryError())
    passes = size // smaller
    assert f"train.batch_size {smaller} train.accumulate {passes}:" in text


def test_error_is_reported_even_without_an_estimate(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no shapes")

    monkeypatch.setattr(out_of_memory, "estimate_memory", fail)
    text = advice(tiny_config(), torch.OutOfMemoryError(FULL))
    assert "out of memory on cpu: CUDA out of memory" in text
    assert "memory cannot be estimated: no shapes)" in text and "What helps" in text


def test_other_errors_pass(caplog):
    config = tiny_config()
    error = RuntimeError("shapes do not match")
    assert not is_out_of_memory(error)
    with (
        pytest.raises(RuntimeError, match="shapes do not match") as caught,
        memory_advice(tiny_detector(config), config, device=CPU, dtype=torch.float32),
    ):
        raise error
    assert caught.value is error


def test_training_that_runs_out_of_memory(tmp_path, monkeypatch, caplog):
    def forward(*_):
        raise torch.OutOfMemoryError(FULL)

    dataset = draw_dataset(tmp_path / "images", 3)
    config = tiny_config()

    def with_real_forward(*words, **options):
        monkeypatch.undo()
        return estimate_memory(*words, **options)

    monkeypatch.setattr(TwoStage, "forward", forward)
    monkeypatch.setattr(out_of_memory, "estimate_memory", with_real_forward)
    with (
        caplog.at_level(logging.ERROR, "faster_rcnn"),
        pytest.raises(SystemExit) as ended,
        clear_errors(),
        memory_advice(tiny_detector(config), config, device=CPU, dtype=torch.float32),
    ):
        train_tiny(dataset, config, tmp_path / "run")
    assert ended.value.code == 1
    assert "memory of training, estimated" in caplog.text
    assert "--set train.batch_size 1 train.accumulate 2" in caplog.text


def test_testing_that_runs_out_of_memory(caplog):
    with (
        caplog.at_level(logging.ERROR, "faster_rcnn"),
        pytest.raises(SystemExit) as ended,
        clear_errors(),
    ):
        raise torch.OutOfMemoryError(FULL)
    assert ended.value.code == 1
    assert "test.batch_size" in caplog.text
