"""Label Studio's JSON of tasks: read, and written with predictions for import."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from ...utils.files import write_atomic
from ...utils.untrusted.json_files import read_json
from .objects import LabelledBox, LabelledPicture, Object, Objects, outlined, turned

_LOCAL = "/data/local-files/?d="
"""How Label Studio names a file below its folder of local files."""


def read_label_studio(path: Path) -> Objects:
    """Read a task's annotation, or its prediction if nobody has annotated it.

    Rectangles, which may be turned, and polygons are read.
    """
    content = read_json(path, expected="Label Studio's JSON", remedy="export it again")
    for task in content if isinstance(content, list) else ():
        data = task.get("data") if isinstance(task, dict) else None
        if not isinstance(data, dict):
            return
        name = _name(data)
        if name is None:
            continue
        yield name, None
        done = [
            each
            for each in task.get("annotations") or ()
            if not each.get("was_cancelled")
        ]
        for region in (done or task.get("predictions") or [{}])[0].get("result") or ():
            found = _region(region)
            if found is not None:
                yield name, found


def _name(data: dict[str, Any]) -> str | None:
    """Return a picture's path; without the prefix that an upload adds to its name."""
    texts = [data.get("image"), *data.values()]
    url = next((text for text in texts if isinstance(text, str) and text), None)
    if url is None:
        return None
    parts = urlsplit(url)
    local = parse_qs(parts.query).get("d")
    name = local[0] if local else unquote(parts.path)
    return re.sub(r"(/upload/(?:.*/)?)[0-9a-f]{8}-", r"\1", name)


def _region(region: dict[str, Any]) -> Object | None:
    """Convert a region from percent of its picture to pixels."""
    value = region.get("value") or {}
    labels = value.get(region.get("type")) or ["object"]
    wide, high = (float(region[f"original_{key}"]) / 100 for key in ("width", "height"))
    if region.get("type") == "rectanglelabels":
        x, y, width, height = (float(value[k]) for k in ("x", "y", "width", "height"))
        edges = (x * wide, y * high, (x + width) * wide, (y + height) * high)
        degrees = float(value.get("rotation") or 0)
        return turned(str(labels[0]), edges, degrees, edges[:2])
    if region.get("type") != "polygonlabels":
        return None
    xs = [float(x) * wide for x, _ in value["points"]]
    ys = [float(y) * high for _, y in value["points"]]
    return outlined(str(labels[0]), xs, ys)


def write_label_studio(
    path: Path, pictures: Iterable[LabelledPicture], classes: Sequence[str]
) -> None:
    """Write tasks: what a person drew as annotations, what was found as predictions.

    Pictures are named as files below Label Studio's folder of local files. The
    labelling interface needs an ``Image`` named image and ``RectangleLabels`` named
    label.
    """
    tasks = []
    for picture in pictures:
        drawn = [box for box in picture.boxes if box.score is None]
        found = [box for box in picture.boxes if box.score is not None]
        task: dict[str, Any] = {"data": {"image": _LOCAL + quote(picture.name)}}
        if drawn:
            task["annotations"] = [{"result": _results(drawn, picture)}]
        if found:
            task["predictions"] = [{"result": _results(found, picture)}]
        tasks.append(task)
    write_atomic(path, json.dumps(tasks, indent=1) + "\n")


def _results(
    boxes: Sequence[LabelledBox], picture: LabelledPicture
) -> list[dict[str, Any]]:
    rows = []
    for number, box in enumerate(boxes):
        x1, y1, x2, y2 = box.edges
        wide, high = 100 / picture.width, 100 / picture.height
        row = {
            "id": f"box{number}",
            "type": "rectanglelabels",
            "from_name": "label",
            "to_name": "image",
            "original_width": picture.width,
            "original_height": picture.height,
            "value": {
                "x": x1 * wide,
                "y": y1 * high,
                "width": (x2 - x1) * wide,
                "height": (y2 - y1) * high,
                "rotation": 0,
                "rectanglelabels": [box.label],
            },
        }
        rows.append(row if box.score is None else {**row, "score": box.score})
    return rows
