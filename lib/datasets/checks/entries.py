"""Entries, which the checks work on: images with their objects as written, and defects.

Unlike records, entries keep invalid objects, with their position in their file.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ..folders import Layout
from ..formats.values import Fault
from ..records import BOX_FAULTS, FloatArray, KeypointNames, box_faults

Likeness = Literal["bytes", "picture", "similar"]
"""How two files are alike: equal bytes; equal picture and objects; much alike."""

Action = Literal["image", "object", "clip", "size", "pixels", "rename", "none"]


class Kind(NamedTuple):
    """A kind of defect."""

    look: bool  # whether the user should look at such defects before training
    # correction in a cleaned copy: leave out the image or the object, clip the box,
    # correct the written size, rewrite the pixels, rename the class, or nothing
    action: Action
    meaning: str  # explanation for users
    # whether a defect that need not be looked at is more than a note
    warns: bool = False

    @property
    def weight(self) -> str:
        """Return the severity in a word."""
        return "look" if self.look else "warning" if self.warns else "note"


REFUSED = "training refuses"
"""The kind of defect with which training does not begin."""


def _look(meaning: str, action: Action = "none") -> Kind:
    return Kind(True, action, meaning)


def _warn(meaning: str, action: Action = "none") -> Kind:
    return Kind(False, action, meaning, warns=True)


def _note(meaning: str, action: Action = "none") -> Kind:
    return Kind(False, action, meaning)


KINDS: dict[str, Kind] = {
    REFUSED: _look("training stops with this error before its first update"),
    "training warns": _look("training begins with this warning"),
    "missing image": _look("listed, but the file does not exist", "image"),
    "missing annotation": _look("listed, but the file does not exist", "image"),
    "unreadable image": _look("truncated, or not an image", "image"),
    "malformed annotation": _look("does not follow the format", "object"),
    "repeated entry": _look("listed more than once"),
    "empty split": _look("the split has no images"),
    "leakage between splits": _look(
        "the same image in two splits; the copy keeps it for the test", "image"
    ),
    "duplicate image": _look("the same image twice in one split", "image"),
    "near-duplicate across splits": _warn(
        "nearly the same image in two splits, so AP is too high; split by scene",
        "image",
    ),
    "EXIF rotation": _look(
        "viewers rotate the image, training reads it as stored", "pixels"
    ),
    "stated EXIF rotation": _note(
        "training turns the image if its annotation has turned sides", "pixels"
    ),
    "wrong size": _look("annotation and file differ", "size"),
    "wrong channel count": _note(
        "annotation and file differ; training reads any as RGB", "pixels"
    ),
    "unknown class": _look("not among the classes", "object"),
    "class without training example": _look("only in splits that are not trained on"),
    "misspelt class": _look("very similar to the name of another class", "rename"),
    "box with a NaN or infinite coordinate": _look("the box has no position", "object"),
    "inverted box": _look("the second corner lies before the first", "object"),
    "zero-area box": _look("no width or no height", "object"),
    "box outside the image": _look("no part of the box is inside", "object"),
    "clipped box": _look("more than a pixel outside the image", "clip"),
    "duplicate box": _look("same corners and class as another", "object"),
    "malformed mask": _warn("training on masks leaves the mask, or a part, out"),
    "mask of another size": _warn("training on masks leaves it out"),
    "mask apart from its box": _warn("outside its box, or much smaller"),
    "area of another mask": _warn("COCO's AP by size goes by the area"),
    "malformed keypoints": _warn(
        "training stops at a wrong number of values, and leaves out lost keypoints"
    ),
    "keypoint apart from its box": _warn("half a box or more outside"),
    "swapped keypoints": _warn("is the left one called right? A flip exchanges them"),
    "object without a mask": _note("the mask head is not trained on it"),
    "box of a pixel or less": _note(
        "are the corners fractions of the image in place of pixels?"
    ),
    "box of two classes": _note("same corners as a box of another class"),
    "annotation without image": _note("the image is not listed"),
    "unlisted image": _note("annotated, but in no list"),
    "image without objects": _note("used as background only"),
    "near-duplicate image": _note(
        "nearly the same image in one split, such as an augmented copy", "image"
    ),
}
"""All kinds, the most serious first."""

SPLITS = ("train", "trainval", "val", "test")
"""Splits in the order in which the later one keeps an image that two of them share."""


class Written(NamedTuple):
    """One object as written."""

    place: int  # number of the object, annotation or line in its file, from 0
    name: str  # class name; the class id in decimal if it has no name
    box: tuple[float, float, float, float]  # pixel edges, unchecked
    ignored: bool  # whether it is difficult or a crowd
    mask: bytes = b""  # as in `packed_masks`; empty for none
    mask_faults: tuple[str, ...] = ()  # faults of the mask
    area: float = float("nan")  # COCO's area; NaN for none
    keypoints: FloatArray | None = None  # (K, 3) as in `Record`; None for none
    keypoint_faults: tuple[str, ...] = ()  # faults of the keypoints


class FileFacts(NamedTuple):
    """Facts about an image file."""

    width: int = 0  # pixels as stored; 0 if unreadable
    height: int = 0  # pixels as stored; 0 if unreadable
    channels: int = 0  # number of channels; a palette counts as its colours
    orientation: int = 1  # EXIF orientation; 1 is upright
    digest: bytes = b""  # hash of the file's bytes
    gradient_hash: int | None = None  # 64 bits; None at too low contrast
    thumbnail: bytes = b""  # 16 x 16 grey bytes
    problem: str = ""  # why the file cannot be read; "" if it can


UNREAD = FileFacts()
"""The facts of a file that has not been read."""


@dataclass(frozen=True, slots=True)
class Source:
    """A folder in VOC or YOLO layout and its splits, or a COCO file and its images."""

    layout: Layout  # layout of the files
    folder: Path  # VOC's or YOLO's folder, or COCO's folder of images
    splits: tuple[str, ...]  # splits that are read, a single one for COCO
    annotation_file: Path | None = None  # COCO's file
    classes: tuple[str, ...] | None = None  # if None, those of the annotations

    @property
    def closing(self) -> float:
        """Return `closing` of `records.clean_boxes`."""
        return 1.0 if self.layout == "voc" else 0.0


@dataclass(slots=True, eq=False)
class Entry:
    """One image of a source and its annotation."""

    image_id: str  # the file's stem (VOC, YOLO) or the decimal id (COCO)
    path: Path  # expected path of the image file
    annotation: Path  # the file that lists its objects
    source: Source  # the source of both files
    splits: tuple[str, ...]  # splits that list it; may be empty
    width: int = 0  # pixels as annotated, 0 if missing
    height: int = 0  # pixels as annotated, 0 if missing
    depth: int = 0  # number of channels as annotated, 0 if missing
    objects: list[Written] = field(default_factory=list)  # objects as annotated
    facts: FileFacts = UNREAD  # about the image file; `UNREAD` before it is read

    @property
    def turned(self) -> bool:
        """Return whether the boxes fit the image as EXIF rotates it by 90 degrees."""
        facts = self.facts
        return (
            facts.orientation >= 5
            and facts.width != facts.height
            and (self.width, self.height) == (facts.height, facts.width)
        )

    @property
    def states_turn(self) -> bool:
        """Return whether the annotated size tells the turned picture from the stored.

        Labels of YOLO have no size.
        """
        sides = self.facts.width, self.facts.height
        stated = self.source.layout != "yolo" and self.width != self.height
        fits = (self.width, self.height) in (sides, sides[::-1])
        return stated and fits and self.facts.orientation >= 5

    @property
    def box_faults(self) -> list[str | None]:
        """Return the fault of each object's box, in the words of `records`."""
        boxes = np.array([w.box for w in self.objects], np.float64).reshape(-1, 4)
        sizes = np.tile(np.array(self.size, np.float64), (len(boxes), 1))
        found = box_faults(boxes, sizes, closing=self.source.closing)
        return [BOX_FAULTS[number] if number >= 0 else None for number in found]

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height of the image that the boxes refer to."""
        if self.facts.width and not self.turned:
            return self.facts.width, self.facts.height
        return self.width, self.height


@dataclass(frozen=True, slots=True)
class Defect:
    """One fault."""

    kind: str  # a key of `KINDS`
    file: Path  # the file to look at
    detail: str  # the fault in this file
    entry: Entry | None = None  # the image at fault; None if no single image is
    place: int | None = None  # `Written.place` of the object; None for the image
    likeness: Likeness | None = None  # to the other image, for a duplicate


class ReadSource(NamedTuple):
    """Result of reading a source."""

    entries: list[Entry]  # its images
    defects: list[Defect]  # faults of its files
    # class names that its files list; None if they list none
    classes: list[str] | None = None
    keypoints: KeypointNames | None = None  # its keypoints; None if it has none


def collect(entry: Entry, defects: list[Defect]) -> Fault:
    """Return a function that adds the faults of an entry's annotation to `defects`."""

    def fault(detail: str, place: int | None) -> None:
        kind = "malformed annotation"
        defects.append(Defect(kind, entry.annotation, detail, entry, place))

    return fault


def are_apart(ours: Iterable[str], theirs: Iterable[str]) -> tuple[str, str] | None:
    """Return the first two splits that must not share an image; None if there are none.

    trainval consists of train and val.
    """
    for a in ours:
        for b in theirs:
            if a != b and {a, b} not in ({"train", "trainval"}, {"val", "trainval"}):
                return a, b
    return None
