from itertools import islice

import cv2
import numpy as np
import torch
from faster_rcnn.datasets.loading.resizing import choose_cut
from faster_rcnn.datasets.loading.samples import Preparation, make_sample
from faster_rcnn.datasets.loading.training_stream import Draw
from loader_words import training_batches_of
from tiny_runs import make_record


def test_crops_contain_an_object_or_are_anywhere(tmp_path):
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 380, (6, 2))
    boxes = np.concatenate([corners, corners + 12], axis=1)
    pixels = np.zeros((400, 400, 3), np.uint8)
    for x1, y1, x2, y2 in boxes:
        pixels[y1:y2, x1:x2] = 255
    path = tmp_path / "large.png"
    cv2.imwrite(str(path), pixels)
    record = make_record(path, 400, 400, boxes)
    seen = {0.0: 0, 1.0: 0}
    for around in seen:
        stream = training_batches_of(
            [record],
            batch_size=1,
            short_sides=[64],
            long_side=64,
            crop=64,
            crop_around=around,
            min_visible=0.5,
        )
        for batch in islice(stream, 40):
            assert batch.images.pixels.shape == (1, 3, 64, 64)
            assert batch.scales.tolist() == [1.0]
            white = batch.images.pixels[0, 0] > 127
            truth = batch.ground_truth
            drawn = torch.zeros(64, 64, dtype=torch.bool)
            either = truth.valid[0] | truth.crowd[0]
            for x1, y1, x2, y2 in truth.boxes[0][either].int().tolist():
                drawn[y1:y2, x1:x2] = True
            assert torch.equal(drawn, white)
            sides = truth.boxes[0, :, 2:] - truth.boxes[0, :, :2]
            areas = sides.prod(dim=1) / 144
            assert (areas[truth.valid[0]] >= 0.5).all()
            assert (areas[truth.crowd[0]] < 0.5).all()
            seen[around] += bool((areas == 1).any())
    assert seen[1.0] == 40 and seen[0.0] < 30


def test_an_image_smaller_than_a_crop_stays_whole(dataset):
    record = dataset.records[0]
    for draw in (Draw(0, 16), Draw(0, 16, focus=0.5)):
        whole = make_sample(record, draw, Preparation(64, 0.0, crop=80))
        assert whole.original_size == (record.height, record.width)
        assert len(whole.boxes) == len(record.boxes)


def test_a_crop_lies_within_an_object_that_is_larger():
    cut = choose_cut(
        100,
        100,
        scale=1.0,
        window=(40, 40),
        place=(0.99, 0.0),
        around=np.array([10.5, 20.5, 90.5, 95.0]),
    )
    assert (cut.x, cut.y) == (51, 20)
