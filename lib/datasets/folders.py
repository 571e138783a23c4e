"""A folder of the user's: which layout it has, and which files a split of it is.

VOC     Annotations/*.xml, ImageSets/Main/*.txt, JPEGImages/
COCO    annotations/instances_*.json and folders of images
YOLO    data.yaml, or images/<split>/ and labels/<split>/
"""

from pathlib import Path
from typing import Literal, NamedTuple

from .foreign import foreign_format
from .formats.voc import VOC_CLASSES, image_lists
from .formats.yolo_folder import is_yolo, open_yolo
from .records import MissingDataError

Split = Literal["train", "test"]
Layout = Literal["voc", "coco", "yolo"]


class Found(NamedTuple):
    """What a folder was recognised as.

    Attributes:
        layout: of its files.
        folder: that has it; inside the one named, if that is a VOCdevkit.
        classes: of a VOCdevkit, the published ones; else None: the data tells.
    """

    layout: Layout
    folder: Path
    classes: tuple[str, ...] | None = None


def recognise(folder: Path) -> Found:
    """Tell the layout of a folder.

    Raises:
        ValueError: it has none of the layouts, or more than one.
    """
    # By exact name: where file names have no case, annotations is Annotations.
    there = sorted(entry.name for entry in folder.iterdir())
    signs: dict[Layout, str | None] = {
        "coco": "annotations/*.json" if coco_files_of(folder) else None,
        "voc": "Annotations/" if "Annotations" in there else None,
        "yolo": is_yolo(folder),
    }
    found = {layout: sign for layout, sign in signs.items() if sign}
    if len(found) > 1:
        layouts = " and ".join(f"{s} ({n.upper()} layout)" for n, s in found.items())
        raise ValueError(
            f"{folder}: expected one layout, found {layouts}; move all but one out, or "
            "link what belongs to it into a folder of its own"
        )
    for layout in found:
        return Found(layout, folder)
    for year in ("VOC2007", "VOC2012"):
        inside = devkit_folder(folder) / year
        if inside.is_dir():
            return Found("voc", inside, VOC_CLASSES)
    seen = foreign_format(folder) or (
        f"{', '.join(there[:8]) or 'an empty folder'}; see docs/own_data.md"
    )
    raise ValueError(
        f"{folder}: expected Annotations/ and ImageSets/ (VOC layout), a VOCdevkit, "
        "annotations/*.json (COCO layout), or data.yaml or labels/ (YOLO layout), "
        f"found {seen}"
    )


def devkit_folder(root: Path) -> Path:
    """Give the folder that holds VOC2007 and VOC2012, or is to hold them."""
    years = [root / "VOC2007", root / "VOC2012"]
    return root if any(year.is_dir() for year in years) else root / "VOCdevkit"


def coco_folder(root: Path) -> Path:
    """Give the folder that holds COCO's annotations, or is to hold them."""
    return root if coco_files_of(root) else root / "coco"


def coco_files_of(folder: Path) -> list[str]:
    """Name the JSON files of a folder in COCO layout, sorted."""
    found = (folder / "annotations").glob("*.json")
    return sorted(path.name for path in found if path.name[0] != ".")


def voc_split(folder: Path, split: Split) -> str:
    """Choose the list: trainval and test, or train and val where there is no test.

    Raises:
        ValueError: there is none that will do.
    """
    there = image_lists(folder)
    if "test" in there:
        wanted = ["test"] if split == "test" else ["trainval", "train"]
    else:  # never trainval here, which would train on the images of the test
        wanted = ["val"] if split == "test" else ["train"]
    for choice in wanted:
        if choice in there:
            return choice
    raise ValueError(
        f"{folder / 'ImageSets' / 'Main'}: expected trainval.txt or train.txt together "
        "with test.txt, or train.txt with val.txt, found "
        f"{', '.join(f'{t}.txt' for t in there) or 'no list'}; write image names, one "
        "per line, into the missing one"
    )


def yolo_split(folder: Path, split: Split) -> str:
    """Choose the split: train; and val, or test where there is no val.

    Raises:
        ValueError: there is none that will do.
    """
    yolo = open_yolo(folder)
    for choice in ("train",) if split == "train" else ("val", "test"):
        if choice in yolo.splits:
            return choice
    wanted = "train" if split == "train" else "val or test"
    raise ValueError(
        f"{yolo.settings or folder}: expected a split {wanted}, found "
        f"{', '.join(yolo.splits) or 'none'}; name its images in data.yaml, or put "
        f"them into images/{wanted.split()[0]}"
    )


def coco_annotations(folder: Path, split: Split) -> Path:
    """Choose the instances file; of several years the last.

    Raises:
        ValueError: there is none that will do.
    """
    there = coco_files_of(folder)
    for kind in ("train",) if split == "train" else ("val", "test"):
        chosen = [f for f in there if f.startswith(f"instances_{kind}")]
        if chosen:
            return folder / "annotations" / chosen[-1]
    kinds = "train" if split == "train" else "val*.json or instances_test"
    raise ValueError(
        f"{folder / 'annotations'}: expected instances_{kinds}*.json, found "
        f"{', '.join(there)}; rename or add the file"
    )


def coco_images(annotations: Path, images: str = "") -> Path:
    """Find the image folder that belongs to an annotation file.

    Args:
        annotations: the file.
        images: name of the folder; "" for that in instances_<name>.json.

    Raises:
        MissingDataError: it is not there.
    """
    folder = annotations.parent.parent
    images = images or annotations.stem.removeprefix("instances_")
    places = [folder / images, folder / "images" / images, folder / "images"]
    for place in places:
        if place.is_dir():
            return place
    raise MissingDataError(
        f"{annotations}: expected its images in {' or '.join(map(str, places))}, found "
        "no such folder; unpack them there"
    )
