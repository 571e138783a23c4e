"""Helpers for the steps of other packages' detectors."""

from collections.abc import Callable
from typing import Any

import torch
from faster_rcnn.config.settings import Config
from faster_rcnn.datasets.loading.batches import Batch
from faster_rcnn.utils.device import autocast
from torch import Tensor, nn

from .call import Step, pinned, training
from .models import Work, draw_batch


def recipe(recipes: dict[str, str], model: str, who: str) -> str:
    """Return the package's own recipe for a network.

    Raises:
        ValueError: the package has no recipe.
    """
    if model not in recipes:
        raise ValueError(f"{who} has {', '.join(recipes)}; found {model!r}")
    return recipes[model]


def calm(model: nn.Module) -> None:
    """Make the last norm of each residual branch small, as `build_ours` does."""
    for name, tensor in model.state_dict().items():
        if name.endswith(("conv3.norm.weight", "bn3.weight")):
            tensor.fill_(0.2)


def scale(layer: Any, outputs: list[Tensor], deviation: float) -> None:
    """Scale a layer to a standard deviation of its outputs."""
    layer.weight *= deviation / torch.cat([x.flatten() for x in outputs]).std()


def images(batch: Batch) -> Any:
    """Yield pixels, boxes, classes and mask of each image."""
    return zip(batch.images.pixels, *batch.ground_truth[:3], strict=True)


def package_step(
    model: nn.Module,
    losses: Callable[[Any], dict[str, Tensor]],
    predict: Callable[[Any], Any],
    batch_of: Callable[[Batch], Any],
    to_host: Callable[[Any], Any],
    work: Work,
    config: Config,
    device: torch.device,
    dtype: torch.dtype,
) -> Step:
    """Build a step from a package's own functions, with coarse stages only."""
    in_favour = dtype == torch.bfloat16
    if in_favour:
        model.to(memory_format=torch.channels_last)
    batch = batch_of(pinned(draw_batch(work, config), device))
    step = Step(model, dtype)
    step.watch(model.backbone, "forward", "backbone")
    if work.phase == "train":
        model.train()

        def train() -> dict[str, Tensor]:
            with autocast(device, dtype):
                return losses(batch)

        step.call = training(step, model, train, config, fused=in_favour)
        return step
    model.eval()

    def infer() -> Any:
        with torch.no_grad(), autocast(device, dtype):
            found = predict(batch)
        with step.stage("detections to the host"):
            return to_host(found)

    step.call = infer
    return step
