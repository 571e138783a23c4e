import numpy as np
import pytest
import torch
from faster_rcnn.config.settings import BoxConfig, TestConfig
from faster_rcnn.datasets.loading.batches import Batch, collate
from faster_rcnn.inference.image_results import to_image_detections
from faster_rcnn.inference.postprocess import (
    detect_batch,
    detect_images,
    detect_views,
    detections_of,
)
from faster_rcnn.inference.test_time_augmentation import mirror, view_batches
from faster_rcnn.layer_utils.boxes import BoxCoder
from faster_rcnn.layer_utils.detections import detect as detect_layer
from faster_rcnn.layer_utils.outputs import Predictions
from faster_rcnn.layer_utils.structures import Detections, Images, Proposals, tensors_of
from faster_rcnn.nms import Suppression
from loader_words import evaluation_batches_of as ordered_batches
from loader_words import sample_of
from tiny_runs import (
    CPU,
    draw_dataset,
    ground_truth,
    make_record,
    randomise,
    tiny_config,
    tiny_detector,
)
from torch import nn

CONTINUOUS, LEGACY = BoxConfig(offset=0), BoxConfig(offset=1)


class Oracle(nn.Module):
    """Predicts given RoIs, in network pixels, as they are: all deltas are zero."""

    def __init__(self, rois, class_scores):
        super().__init__()
        boxes, self.scores = torch.tensor(rois), torch.tensor(class_scores)
        flags = torch.ones(boxes.shape[:2], dtype=torch.bool)
        self.proposals = Proposals(boxes, boxes[..., 0], flags)

    def forward(self, images):
        assert not self.training
        deltas = torch.zeros(*self.scores.shape, 4)
        return Predictions(self.proposals, self.scores, deltas)


def batch_of(*scales_and_sizes) -> Batch:
    """A batch of images given as (scale, original height, original width)."""
    count = len(scales_and_sizes)
    return Batch(
        images=Images(
            torch.zeros(count, 3, 64, 64, dtype=torch.uint8),
            torch.full((count, 2), 64),
            padded=False,
        ),
        ground_truth=ground_truth(*[[]] * count),
        scales=torch.tensor([scale for scale, _, _ in scales_and_sizes]),
        original_sizes=torch.tensor([size for _, *size in scales_and_sizes]),
        image_ids=tuple(str(i) for i in range(count)),
    )


def detect(model, batch, boxes=CONTINUOUS, **test):
    return detect_batch(
        model.eval(), batch, boxes=boxes, test=TestConfig(**test), dtype=torch.float32
    )


ROI, SURE = [10.0, 5.0, 30.0, 20.0], [0.1, 0.2, 0.7]


def test_boxes_return_to_original_pixels():
    model = Oracle([[ROI], [ROI]], [[SURE], [SURE]])
    found = detect(model, batch_of((0.5, 100, 200), (2.0, 50, 40)), score_threshold=0.5)
    assert found.valid.sum(1).tolist() == [1, 1]
    assert found.boxes[0, 0].tolist() == [20, 10, 60, 40]
    assert found.boxes[1, 0].tolist() == [5, 2.5, 15, 10]
    assert found.classes[:, 0].tolist() == [2, 2]
    torch.testing.assert_close(found.scores[:, 0], torch.tensor([0.7, 0.7]))


def test_least_side_is_in_original_pixels():
    model, batch = Oracle([[ROI]], [[SURE]]), batch_of((0.5, 100, 200))  # 40 x 30 there
    for side, kept in ((30, 1), (31, 0)):
        found = detect(model, batch, score_threshold=0.5, min_size=side)
        assert found.valid.sum() == kept


def test_legacy_boxes_are_regressed_in_original_pixels():
    # Half size: 20..58 wide with both ends, so 39, and the published decoding puts the
    # far corner at 20 + 39, one further than the exact inverse would.
    model = Oracle([[[10.0, 5.0, 29.0, 20.0]]], [[SURE]])
    found = detect(model, batch_of((0.5, 100, 200)), LEGACY, score_threshold=0.5)
    assert found.boxes[0, 0].tolist() == [20, 10, 59, 41]


def test_boxes_are_clipped_to_the_original_image():
    model = Oracle([[[-3.0, -1.0, 90.0, 70.0]]], [[SURE]])
    batch = batch_of((0.5, 101, 151))
    for boxes, far in ((CONTINUOUS, [151, 101]), (LEGACY, [150, 100])):
        found = detect(model, batch, boxes, score_threshold=0.5)
        assert found.boxes[0, 0].tolist() == [0, 0, *far]


def test_limits_of_the_test_apply():
    rois = [[[0.0, 0, 10, 10], [0, 0, 10, 9.5], [20, 20, 30, 30], [40, 40, 50, 50]]]
    scores = [[[0.1, 0.9, 0], [0.2, 0.8, 0], [0.4, 0.6, 0], [0.7, 0.3, 0]]]
    model, batch = Oracle(rois, scores), batch_of((1.0, 64, 64))

    def found(**test):
        detections = detect(model, batch, **({"score_threshold": 0.05} | test))
        return [round(s, 1) for s in detections.scores[detections.valid].tolist()]

    assert found() == [0.9, 0.6, 0.3]
    assert found(nms_threshold=0.96) == [0.9, 0.8, 0.6, 0.3]
    assert found(score_threshold=0.5) == [0.9, 0.6]
    assert found(detections_per_image=2) == [0.9, 0.6]


@pytest.mark.parametrize("boxes", [CONTINUOUS, LEGACY])
@pytest.mark.parametrize("short_side", [31, 64, 100])
def test_ground_truth_survives_the_way_through_the_network(tmp_path, boxes, short_side):
    dataset = draw_dataset(tmp_path, 2)
    samples = [
        sample_of(record, short_side=short_side, long_side=1000, offset=boxes.offset)
        for record in dataset.records
    ]
    for sample, record in zip(samples, dataset.records, strict=True):
        batch = collate([sample], size_multiple=32)
        one_hot = np.eye(3, dtype=np.float32)[record.classes]
        model = Oracle(sample.boxes[None].tolist(), one_hot[None].tolist())
        found = detect(model, batch, boxes, score_threshold=0.5)
        (entry,) = to_image_detections(
            found, batch.image_ids, batch.original_sizes, offset=boxes.offset
        )
        assert entry.image_id == record.image_id
        # Legacy decoding makes boxes wider by a pixel, as published.
        wider = np.array([0, 0, boxes.offset, boxes.offset], np.float32)
        expected = sorted((record.boxes + wider).tolist())
        np.testing.assert_allclose(sorted(entry.boxes.tolist()), expected, atol=1e-3)
        assert sorted(entry.classes) == sorted(record.classes)


def test_to_image_detections_drops_padding_and_convention():
    detections = Detections(
        boxes=torch.tensor([[[1.0, 2, 3, 4], [0, 0, 9, 9]], [[5.0, 6, 7, 8]] * 2]),
        scores=torch.tensor([[0.9, 0.0], [0.5, 0.4]]),
        classes=torch.tensor([[2, 1], [1, 2]]),
        valid=torch.tensor([[True, False], [False, False]]),
    )
    sizes = torch.tensor([[9, 9], [9, 9]])
    one, none = to_image_detections(detections, ("a", "b"), sizes, offset=1)
    assert (one.image_id, none.image_id) == ("a", "b")
    assert one.boxes.tolist() == [[1, 2, 4, 5]] and one.classes.tolist() == [2]
    assert one.boxes.dtype == one.scores.dtype == np.float32
    assert one.classes.dtype == np.int64
    assert none.boxes.shape == (0, 4) and none.scores.shape == (0,)
    assert one.masks is None and one.keypoints is None
    one, _ = to_image_detections(detections, ("a", "b"), sizes, offset=0)
    assert one.boxes.tolist() == [[1, 2, 3, 4]]


def found_in(batches, model, boxes, test):
    """The detections of all images, one by one."""
    how = {"device": CPU, "dtype": torch.float32}
    yielded = detect_images(model, batches, boxes=boxes, test=test, **how)
    return [entry for images in yielded for entry in images]


def assert_alike(one, other, *, atol):
    """Several detections, which differ by rounding alone."""
    assert len(one.scores) > 3 and (np.diff(one.scores) <= 0).all()
    np.testing.assert_array_equal(one.classes, other.classes)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
    np.testing.assert_allclose(one.boxes, other.boxes, atol=atol)


@pytest.mark.parametrize("net", ["res18", "mobile_v2"])
def test_detections_do_not_depend_on_the_batch(tmp_path, net):
    records = [
        *draw_dataset(tmp_path / "wide", 2).records,
        *draw_dataset(tmp_path / "high", 1, width=60, height=90).records,
        *draw_dataset(tmp_path / "large", 1, width=150, height=120).records,
    ]
    records = [
        make_record(r.path.rename(tmp_path / f"{i}.png"), r.width, r.height)
        for i, r in enumerate(records)
    ]
    config = tiny_config("net.name", net, "pooling.size", 2)
    model = tiny_detector(config).train()
    randomise(model)

    def found(batch_size, multiple):
        sizes = {"short_side": 60, "long_side": 100, "size_multiple": multiple}
        sizes |= {"batch_size": batch_size, "offset": 0, "workers": 0}
        test = TestConfig(score_threshold=0.2, detections_per_image=30)
        entries = found_in(ordered_batches(records, **sizes), model, config.boxes, test)
        return {entry.image_id: entry for entry in entries}

    alone, together = found(1, 1), found(4, 32)
    assert not model.training
    assert alone.keys() == together.keys() == {"0", "1", "2", "3"}
    for name, one in alone.items():
        # A thousandth of a network pixel, in pixels of an image of twice its size.
        assert_alike(one, together[name], atol=2e-3)
        record = records[int(name)]
        assert one.boxes.min() >= 0
        assert (one.boxes[:, 2:] <= (record.width, record.height)).all()


def test_detecting_in_bfloat16(tmp_path):
    dataset = draw_dataset(tmp_path, 1)
    sample = sample_of(dataset.records[0], short_side=64, long_side=96, offset=0)
    batch = collate([sample], size_multiple=16)
    model = tiny_detector(tiny_config()).eval()
    found = detect_batch(
        model, batch, boxes=CONTINUOUS, test=TestConfig(), dtype=torch.bfloat16
    )
    assert found.valid.any()
    assert found.boxes.dtype == found.scores.dtype == torch.float32
    assert not found.boxes.requires_grad


def tiny_batches(folder, *overrides):
    """Batches of padded images, the views of each, and a detector for them."""
    records = [
        *draw_dataset(folder / "wide", 2).records,
        *draw_dataset(folder / "high", 1, width=60, height=90).records,
    ]
    config = tiny_config("data.test_short_side", 60, "test.batch_size", 3, *overrides)
    model = tiny_detector(config)
    randomise(model)
    return model.eval(), list(view_batches(records, config)), config


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("agnostic", ["false", "true"])
def test_defaults_are_one_view_and_plain_suppression(tmp_path, offset, agnostic):
    model, batches, config = tiny_batches(
        tmp_path, "head.class_agnostic", agnostic, "boxes.offset", offset
    )
    for (batch,) in batches:
        with torch.inference_mode():
            predictions = model(batch.images)
            want = detect_layer(
                predictions.proposals._replace(
                    boxes=predictions.proposals.boxes / batch.scales[:, None, None]
                ),
                predictions.class_scores,
                predictions.pred_deltas,
                batch.original_sizes,
                score_threshold=0.0,
                max_detections=100,
                coder=BoxCoder(offset, config.boxes.max_log_size),
                suppression=Suppression(0.3, 0),
            )
        test = config.test.model_copy(update={"batch_size": 9})
        options = {"boxes": config.boxes, "test": test}
        of_batch = detect_batch(model, batch, dtype=torch.float32, **options)
        of_predictions = detections_of(model, predictions, batch, **options)
        assert want.valid.any()
        found = map(tensors_of, (want, of_batch, of_predictions))
        for fields in zip(*found, strict=True):
            assert torch.equal(fields[0], fields[1])
            assert torch.equal(fields[0], fields[2])


class Turning(nn.Module):
    """Finds the two bright columns of each image, wherever they are."""

    def forward(self, images):
        bright = (images.pixels[:, 0, 0] > 0).float()  # (N, W)
        left = bright.argmax(1).float()
        right = left + 1 - LEGACY.offset
        rows = torch.tensor([10.0, 20.0]).expand(len(left), 2)
        boxes = torch.stack((left, rows[:, 0], right, rows[:, 1]), dim=1)[:, None]
        scores = torch.tensor(SURE).expand(len(left), 1, 3).clone()
        scores[:, 0, 2] -= left / 1000  # views differ
        deltas = torch.zeros(len(left), 1, 3, 4)
        return Predictions(
            Proposals(boxes, left[:, None], left[:, None] >= 0), scores, deltas
        )


def test_mirrored_views_find_the_same_places():
    batch = batch_of((1.0, 64, 40), (1.0, 64, 64))
    batch.images.pixels[0, :, :, 5] = 200
    batch.images.pixels[1, :, :, 50] = 200
    sizes = torch.tensor([[64, 40], [64, 64]])
    batch = batch._replace(images=Images(batch.images.pixels, sizes, padded=True))
    test = {"score_threshold": 0.5, "nms_threshold": 0.9}
    plain = detect(Turning(), batch, LEGACY, **test)
    both = detect(Turning(), batch, LEGACY, flip=True, **test)
    assert plain.valid.sum(1).tolist() == both.valid.sum(1).tolist() == [1, 1]
    assert torch.equal(plain.boxes[:, 0], both.boxes[:, 0])
    # The mirror image has the second column at 13, which scores more than at 50.
    torch.testing.assert_close(both.scores[:, 0], torch.tensor([0.695, 0.687]))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["nms", "soft_linear", "soft_gaussian", "weighted"])
def test_views_of_padded_images_are_those_of_bare_ones(tmp_path, mode):
    model, batches, config = tiny_batches(tmp_path, "test.scales", "[40,90]")
    test = config.test.model_copy(
        update={"suppression": mode, "flip": True, "detections_per_image": 8}
    )
    bare = tiny_batches(tmp_path, "test.scales", "[40,90]", "data.size_multiple", 1)
    together = found_in(batches, model, config.boxes, test)
    alone = found_in(bare[1], model, config.boxes, test)
    assert len(together) == len(alone) == 3
    for one, other in zip(together, alone, strict=True):
        assert_alike(one, other, atol=5e-3)


def test_every_view_counts(tmp_path):
    model, batches, config = tiny_batches(tmp_path, "test.scales", [90])
    seen = []

    def counting(images):
        seen.append(images)
        return model(images)

    test = config.test.model_copy(update={"flip": True})
    options = {"boxes": config.boxes, "test": test, "dtype": torch.float32}
    views = batches[0]
    detect_views(counting, views, **options)
    assert [images.pixels.shape[2:] for images in seen] == [
        view.images.pixels.shape[2:] for view in views for _ in range(2)
    ]
    for number, view in enumerate(views):
        assert seen[2 * number] is view.images
        assert torch.equal(seen[2 * number + 1].pixels, mirror(view.images).pixels)


def test_views_of_other_images_are_refused():
    one = batch_of((1.0, 64, 64))
    other = one._replace(image_ids=("another",))
    options = {"boxes": CONTINUOUS, "test": TestConfig(), "dtype": torch.float32}
    model = Oracle([[ROI]], [[SURE]]).eval()
    with pytest.raises(ValueError, match=r"same images .* \['0'\] and \['another'\]"):
        detect_views(model, [one, other], **options)
    with pytest.raises(ValueError, match="one batch per view, found none"):
        detect_views(model, [], **options)
