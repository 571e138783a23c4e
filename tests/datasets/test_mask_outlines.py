"""Masks become polygons of few vertices."""

import hotcoco.mask
import numpy as np
import pytest
from faster_rcnn.datasets.mask_encoding import encode_masks
from faster_rcnn.datasets.mask_outlines import mask_polygons, trace


def filled(polygons, shape):
    rows = [np.ravel(part).tolist() for part in polygons]
    return hotcoco.mask.decode(hotcoco.mask.frPyObjects(rows, *shape)).any(axis=2)


def test_a_pixel_is_traced_at_its_edges():
    mask = np.zeros((6, 8), bool)
    mask[2:4, 3:7] = True
    (polygon,) = trace(mask)
    assert sorted(map(tuple, polygon)) == [(3, 2), (3, 4), (7, 2), (7, 4)]


def test_fewer_vertices_still_follow_the_mask():
    y, x = np.ogrid[:90, :120]
    wave = 25 + 4 * np.sin(np.arctan2(y - 40, x - 70) * 9)
    seen = np.hypot(y - 40, x - 70) < wave
    seen[35:45, 65:75] = False
    seen[80:83, 5:8] = True
    [mask] = encode_masks(seen[None])
    agreement = []
    for limit in (8, 40, 200):
        polygons = mask_polygons(mask, limit)
        assert sum(map(len, polygons)) <= limit
        found = filled(polygons, seen.shape)
        agreement.append((found & seen).sum() / (found | seen).sum())
    assert 0.6 < agreement[0] < agreement[1] < agreement[2] and agreement[2] > 0.95
    assert not found[40, 70] and found[81, 6]


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (40, 60)])
def test_specks_keep_an_outline(size):
    """Single pixels, however many, give polygons, but no more than asked for."""
    seen = np.zeros((40, 60), bool)
    seen[: size[0] : 3, : size[1] : 3] = True
    polygons = mask_polygons(encode_masks(seen[None])[0], 40)
    assert 4 <= sum(map(len, polygons)) <= 40
    assert filled(polygons, seen.shape).any()
    assert mask_polygons(encode_masks(seen[None] & False)[0], 40) == []
