import numpy as np
import pytest
from faster_rcnn.demo import picture_input
from faster_rcnn.demo.sources import Item
from PIL import Image


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

    for given, (_, found) in enumerate(picture_input.read_ahead(items(), ahead=9)):
        assert found.shape == (8, 10, 3)
        most = max(most, taken - given)
    assert (given, most) == (19, held)
