"""Pictures with boxes, written in the formats that labelling tools import."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ...utils.files import write_atomic
from .cvat import write_cvat
from .label_studio import write_label_studio
from .objects import LabelledPicture, coco_row


def write_coco(
    path: Path, pictures: Iterable[LabelledPicture], classes: Sequence[str]
) -> None:
    """Write COCO's tables; rows of what a detector found also have its ``score``."""
    ids = {name: number for number, name in enumerate(classes, start=1)}
    images, rows = list[dict[str, Any]](), list[dict[str, Any]]()
    for number, picture in enumerate(pictures, start=1):
        name, width, height, boxes = picture
        images.append(
            {"id": number, "file_name": name, "width": width, "height": height}
        )
        for box in boxes:
            found = {} if box.score is None else {"score": box.score}
            row = coco_row(len(rows) + 1, number, ids[box.label], box.edges, **found)
            rows.append(row)
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    content = {"images": images, "annotations": rows, "categories": categories}
    write_atomic(path, json.dumps(content, indent=1) + "\n")


LABEL_FILES: dict[
    str, tuple[str, Callable[[Path, Iterable[LabelledPicture], Sequence[str]], None]]
] = {
    "coco": ("coco.json", write_coco),
    "cvat": ("cvat.xml", write_cvat),
    "labelstudio": ("labelstudio.json", write_label_studio),
}
"""Name of the file, and its writer, by the word of ``--export``."""


def write_labels(
    folder: Path,
    formats: Iterable[str],
    pictures: Sequence[LabelledPicture],
    classes: Sequence[str],
) -> list[Path]:
    """Write pictures with boxes in each of some formats; return the files.

    Raises:
        OSError: a file cannot be written.
    """
    paths = []
    for form in dict.fromkeys(formats):
        name, write = LABEL_FILES[form]
        write(folder / name, pictures, classes)
        paths.append(folder / name)
    return paths
