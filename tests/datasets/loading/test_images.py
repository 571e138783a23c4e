import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from faster_rcnn.datasets.loading.images import ImageError, image_size, read_image
from PIL import Image

SIZE = (40, 30)  # width, height
JPEG = {"quality": 95}


@pytest.fixture
def picture():
    """A smooth RGB picture with distinct channels."""
    x, y = np.meshgrid(np.linspace(0, 255, SIZE[0]), np.linspace(0, 255, SIZE[1]))
    return np.stack([x, y, 255 - x], axis=2).astype(np.uint8)


def jpeg(image, **options):
    stream = io.BytesIO()
    image.save(stream, "JPEG", **(JPEG | options))
    return stream.getvalue()


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_colour_is_rgb(tmp_path, picture, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(picture).save(path, lossless=True)
    found = read_image(path)
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    np.testing.assert_array_equal(found, picture)
    assert image_size(path) == SIZE


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg(tmp_path, picture, progressive):
    path = tmp_path / "image.jpg"
    path.write_bytes(jpeg(Image.fromarray(picture), progressive=progressive))
    assert np.abs(read_image(path).astype(int) - picture).mean() < 4
    assert image_size(path) == SIZE


def test_grayscale_jpeg_and_png(tmp_path, picture):
    grey = Image.fromarray(picture).convert("L")
    (tmp_path / "grey.jpg").write_bytes(jpeg(grey))
    grey.save(tmp_path / "grey.png")
    for name in ("grey.jpg", "grey.png"):
        found = read_image(tmp_path / name)
        assert found.shape == (SIZE[1], SIZE[0], 3)
        assert (found[..., 0] == found[..., 1]).all()
        assert (found[..., 0] == found[..., 2]).all()
    np.testing.assert_array_equal(found[..., 0], np.asarray(grey))


def rgba(picture):
    """The picture, more transparent to the right."""
    return Image.fromarray(np.dstack([picture, 255 - picture[..., 0]]))


@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "bmp"])
def test_transparency_is_dropped(tmp_path, picture, suffix):
    path = tmp_path / f"rgba.{suffix}"
    rgba(picture).save(path, lossless=True, exact=True)
    np.testing.assert_array_equal(read_image(path), picture)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_palette(tmp_path, picture, suffix):
    palette = Image.fromarray(picture).quantize(32)
    expected = np.asarray(palette.convert("RGB"))
    palette.save(tmp_path / f"palette.{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"palette.{suffix}"), expected)
    if suffix == "png":
        palette.save(tmp_path / "clear.png", transparency=3)
        np.testing.assert_array_equal(read_image(tmp_path / "clear.png"), expected)


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_modes(tmp_path, picture, mode, suffix):
    grey = Image.fromarray(picture).convert(mode)
    path = tmp_path / f"grey.{suffix}"
    grey.save(path)
    np.testing.assert_array_equal(read_image(path), np.asarray(grey.convert("RGB")))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits(tmp_path, picture, suffix):
    # The lower 8 bits differ from the upper ones and are dropped.
    deep = picture[..., ::-1].astype(np.uint16) * 256 + 255 - picture[..., ::-1]
    path = tmp_path / f"deep.{suffix}"
    cv2.imwrite(str(path), deep)
    np.testing.assert_array_equal(read_image(path), picture)
    cv2.imwrite(str(path), deep[..., 0])
    expected = np.repeat(picture[..., 2:], 3, axis=2)
    np.testing.assert_array_equal(read_image(path), expected)
    assert image_size(path) == SIZE


def test_values_of_no_known_range_are_refused(tmp_path, picture):
    for kind in (np.int32, np.float32):
        path = tmp_path / f"{kind.__name__}.tif"
        Image.fromarray(picture[..., 0].astype(kind)).save(path)
        with pytest.raises(ImageError, match=path.name):
            read_image(path)


def test_cmyk(tmp_path, picture):
    cmyk = Image.fromarray(picture).convert("CMYK")
    (tmp_path / "cmyk.jpg").write_bytes(jpeg(cmyk, quality=100))
    cmyk.save(tmp_path / "cmyk.tif")
    for name in ("cmyk.jpg", "cmyk.tif"):
        found = read_image(tmp_path / name).astype(int)
        assert np.abs(found - picture).max() <= 4, name
        assert image_size(tmp_path / name) == SIZE


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_orientation_is_not_applied(tmp_path, picture, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    options = {"quality": 95} if suffix == "jpg" else {"lossless": True}
    Image.fromarray(picture).save(path, exif=exif, **options)
    found = read_image(path)
    assert found.shape == (SIZE[1], SIZE[0], 3)
    assert np.abs(found.astype(int) - picture).mean() < (4 if suffix == "jpg" else 0.1)
    assert image_size(path) == SIZE


def test_orientation_of_a_big_endian_tiff(tmp_path, picture):
    width, height = SIZE
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 134, 274: 6}
    tags |= {277: 1, 278: height, 279: width * height}
    entries = [struct.pack(">HHIHH", tag, 3, 1, v, 0) for tag, v in tags.items()]
    head = b"MM\0*" + struct.pack(">IH", 8, len(tags)) + b"".join(entries) + b"\0" * 4
    assert len(head) == 134
    path = tmp_path / "turned.tif"
    path.write_bytes(head + picture[..., 0].tobytes())
    expected = np.repeat(picture[..., :1], 3, axis=2)
    np.testing.assert_array_equal(read_image(path), expected)
    assert image_size(path) == SIZE


def test_bytes_after_the_end_are_fine(tmp_path, picture):
    for suffix, data in (
        ("jpg", jpeg(Image.fromarray(picture))),
        ("png", cv2.imencode(".png", picture)[1].tobytes()),
    ):
        path = tmp_path / f"image.{suffix}"
        path.write_bytes(data + b"\0" * 100)
        assert read_image(path).shape == picture.shape


@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Truncated File")
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("suffix", ["jpg", "png", "progressive", "webp", "tif", "bmp"])
def test_truncated_file(tmp_path, picture, suffix, share):
    if suffix in ("png", "webp", "tif", "bmp"):
        data = cv2.imencode(f".{suffix}", picture)[1].tobytes()
    else:
        progressive = suffix == "progressive"
        data = jpeg(Image.fromarray(picture), progressive=progressive)
    path = tmp_path / f"short.{suffix}"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(
        ImageError, match=rf"short\.{suffix}.*(whole|expected an image)"
    ):
        read_image(path)


def test_truncated_jpeg_with_a_thumbnail(tmp_path, picture):
    # The thumbnail's end marker must not pass for the image's.
    data = jpeg(Image.fromarray(picture))
    thumbnail = b"Exif\0\0" + data
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    path = tmp_path / "thumbnail.jpg"
    path.write_bytes(data[:2] + segment + data[2:])
    assert read_image(path).shape == picture.shape
    path.write_bytes(data[:2] + segment + data[2:-40])
    with pytest.raises(ImageError, match="cut short"):
        read_image(path)


@pytest.mark.parametrize(
    "data", [b"", b"<html>not found</html>", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0junk"]
)
def test_non_image(tmp_path, data):
    path = tmp_path / "page.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"page\.jpg"):
        read_image(path)
    with pytest.raises(ImageError, match=r"page\.jpg"):
        image_size(path)


def test_missing_file_and_folder(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    for name in ("none.jpg", "folder.jpg"):
        with pytest.raises(ImageError, match=name):
            read_image(tmp_path / name)
        with pytest.raises(ImageError, match=name):
            image_size(tmp_path / name)


def test_real_photos(shared):
    folder = shared / "data" / "voc2007_mini" / "VOCdevkit" / "VOC2007" / "JPEGImages"
    for path in sorted(folder.iterdir())[:10]:
        width, height = image_size(path)
        assert read_image(path).shape == (height, width, 3)


def claiming(data, suffix, width, height):
    """An image's bytes with another size in the header."""
    data = bytearray(data)
    if suffix == ".png":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif suffix == ".bmp":
        data[18:26] = struct.pack("<II", width, height)
    elif suffix == ".jpg":
        start = data.find(b"\xff\xc0")
        data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    else:  # a TIFF whose first directory begins with width and height
        (directory,) = struct.unpack("<I", data[4:8])
        (count,) = struct.unpack("<H", data[directory : directory + 2])
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            (tag,) = struct.unpack("<H", data[entry : entry + 2])
            if tag in (256, 257):
                side = width if tag == 256 else height
                data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, side)
    return bytes(data)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg", ".tif"])
def test_small_file_that_claims_many_pixels(tmp_path, suffix):
    path = tmp_path / f"bomb{suffix}"
    stream = io.BytesIO()
    kind = {".png": "PNG", ".bmp": "BMP", ".jpg": "JPEG", ".tif": "TIFF"}[suffix]
    Image.new("RGB", (8, 6)).save(stream, kind)
    path.write_bytes(claiming(stream.getvalue(), suffix, 60_000, 3000))
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=r"178956970 pixels|DOS attack") as caught:
            read(path)
        assert str(path) in str(caught.value)
    path.write_bytes(claiming(stream.getvalue(), suffix, 8, 6))
    assert read_image(path).shape == (6, 8, 3) and image_size(path) == (8, 6)


def test_largest_of_the_sizes_that_a_jpeg_claims(tmp_path):
    path = tmp_path / "bomb.jpg"
    stream = io.BytesIO()
    Image.new("RGB", (8, 6)).save(stream, "JPEG")
    data = stream.getvalue()
    start = data.find(b"\xff\xc0")
    large = claiming(data, ".jpg", 60_000, 60_000)[start : start + 19]
    path.write_bytes(
        data[:start] + data[start : start + 19] + large + data[start + 19 :]
    )
    with pytest.raises(ImageError, match="claims 60000 x 60000"):
        read_image(path)
