"""Split images that nobody has split into sets for training, validation and testing.

The choice depends on the names of the images alone, so it is the same everywhere.
Images that look the same, such as the frames of a video, go into one set together, so
that a test does not measure what was trained on.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from .likeness import Look, alike, look_of
from .loading.channels import read_shown
from .loading.images import ImageError

SPLITS = ("train", "val", "test")
DEFAULT_SHARES = (0.8, 0.2, 0.0)

_WORDS = {
    "train": ("train", "training", "trainval"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


def split_in(name: str) -> str:
    """Return the split that a name such as valid or my_train.json says; "" for none."""
    words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return next((s for s, known in _WORDS.items() if set(words) & {*known}), "")


def parse_shares(text: str) -> tuple[float, float, float]:
    """Parse shares of training, validation and test images, such as 0.8/0.1/0.1.

    Raises:
        ValueError: the text is something else, or the shares do not add up to 1.
    """
    try:
        shares = [float(part) for part in text.split("/")]
    except ValueError:
        shares = []
    if len(shares) == 2:
        shares.append(0.0)
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(
            "expected shares of training, validation and test images that add up to 1, "
            f"such as 0.8/0.1/0.1 or 0.8/0.2, found {text!r}"
        )
    if shares[0] == 0 or shares[1:] == [0, 0]:
        raise ValueError(
            f"expected images to train on and others to test on, found {text!r}"
        )
    return shares[0], shares[1], shares[2]


def split_images(
    images: Sequence[Path],
    names: Sequence[str],
    *,
    shares: Sequence[float] = DEFAULT_SHARES,
    earlier: Mapping[str, str],
) -> dict[str, str]:
    """Assign images to train, val and test; return the split of each name.

    Every split with a share has an image.

    Args:
        images: the files, for their looks.
        names: a name of each, which determines its place.
        shares: shares of the splits, adding up to 1.
        earlier: split by name from an earlier call; these images keep theirs, unless
            they look like an image of another split.

    Raises:
        ValueError: there are fewer groups of images that look the same than splits.
    """
    groups = _groups(images)
    order = sorted(
        set(groups),
        key=lambda group: hashlib.sha256(names[group].encode()).digest(),
    )
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    wanted = dict(zip(SPLITS, (share * len(images) for share in shares), strict=True))
    counts = dict.fromkeys(SPLITS, 0)
    found: dict[str, str] = {}

    def assign(group: int, split: str) -> None:
        counts[split] += len(members[group])
        found.update({names[row]: split for row in members[group]})

    fresh = []
    for group in order:
        kept = [earlier[names[r]] for r in members[group] if names[r] in earlier]
        if kept:
            assign(group, max(kept, key=lambda s: (kept.count(s), s == "train")))
        else:
            fresh.append(group)
    for group in fresh:
        # The split that is the furthest below its share; of equals, the largest.
        lacking = {s: 1 - counts[s] / wanted[s] for s in SPLITS if wanted[s] > 0}
        assign(group, max(lacking, key=lambda s: (lacking[s], wanted[s])))
    asked = [s for s, share in zip(SPLITS, shares, strict=True) if share]
    if not all(counts[s] for s in asked):
        found_images = f"{len(images)} image{'s' if len(images) > 1 else ''}"
        if len(members) < len(images):
            found_images += f" of which only {len(members)} look different"
        raise ValueError(
            f"expected images for the splits {', '.join(asked)}, found "
            f"{found_images}; annotate more, or split them by hand"
        )
    return found


def _groups(images: Sequence[Path]) -> list[int]:
    """Return for each image the first one of those that look the same."""
    first = list(range(len(images)))

    def root(row: int) -> int:
        while first[row] != row:
            first[row] = first[first[row]]
            row = first[row]
        return row

    for i, j in alike([_look(path) for path in images]):
        low, high = sorted((root(i), root(j)))
        first[high] = low
    return [root(row) for row in range(len(images))]


def _look(path: Path) -> Look:
    try:
        return look_of(read_shown(path))
    except ImageError:  # reported when the image is used
        return Look(None, b"")
