"""The benchmark of the loader, on a few drawn images."""

import sys

import loader as benchmark
import numpy as np
import pytest


@pytest.fixture
def paths(tmp_path):
    return benchmark.make_files(tmp_path, 3)


def test_speed_compares_equal_work(paths):
    records = benchmark.make_records(paths)
    batch = next(benchmark.batches_of(records))
    assert batch.images.pixels.shape == (1, 3, 608, 800)
    assert batch.images.sizes.tolist() == [[600, 800]]
    assert batch.ground_truth.valid.sum() == 1
    table = benchmark.measure_speed(paths, 1)
    assert "| this loader | " in table and "| 1.00 (1.00 to 1.00) |" in table


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_that_of_the_workers(paths):
    own, private = benchmark._memory_mb("self")
    assert own > private > 1
    table = benchmark.measure_memory(paths, epochs=4, workers=1)
    rows = [row.split("|")[1].strip() for row in table.splitlines()[2:]]
    assert rows == ["1", "2", "4", "growth per epoch after the first"]


def test_drawn_files_are_the_same_every_time(tmp_path, paths):
    again = tmp_path / "again"
    again.mkdir()
    others = benchmark.make_files(again, 2)
    assert [p.read_bytes() for p in others] == [p.read_bytes() for p in paths[:2]]
    assert np.mean([path.stat().st_size for path in paths]) > 20_000
