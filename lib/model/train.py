"""The training loop: a plain for, from batch to update to record."""

import logging
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import torch

from ..datasets.loading.batches import Batch
from ..datasets.loading.loader import training_batches
from ..datasets.records import Dataset
from ..utils import distributed
from .checkpoint import load_checkpoint, save_checkpoint
from .config import Config
from .device import restore_random_states
from .faster_rcnn import FasterRCNN
from .finite import NonFiniteLossError, check_finite, check_finite_together
from .profiling import WAITING, Profile
from .run_folder import RunFolder
from .schedule import Passes, share_passes
from .solver import build_optimizer, learning_rate, set_learning_rate
from .stop_signals import Interrupted, stop_signals
from .train_record import TrainRecord, UnreadableFiles
from .update import BatchGradient, clip_gradient

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
) -> None:
    """Train until ``train.iterations``, resuming from the run's newest checkpoint.

    Several processes share the work on each batch; the main one logs and saves.

    Args:
        model: the detector with its first weights, on ``device``.
        dataset: the training set.
        config: of the run.
        run: its folder, already claimed.
        device: of the model.
        dtype: type that the network computes in.
        profile: takes the time of some updates.

    Raises:
        ValueError: the checkpoint to resume from is damaged or of other classes; or
            the processes cannot share the batch.
        NonFiniteLossError: names iteration, images and loss; checkpoints are intact.
        Interrupted: after SIGINT or SIGTERM, the state having been saved.
        OSError: a checkpoint could not be written.
    """
    settings = config.train
    place = distributed.place()
    passes = share_passes(settings, rank=place.rank, processes=place.processes)
    _tell_of_passes(passes, place.processes)
    optimizer = build_optimizer(model, settings)
    # Sampling has a generator of its own, so that it does not depend on what else
    # draws random numbers.
    generator = torch.Generator(device).manual_seed(settings.seed)
    start = 0
    # What the main process finds counts: another machine's folder may lag behind.
    newest = distributed.from_main(run.checkpoints()[-1:])
    if newest:
        start = _resume(newest[0], model, optimizer, generator, dataset)
    gradient = BatchGradient(
        model, config, passes, generator, device=device, dtype=dtype
    )

    def save(iteration: int) -> None:
        if not distributed.is_main():
            return
        save_checkpoint(
            run.checkpoint(iteration),
            model=model,
            optimizer=optimizer,
            generator=generator,
            iteration=iteration,
            config=config,
            classes=dataset.classes,
        )
        run.keep_newest(settings.snapshots_kept)
        logger.info("saved %s", run.checkpoint(iteration))

    record: TrainRecord | None = None
    if distributed.is_main():
        record = TrainRecord(run, config, dataset.classes, start=start)
    unreadable = record.unreadable_files if record else UnreadableFiles()
    batches = stream_batches(
        dataset, config, start=start, pin=device.type == "cuda", passes=passes
    )
    profile = profile or Profile(None)
    profile.watch_detector(model)
    profile.watch(gradient, "backward", "backward")
    profile.watch(optimizer, "step", "optimizer")
    model.train()
    with record or nullcontext(), profile, stop_signals() as stop_requested:
        for iteration in range(start, settings.iterations):
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
            update = gradient(iteration, own, stopping=bool(stop_requested()))
            norm = clip_gradient(model, settings.clip_norm)
            check_finite_together({"gradient norm": norm}, iteration, own)
            optimizer.step()

            done = iteration + 1
            unreadable.count += update.problems
            if record:
                record.step(
                    done,
                    model,
                    own[-1],
                    update.output,
                    images=passes.images,
                    rate=rate,
                    norm=norm,
                    waited=waited,
                    dtype=dtype,
                )
            profile.step()
            # Alone, a process may act on a signal at once; else all have to agree.
            stopping = stop_requested()
            if distributed.together():
                stopping = (stopping or "another process") if update.stopping else ""
            if (
                stopping
                or done == settings.iterations
                or done % settings.snapshot_every == 0
            ):
                save(done)
            if stopping and done < settings.iterations:
                distributed.barrier()  # launchers end all once one has ended
                raise Interrupted(
                    f"stopped by {stopping} after iteration {done}; the same command "
                    "goes on from there"
                )
    distributed.barrier()  # the last checkpoint is there


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


def _resume(
    path: Path,
    model: FasterRCNN,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    dataset: Dataset,
) -> int:
    """Restore a checkpoint; returns the number of updates done."""
    state = load_checkpoint(path)
    if tuple(state["classes"]) != dataset.classes:
        raise ValueError(
            f"{path} was trained on the classes {', '.join(state['classes'][1:])}, but "
            f"{dataset.name} now has {', '.join(dataset.classes[1:])}; give another "
            "--tag for a new run"
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    restore_random_states(state["random_states"])
    iteration: int = state["iteration"]
    try:
        generator.set_state(state["generator"])
    except RuntimeError:
        # Generators of a CPU and of a GPU do not understand each other's state.
        generator.manual_seed(state["config"]["train"]["seed"] + iteration)
        logger.warning(
            "%s was saved on another kind of device: sampling goes on with new random "
            "numbers",
            path,
        )
    logger.info("resumed from %s", path)
    return iteration


def stream_batches(
    dataset: Dataset,
    config: Config,
    *,
    start: int = 0,
    pin: bool = False,
    passes: Passes | None = None,
) -> Iterator[Batch]:
    """The training batches of a configuration, or the passes over them, without end.

    Args:
        dataset: the training set.
        config: of the run.
        start: batches to skip.
        pin: page-lock the tensors for faster copies to a GPU.
        passes: of each update, with those that are wanted; None for all passes.

    Raises:
        ImageError: too many files cannot be read.
        ValueError: the set has no images.
    """
    data = config.data
    passes = passes or share_passes(config.train)
    return training_batches(
        dataset.records,
        batch_size=passes.images,
        pass_size=passes.size,
        passes=passes.mine,
        short_sides=data.short_sides,
        long_side=data.long_side,
        offset=config.boxes.offset,
        size_multiple=data.size_multiple,
        flip=data.flip,
        colour_jitter=data.colour_jitter,
        use_difficult=data.use_difficult,
        seed=config.train.seed,
        workers=data.workers,
        start=start,
        pin_memory=pin,
        hue_jitter=data.hue_jitter,
        scale_jitter=data.scale_jitter,
        mosaic=data.mosaic,
        min_visible=data.min_visible,
        max_unreadable=data.max_unreadable,
    )
