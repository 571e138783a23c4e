"""Read the metrics of runs back as curves to compare."""

import itertools
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import yaml

from ..untrusted.json_files import read_json
from ..untrusted.safe_yaml import read_yaml

logger = logging.getLogger(__name__)

_METRICS = "metrics.jsonl"


class Curve(NamedTuple):
    """The values of a quantity over a run.

    Attributes:
        iterations: ``(P,)`` rising.
        values: ``(P,)``; NaN and infinity are kept.
    """

    iterations: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


class RunCurves(NamedTuple):
    """All curves of a run.

    Attributes:
        name: a name that differs from the other runs'.
        settings: its recorded settings by ``section.key``; empty if unknown.
    """

    name: str
    curves: dict[str, Curve]
    settings: Mapping[str, object] = MappingProxyType({})


def read_runs(paths: Sequence[Path]) -> list[RunCurves]:
    """Read the curves of runs.

    Args:
        paths: run folders, or their metrics.jsonl.

    Raises:
        ValueError: a file is missing or empty, or a path is given twice.
    """
    files = [_metrics_file(path) for path in paths]
    folders = [file.absolute().parent for file in files]
    for folder in folders:
        if folders.count(folder) > 1:
            raise ValueError(f"{folder} is given twice; name each run once")
    return [
        RunCurves(
            name,
            _read_metrics(file) | _read_tests(folder),
            _read_settings(folder / "config.yml"),
        )
        for name, file, folder in zip(run_names(folders), files, folders, strict=True)
    ]


def run_names(folders: Sequence[Path]) -> list[str]:
    """Return the shortest distinct suffixes of the paths, at least folder names."""
    deepest = max(len(folder.parts) for folder in folders)
    for depth in range(1, deepest + 1):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"expected different folders, found {list(map(str, folders))}")


def smoothed(curve: Curve, window: int) -> Curve:
    """Average over the last ``window`` iterations before each, itself included.

    Values that are not finite are kept, and are excluded from the means.
    """
    if window <= 0:
        return curve
    finite = np.isfinite(curve.values)
    sums = np.cumsum(np.where(finite, curve.values, 0))
    counts = np.cumsum(finite)
    first = np.searchsorted(curve.iterations, curve.iterations - window, side="right")
    before = first - 1
    sums = sums - np.where(before >= 0, sums[before], 0)
    counts = counts - np.where(before >= 0, counts[before], 0)
    means = sums / np.maximum(counts, 1)
    return Curve(curve.iterations, np.where(finite, means, curve.values))


def thinned(curve: Curve, most: int) -> Curve:
    """Reduce to about ``most`` points: the ends, and the extremes of each stretch."""
    count = len(curve.values)
    if count <= most:
        return curve
    edges = np.linspace(0, count, max(most // 2, 1) + 1).astype(int)
    kept = {0, count - 1}
    for first, end in itertools.pairwise(edges.tolist()):
        part = curve.values[first:end]
        finite = np.where(np.isfinite(part), part, part[np.isfinite(part)][:1].sum())
        kept |= {first + int(finite.argmin()), first + int(finite.argmax())}
        kept |= {first + int(i) for i in np.flatnonzero(~np.isfinite(part))[:1]}
    places = sorted(kept)
    return Curve(curve.iterations[places], curve.values[places])


def _metrics_file(path: Path) -> Path:
    file = path / _METRICS if path.is_dir() else path
    if file.is_file():
        return file
    inside = sorted(path.glob(f"**/{_METRICS}")) if path.is_dir() else []
    if inside:
        some = ", ".join(str(each.parent) for each in inside[:3])
        raise ValueError(
            f"{path} is not a run but contains {len(inside)}: name them, such as {some}"
        )
    raise ValueError(
        f"expected the folder of a run, with {_METRICS} in it, found none at {path}; "
        "give output/<net>/<train set>/<tag>"
    )


def _read_settings(file: Path) -> dict[str, object]:
    """Read a run's settings as ``section.key``; none if the file is not readable."""
    if not file.is_file():
        return {}
    try:
        content = read_yaml(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, yaml.YAMLError) as error:
        logger.warning("left out the settings of %s: %s", file, error)
        return {}
    return {
        f"{section}.{key}": value
        for section, values in content.items()
        if isinstance(values, dict)
        for key, value in values.items()
    }


def differing_settings(
    runs: Sequence[RunCurves],
) -> dict[str, list[object]]:
    """Return the settings that differ between runs, with the value of each run.

    Runs without recorded settings are not compared; their values are empty.
    """
    known = [run.settings for run in runs if run.settings]
    keys = dict.fromkeys(key for settings in known for key in settings)
    return {
        key: [run.settings.get(key, "") for run in runs]
        for key in keys
        if any(settings.get(key) != known[0].get(key) for settings in known)
    }


def _read_metrics(file: Path) -> dict[str, Curve]:
    """Read the curves of a metrics file; repeated iterations count once."""
    rows: list[tuple[int, dict[str, float]]] = []
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    damaged = 0
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            iteration = int(row["iteration"])
        except (ValueError, KeyError, TypeError):
            # The last line may be incomplete, while it is being written.
            damaged += number < len(lines)
            continue
        while rows and rows[-1][0] > iteration:
            rows.pop()
        if rows and rows[-1][0] == iteration:  # a validation has its own line
            rows[-1][1].update(_numbers(row))
        else:
            rows.append((iteration, _numbers(row)))
    if damaged:
        logger.warning("%s: left out %d unreadable lines", file, damaged)
    if not rows:
        raise ValueError(
            f"{file} holds no line yet; a run writes one every train.log_every "
            "iterations"
        )
    names = dict.fromkeys(name for _, numbers in rows for name in numbers)
    return {
        name: _curve([(i, n[name]) for i, n in rows if name in n]) for name in names
    }


def _numbers(row: dict[str, object]) -> dict[str, float]:
    """Return the numbers of a line; NaN and infinity are stored as text."""
    numbers = {}
    for name, value in row.items():
        if name == "iteration" or isinstance(value, bool):
            continue
        if isinstance(value, int | float) or value in ("NaN", "Infinity", "-Infinity"):
            numbers[name] = float(value)
    return numbers


def _read_tests(run: Path) -> dict[str, Curve]:
    """Read the headline of each test of the run's checkpoints, by test set."""
    points: dict[str, list[tuple[int, float]]] = {}
    for file in sorted(run.glob("test/*/iter_*/results.json")):
        try:
            content = read_json(file, expected="results of a test", remedy="test again")
            headline = content["headline"]
            value, name = float(headline["value"]), str(headline["name"])
            iteration = int(file.parent.name.removeprefix("iter_"))
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("left out %s: %s", file, error)
            continue
        points.setdefault(f"{name} on {file.parts[-3]}", []).append((iteration, value))
    return {name: _curve(sorted(found)) for name, found in points.items()}


def _curve(points: Sequence[tuple[int, float]]) -> Curve:
    iterations, values = zip(*points, strict=True)
    return Curve(np.array(iterations, np.int64), np.array(values, np.float64))
