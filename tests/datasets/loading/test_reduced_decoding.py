"""JPEGs decoded at a fraction of their size: every pixel stays where it belongs."""

import cv2
import numpy as np
import pytest
from faster_rcnn.datasets.loading.images import (
    ImageError,
    image_size,
    read_image,
    read_reduced,
)
from faster_rcnn.datasets.loading.orientation import read_annotated, upright
from faster_rcnn.datasets.loading.resizing import reduction
from faster_rcnn.datasets.loading.samples import Preparation
from faster_rcnn.detector.inputs import decode, to_pixels
from loader_words import sample_of
from PIL import Image
from tiny_runs import make_record

WIDTH, HEIGHT = 403, 301  # of which 2, 4 and 8 leave a rest
BOX = (57, 33, 346, 250)


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """Return a JPEG with a white rectangle, whose edges lie within blocks of 8.

    They are soft, so that samples give their place to a fraction of a pixel.
    """
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 255
    pixels = cv2.GaussianBlur(pixels, None, 8)
    path = tmp_path_factory.mktemp("reduced") / "photo.jpg"
    Image.fromarray(pixels).save(path, quality=98)
    return path


def sample(photo, **options):
    record = make_record(photo, WIDTH, HEIGHT, [BOX])
    return sample_of(record, **({"long_side": 1000, "offset": 0} | options))


def drawn_box(pixels):
    """Measure a white rectangle by its mass, exact to a fraction of a pixel."""
    light = pixels[..., 1] / 255
    box = []
    for profile in (light.sum(axis=0), light.sum(axis=1)):
        profile = profile / profile.max()
        middle = (profile * (np.arange(len(profile)) + 0.5)).sum() / profile.sum()
        box.append((middle - profile.sum() / 2, middle + profile.sum() / 2))
    (x1, x2), (y1, y2) = box
    return x1, y1, x2, y2


@pytest.mark.parametrize(("scale", "by"), [(0.6, 1), (0.5, 2), (0.25, 4), (0.13, 4)])
def test_the_network_input_keeps_its_pixels(scale, by):
    assert reduction(scale, HEIGHT, WIDTH) == by
    assert reduction(scale, HEIGHT, WIDTH, turned=True) == 1
    assert reduction(scale, 3000, 4000, turned=True) == by


@pytest.mark.parametrize("by", [2, 4, 8])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_boxes_stay_on_what_they_bound(photo, by, flip, quarters):
    side = HEIGHT / by * 0.77  # also resized
    turned = sample(photo, short_side=side, flip=flip, quarters=quarters)
    np.testing.assert_allclose(drawn_box(turned.pixels), turned.boxes[0], atol=0.04)
    shape = (HEIGHT, WIDTH) if quarters % 2 == 0 else (WIDTH, HEIGHT)
    assert turned.original_size == shape
    assert turned.pixels.shape[:2] == tuple(round(turned.scale * s) for s in shape)
    full = sample(photo, short_side=side, flip=flip, quarters=quarters, reduced=False)
    assert full.scale == turned.scale
    assert full.pixels.shape == turned.pixels.shape
    np.testing.assert_allclose(full.boxes, turned.boxes, atol=by * full.scale)


@pytest.mark.parametrize("place", [(0.3, 0.9), (0.99, 0.01)])
def test_a_zoomed_part_begins_at_a_whole_pixel(photo, place):
    part = sample(photo, short_side=30, zoom=1.8, place=place, flip=True)
    assert part.pixels.shape == (30, 40, 3) and part.scale < 0.25
    white = np.argwhere(part.pixels[..., 1] > 127)
    x1, y1, x2, y2 = part.boxes[0]
    np.testing.assert_allclose(white.min(axis=0), (y1, x1), atol=0.51)
    np.testing.assert_allclose(white.max(axis=0) + 1, (y2, x2), atol=0.51)


def test_fine_lines_become_grey_instead_of_aliases(tmp_path):
    pixels = np.zeros((300, 400, 3), np.uint8)
    pixels[:, ::2] = 255
    path = tmp_path / "lines.jpg"
    Image.fromarray(pixels).save(path, quality=98)
    record = make_record(path, 400, 300)
    found = sample_of(record, short_side=70, long_side=1000, offset=0)
    assert found.pixels.std() < 3
    aliased = sample_of(record, short_side=70, long_side=1000, offset=0, reduced=False)
    assert aliased.pixels.std() > 30


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "progressive"])
def test_all_kinds_of_jpeg(tmp_path, photo, mode):
    image, path = Image.open(photo), tmp_path / "kind.jpg"
    if mode == "progressive":
        image.save(path, progressive=True)
    else:
        image.convert(mode).save(path)
    found = read_reduced(path, lambda height, width: 4 if height < width else 1)
    assert (found.size, found.by) == ((HEIGHT, WIDTH), 4)
    assert found.pixels.shape == (76, 101, 3)
    blocks = read_image(path)[:300, :400].reshape(75, 4, 100, 4, 3).mean(axis=(1, 3))
    assert np.abs(found.pixels[:75, :100] - blocks).mean() < 1


def test_other_files_are_decoded_in_full(tmp_path, photo):
    path = tmp_path / "photo.png"
    Image.open(photo).save(path)
    found = read_reduced(path, lambda *_: 8)
    assert found.by == 1 and found.pixels.shape == (HEIGHT, WIDTH, 3)
    path = tmp_path / "short.jpg"
    path.write_bytes(photo.read_bytes()[:-200])
    with pytest.raises(ImageError, match=r"short\.jpg.*cut short"):
        read_reduced(path, lambda *_: 8)


def test_wanted_pixels_are_decoded_in_full(photo):
    record = make_record(photo, WIDTH, HEIGHT)
    cropped = Preparation(1000, 0.0, crop=200).read(record)
    assert cropped.by == 1 and Preparation(1000, 0.0).read(record, 0.25).by == 4
    grey = read_annotated(photo, (WIDTH, HEIGHT), 3, scale=0.1)
    assert grey.by == 1
    with pytest.raises(ImageError, match=r"expected 404 x 301 .* found 403 x 301"):
        read_annotated(photo, (404, 301), scale=0.1)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("whole", [True, False])
def test_turned_by_exif(tmp_path, photo, orientation, whole):
    exif = Image.Exif()
    exif[274] = orientation
    image, path = Image.open(photo), tmp_path / "turned.jpg"
    if whole:
        image = image.resize((400, 304))
    image.save(path, exif=exif, quality=98)
    found = decode(path, (40, 1000))
    expected = to_pixels(path)
    assert found.size == expected.shape[:2]
    # Beside its last pixels, a turned image would begin outside.
    assert found.by == (4 if whole or orientation == 1 else 1)
    stored = read_reduced(path, lambda *_: found.by).pixels
    np.testing.assert_array_equal(found.pixels, upright(stored, orientation))
    annotated = read_annotated(path, found.size[::-1], scale=0.25)
    assert annotated.size == found.size or orientation == 3
    if orientation >= 5:
        np.testing.assert_array_equal(annotated.pixels, found.pixels)
        assert image_size(path) == found.size
