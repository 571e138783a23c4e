"""Views of test images: mirrored, at several scales, and merged."""

import json

import numpy as np
import pytest
import torch
from equality import assert_equal
from faster_rcnn.config.settings import BoxConfig, DataConfig, TestConfig
from faster_rcnn.inference.test_time_augmentation import (
    merge_views,
    mirror,
    unmirror,
    view_batches,
    view_sizes,
)
from faster_rcnn.layer_utils.box_fusion import weighted_boxes_fusion
from faster_rcnn.layer_utils.boxes import BoxCoder
from faster_rcnn.layer_utils.detections import candidates, suppress
from faster_rcnn.layer_utils.outputs import Predictions
from faster_rcnn.layer_utils.structures import Detections, Images, Proposals, join
from faster_rcnn.nms import GaussianDecay, LinearDecay, Suppression, soft_nms
from many_processes import in_processes
from tiny_runs import draw_dataset, run_test, tiny_config

CONTINUOUS, LEGACY = BoxConfig(offset=0), BoxConfig(offset=1, nms_offset=1)


@pytest.mark.parametrize(
    ("scales", "sizes"),
    [
        ((), [(600, 1000)]),
        ((300, 900), [(600, 1000), (300, 500), (900, 1500)]),
        ((600, 300), [(600, 1000), (300, 500)]),  # the usual one once
    ],
)
def test_sizes_of_the_views(scales, sizes):
    assert view_sizes(DataConfig(), TestConfig(scales=scales)) == sizes


def test_views_are_of_the_same_images(tmp_path):
    records = [
        *draw_dataset(tmp_path / "wide", 3).records,
        *draw_dataset(tmp_path / "high", 2, width=60, height=90).records,
    ]
    config = tiny_config("test.scales", "[32, 128]")
    batches = list(view_batches(records, config))
    assert sum(len(views[0].image_ids) for views in batches) == 5
    for views in batches:
        assert len(views) == 3
        usual, half, double = views
        assert usual.image_ids == half.image_ids == double.image_ids
        assert torch.equal(usual.original_sizes, double.original_sizes)
        torch.testing.assert_close(half.scales, usual.scales / 2)
        torch.testing.assert_close(double.scales, usual.scales * 2)
        # From the stored pixels: 64 of 64 rows are the file's own.
        assert double.images.sizes.tolist() == (usual.images.sizes * 2).tolist()


def test_shares_and_workers_make_the_same_views(tmp_path):
    records = draw_dataset(tmp_path, 5).records
    config = tiny_config("test.scales", [32])
    alone = list(view_batches(records, config))
    config = tiny_config("test.scales", [32], "data.workers", 1)
    for rank in (0, 1):
        part = list(view_batches(records, config, share=(rank, 2)))
        for views, others in zip(part, alone[rank::2], strict=True):
            for view, other in zip(views, others, strict=True):
                assert view.image_ids == other.image_ids
                assert torch.equal(view.images.pixels, other.images.pixels)


def test_mirroring_stays_within_each_image():
    pixels = torch.arange(2 * 3 * 2 * 5, dtype=torch.uint8).view(2, 3, 2, 5)
    pixels[1, :, :, 3:] = 0
    turned = mirror(Images(pixels, torch.tensor([[2, 5], [2, 3]]), padded=True))
    assert torch.equal(turned.pixels[0], pixels[0].flip(-1))
    assert torch.equal(turned.pixels[1, :, :, :3], pixels[1, :, :, :3].flip(-1))
    assert not turned.pixels[1, :, :, 3:].any()
    assert torch.equal(mirror(turned).pixels, pixels) and turned.padded


def predictions_of(boxes, deltas, scores=None):
    boxes = torch.tensor(boxes, dtype=torch.float32)
    flags = torch.ones(boxes.shape[:2], dtype=torch.bool)
    proposals = Proposals(boxes, boxes[..., 0], flags)
    if scores is None:
        scores = torch.full((*boxes.shape[:2], 2), 0.5)
    return Predictions(proposals, scores, deltas)


@pytest.mark.parametrize(("offset", "expected"), [(0, [6, 1, 8, 3]), (1, [5, 1, 7, 3])])
def test_boxes_turned_back_by_hand(offset, expected):
    # Ten columns: edges 2 and 4 become 8 and 6, pixels 2 and 4 become 7 and 5.
    deltas = torch.tensor([[[[0.1, 0.2, 0.3, 0.4]]]])
    sizes = torch.tensor([[20, 10]])
    turned = unmirror(predictions_of([[[2, 1, 4, 3]]], deltas), sizes, offset=offset)
    assert turned.proposals.boxes[0, 0].tolist() == expected
    assert torch.equal(turned.pred_deltas, deltas * torch.tensor([-1.0, 1, 1, 1]))


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("columns", [1, 4])
def test_mirrored_predictions_give_the_same_boxes(offset, columns):
    """RoIs and deltas of the mirror image, turned back, are those of the image."""
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 40, (2, 30, 2))
    boxes = np.concatenate((corner, corner + rng.uniform(4, 40, (2, 30, 2))), axis=2)
    deltas = torch.tensor(rng.normal(0, 0.2, (2, 30, columns, 4)), dtype=torch.float32)
    scores = torch.tensor(rng.random((2, 30, 4)), dtype=torch.float32)
    widths = np.array([100.0, 87.0])
    far = widths[:, None] - offset
    mirrored = np.stack(
        (far - boxes[..., 2], boxes[..., 1], far - boxes[..., 0], boxes[..., 3]), axis=2
    )
    sizes = torch.tensor([[90, 100], [90, 87]])

    def found(predictions):
        return candidates(
            *predictions[:3],
            sizes,
            score_threshold=0.1,
            coder=BoxCoder(offset),
        )

    turned = predictions_of(mirrored, deltas * torch.tensor([-1.0, 1, 1, 1]), scores)
    one = found(predictions_of(boxes, deltas, scores))
    other = found(unmirror(turned, sizes, offset=offset))
    torch.testing.assert_close(one.boxes, other.boxes, atol=1e-4, rtol=0)
    assert one.valid.any() and torch.equal(one.valid, other.valid)


def random_view(seed):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (2, 50, 2))
    boxes = np.concatenate((corner, corner + rng.uniform(10, 40, (2, 50, 2))), axis=2)
    return Detections(
        torch.tensor(boxes, dtype=torch.float32),
        torch.tensor(rng.random((2, 50)), dtype=torch.float32),
        torch.tensor(rng.integers(1, 3, (2, 50))),
        torch.tensor(rng.random((2, 50)) < 0.8),
    )


VIEWS = [random_view(seed) for seed in range(3)]
ALL = join(VIEWS, dim=1)
MODES = ["nms", "soft_linear", "soft_gaussian", "weighted"]


def merged(views, boxes=LEGACY, **test):
    limits = {"score_threshold": 0.2, "detections_per_image": 20}
    return merge_views(views, boxes=boxes, test=TestConfig(**(limits | test)))


def test_nms_sees_all_views_as_one():
    want = suppress(ALL, Suppression(0.45, 1), max_detections=20)
    assert_equal(merged(VIEWS, nms_threshold=0.45), want)


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("soft_linear", {"decay": LinearDecay(0.4)}),
        ("soft_gaussian", {"decay": GaussianDecay(0.7)}),
    ],
)
def test_soft_nms_sees_all_views_as_one(mode, options):
    found = merged(VIEWS, suppression=mode, soft_threshold=0.4, soft_sigma=0.7)
    picked, kept, scores = soft_nms(
        *(ALL.boxes, ALL.scores, ALL.valid),
        **{"max_outputs": 20, "min_score": 0.2, "groups": ALL.classes, "offset": 1},
        **options,
    )
    assert torch.equal(found.scores, scores) and torch.equal(found.valid, kept)
    for i in range(2):
        rows = picked[i][kept[i]]
        assert torch.equal(found.boxes[i][kept[i]], ALL.boxes[i][rows])
        assert torch.equal(found.classes[i][kept[i]], ALL.classes[i][rows])


def test_fusion_gets_what_nms_leaves_of_each_view():
    # Small boxes, each a little elsewhere in every view.
    small = VIEWS[0].boxes.clone()
    small[..., 2:] = small[..., :2] + (small[..., 2:] - small[..., :2]) / 5
    generator = torch.Generator().manual_seed(0)
    views = [
        VIEWS[0]._replace(boxes=small + torch.rand(small.shape, generator=generator))
        for _ in range(3)
    ]
    best = [suppress(v, Suppression(0.3, 1), max_detections=40) for v in views]
    together = join(best, dim=1)
    options = {"views": 3, "threshold": 0.7, "max_detections": 40, "min_score": 0.2}
    found = merged(
        views, suppression="weighted", fusion_threshold=0.7, detections_per_image=40
    )
    assert_equal(found, weighted_boxes_fusion(together, offset=1, **options))
    # The case tells the convention and the least score from others.
    for other in ({"offset": 0}, {"offset": 1, "min_score": 0.0}):
        fused = weighted_boxes_fusion(together, **(options | other))
        assert not torch.equal(found.valid, fused.valid)


def test_fusion_of_one_view_is_nms():
    assert_equal(merged(VIEWS[:1], suppression="weighted"), merged(VIEWS[:1]))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("boxes", [CONTINUOUS, LEGACY])
def test_detections_are_few_and_in_order(mode, boxes):
    found = merged(VIEWS, boxes, suppression=mode)
    assert found.boxes.shape == (2, 20, 4)
    assert (found.scores.diff(dim=1) <= 0).all()
    assert (found.scores[found.valid] > 0.2).all() and found.valid.any(1).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scales": (600, 600)}, "scales must differ"),
        ({"scales": (0,)}, "greater than or equal to 1"),
        ({"suppression": "soft"}, "soft_linear"),
        ({"soft_sigma": 0}, "greater than 0"),
        ({"fusion_threshold": 1.5}, "less than or equal to 1"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        TestConfig(**changes)


@pytest.mark.processes
def test_several_processes_find_the_same(tmp_path):
    dataset = draw_dataset(tmp_path / "images", 5)
    config = tiny_config(
        *("data.test_short_side", 32, "test.scales", [48], "test.flip", "true"),
        *("test.suppression", "weighted"),
    )
    run_test(dataset, config, tmp_path / "one")
    in_processes(run_test, dataset, config, tmp_path / "two")
    one, two = (
        (tmp_path / name / "detections.json").read_bytes() for name in ("one", "two")
    )
    assert one == two and len(one) > 1000
    settings = json.loads((tmp_path / "one" / "results.json").read_text())["settings"]
    assert settings["test"]["scales"] == [48] and settings["test"]["flip"] is True
