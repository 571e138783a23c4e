import pytest
from faster_rcnn.datasets.loading.images import ImageError, image_size, read_image

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (LFS, "a Git LFS pointer in place of the picture; run: git lfs pull"),
        (b"\n<!DOCTYPE html>\n<html>", "a web page (HTML)"),
        (b"<!-- x --><html lang=en>", "a web page (HTML)"),
        (b"", "an empty file"),
        (b"%PDF-1.7", "a PDF; convert it"),
        (b"GIF89a" + bytes(9), "a GIF; convert it"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC; convert it"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a video (MP4); convert it"),
        (bytes(128) + b"DICM", "a DICOM file; convert it"),
        (b"hello", "5 bytes that no decoder recognises"),
    ],
)
def test_the_true_cause(tmp_path, data, cause):
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    for read in (read_image, image_size):
        with pytest.raises(ImageError) as caught:
            read(path)
        assert f"{path}: expected an image, found {cause}" in str(caught.value)
