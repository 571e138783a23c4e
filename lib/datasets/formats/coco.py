"""Read annotations in COCO layout: one JSON file per set.

Boxes in the file are x, y, width, height in pixels, 0-based; here they become pixel
edges, (x, y, x + width, y + height).
"""

import functools
from pathlib import Path
from typing import BinaryIO

from ..index import index_files
from ..index.index_format import Index
from ..index.index_writer import pack
from ..index.indexed_records import Part, Records
from ..records import BACKGROUND, Dataset, Drops
from .coco_images import expect_images
from .coco_tables import (
    is_without_objects,
    read_tables,
    unreadable,
)


def read_coco(annotation_file: Path, image_folder: Path, *, name: str) -> Dataset:
    """Read an instances file and find its images.

    Class indices follow the ascending category ids, which may have gaps. An annotation
    of an image that the file does not list is dropped and counted: files cut down to
    some images contain such. An annotation of an unknown category is an error, because
    its object would be trained as background. A file whose name starts with image_info,
    as those of COCO's test sets, needs no annotations.

    The file is parsed once, a few entries at a time, and then opened as an index.

    Args:
        annotation_file: for example annotations/instances_train2017.json.
        image_folder: folder that the file's image names are relative to.
        name: name of the returned data set.

    Raises:
        ValueError: the file is missing or malformed, lacks a key, or lists images that
            are not in the folder.
    """
    folders = index_files.index_folders(annotation_file.parent)
    settings = index_files.settings_key("coco", annotation_file, image_folder)
    notes = index_files.Notes.read(folders, annotation_file.stem, settings)
    # The name of an index in memory does not matter, and the file is read only once.
    content = _content(annotation_file, notes) if folders else ""
    index = index_files.load_index(
        folders,
        annotation_file.stem,
        index_files.index_key(settings, content),
        functools.partial(_pack, annotation_file, image_folder, content),
        check=lambda found: _check(
            annotation_file, image_folder, found, content, notes
        ),
    )
    notes.write()
    without_objects = is_without_objects(annotation_file)
    return Dataset(
        name=name,
        layout="coco",
        classes=(BACKGROUND, *index.facts["classes"]),
        records=Records([Part(index, image_folder)]),
        drops=Drops(index.facts["drops"]).log(name),
        annotation_file=None if without_objects else annotation_file,
        category_ids=(0, *index.facts["category_ids"]),
    )


def _content(path: Path, notes: index_files.Notes) -> str:
    """Return the hash of the file's bytes."""

    def find() -> str:
        return index_files.content_hash(index_files.file_pieces(path))

    try:
        return str(notes.recall(path, "hash", find))
    except OSError as error:
        raise unreadable(path, error) from error


def _check(
    path: Path, folder: Path, index: Index, content: str, notes: index_files.Notes
) -> bool:
    """Check that the images exist, and whether sizes read from them still hold."""

    @functools.cache
    def find() -> bool:
        expect_images(path, folder, index.strings("name"))
        return True

    for inside in index.facts["folders"]:
        try:
            notes.recall(folder / inside, f"images of {content}", find)
        except OSError:
            find()
    return index_files.same_sizes(index, folder)


def _pack(
    path: Path, folder: Path, content: str, file: BinaryIO, scratch: Path | None
) -> None:
    """Parse the file, whose hash was `content`, and write its index."""
    tables = read_tables(path, folder, content=content, scratch=scratch)
    drops = Drops()
    classes, category_ids = tables.categories(drops)
    images = tables.found_images(drops)
    objects = tables.objects(category_ids, drops)
    facts = {
        "classes": classes,
        "category_ids": category_ids,
        "folders": sorted({str(Path(name).parent) for name in images.names}),
    }
    pack(file, images, objects, drops, closing=0.0, facts=facts, scratch=scratch)
