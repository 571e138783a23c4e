"""Pictures that occur twice: within a split, or on two sides of a split.

Equal bytes are found by digest. A picture that was stored again, smaller or at another
quality, has nearly the same 8 x 8 difference hash; a comparison of thumbnails settles
whether it is the same.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from .entries import SPLITS, Defect, Entry, are_apart

_BANDS = 4
"""Of two hashes that differ in fewer bits than this, one band of 16 bits is equal."""
_NEIGHBOURS = 16
_CORRELATION = 0.985


def check_likeness(entries: Sequence[Entry]) -> list[Defect]:
    """Find leakage and duplicates; each entry that should go is named once."""
    found: dict[int, Defect] = {}
    listed = [i for i, entry in enumerate(entries) if entry.splits]
    for i in listed:
        if apart := are_apart(entries[i].splits, entries[i].splits):
            detail = f"listed in {apart[0]} and {apart[1]}"
            kind = "leakage between splits"
            found[i] = Defect(kind, entries[i].path, detail, entries[i])
    readable = [i for i in listed if not entries[i].facts.problem]
    pairs = [(i, j, "same bytes as") for i, j in _same_bytes(entries, readable)]
    pairs += [(i, j, "same picture as") for i, j in _same_look(entries, readable)]
    for i, j, how in pairs:
        # The side nearer to the test keeps the picture; within a split the first does.
        gone, kept = (i, j) if _rank(entries[i]) < _rank(entries[j]) else (j, i)
        ours, theirs = entries[gone], entries[kept]
        apart = are_apart(ours.splits, theirs.splits)
        kind = "leakage between splits" if apart else "duplicate image"
        if gone in found and (
            found[gone].kind == "leakage between splits" or not apart
        ):
            continue
        sides = f" ({apart[0]} and {apart[1]})" if apart else f" ({ours.splits[0]})"
        detail = f"{how} {theirs.path}{sides}"
        found[gone] = Defect(kind, ours.path, detail, ours)
    return [found[i] for i in sorted(found)]


def _rank(entry: Entry) -> int:
    return max(SPLITS.index(split) for split in entry.splits)


def _same_bytes(
    entries: Sequence[Entry], chosen: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Pair each file with the first of the same bytes in each choice of splits."""
    groups: dict[bytes, dict[tuple[str, ...], int]] = {}
    for i in chosen:
        firsts = groups.setdefault(entries[i].facts.digest, {})
        firsts.setdefault(entries[i].splits, i)
    for i in chosen:
        for j in groups[entries[i].facts.digest].values():
            if i != j:
                yield min(i, j), max(i, j)


def _same_look(
    entries: Sequence[Entry], chosen: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Pair files whose pictures look the same though their bytes differ.

    Each hash is compared with the next few of equal bits in a band, which bounds the
    work for any number of images; of very many like pictures not all pairs are found.
    """
    hashed = [i for i in chosen if entries[i].facts.gradient_hash is not None]
    if len(hashed) < 2:
        return
    hashes = np.array([entries[i].facts.gradient_hash for i in hashed], np.uint64)
    pairs = set()
    for band in range(_BANDS):
        # Turned so that the band leads: sorting puts equal bands, then near hashes,
        # next to each other.
        left, right = np.uint64(16 * band), np.uint64((64 - 16 * band) % 64)
        turned = (hashes << left) | (hashes >> right) if band else hashes
        order = np.argsort(turned, kind="stable")
        ordered = turned[order]
        for step in range(1, min(_NEIGHBOURS, len(ordered) - 1) + 1):
            differing = ordered[step:] ^ ordered[:-step]
            bits = np.unpackbits(differing.view(np.uint8).reshape(-1, 8), axis=1)
            for at in np.flatnonzero(bits.sum(axis=1) < _BANDS):
                first, second = sorted((hashed[order[at]], hashed[order[at + step]]))
                pairs.add((first, second))
    for i, j in sorted(pairs):
        ours, theirs = entries[i].facts, entries[j].facts
        if ours.digest != theirs.digest and _correlation(ours, theirs) > _CORRELATION:
            yield i, j


def _correlation(*both: object) -> float:
    ours, theirs = (
        np.frombuffer(facts.thumbnail, np.uint8).astype(np.float64)  # type: ignore[attr-defined]
        for facts in both
    )
    return float(np.corrcoef(ours, theirs)[0, 1])
