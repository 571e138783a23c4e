"""Dry run: show a run's costs, schedule and first batch before it begins."""

import time
from pathlib import Path

import torch
from torch import nn

from ..config.settings import Config, TrainConfig
from ..datasets.loading.batches import Batch
from ..datasets.records import Dataset
from ..inference.batch_pictures import network_pictures
from ..layer_utils.outputs import TrainOutput
from ..model.network import Network
from ..utils.device import autocast
from ..utils.drawing import contact_sheet, save_image
from ..utils.monitoring.slow_steps import slow_step
from ..utils.printable import show
from .costs import count_flops, count_parameters, estimate_memory, largest_size
from .non_finite import check_finite
from .out_of_memory import memory_advice, memory_lines
from .schedule import epochs_text, images_per_update
from .solver import learning_rate
from .train import weigh_classes
from .training_batches import stream_batches

_MOST_SHOWN = 16  # images of the first batch
_MOST_NAMED = 5  # parameters without a gradient


class DryRunError(RuntimeError):
    """Training would start, but some parameters would not learn."""


def dry_run(
    model: Network,
    dataset: Dataset,
    config: Config,
    *,
    device: torch.device,
    dtype: torch.dtype,
    picture: Path,
) -> None:
    """Print a run's costs and schedule, and try its first pass without an update.

    Args:
        config: configuration of the run, with its schedule settled.
        picture: file for the first batch with its boxes.

    Raises:
        NonFiniteLossError: a loss is not finite.
        DryRunError: a trainable parameter gets no gradient, or a non-finite one.
        NotEnoughMemoryError: the pass does not fit into memory.
        ValueError: the file's suffix names no image format; or no image can be read.
    """
    show(_parameter_table(model))
    weigh_classes(model, dataset, config)
    size = largest_size(config.data)
    with slow_step("counting FLOPs"):
        flops = count_flops(model, size, dtype=dtype)
    show(
        f"\nFLOPs of an image of {size[1]} x {size[0]}: {flops.test / 1e9:.1f} G in "
        f"testing, {flops.train / 1e9:.1f} G in training"
    )
    with slow_step("estimating memory"):
        memory = estimate_memory(model, config.train, size, dtype=dtype)
    show("\n".join(memory_lines(memory, config, size)))
    show("\n" + "\n".join(schedule_lines(config.train, len(dataset.records))))

    with slow_step("loading and drawing the first batch"):
        batch = first_batch(dataset, config)
        draw_batch(picture, batch, dataset.classes, offset=config.boxes.offset)
    show(
        f"\nfirst batch: {len(batch.image_ids)} images, "
        f"{int(batch.ground_truth.valid.sum())} objects, "
        f"{' x '.join(map(str, reversed(batch.images.pixels.shape[-2:])))} pixels; "
        f"drawn in {picture}"
    )
    passing = slow_step("a forward and a backward pass")
    with memory_advice(model, config, device=device, dtype=dtype), passing:
        seconds, output = try_batch(
            model, batch, seed=config.train.seed, device=device, dtype=dtype
        )
    losses = ", ".join(f"{k} {float(v.detach()):.4f}" for k, v in output.losses.items())
    show(
        f"forward and backward on {device} in {str(dtype).removeprefix('torch.')}: "
        f"{seconds:.2f} s\n  losses, all finite: {losses}"
    )
    show(f"  {check_gradients(model)}")
    model.zero_grad(set_to_none=True)


def schedule_lines(train: TrainConfig, images: int) -> list[str]:
    """Describe the course of training in lines of text.

    Args:
        train: settings settled for the actual batch.
    """
    batch = images_per_update(train, 1)
    epochs = epochs_text(train.iterations * batch / images, decimals=1)
    last = train.iterations - 1
    turns = {0, train.warmup_iterations, *train.lr_steps, last}
    if train.schedule != "step":
        turns |= {last * quarter // 4 for quarter in (1, 2, 3)}
    width = len(str(last))
    return [
        f"schedule: {train.iterations} iterations of {batch} images "
        f"({epochs} epochs), {train.optimizer}, {train.schedule}",
        *(
            f"  iteration {turn:{width}}: lr {learning_rate(turn, train):.3g}"
            for turn in sorted(turns)
            if turn <= last
        ),
        f"  a checkpoint every {train.snapshot_every} iterations",
    ]


def first_batch(dataset: Dataset, config: Config) -> Batch:
    """Load the batch of the first pass, in this process alone."""
    data = config.data.model_copy(update={"workers": 0})  # the stream is the same
    return next(stream_batches(dataset, config.model_copy(update={"data": data})))


def draw_batch(
    path: Path, batch: Batch, class_names: tuple[str, ...], *, offset: float
) -> None:
    """Draw a batch as the network receives it; of a large one, the first images."""
    count = min(len(batch.image_ids), _MOST_SHOWN)
    size = max(batch.images.pixels.shape[-2:])
    cells = list(
        network_pictures(
            iter([batch]), class_names, offset=offset, count=count, size=size
        )
    )
    save_image(path, contact_sheet(cells, columns=min(count, 4)))


def try_batch(
    model: Network,
    batch: Batch,
    *,
    seed: int,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[float, TrainOutput]:
    """Run a pass forward and backward; return its seconds and the forward output.

    The gradients stay in the model.

    Raises:
        NonFiniteLossError: a loss is not finite.
    """
    model.train()
    model.zero_grad(set_to_none=True)
    generator = torch.Generator(device).manual_seed(seed)
    batch = batch.to(device)
    start = time.perf_counter()
    with autocast(device, dtype):
        output = model(batch.images, batch.ground_truth, generator, **batch.given)
    check_finite(output.losses, 0, batch.image_ids)
    torch.autograd.backward(output.total())
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, output


def check_gradients(model: nn.Module) -> str:
    """Check that every trainable parameter has a finite gradient, and say so.

    Raises:
        DryRunError: some have none; the message names the first ones.
    """
    trainable = {k: p for k, p in model.named_parameters() if p.requires_grad}
    missing = [k for k, p in trainable.items() if p.grad is None]
    infinite = [
        k
        for k, p in trainable.items()
        if p.grad is not None and not bool(p.grad.isfinite().all())
    ]
    for names, fault in (
        (missing, "get no gradient"),
        (infinite, "get a gradient that is not finite"),
    ):
        if names:
            named = ", ".join(names[:_MOST_NAMED])
            more = ", ..." if len(names) > _MOST_NAMED else ""
            raise DryRunError(
                f"{len(names)} of {len(trainable)} trainable parameters {fault}: "
                f"{named}{more}. They would not be trained: freeze them, or let a loss "
                "reach them"
            )
    return f"all {len(trainable)} trainable parameters get a finite gradient"


def _parameter_table(model: Network) -> str:
    lines = [f"{'parameters':<12}{'total':>13}{'trainable':>13}"]
    lines += [
        f"{part.name:<12}{part.total:>13,}{part.trainable:>13,}"
        for part in count_parameters(model)
    ]
    return "\n".join(lines)
