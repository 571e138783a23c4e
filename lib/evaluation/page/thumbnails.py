"""Small JPEGs to stand in the page, and what is drawn on them, as plain values."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...datasets.loading.images import ImageError, read_image
from ...datasets.records import Dataset
from ...utils.drawing import jpeg_text, shrunk
from ..analysis.error_analysis import ErrorAnalysis
from .gallery import Item, Mark, image_marks

SIDE = 400
"""The longer side of a picture in pixels, at most."""

_QUALITY = 72

logger = logging.getLogger(__name__)


def picture_data(
    dataset: Dataset,
    items: Sequence[Item],
    analysis: ErrorAnalysis,
    *,
    changed: Sequence[tuple[int, str]] = (),
    earlier: ErrorAnalysis | None = None,
) -> dict[str, object]:
    """Gather what the page's script makes the galleries of.

    Each image is kept once, however many items show it. Those whose files cannot be
    read are left out, and their number is logged.

    Args:
        dataset: with the image files.
        items: of the gallery.
        analysis: of the detections.
        changed: images to compare, each with what to say about it.
        earlier: analysis of the earlier detections, where ``changed`` has any.
    """
    wanted = dict.fromkeys([*(item.image for item in items), *(i for i, _ in changed)])
    images: list[dict[str, object]] = []
    places: dict[int, int] = {}
    problems: list[ImageError] = []
    for image in wanted:
        record = dataset.records[image]
        try:
            jpeg = thumbnail(record.path)
        except ImageError as error:
            problems.append(error)
            continue
        places[image] = len(images)
        images.append(
            {
                "name": record.image_id,
                "size": [record.width, record.height],
                "jpeg": jpeg,
                "marks": _plain(image_marks(analysis, image)),
            }
        )
    if problems:
        text = "the report lacks %d of %d pictures, first: %s"
        logger.warning(text, len(problems), len(wanted), problems[0])
    return {
        "images": images,
        "items": [
            {
                "image": places[item.image],
                "category": item.category,
                "kind": item.kind,
                "mark": _plain([item.mark])[0],
            }
            for item in items
            if item.image in places
        ],
        "changed": [
            {
                "image": places[image],
                "text": text,
                "earlier": _plain(image_marks(earlier, image)),
            }
            for image, text in changed
            if earlier is not None and image in places
        ],
    }


def thumbnail(path: Path, *, side: int = SIDE) -> str:
    """Read an image and give it as a small JPEG in base64.

    Args:
        path: of the image.
        side: the longer side in pixels, at most.

    Raises:
        ImageError: the file cannot be read or is no image.
    """
    return jpeg_text(shrunk(read_image(path), side), _QUALITY)


def _plain(marks: Iterable[Mark]) -> list[list[object]]:
    return [[*mark.box, mark.role, mark.text] for mark in marks]
