import json
import logging
import math

import numpy as np
import pytest
from faster_rcnn.utils.monitoring.curves import (
    Curve,
    read_runs,
    run_names,
    smoothed,
    thinned,
)
from faster_rcnn.utils.monitoring.summaries import MetricsFile


def write(folder, *rows, end=""):
    folder.mkdir(parents=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(text + end)
    return folder


def row(iteration, **values):
    return {"iteration": iteration, **values}


def curve(iterations, values):
    return Curve(np.array(iterations), np.array(values, float))


def test_curves_of_what_a_run_writes(tmp_path):
    with MetricsFile(tmp_path / "run" / "metrics.jsonl") as metrics:
        metrics.append(20, {"loss": 2.0, "lr": 0.1})
        metrics.append(40, {"loss": math.nan, "lr": 0.1, "mAP": 0.5, "note": "text"})
        metrics.append(60, {"loss": math.inf, "lr": 0.01, "list": [1]})
    ((name, curves, settings),) = read_runs([tmp_path / "run"])
    assert name == "run" and settings == {}
    assert list(curves) == ["loss", "lr", "mAP"]
    assert curves["loss"].iterations.tolist() == [20, 40, 60]
    np.testing.assert_array_equal(curves["loss"].values, [2, np.nan, np.inf])
    assert curves["mAP"].iterations.tolist() == [40]


def test_file_itself_may_be_named(tmp_path):
    folder = write(tmp_path / "run", row(1, loss=1))
    (run,) = read_runs([folder / "metrics.jsonl"])
    assert run.name == "run"


def test_run_that_went_back_counts_once(tmp_path):
    rows = [row(i, loss=i) for i in (10, 20, 30)]
    rows += [row(i, loss=100 + i) for i in (20, 30, 40)]
    (run,) = read_runs([write(tmp_path / "run", *rows)])
    assert run.curves["loss"].iterations.tolist() == [10, 20, 30, 40]
    assert run.curves["loss"].values.tolist() == [10, 120, 130, 140]


def test_validation_has_a_line_of_its_own(tmp_path):
    rows = [row(10, loss=1), row(10, **{"val/loss": 2}), row(20, loss=3)]
    (run,) = read_runs([write(tmp_path / "run", *rows)])
    assert run.curves["loss"].values.tolist() == [1, 3]
    assert run.curves["val/loss"].iterations.tolist() == [10]


def test_last_line_being_written_is_left_out(tmp_path, caplog):
    folder = write(tmp_path / "run", row(1, loss=1), end='{"iteration": 2, "lo')
    (run,) = read_runs([folder])
    assert run.curves["loss"].iterations.tolist() == [1]
    assert not caplog.messages


def test_damaged_lines_are_counted(tmp_path, caplog):
    end = '[1]\n{"loss": 1}\n\x00\n{"iteration": 3, "loss": 3}\n'
    with caplog.at_level(logging.WARNING, "faster_rcnn"):
        (run,) = read_runs([write(tmp_path / "run", row(1, loss=1), end=end)])
    assert run.curves["loss"].iterations.tolist() == [1, 3]
    assert "left out 3 unreadable lines" in caplog.text


@pytest.mark.parametrize("end", ["", '{"iter', "\n"])
def test_run_without_a_line_is_an_error(tmp_path, end):
    folder = write(tmp_path / "run", end=end)
    with pytest.raises(ValueError, match=r"metrics\.jsonl holds no line yet"):
        read_runs([folder])


def test_missing_run_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=f"none at {tmp_path / 'nothing'}"):
        read_runs([tmp_path / "nothing"])
    write(tmp_path / "net" / "set" / "one", row(1, loss=1))
    with pytest.raises(ValueError, match=r"is not a run but contains 1: .*net/set/one"):
        read_runs([tmp_path / "net"])


def test_run_given_twice_is_an_error(tmp_path):
    folder = write(tmp_path / "run", row(1, loss=1))
    with pytest.raises(ValueError, match="given twice"):
        read_runs([folder, folder / "metrics.jsonl"])


def test_names_are_as_short_as_they_may_be(tmp_path):
    folders = [tmp_path / end for end in ("res50/voc/a", "res50/voc/b")]
    assert run_names(folders) == ["a", "b"]
    folders = [tmp_path / end for end in ("res50/voc/a", "res18/voc/a", "res18/voc/b")]
    assert run_names(folders) == ["res50/voc/a", "res18/voc/a", "res18/voc/b"]


def test_headline_of_tests_is_a_curve(tmp_path, caplog):
    folder = write(tmp_path / "run", row(1, loss=1))
    for iteration, content in (
        (200, {"headline": {"name": "mAP_07", "value": 0.5}}),
        (100, {"headline": {"name": "mAP_07", "value": 0.25}}),
        (300, {"headline": {"name": "mAP_07", "value": None}}),
        (400, []),
    ):
        test = folder / "test" / "shapes_test" / f"iter_{iteration:07d}"
        test.mkdir(parents=True)
        (test / "results.json").write_text(json.dumps(content))
    (run,) = read_runs([folder])
    found = run.curves["mAP_07 on shapes_test"]
    assert found.iterations.tolist() == [100, 200]
    assert found.values.tolist() == [0.25, 0.5]
    assert caplog.text.count("left out") == 2


def test_means_by_hand():
    points = curve([10, 20, 30, 60, 70], [1, 3, np.nan, 5, np.inf])
    assert smoothed(points, 0) is points
    means = smoothed(points, 30).values
    # From 30 before, exclusive: 10; 10, 20; nothing; 60 alone; infinity stays.
    np.testing.assert_array_equal(means, [1, 2, np.nan, 5, np.inf])
    np.testing.assert_allclose(smoothed(points, 50).values[3], (3 + 5) / 2)


def test_means_equal_a_slow_loop():
    rng = np.random.default_rng(0)
    points = curve(np.cumsum(rng.integers(1, 9, 200)), rng.normal(size=200))
    expected = [
        np.mean([v for i, v in zip(*points, strict=True) if last - 25 < i <= last])
        for last in points.iterations
    ]
    np.testing.assert_allclose(smoothed(points, 25).values, expected)


def test_thinning_keeps_ends_and_extremes():
    values = np.zeros(10_000)
    values[[3, 5000, 9990]] = 7, -8, np.nan
    few = thinned(curve(np.arange(10_000), values), 100)
    assert len(few.values) <= 250
    assert few.iterations[0] == 0 and few.iterations[-1] == 9999
    assert np.nanmax(few.values) == 7 and np.nanmin(few.values) == -8
    assert np.isnan(few.values).sum() == 1
    assert (np.diff(few.iterations) > 0).all()
    short = curve([1, 2], [3, 4])
    assert thinned(short, 2) is short
