"""Polygons drawn into boxes, beside pycocotools' own rasteriser."""

import numpy as np
import pytest
import torch
from faster_rcnn.kernels import library
from faster_rcnn.kernels.mask_reference import draw_by_columns
from faster_rcnn.kernels.polygons import draw_polygons
from pycocotools import mask as coco_mask


def drawn_by_kernel(*inputs):
    kernels = library.kernels_for("draw_polygons", "cpu")
    if kernels is None:
        pytest.skip("no compiled kernels")
    return kernels.draw_polygons(*inputs)


WAYS = pytest.mark.parametrize("draw", [drawn_by_kernel, draw_by_columns])


def random_objects(rng, kind):
    """Up to three self-crossing parts, partly outside the boxes."""
    objects = []
    for _ in range(6):
        parts = [rng.uniform(-20, 60, (rng.integers(3, 12), 2)) for _ in range(3)]
        parts = parts[: rng.integers(1, 4)]
        if kind == "whole":
            parts = [part.round() for part in parts]
        elif kind == "fifths":  # the finer grid's own lines
            parts = [part.round() / 5 for part in parts]
        objects.append([part.astype(np.float32) for part in parts])
    return objects


def packed(objects):
    slots = max(sum(len(part) + 1 for part in parts) for parts in objects) + 2
    vertices = np.zeros((1, len(objects), slots, 2), np.float32)
    numbers = np.full((1, len(objects), slots), -1, np.int16)
    for g, parts in enumerate(objects):
        rings = [np.concatenate((part, part[:1])) for part in parts]
        count = sum(map(len, rings))
        vertices[0, g, :count] = np.concatenate(rings)
        numbers[0, g, :count] = np.repeat(np.arange(len(rings)), [*map(len, rings)])
    return torch.from_numpy(vertices), torch.from_numpy(numbers)


def by_coco(parts, box, size):
    """Mask targets of Detectron2."""
    scale = size / np.maximum(box[2:] - box[:2], np.float32(0.1))
    flat = [((part.astype(float) - box[:2]) * scale).ravel().tolist() for part in parts]
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, size, size)))


@WAYS
@pytest.mark.parametrize("kind", ["any", "whole", "fifths"])
@pytest.mark.parametrize("size", [7, 28])
def test_equals_cocos_rasteriser(draw, kind, size):
    rng = np.random.default_rng(size)
    objects = random_objects(rng, kind)
    start = rng.uniform(-10, 10, (40, 2))
    boxes = np.concatenate((start, start + rng.uniform(1, 60, (40, 2))), 1)
    boxes = boxes.astype(np.float32)
    boxes[:6] = [0, 0, size, size]
    boxes[6, 2:] = boxes[6, :2]
    matched = rng.integers(0, 6, 40)
    masks = draw(
        *packed(objects),
        torch.from_numpy(boxes)[None],
        torch.from_numpy(matched)[None],
        size,
        3,
    )[0].numpy()
    for mask, box, g in zip(masks, boxes, matched, strict=True):
        np.testing.assert_array_equal(mask, by_coco(objects[g], box, size))


@WAYS
def test_parts_are_joined_and_unused_slots_draw_nothing(draw):
    square = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], np.float32)
    vertices, parts = packed([[square, square + 2], [square]])
    parts[0, 1] = -1
    boxes = torch.tensor([[[0.0, 0, 6, 6], [0, 0, 6, 6]]])
    masks = draw(vertices, parts, boxes, torch.tensor([[0, 1]]), 6, 2)[0]
    expected = torch.zeros(6, 6, dtype=torch.bool)
    expected[:4, :4] = expected[2:, 2:] = True  # the overlap is inside, too
    assert torch.equal(masks[0], expected)
    assert not masks[1].any()


def test_is_one_graph():
    rng = np.random.default_rng(0)
    vertices, parts = packed(random_objects(rng, "any"))
    boxes, matched = torch.tensor([[[0.0, 0, 20, 20]]]), torch.tensor([[2]])

    def draw(boxes):
        return draw_polygons(vertices, parts, boxes, matched, size=14, num_parts=3)

    compiled = torch.compile(draw, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(boxes), draw(boxes))


def test_wrong_arguments_are_named():
    vertices, parts = packed(random_objects(np.random.default_rng(0), "any"))
    boxes, matched = torch.zeros(1, 1, 4), torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"parts: expected .*int16.*int64"):
        draw_polygons(vertices, parts.long(), boxes, matched, size=7, num_parts=3)
