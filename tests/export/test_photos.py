import numpy as np
import pytest
import torch
from exported_detectors import facts, pictures, small_config
from faster_rcnn.detector.about import Shape
from faster_rcnn.detector.export_error import ExportError
from faster_rcnn.export.photos import (
    batches,
    drawn_pictures,
    find_photos,
    make_inputs,
    spread,
)

CONFIG = small_config()


def about(**shape):
    return facts("onnx", CONFIG, Shape(**{"multiple": 16, **shape}))


def test_free_size_is_the_test_rule_padded_to_multiples():
    inputs = make_inputs(pictures((48, 60), (96, 70)), about())
    assert inputs.pixels.shape == (2, 3, 144, 128)
    assert inputs.pixels.dtype == torch.uint8
    assert inputs.sizes.tolist() == [[96, 120], [132, 96]]  # short side to 96
    assert inputs.scales.tolist() == pytest.approx([2.0, 96 / 70])
    assert inputs.original_sizes.tolist() == [[48, 60], [96, 70]]
    assert not inputs.pixels[0, :, 96:].any() and not inputs.pixels[0, :, :, 120:].any()


def test_fixed_size_holds_the_whole_picture():
    inputs = make_inputs(pictures((96, 96), (48, 192)), about(size=(80, 96)))
    assert inputs.pixels.shape == (2, 3, 80, 96)
    assert inputs.sizes.tolist() == [[80, 80], [24, 96]]


def test_bare_input_is_filled():
    for shape in ({"size": (80, 96)}, {"batch": 1}):
        inputs = make_inputs(pictures((100, 130)), about(padded=False, **shape))
        assert inputs.sizes.tolist() == [list(inputs.pixels.shape[2:])]
        scaled = inputs.original_sizes[0] * inputs.scales[0]
        assert (scaled - inputs.sizes[0]).abs().max() <= 1


def test_fixed_batch_is_filled_up():
    three = list(batches(pictures((96, 96), (96, 96), (96, 96)), about(batch=2)))
    assert [len(inputs.pixels) for inputs in three] == [2, 2]
    assert torch.equal(three[1].pixels[0], three[1].pixels[1])
    assert len(list(batches([], about()))) == 0


def test_photos_of_a_folder(tmp_path):
    for name in ("b.jpg", "a.PNG", "c.txt", "d.bmp"):
        (tmp_path / name).touch()
    assert [p.name for p in find_photos(tmp_path, 9)] == ["a.PNG", "b.jpg", "d.bmp"]
    assert [p.name for p in find_photos(tmp_path, 2)] == ["a.PNG", "b.jpg"]
    with pytest.raises(ExportError, match="found none"):
        find_photos(tmp_path / "nothing", 2)
    assert spread(list("abcdef"), 3) == ["a", "c", "e"]


def test_drawn_pictures_differ():
    one, other = drawn_pictures(2)
    assert one.ndim == 3 and one.shape[2] == 3 and one.dtype == np.uint8
    assert one.shape != other.shape or (one != other).any()


def test_free_size_is_more_than_a_cell_of_the_coarsest_map():
    """Of a stride of 128, as RetinaNet's: its graph has no map of one cell."""
    inputs = make_inputs(pictures((96, 140)), about(multiple=128))
    assert inputs.pixels.shape == (1, 3, 256, 256)
    assert inputs.sizes.tolist() == [[96, 140]]
