"""Average recall: by hand, against a slow loop, and against pycocotools."""

import json
import math

import numpy as np
import pytest
from faster_rcnn.evaluation import proposal_recall
from faster_rcnn.evaluation.coco_objects import coco_image_ids, coco_objects, xywh
from faster_rcnn.evaluation.proposal_recall import (
    LIMITS,
    ImageProposals,
    evaluate_proposals,
    load_proposals,
    save_proposals,
)
from faster_rcnn.evaluation.tasks import IOU_THRESHOLDS

SMALL, MEDIUM, LARGE = [0, 0, 20, 20], [50, 50, 100, 100], [120, 120, 300, 300]


def proposals(image_id, boxes=(), scores=None):
    scores = np.linspace(1, 0.1, len(boxes)) if scores is None else scores
    return ImageProposals(
        image_id,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
    )


@pytest.fixture
def three(record, dataset):
    """A small, a medium and a large object of two classes, and a picture of none."""
    return dataset([record("x", [SMALL, MEDIUM, LARGE], [1, 2, 1]), record("y")])


@pytest.fixture(params=range(8))
def crowded(request, record, dataset):
    """Objects on top of each other, and many proposals that vie for them."""
    rng = np.random.default_rng(request.param)
    records, found = [], []
    for i in range(6):
        count = int(rng.integers(1, 12))
        corners = rng.integers(0, 60, (count, 2))
        sizes = rng.choice([10, 31, 32, 33, 60, 95, 96, 97], (count, 2))
        boxes = np.hstack([corners, corners + sizes])
        boxes[-1] = boxes[0]  # of equal overlaps, too, one is chosen
        flags = rng.random((2, count)) < 0.15
        classes = rng.integers(1, 3, count)
        records.append(record(f"{i}", boxes, classes, *flags.tolist()))
        near = boxes[rng.integers(count, size=100)]
        near = near + rng.choice([0, 0, 0, 1, -1, 4, -7, 2.5], near.shape)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2])
        found.append(proposals(f"{i}", near, rng.integers(0, 30, 100) / 30))
    return dataset(records), found


def overlap(a, b):
    sides = [min(a[k] + a[k + 2], b[k] + b[k + 2]) - max(a[k], b[k]) for k in (0, 1)]
    shared = sides[0] * sides[1] if min(sides) > 0 else 0.0
    return shared / (a[2] * a[3] + b[2] * b[3] - shared) if shared else 0.0


def slow_recall(dataset, found, low, high, limit, threshold):
    """Proposals one after the other, best first, each taking what it likes best."""
    objects = coco_objects(dataset)
    hits = total = 0
    for image_id, entry in zip(coco_image_ids(dataset), found, strict=True):
        rows = np.flatnonzero(objects.image_ids == image_id)
        rows = sorted(rows, key=lambda row: objects.category_ids[row])
        free = [
            objects.boxes[row].tolist()
            for row in rows
            if not objects.crowd[row] and low <= objects.areas[row] <= high
        ]
        total += len(free)
        boxes = xywh(entry.boxes).tolist()
        for index in np.argsort(-entry.scores, kind="stable")[:limit]:
            best = None
            for place, box in enumerate(free):
                least = threshold if best is None else overlap(boxes[index], free[best])
                if overlap(boxes[index], box) >= least:
                    best = place
            if best is not None:
                free.pop(best)
                hits += 1
    return hits / total if total else math.nan


def test_agrees_with_the_slow_loop(crowded, monkeypatch):
    monkeypatch.setattr(proposal_recall, "_AT_ONCE", 4)  # of six images
    dataset, found = crowded
    ious, limits = (0.3, 0.5, 0.8), (3, 20, 100)
    result = evaluate_proposals(dataset, found, limits=limits, iou_thresholds=ious)
    areas = {"all": (0, 1e10), "small": (0, 1024), "medium": (1024, 9216)}
    for size, (low, high) in areas.items():
        expected = [
            [slow_recall(dataset, found, low, high, k, t) for k in limits] for t in ious
        ]
        np.testing.assert_array_equal(result.recalls[size], expected)
    assert 0 < result.recalls["all"][0, 0] < result.recalls["all"][0, 2] < 1.01


@pytest.mark.parametrize("ious", [IOU_THRESHOLDS, (0.1, 0.5, 1.0)])
def test_images_may_be_matched_apart(crowded, ious, monkeypatch):
    """As by pycocotools all together, to the bit."""
    options = {"limits": (2, 10, 50, 100), "iou_thresholds": ious}
    whole = evaluate_proposals(*crowded, evaluator="pycocotools", **options)
    monkeypatch.setattr(proposal_recall, "_AT_ONCE", 1)
    apart = evaluate_proposals(*crowded, **options)
    assert whole.average_recall.keys() == apart.average_recall.keys()
    for size, recall in whole.recalls.items():
        np.testing.assert_array_equal(recall, apart.recalls[size])


def test_by_hand(three):
    """One object of three is found at all overlaps, one up to .72, at rank 2 and 3."""
    boxes = [[400, 300, 410, 310], LARGE, [50, 50, 100, 86], LARGE]
    found = [proposals("x", boxes), proposals("y", [SMALL])]
    result = evaluate_proposals(three, found, limits=(1, 2, 3))
    average = result.average_recall
    assert [average[f"AR@{k}"] for k in (1, 2, 3)] == pytest.approx([0, 1 / 3, 0.5])
    assert [average[f"ARm@{k}"] for k in (1, 2, 3)] == pytest.approx([0, 0, 0.5])
    assert (average["ARs@3"], average["ARl@3"]) == (0, 1)
    curve = result.recalls["all"][:, 2]
    assert curve == pytest.approx([2 / 3] * 5 + [1 / 3] * 5)
    assert (result.images, result.proposals) == (2, 5)


@pytest.mark.parametrize("evaluator", ["hotcoco", "pycocotools"])
@pytest.mark.parametrize(("classes", "recall"), [([1, 2], 0.5), ([2, 1], 1)])
def test_of_equal_overlaps_the_later_class_is_taken(
    record, dataset, evaluator, classes, recall
):
    """The first proposal overlaps both by 1/3; the second is the right one itself."""
    left, right = [0, 0, 10, 10], [10, 0, 20, 10]
    data = dataset([record("x", [left, right], classes)])
    result = evaluate_proposals(
        data,
        [proposals("x", [[5, 0, 15, 10], right])],
        evaluator=evaluator,
        iou_thresholds=(0.3,),
    )
    assert result.average_recall["AR@100"] == recall


def test_nothing_proposed_and_nothing_to_find(three, record, dataset):
    none = evaluate_proposals(three, [proposals("x"), proposals("y")])
    assert set(none.average_recall.values()) == {0}
    assert none.table().endswith("recall is 0 because there are no proposals")
    empty = dataset([record("x")])
    nothing = evaluate_proposals(empty, [proposals("x", [SMALL])])
    assert all(map(math.isnan, nothing.average_recall.values()))
    assert "no object counts" in nothing.table()
    assert set(nothing.to_json()["average_recall"].values()) == {None}


def test_proposals_that_cover_nothing_are_explained(three):
    far = [proposals("x", [[400, 300, 410, 310]]), proposals("y")]
    assert "pixels of a resized image" in evaluate_proposals(three, far).table()


def test_table_and_json(three):
    found = [proposals("x", [SMALL, LARGE]), proposals("y")]
    result = evaluate_proposals(three, found)
    lines = result.table().splitlines()
    assert lines[0].split() == ["AR@", *map(str, LIMITS)]
    assert lines[2].split() == ["all", *["0.6667"] * 4]
    assert lines[4].split() == ["medium", *["0.0000"] * 4]
    assert lines[8].split() == ["0.50", *["0.6667"] * 4]
    content = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert content["average_recall"]["ARl@2000"] == 1
    assert len(content["recall_against_iou"]["all@100"]) == 10
    assert content["recall_against_iou"]["iou"][1] == 0.55


def test_limits_and_images_are_checked(three):
    found = [proposals("x"), proposals("y")]
    for limits in ((), (0, 5), (5, 5), (10, 5)):
        with pytest.raises(ValueError, match="expected ascending limits"):
            evaluate_proposals(three, found, limits=limits)
    with pytest.raises(ValueError, match="no entry of detections"):
        evaluate_proposals(three, found[:1])
    with pytest.raises(ValueError, match="score that is not finite"):
        evaluate_proposals(three, [proposals("x", [SMALL], [math.nan]), proposals("y")])


def test_saved_and_loaded(three, tmp_path):
    found = [proposals("x", [SMALL, LARGE]), proposals("y")]
    path = tmp_path / "deep" / "proposals.npz"
    save_proposals(path, found[::-1], three)
    for before, after in zip(found, load_proposals(path, three), strict=True):
        assert before.image_id == after.image_id
        np.testing.assert_array_equal(before.boxes, after.boxes)
        np.testing.assert_array_equal(before.scores, after.scores)


def test_unreadable_proposals(three, dataset, record, tmp_path):
    path = tmp_path / "p.npz"
    with pytest.raises(ValueError, match=r"p\.npz: .*--eval proposal again"):
        load_proposals(path, three)
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"p\.npz: expected proposals saved by a test"):
        load_proposals(path, three)
    np.savez(path, image_ids=["x"], counts=[3], boxes=np.zeros((1, 4)), scores=[1.0])
    with pytest.raises(ValueError, match="do not match each other"):
        load_proposals(path, three)
    save_proposals(path, [proposals("z")], dataset([record("z")]))
    with pytest.raises(ValueError, match=r"1 images .* not in pets_test .*first 'z'"):
        load_proposals(path, three)
