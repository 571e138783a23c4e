import numpy as np
import pytest
from faster_rcnn.utils.run_lengths import bounding_box, checked_counts, decompress
from pycocotools import mask as coco_mask


def drawn(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 70, 2)
    mask = rng.random((height, width)) < rng.choice([0, 0.02, 0.5, 1])
    return np.asfortranarray(mask.astype(np.uint8))


def test_as_pycocotools():
    for seed in range(100):
        mask = drawn(seed)
        counts = coco_mask.encode(mask)["counts"]
        runs = decompress(counts)
        ends = np.cumsum(runs)
        flat = np.zeros(mask.size, np.uint8)
        for start, end in zip(ends[::2], ends[1::2], strict=False):
            flat[start:end] = 1
        np.testing.assert_array_equal(flat, mask.ravel(order="F"))
        for given in (counts, counts.decode(), runs.tolist()):
            assert checked_counts(given, *mask.shape) == counts


def test_box():
    mask = np.zeros((20, 30), np.uint8)
    mask[3:9, 7:11] = 1
    counts = coco_mask.encode(np.asfortranarray(mask))["counts"]
    assert bounding_box(counts, 20, 30) == (7, 3, 11, 9)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("", "compressed run lengths"),
        ("P", "compressed run lengths"),  # cut off
        ("0 1", "compressed run lengths"),
        ("o" * 10**6 + "0", "of 32 bits"),
        ("ooooooo0", "of 32 bits"),
        ("21", "a sum of 2, found 3"),
        ("00O3", "numbers from 0 to 2"),  # a negative one
        ([], "whole numbers"),
        ([1, 2], "a sum of 2, found 3"),
        ([3, -1], "numbers from 0 to 2"),
        ([2**31, 2**31], "numbers from 0 to 2"),
        ([2**70], "whole numbers"),
        ([1.0, 1.0], "whole numbers"),
        ([True, True], "whole numbers"),
        ([[1], [1]], "whole numbers"),
        (["1", "1"], "whole numbers"),
    ],
)
def test_untrusted(counts, message):
    with pytest.raises(ValueError, match=message):
        checked_counts(counts, 1, 2)
