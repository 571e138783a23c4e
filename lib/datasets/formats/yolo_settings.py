"""Read the settings of a folder in YOLO layout, above all the class names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ...utils.untrusted.safe_yaml import TextLoader, read_settings_file, read_yaml
from ..records import KeypointNames
from .values import read_lines, whole_number
from .written_keypoints import flip_pairs

NAMES_FILES = ("classes.txt", "obj.names")
"""Files with the class names, used if data.yaml has none."""


def read_settings(path: Path) -> dict[str, Any]:
    """Read data.yaml; numbers and words such as 01 and no are kept as text.

    Raises:
        ValueError: it is not YAML, or has no keys.
    """
    try:
        content = read_yaml(read_settings_file(path, encoding="utf-8-sig"), TextLoader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path}: expected settings in YAML, cannot read them ({reason}); correct "
            "the file"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: expected keys such as names, train and val, found "
            f"{type(content).__name__}; correct the file"
        )
    return content


class Pose(NamedTuple):
    """The keypoints in the rows of labels."""

    keypoints: KeypointNames  # their names
    values: int  # numbers of each: x, y and, if 3, visibility


def read_pose(path: Path, content: Mapping[str, Any]) -> Pose | None:
    """Read kpt_shape, flip_idx and kpt_names; None for labels without keypoints.

    Without kpt_names, keypoints are numbered from 1; without flip_idx, left and right
    ones are found by name.

    Raises:
        ValueError: a value is malformed, or does not fit the number of keypoints.
    """
    shape = content.get("kpt_shape")
    if shape is None:
        return None
    count, values = _whole_numbers(shape, 2) or (0, 0)
    if count < 1 or values not in (2, 3):
        raise ValueError(
            f"{path}: expected under kpt_shape the number of keypoints and 2 or 3 for "
            f"the numbers of each, as in [17, 3], found {shape!r:.80}; correct it"
        )
    names = content.get("kpt_names")
    if isinstance(names, dict):  # a list for each class
        names = next(iter(names.values()), None)
    if names is None:
        names = [f"keypoint {number}" for number in range(1, count + 1)]
    if not isinstance(names, list) or len(names) != count:
        raise ValueError(
            f"{path}: expected {count} names under kpt_names, as kpt_shape says, found "
            f"{names!r:.80}; correct one of the two"
        )
    names = tuple(map(str, names))
    pairs = flip_pairs(names)
    if content.get("flip_idx") is not None:
        others = _whole_numbers(content["flip_idx"], count)
        if others is None or any(
            not 0 <= b < count or others[b] != a for a, b in enumerate(others)
        ):
            raise ValueError(
                f"{path}: expected under flip_idx the mirrored keypoint of each of the "
                f"{count}, counted from 0, found {content['flip_idx']!r:.80}; correct "
                "it"
            )
        pairs = tuple((a, b) for a, b in enumerate(others) if a < b)
    return Pose(KeypointNames(names, pairs), values)


def _whole_numbers(values: Any, count: int) -> list[int] | None:
    """Read a list of so many whole numbers; None for others."""
    if not isinstance(values, list) or len(values) != count:
        return None
    numbers = [whole_number(value) for value in values]
    found = [number for number in numbers if number is not None]
    return found if len(found) == count else None


def class_names(path: Path, names: Any, count: Any) -> dict[int, str]:
    """Read the class names from a list or a mapping from class ids, by ascending id.

    Args:
        names: its value of names.
        count: its value of nc.

    Raises:
        ValueError: names is neither, an entry is not a name, names repeat, or their
            number differs.
    """
    if not isinstance(names, (list, dict)) or not names:
        raise ValueError(
            f"{path}: expected under names a list of class names, or a mapping from "
            f"class ids, found {names!r}; correct it"
        )
    if isinstance(names, list):
        names = dict(enumerate(names))
    found: dict[int, str] = {}
    for key, name in names.items():
        number = whole_number(key)
        if number is None or number < 0 or number in found:
            raise ValueError(
                f"{path}: expected class ids of 0 or more under names, each once, "
                f"found {key!r}; correct it"
            )
        if not isinstance(name, str) or not name.strip():
            raise ValueError(
                f"{path}: expected a name for class {number}, found {name!r}; write one"
            )
        found[number] = name
    if whole_number(count) not in (None, len(names)):
        raise ValueError(
            f"{path}: expected nc to be the number of names, found {count} for "
            f"{len(names)} names; correct one of the two"
        )
    return _distinct(path, {number: found[number] for number in sorted(found)})


def names_file(folder: Path, settings: Path | None) -> dict[int, str]:
    """Read the class names from a separate file, one per line.

    Raises:
        ValueError: there is no such file, or it is malformed.
    """
    for path in (
        place / name for place in (folder, folder / "labels") for name in NAMES_FILES
    ):
        if not path.is_file():
            continue
        lines = read_lines(path, "class names")
        while lines and not lines[-1].strip():
            lines.pop()
        names = {number: line.strip() for number, line in enumerate(lines)}
        if not names or "" in names.values():
            raise ValueError(
                f"{path}: expected a class name in each line, found an empty "
                f"{'line' if names else 'file'}; correct it"
            )
        return _distinct(path, names)
    raise ValueError(
        f"{folder}: expected the names of the classes under names in "
        f"{settings.name if settings else 'data.yaml'}, or in classes.txt, one per "
        "line, found neither; write one of them"
    )


def _distinct(path: Path, names: dict[int, str]) -> dict[int, str]:
    for name in names.values():
        same = [str(number) for number, other in names.items() if other == name]
        if len(same) > 1:
            raise ValueError(
                f"{path}: expected class names that differ, found {name!r} for the "
                f"class ids {' and '.join(same)}; rename one"
            )
    return names
