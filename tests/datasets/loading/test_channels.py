import cv2
import numpy as np
import pytest
from faster_rcnn.datasets.checks.pixel_statistics import pixel_settings
from faster_rcnn.datasets.loading.channels import read_channels, read_shown, shown
from faster_rcnn.datasets.loading.colours import recolour
from faster_rcnn.datasets.loading.images import ImageError, image_size, read_image
from faster_rcnn.datasets.loading.resizing import resize_image

RNG = np.random.default_rng(0)
GREY16 = RNG.integers(0, 65536, (20, 30)).astype(np.uint16)
FLOATS = RNG.normal(size=(20, 30)).astype(np.float32)
RGBA = RNG.integers(0, 256, (20, 30, 4)).astype(np.uint8)
SEVEN = RNG.integers(-500, 500, (20, 30, 7)).astype(np.int16)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("a.tif", GREY16),
        ("a.png", GREY16),
        ("a.tiff", FLOATS),
        ("a.png", RGBA),
        ("a.tif", RGBA),
        ("a.npy", SEVEN),
        ("a.npy", FLOATS),
        ("a.npy", RGBA),
    ],
)
def test_files_keep_their_channels_and_values(tmp_path, name, array):
    path = tmp_path / name
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        in_order = array[:, :, [2, 1, 0, 3]] if array.ndim == 3 else array
        cv2.imwrite(str(path), in_order)
    expected = array.reshape(20, 30, -1)
    pixels = read_channels(path, expected.shape[2])
    assert pixels.dtype == (np.uint8 if array.dtype == np.uint8 else np.float32)
    np.testing.assert_array_equal(pixels, expected)
    assert image_size(path) == (30, 20)
    picture = read_shown(path)
    assert picture.shape == (20, 30, 3) and picture.dtype == np.uint8
    with pytest.raises(ImageError) as caught:
        read_channels(path, 5)
    found = f"expected 5 channels (net.in_channels), found {expected.shape[2]}"
    assert str(caught.value).startswith(f"{path}: {found}")


def test_arrays_that_are_no_images(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(ImageError, match=r"a\.npy: expected an array of numbers"):
        read_channels(path)
    np.save(path, np.full((4, 4), np.nan))
    with pytest.raises(ImageError, match="found NaN or infinity"):
        read_channels(path)
    header = path.read_bytes().replace(b"(4, 4)", b"(4, 9)")
    path.write_bytes(header)  # claims more than the file holds
    with pytest.raises(ImageError, match="expected an array of numbers"):
        read_channels(path)
    with pytest.raises(ImageError, match="set net"):
        read_image(path)  # a detector for RGB


def test_pictures_stretch_deep_values_alone():
    eight = RGBA[:, :, :3]
    np.testing.assert_array_equal(shown(RGBA), eight)
    np.testing.assert_array_equal(shown(eight[:, :, :1])[:, :, 2], eight[:, :, 0])
    ramp = np.linspace(1000, 2000, 600, dtype=np.float32).reshape(20, 30, 1)
    picture = shown(ramp)
    assert picture.min() == 0 and picture.max() == 255
    assert (np.diff(picture[:, :, 1].ravel().astype(int)) >= 0).all()


def test_statistics_are_those_of_all_pixels(tmp_path):
    paths = [tmp_path / f"{i}.npy" for i in range(3)]
    arrays = [RNG.normal((5, -2), (1, 3), (40, 50, 2)) for _ in paths]
    for path, array in zip(paths, arrays, strict=True):
        np.save(path, array)
    _, count, _, mean, _, std = pixel_settings(paths)
    everything = np.stack(arrays).reshape(-1, 2)
    assert count == "2"
    for text, values in ((mean, everything.mean(0)), (std, everything.std(0))):
        np.testing.assert_allclose(eval(text), values, rtol=1e-4)
    np.save(paths[1], GREY16)
    wanted = (
        r"found 1 in 1 \(first .*1\.npy\), 2 in 2 \(first .*0\.npy\); without net\."
    )
    with pytest.raises(ImageError, match=wanted):
        pixel_settings(paths)


def test_resizing_and_jitter_keep_channels():
    for array in (SEVEN.astype(np.float32), FLOATS[:, :, None], RGBA):
        small = resize_image(array, 0.5)
        assert small.shape == (10, 15, array.shape[2]) and small.dtype == array.dtype
        brighter = recolour(array, (2.0, 1.0, 1.0))
        limit = 255 if array.dtype == np.uint8 else np.inf
        expected = (2.0 * array).clip(max=limit)
        np.testing.assert_allclose(brighter, expected, atol=1e-3)


@pytest.mark.parametrize("planes", [False, True])
def test_tiff_of_many_channels(tmp_path, planes):
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "a.tif"
    stored = np.moveaxis(SEVEN, -1, 0) if planes else SEVEN
    layout = {} if planes else {"planarconfig": "contig"}
    tifffile.imwrite(path, stored, photometric="minisblack", **layout)
    np.testing.assert_array_equal(read_channels(path, 7), SEVEN)
    assert image_size(path) == (30, 20)
