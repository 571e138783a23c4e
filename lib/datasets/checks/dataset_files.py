"""Find the files of a data set, of all its splits and in any layout."""

from dataclasses import replace
from pathlib import Path

from ...utils.errors import MissingDataError
from ..catalog import load_dataset
from ..folders import coco_images, instances_files, recognise, split_of
from ..formats.labelme import labelme_splits
from ..formats.voc import VOC_CLASSES, image_lists
from ..formats.yolo_folder import open_yolo
from ..published import COCO_SETS, VOC_SETS, coco_file, voc_files
from .entries import SPLITS, Source


def find_sources(
    names: list[str], *, root: Path, keypoints: bool = False
) -> list[Source]:
    """Find the files of the sets that a run would train and test on.

    Args:
        names: names of sets, paths of folders, or several of these joined by +. All
            splits of a folder are included.
        keypoints: whether the run trains on keypoints, which COCO has in other files.

    Raises:
        ValueError: a set is unknown, or a folder has no layout.
    """
    # Lists of one VOC folder become one source, so that each image is one entry.
    sources: dict[tuple[Path, Path | None], Source] = {}
    for name in names:
        is_one = Path(name).expanduser().is_dir()
        for part in [name] if is_one else name.split("+"):
            folder = Path(part).expanduser()
            there = (
                _folder(folder, keypoints=keypoints)
                if folder.is_dir()
                else [_known(part, root, keypoints=keypoints)]
            )
            for found in there:
                key = (found.folder, found.annotation_file)
                splits = (*sources.get(key, found).splits, *found.splits)
                sources[key] = replace(found, splits=tuple(dict.fromkeys(splits)))
    return list(sources.values())


def _known(name: str, root: Path, *, keypoints: bool) -> Source:
    if name in VOC_SETS:
        split = VOC_SETS[name].split
        return Source("voc", voc_files(name, root), (split,), classes=VOC_CLASSES)
    if name in COCO_SETS:
        _, images, side = COCO_SETS[name]
        return _coco(coco_file(name, root, keypoints=keypoints), side, images)
    if name in ("shapes_train", "shapes_test"):
        load_dataset(name, root=root, split="train")  # draws it if it is missing
        return Source("voc", root / "shapes", (name.removeprefix("shapes_"),))
    raise ValueError(
        f"unknown data set {name!r}; expected a set such as voc_2007_trainval, "
        "coco_2017_val or shapes_train, or the path of a folder (one added in code has "
        "no files that could be checked)"
    )


def _folder(folder: Path, *, keypoints: bool) -> list[Source]:
    """Return the sources of all splits of a user's folder."""
    found = recognise(folder)
    if found.layout == "coco":
        return _coco_files(found.folder, keypoints=keypoints)
    if found.layout == "yolo":
        yolo = open_yolo(found.folder)
        place, there = yolo.settings or found.folder, list(yolo.splits)
        remedy = (
            "expected splits train and val, found none; name their images in "
            "data.yaml, or put them into images/train and images/val"
        )
    elif found.layout == "labelme":
        place, there = found.folder, list(labelme_splits(found.folder))
        remedy = "expected folders train and val, found neither"
    else:
        # Of a folder with both years, the first one is trained on.
        place, there = found.folder / "ImageSets" / "Main", image_lists(found.folder)
        remedy = (
            "expected train.txt, val.txt, trainval.txt or test.txt, found none; write "
            "image names, one per line"
        )
    splits = tuple(split for split in SPLITS if split in there)
    if not splits:
        raise ValueError(f"{place}: {remedy}")
    return [Source(found.layout, found.folder, splits, classes=found.classes)]


def _coco_files(folder: Path, *, keypoints: bool) -> list[Source]:
    found = {
        split: instances_files(folder, split, keypoints=keypoints)
        for split in ("train", "val", "test")
    }
    if not any(found.values()):
        raise ValueError(
            f"{folder / 'annotations'}: expected instances_train*.json and "
            "instances_val*.json, found neither; rename the files"
        )
    # Of several years, the last one is trained on.
    return [
        _coco(folder / "annotations" / files[-1], split)
        for split, files in found.items()
        if files
    ]


def _coco(annotations: Path, split: str, images: str = "") -> Source:
    try:
        place = coco_images(annotations, images)
    except MissingDataError:  # another check reports each image
        name = images or split_of(annotations)
        place = annotations.parent.parent / name
    return Source("coco", place, (split,), annotation_file=annotations)
