"""The galleries' images with their boxes, masks and limbs, as JSON for the script."""

import logging
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ...datasets.loading.images import ImageError
from ...datasets.loading.orientation import show_annotated
from ...datasets.records import Dataset
from ...utils.drawing import jpeg_text, shrunk
from ..analysis.error_analysis import ErrorAnalysis
from .gallery import Item, Mark, image_marks
from .overlays import Overlays

SIDE = 400  # largest longer side of a thumbnail, in pixels
_QUALITY = 72

logger = logging.getLogger(__name__)


def gallery_data(
    dataset: Dataset,
    items: Sequence[Item],
    analysis: ErrorAnalysis,
    *,
    changed: Sequence[tuple[int, str]] = (),
    poor_masks: Sequence[Item] = (),
    earlier: ErrorAnalysis | None = None,
) -> dict[str, object]:
    """Return the galleries as JSON values for the page's script.

    Each image is stored once, however many items show it. An image that cannot be read
    is left out, and the number of such images is logged.

    Args:
        changed: images to compare, each with a description of its change.
        poor_masks: items of masks that fit badly.
        earlier: analysis of the earlier detections; needed if ``changed`` is given.
    """
    shown = [item.image for item in (*items, *poor_masks)]
    wanted = dict.fromkeys([*shown, *(i for i, _ in changed)])
    jpegs: dict[int, str] = {}
    problems: list[ImageError] = []
    for image in wanted:
        try:
            record = dataset.records[image]
            pixels = show_annotated(record.path, (record.width, record.height))
            jpegs[image] = thumbnail(pixels)
        except ImageError as error:
            problems.append(error)
    if problems:
        text = "the report lacks %d of %d images, first: %s"
        logger.warning(text, len(problems), len(wanted), problems[0])
    places = {image: place for place, image in enumerate(jpegs)}
    changed = [(image, text) for image, text in changed if image in places]
    before = image_marks(earlier, [i for i, _ in changed]) if earlier else []
    records = [dataset.records[image] for image in jpegs]
    shapes = Overlays(dataset, analysis.matches)
    old_shapes = Overlays(dataset, earlier.matches) if earlier else shapes

    def plain(items: Sequence[Item]) -> list[dict[str, object]]:
        return [
            {
                "image": places[item.image],
                "category": item.category,
                "kind": item.kind,
                "mark": _plain([item.mark], shapes)[0],
            }
            for item in items
            if item.image in places
        ]

    return {
        "images": [
            {
                "name": record.image_id,
                "size": [record.width, record.height],
                "jpeg": jpeg,
                "marks": _plain(marks, shapes),
            }
            for record, jpeg, marks in zip(
                records, jpegs.values(), image_marks(analysis, [*jpegs]), strict=True
            )
        ],
        "items": plain(items),
        "masks": plain(poor_masks),
        "changed": [
            {"image": places[image], "text": text, "earlier": _plain(marks, old_shapes)}
            for (image, text), marks in zip(changed, before, strict=True)
        ],
    }


def thumbnail(pixels: npt.NDArray[np.uint8], *, side: int = SIDE) -> str:
    """Return an image as a small JPEG in base64.

    Args:
        pixels: ``(H, W, 3)`` RGB.
    """
    return jpeg_text(shrunk(pixels, side), _QUALITY)


def _plain(marks: Iterable[Mark], shapes: Overlays) -> list[list[object]]:
    """Return the values of marks; with shapes, followed by those of mask and limbs."""
    values: list[list[object]] = []
    for mark in marks:
        values.append([*mark.box, mark.role, mark.text])
        if shapes.known and mark.detection >= 0:
            values[-1] += shapes.of_detection(mark.detection)
        if shapes.known and mark.object >= 0:
            values[-1] += shapes.of_object(mark.object)
    return values
