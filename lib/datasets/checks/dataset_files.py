"""Where the files of a data set are: all its splits, in whichever layout."""

from pathlib import Path

from ...utils.errors import MissingDataError
from ..catalog import load_dataset
from ..folders import coco_files_of, coco_images, recognise
from ..formats.voc import VOC_CLASSES, image_lists
from ..formats.yolo_folder import open_yolo
from ..published import COCO_SETS, VOC_SETS, coco_file, voc_files
from .entries import SPLITS, Source


def find_sources(names: list[str], *, root: Path) -> list[Source]:
    """Find the files of the sets that a run would train and test on.

    Args:
        names: of sets, or folders' paths, or several of them joined by +. A folder
            gives all its splits.
        root: the folder that holds VOCdevkit, coco and shapes.

    Raises:
        ValueError: an unknown set, no folder, or one without a layout.
    """
    sources: dict[Source, None] = {}
    for name in _parts(names):
        folder = Path(name).expanduser()
        for found in _folder(folder) if folder.is_dir() else [_known(name, root)]:
            sources[found] = None
    return _join_lists(list(sources))


def _parts(names: list[str]) -> list[str]:
    parts: list[str] = []
    for name in names:
        is_one = Path(name).expanduser().is_dir()
        parts += [name] if is_one else name.split("+")
    return parts


def _known(name: str, root: Path) -> Source:
    if name in VOC_SETS:
        split = VOC_SETS[name].split
        return Source("voc", voc_files(name, root), (split,), classes=VOC_CLASSES)
    if name in COCO_SETS:
        _, images, side = COCO_SETS[name]
        return _coco(coco_file(name, root), side, images)
    if name in ("shapes_train", "shapes_test"):
        load_dataset(name, root=root, split="train")  # draws it where it is not there
        return Source("voc", root / "shapes", (name.removeprefix("shapes_"),))
    raise ValueError(
        f"unknown data set {name!r}; expected a set such as voc_2007_trainval, "
        "coco_2017_val or shapes_train, or the path of a folder (one added in code has "
        "no files that could be checked)"
    )


def _folder(folder: Path) -> list[Source]:
    """All splits of a folder of the user's."""
    layout, inside, classes = recognise(folder)
    if layout == "coco":
        return _coco_files(inside)
    if layout == "yolo":
        return [_yolo(inside)]
    # Of a folder with both years the first, which is the one that is trained on.
    return [_voc(inside, classes)]


def _coco_files(folder: Path) -> list[Source]:
    chosen = {}
    for split in ("train", "val", "test"):
        # Of several years the last, which is the one that is trained on.
        for file in coco_files_of(folder):
            if file.startswith(f"instances_{split}"):
                chosen[split] = folder / "annotations" / file
    if not chosen:
        raise ValueError(
            f"{folder / 'annotations'}: expected instances_train*.json and "
            "instances_val*.json, found neither; rename the files"
        )
    return [_coco(file, split) for split, file in chosen.items()]


def _voc(folder: Path, classes: tuple[str, ...] | None) -> Source:
    lists = tuple(split for split in SPLITS if split in image_lists(folder))
    if not lists:
        raise ValueError(
            f"{folder / 'ImageSets' / 'Main'}: expected train.txt, val.txt, "
            "trainval.txt or test.txt, found none; write image names, one per line"
        )
    return Source("voc", folder, lists, classes=classes)


def _yolo(folder: Path) -> Source:
    yolo = open_yolo(folder)
    splits = tuple(split for split in SPLITS if split in yolo.splits)
    if not splits:
        raise ValueError(
            f"{yolo.settings or folder}: expected splits train and val, found none; "
            "name their images in data.yaml, or put them into images/train and "
            "images/val"
        )
    return Source("yolo", folder, splits)


def _coco(annotations: Path, split: str, images: str = "") -> Source:
    try:
        place = coco_images(annotations, images)
    except MissingDataError:  # each image is reported
        name = images or annotations.stem.removeprefix("instances_")
        place = annotations.parent.parent / name
    return Source("coco", place, (split,), annotation_file=annotations)


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
