"""Data sets by name, by word and by path.

A data set is requested in one of these ways, or by several of them joined with `+`:

    a word on the command line   shapes, voc, voc0712, coco    -> `resolve`
    the name of a set            voc_2007_trainval             -> `load_dataset`
    the path of a folder in VOC, COCO or YOLO layout           -> both

`register` adds another data set in code.
"""

import contextlib
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from ..config.dataset_words import WORDS
from ..config.settings import Config
from ..utils.monitoring.slow_steps import slow_step
from .allowed_names import check_class_names
from .folders import Split, coco_images, has_validation, read_folder
from .formats.coco import read_coco
from .formats.voc import VOC_CLASSES, read_voc
from .joining import count_difficult, join, select_classes
from .published import COCO_SETS, VOC_SETS, coco_file, voc_files
from .records import BOXES, Dataset, Wanted, did_you_mean

logger = logging.getLogger(__name__)


_registered: dict[str, Callable[[Path, Split], Dataset]] = {}


def register(name: str, function: Callable[[Path, Split], Dataset]) -> None:
    """Register a data set: `name` becomes a word.

    Its sets are named <name>_train and <name>_test, and <name>_val on request. A name
    that was registered before is replaced.

    Args:
        name: letters, digits, and ``_ . -`` inside.
        function: reads the set of a split (train, val or test) from a data root.

    Raises:
        ValueError: the name is malformed, or belongs to a built-in data set.
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(
            f"expected a name of letters, digits, _ . and -, found {name!r}; rename it"
        )
    names = {name, f"{name}_train", f"{name}_val", f"{name}_test"}
    taken = names & {*WORDS, *_SETS}
    if taken:
        raise ValueError(
            f"expected a new name, found {name!r}, but {' and '.join(sorted(taken))} "
            "exists already; rename it"
        )
    _registered[name] = function


def resolve(dataset_word: str) -> tuple[str, str, str]:
    """Resolve the command line's word to (short name, train set, test set).

    For a folder, train set and test set are its path; the split distinguishes them.

    Raises:
        ValueError: it is not a known word, a folder, or several of these joined.
    """
    words = _words()
    if dataset_word in words:
        return dataset_word, *words[dataset_word]
    if Path(dataset_word).expanduser().is_dir():
        return dataset_name(dataset_word), dataset_word, dataset_word
    if "+" in dataset_word:
        found = [resolve(part) for part in dataset_word.split("+")]
        names, train_sets, test_sets = zip(*found, strict=True)
        tests = dict.fromkeys(test_sets)  # voc and voc0712 share theirs
        return "+".join(names), "+".join(train_sets), "+".join(tests)
    if dataset_word in _sets():
        raise ValueError(
            f"expected a word or a folder, which has a training and a test set, found "
            f"the name of one set, {dataset_word!r}; name both sets, as in: voc --set "
            "data.train_set voc_2007_train data.test_set voc_2007_val"
        )
    raise _unknown(dataset_word, words, "")


def validation_set(dataset_word: str) -> str | None:
    """Return the folders, joined by +, that have a validation set; None if none has.

    A word has no validation set: all images outside its test set belong to its training
    set. Nor has a folder that cannot be read; reading it later reports the error.
    """
    if dataset_word in _words():
        return None
    folder = Path(dataset_word).expanduser()
    if folder.is_dir():
        with contextlib.suppress(ValueError):
            return dataset_word if has_validation(folder) else None
        return None
    if "+" not in dataset_word:
        return None
    found = (validation_set(part) for part in dataset_word.split("+"))
    return "+".join(part for part in found if part) or None


def tidy(name_or_path: str) -> str:
    """Remove the slash that a shell adds to a path, unless the rest is a word.

    coco/, a user's folder, keeps its slash to differ from the word coco.
    """
    known = {*_words(), *_sets()}
    plain = str(Path(name_or_path))
    given, tidied = (set(text.split("+")) & known for text in (name_or_path, plain))
    return plain if given == tidied else name_or_path


def is_folder(name_or_path: str) -> bool:
    """Return whether a data set is given by its folder, not by a word or name."""
    known = name_or_path in _words() or name_or_path in _sets()
    return not known and Path(name_or_path).expanduser().is_dir()


def dataset_name(name_or_path: str) -> str:
    """Return the short name for folders and recipes: a path's last part, in lower case.

    A folder called VOCdevkit takes the name of its parent folder.
    """
    if name_or_path in _words() or name_or_path in _sets():
        return name_or_path
    folder = Path(name_or_path).expanduser()
    if not folder.is_dir():
        if "+" in name_or_path:
            return "+".join(map(dataset_name, name_or_path.split("+")))
        return re.sub(r"[^\w.-]", "_", name_or_path)
    folder = folder.resolve()
    if folder.name.lower() == "vocdevkit":
        folder = folder.parent
    return re.sub(r"[^\w.-]", "_", folder.name.lower())


def load_dataset(
    name_or_path: str,
    *,
    root: Path,
    split: Split,
    classes: Sequence[str] | None = None,
    wanted: Wanted = BOXES,
) -> Dataset:
    """Read a data set.

    Args:
        name_or_path: a set's name, a word, a folder's path, or several joined by +.
        root: the folder that contains VOCdevkit, coco and shapes, or is itself a
            VOCdevkit or a coco folder. A path does not need it.
        split: the set of a word or of a folder; a set's name already includes it.
            docs/own_data.md describes the splits of a folder; val is never the test
            set.
        classes: classes to keep, in order; objects of others are dropped and counted.
            If None, all classes of the data.
        wanted: what to read besides boxes; see `wanted_by`.

    Raises:
        MissingDataError: a known set is not on disk.
        ValueError: the name or a class is unknown, the folder has no layout, several,
            or no such split, its files are invalid, or a class has an invalid name.
    """
    names = _parts(name_or_path, split)
    parts = [_load(name, root, split, wanted) for name in names]
    if classes is not None:
        parts = select_classes(parts, classes)
    found = join(parts)
    check_class_names(found.classes, found.name)
    return found


def wanted_by(config: Config) -> Wanted:
    """Return the annotations besides boxes that heads or augmentations need."""
    masks = config.mask.enabled or config.data.copy_paste > 0
    return Wanted(masks, config.keypoint.enabled)


def _parts(name_or_path: str, split: Split) -> list[str]:
    """Split a joined name into names of sets and paths of folders."""
    words = _words()
    if name_or_path in words:
        if split == "val" and name_or_path in _registered:
            return [f"{name_or_path}_val"]
        if split == "val":
            raise ValueError(
                f"{name_or_path} has a training and a test set, but no validation set; "
                "name a set such as voc_2007_val, or the path of a folder, in "
                "data.val_set"
            )
        return words[name_or_path][split == "test"].split("+")
    if "+" in name_or_path and not Path(name_or_path).expanduser().is_dir():
        return [p for part in name_or_path.split("+") for p in _parts(part, split)]
    return [name_or_path]


def _load(name_or_path: str, root: Path, split: Split, wanted: Wanted) -> Dataset:
    """Read one set."""
    sets = _sets()
    if name_or_path in sets:
        return sets[name_or_path](root, wanted)
    folder = Path(name_or_path).expanduser()
    if not folder.is_dir():
        sets_too = "the name of a set such as voc_2007_trainval or coco_2014_minival, "
        raise _unknown(name_or_path, [*_words(), *sets], sets_too)
    name = f"{dataset_name(name_or_path)}_{'train' if split == 'trainval' else split}"
    with slow_step(f"reading {name}"):
        return read_folder(folder, split, name=name, wanted=wanted)


def _voc(name: str, root: Path, wanted: Wanted) -> Dataset:
    chosen = VOC_SETS[name]
    folder = voc_files(name, root)
    with slow_step(f"reading {name}"):
        found = read_voc(
            folder, chosen.split, name=name, classes=VOC_CLASSES, wanted=wanted
        )
    return count_difficult(found) if chosen.difficult_counts else found


def _coco(name: str, root: Path, wanted: Wanted) -> Dataset:
    chosen = COCO_SETS[name]
    annotations = coco_file(name, root, keypoints=wanted.keypoints)
    if chosen.side == "test":
        logger.info("%s has no ground truth: a test saves detections, and no AP", name)
    images = coco_images(annotations, chosen.images)
    with slow_step(f"reading {name}"):
        return read_coco(annotations, images, name=name, wanted=wanted)


def _shapes(split: str, root: Path, wanted: Wanted) -> Dataset:
    # Nothing else needs to generate images, so these modules are imported here.
    from .shapes import generate, is_current, read

    folder = root / "shapes"
    if not is_current(folder):
        with slow_step(f"drawing the images of shapes, into {folder}"):
            generate(folder)
    return read(folder, split, wanted)


_SETS: dict[str, Callable[[Path, Wanted], Dataset]] = {
    **{name: partial(_voc, name) for name in VOC_SETS},
    **{name: partial(_coco, name) for name in COCO_SETS},
    "shapes_train": partial(_shapes, "train"),
    "shapes_test": partial(_shapes, "test"),
}


def _words() -> dict[str, tuple[str, str]]:
    return WORDS | {name: (f"{name}_train", f"{name}_test") for name in _registered}


def _sets() -> dict[str, Callable[[Path, Wanted], Dataset]]:
    splits: tuple[Split, ...] = ("train", "val", "test")
    return _SETS | {
        f"{name}_{split}": partial(_call, name, split)
        for name in _registered
        for split in splits
    }


def _call(name: str, split: Split, root: Path, _: Wanted) -> Dataset:
    found = _registered[name](root, split)
    if not isinstance(found, Dataset):
        raise ValueError(
            f"{name}: expected its function to return a Dataset, found "
            f"{type(found).__name__}; see docs/own_data.md"
        )
    return found


def _unknown(word: str, known: Iterable[str], besides: str) -> ValueError:
    if Path(word).expanduser().is_file():
        return ValueError(
            f"data set {word!r}: expected a folder, found a file; name the folder that "
            "holds it"
        )
    if "/" in word or "\\" in word:
        return ValueError(f"data set {word!r}: no such folder or file; check the path")
    return ValueError(
        f"unknown data set {word!r}{did_you_mean(word, known)}; expected one of "
        f"{', '.join(_words())}, {besides}or the path of a folder in VOC, COCO or YOLO "
        "layout"
    )
