"""Where the files of a data set are: all its splits, in whichever layout."""

import re
from pathlib import Path

from ..catalog import coco_folder, devkit_folder, load_dataset
from ..formats.voc import VOC_CLASSES, image_lists
from .entries import SPLITS, Source

_YEARS = ("VOC2007", "VOC2012")


def find_sources(names: list[str], *, root: Path) -> list[Source]:
    """Find the files of the sets that a run would train and test on.

    Args:
        names: of sets, or a folder's path. A folder gives all its splits.
        root: the folder that holds VOCdevkit, coco and shapes.

    Raises:
        ValueError: an unknown set, no folder, or one in neither layout.
    """
    sources: dict[Source, None] = {}
    for name in names:
        folder = Path(name).expanduser()
        for found in _folder(folder) if folder.is_dir() else [_known(name, root)]:
            sources[found] = None
    return _join_lists(list(sources))


def _known(name: str, root: Path) -> Source:
    match = re.fullmatch(r"(voc|coco)_(\d{4})_(\w+)|shapes_(train|test)", name)
    if match is None:
        raise ValueError(
            f"unknown data set {name!r}; expected a set such as voc_2007_trainval, "
            "coco_2017_val or shapes_train, or the path of a folder"
        )
    layout, year, split, shapes_split = match.groups()
    if layout is None:
        load_dataset(name, root=root, split="train")  # draws it where it is not there
        return Source("voc", root / "shapes", (shapes_split,))
    if layout == "coco":
        annotations = (
            coco_folder(root) / "annotations" / f"instances_{split}{year}.json"
        )
        return _coco(annotations, split)
    folder = devkit_folder(root) / f"VOC{year}"
    if split not in image_lists(folder):
        raise ValueError(
            f"{name}: expected {folder / 'ImageSets' / 'Main' / split}.txt, not found; "
            "unpack the data set there, or set data.root"
        )
    return Source("voc", folder, (split,), classes=VOC_CLASSES)


def _folder(folder: Path) -> list[Source]:
    """All splits of a folder of the user's; COCO goes first, as in the catalog."""
    files = sorted((folder / "annotations").glob("*.json"))
    if files:
        chosen = {}
        for split in ("train", "val", "test"):
            # Of several years the last, which is the one that is trained on.
            for file in files:
                if file.name.startswith(f"instances_{split}"):
                    chosen[split] = file
        if not chosen:
            raise ValueError(
                f"{folder / 'annotations'}: expected instances_train*.json and "
                "instances_val*.json, found neither; rename the files"
            )
        return [_coco(file, split) for split, file in chosen.items()]
    if (folder / "Annotations").is_dir():
        return [_voc(folder, None)]
    years = [devkit_folder(folder) / year for year in _YEARS]
    found = [_voc(year, VOC_CLASSES) for year in years if year.is_dir()]
    if not found:
        raise ValueError(
            f"{folder}: expected Annotations/ and ImageSets/ (VOC layout), a "
            "VOCdevkit, or annotations/*.json (COCO layout), found none of them"
        )
    return found[:1]  # a folder with both years is trained on the first


def _voc(folder: Path, classes: tuple[str, ...] | None) -> Source:
    lists = tuple(split for split in SPLITS if split in image_lists(folder))
    if not lists:
        raise ValueError(
            f"{folder / 'ImageSets' / 'Main'}: expected train.txt, val.txt, "
            "trainval.txt or test.txt, found none; write image names, one per line"
        )
    return Source("voc", folder, lists, classes=classes)


def _coco(annotations: Path, split: str) -> Source:
    if not annotations.is_file():
        raise ValueError(
            f"{annotations}: expected COCO annotations, not found; unpack the data set "
            "there, or set data.root"
        )
    folder = annotations.parent.parent
    images = annotations.stem.removeprefix("instances_")
    places = [folder / images, folder / "images" / images, folder / "images"]
    for place in places:
        if place.is_dir():
            return Source("coco", place, (split,), annotation_file=annotations)
    return Source("coco", places[0], (split,), annotation_file=annotations)


def _join_lists(sources: list[Source]) -> list[Source]:
    """Make lists of one VOC folder one source, so that each image is one entry."""
    joined: dict[tuple[Path, Path | None], Source] = {}
    for source in sources:
        key = (source.folder, source.annotation_file)
        splits = (*joined[key].splits, *source.splits) if key in joined else ()
        joined[key] = Source(
            source.layout,
            source.folder,
            tuple(dict.fromkeys(splits or source.splits)),
            source.annotation_file,
            source.classes,
        )
    return list(joined.values())
