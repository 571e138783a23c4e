import logging

import numpy as np
import pytest
from faster_rcnn.datasets.records import (
    Drops,
    clean_boxes,
    did_you_mean,
    few,
)


def clean(rows, size=(100, 50), closing=0.0):
    drops = Drops()
    boxes = np.array(rows, np.float64).reshape(-1, 4)
    sizes = np.tile(np.array(size, np.float64), (len(boxes), 1))
    cleaned, kept = clean_boxes(boxes, sizes, str, drops, closing=closing)
    return cleaned, kept, drops.log("set")


def test_good_boxes_pass_unchanged():
    rows = [[0, 0, 100, 50], [10.5, 20.25, 30, 40], [99, 49, 100, 50]]
    cleaned, kept, drops = clean(rows)
    assert cleaned.dtype == np.float32
    assert cleaned.tolist() == rows
    assert kept.all() and drops == {}


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ([float("nan"), 0, 10, 10], "box with a NaN or infinite coordinate"),
        ([0, 0, float("inf"), 10], "box with a NaN or infinite coordinate"),
        ([-float("inf"), 0, float("inf"), 9], "box with a NaN or infinite coordinate"),
        ([20, 10, 10, 20], "inverted box"),
        ([10, 20, 20, 10], "inverted box"),
        ([-1e308, 0, -1.1e308, 5], "inverted box"),
        ([10, 10, 10, 20], "zero-area box"),
        ([10, 10, 20, 10], "zero-area box"),
        ([90.0, 10, 90.0000001, 20], "zero-area box"),  # float32 cannot hold it
        ([100, 10, 120, 20], "box outside the image"),
        ([-20, 10, -5, 20], "box outside the image"),
        ([10, 50, 20, 60], "box outside the image"),
    ],
)
def test_faulty_boxes_are_left_out_and_counted(row, kind):
    cleaned, kept, drops = clean([[1, 2, 3, 4], row])
    assert cleaned.tolist() == [[1, 2, 3, 4]]
    assert kept.tolist() == [True, False]
    assert drops == {kind: 1}


def test_clipping_is_counted_beyond_one_pixel():
    rows = [[-1, -1, 101, 51], [-1.5, 0, 10, 10], [0, 0, 500, 10]]
    cleaned, _, drops = clean(rows)
    assert cleaned.tolist() == [[0, 0, 100, 50], [0, 0, 10, 10], [0, 0, 100, 10]]
    assert drops == {"clipped box": 2}


def test_equal_corners_of_an_inclusive_file_are_zero_area():
    # VOC corners (7, 7, 7, 7), (8, 7, 7, 9) and (7, 7, 8, 8).
    rows = [[6, 6, 7, 7], [7, 6, 7, 9], [6, 6, 8, 8]]
    cleaned, _, drops = clean(rows, closing=1.0)
    assert cleaned.tolist() == [[6, 6, 8, 8]]
    assert drops == {"zero-area box": 1, "inverted box": 1}


def test_no_boxes():
    cleaned, kept, drops = clean([])
    assert cleaned.shape == (0, 4) and kept.shape == (0,) and drops == {}


def test_random_boxes_against_a_loop():
    rng = np.random.default_rng(0)
    rows = rng.integers(-30, 130, (500, 4)).astype(np.float64)
    cleaned, _, drops = clean(rows)
    wanted, clipped = [], 0
    for row in rows:
        x1, y1, x2, y2 = row
        a, b, c, d = max(x1, 0), max(y1, 0), min(x2, 100), min(y2, 50)
        if x2 > x1 and y2 > y1 and c > a and d > b:
            wanted.append([a, b, c, d])
            clipped += max(a - x1, b - y1, x2 - c, y2 - d) > 1
    assert cleaned.tolist() == wanted
    assert drops["clipped box"] == clipped
    assert sum(drops.values()) - clipped == len(rows) - len(wanted)


def test_each_kind_is_logged_once_with_its_first_example(caplog):
    drops = Drops()
    drops.add("inverted box", "a.xml")
    drops.add("inverted box", "b.xml", 2)
    with caplog.at_level(logging.WARNING, "faster_rcnn"):
        assert drops.log("own_train") == {"inverted box": 3}
    assert [r.getMessage() for r in caplog.records] == [
        "own_train: 3 x inverted box, first: a.xml"
    ]


def test_few_and_did_you_mean():
    assert few(["a", "b"]) == "a, b"
    assert few(list("abcdefg")) == "a, b, c, d, e and 2 more"
    assert did_you_mean("persn", ["car", "person"]) == " (did you mean 'person'?)"
    assert did_you_mean("xyz", ["car"]) == ""
