"""Name the kind of a file that is expected to be an image and cannot be decoded."""

import re

_LFS = b"version https://git-lfs.github.com/spec/"
_HTML = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype html|html|head|body)\b", re.I)
_ARRAY = "an array of NumPy"
_STARTS = (
    (b"GIF8", "a GIF"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL"),
    (b"\x1aE\xdf\xa3", "a video (Matroska)"),
    (b"\x93NUMPY", _ARRAY),
    (b"<?xml", "an XML file"),
    (b"\x00\x05\x16\x07", "a macOS sidecar (AppleDouble)"),
)


def refusal(data: bytes) -> str:
    """Describe a file that no decoder reads by its first kilobyte, with a remedy."""
    if not data:
        return "an empty file; restore it or remove it from the list"
    if data.startswith(_LFS):
        return "a Git LFS pointer in place of the picture; run: git lfs pull"
    if _HTML.match(data[:1024]):
        return (
            "a web page (HTML), such as a server sends for an image that is gone or "
            "needs a login; download the image again or remove it from the list"
        )
    kind = _kind(data)
    if kind == _ARRAY or data.startswith((b"II*\0", b"MM\0*")):
        return (
            f"{kind or 'a TIFF of no 8-bit or 16-bit RGB or grey'}; set net.in_channels"
            " and what frcnn check DATASET --pixel-statistics prints"
        )
    if kind:
        return f"{kind}; convert it to JPEG or PNG or remove it from the list"
    return (
        f"{len(data)} bytes that no decoder recognises; replace the file or remove it "
        "from the list"
    )


def _kind(data: bytes) -> str:
    for start, kind in _STARTS:
        if data.startswith(start):
            return kind
    if data[128:132] == b"DICM":
        return "a DICOM file"
    if data[4:8] == b"ftyp":  # of ISO media files; the brand follows
        brand = data[8:12]
        if brand in (b"avif", b"avis"):
            return "an AVIF"
        is_heif = brand[:3] in (b"hei", b"hev") or brand in (b"mif1", b"msf1")
        return "a HEIC" if is_heif else "a video (MP4)"
    return ""
