"""Crowds on their way from the annotation to both stages' samples."""

import cv2
import numpy as np
import pytest
import torch
from faster_rcnn.datasets.loading.batches import collate
from loader_words import sample_of
from tiny_runs import make_record, tiny_config, tiny_detector


@pytest.fixture
def batch(tmp_path):
    """An image whose only annotation is a crowd, and one without any."""
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), np.full((64, 96, 3), 90, np.uint8))
    options = {"short_side": 64, "long_side": 96, "offset": 0}
    records = [
        make_record(path, 96, 64, [(0, 0, 96, 64)], crowd=[True]),
        make_record(path, 96, 64),
    ]
    samples = [sample_of(record, **options) for record in records]
    return collate(samples, size_multiple=16)


@pytest.mark.parametrize("stage", ["rpn", "head"])
def test_a_crowd_gives_no_background(batch, stage):
    def background(*overrides):
        """Anchors or RoIs sampled as background, of both images."""
        model = tiny_detector(tiny_config(*overrides)).train()
        output = model(batch.images, batch.ground_truth, torch.Generator())
        return int(output.counts[f"{stage}_bg"])

    both = background()
    # As many of each image: half is left if one has none.
    assert background(f"{stage}.crowd_overlap", 0.7) == both / 2 > 0
    assert background(f"{stage}.crowd_overlap", "null") == both
