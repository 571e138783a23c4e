import gc
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import time
from functools import partial
from itertools import islice

import cv2
import numpy as np
import pytest
import torch
from faster_rcnn.datasets.loading import loader, workers
from faster_rcnn.datasets.loading.images import ImageError
from faster_rcnn.datasets.loading.training_stream import shape_groups
from faster_rcnn.datasets.loading.workers import load
from loader_words import evaluation_batches_of as ordered_batches
from loader_words import training_batches_of
from patience import PATIENCE
from tiny_runs import make_record
from torch.multiprocessing.reductions import rebuild_tensor
from torch.utils.data import DataLoader, dataloader


@pytest.fixture
def records(tmp_path):
    """Make records; every image is of one colour, so that it can be told by it."""

    def make(sizes, boxes=((2, 3, 10, 12),)):
        made = []
        for i, (width, height) in enumerate(sizes):
            path = tmp_path / f"{i}.png"
            cv2.imwrite(str(path), np.full((height, width, 3), 10 + i, np.uint8))
            made.append(make_record(path, width, height, boxes))
        return made

    return make


MIXED = [(32, 24), (24, 32), (36, 24), (32, 32), (30, 24), (24, 30), (34, 26)]


def training(items, count, **options):
    options = {"colour_jitter": 0.1} | options
    return list(islice(training_batches_of(items, **options), count))


WORKERS = pytest.mark.parametrize(
    "workers", [0, pytest.param(1, marks=pytest.mark.processes)]
)


def ordered(items, **options):
    options = {"batch_size": 3, "short_side": 24} | options
    return list(ordered_batches(items, **options))


def tensors(batch):
    return (*batch.tensors(), batch.scales, batch.original_sizes)


def assert_same(batches, others):
    assert len(batches) == len(others)
    for one, other in zip(batches, others, strict=True):
        assert one.image_ids == other.image_ids and one.problems == other.problems
        assert one.images.padded == other.images.padded
        pairs = zip(tensors(one), tensors(other), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_every_image_once_per_epoch(records, batch_size):
    items = records([(32, 24)] * 6)
    batches = training(items, 18 // batch_size, batch_size=batch_size)
    ids = [i for batch in batches for i in batch.image_ids]
    for epoch in range(3):
        assert sorted(ids[6 * epoch :][:6]) == ["0", "1", "2", "3", "4", "5"]


def test_batches_hold_what_was_drawn(records):
    items = records([(64, 48)] * 4)
    seen = set()
    for batch in training(
        items, 20, short_sides=[24, 36], colour_jitter=0, offset=1, batch_size=1
    ):
        number = int(batch.image_ids[0])
        scale = batch.scales[0].item()
        height, width = batch.images.sizes[0].tolist()
        assert (height, width) == (48 * scale, 64 * scale)
        assert (batch.images.pixels[0, :, :height, :width] == 10 + number).all()
        assert not batch.images.pixels[0, :, height:].any()
        x1, y1, x2, y2 = (batch.ground_truth.boxes[0, 0] / scale).tolist()
        assert (y1, y2) == (3, 11)
        assert (x1, x2) in ((2, 9), (54, 61))
        seen.add((scale, x1))
    assert len(seen) == 4  # both scales, flipped and not


@pytest.mark.processes
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(records, workers):
    items = records(MIXED)
    options = {"short_sides": [24, 32, 40], "colour_jitter": 0.3}
    alone = training(items, 12, **options)
    assert_same(training(items, 12, workers=workers, **options), alone)
    assert_same(training(items, 8, workers=workers, start=4, **options), alone[4:])


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_start_skips(records, batch_size):
    items = records(MIXED)
    whole = training(items, 20, batch_size=batch_size)
    for start in (1, 7, 19):
        rest = training(items, 20 - start, batch_size=batch_size, start=start)
        assert_same(rest, whole[start:])


@WORKERS
def test_unreadable_image_is_replaced_and_reported(records, workers):
    items = records([(32, 24)] * 4)
    items[1].path.write_bytes(items[1].path.read_bytes()[:40])
    items[2].path.unlink()
    batches = training(items, 8, batch_size=1, workers=workers, flip=False)
    reports = [batch.problems for batch in batches]
    names = [batch.image_ids[0] for batch in batches]
    assert set(names) == {"0", "3"}
    # Image 1 falls to 3 by way of 2, image 2 to 3; each epoch tells of both.
    by_count = {count: [r for r in reports if len(r) == count] for count in (0, 1, 2)}
    assert {count: len(r) for count, r in by_count.items()} == {0: 4, 1: 2, 2: 2}
    for first, second in by_count[2]:
        assert str(items[1].path) in first and str(items[2].path) in second
    assert all(str(items[2].path) in only for (only,) in by_count[1])
    for batch in batches:
        number = int(batch.image_ids[0])
        jitter = batch.images.pixels.float() - (10 + number)
        assert jitter.abs().max() <= 2  # the pixels belong to the name


@WORKERS
def test_all_images_unreadable(records, workers):
    items = records([(32, 24)] * 2)
    for item in items:
        item.path.write_bytes(b"no image")
    with pytest.raises(ImageError) as caught:
        training(items, 1, workers=workers)
    message = str(caught.value)
    assert message.startswith("20 images in a row cannot be used, the last because: ")
    assert str(items[0].path) in message or str(items[1].path) in message
    assert "Traceback" not in message


@WORKERS
def test_a_share_of_unreadable_images_stops_the_run(records, workers):
    items = records([(32, 24)] * 10)
    for item in (items[0], items[5]):
        item.path.write_bytes(b"no image")
    options = {"batch_size": 1, "workers": workers}
    # However often the two are drawn.
    assert len(training(items, 50, max_unreadable=0.2, **options)) == 50
    with pytest.raises(ImageError) as caught:
        training(items, 50, max_unreadable=0.19, **options)
    message = str(caught.value)
    expected = "2 of 10 training images cannot be used, more than data.max_unreadable ="
    assert message.startswith(f"{expected} 0.19 allows, the last because: ")
    assert str(items[0].path) in message or str(items[5].path) in message
    with pytest.raises(ImageError, match="1 of 10 training images"):
        training(items, 50, max_unreadable=0.0, **options)
    assert len(training(items[6:], 20, max_unreadable=0.0, **options)) == 20


VARIED = {
    "short_sides": [24, 32],
    "colour_jitter": 0.3,
    "hue_jitter": 0.1,
    "scale_jitter": (0.5, 2.0),
    "mosaic": 0.5,
}


@pytest.mark.processes
def test_varied_batches_are_the_same_from_workers_and_after_a_start(records):
    items = records(MIXED)
    alone = training(items, 8, **VARIED)
    assert_same(training(items, 8, workers=2, **VARIED), alone)
    assert_same(training(items, 5, start=3, **VARIED), alone[3:])
    assert any("+" in name for batch in alone for name in batch.image_ids)
    # No image is larger than without, so that the memory that a batch takes is known.
    for one, other in zip(alone, training(items, 8, short_sides=[24, 32]), strict=True):
        assert (one.images.sizes <= other.images.sizes).all()


def test_mosaics_show_the_images_they_name(records):
    items = records(MIXED)
    options = {"flip": False, "colour_jitter": 0, "mosaic": 1.0, "min_visible": 0.0}
    for batch in training(items, 6, **options):
        for i, names in enumerate(batch.image_ids):
            height, width = batch.images.sizes[i].tolist()
            seen = batch.images.pixels[i, :, :height, :width].unique().tolist()
            assert seen == sorted({10 + int(name) for name in names.split("+")})
            assert len(names.split("+")) == 4


def test_unreadable_image_of_a_mosaic_is_replaced(records):
    items = records([(32, 24)] * 4)
    items[1].path.unlink()
    batches = training(items, 6, batch_size=1, mosaic=1.0)
    names = [name for batch in batches for name in batch.image_ids[0].split("+")]
    assert len(names) == 24 and set(names) == {"0", "2", "3"}
    problems = [problem for batch in batches for problem in batch.problems]
    assert problems and all(str(items[1].path) in problem for problem in problems)


@pytest.mark.processes
def test_workers_that_are_spawned(records, monkeypatch):
    items = records(MIXED)
    alone = training(items, 4, **VARIED)
    spawning = partial(DataLoader, multiprocessing_context="spawn")
    monkeypatch.setattr(workers, "DataLoader", spawning)
    assert_same(training(items, 4, workers=1, **VARIED), alone)


@WORKERS
def test_processes_share_the_batches_of_one(records, workers):
    """Three passes of two images, the last of one, by two processes."""
    items = records(MIXED + MIXED)
    options = {"batch_size": 5, "workers": workers}
    want = [batch.image_ids for batch in training(items, 3, **options)]
    options["pass_size"] = 2
    first = training(items, 6, passes=range(2), **options)
    second = training(items, 3, passes=range(2, 3), **options)
    found = [
        first[2 * i].image_ids + first[2 * i + 1].image_ids + second[i].image_ids
        for i in range(3)
    ]
    assert found == want
    resumed = training(items, 2, passes=range(2, 3), start=1, **options)
    assert_same(resumed, second[1:])


def test_training_without_images():
    with pytest.raises(ValueError, match="the training set has no images"):
        training([], 1)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 20])
def test_test_batches_hold_every_image_once(records, batch_size):
    items = records([*MIXED, (200, 24)])
    batches = ordered(items, batch_size=batch_size)
    ids = [i for batch in batches for i in batch.image_ids]
    assert sorted(ids) == [item.image_id for item in items]
    for batch in batches:
        for i, name in enumerate(batch.image_ids):
            height, width = batch.images.sizes[i].tolist()
            record = items[int(name)]
            assert batch.original_sizes[i].tolist() == [record.height, record.width]
            assert height == round(record.height * batch.scales[i].item())
            assert (batch.images.pixels[i, :, :height, :width] == 10 + int(name)).all()
    # Like shapes meet, so little is padded.
    shapes = shape_groups(np.array([(item.width, item.height) for item in items]))
    groups = [[shapes[int(i)] for i in batch.image_ids] for batch in batches]
    assert all(len(set(group)) == 1 for group in groups)
    firsts = [group[0] for group in groups]
    assert firsts == sorted(firsts)
    for group in set(firsts):
        images = (shapes == group).sum()
        assert firsts.count(group) == -(-images // batch_size)


def test_test_images_of_one_bucket_come_by_aspect_ratio(records):
    sizes = [(33, 24), (32, 24), (34, 24), (66, 48), (64, 48), (68, 48)]
    (one, other) = ordered(records(sizes), batch_size=3)
    # Whatever their size as stored: 32 and 64 wide go together.
    assert set(one.image_ids) == {"1", "4", "0"} and "2" in other.image_ids


@pytest.mark.processes
def test_test_batches_are_the_same_from_workers(records):
    items = records(MIXED)
    assert_same(ordered(items, workers=2), ordered(items))


@pytest.mark.parametrize("processes", [2, 3, 20])
def test_shares_of_the_test_batches_are_those_of_one_process(records, processes):
    items = records(MIXED)
    want = ordered(items)
    shares = [ordered(items, share=(r, processes)) for r in range(processes)]
    for number, batch in enumerate(want):
        assert_same([shares[number % processes][number // processes]], [batch])
    assert sum(map(len, shares)) == len(want)


def test_evaluation_batches_of_no_images():
    assert ordered([]) == []


@WORKERS
def test_unreadable_test_image_is_an_error(records, workers):
    items = records(MIXED)
    items[4].path.unlink()
    with pytest.raises(ImageError) as caught:
        ordered(items, workers=workers)
    assert str(caught.value).startswith(str(items[4].path))
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_default_random_numbers_are_left_alone(records, workers):
    items = records(MIXED)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    training(items, 3, workers=workers)
    ordered(items, workers=workers)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()


@pytest.mark.processes
@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="POSIX signals")
def test_workers_outlive_the_signals_that_stop_a_run(records):
    items = records([(32, 24)] * 4)
    options = {"batch_size": 1, "flip": False, "colour_jitter": 0}
    batches = training_batches_of(items, workers=1, **options)
    others = set(multiprocessing.active_children())  # of other tests, not yet collected
    got = [next(batches)]
    (worker,) = set(multiprocessing.active_children()) - others
    os.kill(worker.pid, signal.SIGINT)
    os.kill(worker.pid, signal.SIGTERM)
    # More than what was prepared before.
    got += islice(batches, 11)
    assert worker.is_alive()
    assert_same(got, training(items, 12, **options))
    batches.close()
    worker.join(PATIENCE)
    assert worker.exitcode == 0


@pytest.fixture
def look_often(monkeypatch):
    """Have the loader look for dead workers more often than every 5 s."""
    look = dataloader._MultiProcessingDataLoaderIter._try_get_data
    monkeypatch.setattr(look, "__defaults__", (0.2,))


@pytest.mark.processes
@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="POSIX signals")
def test_workers_that_are_killed_are_replaced(records, caplog, look_often):
    options = {"batch_size": 1, "colour_jitter": 0.2}
    items = records([(32, 24)] * 7)
    before = signal.getsignal(signal.SIGCHLD)
    others = set(multiprocessing.active_children())
    batches = training_batches_of(items, workers=2, **options)
    got = []
    for number in range(30):
        got.append(next(batches))
        if number in (2, 15):
            worker = (set(multiprocessing.active_children()) - others).pop()
            worker.kill()
            worker.join()  # no error comes out of the signal
    assert signal.getsignal(signal.SIGCHLD) == before
    assert_same(got, list(islice(training_batches_of(items, workers=0, **options), 30)))
    assert len(caplog.messages) == 2
    assert "was killed (DataLoader worker" in caplog.messages[0]
    batches.close()


class _Collecting:
    """An item that collects garbage while the loader's thread sends it to a worker."""

    due, took = threading.Event(), queue.Queue()

    def __reduce__(self):
        self.due.wait(PATIENCE)
        began = time.monotonic()
        gc.collect()
        self.took.put(time.monotonic() - began)
        return int, ()


@pytest.mark.processes
def test_workers_of_a_loader_that_its_own_thread_deletes_end_at_once():
    """An error's traceback may leave a loader to the garbage collector."""
    others = set(multiprocessing.active_children())
    cycle = [load(range(9), iter([1, 2, 3, 4, _Collecting()]), workers=1)]
    cycle.append(cycle)
    assert next(cycle[0]) == 1
    (worker,) = set(multiprocessing.active_children()) - others
    del cycle
    _Collecting.due.set()
    assert _Collecting.took.get(timeout=PATIENCE) < 2
    # The loader's own thread waits for the process too: whichever of the two comes
    # second learns the exit code only after the first has stored it.
    until = time.monotonic() + PATIENCE
    while worker.exitcode is None and time.monotonic() < until:
        time.sleep(0.01)
    assert worker.exitcode == 0


class _Deadly(list):
    def __getitem__(self, item):
        os._exit(9)


@pytest.mark.processes
def test_workers_that_are_killed_again_and_again(caplog, look_often):
    batches = load(_Deadly(), iter(range(10)), workers=1)
    with pytest.raises(ChildProcessError, match=r"3 times .* lower data\.workers"):
        next(batches)
    assert len(caplog.messages) == 2


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6, dtype=torch.int64).view(2, 3).T,
        torch.tensor([True, False]),
        torch.zeros(0, 4),
        torch.tensor(1.5),
    ],
    ids=["turned", "bool", "empty", "scalar"],
)
def test_small_tensors_come_without_shared_memory(tensor):
    rebuild, arguments = workers._reduce(tensor)
    (sent,) = pickle.loads(pickle.dumps(arguments))
    found = rebuild(sent)
    assert torch.equal(found, tensor) and found.dtype == tensor.dtype
    found += found.clone()  # may be written to


def test_large_tensors_come_in_shared_memory():
    large = torch.zeros(workers._SMALL + 1, dtype=torch.uint8)
    rebuild, _ = workers._reduce(large)
    assert rebuild is rebuild_tensor


def test_no_more_workers_than_there_is_use_for(monkeypatch, caplog):
    monkeypatch.setattr(workers.os, "cpu_count", lambda: 6)
    wanted = (0, 16, 24, 25, 512)
    assert [*map(workers._affordable.__wrapped__, wanted)] == [0, 16, 24, 24, 24]
    assert caplog.messages[-1] == (
        "data.workers is 512; starting 24, because this machine has 6 processors"
    )


@pytest.mark.parametrize(
    ("megabytes", "prefetched", "message"),
    [
        (0, 4, None),
        (51, 4, None),  # 16 images of 800 x 1333
        (100, 2, "a batch takes up to 100 MB: each of 8 loader processes prepares 2 "),
        (576, 1, "instead of 4 (4608 MB in all); lower data.workers if memory is"),
    ],
)
def test_fewer_large_batches_are_prepared_in_advance(
    megabytes, prefetched, message, caplog
):
    with caplog.at_level("INFO"):
        found = workers._prefetched.__wrapped__(8, megabytes << 20)
    assert found == prefetched
    assert message in caplog.messages[-1] if message else not caplog.messages


def test_size_of_the_largest_batch(records, monkeypatch):
    asked = []

    def note(dataset, items, *, item_bytes, **options):
        asked.append(item_bytes)
        return map(dataset.__getitem__, items)

    monkeypatch.setattr(loader, "load", note)
    items = records(MIXED)
    (trained,) = training(items, 1, short_sides=[24, 32], long_side=48)
    tested = ordered(items, short_side=32, long_side=48)
    assert asked == [2 * 32 * 48 * 3, 3 * 32 * 48 * 3]
    assert trained.images.pixels.nbytes <= asked[0]
    assert max(batch.images.pixels.nbytes for batch in tested) <= asked[1]
