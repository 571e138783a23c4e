"""The published data sets: their names, and their files below a data root."""

from pathlib import Path
from typing import NamedTuple

from ..utils.errors import MissingDataError
from .folders import coco_folder, devkit_folder
from .formats.voc import image_lists, list_file


class VocSet(NamedTuple):
    """A set of PASCAL VOC."""

    year: str  # year of the challenge
    split: str  # name of the image list
    # whether difficult objects count as ordinary ones, in training and in evaluation
    # (`_diff` in tf-faster-rcnn)
    difficult_counts: bool


class CocoSet(NamedTuple):
    """A set of COCO."""

    annotations: str  # name of the annotation file, without ``.json``
    images: str  # name of the folder of images
    side: str  # split of the set, for the check that splits share no image


VOC_SETS = {
    f"voc_{year}_{split}{ending}": VocSet(year, split, bool(ending))
    for year in ("2007", "2012")
    for split in ("train", "val", "trainval", "test")
    for ending in ("", "_diff")
}

COCO_SETS = {
    "coco_2014_train": CocoSet("instances_train2014", "train2014", "train"),
    "coco_2014_val": CocoSet("instances_val2014", "val2014", "val"),
    # The 5000 images of val2014 to test on, and its other 35504 to train on.
    "coco_2014_minival": CocoSet("instances_minival2014", "val2014", "val"),
    "coco_2014_valminusminival": CocoSet(
        "instances_valminusminival2014", "val2014", "train"
    ),
    "coco_2017_train": CocoSet("instances_train2017", "train2017", "train"),
    "coco_2017_val": CocoSet("instances_val2017", "val2017", "val"),
    # The ground truth of the test sets is on the evaluation server only.
    **{
        f"coco_{year}_{split}": CocoSet(
            f"image_info_{split}{year}", f"test{year}", "test"
        )
        for year in ("2015", "2017")
        for split in ("test", "test-dev")
    },
}


def voc_files(name: str, root: Path) -> Path:
    """Find the folder of a set of VOC, such as VOCdevkit/VOC2007.

    Raises:
        MissingDataError: the image list of the set is missing.
    """
    year, split, _ = VOC_SETS[name]
    folder = devkit_folder(root) / f"VOC{year}"
    if split not in image_lists(folder):
        raise _missing(name, list_file(folder, split), "VOCdevkit")
    return folder


def coco_file(name: str, root: Path, *, keypoints: bool = False) -> Path:
    """Find the annotation file of a set of COCO: for keypoints, that of persons.

    Raises:
        MissingDataError: the file is missing.
    """
    stem = COCO_SETS[name].annotations
    if keypoints:
        stem = stem.replace("instances_", "person_keypoints_")
    file = coco_folder(root) / "annotations" / f"{stem}.json"
    if not file.is_file():
        raise _missing(name, file, "coco")
    return file


def _missing(name: str, file: Path, holder: str) -> MissingDataError:
    return MissingDataError(
        f"{name}: expected {file}, not found; unpack the data set so that this file "
        f"exists, or give the folder that holds {holder} as data.root"
    )
