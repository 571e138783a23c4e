"""Check that the sets of a run fit together: their classes, and shared images."""

import filecmp
import os
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from .index.indexed_records import as_records
from .joining import select_classes
from .records import Dataset, few


def with_known_classes(dataset: Dataset, train_set: Dataset) -> Dataset:
    """Drop unused classes that the training set does not have.

    Raises:
        ValueError: there are objects of a class that the training set does not have.
    """
    classes = dataset.classes
    unknown = [c for c, name in enumerate(classes) if name not in train_set.classes]
    if not unknown:
        return dataset
    records = as_records(dataset.records)
    rows = np.flatnonzero(np.isin(records.classes, unknown))
    if len(rows) or len(unknown) == len(classes) - 1:
        names = sorted({classes[c] for c in records.classes[rows]} or classes[1:])
        first = [records[int(records.images[row])].path for row in rows[:1]]
        where = f", first in {first[0]}" if first else ""
        count = f"{len(rows)} object{'s' * (len(rows) != 1)}"
        raise ValueError(
            f"{dataset.name}: expected classes that {train_set.name} has too, found "
            f"{count} of {few(names)}{where}, which a detector cannot "
            "learn; add them to the training set (to the categories of its file), or "
            "name the classes to use in data.classes"
        )
    known = [name for name in classes[1:] if name in train_set.classes]
    return select_classes([dataset], known)[0]


def shared_pictures(
    train_set: Dataset, validation_set: Dataset | None, test_set: Dataset
) -> list[str]:
    """Report images that are in two sets of a run and make its result too good.

    A test on the validation set, in place of a missing test set, is not reported.
    """
    memorised = "the result measures memorised images"
    optimistic = "the best checkpoint is chosen on them, so the test is optimistic"
    pairs = [(train_set, test_set, memorised)]
    if validation_set and not same_pictures(validation_set, test_set):
        pairs.append((train_set, validation_set, memorised))
        pairs.append((validation_set, test_set, optimistic))
    lines = []
    for ours, theirs, effect in pairs:
        paths = common_files(_paths(ours), _paths(theirs))
        if paths:
            lines.append(
                f"{ours.name} and {theirs.name} share {len(paths)} of "
                f"{len(theirs.records)} images, first {paths[0]}: {effect} "
                "(docs/own_data.md)"
            )
    return lines


def same_pictures(ours: Dataset, theirs: Dataset) -> bool:
    """Return whether two sets consist of the same files in the same order."""
    return _paths(ours) == _paths(theirs)


def _paths(dataset: Dataset) -> list[str]:
    return as_records(dataset.records).paths


def common_files(ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """Return the files in `theirs` that are in `ours`, or copies of the same name.

    tools/check_dataset.py, which reads all files, also finds copies of other names.
    """
    same_name: dict[str, list[str]] = defaultdict(list)
    for path in ours:
        same_name[os.path.basename(path)].append(path)
    return [
        path
        for path in theirs
        if any(_same(path, own) for own in same_name.get(os.path.basename(path), ()))
    ]


def _same(ours: str, theirs: str) -> bool:
    """Return whether two paths are one file, or files with the same bytes."""
    try:
        return ours == theirs or filecmp.cmp(ours, theirs, shallow=False)
    except OSError:  # the loader reports it
        return False
