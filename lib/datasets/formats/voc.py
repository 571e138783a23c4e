"""Read annotations in the layout of PASCAL VOC.

    <folder>/Annotations/<stem>.xml
    <folder>/ImageSets/Main/<split>.txt     one stem per line
    <folder>/JPEGImages/<stem>.jpg          or another image suffix
    <folder>/SegmentationObject/<stem>.png  masks, of some of the images

Corners in the files are 1-based whole pixels, both included; here they become pixel
edges, (xmin - 1, ymin - 1, xmax, ymax).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..index.index_writer import RawDataset, RawImages, pack
from ..index.packed_masks import MaskBytes
from ..loading.images import IMAGE_SUFFIXES
from ..records import BOXES, Dataset, Drops, RawObjects, Wanted, did_you_mean, few
from .split_files import AnnotationFiles, SplitFiles
from .values import read_lines, refuse
from .voc_annotation import VocAnnotation, parse_annotation
from .voc_masks import mask_files, read_masks

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
    *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
    *("sheep", "sofa", "train", "tvmonitor"),
)


def read_voc(
    folder: Path,
    split: str,
    *,
    name: str,
    classes: Sequence[str] | None = None,
    wanted: Wanted = BOXES,
) -> Dataset:
    """Read one image list of a folder in VOC layout.

    Nested `<part>` boxes are not objects. Difficult objects and images without objects
    are kept. An image's size is the one in its XML file or, if the file has none, the
    one in the image's header.

    Args:
        folder: folder with Annotations, ImageSets and JPEGImages.
        split: the list's name without .txt.
        classes: class names without the background; if None, all names that occur in
            the folder's annotations, sorted, so that all its lists agree.

    Raises:
        ValueError: a list, image or annotation is missing, empty or malformed, or has
            a class that is not in `classes`.
    """
    drops = Drops()
    stems = _read_list(folder, split, drops)
    images = _find_images(folder, split, stems)
    annotations = _find_annotations(folder, split, stems, every=classes is None)
    given = None if classes is None else tuple(classes)
    there = mask_files(folder) if wanted.masks else {}
    masks = {stem: there[stem] for stem in stems if stem in there}
    places = (folder, folder / "JPEGImages", split)
    source = _Source(*places, stems, images, annotations, given, masks)
    return source.read(name, ("voc", folder, given, wanted.masks), drops)


def image_lists(folder: Path) -> list[str]:
    """List the image lists of a folder in VOC layout, sorted, without .txt."""
    found = (folder / "ImageSets" / "Main").glob("*.txt")
    return sorted(path.stem for path in found if path.name[0] != ".")


def list_file(folder: Path, split: str) -> Path:
    """Return the file of an image list."""
    return folder / "ImageSets" / "Main" / f"{split}.txt"


def _read_list(folder: Path, split: str, drops: Drops) -> list[str]:
    path = list_file(folder, split)
    try:
        lines = read_lines(path, "an image list")
    except FileNotFoundError:
        there = ", ".join(image_lists(folder)) or "no list at all"
        raise ValueError(
            f"{path}: expected an image list, not found (there: {there}); write the "
            "file names of the split's images into it, one per line, without suffix"
        ) from None
    stems: dict[str, None] = {}
    for number, stem in listed_stems(lines):
        if stem in stems:
            drops.add("repeated line in a list", f"{path} line {number}: {stem}")
        stems[stem] = None
    if not stems:
        raise ValueError(f"{path}: expected image names, found none; fill the list")
    return list(stems)


def listed_stems(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Parse line numbers and stems of a list; some of VOC's have flags after stems."""
    for number, line in enumerate(lines, start=1):
        columns = line.rsplit(maxsplit=1)
        if len(columns) == 2 and columns[1] in ("-1", "0", "1"):
            columns.pop()
        if columns:
            yield number, " ".join(columns)


def image_files(folder: Path) -> dict[str, Path]:
    """Find the image file of each stem with one listing; skip hidden files."""
    rank = {suffix: place for place, suffix in enumerate(IMAGE_SUFFIXES)}
    files: Iterable[Path] = folder.iterdir() if folder.is_dir() else ()
    known = [f for f in files if f.suffix.lower() in rank and f.name[0] != "."]
    # The preferred suffix comes last and overwrites others.
    known.sort(key=lambda file: (-rank[file.suffix.lower()], file.name))
    return {file.stem: file for file in known}


def annotation_files(folder: Path) -> dict[str, Path]:
    """Find the annotation of each stem; skip macOS's hidden ._x.xml beside x.xml."""
    return {f.stem: f for f in folder.glob("*.xml") if f.name[0] != "."}


def _find_images(folder: Path, split: str, stems: Sequence[str]) -> dict[str, Path]:
    """Find the image file of each stem."""
    place = folder / "JPEGImages"
    found = image_files(place)
    missing = [stem for stem in stems if stem not in found]
    if missing:
        fault = (
            f"{list_file(folder, split)}: {len(missing)} of {len(stems)} images are "
            f"not in {place}"
        )
        files = place.iterdir() if place.is_dir() else ()
        others = sorted(file.name for file in files if file.stem in set(missing))
        if others:
            raise ValueError(
                f"{fault} as {' '.join(IMAGE_SUFFIXES)}, found {few(others)}; convert "
                "them to JPEG or PNG"
            )
        raise ValueError(
            f"{fault}: {few(missing)}; restore the files or remove their lines from "
            "the list (names are written without suffix)"
        )
    return found


def _find_annotations(
    folder: Path, split: str, stems: Sequence[str], *, every: bool
) -> dict[str, Path]:
    """Find the annotations of the stems, or of the whole folder, by stem."""
    found = annotation_files(folder / "Annotations")
    missing = [stem for stem in stems if stem not in found]
    if missing:
        raise ValueError(
            f"{list_file(folder, split)}: {len(missing)} of {len(stems)} images have "
            f"no .xml file in {folder / 'Annotations'}: {few(missing)}; an image "
            "without objects needs a file without <object>"
        )
    return {stem: found[stem] for stem in (sorted(found) if every else stems)}


@dataclass(frozen=True)
class _Source(SplitFiles):
    """The list of a split, the files found, and the classes asked for."""

    stems: Sequence[str]
    images: Mapping[str, Path]
    annotations: Mapping[str, Path]
    classes: tuple[str, ...] | None
    masks: Mapping[str, Path]

    @property
    def files(self) -> AnnotationFiles:
        """The annotation files, and the names that the index depends on."""
        images = [self.images[stem].name for stem in self.stems]
        return AnnotationFiles(
            self.folder / "Annotations",
            [*self.annotations.values(), *self.masks.values()],
            [list(self.stems), images, list(self.annotations), list(self.masks)],
            "an XML file",
        )

    def pack(self, content: str, file: BinaryIO, scratch: Path | None) -> None:
        """Parse the files, whose hash was `content`, and write their index."""
        folder = self.folder / "Annotations"
        read = self.files.read(content)
        annotations = {
            stem: parse_annotation(next(read) or b"", refuse(path))
            for stem, path in self.annotations.items()
        }
        names = {o.name for found in annotations.values() for o in found.objects}
        classes = sorted(names) if self.classes is None else self.classes
        if not classes:
            raise ValueError(
                f"{folder}: expected at least one <object>, found none in any file; "
                "annotate the images"
            )
        class_of = {name: number for number, name in enumerate(classes, start=1)}
        images = RawImages(
            self.image_folder, lambda row: folder / f"{self.stems[row]}.xml"
        )
        objects = []
        for row, stem in enumerate(self.stems):
            found = annotations[stem]
            images.add(stem, self.images[stem].name, found.width, found.height)
            objects += [(row, each) for each in found.objects]
        for row, each in objects:
            if each.name not in class_of:
                raise ValueError(
                    f"{images.source(row)}: unknown class {each.name!r}"
                    f"{did_you_mean(each.name, classes)}; expected one of "
                    f"{', '.join(classes)}; correct the name, or, for classes of your "
                    f"own, name {self.folder} itself as the data set"
                )
        images.measure()
        drops, masks = Drops(), MaskBytes(scratch)
        packed = self._packed_masks(read, annotations, images.sizes, drops)
        columns = RawObjects(
            image=np.array([row for row, _ in objects], np.int64),
            boxes=np.array([o.box for _, o in objects], np.float64).reshape(-1, 4),
            classes=np.array([class_of[o.name] for _, o in objects], np.int64),
            difficult=np.array([o.difficult for _, o in objects], np.bool_),
            masks=masks.add(packed) if self.masks else None,
        )
        facts = {"classes": classes}
        raw = RawDataset(images, [columns], masks, closing=1.0, facts=facts)
        pack(file, raw, drops, scratch=scratch)

    def _packed_masks(
        self,
        files: Iterator[bytes | None],
        annotations: Mapping[str, VocAnnotation],
        sizes: Sequence[tuple[int, int]],
        drops: Drops,
    ) -> list[bytes]:
        """Pack the mask of each object, given the files of the masks in order."""
        size_of = dict(zip(self.stems, sizes, strict=True))
        packed: dict[str, list[bytes]] = {}
        for (stem, path), data in zip(self.masks.items(), files, strict=True):
            boxes = [each.box for each in annotations[stem].objects]
            faults: list[str] = []
            try:
                found = read_masks(data or b"", size_of[stem], boxes, faults.append)
            except ValueError as error:
                raise ValueError(f"{path}: {error}; restore the file") from error
            packed[stem] = found
            for kind in faults:
                drops.add(kind, str(path))
        nothing = ((stem, len(annotations[stem].objects)) for stem in self.stems)
        return [
            mask for stem, count in nothing for mask in packed.get(stem, [b""] * count)
        ]
