"""The timing of kernels and of RoI pooling, at sizes that take no time."""

import json

import kernel_growth
import kernels
import pytest
import reporting
import roi_pooling
import roi_pooling_ways
import timing
import torch
import torchvision
from kernel_inputs import Sizes, image_size, rpn_boxes, scene

CPU = torch.device("cpu")
TINY = Sizes(
    height=10,
    width=12,
    channels=20,
    train_nms=(500, 40),
    test_nms=(200, 10),
    train_rois=4,
    test_rois=9,
    objects=5,
)
MARKED = "before\n<!-- cpu -->\nold\n<!-- /cpu -->\nafter\n"


@pytest.fixture(scope="module")
def figures():
    """As they come back from a JSON file."""
    measured = {"cpu": kernels.measure(CPU, TINY, repeats=1)}
    return json.loads(json.dumps(measured))


@pytest.mark.slow
def test_every_case_is_checked_and_timed(figures):
    found = figures["cpu"]["cases"]
    assert len({result["case"] for result in found}) == 17
    assert all(result["ours"] > 0 and result["theirs"] > 0 for result in found)
    wanted = [result["wanted"] for result in found if result["wanted"] is not None]
    assert wanted == [80, 300, 15, 5, 15, 5, 12, 4, 4, 1, 1, 1, 1, 6]


@pytest.mark.slow
def test_kernels_document(figures, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(kernels, "draw_growth", lambda *drawing: drawn.append(drawing))
    document, picture = tmp_path / "kernels.md", tmp_path / "kernels_growth.png"
    document.write_text(MARKED)
    kernels.KERNELS._replace(document=document, picture=picture).write(figures)
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("<!-- /cpu -->\nafter\n")
    assert "old" not in text
    assert "| suppression, 40 of 500 | float32 |" in text
    assert "| matching: anchors x objects |" in text
    assert drawn == [({"cpu": figures["cpu"]["growth"]}, picture)]


@pytest.mark.slow
def test_growth_is_drawn(figures, tmp_path):
    path = tmp_path / "growth.png"
    kernel_growth.draw_growth({"cpu": figures["cpu"]["growth"]}, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_slope_is_that_of_the_larger_half():
    points = [
        {"work": work, "ours": 5.0 if work < 8 else 5.0 * (work / 8) ** 2}
        for work in (1, 2, 4, 8, 16, 32)
    ]
    assert kernel_growth.slope(points, "ours") == pytest.approx(2)


def test_boxes_are_those_of_a_trained_rpn():
    """Suppression leaves about 2000 of 12000 boxes (Faster R-CNN, section 3.3)."""
    generator = torch.Generator().manual_seed(0)
    anchors, gt_boxes = scene(38, 50, 20, generator)
    boxes, scores = rpn_boxes(anchors, gt_boxes, image_size(38, 50), generator)
    assert (scores.diff() <= 0).all()
    kept = torchvision.ops.nms(boxes[:12000], scores[:12000], 0.7)
    assert 2000 <= len(kept) <= 2500
    best = torchvision.ops.box_iou(boxes[:100], gt_boxes).amax(dim=1)
    assert best.median() > 0.6  # the first lie on objects


def test_check_refuses_what_differs():
    a, index = torch.tensor([1.0, 2.0]), torch.tensor([3, 4])
    timing.check_equal((a, index), (a + 1e-6, index), what="equal")
    for other in ((a + 1e-4, index), (a, index + 1), (a[:1], index), (a * torch.nan,)):
        with pytest.raises(ValueError, match="mine: "):
            timing.check_equal((a, index)[: len(other)], other, what="mine")
    timing.check_equal((a,), (a + torch.tensor([0, 1]),), what="stray", strays=0.5)


def test_ratio_is_of_rounds_side_by_side():
    times, low, high = timing.ratio([2.0, 20.0, 2.0], [1.0, 10.0, 0.5])
    assert (times, low, high) == (2, 2, 3)


def test_rounds_call_in_turn(monkeypatch):
    monkeypatch.setattr(timing, "_BLOCK", 0.0)
    order = []
    calls = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    seconds = timing.time_rounds(calls, repeats=3, device=CPU)
    assert "".join(order) == "ab" * 5  # two rounds of warm-up
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_short_calls_are_repeated_within_a_round(monkeypatch):
    clock, order = [0.0], []

    def call(name, seconds):
        order.append(name)
        clock[0] += seconds

    monkeypatch.setattr(timing, "_BLOCK", 0.005)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    calls = {"a": lambda: call("a", 0.002), "b": lambda: call("b", 0.25)}
    seconds = timing.time_rounds(calls, repeats=2, device=CPU)
    assert "".join(order) == "abab" + "aaab" * 2  # one before that does not count
    assert seconds["a"] == pytest.approx([0.002] * 2)
    assert seconds["b"] == pytest.approx([0.25] * 2)


def test_a_document_without_marks_is_refused(tmp_path):
    document = tmp_path / "kernels.md"
    document.write_text("nothing\n")
    with pytest.raises(ValueError, match="expected the marks <!-- cpu -->"):
        reporting.write_between(document, "cpu", "new")


# RoI pooling


def small(rois=10):
    return roi_pooling_ways.Setting(3, 4, 9, rois)


@pytest.fixture(scope="module")
def pooled():
    results = [
        result
        for patience in (0.0, 60.0)
        for result in roi_pooling.compare(small(20), CPU, repeats=1, patience=patience)
    ]
    return json.loads(json.dumps({"machine": "here", "results": results}))


def test_ways_are_checked_and_timed(pooled):
    samples = [result["loop_sample"] for result in pooled["results"]]
    assert samples == [roi_pooling.SAMPLE] * 2 + [None] * 2
    text = roi_pooling.text(pooled)
    assert text.startswith("here.")
    assert text.count("| (3, 4, 9, 9), 20 RoIs |") == 4
    assert text.count("~") == 2


def test_ways_are_drawn(pooled, tmp_path):
    roi_pooling.draw({"cpu": pooled}, tmp_path / "ways.png")
    assert (tmp_path / "ways.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["ours", "loop"])
def test_a_way_that_computes_otherwise_is_noticed(name, monkeypatch):
    inputs = roi_pooling_ways.draw_inputs(small(), CPU)
    roi_pooling_ways.check(inputs, ["ours", "loop"])
    right = roi_pooling_ways.WAYS[name]
    moved = inputs.rois.clone()
    moved[3, 1:] = 8.0 - moved[3, [3, 4, 1, 2]]
    assert not moved.equal(inputs.rois)
    monkeypatch.setitem(
        roi_pooling_ways.WAYS, name, lambda i: right(i._replace(rois=moved))
    )
    with pytest.raises(ValueError, match=name):
        roi_pooling_ways.check(inputs, ["ours", "loop"])


def test_settings_fit_the_memory():
    for setting in roi_pooling.settings():
        assert 4 * setting.batch * setting.channels * setting.size**2 <= 2**29
    assert roi_pooling_ways.Setting(64, 512, 64, 1000) in roi_pooling.settings()
