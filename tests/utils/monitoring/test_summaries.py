import errno
import json
import logging
import math

import cv2
import numpy as np
import pytest
import torch
from faster_rcnn.utils.monitoring.summaries import MetricsFile, Summaries
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read(folder):
    events = EventAccumulator(str(folder), size_guidance={"histograms": 0, "images": 0})
    events.Reload()
    return events


def curve(events, name):
    return [(e.step, e.value) for e in events.Scalars(name)]


def test_scalars_are_read_back(tmp_path):
    with Summaries(tmp_path / "tensorboard") as summaries:
        summaries.scalars({"loss/total": 1.5, "lr": 0.25}, 1)
        summaries.scalars({"loss/total": math.nan, "lr": math.inf}, 2)
        summaries.scalars({"test/AP/potted plant": 0.75}, 2)
    events = read(tmp_path / "tensorboard")
    assert curve(events, "lr") == [(1, 0.25), (2, math.inf)]
    assert curve(events, "test/AP/potted_plant") == [(2, 0.75)]
    total = curve(events, "loss/total")
    assert total[0] == (1, 1.5)
    assert math.isnan(total[1][1])


def test_picture_is_read_back(tmp_path):
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    with Summaries(tmp_path) as summaries:
        summaries.images("gt", picture, 7)
    (event,) = read(tmp_path).Images("gt")
    assert (event.step, event.width, event.height) == (7, 6, 4)
    encoded = np.frombuffer(event.encoded_image_string, np.uint8)
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None
    assert np.array_equal(decoded[..., ::-1], picture)


def test_text_is_a_code_block(tmp_path):
    with Summaries(tmp_path) as summaries:
        summaries.text("config", "A:\n  B: 1  # ``` é\n")
    (event,) = read(tmp_path).Tensors("config/text_summary")
    text = event.tensor_proto.string_val[0].decode("utf-8")
    assert text == "````yaml\nA:\n  B: 1  # ``` é\n````\n"


def counts(events, name):
    """Return the filled buckets of a histogram, (left, right) edge -> count."""
    value = events.Histograms(name)[0].histogram_value
    assert len(value.bucket) == len(value.bucket_limit)
    pairs = zip(
        value.bucket_limit[:-1], value.bucket_limit[1:], value.bucket[1:], strict=True
    )
    assert value.bucket[0] == 0
    return {(left, right): n for left, right, n in pairs if n}


def test_histogram_counts(tmp_path):
    values = torch.tensor([[0.0, 0.0, 32.0], [63.5, 64.0, 1.0]], requires_grad=True)
    with Summaries(tmp_path) as summaries:
        assert summaries.histograms({"w": values}, 3) == {}
    events = read(tmp_path)
    # 64 buckets of width 1 from 0 to 64, closed on the left, the last on both sides.
    assert counts(events, "w") == {(0, 1): 2, (1, 2): 1, (32, 33): 1, (63, 64): 2}
    value = events.Histograms("w")[0].histogram_value
    assert (value.min, value.max, value.num) == (0, 64, 6)
    assert value.sum == pytest.approx(160.5)
    expected = 32**2 + 63.5**2 + 64**2 + 1
    assert value.sum_squares == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.int64, torch.bool])
def test_histogram_of_other_types(tmp_path, dtype):
    with Summaries(tmp_path) as summaries:
        summaries.histograms({"x": torch.tensor([0, 1, 1]).to(dtype)}, 0)
    assert sum(counts(read(tmp_path), "x").values()) == 3


@pytest.mark.parametrize(
    "values",
    [[5.0], [0.0, 0.0], [-3e38, 0.0, 3e38], [3e38, 2e38], [1e30] * 3, [1e-42, 0.0]],
    ids=str,
)
def test_histogram_of_extreme_values(tmp_path, values):
    with Summaries(tmp_path) as summaries:
        summaries.histograms({"x": torch.tensor(values)}, 0)
    filled = counts(read(tmp_path), "x")
    assert sum(filled.values()) == len(values)
    assert all(left < right for left, right in filled)


def test_values_that_are_not_finite_are_counted(tmp_path):
    nan, inf = math.nan, math.inf
    tensors = {
        "empty": torch.zeros(0, 4),
        "bad": torch.tensor([nan, inf, -inf]),
        "mixed": torch.tensor([nan, 1.0, 2.0]),
    }
    with Summaries(tmp_path) as summaries:
        assert summaries.histograms(tensors, 5) == {"bad": 3, "mixed": 1}
    events = read(tmp_path)
    assert events.Tags()["histograms"] == ["mixed"]
    assert events.Histograms("mixed")[0].histogram_value.num == 2
    assert curve(events, "not_finite/bad") == [(5, 3.0)]
    assert curve(events, "not_finite/mixed") == [(5, 1.0)]


def test_resuming_purges_what_is_written_again(tmp_path):
    with Summaries(tmp_path) as summaries:
        for step in range(1, 9):
            summaries.scalars({"loss": 100.0 + step}, step)
    with Summaries(tmp_path, purge_step=6) as summaries:
        for step in range(6, 8):
            summaries.scalars({"loss": 200.0 + step}, step)
    assert len(list(tmp_path.iterdir())) == 2  # also within one second
    steps = curve(read(tmp_path), "loss")
    assert steps == [(s, 100.0 + s) for s in range(1, 6)] + [(6, 206.0), (7, 207.0)]


def test_flush_makes_events_visible(tmp_path):
    summaries = Summaries(tmp_path)
    summaries.scalars({"loss": 1.0}, 1)
    summaries.flush()
    assert curve(read(tmp_path), "loss") == [(1, 1.0)]
    summaries.close()
    summaries.close()
    summaries.scalars({"loss": 1.0}, 2)  # ignored


def test_full_disk_costs_only_the_events(tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.WARNING, "faster_rcnn")
    summaries = Summaries(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(summaries._writer, "write", full)
    for step in range(3):
        summaries.scalars({"loss": 1.0}, step)
    summaries.flush()
    summaries.close()
    (message,) = caplog.messages
    assert "No space left on device" in message
    assert "the run continues" in message
    assert str(tmp_path) in message


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_metrics_lines_are_valid_json(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    with MetricsFile(path) as metrics:
        metrics.append(1, {"loss": math.nan, "lr": 0.1, "images": ["é", "b"]})
        assert len(lines(path)) == 1  # flushed at once
        metrics.append(2, {"test": {"AP": [math.inf, -math.inf, 0.5], "n": None}})
    assert lines(path) == [
        {"iteration": 1, "loss": "NaN", "lr": 0.1, "images": ["é", "b"]},
        {"iteration": 2, "test": {"AP": ["Infinity", "-Infinity", 0.5], "n": None}},
    ]
    assert math.isnan(float("NaN"))


@pytest.mark.parametrize("cut", [0, 1, 7], ids=["whole", "no newline", "half a line"])
def test_resumed_metrics_equal_those_of_an_unbroken_run(tmp_path, cut):
    unbroken, broken = tmp_path / "a.jsonl", tmp_path / "b.jsonl"

    def train(path, start, stop):
        with MetricsFile(path, start=start) as metrics:
            for i in range(start + 1, stop + 1):
                metrics.append(i, {"loss": 1 / i})

    train(unbroken, 0, 20)
    train(broken, 0, 13)
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) - cut])  # killed while writing
    train(broken, 10, 20)
    assert broken.read_bytes() == unbroken.read_bytes()


def test_line_without_its_newline_is_completed(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"iteration": 1}\n{"iteration": 2}')
    with MetricsFile(path, start=2) as metrics:
        metrics.append(3, {})
    assert [line["iteration"] for line in lines(path)] == [1, 2, 3]


def test_unreadable_lines_are_dropped_and_reported(tmp_path, caplog):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"iteration": 1}\n\xff\xfe\n[]\n{"x": 1}\n{"iteration": 2}\n')
    MetricsFile(path, start=5).close()
    assert path.read_bytes() == b'{"iteration": 1}\n{"iteration": 2}\n'
    assert "dropped 3 unreadable line(s)" in caplog.text


def test_starting_over_empties_the_file(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"iteration": 1}\n')
    MetricsFile(path).close()
    assert path.read_text() == ""


@pytest.mark.parametrize("written", [None, 3], ids=["nothing", "a part"])
def test_failed_line_names_the_file(tmp_path, monkeypatch, written):
    class Full:
        def write(self, _):
            if written is None:
                raise OSError(errno.ENOSPC, "No space left on device")
            return written

    with MetricsFile(tmp_path / "m.jsonl") as metrics, monkeypatch.context() as patch:
        patch.setattr(metrics, "_file", Full())
        with pytest.raises(OSError, match=r"No space left.*m\.jsonl"):
            metrics.append(1, {})
