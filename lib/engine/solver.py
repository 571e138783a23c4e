"""The optimizer's parameter groups, and the learning rate schedule."""

import inspect
import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..config.settings import TrainConfig
from ..nets import is_depthwise
from ..utils.distributed import collectives

_NORMS = (nn.BatchNorm2d, nn.GroupNorm)


def build_optimizer(model: nn.Module, train: TrainConfig) -> torch.optim.Optimizer:
    """Build SGD or AdamW with the family's parameter groups (tf-faster-rcnn's solver).

    Weights have weight decay, the backbone's being ``backbone_decay`` if set. Biases
    and norms have none, except biases with ``bias_decay``. Biases learn at twice the
    rate with ``double_bias``. Depthwise convolutions have decay only with
    ``depthwise_decay``.

    Each group stores its relative rate as ``lr_factor``, for `set_learning_rate`. With
    ``shard_optimizer``, each of several processes keeps the state of a share of the
    parameters.
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
            if name == "bias" and not isinstance(module, _NORMS):
                factor = 2.0 if train.double_bias else 1.0
                decay = weight_decay if train.bias_decay else 0.0
            elif isinstance(module, _NORMS) or (
                is_depthwise(module) and not train.depthwise_decay
            ):
                decay = 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    parameters = [
        {"params": members, "lr_factor": factor, "weight_decay": decay}
        for (factor, decay), members in groups.items()
    ]
    options: dict[str, Any] = {"lr": train.lr, "fused": True}
    kind: type[torch.optim.Optimizer] = torch.optim.AdamW
    if train.optimizer == "sgd":
        kind = torch.optim.SGD
        options["momentum"] = train.momentum
    if train.shard_optimizer and collectives.is_distributed():
        from .sharded_optimizer import ShardedOptimizer  # half a second to import

        return ShardedOptimizer(parameters, _quick(kind), **options)
    return _quick(kind)(parameters, **options)


def _quick(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """Return the same optimizer, faster to start and, on a CPU, to step.

    PyTorch wraps these methods so that its compiler ignores them, and imports the
    compiler for that on their first call: two seconds at every start.
    """
    names = ("add_param_group", "state_dict", "load_state_dict", "step")
    own: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    own["step"] = torch.no_grad()(own["step"])

    def init_group(
        self: Any,
        group: dict[str, Any],
        parameters: list[Tensor],
        gradients: list[Tensor],
        *states: list[Tensor | None],
    ) -> Any:
        found = cast(Any, kind)._init_group(self, group, parameters, gradients, *states)
        for held in states:  # SGD would create its momenta in the gradients' layout
            held[:] = [
                torch.zeros_like(parameter) if state is None else state
                for state, parameter in zip(held, parameters, strict=False)
            ]
        gradients[:] = map(_as_it_lies, gradients, parameters)
        return found

    return type(kind.__name__, (kind,), own | {"_init_group": init_group})


def _as_it_lies(gradient: Tensor, parameter: Tensor) -> Tensor:
    """Return the gradient in the memory order of the parameter, as a contiguous tensor.

    PyTorch's fused optimizers on CPUs process both in memory order, so they compute
    wrong values if the orders differ. They also copy a gradient that is not contiguous,
    as all in channels_last are, without need: half of their time.
    """
    if gradient.device.type != "cpu":
        return gradient
    if parameter.is_contiguous():
        return gradient.contiguous()
    if parameter.is_contiguous(memory_format=torch.channels_last):
        laid_out = gradient.contiguous(memory_format=torch.channels_last)
        return laid_out.permute(0, 2, 3, 1)
    return gradient


def _steps(iteration: int, train: TrainConfig) -> float:
    return train.gamma ** sum(iteration >= step for step in train.lr_steps)


def _cosine(iteration: int, train: TrainConfig) -> float:
    """Decay by half a cosine over the run (Loshchilov and Hutter 2017, section 3)."""
    return 0.5 * (1 + math.cos(math.pi * iteration / train.iterations))


def _polynomial(iteration: int, train: TrainConfig) -> float:
    """Decay to 0 at the end of the run (DeepLab, section 4.1)."""
    return math.pow(1 - iteration / train.iterations, train.power)


SCHEDULES: dict[str, Callable[[int, TrainConfig], float]] = {
    "step": _steps,
    "cosine": _cosine,
    "polynomial": _polynomial,
}
"""Fraction of ``train.lr`` after a number of updates, by name."""


def learning_rate(iteration: int, train: TrainConfig) -> float:
    """Return the learning rate of the update after ``iteration`` updates.

    It is the schedule's, times a linear warm-up from ``warmup_factor`` (Goyal et al.
    2017, section 2.2).
    """
    rate = train.lr * SCHEDULES[train.schedule](iteration, train)
    if iteration < train.warmup_iterations:
        done = iteration / train.warmup_iterations
        rate *= train.warmup_factor + (1 - train.warmup_factor) * done
    return rate


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set every group's rate to its share of ``rate``."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_factor"]
