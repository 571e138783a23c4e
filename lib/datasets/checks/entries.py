"""Entries, which the checks work on: images with their objects as written, and defects.

Unlike records, entries keep invalid objects, with their position in their file.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from ..folders import Layout

Likeness = Literal["bytes", "picture", "similar"]
"""How two files are alike: equal bytes; equal picture and objects; much alike."""

Action = Literal["image", "object", "clip", "size", "pixels", "rename", "none"]


class Kind(NamedTuple):
    """A kind of defect.

    Attributes:
        look: whether one of it is to be looked at before training.
        action: what a cleaned copy does about it: leaves out the image or the object,
            clips the box, corrects the written size, rewrites the pixels, renames the
            class, or nothing.
        meaning: for people.
        warns: whether another is more than a note.
    """

    look: bool
    action: Action
    meaning: str
    warns: bool = False

    @property
    def weight(self) -> str:
        """For people."""
        return "look" if self.look else "warning" if self.warns else "note"


REFUSED = "training refuses"
"""The one kind with which training does not begin."""


KINDS: dict[str, Kind] = {
    REFUSED: Kind(True, "none", "training stops with this before its first update"),
    "training warns": Kind(True, "none", "training says this and begins"),
    "missing image": Kind(True, "image", "listed, but there is no such file"),
    "missing annotation": Kind(True, "image", "listed, but there is no such file"),
    "unreadable image": Kind(True, "image", "truncated, or no image at all"),
    "malformed annotation": Kind(True, "object", "cannot be read as what it should be"),
    "repeated entry": Kind(True, "none", "listed more than once"),
    "empty split": Kind(True, "none", "there is no image in it"),
    "leakage between splits": Kind(
        True, "image", "the same picture on two sides; the copy keeps the test side"
    ),
    "duplicate image": Kind(True, "image", "the same picture twice in one split"),
    "near-duplicate across splits": Kind(
        False,
        "image",
        "nearly the same picture on two sides, so a test flatters; split by scene",
        warns=True,
    ),
    "EXIF rotation": Kind(
        True, "pixels", "viewers turn the picture, training reads it as stored"
    ),
    "wrong size": Kind(True, "size", "annotation and file differ"),
    "wrong channel count": Kind(
        False, "pixels", "annotation and file differ; training reads any as RGB"
    ),
    "unknown class": Kind(True, "object", "not among the classes"),
    "class without training example": Kind(
        True, "none", "in another split only, so it is never found"
    ),
    "misspelt class": Kind(True, "rename", "very like another class's name"),
    "box with a NaN or infinite coordinate": Kind(True, "object", "no place at all"),
    "inverted box": Kind(True, "object", "far corner before the near one"),
    "zero-area box": Kind(True, "object", "no width or no height"),
    "box outside the image": Kind(True, "object", "wholly outside"),
    "clipped box": Kind(True, "clip", "reaches out of the image by more than a pixel"),
    "duplicate box": Kind(True, "object", "same corners and class as another"),
    "box of a pixel or less": Kind(
        False, "none", "in shares of the image, where pixels are expected?"
    ),
    "box of two classes": Kind(False, "none", "same corners as one of another class"),
    "annotation without image": Kind(False, "none", "of an image that is not listed"),
    "unlisted image": Kind(False, "none", "annotated, but in no list"),
    "image without objects": Kind(False, "none", "trains as background only"),
    "near-duplicate image": Kind(
        False, "image", "nearly the same picture in one split, as augmented copies are"
    ),
}
"""All kinds, the gravest first."""

SPLITS = ("train", "trainval", "val", "test")
"""Splits from the one that gives way to the one that keeps a picture they share."""


class Written(NamedTuple):
    """One object as written.

    Attributes:
        place: its number among the file's objects (VOC), annotations (COCO) or lines
            (YOLO), from 0.
        name: class name; an unknown id of COCO or YOLO becomes its decimal number.
        box: pixel edges, neither checked nor clipped.
        ignored: difficult or crowd.
    """

    place: int
    name: str
    box: tuple[float, float, float, float]
    ignored: bool


class FileFacts(NamedTuple):
    """Facts about an image file.

    Attributes:
        width: pixels as stored; 0 if unreadable.
        height: pixels as stored; 0 if unreadable.
        channels: channels of the decoded image; a palette counts as its colours.
        orientation: EXIF orientation; 1 is upright.
        digest: hash of the file's bytes.
        gradient_hash: 64 bits; None if the image has too little contrast for one.
        thumbnail: 16 x 16 grey bytes.
        problem: why the file cannot be read; "" if it can.
    """

    width: int = 0
    height: int = 0
    channels: int = 0
    orientation: int = 1
    digest: bytes = b""
    gradient_hash: int | None = None
    thumbnail: bytes = b""
    problem: str = ""


UNREAD = FileFacts()
"""Stands for the facts of a file that has not been looked into."""


@dataclass(frozen=True, slots=True)
class Source:
    """A folder in VOC or YOLO layout with its splits, or a COCO file with its images.

    Attributes:
        layout: which of the three.
        folder: VOC's or YOLO's folder, or COCO's folder of images.
        splits: lists that are read, or the one split that the file is.
        annotation_file: COCO's file.
        classes: all that there may be; None where the annotations tell.
    """

    layout: Layout
    folder: Path
    splits: tuple[str, ...]
    annotation_file: Path | None = None
    classes: tuple[str, ...] | None = None


@dataclass(slots=True, eq=False)
class Entry:
    """One image of a source, with all that is written about it.

    Attributes:
        image_id: the file's stem (VOC, YOLO) or the decimal id (COCO).
        path: the image file, or where it should be.
        annotation: the file that tells its objects.
        source: where both belong.
        splits: that list it, possibly none.
        width: as written, 0 if it is not.
        height: as written, 0 if it is not.
        depth: channels as written, 0 if they are not.
        objects: as written.
        facts: of the image file, once it has been looked into.
    """

    image_id: str
    path: Path
    annotation: Path
    source: Source
    splits: tuple[str, ...]
    width: int = 0
    height: int = 0
    depth: int = 0
    objects: list[Written] = field(default_factory=list)
    facts: FileFacts = UNREAD

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
    def size(self) -> tuple[int, int]:
        """Width and height of the picture that the boxes are meant on."""
        if self.facts.width and not self.turned:
            return self.facts.width, self.facts.height
        return self.width, self.height


@dataclass(frozen=True, slots=True)
class Defect:
    """One fault.

    Attributes:
        kind: a key of `KINDS`.
        file: the file to look at.
        detail: what is wrong there.
        entry: the image it concerns, if there is one.
        place: `Written.place` of the object it concerns; None for the whole image.
        likeness: to the other image, where it is that this one has a double.
    """

    kind: str
    file: Path
    detail: str
    entry: Entry | None = None
    place: int | None = None
    likeness: Likeness | None = None


def are_apart(ours: Iterable[str], theirs: Iterable[str]) -> tuple[str, str] | None:
    """Give the first two splits that must not share a picture; None if there are none.

    trainval holds train and val by design.
    """
    for a in ours:
        for b in theirs:
            if a != b and {a, b} not in ({"train", "trainval"}, {"val", "trainval"}):
                return a, b
    return None
