import pytest
import torch
from box_oracles import JUNK, random_boxes, slow_iou
from equality import assert_equal, check_images_alone
from faster_rcnn.layer_utils.box_fusion import weighted_boxes_fusion
from faster_rcnn.layer_utils.structures import Detections, map_tensors, tensors_of


def fuse(found, **changes):
    options = {
        "views": 2,
        "threshold": 0.55,
        "max_detections": 10,
        "min_score": 0.0,
        "offset": 0,
    }
    return weighted_boxes_fusion(found, **(options | changes))


def boxes_found(*rows):
    """One image's detections, given as (score, class, box)."""
    scores, classes, boxes = zip(*rows, strict=True)
    return Detections(
        torch.tensor([boxes], dtype=torch.float32),
        torch.tensor([scores]),
        torch.tensor([classes]),
        torch.ones(1, len(rows), dtype=torch.bool),
    )


def random_found(images=2, boxes=60, views=3, seed=0):
    """Detections of several views: each object's box several times, moved a little."""
    generator = torch.Generator().manual_seed(seed)
    objects = random_boxes(images * boxes // views, seed=seed).repeat_interleave(
        views, dim=0
    )
    moved = objects + 2 * torch.randn(objects.shape, generator=generator)
    shape = (images, boxes)
    order = torch.rand(shape, generator=generator).argsort(dim=1)
    return Detections(
        moved.view(*shape, 4).gather(1, order[:, :, None].expand(-1, -1, 4)),
        torch.rand(shape, generator=generator) * 0.9 + 0.1,
        torch.randint(1, 3, shape, generator=generator),
        torch.rand(shape, generator=generator) < 0.9,
    )


def slow_fusion(rows, views, threshold, offset, cap, min_score):
    """Lists of members and means of them, as the paper's section 3 has it."""
    clusters = []
    for score, label, box in sorted(rows, key=lambda row: -row[0]):
        best, joined = threshold, None
        for cluster in clusters:
            overlap = slow_iou(cluster["box"], box, offset)
            if cluster["label"] == label and overlap > best:
                best, joined = overlap, cluster
        if joined is None:
            joined = {"label": label, "members": []}
            clusters.append(joined)
        joined["members"].append((score, box))
        weight = sum(s for s, _ in joined["members"])
        joined["box"] = [
            sum(s * b[k] for s, b in joined["members"]) / weight for k in range(4)
        ]
    fused = []
    for cluster in clusters:
        count = len(cluster["members"])
        mean = sum(s for s, _ in cluster["members"]) / count
        score = mean * min(count, views) / views
        if score > min_score:
            fused.append((score, cluster["label"], cluster["box"]))
    return sorted(fused, key=lambda row: -row[0])[:cap]


def test_by_hand():
    found = boxes_found(
        (0.6, 1, [0, 0, 10, 10]),  # the first view's
        (0.5, 2, [0, 0, 10, 10]),
        (0.2, 1, [0, 0, 10, 14]),  # the second's: IoU 10 / 14 with the first
        (0.4, 1, [40, 40, 50, 50]),
    )
    fused = fuse(found)
    # (0.6 * 10 + 0.2 * 14) / 0.8 = 11; the others were found by one view of two.
    expected = [[0, 0, 10, 11], [0, 0, 10, 10], [40, 40, 50, 50]]
    torch.testing.assert_close(fused.boxes[0, :3], torch.tensor(expected).float())
    torch.testing.assert_close(fused.scores[0, :3], torch.tensor([0.4, 0.25, 0.2]))
    assert fused.classes.tolist() == [[1, 2, 1, 0]]
    assert fused.valid.tolist() == [[True, True, True, False]]
    assert not fused.boxes[0, 3].any() and fused.scores[0, 3] == 0


def test_a_view_may_have_several_members():
    box = [0, 0, 10, 10]
    fused = fuse(boxes_found((0.6, 1, box), (0.5, 1, box), (0.1, 1, box)))
    torch.testing.assert_close(fused.scores[0, 0], torch.tensor(0.4))  # not 3 / 2 of it


def test_the_mean_is_met_not_its_members():
    # The third overlaps the second by 12 / 14, and the mean of both by 11 / 14 only.
    rows = [(0.5, 1, [0, 0, 1, 10]), (0.5, 1, [0, 0, 1, 12]), (0.1, 1, [0, 0, 1, 14])]
    assert fuse(boxes_found(*rows), threshold=0.8).valid.sum() == 2
    assert fuse(boxes_found(*rows), threshold=0.78).valid.sum() == 1


def test_legacy_boxes_are_wider():
    rows = [(0.5, 1, [0.0, 0, 1, 1]), (0.4, 1, [0.0, 0, 1, 3])]  # IoU 1/3, or 2/4
    assert fuse(boxes_found(*rows), threshold=0.4, offset=0).valid.sum() == 2
    assert fuse(boxes_found(*rows), threshold=0.4, offset=1).valid.sum() == 1


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_against_a_slow_version(offset, seed):
    found = random_found(seed=seed)
    options = {"views": 3, "threshold": 0.55, "offset": offset, "min_score": 0.1}
    fused = fuse(found, max_detections=25, **options)
    for i in range(2):
        rows = [
            (found.scores[i, k].item(), int(found.classes[i, k]), box)
            for k, box in enumerate(found.boxes[i].tolist())
            if found.valid[i, k]
        ]
        expected = slow_fusion(rows, cap=25, **options)
        count = len(expected)
        assert 5 < count < len(rows)  # some were fused
        assert fused.valid[i].tolist() == [k < count for k in range(25)]
        scores, labels, boxes = zip(*expected, strict=True)
        torch.testing.assert_close(fused.scores[i, :count], torch.tensor(scores))
        torch.testing.assert_close(
            fused.boxes[i, :count], torch.tensor(boxes), atol=1e-3, rtol=0
        )
        assert fused.classes[i, :count].tolist() == list(labels)


def test_what_meets_nothing_stays_exact():
    x = 10.3 * torch.arange(1.0, 9)
    boxes = torch.stack((x, x, x + 3.7, x + 3.1), dim=1)[None]
    scores = torch.linspace(0.9, 0.013, 8)[None]
    everything = torch.ones(1, 8, dtype=torch.bool)
    found = Detections(boxes, scores, torch.ones(1, 8, dtype=torch.int64), everything)
    assert_equal(fuse(found, views=1), found)


@pytest.mark.parametrize("junk", JUNK)
def test_unused_rows_never_matter(junk):
    found = random_found(images=1)
    used = found.valid[0]
    bare = map_tensors(found, lambda field: field[:, used])
    boxes = found.boxes.masked_fill(~used[:, None], junk)
    scores = found.scores.masked_fill(~used, junk)
    assert_equal(fuse(found._replace(boxes=boxes, scores=scores)), fuse(bare))


def test_batch_is_its_images_one_by_one():
    check_images_alone(fuse, random_found(images=3), images=3)


@pytest.mark.parametrize("count", [0, 4])
def test_nothing_to_fuse(count):
    found = random_found(images=2, boxes=6)
    found = map_tensors(found, lambda field: field[:, :count])
    fused = fuse(found._replace(valid=torch.zeros(2, count, dtype=torch.bool)))
    assert fused.boxes.shape == (2, count, 4)
    assert not any(field.any() for field in tensors_of(fused))


def test_no_views_and_no_images():
    with pytest.raises(ValueError, match="views: expected 1 or more, found 0"):
        fuse(random_found(), views=0)
    found = map_tensors(random_found(), lambda field: field[:0])
    assert fuse(found).boxes.shape == (0, 10, 4)
