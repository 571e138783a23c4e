"""Score thresholds by class: given by name, or the best ones of a test's table."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..datasets.records import FloatArray, did_you_mean
from ..utils.untrusted.json_files import read_json

_TABLE = "errors.json"


def class_thresholds(
    classes: Sequence[str], default: float, by_name: Mapping[str, float]
) -> FloatArray:
    """Return the score ``(C,)`` that detections of each class must exceed.

    Args:
        classes: C names, background first.
        default: threshold of the classes that are not named.

    Raises:
        ValueError: a class is unknown, or a threshold is not from 0 to 1.
    """
    found = np.full(len(classes), default, np.float32)
    for name, threshold in by_name.items():
        if name not in classes[1:]:
            raise ValueError(
                f"score threshold of the unknown class {name!r}"
                f"{did_you_mean(str(name), classes[1:])}; the detector knows "
                f"{', '.join(classes[1:])}"
            )
        if not 0 <= threshold <= 1:
            raise ValueError(
                f"score threshold of {name}: expected a number from 0 to 1, found "
                f"{threshold}"
            )
        found[classes.index(name)] = threshold
    return found


def read_thresholds(source: str | Path) -> dict[str, float]:
    """Read the thresholds of a test's report with the best F1 of each class.

    Args:
        source: a test's ``errors.json`` or its folder, or the folder of a run, whose
            newest test is taken.

    Returns:
        Thresholds by class: scores above it are those that the table shows. A class
        of which the test found no object is left out.

    Raises:
        ValueError: there is no such file, or it is of another kind.
    """
    path = _find(Path(source).expanduser())
    content = read_json(path, expected="the error analysis of a test", remedy=_REMEDY)
    try:
        scores = {
            name: entry["best_score"]
            for name, entry in content["per_class"].items()
            if entry["best_score"] is not None
        }
        # The table has the lowest score that is shown, which a threshold is below.
        return {
            name: float(np.nextafter(np.float32(score), np.float32(0)))
            for name, score in scores.items()
        }
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        found = f"no {error}" if isinstance(error, KeyError) else f"none ({error!r})"
        raise ValueError(
            f"{path}: expected the best score of each class (per_class, best_score), "
            f"found {found}; {_REMEDY}"
        ) from error


_REMEDY = "give the errors.json that frcnn test or frcnn reval --report wrote"


def _find(source: Path) -> Path:
    if not source.is_dir():
        return source
    places = (source / _TABLE, *source.glob(f"test/*/*/{_TABLE}"))
    tables = [path for path in places if path.is_file()]
    if not tables:
        raise ValueError(
            f"{source}: expected a test's {_TABLE}, here or in test/SET/CHECKPOINT/, "
            f"found none; {_REMEDY}"
        )
    return max(tables, key=lambda path: path.stat().st_mtime)
