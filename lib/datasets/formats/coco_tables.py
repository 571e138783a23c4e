"""The tables of a file in COCO layout: images, annotations and categories.

The file may be larger than memory, and its tables may come in any order.
"""

import codecs
import contextlib
import hashlib
import re
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path

import numpy as np

from ...utils.untrusted.json_stream import json_tables
from ..index.index_files import file_pieces
from ..index.index_writer import RawImages
from ..records import BACKGROUND, Drops, IntArray, KeypointNames, Wanted, few
from .coco_annotations import Annotations, Entry, MasksNeededError, get, get_whole
from .coco_images import expect_images
from .values import whole_number
from .written_keypoints import flip_pairs

_POLYGONS = re.compile(
    rb"""("segmentation"\s*:\s*)\[[\d\s.,eE+\-\[\]]*\](?=\s*(?:,\s*"|\}))"""
)
"""Numbers in brackets under that key, followed by another key or the object's end.

Inside a string, the quotes would have backslashes.
"""


def is_without_objects(path: Path) -> bool:
    """Return whether a file, by its name, only lists the images of a test set."""
    return path.name.startswith("image_info")


class _SyntaxFault(ValueError):
    """The file is not valid JSON."""


class Tables:
    """The three tables of a file; only their ids have been compared so far.

    Attributes:
        path: the file.
        images: the images, in the order of the file.
        rows: row of each image by its id in the file.
        annotations: the annotations as columns.
        categories: the categories as written.
    """

    def __init__(self, path: Path, folder: Path, annotations: Annotations) -> None:
        self.path = path
        self.images = RawImages(folder, lambda _: path)
        self.rows: dict[int, int] = {}
        self.annotations = annotations
        self.categories: list[Entry] = []

    def add_images(self, rows: list[Entry]) -> None:
        """Add the next entries of the table of images."""
        for place, entry in enumerate(rows, start=len(self.rows)):
            number = get_whole(self.path, "images", place, entry, "id")
            name = str(get(self.path, "images", place, entry, "file_name"))
            if self.rows.setdefault(number, place) != place:
                raise ValueError(
                    f"{self.path}: images[{place}]: expected distinct ids, found "
                    f"{number} a second time; remove one of the two"
                )
            width, height = entry.get("width"), entry.get("height")
            if not (type(width) is int and type(height) is int):
                width = height = 0
            self.images.add(str(number), name, width, height)

    @property
    def image_ids(self) -> IntArray:
        """Return the images' ids in the file."""
        return np.fromiter(self.rows, np.int64, len(self.rows))

    def located_images(self, drops: Drops) -> RawImages:
        """Return all images, after a check that their files exist.

        Raises:
            ValueError: there are none, or some are not in their folder.
        """
        if not self.rows:
            raise ValueError(f"{self.path}: expected images, found none; add them")
        names = expect_images(self.path, self.images.folder, self.images.names)
        for row, name in enumerate(names):
            if name != self.images.names[row]:
                drops.add(
                    "image that is stored elsewhere than its file name says",
                    f"{self.images.names[row]!r} in {self.path} is {name!r}",
                )
        self.images.names[:] = names
        self.images.measure()
        return self.images


def read_tables(
    path: Path, folder: Path, *, content: str, scratch: Path | None, wanted: Wanted
) -> Tables:
    """Read an instances file, a few entries at a time.

    Args:
        content: expected hash of its bytes; "" to accept any.
        scratch: folder of temporary files; if None, the system's.

    Raises:
        ValueError: the file is missing or malformed, lacks a key, or has changed.
    """

    def parse(*, polygons: bool) -> Tables:
        annotations = Annotations(path, scratch, wanted, skip_masks=not polygons)
        tables = Tables(path, folder, annotations)
        _parse(tables, content, polygons=polygons)
        return tables

    if not wanted.masks:
        # Polygons are most of COCO's text; skipping them saves a third of the time.
        # They are needed for a syntax error's position, and for boxes that are missing.
        with contextlib.suppress(_SyntaxFault, MasksNeededError):
            return parse(polygons=False)
    return parse(polygons=True)


def unreadable(path: Path, error: Exception) -> ValueError:
    """Create the error for a file that cannot be read."""
    return ValueError(
        f"{path}: expected COCO annotations, cannot read it ({error}); fetch or write "
        "the file again"
    )


def _parse(tables: Tables, content: str, *, polygons: bool) -> None:
    """Read the three tables, with the polygons or without."""
    path = tables.path
    add: dict[str, Callable[[list[Entry]], None]] = {
        "images": tables.add_images,
        "annotations": tables.annotations.add,
        "categories": tables.categories.extend,
    }
    digest = hashlib.sha256()
    decoder = codecs.getincrementaldecoder("utf-8-sig")()

    def text() -> Iterator[str]:
        for piece in file_pieces(path):
            digest.update(piece)
            yield decoder.decode(
                piece if polygons else _POLYGONS.sub(rb"\g<1>0", piece)
            )
        yield decoder.decode(b"", final=True)

    found = set()
    pieces = json_tables(text())
    while True:
        try:
            key, rows = next(pieces)
        except StopIteration:
            break
        except (OSError, ValueError, RecursionError) as error:
            raise _SyntaxFault(unreadable(path, error)) from error
        if key not in add:
            continue
        if rows is None or not all(isinstance(row, dict) for row in rows):
            raise _no_table(path, key)
        found.add(key)
        add[key](rows)
    if content and digest.hexdigest() != content:
        raise ValueError(
            f"{path}: expected a finished file, but it changed while it was read; "
            "start again when it is complete"
        )
    if is_without_objects(path):
        found.add("annotations")
    for key in add:
        if key not in found:
            raise _no_table(path, key)


def _no_table(path: Path, key: str) -> ValueError:
    return ValueError(
        f"{path}: expected a list of objects under the key {key!r}, found none;"
        " give an instances file in COCO layout"
    )


def is_background(category: Entry) -> bool:
    """Return whether a category stands for the background."""
    return whole_number(category.get("id")) == 0 and category.get("name") == BACKGROUND


def placeholders(table: Sequence[Entry], used: Container[int | None]) -> set[int]:
    """Return the positions of categories that only fill a place.

    They have no objects, and have another's name or are the supercategory of the others
    (Roboflow writes one for the project).
    """
    rows = [(whole_number(e.get("id")), str(e.get("name"))) for e in table]
    above = {str(entry.get("supercategory")) for entry in table}
    found = set()
    for place, (number, name) in enumerate(rows):
        same = [n for n, title in rows if title == name]
        is_root = name in above and table[place].get("supercategory") == "none"
        # Of several unused categories with one name, the last is kept.
        spare = len(same) > 1 and (number != same[-1] or any(n in used for n in same))
        if number not in used and (spare or (is_root and len(table) > 1)):
            found.add(place)
    return found


def read_categories(
    path: Path, table: Sequence[Entry], used: Container[int | None], drops: Drops
) -> tuple[list[str], list[int]]:
    """Return the class names and their category ids, by ascending id.

    `placeholders` are dropped, and so is the background, which some exporters list as
    category 0.

    Raises:
        ValueError: there are none, or an id or name occurs twice.
    """
    numbers = [get_whole(path, "categories", p, e, "id") for p, e in enumerate(table)]
    titles = [str(get(path, "categories", p, e, "name")) for p, e in enumerate(table)]
    spare = placeholders(table, used)
    names: dict[int, str] = {}
    for place, (number, name) in enumerate(zip(numbers, titles, strict=True)):
        if is_background(table[place]):
            continue
        if place in spare:
            detail = f"{name!r} (id {number}) in {path}"
            drops.add("placeholder category without objects", detail)
            continue
        if number in names or name in names.values():
            raise ValueError(
                f"{path}: categories[{place}]: expected ids and names that differ, "
                f"found id {number} or name {name!r} a second time; rename one"
            )
        names[number] = name
    if not names:
        raise ValueError(f"{path}: expected categories, found none; add them")
    ids = sorted(names)
    return [names[number] for number in ids], ids


def read_keypoint_names(
    path: Path, table: Sequence[Entry], annotations: Annotations, drops: Drops
) -> KeypointNames | None:
    """Return the keypoints that the categories name; None if they name none.

    Raises:
        ValueError: categories differ in their keypoints, or annotations have another
            number of them.
    """
    lists = {
        tuple(map(str, names)): place
        for place, entry in reversed(list(enumerate(table)))
        if isinstance(names := entry.get("keypoints"), list) and names
    }
    if len(lists) > 1:
        first, second, *_ = sorted(lists.values())
        raise ValueError(
            f"{path}: categories[{second}]: expected the keypoints of "
            f"categories[{first}], found others; the classes of a data set share their "
            "keypoints"
        )
    names = next(iter(lists), ())
    found = annotations.columns.get("keypoints")
    count = len(names) if found is None else found.row[0]
    if count != len(names):
        named = f"{len(names)} ({few(names)})" if names else "none"
        raise ValueError(
            f"{path}: {annotations.first_keypoints}: expected as many keypoints as "
            f"the category names under 'keypoints', {named}, found {count}; name them "
            "there, left and right ones alike, as in left_eye and right_eye"
        )
    if not names:
        return None
    if found is None:
        annotations.expect_keypoints(count, "")
    links = []
    for link in table[lists[names]].get("skeleton") or ():
        try:
            a, b = map(int, link)
        except (TypeError, ValueError):
            a = b = 0
        if min(a, b) >= 1 and max(a, b) <= count:
            links.append((a - 1, b - 1))
        else:
            kind = "link of the skeleton that is no pair of keypoints, counted from 1"
            drops.add(kind, f"{link!r:.40} in {path}")
    return KeypointNames(names, flip_pairs(names), tuple(links))
