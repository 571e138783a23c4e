"""The folder of a run: the paths of its files, and its newest checkpoint."""

import datetime
import errno
import hashlib
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from filelock import BaseFileLock

from ..config.loading import ConfigError, differences, load_config
from ..config.settings import Config
from ..utils.files import remove_stale, write_atomic
from ..utils.locks import HeldElsewhereError, take_lock
from .extension import CHANGEABLE, describe_changes

logger = logging.getLogger(__name__)

_CHECKPOINT = re.compile(r"iter_(\d+)\.pth")


class RunFolder:
    """``output/<net>/<train set>/<tag>/`` and its files.

    Attributes:
        config_file: the resolved configuration.
        metrics_file: one JSON line per logged iteration.
        tensorboard: folder of event files: the run's own, because TensorBoard names a
            run after it. A run that began with a folder `tensorboard/` goes on there.
        best_checkpoint: the best state in validation; not one of `checkpoints`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yml"
        self.log_file = path / "train.log"
        self.metrics_file = path / "metrics.jsonl"
        before = path / "tensorboard"
        self.tensorboard = before if before.is_dir() else path
        self.best_checkpoint = path / "checkpoints" / "best.pth"
        self._lock: BaseFileLock | None = None
        self._locked: os.stat_result | None = None  # the lock file, when it was locked

    def checkpoint(self, iteration: int) -> Path:
        """Return the file of the state after ``iteration`` updates."""
        return self.path / "checkpoints" / f"iter_{iteration:07d}.pth"

    def checkpoints(self) -> list[Path]:
        """List the checkpoint files, oldest first."""
        found = [
            (int(match[1]), file)
            for file in (self.path / "checkpoints").glob("*.pth")
            if (match := _CHECKPOINT.fullmatch(file.name))
        ]
        return [file for _, file in sorted(found)]

    def newest_checkpoint(self) -> Path:
        """Return the newest checkpoint file.

        Raises:
            ValueError: there is none.
        """
        files = self.checkpoints()
        if not files:
            raise ValueError(
                f"no checkpoint in {self.path / 'checkpoints'}; train first, or name a "
                "file with --checkpoint"
            )
        return files[-1]

    def best_or_newest(self) -> Path:
        """Return the best checkpoint of the validations, or else the newest one.

        Raises:
            ValueError: there is none.
        """
        best = self.best_checkpoint
        return best if best.is_file() else self.newest_checkpoint()

    def keep_newest(self, count: int) -> None:
        """Delete all but the newest ``count`` checkpoints; warn if that fails."""
        for file in self.checkpoints()[:-count]:
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                logger.warning("cannot delete %s (%s)", file, error.strerror)

    def folder_of_test(
        self, test_set: str, checkpoint: Path, settings: str = ""
    ) -> Path:
        """Return the folder for the test of a checkpoint on a set.

        Args:
            settings: differences from the run's settings, from `settings_name`; a test
                under the run's own settings has its own folder.
        """
        name = f"{checkpoint.stem}_{settings}" if settings else checkpoint.stem
        return self.path / "test" / test_set / name

    def recorded_config(self) -> Config | None:
        """Read the configuration of this folder's run; None if there is no run yet.

        Raises:
            ConfigError: the file cannot be read.
        """
        return load_config([self.config_file]) if self.config_file.exists() else None

    def claim(self, config: Config, *, extend: bool = False) -> None:
        """Record the configuration, or check that it equals the recorded one.

        The folder then belongs to this process until the process ends. Incomplete files
        of an earlier process are removed.

        Args:
            config: configuration of the run, with its schedule settled.
            extend: whether length, rate and similar settings may change; changes are
                recorded.

        Raises:
            ConfigError: the folder belongs to a run with another configuration.
            ValueError: another process has claimed it, or it cannot be written.
        """
        if self._lock is None:
            self._lock = self._take_lock()
        recorded = self.recorded_config()
        if recorded is not None:
            train = recorded.train
            if train.images_per_update is None:
                # Recorded before these keys existed: one process, and no scaling.
                now = config.train
                keys = ("images_per_update", "reference_batch")
                same = {key: getattr(now, key) for key in keys}
                train = train.model_copy(update=same)
            recorded = recorded.model_copy(update={"train": train})
            differing = differences(config, recorded)
            if differing and not (extend and differing.keys() <= CHANGEABLE):
                raise ConfigError(self._refusal(differing))
            if differing:
                self._record_change(config, differing)
        else:
            write_atomic(self.config_file, config.to_yaml())
        for folder in (self.path, self.path / "checkpoints"):
            remove_stale(folder)

    def release(self) -> None:
        """Leave the folder to other processes. Safe to call twice."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _refusal(self, differing: dict[str, tuple[Any, Any]]) -> str:
        """Explain why a run with other settings cannot resume here, and what to do."""
        lines = [f"  {key}: {old} -> {new}" for key, (old, new) in differing.items()]
        fixed = [key for key in differing if key not in CHANGEABLE]
        if fixed:
            way = f"; {', '.join(fixed)} cannot change in a run."
        else:
            name = self.path.name
            way = f"; --tag {name} --extend continues that run with these changes."
        return "\n".join(
            [
                f"{self.path} holds a run of another configuration; it differs in",
                *lines,
                "Give the same settings to resume that run, or another --tag for a new "
                f"one{way}",
            ]
        )

    def _record_change(
        self, config: Config, differing: dict[str, tuple[Any, Any]]
    ) -> None:
        """Replace the recorded configuration, and note the change above it."""
        lines = self.config_file.read_text(encoding="utf-8").splitlines()
        notes = [line for line in lines if line.startswith("#")]
        now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
        notes.append(
            f"# {now}, --extend after iteration {self.iterations_saved()}: "
            f"{describe_changes(differing)}"
        )
        write_atomic(self.config_file, "\n".join([*notes, config.to_yaml()]))

    def iterations_saved(self) -> int:
        """Return the iteration of the newest checkpoint; 0 if there is none."""
        files = self.checkpoints()
        return int(files[-1].stem.partition("_")[2]) if files else 0

    def make_good(self, config: Config) -> bool:
        """Create the folder again if it was deleted or moved; return whether it was.

        Its content is lost, except what the run still holds and writes again.

        Raises:
            ValueError: another process has claimed the folder, or it cannot be written.
            OSError: the folder cannot be created.
        """
        if self.config_file.exists() and self._holds_lock():
            return False
        if self._lock is not None:
            self._lock.release(force=True)
        self._lock = self._take_lock()
        write_atomic(self.config_file, config.to_yaml())
        logger.error(
            "%s was deleted or moved during training, at least in part; the folder is "
            "created again, and the run continues. Its earlier checkpoints, curves and "
            "log are gone, unless they were moved",
            self.path,
        )
        return True

    def _holds_lock(self) -> bool:
        """Return whether the locked file is still the one in the folder."""
        if self._locked is None:
            return True
        try:
            found = (self.path / ".lock").stat()
        except OSError:
            return False
        return os.path.samestat(found, self._locked)

    def _take_lock(self) -> BaseFileLock:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = take_lock(self.path / ".lock")
            self._locked = (self.path / ".lock").stat()
            return lock
        except HeldElsewhereError as error:
            raise ValueError(
                f"another run is using {self.path}: {error}. Wait for that run or stop "
                "it, or give another --tag for a new run."
            ) from error
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            raise ValueError(
                f"cannot write to {self.path} ({error.strerror}); give --output a "
                "folder that you may write to"
            ) from error


def settings_name(*parts: str, **settings: object) -> str:
    """Build a folder name from words and settings, such as ``mine_train.lr=0.01``.

    A path is reduced to its last part. A name of more than 80 characters is cut, and
    ends in digits of a hash.
    """
    named = [f"{key.lower()}={PurePath(str(v)).name}" for key, v in settings.items()]
    name = re.sub(r"[^\w.=+-]+", "-", "_".join([*parts, *named]))
    if len(name) > 80:
        name = f"{name[:70]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name


def newest_run(parents: Sequence[Path], tag: str | None = None) -> RunFolder:
    """Return the run in ``output/<net>/<train set>/`` that saved a checkpoint last.

    Args:
        parents: such folders; one that does not exist has no runs.
        tag: name of the run; if None, any.

    Raises:
        ValueError: there is none.
    """
    paths = [
        p for parent in parents for p in ([parent / tag] if tag else parent.glob("*"))
    ]
    saved = [(r.checkpoints()[-1], r) for r in map(RunFolder, paths) if r.checkpoints()]
    if not saved:
        places = " or ".join(f"{parent}/{tag or '*'}/checkpoints" for parent in parents)
        raise ValueError(
            f"no checkpoint in {places}; train first, or name a file with --checkpoint"
        )
    return max(saved, key=lambda pair: pair[0].stat().st_mtime)[1]
