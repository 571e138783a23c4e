"""A step as a function without arguments, with stages that can be timed."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from faster_rcnn.config.settings import Config
from faster_rcnn.datasets.loading.batches import Batch
from faster_rcnn.engine.batch_gradient import clip_gradient
from faster_rcnn.engine.solver import build_optimizer
from torch import Tensor, nn

Clock = Callable[[str], contextlib.AbstractContextManager[Any]]


class Step:
    """A step that can be called repeatedly.

    Attributes:
        model: the model, for its parameters.
        dtype: dtype of the computation.
        stage: returns the context of a stage, which times it within `timed_by`.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        self.model = model
        self.dtype = dtype
        self.stage: Clock = _no_stage
        self.call: Callable[[], Any] = _nothing
        self.watched: list[tuple[object, str, str]] = []

    def __call__(self) -> Any:
        """Run the step, and return its losses or detections."""
        return self.call()

    def watch(self, owner: object, method: str, stage: str) -> None:
        """Mark a method as a stage of the step."""
        self.watched.append((owner, method, stage))

    @contextlib.contextmanager
    def timed_by(self, clock: Clock) -> Iterator[None]:
        """Report stages to a clock within this context."""
        self.stage = clock
        with contextlib.ExitStack() as stack:
            for owner, method, stage in self.watched:
                marked = _marked(getattr(owner, method), clock, stage)
                stack.enter_context(mock.patch.object(owner, method, marked))
            yield
        self.stage = _no_stage


def _no_stage(_: str) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


def _nothing() -> None:
    return None


def _marked(function: Callable[..., Any], clock: Clock, stage: str) -> Any:
    def marked(*arguments: Any, **options: Any) -> Any:
        with clock(stage):
            return function(*arguments, **options)

    return marked


def training(
    step: Step,
    named: nn.Module,
    losses: Callable[[], dict[str, Tensor]],
    config: Config,
    *,
    fused: bool,
) -> Callable[[], dict[str, Tensor]]:
    """Build a peer's training step, with SGD, parameter groups and clipping as ours.

    Args:
        step: the step to which stages are reported.
        named: the model's parts under our names, which set their weight decay.
        losses: the forward pass.
        config: configuration of the run.
        fused: use our optimizer's kernel; otherwise PyTorch's default.
    """
    optimizer = build_optimizer(named, config.train)
    if not fused:
        groups = [
            {key: group[key] for key in ("params", "weight_decay")}
            for group in optimizer.param_groups
        ]
        train = config.train
        optimizer = torch.optim.SGD(groups, lr=train.lr, momentum=train.momentum)

    def call() -> dict[str, Tensor]:
        found = losses()
        optimizer.zero_grad(set_to_none=True)
        with step.stage("backward"):
            torch.autograd.backward(torch.stack(list(found.values())).sum())
        with step.stage("optimizer"):
            clip_gradient(step.model, config.train.clip_norm)
            optimizer.step()
        return found

    return call


def pinned(batch: Batch, device: torch.device) -> Batch:
    """Page-lock a batch, as loaders do, so that copies to a GPU are asynchronous."""
    return batch.map(torch.Tensor.pin_memory) if device.type == "cuda" else batch
