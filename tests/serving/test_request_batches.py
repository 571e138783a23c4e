"""Pictures of concurrent requests are detected together, and none is lost."""

import threading

import numpy as np
import pytest
from faster_rcnn.serving import request_batches
from faster_rcnn.serving.request_batches import QueueFullError, RequestBatches
from patience import PATIENCE


def grey(detector, side=20):
    return detector.prepare(np.zeros((side, side, 3), np.uint8))


@pytest.fixture
def held(detector):
    """A queue whose detector waits for `go` within its first picture."""
    go, begun, sizes = threading.Event(), threading.Event(), []

    def hold(number):
        begun.set()
        assert go.wait(PATIENCE)

    detector.before = hold
    queue = RequestBatches(
        detector,
        score_threshold=0.5,
        max_batch=3,
        wait_seconds=0.001,
        limit=5,
        on_batch=sizes.append,
    )
    first = queue.submit([grey(detector)])
    assert begun.wait(PATIENCE)
    yield queue, first, go, sizes
    go.set()
    queue.close()


def test_threads_are_adapted_before_each_batch(detector, monkeypatch):
    told = []
    monkeypatch.setattr(
        request_batches, "adapt_threads", lambda: told.append("adapted")
    )
    detector.before = told.append
    queue = RequestBatches(detector, score_threshold=0.5)
    queue.submit([grey(detector)])[0].result(PATIENCE)
    queue.close()
    assert told[0] == "adapted" and len(told) == 2


def test_waiting_pictures_are_batched_and_bounded(held, detector):
    queue, first, go, sizes = held
    futures = first + queue.submit([grey(detector)] * 4)
    with pytest.raises(QueueFullError):
        queue.submit([grey(detector)] * 2)  # all or none
    assert len(queue) == 4
    futures += queue.submit([grey(detector)])
    go.set()
    for future in futures:
        assert future.result(PATIENCE).names == ["cat"]
    assert sizes == [1, 3, 2] and detector.busy == 1


def test_cancelled_pictures_cost_nothing(held, detector):
    queue, _, go, sizes = held
    gone, kept = queue.submit([grey(detector)] * 2)
    assert gone.cancel()
    go.set()
    assert kept.result(PATIENCE).names == ["cat"] and sizes == [1, 1]


def test_one_bad_picture_fails_alone(held, detector):
    queue, _, go, _ = held
    good, bad = queue.submit([grey(detector), grey(detector, side=1)])
    go.set()
    assert good.result(PATIENCE).names == ["cat"]
    with pytest.raises(ValueError, match="2 pixels"):
        bad.result(PATIENCE)


def test_close_finishes_what_is_queued(held, detector):
    queue, _, go, _ = held
    [last] = queue.submit([grey(detector)])
    closing = threading.Thread(target=queue.close)
    closing.start()
    go.set()
    assert last.result(PATIENCE).names == ["cat"]
    closing.join(PATIENCE)
    assert not queue.lives and not queue.accepts
    with pytest.raises(QueueFullError):
        queue.submit([grey(detector)])
