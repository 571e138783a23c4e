import numpy as np
import pytest
from dataset_folders import write_image
from faster_rcnn.datasets.formats.in_code import AnnotatedImage, make_dataset
from faster_rcnn.datasets.mask_encoding import decode_masks
from faster_rcnn.datasets.records import Dataset, KeypointNames


@pytest.mark.parametrize(
    ("boxes", "names", "problem"),
    [
        ([[1, 2, 3, 4]], ["cat"] * 2, r"a\.png: expected boxes \(G, 4\) for 2 class"),
        ([1, 2, 3, 4], ["cat"], r"found \(4,\); give x1, y1, x2, y2 for each"),
        ([["1", "2", "x", "4"]], ["cat"], r"a\.png: expected boxes of four numbers"),
        ([[1, 2, 3, 4], [5]], ["cat", "cat"], r"expected boxes of four numbers each"),
        ([[1, 2, 3, 4]], ["cta"], r"unknown class 'cta' \(did you mean 'cat'"),
    ],
)
def test_make_dataset_of_bad_input(tmp_path, boxes, names, problem):
    write_image(tmp_path / "a.png")
    with pytest.raises(ValueError, match=problem):
        make_dataset("x", [(tmp_path / "a.png", boxes, names)], classes=["cat"])


def test_make_dataset_of_few(tmp_path):
    write_image(tmp_path / "a.png")
    sample = (tmp_path / "a.png", [], [])
    found = make_dataset("x", [sample], classes=["cat"])
    assert isinstance(found, Dataset) and found.records[0].boxes.shape == (0, 4)
    with pytest.raises(ValueError, match="different names, found one twice"):
        make_dataset("x", [sample, sample], classes=["cat"])
    with pytest.raises(ValueError, match="different names, found none"):
        make_dataset("x", [], classes=["cat"])


TRIANGLE = np.array([[1, 2], [9, 2], [5, 9.0]])
BOX = [1, 2, 9, 9]


def test_masks_and_keypoints(tmp_path):
    write_image(tmp_path / "a.png")  # 40 x 30
    write_image(tmp_path / "b.png")
    drawn = np.zeros((30, 40), np.bool_)
    drawn[2:9, 1:9] = True
    points = [[[3.5, 4, 2], [6, 4, 1]], [[3, 4, 0], [np.nan, 4, 2]], np.zeros((2, 3))]
    masks = [[TRIANGLE, TRIANGLE + 10], drawn, None]
    images = [
        AnnotatedImage(tmp_path / "a.png", [BOX] * 3, ["cat"] * 3, masks, points),
        (tmp_path / "b.png", [BOX], ["cat"]),
    ]
    names = ["left_ear", "right_ear"]
    found = make_dataset("x", images, classes=["cat"], keypoints=names)
    assert found.has_masks
    assert found.keypoints == KeypointNames(tuple(names), ((0, 1),))
    kinds = ("object without a mask", "keypoint with a NaN or infinite value")
    assert found.drops == dict(zip(kinds, (2, 1), strict=True))
    one, other = found.records
    parts, runs, nothing = one.masks
    np.testing.assert_array_equal(parts, [TRIANGLE, TRIANGLE + 10])
    np.testing.assert_array_equal(decode_masks([runs], (30, 40))[0], drawn)
    assert nothing == () and other.masks == ((),)
    np.testing.assert_array_equal(one.keypoints[0], points[0])
    assert not one.keypoints[1:].any() and not other.keypoints.any()


@pytest.mark.parametrize(
    ("masks", "points", "names", "problem"),
    [
        ([], None, None, r"a\.png: expected a mask for each of 1 objects, found 0"),
        ([TRIANGLE], None, None, r"object 1 of .*a\.png: expected a list of polygons"),
        (
            [np.ones((9, 9), np.bool_)],
            None,
            None,
            "expected a mask of 30 x 40, .*9 x 9",
        ),
        (None, [[[1, 2, 2]]], None, "found keypoints without names"),
        (None, [[[1, 2]]], ["a"], r"a\.png: expected keypoints \(1, 1, 3\)"),
        (None, [[["x", 2, 2]]], ["a"], r"a\.png: keypoints: could not convert"),
    ],
)
def test_bad_masks_and_keypoints(tmp_path, masks, points, names, problem):
    write_image(tmp_path / "a.png")
    image = (tmp_path / "a.png", [BOX], ["cat"], masks, points)
    with pytest.raises(ValueError, match=problem):
        make_dataset("x", [image], classes=["cat"], keypoints=names)
