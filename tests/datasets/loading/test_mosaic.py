import cv2
import numpy as np
import pytest
from faster_rcnn.datasets.loading.mosaic import join_mosaic, mosaic_windows
from loader_words import sample_of
from tiny_runs import make_record


def test_windows_by_hand():
    expected = [(15, 10), (15, 30), (45, 10), (45, 30)]
    assert mosaic_windows((60, 40), (0.25, 0.25)) == expected
    # None is empty, wherever the centre is.
    assert mosaic_windows((60, 40), (0, 1)) == [(59, 1), (59, 39), (1, 1), (1, 39)]


@pytest.mark.parametrize("offset", [0, 1])
def test_boxes_follow_into_the_mosaic(tmp_path, offset):
    parts = []
    for number, window in enumerate(mosaic_windows((30, 40), (0.5, 0.5))):
        path = tmp_path / f"{number}.png"
        pixels = np.full((30, 40, 3), 10 + number, np.uint8)
        pixels[4:14, 8:24] = 100 + number
        cv2.imwrite(str(path), pixels)
        boxes = [(8, 4, 24, 14), (30, 20, 40, 30)]
        record = make_record(path, 40, 30, boxes, [number + 1, 9], crowd=[False, True])
        options = {"short_side": 30, "long_side": 100, "offset": offset}
        parts.append(sample_of(record, zoom=0.5, window=window, **options))
    joined = join_mosaic(parts)
    assert joined.pixels.shape == (30, 40, 3)
    assert joined.image_id == "0+1+2+3"
    assert joined.scale == 1 and joined.original_size == (30, 40)
    assert joined.classes.tolist() == [1, 2, 3, 4]
    for number, (x, y) in enumerate([(0, 0), (20, 0), (0, 15), (20, 15)]):
        half = [x + 4, y + 2, x + 12 - offset / 2, y + 7 - offset / 2]
        assert joined.boxes[number].tolist() == half
        object_ = joined.pixels[y + 3 : y + 6, x + 5 : x + 11]
        assert (object_ == 100 + number).all()
        assert (joined.pixels[y + 14, x : x + 20] == 10 + number).all()
    assert joined.ignored.shape == (4, 4) and joined.crowd.tolist() == [True] * 4
    assert joined.ignored[3].tolist() == [35, 25, 40 - offset / 2, 30 - offset / 2]
    assert joined.boxes.dtype == joined.ignored.dtype == np.float32
