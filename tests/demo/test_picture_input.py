import numpy as np
import pytest
from faster_rcnn.demo import picture_input
from faster_rcnn.demo.picture_input import read_ahead
from faster_rcnn.demo.sources import Item
from faster_rcnn.detector.inputs import decode
from PIL import Image


def read(path):
    return decode(path, (6, 10))


@pytest.mark.parametrize(("pictures", "held"), [(100, 9), (4, 4), (1, 2)])
def test_large_pictures_are_held_by_bytes(tmp_path, monkeypatch, pictures, held):
    Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(picture_input, "_MOST_BYTES", pictures * 240)
    taken, most = 0, 0

    def items():
        nonlocal taken
        for _ in range(20):
            taken += 1
            yield Item("picture", str(tmp_path / "a.png"), "a.png")

    for given, (_, found) in enumerate(read_ahead(items(), read, ahead=9)):
        assert found.decoded.pixels is found.pixels
        most = max(most, taken - given)
    assert (given, most) == (19, held)


@pytest.mark.parametrize("drawn", [True, False])
def test_pictures_are_drawn_in_full(tmp_path, drawn):
    path = tmp_path / "a.jpg"
    Image.fromarray(np.zeros((16, 20, 3), np.uint8)).save(path)
    items = [Item("picture", str(path), "a.jpg")]
    ((_, found),) = read_ahead(items, read, ahead=2, drawn=drawn)
    assert found.decoded.pixels.shape == (8, 10, 3)
    assert found.decoded.size == (16, 20)
    assert (found.pixels.shape == (16, 20, 3)) if drawn else found.pixels is None
