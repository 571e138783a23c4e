"""The page of likely label errors, and the files with which they are corrected."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...datasets.exports.objects import Edges, LabelledBox, LabelledPicture
from ...datasets.exports.written_labels import write_labels
from ...datasets.loading.images import ImageError
from ...datasets.loading.orientation import read_annotated
from ...datasets.records import Dataset, Record
from ...utils.drawing import Picture, draw_boxes, jpeg_text, shrunk
from ...utils.files import write_atomic
from ...utils.pages.elements import facts
from ...utils.pages.render import render
from ..analysis.doubtful_labels import KINDS, LabelError, find_label_errors
from ..analysis.matches import Matches, match_detections
from ..image_detections import ImageDetections

_SIDE = 300  # of a picture on the page
_MARGIN = 0.75  # around the boxes, in their larger side
_FOUND, _DOUBTED, _OTHER = (34, 197, 94), (245, 158, 11), (148, 163, 184)


class Card(NamedTuple):
    """An error on the page."""

    kind: str
    category: str
    text: str
    image: str
    jpeg: str


def write_label_errors(
    folder: Path,
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    *,
    formats: Iterable[str] = (),
    most: int = 200,
) -> list[LabelError]:
    """Write labels.html, labels.json, and the images with their boxes for correction.

    In the exported files, each image that the page shows has its objects, and the
    detections that contradict them beside these: whoever corrects keeps one of each.

    Args:
        dataset: ground truth; its images are read.
        formats: words of ``exports.written_labels.LABEL_FILES``.

    Raises:
        ValueError: detections do not match the data set.
        OSError: a file cannot be written.
    """
    matches = match_detections(dataset, detections)
    errors = find_label_errors(matches, most=most)
    names = _names(dataset, [int(matches.found.images[e.detection]) for e in errors])
    rows = [_row(matches, error, names) for error in errors]
    write_atomic(folder / "labels.json", json.dumps(rows, indent=1) + "\n")
    pictures = [
        _labelled(dataset, matches, errors, image, name)
        for image, name in names.items()
    ]
    write_labels(folder, formats, pictures, dataset.classes[1:])
    page = render(
        "evaluation/page/label_errors.html",
        facts=facts(data=dataset.name),
        name=dataset.name,
        kinds=KINDS,
        categories=dataset.classes[1:],
        cards=list(_cards(dataset, matches, errors, names)),
    )
    write_atomic(folder / "labels.html", page)
    return errors


def _names(dataset: Dataset, images: Iterable[int]) -> dict[int, str]:
    """Return the paths of images below their common folder, in the order given."""
    paths = {image: dataset.records[image].path for image in images}
    if len({path.name for path in paths.values()}) == len(paths):
        return {image: path.name for image, path in paths.items()}
    common = os.path.commonpath([path.parent for path in paths.values()])
    return {i: path.relative_to(common).as_posix() for i, path in paths.items()}


def _row(
    matches: Matches, error: LabelError, names: dict[int, str]
) -> dict[str, object]:
    """Return an error as plain values."""
    found, objects, classes = matches.found, matches.objects, matches.classes
    row: dict[str, object] = {
        "image": names[int(found.images[error.detection])],
        "kind": error.kind,
        "doubt": round(error.doubt, 4),
        "found": classes[found.classes[error.detection]],
        "score": round(float(found.scores[error.detection]), 4),
        "found_box": _edges(found.boxes[error.detection]),
    }
    if error.object >= 0:
        row["labelled"] = classes[objects.classes[error.object]]
        row["labelled_box"] = _edges(objects.boxes[error.object])
    return row


def _labelled(
    dataset: Dataset,
    matches: Matches,
    errors: Sequence[LabelError],
    image: int,
    name: str,
) -> LabelledPicture:
    """Return an image's objects, and the detections that contradict them."""
    record, found = dataset.records[image], matches.found
    rows = [e.detection for e in errors if found.images[e.detection] == image]
    boxes = [
        *(
            LabelledBox(dataset.classes[label], _edges(box))
            for label, box in zip(record.classes, record.boxes, strict=True)
        ),
        *(
            LabelledBox(
                dataset.classes[found.classes[row]],
                _edges(found.boxes[row].clip(0, [record.width, record.height] * 2)),
                round(float(found.scores[row]), 4),
            )
            for row in rows
        ),
    ]
    return LabelledPicture(name, record.width, record.height, tuple(boxes))


def _edges(box: np.typing.NDArray[np.floating]) -> Edges:
    x1, y1, x2, y2 = (round(float(value), 3) for value in box)
    return x1, y1, x2, y2


def _cards(
    dataset: Dataset,
    matches: Matches,
    errors: Sequence[LabelError],
    names: dict[int, str],
) -> Iterator[Card]:
    """Draw each error in its surroundings; skip images that cannot be read."""
    found, objects, classes = matches.found, matches.objects, matches.classes
    for error in errors:
        row, image = error.detection, int(found.images[error.detection])
        record = dataset.records[image]
        try:
            pixels = read_annotated(record.path, (record.width, record.height)).pixels
        except ImageError:
            continue
        box, label = found.boxes[row], classes[found.classes[row]]
        doubted = objects.boxes[error.object] if error.object >= 0 else None
        own = "" if doubted is None else classes[objects.classes[error.object]]
        text = (
            f"{label} {found.scores[row]:.2f}, "
            + {
                "missing": "without a label",
                "wrong": f"labelled {own}",
                "loose": f"IoU {matches.counted_overlap[row]:.2f} with its label",
            }[error.kind]
        )
        jpeg = _picture(pixels, record, box, label, doubted, own)
        yield Card(error.kind, label, text, names[image], jpeg)


def _picture(
    pixels: Picture,
    record: Record,
    box: np.typing.NDArray[np.floating],
    label: str,
    doubted: np.typing.NDArray[np.floating] | None,
    own: str,
) -> str:
    """Cut out the boxes with their surroundings: detection, its object, the others."""
    around = box if doubted is None else np.stack([box, doubted])
    low = around.reshape(-1, 4)[:, :2].min(0)
    high = around.reshape(-1, 4)[:, 2:].max(0)
    margin = max(_MARGIN * float((high - low).max()), 60)
    x1, y1 = np.maximum(low - margin, 0).astype(int)
    x2, y2 = (high + margin).astype(int)
    cut = shrunk(np.ascontiguousarray(pixels[y1:y2, x1:x2]), _SIDE)
    scale = cut.shape[1] / pixels[y1:y2, x1:x2].shape[1]
    boxes, texts, colors = [box], [label], [_FOUND]
    if doubted is not None:
        boxes, texts, colors = [*boxes, doubted], [*texts, own], [*colors, _DOUBTED]
    others = [b for b in record.boxes if doubted is None or not np.allclose(b, doubted)]
    drawn = draw_boxes(
        cut,
        (np.array([*boxes, *others]) - [x1, y1, x1, y1]) * scale,
        labels=[*texts, *[""] * len(others)],
        colors=[*colors, *[_OTHER] * len(others)],
    )
    return jpeg_text(drawn, 80)
