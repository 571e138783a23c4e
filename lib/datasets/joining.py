"""Combine data sets: select some of their classes, join several into one.

The results keep the columns of the original index; changes are held in memory.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from .index.index_format import Array, Index, object_columns
from .index.indexed_records import Part, Records, as_records
from .records import BACKGROUND, BoolArray, Dataset, Drops, did_you_mean, few


def count_difficult(dataset: Dataset) -> Dataset:
    """Make difficult objects ordinary: trained on, and counted in evaluation."""

    def plain(columns: Mapping[str, Array]) -> Mapping[str, Array]:
        return {**columns, "difficult": np.zeros_like(columns["difficult"])}

    return replace(dataset, records=_changed(dataset, plain))


def select_classes(parts: Sequence[Dataset], classes: Sequence[str]) -> list[Dataset]:
    """Keep the objects of some classes, in a given order; all images are kept.

    Args:
        parts: one data set, or several to be joined. At least one of them must have
            each class.
        classes: class names without the background.

    Raises:
        ValueError: a class is unknown, or named twice.
    """
    known: dict[str, int] = {}  # name to category id, of the first part that has it
    for part in reversed(parts):
        known |= dict(zip(part.classes[1:], part.category_ids[1:], strict=True))
    for place, name in enumerate(classes):
        if name not in known:
            raise ValueError(
                f"{'+'.join(part.name for part in parts)}: unknown class {name!r}"
                f"{did_you_mean(name, known)}; expected data.classes among "
                f"{', '.join(known)}"
            )
        if name in classes[:place]:
            raise ValueError(
                f"data.classes: expected distinct names, found {name!r} twice"
            )
    ids = tuple(known[name] for name in classes)
    if parts[0].layout == "voc" or len(set(ids)) < len(ids):
        ids = tuple(range(1, len(classes) + 1))
    return [_select(part, tuple(classes), ids) for part in parts]


def _select(
    dataset: Dataset, classes: tuple[str, ...], ids: tuple[int, ...]
) -> Dataset:
    class_of = np.zeros(len(dataset.classes), np.int32)  # 0 for classes not selected
    for number, name in enumerate(classes, start=1):
        if name in dataset.classes:
            class_of[dataset.classes.index(name)] = number

    def chosen(columns: Mapping[str, Array]) -> Mapping[str, Array]:
        numbers = class_of[columns["classes"]]
        return _rows({**columns, "classes": numbers}, numbers > 0)

    drops = Drops()
    records = as_records(dataset.records)
    others = np.flatnonzero(class_of[records.classes] == 0)
    if len(others):
        first = int(others[0])
        name = dataset.classes[records.classes[first]]
        image = records[int(records.images[first])].path
        drops.add(
            "object of a class not in data.classes", f"{name} in {image}", len(others)
        )
    return replace(
        dataset,
        classes=(BACKGROUND, *classes),
        records=_changed(dataset, chosen),
        drops=dataset.drops | drops.log(dataset.name),
        category_ids=(0, *ids),
    )


def _changed(
    dataset: Dataset, change: Callable[[Mapping[str, Array]], Mapping[str, Array]]
) -> Records:
    return Records(
        [
            Part(
                Index(None, part.index.facts, change(part.index.columns)),
                part.folder,
                part.prefix,
            )
            for part in as_records(dataset.records).parts
        ]
    )


def with_columns(dataset: Dataset, more: Mapping[str, Array]) -> Dataset:
    """Add columns of a data set with the same objects, such as their masks."""
    return replace(dataset, records=_changed(dataset, lambda own: {**own, **more}))


def _rows(columns: Mapping[str, Array], kept: BoolArray) -> dict[str, Array]:
    """Restrict the columns to some of the objects."""
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])
    return {
        **columns,
        "starts": ends[columns["starts"]],
        **{name: columns[name][kept] for name in object_columns(columns)},
    }


def join(parts: Sequence[Dataset]) -> Dataset:
    """Concatenate data sets of the same classes.

    Raises:
        ValueError: they differ in layout, classes, masks or keypoints, or share an
            image.
    """
    first, *others = parts
    for other in others:
        if (other.classes, other.layout) != (first.classes, first.layout):
            raise ValueError(
                f"{first.name}+{other.name}: expected the same layout and classes, "
                f"found {first.layout} with {', '.join(first.classes[1:])} and "
                f"{other.layout} with {', '.join(other.classes[1:])}; train on one, or "
                "name the classes to use in data.classes"
            )
        if (other.has_masks, other.keypoints) != (first.has_masks, first.keypoints):
            raise ValueError(
                f"{first.name}+{other.name}: expected masks in both or in none, and "
                f"the same keypoints, found {_instances(first)} and "
                f"{_instances(other)}; train on one"
            )
    if not others:
        return first
    drops: Counter[str] = Counter()
    for part in parts:
        drops.update(part.drops)
    return Dataset(
        name="+".join(part.name for part in parts),
        layout=first.layout,
        classes=first.classes,
        records=_join_records(parts),
        drops=dict(drops),
        annotation_file=None,
        category_ids=first.category_ids,
        has_masks=first.has_masks,
        keypoints=first.keypoints,
        joined=tuple((part.name, len(part.records)) for part in parts),
    )


def _instances(dataset: Dataset) -> str:
    masks = "masks" if dataset.has_masks else "no masks"
    names = dataset.keypoints.names if dataset.keypoints else ("none",)
    return f"{masks} with keypoints {few(names)}"


def _join_records(parts: Sequence[Dataset]) -> Records:
    """Join records; if two images have the same id, prefix all ids by set names."""
    columns = [as_records(part.records) for part in parts]
    joined = Records([piece for records in columns for piece in records.parts])
    path = _repeated(joined.paths)
    if path is not None:
        raise ValueError(
            f"{'+'.join(part.name for part in parts)}: expected sets without "
            f"common images, found {path} twice; remove one set"
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
    """Return a word that occurs more than once."""
    if len(set(words)) == len(words):
        return None
    return max(Counter(words).items(), key=lambda item: item[1])[0]
