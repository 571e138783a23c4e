"""Experiment trackers beside TensorBoard: Weights & Biases and MLflow.

A tracker receives the configuration, numbers by iteration, and the end of a run. Its
package is imported on request, and never stops a run: a tracker that fails (no network,
no account) is dropped with a warning.
"""

import importlib
import importlib.util
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..closeable import Closeable
from ..files import write_atomic

logger = logging.getLogger(__name__)

_PROJECT = "faster-rcnn"
_IDS = "trackers.json"
_ITERATION = "iteration"
# Limits of a single call of MLflow.
_MOST_METRICS, _MOST_PARAMS, _LONGEST_PARAM = 1000, 100, 500


class Tracker(Protocol):
    """One run in an experiment tracker; `id` is the tracker's identifier of it.

    A tracker is made from the run's folder, its name, and the id under which an earlier
    start began it, if any.
    """

    id: str

    def config(self, settings: Mapping[str, object]) -> None:
        """Record all settings, nested by section."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add numbers to the curves of their names."""

    def end(self) -> None:
        """Finish, after all data is sent or written to disk."""


class _WandB:
    """Weights & Biases, configured by WANDB_PROJECT and its other variables."""

    def __init__(self, folder: Path, name: str, known: str | None) -> None:
        wandb = importlib.import_module("wandb")
        project = os.environ.get("WANDB_PROJECT", _PROJECT)
        self._run: Any = wandb.init(
            project=project, name=name, dir=str(folder), id=known, resume="allow"
        )
        self.id = str(self._run.id)
        # A resumed run repeats iterations, which W&B's own steps do not allow.
        self._run.define_metric("*", step_metric=_ITERATION)

    def config(self, settings: Mapping[str, object]) -> None:
        self._run.config.update(dict(settings), allow_val_change=True)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({**values, _ITERATION: step})

    def end(self) -> None:
        self._run.finish()


class _MLflow:
    """MLflow, configured by MLFLOW_TRACKING_URI and its other variables."""

    def __init__(self, folder: Path, name: str, known: str | None) -> None:
        mlflow = importlib.import_module("mlflow")
        self._entities: Any = importlib.import_module("mlflow.entities")
        self._client: Any = mlflow.MlflowClient()
        self._new = known is None
        if known is None:
            title = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
            experiment = self._client.get_experiment_by_name(title)
            number = (
                self._client.create_experiment(title)
                if experiment is None
                else experiment.experiment_id
            )
            known = self._client.create_run(number, run_name=name).info.run_id
        else:
            self._client.update_run(known, status="RUNNING")
        self.id = str(known)

    def config(self, settings: Mapping[str, object]) -> None:
        if not self._new:
            return  # MLflow refuses parameters that change
        params = [
            self._entities.Param(key, str(value)[:_LONGEST_PARAM])
            for key, value in _flat(settings)
        ]
        for i in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(self.id, params=params[i : i + _MOST_PARAMS])

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        now = int(1000 * time.time())
        metrics = [  # names may not contain all characters
            self._entities.Metric(re.sub(r"[^\w\-. /]", "_", key), value, now, step)
            for key, value in values.items()
        ]
        for i in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(self.id, metrics=metrics[i : i + _MOST_METRICS])

    def end(self) -> None:
        self._client.set_terminated(self.id)


TRACKERS: dict[str, Callable[[Path, str, str | None], Tracker]] = {
    "wandb": _WandB,
    "mlflow": _MLflow,
}
"""The names for ``train.trackers``: the package's name, and that of our extra."""


def check_trackers(names: Iterable[str]) -> None:
    """Check that the trackers can be imported, before a run begins.

    Raises:
        ValueError: a package is missing; the message has the command to install it.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ValueError(
                f"train.trackers names {name}, but the package {name} is not "
                f"installed; run pip install 'faster-rcnn[{name}]' (or -e '.[{name}]' "
                "in a clone), or leave it out"
            )


class Trackers(Closeable):
    """All trackers of a run, which never stop it.

    Args:
        folder: folder of the run; stores the ids, so that a resumed run continues the
            same records.
        config: settings nested by section; None to keep those recorded.
    """

    def __init__(
        self,
        names: Sequence[str],
        folder: Path,
        *,
        config: Mapping[str, object] | None = None,
    ) -> None:
        self._trackers: dict[str, Tracker] = {}
        if not names:
            return
        try:
            ids: dict[str, str] = dict(json.loads((folder / _IDS).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            ids = {}
        title = "/".join(folder.absolute().parts[-3:])
        for name in names:
            try:
                tracker = TRACKERS[name](folder, title, ids.get(name))
            except Exception as error:
                self._give_up(name, error)
                continue
            self._trackers[name] = tracker
            ids[name] = tracker.id
        write_atomic(folder / _IDS, json.dumps(ids, indent=2) + "\n")
        if config is not None:
            self._call(lambda tracker: tracker.config(config))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add numbers at an iteration."""
        self._call(lambda tracker: tracker.scalars(values, step))

    def close(self) -> None:
        """End all trackers. Safe to call twice."""
        self._call(lambda tracker: tracker.end())
        self._trackers.clear()

    def _call(self, method: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                method(tracker)
            except Exception as error:
                self._give_up(name, error)

    def _give_up(self, name: str, error: Exception) -> None:
        self._trackers.pop(name, None)
        kind = type(error).__name__
        logger.warning(
            "%s failed (%s: %s); the run continues without it", name, kind, error
        )


def _flat(
    settings: Mapping[str, object], before: str = ""
) -> Iterator[tuple[str, object]]:
    """Flatten settings to ``section.key`` and value."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
