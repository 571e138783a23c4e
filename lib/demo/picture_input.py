"""Read pictures of files ahead, and decode uploads within limits."""

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..datasets.loading.channels import Pixels
from ..datasets.loading.images import Decoded, ImageError
from ..detector.inputs import to_pixels
from ..utils.drawing import Picture
from .sources import Item

UPLOAD_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
"""Formats that every browser can show too, by Pillow's names."""

_READERS = 2

_MOST_BYTES = 1 << 28
"""Memory of the pictures read ahead, of which each reader has one in any case."""


class Read(NamedTuple):
    """A picture that has been read.

    Attributes:
        decoded: what a detector gets, perhaps reduced.
        pixels: ``(H, W, 3)`` RGB or other pixels to draw on; None if nothing is drawn.
    """

    decoded: Decoded
    pixels: Pixels | None

    @property
    def nbytes(self) -> int:
        """Return the memory of the larger of the two."""
        larger = self.decoded.pixels if self.pixels is None else self.pixels
        return larger.nbytes


def read_ahead(
    items: Iterable[Item],
    read: Callable[[Path], Decoded],
    *,
    ahead: int,
    drawn: bool = True,
) -> Iterator[tuple[Item, Read | ImageError]]:
    """Read pictures upright and in order, ahead of their use.

    Args:
        ahead: pictures to hold at most; of large ones fewer.

    Yields:
        Each item with its picture, or with the error.
    """

    def read_item(item: Item) -> Read | ImageError:
        try:
            decoded = read(Path(item.source))
            if not drawn:
                return Read(decoded, None)
            if decoded.by > 1:
                return Read(decoded, to_pixels(Path(item.source)))
            return Read(decoded, decoded.pixels)
        except ImageError as error:
            return error

    waiting: deque[tuple[Item, Future[Read | ImageError]]] = deque()
    sizes: deque[int] = deque(maxlen=16)  # of the latest pictures, in bytes
    with ThreadPoolExecutor(_READERS) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(read_item, item)))
                while len(waiting) >= min(ahead, _room(sizes)):
                    first, future = waiting.popleft()
                    found = future.result()
                    if not isinstance(found, ImageError):
                        sizes.append(found.nbytes)
                    yield first, found
            for item, future in waiting:
                yield item, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _room(sizes: Iterable[int]) -> int:
    """Return how many pictures may be held; few until their size is known."""
    return max(_MOST_BYTES // max(sizes, default=_MOST_BYTES), _READERS)


def decode_upload(data: bytes, *, max_pixels: int) -> Picture:
    """Decode bytes of unknown origin and turn them upright.

    The format follows from the content. The size is read from the header before any
    pixel is decoded.

    Returns:
        ``(H, W, 3)`` RGB.

    Raises:
        ImageError: the data is no picture, damaged, or too large.
    """
    kinds = ", ".join(UPLOAD_FORMATS)
    try:
        with Image.open(io.BytesIO(data), formats=UPLOAD_FORMATS) as image:
            width, height = image.size
            if width * height <= max_pixels:
                image.load()
                return np.asarray(to_pixels(image), np.uint8)
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"expected at most {max_pixels / 1e6:g} million pixels ({error}); make the "
            "picture smaller"
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"expected a picture ({kinds}), found {len(data)} bytes of another kind; "
            "convert the file, or choose another"
        ) from error
    except Exception as error:
        # Damaged bytes make decoders fail in any way: OSError, struct.error, ...
        raise ImageError(
            f"expected a whole picture, found a damaged one ({error}); fetch the file "
            "again"
        ) from error
    raise ImageError(
        f"expected at most {max_pixels / 1e6:g} million pixels, found {width} x "
        f"{height}; make the picture smaller"
    )
