import io

import numpy as np
import pytest
import torch
from faster_rcnn.datasets.loading.images import ImageError, read_image
from faster_rcnn.detector.inputs import as_images, is_one_image, to_pixels
from PIL import Image, ImageOps

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)


def saved(path, image, orientation=None):
    exif = Image.Exif()
    if orientation is not None:
        exif[274] = orientation
    image.save(path, exif=exif)
    return path


@pytest.mark.parametrize(
    "image",
    [
        PIXELS,
        PIXELS[:, ::-1][:, ::-1],  # of negative strides on its way
        np.dstack([PIXELS, np.full((5, 7), 9, np.uint8)]),
        Image.fromarray(PIXELS),
        Image.fromarray(PIXELS).convert("RGBA"),
        torch.from_numpy(PIXELS).permute(2, 0, 1),
        torch.from_numpy(PIXELS).permute(2, 0, 1) / 255,
        (torch.from_numpy(PIXELS).permute(2, 0, 1) / 255).double(),
        (torch.from_numpy(PIXELS).permute(2, 0, 1) / 255).requires_grad_(),
    ],
)
def test_all_kinds_give_the_same_pixels(image):
    found = to_pixels(image)
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    np.testing.assert_array_equal(found, PIXELS)


def test_files_by_text_or_path(tmp_path):
    path = saved(tmp_path / "a.png", Image.fromarray(PIXELS))
    np.testing.assert_array_equal(to_pixels(path), PIXELS)
    np.testing.assert_array_equal(to_pixels(str(path)), PIXELS)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1)])
def test_grey_becomes_rgb(shape):
    grey = PIXELS[:, :, 0]
    found = to_pixels(grey.reshape(shape))
    np.testing.assert_array_equal(found, np.dstack([grey] * 3))
    if len(shape) == 2:
        np.testing.assert_array_equal(to_pixels(Image.fromarray(grey)), found)


def test_of_16_bits_the_upper_8_are_kept():
    deep = np.array([[0, 255, 256], [257, 65535, 511]], np.uint16)
    found = to_pixels(Image.fromarray(deep))
    assert found[:, :, 0].tolist() == [[0, 0, 1], [1, 255, 1]]


def test_floats_are_rounded_and_may_be_off_by_a_rounding():
    tensor = torch.tensor([-0.0005, 0.4999 / 255, 0.51 / 255, 1.0005])
    found = to_pixels(tensor.expand(3, 1, 4))
    assert found[0, :, 0].tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_exif_turns_files_and_pil_images_as_pillow_does(tmp_path, orientation, suffix):
    path = tmp_path / f"turned{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {}
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(PIXELS).save(path, exif=exif, **options)
    tagged = Image.fromarray(PIXELS)
    tagged.getexif()[274] = orientation
    upright = np.asarray(ImageOps.exif_transpose(tagged))
    np.testing.assert_array_equal(to_pixels(path), upright)
    np.testing.assert_array_equal(to_pixels(path, exif=False), PIXELS)
    np.testing.assert_array_equal(to_pixels(tagged), upright)
    np.testing.assert_array_equal(to_pixels(tagged, exif=False), PIXELS)


def test_a_quarter_turn_by_hand(tmp_path):
    # Orientation 6: the file's left column is the picture's top row, bottom pixel left.
    path = saved(tmp_path / "a.png", Image.fromarray(PIXELS), 6)
    found = to_pixels(path)
    assert found.shape == (7, 5, 3)
    np.testing.assert_array_equal(found[0], PIXELS[::-1, 0])


@pytest.mark.parametrize("orientation", [0, 9])
def test_orientations_that_do_not_exist_turn_nothing(tmp_path, orientation):
    path = saved(tmp_path / "a.png", Image.fromarray(PIXELS), orientation)
    np.testing.assert_array_equal(to_pixels(path), PIXELS)


def test_files_read_as_those_of_data_sets(tmp_path):
    path = saved(tmp_path / "a.jpg", Image.fromarray(PIXELS.repeat(8, 0).repeat(8, 1)))
    np.testing.assert_array_equal(to_pixels(path), read_image(path))


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (PIXELS.astype(np.float32), r"\(5, 7, 3\) float32"),
        (PIXELS.transpose(2, 0, 1), r"\(3, 5, 7\) uint8"),
        (PIXELS[None], r"\(1, 5, 7, 3\) uint8.*as a list"),
        (PIXELS[:0], r"\(0, 7, 3\) uint8"),
        (torch.from_numpy(PIXELS), r"\(5, 7, 3\) torch.uint8"),
        (torch.zeros(2, 3, 5, 7), r"\(2, 3, 5, 7\) torch.float32"),
        (torch.zeros(3, 5, 7, dtype=torch.int64), r"torch.int64"),
        (torch.zeros(3, 0, 7), r"\(3, 0, 7\)"),
        (torch.full((3, 5, 7), 255.0), "found 255 to 255; .*uint8"),
        (torch.full((3, 5, 7), -1.0), "found -1 to -1; .*not normalised"),
        (torch.full((3, 5, 7), torch.nan), "found nan"),
        (3, "found int"),
        (b"bytes", "found bytes"),
        (Image.fromarray(PIXELS[:, :, 0].astype(np.float32)), "mode F.*8 bits"),
    ],
)
def test_objects_that_are_not_pictures_are_errors(image, found):
    with pytest.raises(ValueError, match=rf"(?s)^image 4: .*{found}"):
        to_pixels(image, name="image 4")


def test_bad_files_are_named(tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    for path in (broken, tmp_path / "missing.jpg", tmp_path):
        with pytest.raises(ImageError, match=f"^{path}: expected an image"):
            to_pixels(path)


def test_a_cut_pil_image_is_named(tmp_path):
    data = io.BytesIO()
    Image.fromarray(PIXELS.repeat(20, 0).repeat(20, 1)).save(data, "png")
    path = tmp_path / "cut.png"
    path.write_bytes(data.getvalue()[:400])
    with (
        Image.open(path) as image,
        pytest.raises(ImageError, match=r"cut\.png: cannot"),
    ):
        to_pixels(image)


def test_one_picture_or_several():
    one = [PIXELS, "a.jpg", Image.fromarray(PIXELS), torch.zeros(3, 5, 7)]
    assert all(is_one_image(image) for image in one)
    assert [len(list(as_images(image))) for image in one] == [1, 1, 1, 1]
    assert not any(map(is_one_image, (one, (), iter(one), torch.zeros(2, 3, 5, 7))))
    assert len(list(as_images(torch.zeros(2, 3, 5, 7)))) == 2


@pytest.mark.parametrize("images", [None, 3, b"bytes", {"a": 1}])
def test_neither_one_nor_several(images):
    with pytest.raises(ValueError, match=f"found {type(images).__name__}"):
        as_images(images)
