import math

import numpy as np
import pytest
import torch
from box_oracles import (
    flip,
    random_boxes,
    slow_clip,
    slow_decode,
    slow_encode,
    slow_iou,
)
from faster_rcnn.layer_utils.boxes import (
    box_sizes,
    clip,
    decode,
    encode,
    inside_image,
    pairwise_iou,
)

BOTH = pytest.mark.parametrize("offset", [0, 1])


def random_deltas(count: int, seed: int = 5) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(0, 0.5, (count, 4)), dtype=torch.float32)


# By hand.


def test_sizes_by_hand():
    box = torch.tensor([3.0, 5.0, 12.0, 6.0])
    assert [s.item() for s in box_sizes(box, offset=1)] == [10, 2]
    assert [s.item() for s in box_sizes(box, offset=0)] == [9, 1]


def test_iou_by_hand():
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0]])
    others = torch.tensor(
        [[5.0, 5.0, 14.0, 14.0], [0.0, 0.0, 9.0, 4.0], [10.0, 0.0, 19.0, 9.0]]
    )
    # Legacy: 10 x 10 and 10 x 10 share 5 x 5: 25 / 175. 10 x 5 lies inside: 50 / 100.
    # Pixel 9 is in the one, pixel 10 in the other: nothing shared.
    torch.testing.assert_close(
        pairwise_iou(boxes, others, offset=1), torch.tensor([[1 / 7, 0.5, 0.0]])
    )
    # Continuous: 9 x 9 and 9 x 9 share 4 x 4: 16 / 146. 9 x 4 inside: 36 / 81.
    torch.testing.assert_close(
        pairwise_iou(boxes, others, offset=0), torch.tensor([[16 / 146, 4 / 9, 0.0]])
    )


@pytest.mark.parametrize(
    ("offset", "box", "target"),
    [
        # Both say the same: from 16 x 16 about (8, 8) to 32 x 16 about (24, 12).
        (1, [0.0, 0.0, 15.0, 15.0], [8.0, 4.0, 39.0, 19.0]),
        (0, [0.0, 0.0, 16.0, 16.0], [8.0, 4.0, 40.0, 20.0]),
    ],
)
def test_encode_and_decode_by_hand(offset, box, target):
    # dx = (24 - 8) / 16, dy = (12 - 8) / 16, dw = log(32 / 16), dh = log(16 / 16).
    deltas = torch.tensor([1.0, 0.25, math.log(2), 0.0])
    box = torch.tensor(box)
    torch.testing.assert_close(encode(box, torch.tensor(target), offset=offset), deltas)
    # 24 -/+ 16 and 12 -/+ 8, in the legacy convention too.
    torch.testing.assert_close(
        decode(box, deltas, offset=offset), torch.tensor([8.0, 4.0, 40.0, 20.0])
    )


def test_clip_by_hand():
    boxes = torch.tensor([[[-3.0, 2.0, 120.0, 70.0]]] * 2)  # (N, 1, 4)
    sizes = torch.tensor([[50, 100], [80, 200]])
    legacy = clip(boxes, sizes, offset=1)
    assert legacy.tolist() == [[[0, 2, 99, 49]], [[0, 2, 120, 70]]]
    assert clip(boxes, sizes, offset=0)[0].tolist() == [[0, 2, 100, 50]]


def test_inside_by_hand():
    boxes = torch.tensor(
        [
            [0.0, 0.0, 99.0, 49.0],
            [0.0, 0.0, 100.0, 49.0],
            [-1.0, 0.0, 50.0, 49.0],
            [0.0, -5.0, 104.0, 54.0],
        ]
    )
    sizes = torch.tensor([[50, 100], [60, 110]])

    def inside(border, offset):
        return inside_image(boxes, sizes, border=border, offset=offset).tolist()

    assert inside(0, 1) == [[True, False, False, False], [True, True, False, False]]
    assert inside(0, 0) == [[True, True, False, False], [True, True, False, False]]
    assert inside(4, 1)[0] == [True, True, True, False]
    assert inside(5, 1)[0] == [True] * 4
    assert inside(-1, 1) == [[True] * 4] * 2


def test_limit_of_the_log_size():
    box = torch.tensor([0.0, 0.0, 10.0, 10.0])
    deltas = torch.tensor([[0.0, 0.0, 50.0, 0.1], [0.0, 0.0, -50.0, math.inf]])
    decoded = decode(box, deltas, offset=0, max_log_size=math.log(4))
    # 4 times as wide, and never narrower than the delta says.
    assert decoded[0, 2] - decoded[0, 0] == 40
    assert decoded[0, 3] - decoded[0, 1] == pytest.approx(10 * math.exp(0.1))
    assert decoded[1, 2] - decoded[1, 0] == pytest.approx(0, abs=1e-6)
    assert decoded[1, 3] - decoded[1, 1] == 40
    assert decode(box, deltas, offset=0)[1].isinf().any()


# Slow loops.


@BOTH
def test_iou_as_in_a_loop(offset):
    boxes, others = random_boxes(15, seed=1), random_boxes(11, seed=2)
    others[3] = boxes[4]
    others[5] = torch.tensor([60.0, 60.0, 20.0, 20.0])  # inverted
    want = [[slow_iou(a, b, offset) for b in others.tolist()] for a in boxes.tolist()]
    torch.testing.assert_close(
        pairwise_iou(boxes, others, offset=offset), torch.tensor(want)
    )


@BOTH
def test_encode_decode_clip_as_in_a_loop(offset):
    boxes, targets = random_boxes(20, seed=3), random_boxes(20, seed=4)
    deltas = random_deltas(20)
    rows = list(zip(boxes.tolist(), targets.tolist(), deltas.tolist(), strict=True))
    encoded = [slow_encode(b, t, offset) for b, t, _ in rows]
    decoded = [slow_decode(b, d, offset) for b, _, d in rows]
    clipped = [slow_clip(b, 70, 90, offset) for b in decoded]
    result = decode(boxes, deltas, offset=offset)
    inside = clip(result[None], torch.tensor([[70, 90]]), offset=offset)[0]
    for found, want, atol in (
        (encode(boxes, targets, offset=offset), encoded, 1e-6),
        (result, decoded, 1e-4),
        (inside, clipped, 1e-4),
    ):
        torch.testing.assert_close(found, torch.tensor(want), rtol=1e-5, atol=atol)


# Properties.


@BOTH
def test_iou_is_symmetric_and_one_with_itself(offset):
    boxes = random_boxes(30)
    overlaps = pairwise_iou(boxes, boxes, offset=offset)
    assert torch.equal(overlaps, overlaps.T)
    torch.testing.assert_close(overlaps.diagonal(), torch.ones(30))
    assert overlaps.min() >= 0 and overlaps.max() <= 1


@BOTH
def test_decode_inverts_encode(offset):
    boxes, targets = random_boxes(50, seed=1), random_boxes(50, seed=2)
    decoded = decode(boxes, encode(boxes, targets, offset=offset), offset=offset)
    # The legacy decode leaves out the -1: x2 and y2 come out one larger.
    larger = torch.tensor([0.0, 0.0, offset, offset])
    torch.testing.assert_close(decoded, targets + larger, rtol=1e-5, atol=1e-4)


@BOTH
def test_mirrored_images_give_mirrored_boxes(offset):
    width = 128
    boxes, targets = random_boxes(30, seed=1), random_boxes(30, seed=2)
    mirror = torch.tensor([-1.0, 1.0, 1.0, 1.0])
    left, right = flip(boxes, width, offset), flip(targets, width, offset)
    torch.testing.assert_close(
        pairwise_iou(left, right, offset=offset),
        pairwise_iou(boxes, targets, offset=offset),
    )
    torch.testing.assert_close(
        encode(left, right, offset=offset),
        encode(boxes, targets, offset=offset) * mirror,
        rtol=1e-5,
        atol=1e-5,
    )
    deltas = random_deltas(30)
    # Decoded corners are edges in either convention, so they mirror as edges do.
    torch.testing.assert_close(
        decode(left, deltas * mirror, offset=offset),
        flip(decode(boxes, deltas, offset=offset), width, 0),
        rtol=1e-5,
        atol=1e-4,
    )


def test_leading_dimensions_broadcast():
    boxes, others = random_boxes(6).view(2, 3, 4), random_boxes(10).view(2, 5, 4)
    overlaps = pairwise_iou(boxes, others, offset=1)
    assert overlaps.shape == (2, 3, 5)
    for i in range(2):
        assert torch.equal(overlaps[i], pairwise_iou(boxes[i], others[i], offset=1))
    shared = pairwise_iou(boxes[:1], others, offset=1)
    assert torch.equal(shared[1], pairwise_iou(boxes[0], others[1], offset=1))
    deltas = random_deltas(12).view(3, 4, 4)
    decoded = decode(boxes[0][:, None], deltas, offset=1)
    assert decoded.shape == (3, 4, 4)
    assert torch.equal(decoded[1, 2], decode(boxes[0, 1], deltas[1, 2], offset=1))


def test_boxes_without_area_overlap_nothing():
    point = torch.tensor([[5.0, 5.0, 5.0, 5.0]])
    assert pairwise_iou(point, point, offset=0).item() == 0
    assert pairwise_iou(point, point, offset=1).item() == 1  # one pixel
    nothing = torch.tensor([[5.0, 5.0, 4.0, 4.0]])
    assert pairwise_iou(nothing, nothing, offset=1).item() == 0


def test_boxes_that_are_no_numbers():
    bad = torch.tensor([[math.nan] * 4, [math.inf] * 4, [-1e30, -1e30, 1e30, 1e30]])
    overlaps = pairwise_iou(bad, random_boxes(5), offset=1)
    assert torch.equal(overlaps, torch.zeros(3, 5))
    assert clip(bad[None, :1], torch.tensor([[10, 10]]), offset=1).isnan().all()
    inside = inside_image(bad, torch.tensor([[50, 50]]), border=0, offset=1)
    assert not inside.any()


def test_no_boxes():
    none, some = torch.zeros(0, 4), random_boxes(3)
    assert pairwise_iou(none, some, offset=1).shape == (0, 3)
    assert pairwise_iou(some, none, offset=1).shape == (3, 0)
    assert encode(none, none, offset=1).shape == (0, 4)
    assert decode(none, none, offset=1).shape == (0, 4)
    sizes = torch.tensor([[10, 10]])
    assert clip(none[None], sizes, offset=1).shape == (1, 0, 4)
    assert inside_image(none, sizes, border=0, offset=1).shape == (1, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_and_device_follow_the_boxes(dtype):
    for device in ("cpu", "meta"):
        boxes = random_boxes(3).to(device, dtype)
        sizes = torch.tensor([[50, 60]], device=device)
        results = (
            pairwise_iou(boxes, boxes, offset=1),
            encode(boxes, boxes, offset=1),
            decode(boxes, boxes / 100, offset=1),
            clip(boxes[None], sizes, offset=1),
        )
        for result in results:
            assert result.dtype == dtype and result.device.type == device
        mask = inside_image(boxes, sizes, border=0, offset=1)
        assert mask.dtype == torch.bool and mask.device.type == device


# Published numbers. Deltas of degenerate boxes are NaN there and here.


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_golden_boxes_and_overlaps(shared, kind):
    data = np.load(shared / "golden" / "boxes.npz")
    dtype = {"f32": torch.float32, "f64": torch.float64}[kind]
    rois, gt, deltas, deltas84 = (
        torch.from_numpy(data[key]).to(dtype)
        for key in ("ex_rois", "gt_rois", "deltas4", "deltas84")
    )
    sizes = torch.from_numpy(data["im_shape"])[None].long()
    boxes = decode(rois, deltas, offset=1)
    boxes84 = decode(rois[:, None], deltas84.view(-1, 21, 4), offset=1)

    def check(result, key, published=lambda values: values):
        want = published(data[f"{key}_{kind}"])
        np.testing.assert_allclose(result.numpy(), want, rtol=1e-5)

    check(encode(rois, gt, offset=1), "transform")
    check(boxes, "inv4")
    check(boxes84.flatten(1), "inv84")
    check(clip(boxes[None], sizes, offset=1)[0], "clip4")
    check(clip(boxes84[None], sizes, offset=1)[0].flatten(1), "clip84")
    # 0 / 0 of two empty boxes is NaN there and 0 here.
    assert np.isnan(data[f"overlaps_{kind}"]).sum() == 4
    check(pairwise_iou(rois, gt, offset=1), "overlaps", np.nan_to_num)
