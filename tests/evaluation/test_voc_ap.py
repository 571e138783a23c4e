import math

import numpy as np
import pytest
from box_oracles import slow_iou
from faster_rcnn.evaluation.voc_ap import voc_average_precision, voc_average_precisions

BOX = [10, 10, 20, 20]
OTHER = [50, 50, 70, 70]


def slow_class(dataset, detections, c, threshold):
    """Recall, precision and object count of a class by the devkit's loop."""
    by_id = {d.image_id: d for d in detections}
    objects, queue = {}, []
    for record in dataset.records:
        skip = record.difficult | record.crowd
        objects[record.image_id] = [
            {"box": b, "skip": s, "taken": False}
            for b, k, s in zip(
                record.boxes.astype(float).tolist(), record.classes, skip, strict=True
            )
            if k == c
        ]
        d = by_id[record.image_id]
        for box, score, k in zip(
            d.boxes.astype(float).tolist(), d.scores, d.classes, strict=True
        ):
            if k == c:
                queue.append((score, record.image_id, box))
    queue.sort(key=lambda entry: -entry[0])
    total = sum(not o["skip"] for each in objects.values() for o in each)
    hits = misses = 0
    recall, precision = [], []
    for _, image_id, box in queue:
        best, best_overlap = None, 0.0
        for candidate in objects[image_id]:
            if slow_iou(box, candidate["box"], 0) > best_overlap:
                best, best_overlap = candidate, slow_iou(box, candidate["box"], 0)
        if best is None or best_overlap <= threshold:
            misses += 1
        elif not best["skip"]:
            if best["taken"]:
                misses += 1
            else:
                best["taken"] = True
                hits += 1
        recall.append(hits / total if total else math.nan)
        precision.append(hits / (hits + misses) if hits + misses else 0.0)
    return recall, precision, total


def slow_ap(recall, precision, metric):
    if metric == "07":
        points = [
            max(
                (p for r, p in zip(recall, precision, strict=True) if r >= k / 10),
                default=0,
            )
            for k in range(11)
        ]
        return sum(points) / 11
    area, last = 0.0, 0.0
    for i, r in enumerate(recall):
        area += (r - last) * max(precision[i:])
        last = r
    return area


@pytest.mark.parametrize("metric", ["07", "all"])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.75])
def test_agrees_with_the_devkit_loop(random_scene, metric, threshold):
    dataset, detections = random_scene
    result = voc_average_precision(
        dataset, detections[::-1], metric=metric, iou_threshold=threshold
    )
    aps = []
    for c, name in enumerate(dataset.classes[1:], start=1):
        recall, precision, total = slow_class(dataset, detections, c, threshold)
        got = result.per_class[name]
        assert got.objects == total > 10
        assert got.detections == len(recall) > 50
        np.testing.assert_allclose(got.recall, recall, rtol=1e-12)
        np.testing.assert_allclose(got.precision, precision, rtol=1e-12)
        aps.append(slow_ap(recall, precision, metric))
        assert got.ap == pytest.approx(aps[-1], rel=1e-12)
    assert result.mean_ap == pytest.approx(sum(aps) / 2, rel=1e-12)
    assert 0.1 < result.mean_ap < 0.9


def ap(dataset, records, detections, metric="all", **options):
    data = dataset(records, classes=("__background__", "cat"))
    result = voc_average_precision(data, detections, metric=metric, **options)
    return result.per_class["cat"]


def test_by_hand(record, dataset, found):
    """Hit, miss, hit on 4 objects: precision 1, 1/2, 2/3 at recall 1/4, 1/4, 1/2."""
    records = [record("a", [BOX, OTHER], [1, 1]), record("b", [BOX, OTHER], [1, 1])]
    detections = [
        found("a", [BOX, [200, 200, 210, 210]], [0.9, 0.8]),
        found("b", [OTHER], [0.7]),
    ]
    result = ap(dataset, records, detections)
    assert result.recall.tolist() == [0.25, 0.25, 0.5]
    assert result.precision.tolist() == [1, 0.5, 2 / 3]
    assert result.ap == pytest.approx(0.25 * 1 + 0.25 * 2 / 3)
    # recalls 0, .1, .2 reach precision 1; .3, .4, .5 reach 2/3
    result = ap(dataset, records, detections, "07")
    assert result.ap == pytest.approx((3 + 3 * 2 / 3) / 11)


@pytest.mark.parametrize("hits", range(11))
def test_a_recall_of_exactly_k_tenths_reaches_its_point(record, dataset, found, hits):
    records = [record(f"{i}", [BOX], [1]) for i in range(10)]
    detections = [
        found(f"{i}", [BOX] * (i < hits), [0.5] * (i < hits)) for i in range(10)
    ]
    expected = (hits + 1) / 11 if hits else 0
    assert ap(dataset, records, detections, "07").ap == pytest.approx(expected)


NEAR, WORSE = [10, 10, 20, 21], [10, 10, 20, 17]


@pytest.mark.parametrize(
    ("objects", "boxes", "scores", "recall", "precision"),
    [
        # A second detection of an object is a false positive.
        ([BOX, OTHER], [BOX, BOX, OTHER], [0.9, 0.8, 0.7], None, [1, 0.5, 2 / 3]),
        # A duplicate does not fall back on the second nearest object.
        ([BOX, NEAR], [BOX, BOX], [0.9, 0.8], [0.5, 0.5], None),
        # The better score takes the object, whatever the overlap.
        ([BOX], [WORSE, BOX], [0.9, 0.8], None, [1, 0.5]),
        # The order of the rows does not matter.
        ([BOX], [WORSE, OTHER, BOX], [0.7, 0.8, 0.9], None, [1, 0.5, 1 / 3]),
        ([BOX], [BOX, WORSE], [0.8, 0.9], [1, 1], None),
    ],
)
def test_matches_of_an_image_by_hand(
    record, dataset, found, objects, boxes, scores, recall, precision
):
    records = [record("a", objects, [1] * len(objects))]
    result = ap(dataset, records, [found("a", boxes, scores)])
    assert recall is None or result.recall.tolist() == recall
    assert precision is None or result.precision.tolist() == precision


@pytest.mark.parametrize("first", [True, False])
def test_of_equally_overlapped_objects_the_first_is_hit(record, dataset, found, first):
    records = [record("a", [BOX, BOX], [1, 1], difficult=[first, not first])]
    assert ap(dataset, records, [found("a", [BOX], [0.9])]).ap == (not first)


def test_equal_scores_keep_their_order(record, dataset, found):
    records = [record("a", [BOX], [1]), record("b", [BOX], [1])]
    miss = found("a", [OTHER], [0.5])
    hit = found("b", [BOX], [0.5])
    assert ap(dataset, records, [hit, miss]).precision.tolist() == [0, 0.5]


@pytest.mark.parametrize(
    ("box", "hit"), [([0, 0, 10, 5], False), ([0, 0, 10, 5.001], True)]
)
def test_an_overlap_of_exactly_the_threshold_is_a_miss(
    record, dataset, found, box, hit
):
    records = [record("a", [[0, 0, 10, 10]], [1])]
    assert ap(dataset, records, [found("a", [box], [0.9])]).ap == hit


def test_inclusive_pixels_with_plus_one_give_the_same_overlap(record, dataset, found):
    """VOC pixels 1..2 against 1..3 overlap 2/3: edges 0..2 against 0..3."""
    records = [record("a", [[0, 0, 3, 1]], [1])]
    detections = [found("a", [[0, 0, 2, 1]], [0.9])]
    for threshold, expected in ((0.66, 1), (0.67, 0)):
        got = ap(dataset, records, detections, iou_threshold=threshold)
        assert got.ap == expected


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_difficult_objects_neither_count_nor_punish(record, dataset, found, flag):
    records = [record("a", [BOX, OTHER], [1, 1], **{flag: [True, False]})]
    result = ap(dataset, records, [found("a", [BOX, BOX, OTHER], [0.9, 0.8, 0.7])])
    assert result.objects == 1
    assert result.detections == 3
    assert result.recall.tolist() == [0, 0, 1]
    assert result.precision.tolist() == [0, 0, 1]
    assert result.ap == 1


def test_a_difficult_object_does_not_excuse_a_poor_box(record, dataset, found):
    records = [record("a", [[0, 0, 100, 100]], [1], difficult=[True])]
    records.append(record("b", [BOX], [1]))
    detections = [found("a", [[0, 0, 50, 50]], [0.9]), found("b", [BOX], [0.8])]
    assert ap(dataset, records, detections).ap == 0.5


def test_only_objects_of_the_same_class_and_image_match(record, dataset, found):
    data = dataset([record("a", [BOX], [1]), record("b", [OTHER], [2])])
    detections = [found("a", [BOX], [0.9], [2]), found("b", [BOX], [0.9], [1])]
    result = voc_average_precision(data, detections, metric="all")
    assert [c.ap for c in result.per_class.values()] == [0, 0]
    assert result.mean_ap == 0


def test_classes_without_objects_stay_out_of_the_mean(record, dataset, found):
    data = dataset([record("a", [BOX, BOX], [1, 2], difficult=[False, True])])
    for detections in (found("a", [BOX], [0.9]), found("a", [BOX] * 2, [1, 1], [1, 2])):
        result = voc_average_precision(data, [detections], metric="07")
        assert math.isnan(result.per_class["dog"].ap)
        assert result.mean_ap == pytest.approx(1)


@pytest.mark.parametrize("metric", ["07", "all"])
def test_nothing_found_is_zero(record, dataset, found, metric):
    result = ap(dataset, [record("a", [BOX], [1])], [found("a")], metric)
    assert (result.ap, result.recall.shape, result.detections) == (0, (0,), 0)


def test_nothing_to_find_is_nan(record, dataset, found):
    scenes = [([], []), ([record("a")], [found("a")])]
    scenes.append(([record("a")], [found("a", [BOX], [0.9])]))
    for records, detections in scenes:
        result = voc_average_precision(dataset(records), detections, metric="07")
        assert math.isnan(result.mean_ap)
        assert list(result.per_class) == ["cat", "dog"]


@pytest.mark.parametrize("metric", ["07", "all"])
def test_perfect_detections_give_one(random_scene, found, metric):
    dataset, _ = random_scene
    detections = [
        found(r.image_id, r.boxes, np.linspace(1, 0.5, len(r.boxes)), r.classes)
        for r in dataset.records
    ]
    result = voc_average_precision(
        dataset, detections, metric=metric, iou_threshold=0.99
    )
    assert result.mean_ap == pytest.approx(1, rel=1e-12)


def test_boxes_without_area_do_not_match(record, dataset, found):
    point = [5, 5, 5, 5]
    records = [record("a", [point], [1])]
    assert ap(dataset, records, [found("a", [point], [0.9])], iou_threshold=0).ap == 0


def test_bad_options(record, dataset, found):
    data = dataset([record("a")])
    with pytest.raises(ValueError, match='expected metric "07" or "all", found \'12\''):
        voc_average_precision(data, [found("a")], metric="12")
    with pytest.raises(ValueError, match="IoU threshold"):
        voc_average_precision(data, [found("a")], metric="07", iou_threshold=50)
    with pytest.raises(ValueError, match="no entry of detections"):
        voc_average_precision(data, [], metric="07")


def test_many_overlaps_at_once_are_those_of_one_at_a_time(random_scene):
    ious = tuple(np.linspace(0.5, 0.95, 10).tolist())
    many = voc_average_precisions(*random_scene, iou_thresholds=ious)
    means = []
    for iou, results in zip(ious, many, strict=True):
        assert list(results) == ["07", "all"]
        for metric, result in results.items():
            one = voc_average_precision(*random_scene, iou_threshold=iou, metric=metric)
            assert result.iou_threshold == one.iou_threshold == iou
            for name, expected in one.per_class.items():
                assert result.per_class[name].ap == expected.ap
                assert (result.per_class[name].recall == expected.recall).all()
        means.append(results["all"].mean_ap)
    assert means == sorted(means, reverse=True) and means[0] > means[-1]


def test_threshold_of_no_overlap(random_scene):
    assert voc_average_precisions(*random_scene, iou_thresholds=()) == ()


def test_scores_stand_beside_the_curve(random_scene):
    dataset, detections = random_scene
    result = voc_average_precision(dataset, detections, metric="all")
    for c, name in enumerate(dataset.classes[1:], start=1):
        own = np.concatenate([d.scores[d.classes == c] for d in detections])
        assert result.per_class[name].scores.tolist() == sorted(own, reverse=True)
