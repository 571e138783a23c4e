"""The optimizer's parameter groups and the learning rate's course."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..nets import is_depthwise
from .config import TrainConfig


def build_optimizer(model: nn.Module, train: TrainConfig) -> torch.optim.Optimizer:
    """SGD or AdamW with the family's parameter groups (tf-faster-rcnn, its solver).

    Weights decay, the backbone's by ``backbone_decay`` where that is set; biases and
    normalisation do not, unless ``bias_decay`` is set for biases; biases learn at twice
    the rate with ``double_bias``; depthwise convolutions decay only with
    ``depthwise_decay``.

    Each group holds its relative rate as ``lr_factor``; :func:`set_learning_rate`
    reads it.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for path, module in model.named_modules():
        weight_decay = train.weight_decay
        if path.startswith("backbone.") and train.backbone_decay is not None:
            weight_decay = train.backbone_decay
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            factor, decay = 1.0, weight_decay
            if name == "bias" and not isinstance(module, nn.BatchNorm2d):
                factor = 2.0 if train.double_bias else 1.0
                decay = weight_decay if train.bias_decay else 0.0
            elif isinstance(module, nn.BatchNorm2d) or (
                is_depthwise(module) and not train.depthwise_decay
            ):
                decay = 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    parameters = [
        {"params": members, "lr_factor": factor, "weight_decay": decay}
        for (factor, decay), members in groups.items()
    ]
    options: dict[str, Any] = {"lr": train.lr, "fused": True}
    if train.optimizer == "adamw":
        return _without_compiler(torch.optim.AdamW)(parameters, **options)
    options["momentum"] = train.momentum
    return _without_compiler(torch.optim.SGD)(parameters, **options)


def _without_compiler(
    kind: type[torch.optim.Optimizer],
) -> type[torch.optim.Optimizer]:
    """The same optimizer, which does not import PyTorch's compiler.

    PyTorch wraps these methods so that the compiler leaves them alone, and imports it
    for that on their first call: two seconds of every start.
    """
    names = ("add_param_group", "state_dict", "load_state_dict", "step")
    plain = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    plain["step"] = torch.no_grad()(plain["step"])
    return type(kind.__name__, (kind,), plain)


def _steps(iteration: int, train: TrainConfig) -> float:
    return train.gamma ** sum(iteration >= step for step in train.lr_steps)


def _cosine(iteration: int, train: TrainConfig) -> float:
    """Half a period over the whole run (Loshchilov and Hutter 2017, section 3)."""
    return 0.5 * (1 + math.cos(math.pi * iteration / train.iterations))


def _polynomial(iteration: int, train: TrainConfig) -> float:
    """Down to 0 at the end of the run (DeepLab, section 4.1)."""
    return math.pow(1 - iteration / train.iterations, train.power)


SCHEDULES: dict[str, Callable[[int, TrainConfig], float]] = {
    "step": _steps,
    "cosine": _cosine,
    "polynomial": _polynomial,
}
"""Share of ``train.lr`` that is left after so many updates, by name."""


def learning_rate(iteration: int, train: TrainConfig) -> float:
    """Learning rate of the update after ``iteration`` updates.

    The schedule's, times a linear warm-up from ``warmup_factor`` (Goyal et al. 2017,
    section 2.2).
    """
    rate = train.lr * SCHEDULES[train.schedule](iteration, train)
    if iteration < train.warmup_iterations:
        done = iteration / train.warmup_iterations
        rate *= train.warmup_factor + (1 - train.warmup_factor) * done
    return rate


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of ``rate``."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_factor"]
