"""The training loop: a plain for, from batch to update to record."""

import logging
import time
from contextlib import nullcontext
from pathlib import Path

import torch

from ..config.loading import Config
from ..datasets.allowed_names import check_class_names
from ..datasets.records import Dataset
from ..model.faster_rcnn import FasterRCNN
from ..utils.distributed import collectives
from ..weights.checkpoint import Counts, save_checkpoint
from .ema import WeightAverage
from .finite import FaultyUpdates, NonFiniteLossError, check_finite
from .graphed_updates import CudaRecorder, GraphedUpdates
from .profiling import WAITING, Profile
from .resume import Resumable, resume
from .run_folder import RunFolder
from .schedule import Passes, share_passes
from .solver import build_optimizer, learning_rate, set_learning_rate
from .stop_signals import Interrupted, stop_signals
from .stream import stream_batches
from .train_record import TrainRecord, UnreadableFiles
from .update import BatchGradient
from .validation import Validation

__all__ = [
    "Interrupted",
    "NonFiniteLossError",
    "check_finite",
    "stream_batches",
    "train",
]

logger = logging.getLogger(__name__)


def train(
    model: FasterRCNN,
    dataset: Dataset,
    config: Config,
    run: RunFolder,
    *,
    device: torch.device,
    dtype: torch.dtype,
    profile: Profile | None = None,
    validation_set: Dataset | None = None,
) -> None:
    """Train until ``train.iterations``, resuming from the run's newest checkpoint.

    It may end before if validations get no better (``train.patience``).

    Several processes share the work on each batch; the main one logs and saves.

    Args:
        model: the detector with its first weights, on ``device``.
        dataset: the training set.
        config: of the run.
        run: its folder, already claimed.
        device: of the model.
        dtype: type that the network computes in.
        profile: takes the time of some updates.
        validation_set: from ``get_validation_set``; None to never validate.

    Raises:
        ValueError: all checkpoints are damaged, or they are of other classes; a class
            has a name that cannot be used; or the processes cannot share the batch.
        NonFiniteLossError: names iteration, images and loss; checkpoints are intact.
            With ``train.nonfinite`` skip, only after many in a row.
        Interrupted: after SIGINT or SIGTERM, the state having been saved.
        OSError: a checkpoint could not be written.
    """
    check_class_names(dataset.classes, dataset.name)
    settings = config.train
    place = collectives.place()
    passes = share_passes(settings, rank=place.rank, processes=place.processes)
    _tell_of_passes(passes, place.processes)
    optimizer = build_optimizer(model, settings)
    # Sampling has a generator of its own, so that it does not depend on what else
    # draws random numbers.
    generator = torch.Generator(device).manual_seed(settings.seed)
    gradient = BatchGradient(
        model, config, passes, generator, device=device, dtype=dtype
    )
    make_update: BatchGradient | GraphedUpdates = gradient
    if settings.cuda_graphs:
        recorder = CudaRecorder(device, generator)
        make_update = GraphedUpdates(gradient, optimizer, recorder)
    # Of the weights that all processes have by now.
    average = WeightAverage(model, settings.ema) if settings.ema else None
    validation = Validation(validation_set, config, device=device, dtype=dtype)
    # What only some runs have, and keep in their checkpoints.
    extra: dict[str, WeightAverage | Validation] = {}
    if average:
        extra["ema"] = average
    if validation_set is not None:
        extra["validation"] = validation
    counts = Counts()
    parts = Resumable(model, optimizer, generator, counts, extra)
    start = resume(run, parts, dataset)

    def save(iteration: int, path: Path | None = None) -> None:
        faulty.settle()
        if not collectives.is_main():
            return
        path = path or run.checkpoint(iteration)
        if record:
            if run.make_good(config):
                record.reopen(iteration)
            record.flush()  # a run that resumes from here will not write it again
        save_checkpoint(
            path,
            model=model,
            optimizer=optimizer,
            generator=generator,
            iteration=iteration,
            config=config,
            classes=dataset.classes,
            counts=counts,
            extra={name: part.state_dict() for name, part in extra.items()},
        )
        run.keep_newest(settings.snapshots_kept)
        logger.info("saved %s", path)

    def validate(done: int) -> str:
        """Validate if that is due; tells which signal came in between, if any."""
        if not validation.due(done):
            return ""
        faulty.settle()
        with record.progress.paused() if record else nullcontext():
            measures = validation.measure(model, average, stop_requested=stop_requested)
        if measures is None:
            return stop_requested() or "another process"
        better = validation.take(done, measures)
        if record:
            record.validation(done, measures.numbers(), validation.summary(measures))
        if better:
            save(done, run.best_checkpoint)
        return ""

    record: TrainRecord | None = None
    if collectives.is_main():
        record = TrainRecord(run, config, dataset.classes, start=start, counts=counts)
    unreadable = UnreadableFiles()
    faulty = FaultyUpdates(model, settings, counts)
    batches = stream_batches(
        dataset, config, start=start, pin=device.type == "cuda", passes=passes
    )
    profile = profile or Profile(None)
    profile.watch_detector(model)
    profile.watch(gradient, "backward", "backward")
    profile.watch(optimizer, "step", "optimizer")
    model.train()
    done = start
    with record or nullcontext(), profile, stop_signals() as stop_requested:
        if validation.due(start):  # a signal came before it
            stopping = validate(start)
            save(start)
            if stopping:
                raise _interrupted(stopping, start)
        for iteration in range(start, settings.iterations):
            if validation.exhausted:
                logger.info("stopped early after iteration %d", iteration)
                break
            waited = time.perf_counter()
            with profile.stage(WAITING):
                own = [next(batches) for _ in passes.mine]
            waited = time.perf_counter() - waited
            for batch in own:
                unreadable.tell(batch.problems)
            with profile.stage("data"):
                own = [batch.to(device) for batch in own]

            rate = learning_rate(iteration, settings)
            set_learning_rate(optimizer, rate)
            update = make_update(iteration, own, stopping=bool(stop_requested()))
            watched = {**update.output.losses, "gradient norm": update.norm}
            fault = faulty.find(watched, iteration, own)
            if fault is None:
                if not update.stepped:
                    optimizer.step()
                if average:
                    average.update()
                faulty.passed()
            else:
                faulty.leave_out(fault)

            done = iteration + 1
            counts.unreadable_images += update.problems
            if record and fault:
                record.skip(done, images=passes.images, waited=waited)
            elif record:
                record.step(
                    done,
                    model,
                    own[-1],
                    update.output,
                    images=passes.images,
                    rate=rate,
                    norm=update.norm,
                    waited=waited,
                    dtype=dtype,
                )
            profile.step()
            # Alone, a process may act on a signal at once; else all have to agree.
            stopping = stop_requested()
            if collectives.together():
                stopping = (stopping or "another process") if update.stopping else ""
            stopping = stopping or validate(done)
            finished = done == settings.iterations or validation.exhausted
            if stopping or finished or done % settings.snapshot_every == 0:
                save(done)
            if stopping:
                raise _interrupted(stopping, done)
        # One may have come in the last save; what follows would take no notice of it.
        stopping = _agree(stop_requested())
        if stopping:
            raise _interrupted(stopping, done)
    collectives.barrier()  # the last checkpoint is there


def _agree(stopping: str) -> str:
    """The signal that this process got, or that another got one; empty if none did."""
    if not collectives.together():
        return stopping
    stopped = collectives.all_sum(torch.tensor(float(bool(stopping))))
    return (stopping or "another process") if stopped else ""


def _interrupted(cause: str, done: int) -> Interrupted:
    collectives.barrier()  # launchers end all once one has ended
    return Interrupted(
        f"stopped by {cause} after iteration {done}; the same command goes on from "
        "there"
    )


def _tell_of_passes(passes: Passes, processes: int) -> None:
    if passes.total > 1:
        logger.info(
            "an update: %d images in %d passes of %d, shared by %d process%s",
            passes.images,
            passes.total,
            passes.size,
            processes,
            "es" if processes > 1 else "",
        )
