"""VOC's XML files in other places than VOC's own.

LabelImg, CVAT and many archives write them beside the pictures, or into annotations/
beside images/; Roboflow into a folder of each split; others leave out the lists.
"""

from pathlib import Path
from typing import NamedTuple

from ..formats.values import read_lines
from ..formats.voc import (
    annotation_files,
    image_files,
    image_lists,
    list_file,
    listed_stems,
)
from ..splitting import split_in
from .export import Export, Splitter, chosen_splits, link, subfolders

_ANNOTATIONS = ("Annotations", "annotations", "xmls", "xml", "labels", "Labels")
_IMAGES = ("JPEGImages", "images", "Images", "imgs", "img", "image", "pictures")


class _Item(NamedTuple):
    stem: str
    annotation: Path
    image: Path


def find_xml_folders(folder: Path) -> Export | None:
    """Recognise XML files with their pictures; see the module's description."""
    sets = {
        split_in(place.name): items
        for place in subfolders(folder)
        if split_in(place.name) and (items := _items(place))
    }
    if not sets and (items := _items(folder)):
        sets = _listed(folder, items)
    if not sets:
        return None
    everything = [item for items in sets.values() for item in items]

    def write(view: Path, splitter: Splitter) -> None:
        taken: set[str] = set()
        pictures = [item.image for item in everything]
        for split, items in chosen_splits(sets, splitter, pictures).items():
            names = []
            for item in items:
                name = item.stem if item.stem not in taken else f"{split}_{item.stem}"
                taken.add(name)
                names.append(name)
                link(view / "Annotations" / f"{name}.xml", item.annotation)
                link(view / "JPEGImages" / f"{name}{item.image.suffix}", item.image)
                mask = folder / "SegmentationObject" / f"{item.stem}.png"
                if mask.is_file():
                    link(view / "SegmentationObject" / f"{name}.png", mask)
            path = list_file(view, split)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")

    files = [path for item in everything for path in item[1:]]
    return Export("XML files in VOC's format", files, len(sets) > 1, write)


def _items(folder: Path) -> list[_Item]:
    """Pair the XML files of a folder with its pictures; those without one are left."""
    places = [folder, *(folder / name for name in _ANNOTATIONS)]
    annotations = next(filter(None, map(annotation_files, places)), {})
    for place in [folder, *(folder / name for name in _IMAGES)]:
        images = image_files(place)
        stems = sorted(annotations.keys() & images.keys())
        if stems:
            return [_Item(stem, annotations[stem], images[stem]) for stem in stems]
    return []


def _listed(folder: Path, items: list[_Item]) -> dict[str, list[_Item]]:
    """Assign items to the splits that lists of the folder name, if there are any."""
    of_stem = {item.stem: item for item in items}
    sets = {}
    for name in image_lists(folder):
        stems = [stem for _, stem in listed_stems(read_lines(list_file(folder, name)))]
        sets[name] = [of_stem[stem] for stem in dict.fromkeys(stems) if stem in of_stem]
    known = {
        name: own
        for name, own in sets.items()
        if name in ("train", "val", "test", "trainval") and own
    }
    if len(known) == 1:
        return {"": next(iter(known.values()))}
    return known or {"": items}
