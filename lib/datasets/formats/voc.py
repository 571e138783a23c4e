"""Read annotations in the layout of PASCAL VOC.

    <folder>/Annotations/<stem>.xml
    <folder>/ImageSets/Main/<split>.txt     one stem per line
    <folder>/JPEGImages/<stem>.jpg          or another image suffix

Corners in the files are 1-based whole pixels, both included; here they become pixel
edges, (xmin - 1, ymin - 1, xmax, ymax).
"""

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..index import index_files
from ..index.index_writer import RawImages, pack
from ..index.indexed_records import Part, Records
from ..loading.images import IMAGE_SUFFIXES
from ..records import BACKGROUND, Dataset, Drops, few
from .values import read_lines
from .voc_annotation import object_columns, parse_annotation, unreadable

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
    *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
    *("sheep", "sofa", "train", "tvmonitor"),
)


def read_voc(
    folder: Path, split: str, *, name: str, classes: Sequence[str] | None = None
) -> Dataset:
    """Read one image list of a folder in VOC layout.

    Nested `<part>` boxes are not objects. Difficult objects and images without objects
    are kept. An image's size is the one in its XML file or, if the file has none, the
    one in the image's header.

    Args:
        folder: folder with Annotations, ImageSets and JPEGImages.
        split: the list's name without .txt.
        name: name of the returned data set.
        classes: class names without the background; if None, all names that occur in
            the folder's annotations, sorted, so that all its lists agree.

    Raises:
        ValueError: a list, image or annotation is missing, empty or malformed, or has
            a class that is not in `classes`.
    """
    drops = Drops()
    stems = _read_list(folder, split, drops)
    source = _Source(
        folder,
        stems,
        _find_images(folder, split, stems),
        _find_annotations(folder, split, stems, every=classes is None),
        None if classes is None else tuple(classes),
    )
    folders = index_files.index_folders(folder)
    # The name of an index in memory does not matter; the files are read only once.
    content = _content(source) if folders else ""
    settings = index_files.settings_key("voc", folder, source.classes)
    index = index_files.load_index(
        folders,
        split,
        index_files.index_key(settings, content),
        functools.partial(_pack, source, content),
        check=lambda found: index_files.same_sizes(found, folder / "JPEGImages"),
    )
    names = index.facts["classes"]
    for kind, (count, example) in index.facts["drops"].items():
        drops.add(kind, example, count)
    return Dataset(
        name=name,
        layout="voc",
        classes=(BACKGROUND, *names),
        records=Records([Part(index, folder / "JPEGImages")]),
        drops=drops.log(name),
        annotation_file=None,
        category_ids=tuple(range(len(names) + 1)),
    )


def image_lists(folder: Path) -> list[str]:
    """List the image lists of a folder in VOC layout, sorted, without .txt."""
    found = (folder / "ImageSets" / "Main").glob("*.txt")
    return sorted(path.stem for path in found if path.name[0] != ".")


def _list_file(folder: Path, split: str) -> Path:
    return folder / "ImageSets" / "Main" / f"{split}.txt"


def _read_list(folder: Path, split: str, drops: Drops) -> list[str]:
    """Read the stems of a list."""
    path = _list_file(folder, split)
    try:
        lines = read_lines(path)
    except FileNotFoundError:
        there = ", ".join(image_lists(folder)) or "no list at all"
        raise ValueError(
            f"{path}: expected an image list, not found (there: {there}); write the "
            "file names of the split's images into it, one per line, without suffix"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: expected an image list in UTF-8, cannot read it ({error}); "
            "save it as plain text"
        ) from error
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
    folder = folder / "JPEGImages"
    found = image_files(folder)
    missing = [stem for stem in stems if stem not in found]
    if missing:
        fault = f"{len(missing)} of {len(stems)} images are not in {folder}"
        others = _other_files(folder, missing)
        if others:
            raise ValueError(
                f"{_list_file(folder.parent, split)}: {fault} as "
                f"{' '.join(IMAGE_SUFFIXES)}, found {few(others)}; convert them to "
                "JPEG or PNG"
            )
        raise ValueError(
            f"{_list_file(folder.parent, split)}: {fault}: {few(missing)}; restore the "
            "files or remove their lines from the list (names are written without "
            "suffix)"
        )
    return found


def _other_files(folder: Path, stems: Sequence[str]) -> list[str]:
    """List files of these stems in unsupported formats."""
    wanted = set(stems)
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(file.name for file in files if file.stem in wanted)


def _find_annotations(
    folder: Path, split: str, stems: Sequence[str], *, every: bool
) -> dict[str, Path]:
    """Find the annotations of the stems, or of the whole folder, by stem."""
    folder = folder / "Annotations"
    found = annotation_files(folder)
    missing = [stem for stem in stems if stem not in found]
    if missing:
        raise ValueError(
            f"{_list_file(folder.parent, split)}: {len(missing)} of {len(stems)} "
            f"images have no .xml file in {folder}: {few(missing)}; an image without "
            "objects needs a file without <object>"
        )
    return {stem: found[stem] for stem in (sorted(found) if every else stems)}


@dataclass(frozen=True)
class _Source:
    """Inputs of an index: the list, the files found, the classes asked for."""

    folder: Path
    stems: Sequence[str]
    images: Mapping[str, Path]
    annotations: Mapping[str, Path]
    classes: tuple[str, ...] | None


def _content(source: _Source) -> str:
    """Return the hash of everything that goes into the index."""
    digest = _names_hash(source)
    for path in source.annotations.values():
        digest.update(_hash(_read(path)))
    return str(digest.hexdigest())


def _names_hash(source: _Source) -> Any:
    names = [source.images[stem].name for stem in source.stems]
    text = json.dumps([list(source.stems), names, list(source.annotations)])
    return hashlib.sha256(text.encode())


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def _pack(source: _Source, content: str, file: BinaryIO, scratch: Path | None) -> None:
    """Parse the files, whose hash was `content`, and write their index."""
    digest = _names_hash(source)
    annotations = {}
    for stem, path in source.annotations.items():
        data = _read(path)
        digest.update(_hash(data))
        annotations[stem] = parse_annotation(path, data)
    folder = source.folder / "Annotations"
    if content and digest.hexdigest() != content:
        raise ValueError(
            f"{folder}: expected finished files, but one changed while they were "
            "read; start again when they are complete"
        )
    classes = source.classes
    if classes is None:
        classes = tuple(
            sorted({o.name for a in annotations.values() for o in a.objects})
        )
        if not classes:
            raise ValueError(
                f"{folder}: expected at least one <object>, found none in any file; "
                "annotate the images"
            )
    images = RawImages(
        source.folder / "JPEGImages", lambda row: folder / f"{source.stems[row]}.xml"
    )
    for stem in source.stems:
        width, height, _ = annotations[stem]
        images.add(stem, source.images[stem].name, width, height)
    images.measure()
    drops = Drops()
    objects = [object_columns(images, annotations, classes)]
    facts = {"classes": classes}
    pack(file, images, objects, drops, closing=1.0, facts=facts, scratch=scratch)
