"""Detections as rows of COCO's result lists, of all tasks at once."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def coco_row(
    found: Mapping[str, Any], image_id: int | str, category_id: int
) -> dict[str, Any]:
    """Convert a detection of ``Result.to_list`` to a row of COCO's result format.

    The box is x, y, width, height, a mask is under ``segmentation``. Whole numbers in
    ``keypoints`` are the centres of pixels.
    """
    x1, y1, x2, y2 = found["box"]
    row = {
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [x1, y1, max(x2 - x1, 0.0), max(y2 - y1, 0.0)],
        "score": found["score"],
    }
    if "mask" in found:
        row["segmentation"] = found["mask"]
    if "keypoints" in found:
        points = [(x - 0.5, y - 0.5, score) for x, y, score in found["keypoints"]]
        row["keypoints"] = [value for point in points for value in point]
    return row


def categories_of(
    names: Sequence[str],
    found: Iterable[str],
    given: Sequence[int] | Mapping[str, int] | None,
) -> Mapping[int, int]:
    """Look up the category of each label that occurs or may occur.

    Args:
        names: the C classes, background first.
        found: the classes that occur.
        given: see ``Result.to_coco``.

    Raises:
        ValueError: a class has no category.
    """
    if given is None:
        return dict(enumerate(range(len(names))))
    if isinstance(given, Mapping):
        missing = sorted(set(found) - given.keys())
        if missing:
            raise ValueError(
                f"expected a category id of every class, found none of "
                f"{', '.join(missing)}; add them, or filter the classes"
            )
        return {label: given[name] for label, name in enumerate(names) if name in given}
    if len(given) != len(names):
        raise ValueError(
            f"expected {len(names)} category ids, background's first as in the classes "
            f"({', '.join(names)}), found {len(given)}"
        )
    return dict(enumerate(given))
