import cv2
import numpy as np
import pytest
import torch
from faster_rcnn.datasets.batches import (
    collate,
    make_sample,
    resize_image,
    resize_scale,
)
from faster_rcnn.datasets.images import ImageError
from tiny_runs import make_record


@pytest.fixture
def image(tmp_path):
    """Write an image, 40 wide and 20 high, with a white block at 4..20, 2..12."""

    def write(width=40, height=20, name="image.png"):
        pixels = np.full((height, width, 3), (10, 60, 110), np.uint8)
        pixels[2:12, 4:20] = 255
        cv2.imwrite(str(tmp_path / name), pixels)
        return tmp_path / name

    return write


def sample(record, **options):
    defaults = {"short_side": 20, "long_side": 1000, "offset": 0}
    return make_sample(record, **(defaults | options))


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (60, 80, 0.5),
        (80, 60, 0.5),
        (30, 30, 1.0),
        (10, 20, 3.0),
        (60, 200, 0.5),  # the short side alone would make 100 px of it
        (200, 60, 0.5),
        (60, 240, 100 / 240),
    ],
)
def test_resize_scale(height, width, expected):
    assert resize_scale(height, width, 30, 100) == pytest.approx(expected)


def test_long_side_holds_after_rounding():
    # 375 x 500 at 600 is 800 wide; 333 x 556 is 1001.8 wide and has to give way.
    assert resize_scale(375, 500, 600, 1000) == 600 / 375
    assert resize_scale(333, 556, 600, 1000) == 1000 / 556
    # 1000.3 rounds to 1000: no reason to leave the target of the short side.
    assert resize_scale(601, 1002, 600, 1000) == 600 / 601


def slow_resize(pixels, scale):
    """Bilinear at half-pixel centres, pixel by pixel; beyond the edge, the edge."""
    height, width = pixels.shape[:2]
    out = np.zeros((round(scale * height), round(scale * width), 3))
    for i, j in np.ndindex(out.shape[:2]):
        y = np.clip((i + 0.5) / scale - 0.5, 0, height - 1)
        x = np.clip((j + 0.5) / scale - 0.5, 0, width - 1)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        dy, dx = y - top, x - left
        upper = pixels[top, left] * (1 - dx) + pixels[top, right] * dx
        lower = pixels[bottom, left] * (1 - dx) + pixels[bottom, right] * dx
        out[i, j] = upper * (1 - dy) + lower * dy
    return out


@pytest.mark.parametrize("scale", [1.6, 0.37, 600 / 333, 1])
def test_resize_as_in_a_loop(scale):
    pixels = np.random.default_rng(0).integers(0, 256, (23, 31, 3), dtype=np.uint8)
    expected = slow_resize(pixels.astype(np.float64), scale)
    floats = resize_image(pixels.astype(np.float32), scale)
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats, expected, atol=2e-3)
    bytes_ = resize_image(pixels, scale)
    assert bytes_.dtype == np.uint8
    # Rounded, by arithmetic of 11 bits.
    np.testing.assert_allclose(bytes_, expected, atol=0.8)


@pytest.mark.parametrize(("height", "width"), [(1, 5000), (5000, 1), (3, 9000)])
def test_thin_image_keeps_a_pixel(tmp_path, height, width):
    path = tmp_path / "thin.png"
    cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))
    thin = sample(make_record(path, width, height), short_side=600)
    assert min(thin.pixels.shape[:2]) == 1


def test_boxes_are_scaled_in_both_conventions(image):
    record = make_record(image(), 40, 20, [(4, 2, 20, 12), (0, 0, 40, 20)])
    continuous = sample(record, short_side=10)
    assert continuous.scale == 0.5
    assert continuous.pixels.shape == (10, 20, 3)
    assert continuous.original_size == (20, 40)
    np.testing.assert_array_equal(continuous.boxes, [(2, 1, 10, 6), (0, 0, 20, 10)])
    legacy = sample(record, short_side=10, offset=1)
    # First and last pixel, 4..19 and 2..11, scaled as published: corner by corner.
    np.testing.assert_array_equal(legacy.boxes, [(2, 1, 9.5, 5.5), (0, 0, 19.5, 9.5)])
    assert continuous.boxes.dtype == legacy.boxes.dtype == np.float32


def test_flip_in_both_conventions(image):
    record = make_record(image(), 40, 20, [(4, 2, 20, 12), (0, 0, 40, 20)])
    plain, flipped = sample(record), sample(record, flip=True)
    np.testing.assert_array_equal(flipped.pixels, plain.pixels[:, ::-1])
    np.testing.assert_array_equal(flipped.boxes, [(20, 2, 36, 12), (0, 0, 40, 20)])
    legacy = sample(record, offset=1)
    x1, y1, x2, y2 = legacy.boxes.T
    flipped = sample(record, offset=1, flip=True)
    expected = np.stack((39 - x2, y1, 39 - x1, y2), axis=1)
    np.testing.assert_array_equal(flipped.boxes, expected)
    np.testing.assert_array_equal(flipped.boxes[0], (20, 2, 35, 11))
    # The record itself serves the next epoch.
    np.testing.assert_array_equal(record.boxes, [(4, 2, 20, 12), (0, 0, 40, 20)])


def test_flip_is_that_of_a_mirrored_file(image, tmp_path):
    path = image(41, 23)
    mirrored = tmp_path / "mirrored.png"
    cv2.imwrite(str(mirrored), cv2.imread(str(path))[:, ::-1])
    box, other_box = (4, 2, 20, 12), (41 - 20, 2, 41 - 4, 12)
    flipped = sample(make_record(path, 41, 23, [box]), short_side=34, flip=True)
    file = sample(make_record(mirrored, 41, 23, [other_box]), short_side=34)
    # 41 columns become 60.6: a mirror after that would be off by 0.4 of a pixel.
    np.testing.assert_array_equal(flipped.pixels, file.pixels)
    np.testing.assert_allclose(flipped.boxes, file.boxes, rtol=1e-6)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("width", "height"), [(41, 23), (53, 31), (40, 20)])
@pytest.mark.parametrize("short_side", [17, 47, 64])
def test_boxes_stay_on_their_pixels(image, width, height, flip, short_side):
    record = make_record(image(width, height), width, height, [(4, 2, 20, 12)])
    resized = sample(record, short_side=short_side, flip=flip)
    white = resized.pixels.min(axis=2) > (10 + 255) / 2
    rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
    seen = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    # Half a pixel of rounding, and half a pixel where the size itself is rounded.
    np.testing.assert_allclose(resized.boxes[0], seen, atol=1.01)


def test_crowd_and_difficult_are_left_out(image):
    boxes = [(4, 2, 20, 12), (0, 0, 8, 8), (10, 0, 18, 8), (20, 0, 30, 9)]
    record = make_record(
        image(),
        40,
        20,
        boxes,
        [3, 1, 2, 4],
        difficult=[False, True, False, True],
        crowd=[False, False, True, True],
    )
    train = sample(record)
    np.testing.assert_array_equal(train.boxes, boxes[:1])
    np.testing.assert_array_equal(train.classes, [3])
    both = sample(record, use_difficult=True)
    np.testing.assert_array_equal(both.boxes, boxes[:2])
    np.testing.assert_array_equal(both.classes, [3, 1])


def test_image_without_objects(image):
    empty = sample(make_record(image(), 40, 20), flip=True)
    assert empty.boxes.shape == (0, 4) and empty.classes.shape == (0,)
    batch = collate([empty], size_multiple=1)
    assert not batch.ground_truth.valid.any()
    assert batch.ground_truth.boxes.shape == (1, 8, 4)


def test_unreadable_image_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"gone\.png"):
        sample(make_record(tmp_path / "gone.png", 40, 20))


@pytest.mark.parametrize(
    ("count", "slots"),
    [(0, 8), (1, 8), (8, 8), (9, 16), (16, 16), (17, 32), (100, 128)],
)
def test_slots_grow_and_cut_nothing(image, count, slots):
    boxes = [(i % 30, i % 10, i % 30 + 5, i % 10 + 5) for i in range(count)]
    classes = [1 + i % 4 for i in range(count)]
    path = image()
    full = sample(make_record(path, 40, 20, boxes, classes))
    single = sample(make_record(path, 40, 20, [(1, 1, 5, 5)], [2]))
    truth = collate([full, single], size_multiple=1).ground_truth
    assert truth.boxes.shape == (2, slots, 4)
    assert truth.classes.shape == truth.valid.shape == (2, slots)
    assert truth.valid.sum(1).tolist() == [count, 1]
    assert truth.boxes[0][truth.valid[0]].tolist() == [
        list(map(float, b)) for b in boxes
    ]
    assert truth.classes[0][truth.valid[0]].tolist() == classes
    assert truth.boxes[1, 0].tolist() == [1, 1, 5, 5]
    assert not truth.boxes[1, 1:].any() and not truth.classes[1, 1:].any()
    assert truth.boxes.dtype == torch.float32 and truth.classes.dtype == torch.int64


def test_padding_is_zero_and_sizes_are_true(image):
    wide = sample(make_record(image(40, 20, "wide.png"), 40, 20))
    high = sample(make_record(image(23, 33, "high.png"), 23, 33), short_side=23)
    batch = collate([wide, high], size_multiple=16)
    images = batch.images
    assert images.pixels.shape == (2, 3, 48, 48)
    assert images.pixels.dtype == torch.uint8
    assert images.sizes.tolist() == [[20, 40], [33, 23]]
    assert images.sizes.dtype == torch.int64
    assert images.padded
    for pixels, one in zip(images.pixels, (wide, high), strict=True):
        height, width = one.pixels.shape[:2]
        inside = pixels[:, :height, :width].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(inside, one.pixels)
        assert inside.min() > 0
        assert not pixels[:, height:].any() and not pixels[:, :, width:].any()
    assert images.pixels.is_contiguous(memory_format=torch.channels_last)
    assert batch.scales.tolist() == [1, 1]
    assert batch.original_sizes.tolist() == [[20, 40], [33, 23]]
    assert batch.image_ids == ("wide", "high")


def test_padded_tells_whether_any_image_is_smaller(image):
    one = sample(make_record(image(48, 32), 48, 32), short_side=32)
    other = sample(make_record(image(48, 33), 48, 33), short_side=33)
    assert not collate([one, one], size_multiple=16).images.padded
    assert not collate([one, one], size_multiple=1).images.padded
    assert collate([one], size_multiple=64).images.padded
    assert collate([one, other], size_multiple=1).images.padded


def test_colour_factors_by_hand(image):
    record = make_record(image(), 40, 20)
    plain = sample(record).pixels
    np.testing.assert_array_equal(sample(record, colour=(1, 1, 1)).pixels, plain)
    # The image was written as blue 10, green 60, red 110.
    dark = sample(record, colour=(0.5, 1, 1)).pixels
    assert dark[0, 0].tolist() == [55, 30, 5] and dark[5, 5].tolist() == [127] * 3
    bright = sample(record, colour=(3, 1, 1)).pixels
    assert (
        bright[0, 0].tolist() == [255, 180, 30] and bright[5, 5].tolist() == [255] * 3
    )
    flat = sample(record, colour=(1, 0, 1)).pixels
    assert (flat == int(plain.mean())).all()
    grey = sample(record, colour=(1, 1, 0)).pixels
    luma = 0.299 * 110 + 0.587 * 60 + 0.114 * 10
    assert np.abs(grey[0, 0] - luma).max() < 1 and grey[5, 5].min() >= 254


def test_moving_to_the_cpu_copies_nothing(image):
    batch = collate([sample(make_record(image(), 40, 20))], size_multiple=1)
    assert batch.to(torch.device("cpu")) is batch


def test_moving_takes_all_that_the_network_reads(image):
    record = make_record(image(), 40, 20, [(4, 2, 20, 12)])
    batch = collate([sample(record)], size_multiple=1, problems=("one",))
    moved = batch.to(torch.device("meta"))
    for tensor in (*moved.images[:2], *moved.ground_truth):
        assert tensor.device.type == "meta"
    assert moved.images.padded is batch.images.padded
    assert moved.image_ids == ("image",) and moved.problems == ("one",)
