"""Masks and keypoints on their way to pixels of the original images."""

import numpy as np
import pytest
import torch
from faster_rcnn.config.settings import BoxConfig, TestConfig
from faster_rcnn.datasets.loading.batches import Batch
from faster_rcnn.datasets.mask_encoding import decode_masks
from faster_rcnn.inference import image_results
from faster_rcnn.inference.image_results import to_image_detections
from faster_rcnn.inference.postprocess import detect_views
from faster_rcnn.layer_utils.mask_pasting import paste_masks
from faster_rcnn.layer_utils.outputs import Predictions
from faster_rcnn.layer_utils.structures import (
    Detections,
    FeatureMaps,
    Images,
    Proposals,
    replace,
)
from torch import nn

SIZES = torch.tensor([[60, 90], [40, 30]])


def detections():
    """Three detections in each of two images; one is outside, two are unused slots."""
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[10.0, 5, 70, 50], [-40, 10, -5, 30], [1.5, 2.5, 20, 30]])
    return Detections(
        boxes.repeat(2, 1, 1),
        torch.tensor([0.9, 0.8, 0.7]).repeat(2, 1),
        torch.ones(2, 3, dtype=torch.int64),
        torch.tensor([[True, True, True], [True, False, False]]),
        torch.rand(2, 3, 14, 14, generator=generator),
        100 * torch.rand(2, 3, 4, 3, generator=generator),
    )


@pytest.mark.parametrize("whole_pixels", [False, True])
@pytest.mark.parametrize("offset", [0, 1])
def test_masks_are_pasted_into_each_image(offset, whole_pixels, monkeypatch):
    found, options = detections(), {"offset": offset, "whole_pixels": whole_pixels}
    entries = to_image_detections(found, ("a", "b"), SIZES, **options)
    # However little memory there is.
    monkeypatch.setattr(image_results, "_PIXELS", 6000)
    chunks = to_image_detections(found, ("a", "b"), SIZES, **options)
    for i, (entry, size) in enumerate(zip(entries, SIZES.tolist(), strict=True)):
        valid = found.valid[i]
        assert len(entry.masks) == len(entry.scores) == int(valid.sum())
        assert entry.masks == chunks[i].masks
        height, width = size
        edges = found.boxes[i][valid] + torch.tensor([0, 0, offset, offset])
        expected = paste_masks(
            found.masks[i][valid],
            edges,
            height=height,
            width=width,
            whole_pixels=whole_pixels,
        )
        assert expected[0].any()
        np.testing.assert_array_equal(
            decode_masks(entry.masks, (height, width)), expected
        )
        np.testing.assert_array_equal(entry.keypoints, found.keypoints[i][valid])
        assert entry.keypoints.dtype == np.float32
    assert not decode_masks(entries[0].masks, (60, 90))[1].any()  # outside the image


def test_images_without_detections_have_no_masks():
    found = replace(detections(), valid=torch.zeros(2, 3, dtype=torch.bool))
    for entry in to_image_detections(found, ("a", "b"), SIZES, offset=0):
        assert entry.masks == () and entry.keypoints.shape == (0, 4, 3)


class Painter(nn.Module):
    """Finds one box; its mask and keypoints are what the image shows there."""

    detects = True

    def __init__(self, box):
        super().__init__()
        self.box = torch.tensor(box)
        self.finished = []

    def forward(self, images):
        bright = images.pixels[:, :1].float() / 255
        width = images.sizes[0, 1]
        # The object is where the bright half of the image is.
        left = bright[0, 0, 0, 0] > 0
        x1, y1, x2, y2 = self.box.tolist()
        box = [x1, y1, x2, y2] if left else [width - x2, y1, width - x1, y2]
        boxes = torch.tensor([[box]])
        return Predictions(
            Proposals(boxes, boxes[..., 0], torch.ones(1, 1, dtype=torch.bool)),
            torch.tensor([[[0.1, 0.9]]]),
            torch.zeros(1, 1, 2, 4),
            features=FeatureMaps([bright], None),
        )

    def finish(self, predictions, found):
        self.finished.append(found.boxes[0, 0].tolist())
        x1, y1 = found.boxes[0, 0, :2].long().tolist()
        masks = predictions.features.maps[0][:, :, y1 : y1 + 14, x1 : x1 + 14]
        points = found.boxes[:, :, None, 2:]  # the far corner
        keypoints = torch.cat((points, torch.ones_like(points[..., :1])), 3)
        return replace(found, masks=masks, keypoints=keypoints)


def view(side, columns, scale):
    pixels = torch.zeros(1, 3, side, side, dtype=torch.uint8)
    pixels[..., :columns] = 255
    size = torch.tensor([[side, side]])
    return Batch(
        images=Images(pixels, size, padded=False),
        ground_truth=None,
        scales=torch.tensor([scale]),
        original_sizes=torch.tensor([[32, 32]]),
        image_ids=("a",),
    )


@pytest.mark.parametrize("flip", [False, True])
def test_heads_of_masks_run_on_the_merged_boxes_of_the_first_scale(flip):
    # 14 cells from column 10 on in pixels of the input, of which 6 are bright.
    model = Painter([10.0, 4.0, 24.0, 18.0]).eval()
    views = [view(64, 16, 2.0), view(64, 30, 2.0)]
    found = detect_views(
        model,
        views,
        boxes=BoxConfig(offset=0),
        test=TestConfig(flip=flip, score_threshold=0.5, detections_per_image=1),
        dtype=torch.float32,
    )
    assert found.valid.sum() == 1
    assert found.boxes[0, 0].tolist() == [5, 2, 12, 9]
    mirrored = [[40.0, 4.0, 54.0, 18.0]] if flip else []
    assert model.finished == [[10.0, 4.0, 24.0, 18.0], *mirrored]
    expected = torch.zeros(14)
    expected[:6] = 1
    assert torch.equal(found.masks[0, 0], expected.expand(14, 14))
    assert found.keypoints[0, 0].tolist() == [[12, 9, 1]]
