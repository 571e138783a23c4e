"""Copy-paste: objects of another image with their masks, and what they hide."""

import dataclasses
from itertools import islice

import cv2
import numpy as np
import pytest
import torch
from faster_rcnn.datasets.loading.copy_paste import paste_objects
from faster_rcnn.datasets.mask_encoding import run_lengths
from faster_rcnn.datasets.records import KeypointNames
from faster_rcnn.datasets.wanted_instances import Instances
from loader_words import sample_of, training_batches_of
from test_instances import drawn
from tiny_runs import make_record

SIZE = (40, 60)
BASE = [(5, 5, 25, 30), (30, 8, 50, 28), (2, 32, 8, 38)]
PASTED = [(10, 0, 40, 35)]
NAMES = KeypointNames(("middle",))


@pytest.fixture
def make(tmp_path):
    """Make the sample of an image with rectangles in shades of their own."""

    def made(name, boxes, shades, *, form="outlines", size=SIZE, offset=0, **options):
        pixels = np.zeros((*size, 3), np.uint8)
        for (x1, y1, x2, y2), shade in zip(boxes, shades, strict=True):
            pixels[y1:y2, x1:x2] = shade
        path = tmp_path / f"{name}.png"
        cv2.imwrite(str(path), pixels)
        corners = np.array(boxes, np.float32).reshape(-1, 4)[
            :, [0, 1, 2, 1, 2, 3, 0, 3]
        ]
        masks = tuple((c.reshape(4, 2),) for c in corners)
        if form == "run lengths":
            masks = tuple(run_lengths(mask, *size) for mask in masks)
        points = [[(x1 + 2.5, y1 + 2.5, 2)] for x1, y1, _, _ in boxes]
        record = dataclasses.replace(
            make_record(path, size[1], size[0], boxes, range(1, len(boxes) + 1)),
            masks=masks,
            keypoints=np.array(points, np.float32).reshape(-1, 1, 3),
        )
        wanted = {"instances": Instances("bitmaps", NAMES), "long_side": 1000}
        defaults = {"short_side": min(size), "offset": offset}
        return record, sample_of(record, **defaults | wanted | options)

    return made


def pasting(base, other, **options):
    """Paste with the first seed that chooses every object of the other image."""
    want = len(base.boxes) + len(other.boxes)
    for seed in range(100):
        result = paste_objects(base, other, seed=seed, **{"offset": 0} | options)
        if len(result.boxes) + result.lost == want and result is not base:
            return result
    raise AssertionError("no seed chooses all")


@pytest.mark.parametrize("form", ["outlines", "run lengths"])
@pytest.mark.parametrize("offset", [0, 1])
def test_what_is_hidden_is_left_out(make, form, offset):
    _, base = make("base", BASE, (60, 120, 180), form=form, offset=offset)
    _, other = make("other", PASTED, (250,), form=form, offset=offset)
    result = pasting(base, other, offset=offset)
    # Hidden: 15 of the 20 columns of the first object, 10 of the second's, none of the
    # third's.
    far = np.array([0, 0, offset, offset])
    want = [(5, 5, 10, 30), (40, 8, 50, 28), (2, 32, 8, 38), (10, 0, 40, 35)]
    np.testing.assert_allclose(result.boxes + far, want)
    assert result.classes.tolist() == [1, 2, 3, 1] and result.lost == 0
    for mask, shade in zip(result.masks, (60, 120, 180, 250), strict=True):
        inside = drawn(mask, *SIZE) > 0.5
        np.testing.assert_array_equal(inside, result.pixels[..., 0] == shade)
    assert result.keypoints[:, 0, 2].tolist() == [2, 1, 2, 2]
    assert result.image_id == "base+other"
    assert base.pixels.max() == 180  # the sample itself stays


def test_objects_hidden_wholly_are_dropped(make):
    _, base = make("base", [(12, 4, 20, 20), (45, 4, 55, 20)], (60, 120))
    _, other = make("other", PASTED, (250,))
    result = pasting(base, other)
    assert result.classes.tolist() == [2, 1] and result.lost == 1
    assert len(result.masks) == len(result.keypoints) == 2


@pytest.mark.parametrize("size", [(24, 30), (80, 100)], ids=["smaller", "larger"])
def test_images_of_other_sizes_are_shifted(make, size):
    _, base = make("base", [], ())
    boxes = [(2, 3, size[1] - 4, size[0] - 5)]
    _, other = make("other", boxes, (250,), size=size)
    corners = set()
    for seed in range(40):
        result = paste_objects(base, other, offset=0, seed=seed)
        if not len(result.boxes):
            continue
        solid = result.pixels[..., 0] == 250
        np.testing.assert_array_equal(drawn(result.masks[0], *SIZE) > 0.5, solid)
        inside = np.argwhere(solid)
        edges = (*inside.min(0)[::-1], *(inside.max(0)[::-1] + 1))
        np.testing.assert_allclose(result.boxes[0], edges)
        corners.add(tuple(result.boxes[0].tolist()))
    assert len(corners) > 5


def test_batches_are_a_function_of_the_seed(make):
    items = [make(f"{i}", BASE, (60 + i, 120, 180))[0] for i in range(3)]
    options = {"copy_paste": 0.5, "instances": Instances("bitmaps", NAMES)}
    options |= {"short_sides": [40], "scale_jitter": (0.5, 1.5), "mosaic": 0.3}
    whole = list(islice(training_batches_of(items, **options), 12))
    again = islice(training_batches_of(items, start=9, **options), 3)
    for batch, other in zip(whole[9:], again, strict=True):
        assert batch.image_ids == other.image_ids
        assert all(map(torch.equal, batch.tensors(), other.tensors()))
    shapes = {tuple(batch.images.pixels.shape) for batch in whole}
    assert all(h <= 40 and w <= 64 for _, _, h, w in shapes)
    assert any("+" in name for batch in whole for name in batch.image_ids)
    # A detector of boxes pastes too, and its batches have no masks.
    options["instances"] = Instances("pasted")
    boxes = list(islice(training_batches_of(items, **options), 12))
    for batch, other in zip(whole, boxes, strict=True):
        assert other.ground_truth.masks is None
        assert torch.equal(batch.images.pixels, other.images.pixels)
        assert torch.equal(batch.ground_truth.boxes, other.ground_truth.boxes)
