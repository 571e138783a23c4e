"""The training loop: a plain for, from batch to update to record."""

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from ..datasets.loading.batches import Batch
from ..datasets.loading.loader import training_batches
from ..datasets.records import Dataset
from .checkpoint import load_checkpoint, save_checkpoint
from .config import Config
from .device import autocast, restore_random_states
from .faster_rcnn import FasterRCNN, TrainOutput
from .run_folder import RunFolder
from .solver import build_optimizer, learning_rate, set_learning_rate
from .train_record import TrainRecord

logger = logging.getLogger(__name__)


class NonFiniteLossError(RuntimeError):
    """A loss became NaN or infinite."""


class Interrupted(Exception):
    """A signal asked the run to stop; its state is saved."""


def train(
    model: FasterRCNN,
    dataset: Dataset,
    config: Config,
    run: RunFolder,
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Train until ``train.iterations``, resuming from the run's newest checkpoint.

    Args:
        model: the detector with its first weights, on ``device``.
        dataset: the training set.
        config: of the run.
        run: its folder, already claimed.
        device: of the model.
        dtype: type that the network computes in.

    Raises:
        ValueError: the checkpoint to resume from is damaged or of other classes.
        NonFiniteLossError: names iteration, images and loss; checkpoints are intact.
        Interrupted: after SIGINT or SIGTERM, the state having been saved.
        OSError: a checkpoint could not be written.
    """
    settings = config.train
    optimizer = build_optimizer(model, settings)
    # Sampling has a generator of its own, so that it does not depend on what else
    # draws random numbers.
    generator = torch.Generator(device).manual_seed(settings.seed)
    start = 0
    if run.checkpoints():
        start = _resume(run, model, optimizer, generator, dataset)

    def save(iteration: int) -> None:
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

    record = TrainRecord(run, config, dataset.classes, start=start)
    batches = stream_batches(dataset, config, start=start, pin=device.type == "cuda")
    model.train()
    with record, _stop_signals() as stop_requested:
        for iteration in range(start, settings.iterations):
            waited = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - waited
            record.problems(batch.problems)
            batch = batch.to(device)

            rate = learning_rate(iteration, settings)
            set_learning_rate(optimizer, rate)
            with autocast(device, dtype):
                output: TrainOutput = model(batch.images, batch.ground_truth, generator)
                loss = torch.stack(list(output.losses.values())).sum()
            check_finite(output.losses, iteration, batch.image_ids)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            norm = _clip_gradient(model, settings.clip_norm)
            check_finite({"gradient norm": norm}, iteration, batch.image_ids)
            optimizer.step()

            done = iteration + 1
            record.step(
                done,
                model,
                batch,
                output,
                loss=loss,
                rate=rate,
                norm=norm,
                waited=waited,
                dtype=dtype,
            )
            stopping = stop_requested()
            if (
                stopping
                or done == settings.iterations
                or done % settings.snapshot_every == 0
            ):
                save(done)
            if stopping and done < settings.iterations:
                raise Interrupted(
                    f"stopped by {stopping} after iteration {done}; the same command "
                    "goes on from there"
                )


def check_finite(
    values: dict[str, Tensor], iteration: int, image_ids: tuple[str, ...]
) -> None:
    """Raise if any value is NaN or infinite.

    Raises:
        NonFiniteLossError: naming the value, the iteration and the images.
    """
    # One copy to the host for all of them.
    numbers = torch.stack([v.detach().float() for v in values.values()]).tolist()
    for name, number in zip(values, numbers, strict=True):
        if not abs(number) < float("inf"):
            raise NonFiniteLossError(
                f"{name} is {number} at iteration {iteration + 1}, images "
                f"{', '.join(image_ids)}. The checkpoints before it are intact. Lower "
                "train.lr, set train.clip_norm or a longer train.warmup_iterations, "
                "and check the boxes of these images."
            )


def _clip_gradient(model: nn.Module, limit: float) -> Tensor:
    """Scale the gradient down to ``limit`` (0: leave it); returns its norm before."""
    parameters = [p for p in model.parameters() if p.grad is not None]
    return nn.utils.clip_grad_norm_(parameters, limit or float("inf"), foreach=True)


def _resume(
    run: RunFolder,
    model: FasterRCNN,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    dataset: Dataset,
) -> int:
    """Restore the newest checkpoint; returns the number of updates done."""
    path = run.checkpoints()[-1]
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
    dataset: Dataset, config: Config, *, start: int = 0, pin: bool = False
) -> Iterator[Batch]:
    """The training batches of a configuration, without end.

    Args:
        dataset: the training set.
        config: of the run.
        start: batches to skip.
        pin: page-lock the tensors for faster copies to a GPU.

    Raises:
        ImageError: too many files cannot be read.
        ValueError: the set has no images.
    """
    data = config.data
    return training_batches(
        dataset.records,
        batch_size=config.train.batch_size,
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


@contextmanager
def _stop_signals() -> Iterator[Callable[[], str]]:
    """Turn the first SIGINT or SIGTERM into a request; the second acts at once."""
    received: list[str] = []
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def request(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number).name)
        logger.warning(
            "%s: saving after this iteration; once more to stop at once", received[0]
        )
        restore()

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, request)
    try:
        yield lambda: received[0] if received else ""
    finally:
        restore()
