"""Tables of boxes, and other files of objects.

CSV, VIA, CVAT, Label Studio, KITTI, VisDrone, WIDER FACE.

Each is read into objects per picture and written as COCO's JSON.
"""

import csv
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...utils.untrusted.json_files import read_json
from ..formats.values import read_lines
from ..loading.images import image_size
from ..origins import write_derived
from ..splitting import split_in
from .cvat import read_cvat
from .export import (
    Export,
    Splitter,
    chosen_splits,
    files_with,
    images_in,
    link,
    subfolders,
)
from .label_studio import read_label_studio
from .objects import Object, Objects, coco_row, outlined


class _Format(NamedTuple):
    name: str
    pattern: str  # of the files, in the folder or one below
    inside: str  # text near the start of such a file
    read: Callable[[Path], Objects]


def find_tables(folder: Path) -> Export | None:
    """Recognise a table of boxes with its pictures; see the module's description."""
    inside = [folder, *subfolders(folder)]
    for form in _FORMATS:
        files = list(files_with(inside, form.pattern, form.inside, limit=None))
        if not files:
            continue
        pictures = _pictures([*inside, *(s for p in inside[1:] for s in subfolders(p))])
        sets: dict[str, dict[Path, list[Object]]] = {}
        for path in files:
            split = split_in(path.stem) or split_in(path.parent.name)
            own = sets.setdefault(split, {})
            for name, found in _objects(form, path):
                picture = _named(pictures, name, path.parent)
                if picture is not None:
                    own.setdefault(picture, []).extend([found] if found else [])
        sets = {split: own for split, own in sets.items() if any(own.values())}
        if sets:
            return _export(form.name, files, sets)
    return None


def _objects(form: _Format, path: Path) -> Objects:
    """Read a file; raise ValueError if it has another structure than its format."""
    try:
        yield from form.read(path)
    except _MALFORMED as error:
        if str(path) in str(error):
            raise
        raise ValueError(
            f"{path}: expected {form.name}, cannot read it ({error!r}); export it again"
        ) from error


_MALFORMED = (LookupError, TypeError, AttributeError, ValueError, csv.Error)


def _numbers(words: Iterable[str]) -> list[float]:
    """Parse words as finite numbers; return none if one is anything else."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        return []
    return values if all(map(math.isfinite, values)) else []


def _export(
    name: str, files: list[Path], sets: Mapping[str, Mapping[Path, list[Object]]]
) -> Export:
    pictures = [path for own in sets.values() for path in own]

    def write(view: Path, splitter: Splitter) -> None:
        items = {split: list(own.items()) for split, own in sets.items()}
        labels = {o.label for own in sets.values() for os in own.values() for o in os}
        ids = {label: number for number, label in enumerate(sorted(labels), start=1)}
        for split, own in chosen_splits(items, splitter, pictures).items():
            content = _coco(own, ids, view / "images" / split)
            place = view / "annotations" / f"instances_{split}.json"
            named = [path for path in files if split_in(path.stem) == split] or files
            origin = named[0] if len(named) == 1 else named[0].parent
            write_derived(place, json.dumps(content), origin)

    return Export(name, [*files, *pictures], len(sets) > 1, write)


def _coco(
    items: Iterable[tuple[Path, list[Object]]], ids: Mapping[str, int], folder: Path
) -> dict[str, Any]:
    """Make COCO's tables, and link the pictures into a folder."""
    images, annotations = list[dict[str, Any]](), list[dict[str, Any]]()
    for number, (path, objects) in enumerate(items, start=1):
        name = path.name
        if (folder / name).is_symlink():
            name = f"{number}_{name}"
        link(folder / name, path)
        images.append({"id": number, "file_name": name})
        for found in objects:
            x1, y1, x2, y2 = found.edges
            if found.share:
                width, height = image_size(path)
                x1, x2, y1, y2 = x1 * width, x2 * width, y1 * height, y2 * height
            edges, place = (x1, y1, x2, y2), len(annotations) + 1
            row = coco_row(place, number, ids[found.label], edges)
            if found.outline:
                row["segmentation"] = [list(found.outline)]
            annotations.append(row)
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def _pictures(folders: Iterable[Path]) -> dict[str, list[Path]]:
    """Return the pictures of folders by name, and by name without suffix."""
    found: dict[str, list[Path]] = {}
    for folder in dict.fromkeys(folders):
        for name, path in images_in(folder).items():
            found.setdefault(name, []).append(path)
            found.setdefault(path.stem, []).append(path)
    return found


def _named(pictures: Mapping[str, list[Path]], name: str, near: Path) -> Path | None:
    """Find a picture by name; of several, the one nearest to a folder."""
    parts = name.replace("\\", "/").split("/")
    choices = pictures.get(parts[-1], [])

    def rank(path: Path) -> tuple[bool, bool]:
        named = len(parts) > 1 and path.parent.name == parts[-2]
        return named, path.parent == near

    return max(choices, key=rank, default=None)


_COLUMNS = {
    "image": "filename file_name image_path img_path path image image_name img_name "
    "image_id imageid img file frame",
    "label": "class label class_name labelname name category class_label class_id",
    "x1": "xmin x_min x1 left bbox_xmin bbox_x1",
    "y1": "ymin y_min y1 top bbox_ymin bbox_y1",
    "x2": "xmax x_max x2 right bbox_xmax bbox_x2",
    "y2": "ymax y_max y2 bottom bbox_ymax bbox_y2",
    "x": "x bbox_x box_x",
    "y": "y bbox_y box_y",
    "width": "width w bbox_width box_width bbox_w",
    "height": "height h bbox_height box_height bbox_h",
    "bbox": "bbox box boxes bounding_box",
}
"""Names of columns in tables of the web, in lower case."""


_CORNERS, _SIDES = ("x1", "y1", "x2", "y2"), ("x", "y", "width", "height")


def _read_csv(path: Path) -> Objects:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        given = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
        column = {
            key: given[found]
            for key, names in _COLUMNS.items()
            if (found := next((n for n in names.split() if n in given), None))
        }
        forms = [_CORNERS, _SIDES, ("bbox",)]
        keys = next((form for form in forms if {*form} <= column.keys()), None)
        if "image" not in column or keys is None:
            return
        for number, row in enumerate(rows, start=2):
            cell = {key: (row[name] or "").strip() for key, name in column.items()}
            texts = [cell[key] for key in keys]
            if keys == ("bbox",):
                texts = texts[0].strip("[]() ").replace(",", " ").split()
            if not any(texts):
                yield cell["image"], None
                continue
            values = _numbers(texts)
            if len(values) != 4:
                raise ValueError(
                    f"{path}: line {number}: expected the numbers of a box, found "
                    f"{dict(row)!r:.200}; correct it"
                )
            x1, y1, x2, y2 = values
            if keys != _CORNERS:
                x2, y2 = x1 + x2, y1 + y2
            share = max(x1, y1, x2, y2) <= 1
            label = cell.get("label", "object")
            yield cell["image"], Object(label, (x1, y1, x2, y2), share=share)


def _read_via(path: Path) -> Objects:
    content = read_json(path, expected="VIA's JSON", remedy="export it again")
    entries = content.get("_via_img_metadata", content)
    for entry in entries.values():
        if not isinstance(entry, dict) or "filename" not in entry:
            continue
        regions = entry.get("regions") or []
        regions = list(regions.values()) if isinstance(regions, dict) else regions
        name = str(entry["filename"])
        yield name, None
        for region in regions:
            found = _region(region)
            if found is not None:
                yield name, found


def _region(region: Mapping[str, Any]) -> Object | None:
    """Read VIA's rectangle, polygon, circle or ellipse; None for points and lines."""
    shape, attributes = region["shape_attributes"], region.get("region_attributes")
    label = next((_word(v) for v in (attributes or {}).values() if v), "object")
    kind = shape.get("name")
    if kind == "rect":
        x, y, width, height = (float(shape[k]) for k in ("x", "y", "width", "height"))
        return Object(label, (x, y, x + width, y + height))
    if kind in ("polygon", "polyline") and len(shape["all_points_x"]) > 2:
        xs, ys = shape["all_points_x"], shape["all_points_y"]
    elif kind in ("circle", "ellipse"):
        rx, ry = shape.get("rx", shape.get("r")), shape.get("ry", shape.get("r"))
        angles = [2 * math.pi * k / 32 for k in range(32)]
        xs = [shape["cx"] + rx * math.cos(angle) for angle in angles]
        ys = [shape["cy"] + ry * math.sin(angle) for angle in angles]
    else:
        return None
    return outlined(label, xs, ys)


def _word(value: Any) -> str:
    """Return the text of an attribute, or the chosen option of a checkbox."""
    if isinstance(value, Mapping):
        return next((str(key) for key, chosen in value.items() if chosen), "object")
    return str(value)


def _read_kitti(path: Path) -> Objects:
    yield path.stem, None
    for line in read_lines(path):
        words = line.split()
        values = _numbers(words[1:])
        if len(values) >= 14 and words[0] != "DontCare":
            x1, y1, x2, y2 = values[3:7]
            yield path.stem, Object(words[0], (x1, y1, x2, y2))


_VISDRONE = (
    *("pedestrian", "people", "bicycle", "car", "van", "truck", "tricycle"),
    *("awning-tricycle", "bus", "motor"),
)


def _read_visdrone(path: Path) -> Objects:
    yield path.stem, None
    for line in read_lines(path):
        values = _numbers(word for word in line.split(",") if word.strip())
        if len(values) == 8 and 1 <= values[5] <= len(_VISDRONE) and values[4]:
            x, y, width, height = values[:4]
            label = _VISDRONE[int(values[5]) - 1]
            yield path.stem, Object(label, (x, y, x + width, y + height))


def _read_wider(path: Path) -> Objects:
    name = ""
    for line in read_lines(path):
        values = _numbers(line.split())
        if line.strip().lower().endswith((".jpg", ".jpeg", ".png")):
            name = line.strip()
            yield name, None
        elif len(values) == 10 and values[7] == 0:  # not marked as invalid
            x, y, width, height = values[:4]
            if width > 0 and height > 0:
                yield name, Object("face", (x, y, x + width, y + height))


_FORMATS = (
    _Format("a table of boxes (CSV)", "*.csv", ",", _read_csv),
    _Format("VIA's JSON", "*.json", '"regions"', _read_via),
    _Format("CVAT's XML for images", "*.xml", "<annotations>", read_cvat),
    _Format("Label Studio's JSON", "*.json", '"data"', read_label_studio),
    _Format("WIDER FACE's lists", "*_bbx_gt.txt", "", _read_wider),
    _Format("KITTI's labels", "*.txt", " -10", _read_kitti),
    _Format("VisDrone's labels", "*.txt", ",", _read_visdrone),
)
