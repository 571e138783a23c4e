import math
from functools import partial

import numpy as np
import pytest
import torch
from box_oracles import JUNK, flip, random_boxes, slow_clip, slow_decode, slow_nms
from equality import assert_equal, check_images_alone
from faster_rcnn.layer_utils.anchors import base_anchors, cells_inside, grid_anchors
from faster_rcnn.layer_utils.boxes import BoxCoder
from faster_rcnn.layer_utils.proposal_layer import propose, top_proposals
from faster_rcnn.layer_utils.structures import Proposals, RPNOutput
from faster_rcnn.nms import Suppression
from pairwise import pairwise

SIZE = torch.tensor([[100, 100]])


def proposals(
    anchors,
    logits,
    deltas,
    sizes=SIZE,
    usable=None,
    *,
    level_anchors=(),
    offset=1,
    max_log_size=None,
    min_size=0.0,
    nms_threshold=0.7,
    nms_offset=0,
    nms_inclusive=False,
    **changes,
):
    return propose(
        RPNOutput(anchors, logits, deltas, usable, level_anchors),
        sizes,
        coder=BoxCoder(offset, max_log_size, min_size=min_size),
        suppression=Suppression(nms_threshold, nms_offset, nms_inclusive),
        **({"pre_nms": 1000, "post_nms": 20} | changes),
    )


def top(anchors, logits, deltas, sizes, usable, *, count, **convention):
    output = RPNOutput(anchors, logits, deltas, usable, ())
    return top_proposals(output, sizes, count=count, coder=BoxCoder(**convention))


def random_outputs(anchors, images=2, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.permutation(images * anchors).reshape(images, anchors) / 7.0
    deltas = rng.normal(0, 0.3, (images, anchors, 4))
    return (
        torch.tensor(logits, dtype=torch.float32),
        torch.tensor(deltas, dtype=torch.float32),
    )


def test_by_hand():
    anchors = torch.tensor(
        [
            [0.0, 0.0, 9.0, 9.0],
            [0.0, 0.0, 9.0, 8.0],
            [40.0, 40.0, 59.0, 59.0],
            [90.0, 90.0, 99.0, 99.0],
        ]
    )
    logits = torch.tensor([[1.0, 2.0, 4.0, 3.0]])
    deltas = torch.zeros(1, 4, 4)
    deltas[0, 2] = torch.tensor([0.5, 0.0, math.log(2), 0.0])
    # 2: centre 50 + 0.5 * 20, width 40: 40..80, height 20 about 50: 40..60.
    # 3: 90..100, of which 99 is the last pixel. 1: 0..10, 0..9. 0 overlaps 1 by 90 /
    # 100 and scores less.
    result = proposals(anchors, logits, deltas, post_nms=5)
    assert result.boxes[0, :3].tolist() == [
        [40, 40, 80, 60],
        [90, 90, 99, 99],
        [0, 0, 10, 9],
    ]
    assert result.scores[0, :3].tolist() == [4, 3, 2]
    assert result.valid.tolist() == [[True, True, True, False, False]]
    assert not result.boxes[0, 3:].any()


@pairwise(
    {
        "offset": [0, 1],
        "nms_offset": [0, 1],
        "min_size": [0, 14],
    }
)
def test_as_in_a_loop(offset, nms_offset, min_size):
    anchors = random_boxes(120)
    logits, deltas = random_outputs(120)
    sizes = torch.tensor([[100, 100], [70, 90]])
    rules = {"nms_threshold": 0.5, "nms_offset": nms_offset, "min_size": min_size}
    result = proposals(
        anchors, logits, deltas, sizes, pre_nms=60, post_nms=15, offset=offset, **rules
    )
    for i, (height, width) in enumerate(sizes.tolist()):
        order = sorted(range(120), key=lambda a, i=i: -logits[i, a])[:60]
        pairs = zip(anchors[order].tolist(), deltas[i, order].tolist(), strict=True)
        boxes = [slow_decode(box, delta, offset) for box, delta in pairs]
        boxes = [slow_clip(box, height, width, offset) for box in boxes]
        large = [
            k
            for k, (x1, y1, x2, y2) in enumerate(boxes)
            if min(x2 - x1, y2 - y1) + offset >= min_size
        ]
        assert (min_size == 0) == (len(large) == 60)
        kept = slow_nms([boxes[k] for k in large], 0.5, nms_offset)[:15]
        kept = [large[k] for k in kept]
        count = result.valid[i].sum()
        assert count == len(kept) and result.valid[i, :count].all()
        want = torch.tensor([boxes[k] for k in kept])
        torch.testing.assert_close(result.boxes[i, :count], want, rtol=1e-5, atol=1e-4)
        assert result.scores[i, :count].tolist() == [logits[i, order[k]] for k in kept]


def test_boxes_at_the_threshold():
    # 10 x 10 and 10 x 5 of it: IoU exactly 0.5 of continuous boxes.
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 5.0]])
    logits, deltas = torch.tensor([[2.0, 1.0]]), torch.zeros(1, 2, 4)
    options = {"nms_threshold": 0.5, "offset": 0}
    for inclusive, count in ((False, 2), (True, 1)):
        result = proposals(anchors, logits, deltas, nms_inclusive=inclusive, **options)
        assert result.valid.sum() == count


def test_fewer_anchors_than_slots_and_more():
    anchors = random_boxes(30)
    logits, deltas = random_outputs(30, images=1)
    many = proposals(anchors, logits, deltas, pre_nms=500, post_nms=50)
    assert many.boxes.shape == (1, 50, 4) and many.valid.sum() < 30
    few = proposals(anchors, logits, deltas, pre_nms=500, post_nms=3)
    assert_equal(few, Proposals(*(field[:, :3] for field in many)))
    # Only the best `pre_nms` are looked at.
    one = proposals(anchors, logits, deltas, pre_nms=1, post_nms=3)
    assert one.valid.tolist() == [[True, False, False]]
    assert one.scores[0, 0] == logits.max()


def test_batch_is_its_images_one_by_one():
    anchors = random_boxes(80)
    logits, deltas = random_outputs(80, images=3)
    sizes = torch.tensor([[100, 100], [60, 80], [90, 50]])
    usable = torch.rand(3, 80, generator=torch.Generator().manual_seed(0)) < 0.7
    run = partial(proposals, anchors)
    check_images_alone(run, logits, deltas, sizes, usable, images=3)


@pytest.mark.parametrize("junk", JUNK)
def test_padding_cells_never_matter(junk):
    base = base_anchors(stride=16, ratios=(0.5, 1, 2), scales=(1, 2), offset=1)
    height, width = 4, 5
    bare = grid_anchors(base, height, width, stride=16)
    logits, deltas = random_outputs(len(bare), images=1)
    size = torch.tensor([[60, 75]])
    # The same outputs on a larger map, whose other cells hold junk.
    anchors = grid_anchors(base, 7, 6, stride=16)
    inside = cells_inside(7, 6, torch.tensor([[height, width]]), anchors_per_cell=6)
    assert inside is not None
    padded_logits = torch.full((1, len(anchors)), junk)
    padded_deltas = torch.full((1, len(anchors), 4), junk)
    padded_logits[inside] = logits.flatten()
    padded_deltas[inside] = deltas.flatten(0, 1)
    for pre_nms in (50, 1000):
        limits = {"pre_nms": pre_nms, "post_nms": 150}
        want = proposals(bare, logits, deltas, size, **limits)
        padded = (padded_logits, padded_deltas, size, inside)
        got = proposals(anchors, *padded, **limits)
        assert torch.equal(got.valid, want.valid) and not want.valid.all()
        assert torch.equal(got.boxes, want.boxes)
        assert torch.equal(got.scores[got.valid], want.scores[want.valid])


@pairwise({"junk": [math.nan, math.inf, -math.inf], "column": [0, 1, 2, 3, None]})
def test_boxes_that_are_not_finite_are_left_out(junk, column):
    """A delta, or a score that is NaN."""
    anchors = random_boxes(40)
    logits, deltas = random_outputs(40, images=1)
    best = logits.argmax()
    if column is None:
        logits[0, best] = math.nan
    else:
        deltas[0, best, column] = junk
    rest = torch.arange(40) != best
    want = proposals(anchors[rest], logits[:, rest], deltas[:, rest], post_nms=40)
    got = proposals(anchors, logits, deltas, post_nms=40)
    assert torch.equal(got.boxes, want.boxes) and torch.equal(got.valid, want.valid)


@pytest.mark.parametrize("case", ["none usable", "nan", "too small"])
def test_nothing_left(case):
    anchors = random_boxes(30)
    logits, deltas = random_outputs(30)
    sizes = SIZE.expand(2, -1)
    usable = torch.ones(2, 30, dtype=torch.bool)
    if case == "none usable":
        usable[:] = False
    elif case == "nan":
        logits[:], deltas[:] = math.nan, math.nan
    min_size = 500 if case == "too small" else 0
    result = proposals(anchors, logits, deltas, sizes, usable, min_size=min_size)
    assert not result.valid.any()
    assert torch.equal(result.boxes, torch.zeros(2, 20, 4))


def test_mirrored_image_has_mirrored_proposals():
    anchors = random_boxes(60)
    logits, deltas = random_outputs(60, images=1)
    plain = proposals(anchors, logits, deltas, offset=0)
    mirrored = proposals(
        flip(anchors, 100, 0),
        logits,
        deltas * torch.tensor([-1.0, 1.0, 1.0, 1.0]),
        offset=0,
    )
    assert plain.valid.all() and torch.equal(plain.scores, mirrored.scores)
    torch.testing.assert_close(
        mirrored.boxes, flip(plain.boxes, 100, 0), rtol=1e-5, atol=1e-4
    )


def test_top_is_a_propose_that_suppresses_nothing():
    anchors = random_boxes(120)
    logits, deltas = random_outputs(len(anchors))
    logits[0, 5], deltas[1, 7, 2] = math.nan, math.inf
    usable = torch.ones_like(logits, dtype=torch.bool)
    usable[1, ::3] = False
    sizes = torch.tensor([[100, 100], [70, 90]])
    options = {"offset": 0, "max_log_size": 0.2}
    for count in (10, len(anchors)):
        output = (anchors, logits, deltas.requires_grad_(), sizes, usable)
        best = top(*output, count=count, **options)
        limits = {"pre_nms": count, "post_nms": count, "nms_threshold": 1}
        all_kept = proposals(*output, **limits, **options)
        for i in range(2):
            there = all_kept.valid[i]
            assert torch.equal(best.boxes[i, best.valid[i]], all_kept.boxes[i, there])
            assert torch.equal(best.scores[i, best.valid[i]], all_kept.scores[i, there])
        assert not best.boxes[~best.valid].any() and not best.boxes.requires_grad
    assert not best.valid.all()
    many = top(anchors, logits, deltas, sizes, usable, count=9999, **options)
    assert many.boxes.shape == (2, len(anchors), 4)


def test_large_deltas_are_limited():
    anchors = torch.tensor([[10.0, 10.0, 20.0, 20.0]])
    deltas = torch.tensor([[[0.0, 0.0, 9.0, math.log(2)]]])
    logits = torch.ones(1, 1)
    for limit, box in [(None, [0, 5, 100, 25]), (math.log(3), [0, 5, 30, 25])]:
        found = proposals(anchors, logits, deltas, offset=0, max_log_size=limit)
        torch.testing.assert_close(found.boxes[0, 0], torch.tensor(box).float())


def test_gradient_reaches_the_deltas_on_demand():
    anchors = 30 + 0.3 * random_boxes(120)  # far from where boxes are clipped
    logits, deltas = random_outputs(len(anchors), images=1)
    deltas.requires_grad_()
    found = proposals(anchors, logits, deltas, post_nms=5, box_gradient=True)
    plain = proposals(anchors, logits, deltas, post_nms=5)
    assert torch.equal(found.boxes, plain.boxes) and not found.scores.requires_grad
    found.boxes[0, 0, 2].backward()
    assert deltas.grad is not None
    touched = deltas.grad[0].abs().sum(dim=1).nonzero()[:, 0].tolist()
    # Of the best proposal's anchor alone, in dx and dw: d x2 / d dx is its width.
    assert touched == [int(logits[0].argmax())]
    x1, _, x2, _ = anchors[touched[0]].tolist()
    dx, dy, dw, dh = deltas.grad[0, touched[0]].tolist()
    assert dx == pytest.approx(x2 - x1 + 1) and dy == dh == 0 and dw > 0


def test_no_gradient_and_float32():
    anchors = random_boxes(30)
    logits, deltas = random_outputs(30)
    result = proposals(
        anchors,
        logits.bfloat16().requires_grad_(),
        deltas.bfloat16().requires_grad_(),
        SIZE.expand(2, -1),
    )
    assert not result.boxes.requires_grad and not result.scores.requires_grad
    assert result.boxes.dtype == result.scores.dtype == torch.float32
    assert result.valid.dtype == torch.bool


def golden_output(data, size):
    """Anchors, scores, deltas and the image's size.

    Proposals are ordered by probability there; any increasing function of the logit
    orders them alike.
    """
    height, width = map(int, size.split("x"))
    base = base_anchors(stride=16, ratios=(0.5, 1, 2), scales=(8, 16, 32), offset=1)
    return (
        grid_anchors(base, height, width, stride=16),
        torch.from_numpy(data[f"{size}_rpn_cls_prob"][..., 9:]).flatten(1),
        torch.from_numpy(data[f"{size}_rpn_bbox_pred"]).reshape(1, -1, 4),
        torch.from_numpy(data[f"{size}_im_info"][None, :2]).long(),
    )


@pytest.mark.parametrize("size", ["38x50", "38x63"])
@pytest.mark.parametrize(
    ("mode", "limits"), [("TRAIN", (12000, 2000)), ("TEST", (6000, 300)), ("TOP", None)]
)
def test_golden_proposals(shared, size, mode, limits):
    data = np.load(shared / "golden" / "proposals.npz")
    output = golden_output(data, size)
    if limits is None:
        result = top(*output, None, count=5000, offset=1)
    else:
        result = proposals(*output, pre_nms=limits[0], post_nms=limits[1])
        order = torch.from_numpy(data[f"{size}_{mode}_order_index"])
        assert torch.equal(result.scores[0], output[1][0, order])
    assert result.valid.all()
    scores, rois = data[f"{size}_{mode}_scores"], data[f"{size}_{mode}_rois"]
    np.testing.assert_array_equal(result.scores[0].numpy(), scores[:, 0])
    np.testing.assert_allclose(result.boxes[0].numpy(), rois[:, 1:], rtol=1e-5)


def test_levels_of_a_pyramid_by_hand():
    """Each level keeps its best, and suppresses its own only; the best of all stay."""
    anchors = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [50, 50, 59, 59]] * 2)
    logits = torch.tensor([[5.0, 6, 1, 4, 3, 2]])
    nothing = torch.zeros(1, 6, 4)
    options = {"level_anchors": (3, 3), "pre_nms": 2}
    result = proposals(anchors, logits, nothing, post_nms=6, **options)
    # Of the first level 1 suppresses 0, and 2 is not among the best two; of the second
    # 3 suppresses 4, though 1, of the other level, overlaps it as much.
    assert result.scores[result.valid].tolist() == [6, 4]
    result = proposals(anchors, logits, nothing, post_nms=1, **options)
    assert result.scores[result.valid].tolist() == [6]
    alone = proposals(anchors, logits, nothing, post_nms=6)
    assert alone.scores[alone.valid].tolist() == [6, 2]


def test_levels_as_single_ones():
    anchors = torch.cat([random_boxes(n, seed=n) for n in (40, 25, 4)])
    logits, deltas = random_outputs(len(anchors))
    usable = torch.rand(2, len(anchors)) < 0.8
    sizes = torch.tensor([[100, 100], [70, 90]])
    whole = {"sizes": sizes, "pre_nms": 30, "post_nms": 60}
    got = proposals(
        anchors, logits, deltas, usable=usable, level_anchors=(40, 25, 4), **whole
    )
    for i in range(2):
        scores, start = [], 0
        for count in (40, 25, 4):
            part = slice(start, start + count)
            start += count
            level = proposals(
                anchors[part],
                logits[i : i + 1, part],
                deltas[i : i + 1, part],
                usable=usable[i : i + 1, part],
                **(whole | {"sizes": sizes[i : i + 1]}),
            )
            scores += level.scores[level.valid].tolist()
        assert got.scores[i][got.valid[i]].tolist() == sorted(scores, reverse=True)


def test_least_probability():
    anchors = torch.tensor([[0.0, 0, 9, 9], [20, 20, 29, 29], [50, 50, 59, 59]])
    logits = torch.tensor([[0.0, -1, 1]])
    result = proposals(anchors, logits, torch.zeros(1, 3, 4), score_threshold=0.5)
    assert result.scores[result.valid].tolist() == [1, 0]
