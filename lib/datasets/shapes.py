"""A synthetic data set in VOC layout, for training without other data.

`shapes_scene.py` draws one image; this file draws the set, writes it and reads it. Each
image is seeded by (seed, split, index), so it does not depend on the images before it.
Outlines and keypoints, for which VOC's files have no place, are in one file in COCO
layout for each split.
"""

import contextlib
import itertools
import json
import os
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from ..utils.distributed.rank import usable_cores
from .formats.coco import read_coco
from .formats.voc import read_voc
from .index.indexed_records import as_records
from .joining import with_columns
from .records import Dataset, Wanted
from .shapes_outlines import coco_annotations, coco_categories
from .shapes_scene import CLASSES, Scene, draw_scene

VERSION = 8
"""Incremented when the drawing changes, so that older folders are drawn again."""
SEED = 20150604
_SPLITS = ("train", "test")
_JPEG_QUALITY = 90
_WORTH_A_PROCESS = 200  # images, a second of drawing


def generate(
    folder: Path, *, train_images: int = 1500, test_images: int = 200, seed: int = SEED
) -> None:
    """Draw the data set into `folder`, all of it or nothing.

    The files are written into a hidden folder beside `folder`, which is then renamed in
    one step. A folder of another version, seed or count is replaced; a current one,
    which another process may have drawn in the meantime, is kept.

    Raises:
        ValueError: a count is negative, or `folder` holds something else.
        OSError: the files cannot be written there.
    """
    facts = _facts(train_images, test_images, seed)
    for key in ("train_images", "test_images", "seed"):
        if facts[key] < 0:
            raise ValueError(
                f"shapes: expected {key} of 0 or more, found {facts[key]}; raise it"
            )
    _refuse_foreign(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=folder.parent, prefix=f".{folder.name}-"
    ) as temporary:
        fresh = Path(temporary) / "fresh"
        counts = dict(zip(_SPLITS, (train_images, test_images), strict=True))
        _write(fresh, counts, seed)
        (fresh / "generator.json").write_text(json.dumps(facts, indent=2) + "\n")
        for attempt in range(8):
            try:
                os.replace(fresh, folder)
                return
            except OSError as error:
                refusal = error  # a filled folder cannot be replaced, only moved away
            if is_current(
                folder, train_images=train_images, test_images=test_images, seed=seed
            ):
                return
            _refuse_foreign(folder)
            # Another process may just have moved it: then the next try succeeds.
            with contextlib.suppress(FileNotFoundError):
                os.replace(folder, Path(temporary) / f"old{attempt}")
        raise refusal


def read(folder: Path, split: str, wanted: Wanted) -> Dataset:
    """Read a split of the data set, with masks and keypoints if they are wanted."""
    name = f"shapes_{split}"
    found = read_voc(folder, split, name=name, classes=sorted(CLASSES))
    if not any(wanted):
        return found
    file = _instances_file(folder, split)
    outlined = read_coco(file, folder / "JPEGImages", name=name, wanted=wanted)
    (part,) = as_records(outlined.records).parts
    columns = part.index.columns
    names = {"masks", "mask_bytes", "keypoints"} & {*columns}
    return with_columns(
        replace(found, has_masks=outlined.has_masks, keypoints=outlined.keypoints),
        {each: columns[each] for each in names},
    )


def _instances_file(folder: Path, split: str) -> Path:
    return folder / f"instances_{split}.json"


def is_current(
    folder: Path, *, train_images: int = 1500, test_images: int = 200, seed: int = SEED
) -> bool:
    """Return whether `folder` holds this many images of this version, all present."""
    try:
        found = json.loads((folder / "generator.json").read_text())
    except (OSError, ValueError):
        return False
    if found != _facts(train_images, test_images, seed):
        return False
    if not all(_instances_file(folder, split).is_file() for split in _SPLITS):
        return False
    return all(
        sum(1 for _ in (folder / place).glob(pattern)) == train_images + test_images
        for place, pattern in (("JPEGImages", "*.jpg"), ("Annotations", "*.xml"))
    )


def _facts(train_images: int, test_images: int, seed: int) -> dict[str, int]:
    """Return the content of generator.json: everything that determines the files."""
    return {
        "version": VERSION,
        "seed": seed,
        "train_images": train_images,
        "test_images": test_images,
    }


def _refuse_foreign(folder: Path) -> None:
    """Raise ValueError if `folder` has content that this generator has not written."""
    made_here = (folder / "generator.json").is_file()
    empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not (made_here or empty):
        raise ValueError(
            f"shapes: expected {folder} to be absent, empty or drawn by this generator "
            "(with a generator.json), found something else; move it or name another "
            "folder"
        )


def _write(folder: Path, counts: dict[str, int], seed: int) -> None:
    """Write the VOC tree; files are numbered through all splits, from 000001."""
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    seeds = [
        (seed, split, index)
        for split, count in enumerate(counts.values())
        for index in range(count)
    ]
    stems = [f"{number:06d}" for number in range(1, len(seeds) + 1)]
    processes = min(usable_cores(), len(seeds) // _WORTH_A_PROCESS)
    if processes > 1:
        with ProcessPoolExecutor(processes) as pool:
            done = [*pool.map(partial(_draw, folder), stems, seeds, chunksize=25)]
    else:
        done = [*map(partial(_draw, folder), stems, seeds)]
    rest = iter(done)
    for name, count in counts.items():
        images, objects = [], []
        for image, own in itertools.islice(rest, count):
            images.append(image)
            objects += own
        for number, entry in enumerate(objects, start=1):
            entry["id"] = number
        lines = "".join(f"{image['id']:06d}\n" for image in images)
        (folder / "ImageSets" / "Main" / f"{name}.txt").write_text(lines)
        content = {
            "images": images,
            "categories": coco_categories(),
            "annotations": objects,
        }
        _instances_file(folder, name).write_text(json.dumps(content) + "\n")


def _draw(
    folder: Path, stem: str, seed: Sequence[int]
) -> tuple[dict[str, object], list[dict[str, object]]]:
    """Write one image and its annotation; return its entries for COCO's layout."""
    scene = draw_scene(np.random.default_rng(seed))
    _, data = cv2.imencode(
        ".jpg", scene.pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    image = folder / "JPEGImages" / f"{stem}.jpg"
    image.write_bytes(data.tobytes())
    annotation = folder / "Annotations" / f"{stem}.xml"
    annotation.write_bytes(_voc_xml(image.name, scene))
    height, width = scene.pixels.shape[:2]
    entry = {"id": int(stem), "file_name": image.name, "width": width, "height": height}
    return entry, [*coco_annotations(scene, int(stem))]


def _voc_xml(filename: str, scene: Scene) -> bytes:
    """Write an annotation in the format of VOC 2007."""
    root = ET.Element("annotation")
    ET.SubElement(root, "folder").text = "shapes"
    ET.SubElement(root, "filename").text = filename
    height, width = scene.pixels.shape[:2]
    size = ET.SubElement(root, "size")
    depth = 3 if scene.pixels.ndim == 3 else 1
    for key, value in (("width", width), ("height", height), ("depth", depth)):
        ET.SubElement(size, key).text = str(value)
    ET.SubElement(root, "segmented").text = "0"
    for drawn in scene.objects:
        node = ET.SubElement(root, "object")
        ET.SubElement(node, "name").text = drawn.name
        ET.SubElement(node, "pose").text = "Unspecified"
        ET.SubElement(node, "truncated").text = str(int(drawn.truncated))
        ET.SubElement(node, "difficult").text = str(int(drawn.difficult))
        corners = ET.SubElement(node, "bndbox")
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), drawn.box, strict=True):
            ET.SubElement(corners, key).text = str(value)
    ET.indent(root, "\t")
    return ET.tostring(root) + b"\n"
