"""The training loop: a plain for, from batch to update to record."""

import logging
import time
from collections.abc import Callable, Sequence

import torch

from ..config.settings import Config
from ..datasets.allowed_names import check_class_names
from ..datasets.class_balance import class_offsets, class_weights, images_of_classes
from ..datasets.loading.batches import Batch
from ..datasets.loading.training_stream import Passes
from ..datasets.records import Dataset
from ..model.network import Network
from ..utils.distributed import collectives
from ..utils.monitoring.slow_steps import slow_first
from ..utils.shared_cores import adapt_threads
from .batch_gradient import BatchGradient
from .callbacks import Callback
from .ema import WeightAverage
from .loss_scaling import LossScaling
from .non_finite import NonFiniteLossError, check_finite
from .profiling import WAITING, Profile
from .resume import resume
from .run_folder import RunFolder
from .run_writer import RunWriter
from .schedule import share_passes
from .solver import build_optimizer, learning_rate, set_learning_rate
from .stop_signals import Interrupted, agree_to_stop, heed, stop_if, stop_signals
from .train_record import LoadingFaults
from .train_state import TrainState
from .train_step import TrainStep
from .training_batches import stream_batches
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
    model: Network,
    dataset: Dataset,
    config: Config,
    run: RunFolder,
    *,
    dtype: torch.dtype,
    profile: Profile | None = None,
    validation_set: Dataset | None = None,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Train until ``train.iterations``, resuming from the run's newest checkpoint.

    Training ends early if validations stop improving (``train.patience``), or a
    callback asks for it. Several processes share the work on each batch; the main
    process logs, saves and calls.

    Args:
        model: the detector with its initial weights, on the device to train on.
        run: folder of the run, already claimed.
        profile: times some updates; None for no profile.
        validation_set: from ``get_validation_set``; None to never validate.
        callbacks: called with a `TrainingEvent` after each update and validation, and
            at the end.

    Raises:
        ValueError: all checkpoints are damaged or have other classes; a class name is
            invalid; or the processes cannot share the batch.
        NonFiniteLossError: a loss is not finite; the message names iteration, images
            and loss, and checkpoints are intact. With ``train.nonfinite`` skip, only
            after many such updates in a row.
        Interrupted: after SIGINT or SIGTERM; the state is saved.
        OSError: a checkpoint could not be written.
    """
    check_class_names(dataset.classes, dataset.name)
    settings, device = config.train, model.pixel_mean.device
    profile = profile or Profile(None)
    weigh_classes(model, dataset, config)
    validation = Validation(validation_set, config, device=device, dtype=dtype)
    state, gradient = _begin(model, config, validation, device=device, dtype=dtype)
    state.class_images = tuple(images_of_classes(dataset, config).tolist())
    state.keypoints = dataset.keypoints if config.keypoint.enabled else None
    resume(run, state, dataset)
    step = TrainStep(state, gradient, config)
    skeleton = dataset.keypoints.skeleton if dataset.keypoints else ()
    writer = RunWriter(
        run,
        config,
        dataset.classes,
        state,
        step,
        skeleton=skeleton,
        callbacks=callbacks,
    )
    next_batches = _feed(dataset, config, state.iteration, gradient, profile)
    _watch(profile, state, gradient)
    model.train()
    with writer, profile, stop_signals() as signalled:

        def stop_requested() -> str:
            return signalled() or writer.callbacks.stopping

        if validation.due(state.iteration):  # the run was stopped before it
            stopping = _validate(state, step, writer, stop_requested)
            writer.save()
            stop_if(stopping, state.iteration)
        left = range(state.iteration, settings.iterations)
        for iteration in slow_first("the first update", left):
            if validation.exhausted:
                logger.info("stopped early after iteration %d", iteration)
                break
            own, waited = next_batches()
            adapt_threads()
            rate = learning_rate(iteration, settings)
            set_learning_rate(state.optimizer, rate)
            update = step(own, stopping=bool(stop_requested()))
            writer.update(update, own[-1], rate=rate, waited=waited)
            profile.step()
            stopping = heed(stop_requested(), told=update.stopping)
            stopping = stopping or _validate(state, step, writer, stop_requested)
            stopping = stopping or heed(stop_requested(), told=False)
            done = state.iteration
            finished = done == settings.iterations or validation.exhausted
            ending = bool(stopping) or finished
            if ending or done % settings.snapshot_every == 0:
                writer.save(wait=ending)
            if stopping and collectives.from_main(writer.callbacks.stopping):
                logger.info("a callback stopped the run after iteration %d", done)
                break
            stop_if(stopping, done)
        # A signal during the last save: the code after training would ignore it.
        stop_if(agree_to_stop(signalled()), state.iteration)
        writer.callbacks.tell("end", state.iteration)
    collectives.barrier()  # the last checkpoint is written


def weigh_classes(model: Network, dataset: Dataset, config: Config) -> None:
    """Give the heads that classify their weights and offsets of the classes.

    An RPN alone has no such heads, and ignores both.

    Raises:
        ValueError: a class is unknown, or a head cannot use the offsets.
    """
    device = model.pixel_mean.device
    given = {
        "class_weights": class_weights(dataset, config),
        "class_offsets": class_offsets(dataset, config),
    }
    for head in (m for m in model.modules() if hasattr(m, "class_weights")):
        for key, values in given.items():
            if values is None:
                continue
            if not hasattr(head, key):
                raise ValueError(
                    "train.logit_adjustment needs a head with a softmax over the "
                    f"classes, which {config.net.detector} lacks; set "
                    "train.class_weights instead"
                )
            setattr(head, key, torch.tensor(values, dtype=torch.float32, device=device))


def _begin(
    model: Network,
    config: Config,
    validation: Validation,
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[TrainState, BatchGradient]:
    """Create the state before the first update, and the object that does its passes."""
    settings = config.train
    place = collectives.process_rank()
    passes = share_passes(settings, rank=place.rank, processes=place.processes)
    _log_passes(passes, place.processes)
    optimizer = build_optimizer(model, settings)
    generator = torch.Generator(device).manual_seed(settings.seed)
    scaling = LossScaling(optimizer, device) if dtype == torch.float16 else None
    gradient = BatchGradient(
        model,
        config,
        passes,
        generator,
        device=device,
        dtype=dtype,
        scaling=scaling,
    )
    # Created after DistributedDataParallel has copied the main process's weights.
    average = WeightAverage(model, settings.ema) if settings.ema else None
    state = TrainState(
        model, optimizer, generator, average, validation, scaling=scaling
    )
    return state, gradient


def _log_passes(passes: Passes, processes: int) -> None:
    if passes.total > 1:
        logger.info(
            "an update: %d images in %d passes of %d, shared by %d process%s",
            passes.images,
            passes.total,
            passes.size,
            processes,
            "es" if processes > 1 else "",
        )


def _feed(
    dataset: Dataset,
    config: Config,
    start: int,
    gradient: BatchGradient,
    profile: Profile,
) -> Callable[[], tuple[list[Batch], float]]:
    """Return a function that takes this process's next batches, and times the wait.

    Raises:
        ImageError: too many files cannot be read.
        ValueError: the set has no images, or Fast R-CNN alone has no proposals of one.
    """
    device, passes = gradient.device, gradient.passes
    pin = device.type == "cuda"
    stream = stream_batches(dataset, config, start=start, pin=pin, passes=passes)
    faults = LoadingFaults()

    def take() -> tuple[list[Batch], float]:
        begun = time.perf_counter()
        with profile.stage(WAITING):
            own = [next(stream) for _ in passes.mine]
        waited = time.perf_counter() - begun
        for batch in own:
            faults.tell(batch)
        with profile.stage("data"):
            return [batch.to(device) for batch in own], waited

    return take


def _watch(profile: Profile, state: TrainState, gradient: BatchGradient) -> None:
    """Let the profile time the stages of an update."""
    profile.watch_detector(state.model)
    profile.watch(gradient, "backward", "backward")
    profile.watch(state.optimizer, "step", "optimizer")


def _validate(
    state: TrainState,
    step: TrainStep,
    writer: RunWriter,
    stop_requested: Callable[[], str],
) -> str:
    """Validate if a validation is due; return the reason to stop, if any."""
    validation = state.validation
    if not validation.due(state.iteration):
        return ""
    step.settle()
    with writer.validating():
        measures = validation.measure(
            state.model, state.average, stop_requested=stop_requested
        )
    if measures is None:
        return stop_requested() or "another process"
    best = validation.take(state.iteration, measures)
    writer.validation(measures, best=best)
    return ""
