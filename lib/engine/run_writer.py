"""Write a training run's files: curves, log lines, checkpoints."""

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

from ..config.settings import Config
from ..datasets.loading.batches import Batch
from ..inference.batch_pictures import Skeleton
from ..utils.closeable import Closeable
from ..utils.distributed import collectives
from .batch_gradient import Update
from .callbacks import Callback, Callbacks
from .run_folder import RunFolder
from .train_record import TrainRecord
from .train_state import TrainState
from .train_step import TrainStep
from .validation_metrics import ValidationMetrics

logger = logging.getLogger(__name__)


class RunWriter(Closeable):
    """Write the record and the checkpoints; only the main process writes.

    Args:
        state: the state to save; its iteration counts the updates done.
        skeleton: pairs of keypoints that pictures connect.
        callbacks: functions to call after updates and validations, and at the end.
    """

    def __init__(
        self,
        run: RunFolder,
        config: Config,
        classes: tuple[str, ...],
        state: TrainState,
        step: TrainStep,
        *,
        skeleton: Skeleton = (),
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.run = run
        self.config = config
        self.classes = classes
        self.state = state
        self.step = step
        self.record: TrainRecord | None = None
        self._flusher = ThreadPoolExecutor(1, "checkpoint")
        self._saving: Future[Path] | None = None  # the checkpoint not yet on the disk
        self.callbacks = Callbacks(
            callbacks if collectives.is_main() else (),
            *(run.path, config.train.iterations),
        )
        if collectives.is_main():
            self.record = TrainRecord(
                run,
                config,
                classes,
                start=state.iteration,
                counts=state.counts,
                skeleton=skeleton,
            )

    def close(self) -> None:
        """Finish the last checkpoint, and close the record. Safe to call twice.

        Raises:
            OSError: the checkpoint could not be written.
        """
        try:
            self._finish_save()
        finally:
            self._flusher.shutdown()
            if self.record:
                self.record.close()

    def update(
        self, update: Update, batch: Batch, *, rate: float, waited: float
    ) -> None:
        """Record the update just made.

        Args:
            batch: batch of this process's last pass.
            waited: seconds spent waiting for the batch.

        Raises:
            OSError: the checkpoint before this update could not be written.
        """
        if self.record is None:
            return
        if self._saving and self._saving.done():
            self._finish_save()
        done, images = self.state.iteration, self.step.passes.images
        if update.left_out:
            self.record.skip(done, images=images, waited=waited)
            return
        self.record.step(
            done,
            self.state.model,
            batch,
            update,
            images=images,
            rate=rate,
            waited=waited,
            dtype=self.step.dtype,
        )
        self.callbacks.tell("update", done, lambda: update.numbers() | {"lr": rate})

    def validating(self) -> AbstractContextManager[None]:
        """Return the context of a validation, which shows its own progress."""
        return self.record.progress.paused() if self.record else nullcontext()

    def validation(self, measures: ValidationMetrics, *, best: bool) -> None:
        """Record the validation just counted, and save the state if it is the best."""
        if self.record:
            summary = self.state.validation.summary(measures)
            self.record.validation(self.state.iteration, measures.numbers(), summary)
        if best:
            self.save(self.run.best_checkpoint)
        self.callbacks.tell("validation", self.state.iteration, measures.numbers)

    def save(self, path: Path | None = None, *, wait: bool = True) -> None:
        """Write a checkpoint, by default that of the current iteration.

        Args:
            wait: whether to wait until it is on the disk, which otherwise happens
                beside the next updates.

        Raises:
            NonFiniteLossError: a number of the last update is not finite.
            OSError: this file, or the one before, cannot be written; earlier
                checkpoints are intact.
        """
        self.step.settle()
        self.state.gather()
        if self.record is None:
            return
        self._finish_save()
        done = self.state.iteration
        path = path or self.run.checkpoint(done)
        if self.run.make_good(self.config):
            self.record.reopen(done)
        self.record.flush()  # a run resumed from here will not write it again
        written = self.state.begin_save(path, self.config, self.classes)
        self._saving = self._flusher.submit(self._flush, written, path)
        if wait:
            self._finish_save()

    def _flush(self, written: ExitStack, path: Path) -> Path:
        """Bring a checkpoint to the disk; only then delete an older one."""
        written.close()
        self.run.keep_newest(self.config.train.snapshots_kept)
        return path

    def _finish_save(self) -> None:
        """Wait for the checkpoint that is being written, if any."""
        saving, self._saving = self._saving, None
        if saving is not None:
            logger.info("saved %s", saving.result())
