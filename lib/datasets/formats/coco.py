"""Read annotations in COCO layout: one JSON file per set.

Boxes in the file are x, y, width, height in pixels, 0-based; here they become pixel
edges, (x, y, x + width, y + height).
"""

import functools
import hashlib
from pathlib import Path
from typing import BinaryIO

from ..index.index_files import (
    Notes,
    file_pieces,
    index_folders,
    load_index,
    same_sizes,
    settings_key,
)
from ..index.index_format import Index
from ..index.index_writer import RawDataset, pack
from ..index.indexed_records import Part, Records
from ..records import BACKGROUND, BOXES, Dataset, Drops, Wanted
from .coco_images import expect_images
from .coco_tables import (
    is_background,
    is_without_objects,
    read_categories,
    read_keypoint_names,
    read_tables,
    unreadable,
)


def read_coco(
    annotation_file: Path, image_folder: Path, *, name: str, wanted: Wanted = BOXES
) -> Dataset:
    """Read an instances file and find its images.

    Class indices follow the ascending category ids, which may have gaps. An annotation
    of an image that the file does not list is dropped and counted: files cut down to
    some images contain such. An annotation of an unknown category is an error, because
    its object would be trained as background. A file whose name starts with image_info,
    as those of COCO's test sets, needs no annotations.

    The file is parsed once, a few entries at a time, and then opened as an index.

    Args:
        image_folder: folder that the file's image names are relative to.
        wanted: what to read besides boxes. A box that is missing is taken from the
            object's mask in any case.

    Raises:
        ValueError: the file is missing or malformed, lacks a key, or lists images that
            are not in the folder.
    """
    folders = index_folders(annotation_file.parent)
    settings = settings_key("coco", annotation_file, image_folder, *wanted)
    source = _Source(
        annotation_file,
        image_folder,
        wanted,
        Notes.read(folders, annotation_file.stem, settings),
    )
    index = load_index(
        folders,
        annotation_file.stem,
        settings,
        source.content,
        source.pack,
        check=source.check,
    )
    source.notes.write()
    without_objects = is_without_objects(annotation_file)
    drops = Drops()
    drops.update(index.facts["drops"])
    return Dataset(
        name=name,
        layout="coco",
        classes=(BACKGROUND, *index.facts["classes"]),
        records=Records([Part(index, image_folder)]),
        drops=drops.log(name),
        annotation_file=None if without_objects else annotation_file,
        category_ids=(0, *index.facts["category_ids"]),
        has_masks=index.has_masks,
        keypoints=index.keypoints,
    )


class _Source:
    """Inputs of an index: the file, the folder of its images, and notes about both."""

    def __init__(self, path: Path, folder: Path, wanted: Wanted, notes: Notes) -> None:
        self.path = path
        self.folder = folder
        self.wanted = wanted
        self.notes = notes
        self.noted = ""

    def content(self) -> str:
        """Return the hash of the file's bytes, noted for an unchanged file."""
        try:
            self.noted = str(self.notes.recall(self.path, "hash", self._hash))
        except OSError as error:
            raise unreadable(self.path, error) from error
        return self.noted

    def _hash(self) -> str:
        digest = hashlib.sha256()
        for piece in file_pieces(self.path):
            digest.update(piece)
        return digest.hexdigest()

    def check(self, index: Index) -> bool:
        """Check that the images exist, and whether sizes read from them still hold."""

        @functools.cache
        def find() -> bool:
            expect_images(self.path, self.folder, index.strings("name"))
            return True

        question = f"images of {self.noted}"
        for inside in index.facts["folders"]:
            try:
                self.notes.recall(self.folder / inside, question, find)
            except OSError:
                find()
        return same_sizes(index, self.folder)

    def pack(self, content: str, file: BinaryIO, scratch: Path | None) -> None:
        """Parse the file, whose hash was `content`, and write its index."""
        path, drops = self.path, Drops()
        tables = read_tables(
            path, self.folder, content=content, scratch=scratch, wanted=self.wanted
        )
        annotations = tables.annotations
        used = annotations.used_categories()
        classes, ids = read_categories(path, tables.categories, used, drops)
        keypoints = None
        if self.wanted.keypoints:
            keypoints = read_keypoint_names(path, tables.categories, annotations, drops)
        images = tables.located_images(drops)
        objects = annotations.objects(
            tables.image_ids,
            images.sizes,
            ids,
            drops,
            of_background=any(map(is_background, tables.categories)),
        )
        facts = {
            "classes": classes,
            "category_ids": ids,
            "folders": sorted({str(Path(name).parent) for name in images.names}),
        }
        raw = RawDataset(images, objects, annotations.masks, keypoints, facts=facts)
        pack(file, raw, drops, scratch=scratch)
