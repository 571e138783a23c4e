"""Which data sets there are, and where on disk each is looked for.

A data set is asked for in one of three ways:

    a word on the command line      shapes, voc, voc0712, coco     -> `resolve`
    the name of a set               voc_2007_trainval, joined by + -> `load_dataset`
    the path of a folder in VOC or COCO layout                     -> both

To add one in code, write a function that takes the data root and returns a `Dataset`,
and enter it in `_SETS`, with the pair of train and test set in `WORDS`.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from .formats.coco import read_coco
from .formats.voc import VOC_CLASSES, image_lists, read_voc
from .index.access import Records, as_records
from .records import Dataset, MissingDataError, did_you_mean

Split = Literal["train", "test"]

WORDS: dict[str, tuple[str, str]] = {
    "shapes": ("shapes_train", "shapes_test"),
    "voc": ("voc_2007_trainval", "voc_2007_test"),
    "voc0712": ("voc_2007_trainval+voc_2012_trainval", "voc_2007_test"),
    "coco": ("coco_2017_train", "coco_2017_val"),
}
"""Train and test set of each word of the command line."""


def resolve(dataset_word: str) -> tuple[str, str, str]:
    """Turn the command line's word into (short name, train set, test set).

    For a folder, train set and test set are its path; the split tells them apart.

    Raises:
        ValueError: it is neither a known word nor a folder.
    """
    if dataset_word in WORDS:
        return dataset_word, *WORDS[dataset_word]
    if not Path(dataset_word).expanduser().is_dir():
        raise _unknown(dataset_word, list(WORDS))
    return dataset_name(dataset_word), dataset_word, dataset_word


def dataset_name(name_or_path: str) -> str:
    """Give the short name that folders and recipes go by: a path's last part, lowered.

    A folder called VOCdevkit takes the name of the folder it lies in.
    """
    if name_or_path in WORDS or name_or_path in _SETS:
        return name_or_path
    folder = Path(name_or_path).expanduser()
    if not folder.is_dir():
        return "+".join(re.sub(r"[^\w.-]", "_", p) for p in name_or_path.split("+"))
    folder = folder.resolve()
    if folder.name.lower() == "vocdevkit":
        folder = folder.parent
    return re.sub(r"[^\w.-]", "_", folder.name.lower())


def load_dataset(name_or_path: str, *, root: Path, split: Split) -> Dataset:
    """Read a data set.

    Args:
        name_or_path: a set's name, names joined by +, a word, or a folder's path.
        root: the folder that holds VOCdevkit, coco and shapes, or is itself a VOCdevkit
            or a coco folder. A path does not need it.
        split: which set of a word or of a folder; a set's name says it already.

    Raises:
        MissingDataError: a known set is not on disk.
        ValueError: the name is unknown, the folder has neither layout, or its files are
            at fault.
    """
    if name_or_path in WORDS:
        name_or_path = WORDS[name_or_path][split == "test"]
    if name_or_path in _SETS:
        return _SETS[name_or_path](root)
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return _load_folder(folder, f"{dataset_name(name_or_path)}_{split}", split)
    if "+" in name_or_path:
        parts = name_or_path.split("+")
        return _join([load_dataset(part, root=root, split=split) for part in parts])
    raise _unknown(name_or_path, [*WORDS, *_SETS])


def devkit_folder(root: Path) -> Path:
    """Give the folder that holds VOC2007 and VOC2012, or is to hold them."""
    years = [root / "VOC2007", root / "VOC2012"]
    return root if any(year.is_dir() for year in years) else root / "VOCdevkit"


def coco_folder(root: Path) -> Path:
    """Give the folder that holds COCO's annotations, or is to hold them."""
    return root if _json_files(root) else root / "coco"


def _voc(year: str, split: str, root: Path) -> Dataset:
    folder = devkit_folder(root) / f"VOC{year}"
    name = f"voc_{year}_{split}"
    _expect(folder / "ImageSets" / "Main" / f"{split}.txt", name, "VOCdevkit")
    return read_voc(folder, split, name=name, classes=VOC_CLASSES)


def _coco(year: str, split: str, root: Path) -> Dataset:
    folder = coco_folder(root)
    name = f"coco_{year}_{split}"
    annotations = folder / "annotations" / f"instances_{split}{year}.json"
    _expect(annotations, name, "coco")
    return read_coco(annotations, _coco_images(annotations), name=name)


def _shapes(split: str, root: Path) -> Dataset:
    # Drawing is needed by nothing else, so its modules are loaded only here.
    from .shapes import CLASSES, generate, is_current

    folder = root / "shapes"
    if not is_current(folder):
        generate(folder)
    return read_voc(folder, split, name=f"shapes_{split}", classes=sorted(CLASSES))


_SETS: dict[str, Callable[[Path], Dataset]] = {
    **{
        f"voc_{year}_{split}": partial(_voc, year, split)
        for year in ("2007", "2012")
        for split in ("train", "val", "trainval", "test")
    },
    **{
        f"coco_{year}_{split}": partial(_coco, year, split)
        for year in ("2014", "2017")
        for split in ("train", "val")
    },
    "shapes_train": partial(_shapes, "train"),
    "shapes_test": partial(_shapes, "test"),
}


def _expect(file: Path, name: str, holder: str) -> None:
    if not file.is_file():
        raise MissingDataError(
            f"{name}: expected {file}, not found; unpack the data set so that this "
            f"file is there, or give the folder that holds {holder} as the data root"
        )


def _unknown(word: str, known: list[str]) -> ValueError:
    if "/" in word or "\\" in word:
        return ValueError(f"data set {word!r}: no such folder; check the path")
    return ValueError(
        f"unknown data set {word!r}{did_you_mean(word, known)}; expected one of "
        f"{', '.join(known)}, or the path of a folder in VOC or COCO layout"
    )


def _load_folder(folder: Path, name: str, split: Split) -> Dataset:
    """Read a folder of the user's in whichever layout it has."""
    # COCO first: on a file system without cases, annotations is Annotations.
    if _json_files(folder):
        annotations = _coco_annotations(folder, split)
        return read_coco(annotations, _coco_images(annotations), name=name)
    if (folder / "Annotations").is_dir():
        return read_voc(folder, _voc_split(folder, split), name=name)
    for year in ("VOC2007", "VOC2012"):
        inside = devkit_folder(folder) / year
        if inside.is_dir():
            chosen = _voc_split(inside, split)
            return read_voc(inside, chosen, name=name, classes=VOC_CLASSES)
    there = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8])
    raise ValueError(
        f"{folder}: expected Annotations/ and ImageSets/ (VOC layout), a VOCdevkit, or "
        f"annotations/*.json (COCO layout), found {there or 'an empty folder'}; see "
        "the section on own data in README.md"
    )


def _voc_split(folder: Path, split: Split) -> str:
    """Choose the list: trainval and test, or train and val where there is no test."""
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


def _json_files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "annotations").glob("*.json"))


def _coco_annotations(folder: Path, split: Split) -> Path:
    """Choose the instances file; of several years the last."""
    there = _json_files(folder)
    for kind in ("train",) if split == "train" else ("val", "test"):
        chosen = [f for f in there if f.startswith(f"instances_{kind}")]
        if chosen:
            return folder / "annotations" / chosen[-1]
    kinds = "train" if split == "train" else "val*.json or instances_test"
    raise ValueError(
        f"{folder / 'annotations'}: expected instances_{kinds}*.json, found "
        f"{', '.join(there)}; rename or add the file"
    )


def _coco_images(annotations: Path) -> Path:
    """Find the image folder that belongs to instances_<images>.json."""
    folder = annotations.parent.parent
    images = annotations.stem.removeprefix("instances_")
    places = [folder / images, folder / "images" / images, folder / "images"]
    for place in places:
        if place.is_dir():
            return place
    raise MissingDataError(
        f"{annotations}: expected its images in {' or '.join(map(str, places))}, found "
        "no such folder; unpack them there"
    )


def _join(parts: list[Dataset]) -> Dataset:
    """Put data sets of the same classes one after the other."""
    first, *others = parts
    for other in others:
        if (other.classes, other.layout) != (first.classes, first.layout):
            raise ValueError(
                f"{first.name}+{other.name}: expected the same layout and classes, "
                f"found {first.layout} with {', '.join(first.classes[1:])} and "
                f"{other.layout} with {', '.join(other.classes[1:])}; train on one"
            )
    drops: dict[str, int] = {}
    for part in parts:
        for kind, count in part.drops.items():
            drops[kind] = drops.get(kind, 0) + count
    return Dataset(
        name="+".join(part.name for part in parts),
        layout=first.layout,
        classes=first.classes,
        records=_join_records(parts),
        drops=drops,
        annotation_file=None,
        category_ids=first.category_ids,
    )


def _join_records(parts: list[Dataset]) -> Records:
    """Join records; if ids of different images collide, set names go before them."""
    columns = [as_records(part.records) for part in parts]
    joined = Records([piece for records in columns for piece in records.parts])
    path = _repeated(joined.paths)
    if path is not None:
        raise ValueError(
            f"{'+'.join(part.name for part in parts)}: expected sets without "
            f"common images, found {path} twice; take one set out"
        )
    if _repeated(joined.image_ids) is None:
        return joined
    return Records(
        [
            replace(piece, prefix=f"{part.name}/{piece.prefix}")
            for part, records in zip(parts, columns, strict=True)
            for piece in records.parts
        ]
    )


def _repeated(words: list[str]) -> str | None:
    """A word that is there more than once."""
    if len(set(words)) == len(words):
        return None
    return max(Counter(words).items(), key=lambda item: item[1])[0]
