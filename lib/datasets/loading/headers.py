"""Read what an image file's header says: its size, and where its data ends."""

import io
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, TiffImagePlugin

_PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8\xff"
"""First bytes of a JPEG."""

_SCAN = 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of JPEG segments that contain the size."""


def is_cut_short(data: bytes) -> bool:
    """Return whether a JPEG or PNG lacks its end marker; bytes after it are allowed."""
    if data.startswith(_PNG_START):
        return data.rfind(b"IEND") < 0
    if not data.startswith(JPEG_START):
        return False
    # A thumbnail in the header has its own end marker, so the search starts at the
    # scan, in which 0xFF is never followed by 0xD9 except at the end.
    at = 0
    for at, marker in _jpeg_segments(data):
        if marker == _SCAN:
            return data.find(b"\xff\xd9", at) < 0
    return at >= len(data)  # else an unusual header: leave it to the decoder


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield position and marker of each segment of a JPEG's header, up to the scan.

    The last position is the first without a marker; its marker is given as 0.
    """
    at = 2
    while data[at : at + 1] == b"\xff" and at + 1 < len(data):
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        yield at, marker
        if marker == _SCAN:
            return
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    yield at + (data[at : at + 1] == b"\xff"), 0


def claimed_size(data: bytes) -> tuple[int, int]:
    """Read width and height from the header, without Pillow for common formats."""
    if data.startswith(_PNG_START):
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data.startswith(JPEG_START):
        sizes = [
            (
                int.from_bytes(data[at + 7 : at + 9], "big"),
                int.from_bytes(data[at + 5 : at + 7], "big"),
            )
            for at, marker in _jpeg_segments(data)
            if marker in _FRAMES
        ]
        return max(sizes, key=math.prod, default=(0, 0))
    return stored_size(io.BytesIO(data))


def stored_size(file: Path | io.BytesIO) -> tuple[int, int]:
    """Read width and height, in pixels as stored, of a file that Pillow knows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd metadata and large images
        with Image.open(file) as image:
            width, height = image.size
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                # Only for a TIFF, Pillow gives the size after rotation.
                width, height = image.tag_v2[256], image.tag_v2[257]
            return int(width), int(height)
