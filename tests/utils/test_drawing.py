import cv2
import numpy as np
import pytest
import torch
from faster_rcnn.datasets.loading.masks import pack_polygons
from faster_rcnn.datasets.records import RunLengths
from faster_rcnn.inference.batch_pictures import (
    detections_picture,
    ground_truth_picture,
    picture_of,
    proposals_picture,
)
from faster_rcnn.layer_utils.structures import (
    Detections,
    GroundTruth,
    Images,
    Proposals,
)
from faster_rcnn.utils.drawing import (
    class_color,
    draw_boxes,
    draw_keypoints,
    draw_masks,
    save_image,
    side_by_side,
)
from faster_rcnn.utils.labels import place_labels
from pycocotools import mask as coco_mask

GREY = 90
RED = (255, 0, 0)


def blank(height=60, width=80):
    return np.full((height, width, 3), GREY, np.uint8)


def boxes(*rows):
    return np.array(rows, np.float32).reshape(-1, 4)


def changed(picture):
    """Return (x, y) of the pixels that were drawn on."""
    ys, xs = np.nonzero((picture != GREY).any(axis=2))
    return set(zip(xs.tolist(), ys.tolist(), strict=True))


def outline(x1, y1, x2, y2):
    """Return the outermost pixels of a box given by its pixel edges."""
    inside = {(x, y) for x in range(x1, x2) for y in range(y1, y2)}
    hole = {(x, y) for x in range(x1 + 1, x2 - 1) for y in range(y1 + 1, y2 - 1)}
    return inside - hole


def test_outline_covers_exactly_the_outermost_pixels():
    image = blank()
    drawn = draw_boxes(image, boxes((10, 20, 30, 50)), colors=[RED])
    assert changed(drawn) == outline(10, 20, 30, 50)
    assert drawn[20, 10].tolist() == [255, 0, 0]  # red is the first channel
    assert (image == GREY).all()  # the input stays


@pytest.mark.parametrize(
    ("box", "visible"),
    [
        ((-5, -9, 20, 30), (0, 0, 20, 30)),
        ((40, 30, 500, 1e9), (40, 30, 80, 60)),
        ((0, 0, 80, 60), (0, 0, 80, 60)),
        ((-3e38, -3e38, 3e38, 3e38), (0, 0, 80, 60)),
        ((79.6, 59.7, 80, 60), (79, 59, 80, 60)),
        ((5, 5, 5, 5), (5, 5, 6, 6)),
    ],
)
def test_boxes_are_cut_at_the_border(box, visible):
    drawn = draw_boxes(blank(), boxes(box), colors=[RED])
    assert changed(drawn) == outline(*visible)


@pytest.mark.parametrize(
    "box",
    [
        (np.nan, 0, 9, 9),
        (0, 0, np.inf, 9),
        (30, 10, 20, 40),
        (10, 40, 20, 30),
        (80, 0, 99, 9),
        (0, 60, 9, 99),
        (-9, 0, 0, 9),
        (0, -9, 9, 0),
    ],
)
def test_undrawable_boxes_are_left_out(box):
    drawn = draw_boxes(blank(), boxes(box), labels=["cat"], scores=[0.5])
    assert not changed(drawn)


def test_no_boxes():
    assert not changed(draw_boxes(blank(), boxes(), labels=[], scores=[], colors=[]))


def test_first_box_is_on_top():
    twice = boxes((10, 10, 40, 40), (10, 10, 40, 40))
    drawn = draw_boxes(blank(), twice, colors=[RED, (0, 0, 255)])
    assert drawn[10, 10].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    "corner", [(30, 30), (0, 0), (75, 0), (78, 58), (0, 57)], ids=str
)
def test_labels_stay_in_the_picture_and_are_readable(corner):
    x, y = corner
    box = boxes((x, y, x + 2, y + 2))
    bare = draw_boxes(blank(), box, colors=[RED])
    labelled = draw_boxes(blank(), box, labels=["cat"], scores=[0.5], colors=[RED])
    text = changed(labelled) - changed(bare)
    area = len(text)
    assert area > 150
    background = (labelled == RED).all(axis=2).sum()
    ink = (labelled > 200).all(axis=2).sum()  # white on red
    assert background > 0.3 * area
    assert ink > 10


def test_labels_of_a_crowd_cover_neither_each_other_nor_small_boxes():
    """Each label has as many pixels in its colour as it has alone."""
    rows = [
        *((20 + 9 * i, 90 + 7 * i, 44 + 9 * i, 116 + 7 * i) for i in range(6)),
        (200, 0, 230, 20),  # no room above
        (290, 200, 300, 240),  # nor at the right
    ]
    some = boxes(*rows)
    colors = [(10 * i, 0, 200) for i in range(len(rows))]
    image = blank(240, 300)

    def filled(labels):
        drawn = draw_boxes(image, some, labels=labels, colors=colors)
        bare = draw_boxes(image, some, colors=colors)
        changes = (drawn != bare).any(axis=2)
        return [
            int((changes & (drawn == c).all(axis=2)).sum()) for c in colors
        ], changes

    together, changes = filled(["person"] * len(rows))
    alone = []
    for i in range(len(rows)):
        counts, _ = filled(["person" if k == i else "" for k in range(len(rows))])
        alone.append(counts[i])
    assert min(together) > 0.85 * max(alone)  # a part may be upon its box's line
    for x1, y1, x2, y2 in rows:
        assert changes[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1].mean() < 0.4


def test_labels_of_a_hidden_box_are_drawn_near_with_a_line():
    rows = np.array([(40.0, 40, 60, 60)] * 12)
    places = place_labels(rows, np.full((12, 2), (30, 10)), width=200, height=200)
    corners = {(left, top) for left, top, _ in places}
    for left, top in corners:
        others = corners - {(left, top)}
        assert not any(abs(x - left) < 30 and abs(y - top) < 10 for x, y in others)
    assert len(corners) == 12
    assert any(line for _, _, line in places)
    assert places[0].line is None


def test_texts_and_lines_grow_with_the_picture():
    def share(side):
        box = boxes((0.3 * side, 0.3 * side, 0.9 * side, 0.9 * side))
        drawn = draw_boxes(blank(side, side), box, labels=["cat"], colors=[RED])
        rows = [y for _, y in changed(drawn) if y < 0.29 * side]
        return (max(rows) - min(rows)) / side

    assert share(4000) == pytest.approx(share(2000), rel=0.1)
    assert 100 * share(100) > 8  # of a small picture, the letters are readable


def test_labels_are_dark_on_bright_colors():
    drawn = draw_boxes(
        blank(), boxes((5, 30, 40, 50)), labels=["cat"], colors=[(255, 255, 0)]
    )
    assert ((drawn < 60).all(axis=2)).sum() > 10


def test_labels_of_any_characters():
    """OpenCV ends the process at what is not UTF-8."""
    boxes = np.array([[2, 20, 30, 38]], np.float32)
    drawn = draw_boxes(blank(40, 60), boxes, labels=["\udcff\x1b"])
    assert (drawn != draw_boxes(blank(40, 60), boxes)).any()


def test_empty_label_draws_no_text():
    box = boxes((10, 20, 30, 50))
    drawn = draw_boxes(blank(), box, labels=[""], colors=[RED])
    assert changed(drawn) == outline(10, 20, 30, 50)


def test_lines_grow_with_the_picture():
    drawn = draw_boxes(blank(1400, 1400), boxes((300, 300, 900, 900)), colors=[RED])
    assert (drawn[600, :600] != GREY).any(axis=1).sum() >= 3


def test_accepts_views_and_tiny_pictures():
    view = blank(60, 160)[:, ::-2]
    assert changed(draw_boxes(view, boxes((1, 1, 5, 5)), colors=[RED]))
    tiny = draw_boxes(blank(1, 1), boxes((0, 0, 9, 9)), labels=["long name"])
    assert tiny.shape == (1, 1, 3)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"\(4, 4\) uint8"),
        (np.zeros((3, 4, 4), np.uint8), r"\(3, 4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((0, 4, 3), np.uint8), "with pixels"),
    ],
)
def test_bad_pictures(image, message):
    with pytest.raises(ValueError, match=message):
        draw_boxes(image, boxes())


def test_bad_lengths():
    with pytest.raises(ValueError, match="expected 1 labels, found 2"):
        draw_boxes(blank(), boxes((0, 0, 1, 1)), labels=["a", "b"])
    with pytest.raises(ValueError, match=r"\(B, 4\), found \(2, 5\)"):
        draw_boxes(blank(), np.zeros((2, 5), np.float32))


def disk(x, y, radius):
    rows, columns = np.mgrid[:60, :80]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def test_masks_tint_exactly_their_pixels():
    image, ring = blank(), disk(30, 25, 15) & ~disk(30, 25, 7)
    drawn = draw_masks(image, [ring], [RED])
    ys, xs = np.nonzero(ring)
    assert changed(drawn) == set(zip(xs.tolist(), ys.tolist(), strict=True))
    assert drawn[25, 15].tolist() == [255, 0, 0]  # the outline, as is the hole's
    assert drawn[25, 30 + 8].tolist() == [255, 0, 0]
    assert drawn[25, 30 + 11, 0] > GREY > drawn[25, 30 + 11, 1] > 0  # see-through
    assert (image == GREY).all()
    rle = coco_mask.encode(np.asfortranarray(ring, np.uint8))
    mask = RunLengths(rle["counts"], (60, 80))
    assert (draw_masks(image, [mask], [RED]) == drawn).all()


def test_the_first_mask_is_on_top_and_empty_ones_draw_nothing():
    masks = np.stack([np.zeros((60, 80), bool), disk(20, 20, 9), disk(20, 20, 9)])
    drawn = draw_masks(blank(), masks, [RED, (0, 255, 0), (0, 0, 255)])
    assert drawn[20, 11].tolist() == [0, 255, 0]
    with pytest.raises(ValueError, match=r"\(60, 80\), found \(60, 79\) for mask 2"):
        draw_masks(blank(), masks[..., :-1])


def test_keypoints_and_limbs():
    at = np.array([[[10.5, 20.5, 2], [50.5, 20.5, 0.4], [30.5, 50.5, 0]]])
    skeleton = [(0, 1), (1, 2)]
    points = draw_keypoints(blank(), at, colors=[RED])
    assert (np.abs(points[20, [10, 50]].astype(int) - RED) < 20).all()
    xs, ys = zip(*changed(points), strict=True)
    assert (min(xs) + max(xs), min(ys) + max(ys)) == (60, 40)  # about pixel centres
    drawn = draw_keypoints(blank(), at, skeleton, [RED])
    assert drawn[20, 30, 0] > 200
    assert drawn[35, 40].tolist() == [GREY] * 3  # a limb needs both of its ends
    alone = draw_keypoints(blank(), at, skeleton, [RED], threshold=0.5)
    assert max(x for x, _ in changed(alone)) < 15


def test_keypoints_outside_and_not_finite():
    at = np.array([[[1e30, -1e30, 1], [np.nan, 3, 1], [np.inf, 3, 1], [40, 30, 1]]])
    drawn = draw_keypoints(blank(), at, [(0, 3), (1, 3), (2, 3)])
    assert 0 < len(changed(drawn)) < 200
    with pytest.raises(ValueError, match=r"\(D, K, 3\), found \(4, 3\)"):
        draw_keypoints(blank(), at[0])


def test_class_colors_are_stable_and_distinct():
    assert class_color(0) == (255, 38, 38)
    colors = np.array([class_color(i) for i in range(21)], float)
    distance = np.abs(colors[:, None] - colors[None]).sum(axis=2)
    assert distance[~np.eye(21, dtype=bool)].min() >= 30
    assert len({class_color(i) for i in range(91)}) == 91


def test_side_by_side():
    left, right = np.full((20, 30, 3), 10, np.uint8), np.full((40, 50, 3), 20, np.uint8)
    row = side_by_side([left, right], ["a", "a title wider than its picture"])
    bar = row.shape[0] - 40
    assert row.shape == (bar + 40, 30 + 4 + 50, 3)
    assert (row[bar : bar + 20, :30] == 10).all()
    assert (row[bar + 20 :, :34] == 255).all()
    assert (row[bar:, 34:] == 20).all()
    assert (row[:bar] < 100).any()  # the titles
    with pytest.raises(ValueError, match="found 1 and 0"):
        side_by_side([left], [])
    with pytest.raises(ValueError, match="found 0 and 0"):
        side_by_side([], [])


@pytest.mark.parametrize("name", ["a.png", "b.jpg", "c.JPEG"])
def test_save_image(tmp_path, name):
    picture = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    save_image(tmp_path / "new" / name, picture)
    read = cv2.imread(str(tmp_path / "new" / name))
    assert read is not None
    assert np.abs(read[..., ::-1].astype(int) - picture).max() <= 3


@pytest.mark.parametrize("name", ["a", "a.xyz"])
def test_save_image_of_unknown_format(tmp_path, name):
    with pytest.raises(ValueError, match="expected an ending such as"):
        save_image(tmp_path / name, blank())


NAMES = ("__background__", "cat", "dog")


@pytest.fixture
def images():
    """Two images of which the second is 60 x 80 in a 64 x 96 batch."""
    pixels = torch.zeros(2, 3, 64, 96, dtype=torch.uint8)
    pixels[1, :, :60, :80] = GREY
    return Images(pixels, torch.tensor([[64, 96], [60, 80]]), True)


def test_picture_of_cuts_the_padding(images):
    images.pixels[1, 0, 3, 5] = 7
    picture = picture_of(images, 1)
    assert picture.shape == (60, 80, 3)
    assert picture[3, 5].tolist() == [7, GREY, GREY]
    assert picture_of(images, 0).shape == (64, 96, 3)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_ground_truth_picture(images, offset):
    rows = [[10.0, 20, 30, 50], [0, 0, 80, 60], [1, 1, 2, 2]]
    gt = GroundTruth(
        torch.tensor([rows, rows]),
        torch.tensor([[1, 1, 1], [2, 0, 99]]),
        torch.tensor([[True] * 3, [True, False, False]]),
        torch.tensor([[False] * 3, [False, True, False]]),
    )
    picture = ground_truth_picture(images, gt, 1, NAMES, offset=offset)
    assert picture.shape == (60, 80, 3)
    # Legacy boxes name their last pixel, so the same numbers reach one pixel further.
    end = int(30 + offset), int(50 + offset)
    below_label = {(x, y) for x, y in changed(picture) if y >= 20}
    assert below_label == {p for p in outline(10, 20, *end) if p[1] >= 20}
    assert picture[40, 10].tolist() == list(class_color(2))


def test_proposals_picture_shows_the_best(images):
    rows = torch.tensor([[[2.0, 2, 9, 9], [20, 20, 29, 29], [40, 40, 49, 49]]])
    rows = rows.expand(2, 3, 4).clone()
    valid = torch.tensor([[True] * 3, [True, False, True]])
    proposals = Proposals(rows, torch.zeros(2, 3), valid)
    both = proposals_picture(images, proposals, 1, offset=1)
    assert changed(both) == outline(2, 2, 10, 10) | outline(40, 40, 50, 50)
    best = proposals_picture(images, proposals, 1, offset=1, limit=1)
    assert changed(best) == outline(2, 2, 10, 10)
    none = proposals._replace(valid=torch.zeros_like(valid))
    assert not changed(proposals_picture(images, none, 1, offset=1))


def test_detections_picture_obeys_mask_and_threshold(images):
    rows = torch.tensor([[2.0, 20, 10, 30], [30, 20, 40, 30], [50, 20, 60, 30]])
    detections = Detections(
        rows.expand(2, 3, 4).to(torch.bfloat16),
        torch.tensor([[0.9, 0.4, 0.9]] * 2, requires_grad=True),
        torch.tensor([[1, 2, 2]] * 2),
        torch.tensor([[True, True, False]] * 2),
    )
    picture = detections_picture(images, detections, 1, NAMES, offset=0)
    drawn = {(x, y) for x, y in changed(picture) if y >= 20}
    assert drawn == outline(2, 20, 10, 30)
    assert picture[25, 2].tolist() == list(class_color(1))
    assert {y for _, y in changed(picture)} != {y for _, y in drawn}  # and a label
    lower = detections_picture(images, detections, 1, NAMES, offset=0, threshold=0.3)
    # The second label is below its box, because the first one is above both.
    assert {(x, y) for x, y in changed(lower) if 20 <= y < 30} == (
        outline(2, 20, 10, 30) | outline(30, 20, 40, 30)
    )


def test_pictures_of_a_batch_show_masks_and_keypoints():
    square = np.array([[10, 10], [30, 10], [30, 30], [10, 30]], np.float32)
    grey = torch.full((1, 3, 60, 80), GREY, dtype=torch.uint8)
    images = Images(grey, torch.tensor([[50, 70]]), True)
    some = torch.tensor([[True, False]])
    boxes = torch.tensor([[[10.0, 10, 30, 30], [40, 10, 60, 30]]])
    points = torch.tensor([[[[20.5, 20.5, 1]], [[50.5, 20.5, 1]]]])
    classes = torch.ones(1, 2, dtype=torch.int64)
    polygons = pack_polygons([[[square], [square + 5]]], slots=2)
    gt = GroundTruth(boxes, classes, some, None, polygons, points)
    names = ["", "cat"]
    bare = gt._replace(masks=None, keypoints=None)
    plain = ground_truth_picture(images, bare, 0, names, offset=0)
    drawn = ground_truth_picture(images, gt, 0, names, offset=0)
    there = (plain != drawn).any(axis=2)
    assert there[23:29, 11:29].all()  # below the label
    assert not there[:, 40:].any()  # the padded slot
    assert there.sum() <= 20 * 20
    scores = torch.tensor([[0.9, 0.4]])
    masks = torch.ones(1, 2, 4, 4)
    found = Detections(boxes, scores, classes, some | True, masks, points)
    drawn = detections_picture(images, found, 0, names, offset=0)
    assert (drawn[22, 11:29] != GREY).any(axis=1).all()
    # Of the second, the score is below the threshold.
    assert (drawn[10:30, 56:] == GREY).all()
