"""Check the annotations: boxes, repeated boxes, and the names of classes."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from ..allowed_names import fault_of_name
from ..readiness import is_tiny
from ..records import did_you_mean
from .entries import Defect, Entry, Source


def check_boxes(entries: Sequence[Entry]) -> list[Defect]:
    """Find boxes that training would drop or clip, repeated and tiny boxes."""
    defects = []
    for entry in entries:
        closing = entry.source.closing
        seen: dict[tuple[float, ...], list[str]] = {}
        for written, kind in zip(entry.objects, entry.box_faults, strict=True):
            x1, y1, x2, y2 = written.box
            detail = (
                f"{written.name} {written.place + 1}: ({x1 + closing:g}, "
                f"{y1 + closing:g}, {x2:g}, {y2:g})"
            )
            if kind:
                width, height = entry.size
                detail += f" in {width} x {height}"
            elif others := seen.get(written.box):
                same = written.name in others
                kind = "duplicate box" if same else "box of two classes"
                detail += "" if same else f", also {others[0]}"
            elif is_tiny(written.box):
                kind = "box of a pixel or less"
            seen.setdefault(written.box, []).append(written.name)
            if kind:
                if entry.source.layout == "coco":
                    detail = f"{entry.path.name}: {detail}"
                defects.append(
                    Defect(kind, entry.annotation, detail, entry, written.place)
                )
        if entry.splits and not entry.objects:
            kind = "image without objects"
            defects.append(Defect(kind, entry.path, "no object", entry))
    return defects


def known_classes(
    entries: Sequence[Entry], categories: Mapping[Source, Collection[str]]
) -> list[str]:
    """Return the class names that training knows, sorted.

    They are those of a published set, else the categories of the file that is trained
    on, else all names in the annotations of a folder in VOC layout, of any split.
    """
    published = {n for e in entries for n in e.source.classes or ()}
    training = {s: names for s, names in categories.items() if "train" in s.splits}
    listed = {name for names in (training or categories).values() for name in names}
    if published or listed:
        return sorted(published or listed)
    return sorted({w.name for entry in entries for w in entry.objects})


def check_classes(entries: Sequence[Entry], known: Sequence[str]) -> list[Defect]:
    """Find objects of unknown classes, misspelt names, and classes without examples."""
    counts = Counter(w.name for entry in entries for w in entry.objects)
    renamed = misspelt_names(entries)
    allowed = set(known)
    defects = _untrained(entries, allowed - set(renamed))
    for entry in entries:
        for written in entry.objects:
            name, detail = written.name, f"object {written.place + 1}: "
            if name in renamed:
                better = renamed[name]
                detail += (
                    f"{name!r} ({counts[name]} x), is it {better!r} "
                    f"({counts[better]} x)?"
                )
                kind = "misspelt class"
            elif fault := fault_of_name(name):
                detail += f"{name[:40]!r} {fault}; rename it"
                kind = "unknown class"
            elif name not in allowed:
                detail += f"{name!r}{did_you_mean(name, allowed)}"
                kind = "unknown class"
            else:
                continue
            defects.append(Defect(kind, entry.annotation, detail, entry, written.place))
    return defects


def _untrained(entries: Sequence[Entry], known: Collection[str]) -> list[Defect]:
    """Find classes that occur only in splits that are not trained on."""
    splits: dict[str, Counter[str]] = {}  # objects by class and split
    first: dict[str, Entry] = {}
    for entry in entries:
        for written in entry.objects if entry.splits else ():
            splits.setdefault(written.name, Counter()).update(entry.splits)
            first.setdefault(written.name, entry)
    for_training = {"train", "trainval"}
    if not any(for_training & set(entry.splits) for entry in entries):
        return []
    return [
        Defect(
            "class without training example",
            first[name].annotation,
            f"{name!r}: {', '.join(f'{n} in {split}' for split, n in found.items())}",
        )
        for name, found in sorted(splits.items())
        if name in known and not for_training & set(found)
    ]


def misspelt_names(entries: Sequence[Entry]) -> dict[str, str]:
    """Map each misspelt class name of a data set to the correct one."""
    counts = Counter(w.name for entry in entries for w in entry.objects)
    published = {n for e in entries for n in e.source.classes or ()}
    return misspellings(counts, published)


def misspellings(
    counts: Mapping[str, int], published: Collection[str] = ()
) -> dict[str, str]:
    """Map each name that looks misspelt to the correct one.

    The rarer of two similar names is the misspelt one. Names that differ in digits, and
    short names that differ in a letter, are different classes (RBC and WBC); a rare
    short name with two letters swapped is misspelt (RCB).

    Args:
        published: correct names; they need not occur.
    """
    plain = {name: _plain(name) for name in {*counts, *published}}
    number = {name: counts.get(name, 0) for name in plain}
    right: list[str] = []
    renamed: dict[str, str] = {}
    for name in sorted(plain, key=lambda n: (n not in published, -number[n], n)):
        near = (
            other
            for other in right
            if _alike(plain[name], plain[other], number[name], number[other])
        )
        better = None if name in published else next(near, None)
        if better is None:
            right.append(name)
        else:
            renamed[name] = better
    return renamed


def _alike(ours: str, theirs: str, our_count: int, their_count: int) -> bool:
    """Return whether a name is probably a misspelling of a more common one."""
    if ours == theirs:
        return True
    if re.findall(r"\d+", ours) != re.findall(r"\d+", theirs):
        return False
    length = min(len(ours), len(theirs))
    distance = edit_distance(ours, theirs)
    if length < 5:
        # In a short name, only two swapped letters are taken for a slip, if it is rare:
        # swapping makes other words too, such as act of cat.
        swapped = distance == 1 and sorted(ours) == sorted(theirs)
        return swapped and 20 * our_count <= their_count
    if not (ours[:2] == theirs[:2] or ours[-2:] == theirs[-2:]):
        return False
    if distance == 1 and len(ours) == len(theirs) and sorted(ours) != sorted(theirs):
        # Replacing one letter also makes other words, such as grass of brass.
        return 4 * our_count <= their_count
    return distance <= (1 if length < 9 else 2)


def _plain(name: str) -> str:
    """Remove case, spaces, repeated letters and the plural's ending."""
    letters = re.sub(r"[\s_-]+", "", name.casefold())
    return re.sub(r"(\D)\1+", r"\1", letters).removesuffix("s") or name


def edit_distance(ours: str, theirs: str) -> int:
    """Count insertions, deletions, replacements and swaps of neighbours between words.

    >>> edit_distance("platelet", "palteletx")
    2
    """
    rows = [list(range(len(theirs) + 1))]
    for i, a in enumerate(ours, start=1):
        row = [i]
        for j, b in enumerate(theirs, start=1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (a != b))
            if i > 1 and j > 1 and (a, b) == (theirs[j - 2], ours[i - 2]):
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]
