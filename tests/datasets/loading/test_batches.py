import cv2
import numpy as np
import pytest
import torch
from faster_rcnn.datasets.loading.batches import collate
from faster_rcnn.datasets.loading.colours import recolour
from faster_rcnn.datasets.loading.images import ImageError
from loader_words import sample_of
from pairwise import pairwise
from PIL import Image, ImageOps
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
    return sample_of(record, **(defaults | options))


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


@pairwise(
    {
        "flip": [False, True],
        "width, height": [(41, 23), (53, 31), (40, 20)],
        "short_side": [17, 47, 64],
    }
)
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


def test_ignored_objects_are_kept_for_pictures(image):
    boxes = [(4, 2, 20, 12), (0, 0, 8, 8), (10, 0, 18, 8)]
    flags = {"difficult": [False, True, False], "crowd": [False, False, True]}
    record = make_record(image(), 40, 20, boxes, **flags)
    train, both = sample(record, short_side=10), sample(record, use_difficult=True)
    np.testing.assert_array_equal(train.ignored, np.array(boxes[1:]) / 2)
    np.testing.assert_array_equal(both.ignored, boxes[2:])
    batch = collate([train, sample(make_record(image(), 40, 20))], size_multiple=1)
    assert [len(ignored) for ignored in batch.ignored] == [2, 0]
    np.testing.assert_array_equal(batch.ignored[0], train.ignored)


def test_crowds_take_slots_of_their_own(image):
    boxes = [(2, 2, 6, 6)] * 6 + [(4, 2, 20, 12)] + [(0, 0, 8, 8), (10, 0, 18, 8)]
    flags = {"difficult": [*[False] * 6, True, *[False] * 2]}
    flags["crowd"] = [*[False] * 7, True, True]
    full = sample(make_record(image(), 40, 20, boxes, **flags), short_side=10)
    truth = collate([full, sample(make_record(image(), 40, 20))], size_multiple=1)[1]
    assert truth.valid.tolist() == [[True] * 6 + [False] * 2, [False] * 8]
    assert truth.crowd.tolist() == [[False] * 6 + [True] * 2, [False] * 8]
    np.testing.assert_array_equal(truth.boxes[0, 6:], np.array(boxes[7:]) / 2)
    # An object more, and the slots grow.
    flags["difficult"][6] = False
    full = sample(make_record(image(), 40, 20, boxes, **flags))
    truth = collate([full], size_multiple=1).ground_truth
    assert truth.valid.sum() == 7 and truth.crowd.sum() == 2
    assert truth.valid.shape == truth.crowd.shape == (1, 16)


def test_zoom_in_keeps_the_usual_size_and_boxes_follow(image):
    # At twice the scale the 40 x 20 image is 80 x 40, of which 40 x 20 are seen.
    boxes = [(4, 2, 20, 12), (0, 0, 40, 20), (30, 12, 34, 16), (18, 0, 24, 4)]
    record = make_record(image(), 40, 20, boxes)
    zoomed = sample(record, zoom=2.0, place=(0, 0))
    assert zoomed.pixels.shape == (20, 40, 3)
    assert zoomed.scale == 2 and zoomed.original_size == (10, 20)
    # 20 columns and 10 rows are seen: a quarter of the second box, a third of the last.
    full, part = [8, 4, 40, 20], [36, 0, 40, 8]
    assert zoomed.boxes.tolist() == [full, [0, 0, 40, 20], part]
    for least, expected in ((0.26, [full, part]), (0.34, [full])):
        fewer = sample(record, zoom=2.0, place=(0, 0), min_visible=least)
        assert fewer.boxes.tolist() == expected
    right = sample(record, zoom=2.0, place=(0.99, 0.99))
    assert right.boxes.tolist() == [[0, 0, 40, 20], [20, 4, 28, 12]]
    flipped = sample(record, zoom=2.0, place=(0.99, 0), flip=True)
    assert flipped.boxes.tolist() == [[0, 4, 32, 20], [0, 0, 40, 20], [0, 0, 4, 8]]
    legacy = sample(record, zoom=2.0, place=(0, 0), offset=1)
    # As if the image ended there: its last pixels 19 and 9, doubled.
    assert legacy.boxes.tolist() == [[8, 4, 38, 18], [0, 0, 38, 18], [36, 0, 38, 6]]


def test_objects_cut_away_too_much_are_ignored(image):
    boxes = [(12, 0, 28, 8), (16, 0, 24, 4), (30, 0, 38, 8)]  # half, half, not seen
    record = make_record(image(), 40, 20, boxes)
    for least, kept in ((0.0, 2), (0.5, 2), (0.51, 0)):
        cut = sample(record, zoom=2.0, place=(0, 0), min_visible=least)
        assert (len(cut.boxes), len(cut.ignored)) == (kept, 2 - kept)
    np.testing.assert_array_equal(cut.ignored, [(24, 0, 40, 16), (32, 0, 40, 8)])
    assert len(cut.classes) == 0


def test_zoom_out_keeps_everything(image):
    record = make_record(image(), 40, 20, [(4, 2, 20, 12), (0, 0, 40, 20)])
    small = sample(record, zoom=0.5)
    assert small.pixels.shape == (10, 20, 3) and small.scale == 0.5
    assert small.boxes.tolist() == [[2, 1, 10, 6], [0, 0, 20, 10]]
    np.testing.assert_array_equal(small.pixels, sample(record, short_side=10).pixels)
    assert min(sample(record, zoom=0.001).pixels.shape[:2]) == 1


@pairwise(
    {
        "flip": [False, True],
        "zoom": [0.31, 0.77, 1.21, 1.9],
        "place": [(0.0, 0.0), (0.5, 0.5), (0.9, 0.3)],
    }
)
def test_boxes_stay_on_their_pixels_under_zoom(image, flip, zoom, place):
    record = make_record(image(53, 31), 53, 31, [(4, 2, 20, 12)])
    options = {"short_side": 93, "flip": flip, "zoom": zoom, "place": place}
    zoomed = sample(record, min_visible=0.0, **options)
    white = zoomed.pixels.min(axis=2) > (10 + 255) / 2
    if not len(zoomed.boxes):
        assert not white.any()
        return
    rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
    seen = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    np.testing.assert_allclose(zoomed.boxes[0], seen, atol=1.01)


def test_window_is_always_filled(image):
    record = make_record(image(53, 31), 53, 31, [(0, 0, 53, 31)])
    rng = np.random.default_rng(0)
    for _ in range(300):
        window = tuple(map(int, rng.integers(1, 200, 2)))
        zoom, place = float(rng.uniform(0.1, 3)), tuple(rng.random(2).tolist())
        full = sample(record, window=window, zoom=zoom, place=place, min_visible=0)
        assert full.pixels.shape == (*window, 3)
        assert full.scale >= 20 / 31 * zoom and full.pixels.max(axis=2).min() > 0
        whole = [[0, 0, window[1], window[0]]]
        np.testing.assert_allclose(full.boxes, whole, rtol=1e-5)


@pytest.mark.parametrize("orientation", [None, 3, 5, 6, 7, 8])
def test_image_turned_against_its_annotation(tmp_path, orientation):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    stored = sample(make_record(tmp_path / "a.png", 40, 20))
    np.testing.assert_array_equal(stored.pixels, pixels)
    turned = make_record(tmp_path / "a.png", 20, 40)
    if orientation in (None, 3):
        with pytest.raises(
            ImageError, match=r"expected 20 x 40 .* found 40 x 20.*EXIF"
        ):
            sample(turned)
        return
    with Image.open(tmp_path / "a.png") as image:
        shown = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(sample(turned).pixels, shown)
    mirrored = sample(turned, flip=True)
    np.testing.assert_array_equal(mirrored.pixels, shown[:, ::-1])


@pytest.mark.parametrize("stated", [(41, 20), (80, 40), (2_000_000_000, 20)])
def test_image_of_another_size_than_annotated_is_refused(image, stated):
    with pytest.raises(ImageError, match=rf"expected {stated[0]} x .* found 40 x 20;"):
        sample(make_record(image(40, 20), *stated))


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


def test_padded_is_set_if_any_image_is_smaller(image):
    one = sample(make_record(image(48, 32), 48, 32), short_side=32)
    other = sample(make_record(image(48, 33), 48, 33), short_side=33)
    assert not collate([one, one], size_multiple=16).images.padded
    assert not collate([one, one], size_multiple=1).images.padded
    assert collate([one], size_multiple=64).images.padded
    assert collate([one, other], size_multiple=1).images.padded


def test_colours_are_changed_after_the_resize(image):
    record = make_record(image(), 40, 20)
    plain = sample(record, short_side=30).pixels
    changes = {"colour": (1.2, 0.8, 0.5), "hue": 0.1}
    changed = sample(record, short_side=30, **changes).pixels
    expected = recolour(plain, changes["colour"], hue=0.1)
    np.testing.assert_array_equal(changed, expected)
    # A hue alone changes nothing else.
    turned = sample(record, short_side=30, hue=0.1).pixels
    np.testing.assert_array_equal(turned, recolour(plain, (1, 1, 1), hue=0.1))
    assert (turned != plain).any()


def test_moving_to_the_cpu_copies_nothing(image):
    batch = collate([sample(make_record(image(), 40, 20))], size_multiple=1)
    assert batch.to(torch.device("cpu")) is batch


def test_moving_takes_all_that_the_network_reads(image):
    record = make_record(image(), 40, 20, [(4, 2, 20, 12)])
    batch = collate([sample(record)], size_multiple=1, problems=("one",))
    moved = batch.to(torch.device("meta"))
    assert [t.device.type for t in moved.tensors()] == ["meta"] * len(batch.tensors())
    assert moved.images.pixels.is_meta and moved.ground_truth.boxes.is_meta
    assert moved.images.padded is batch.images.padded
    assert moved.image_ids == ("image",) and moved.problems == ("one",)
