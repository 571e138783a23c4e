"""Costs of a detector: parameters, FLOPs and memory, without running it.

A training step is traced with shapes only (PyTorch's fake tensors), so the costs for
images of any size are known within a second and without memory, even after a GPU has
run out of it.
"""

import math
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..config.settings import DataConfig, TrainConfig
from ..kernels.convolution import FUSED
from ..layer_utils.outputs import TrainOutput
from ..layer_utils.structures import GroundTruth, Images, Polygons, Proposals
from ..model.heads.keypoint_head import KeypointHead
from ..model.network import Network
from ..utils.device import autocast

_PARTS = ("backbone", "pyramid", "RPN", "head", "predictor")
_OBJECTS = 32  # ground-truth slots; their number hardly matters
_VERTICES = 64  # of an outline, likewise
_PROPOSALS = 2000  # given proposals in training; their number hardly matters
_TEST_PROPOSALS = 300


class Part(NamedTuple):
    """Parameters of a part of the detector."""

    name: str
    total: int
    trainable: int


class Flops(NamedTuple):
    """FLOPs of one image, forward and in training backward; a multiply-add is two."""

    test: int
    train: int


class Memory(NamedTuple):
    """Bytes that a training step needs.

    Attributes:
        weights: parameters and buffers, and their averages if ``train.ema`` is set.
        optimizer: the optimizer's state.
        step: memory that does not depend on the number of images, mostly gradients.
        image: memory per image, mostly activations for the backward pass.
    """

    weights: int
    optimizer: int
    step: int
    image: int

    def total(self, images: int) -> int:
        """Return the bytes for a pass of this many images."""
        return self.weights + self.optimizer + self.step + images * self.image


def count_parameters(model: Network) -> list[Part]:
    """Count the parameters of each part of the detector, and of all together."""
    shared = model.shared_keys()
    parts: dict[str, list[nn.Parameter]] = {name: [] for name in _PARTS}
    for key, parameter in model.named_parameters():
        parts.setdefault(_part_of(key, key in shared), []).append(parameter)
    counted = [_part(name, parameters) for name, parameters in parts.items()]
    return [
        *(part for part in counted if part.total),
        _part("together", model.parameters()),
    ]


def _part_of(key: str, shared: bool) -> str:
    """Name the part of a parameter; further heads are parts of their own."""
    owner = key.partition(".")[0]
    if owner == "box_head" and "predictor." in key:
        return "predictor"
    if owner in ("region_head", "box_head", "dense_head"):
        return "head"
    if owner == "backbone":
        return "backbone" if shared else "head"  # the last layers of C4
    return "RPN" if owner == "rpn" else owner.removesuffix("_head")


def largest_size(data: DataConfig) -> tuple[int, int]:
    """Return height and width of the largest padded training image, in landscape."""
    sides = min(max(data.short_sides), data.long_side), data.long_side
    multiple = data.size_multiple
    height, width = (-(-side // multiple) * multiple for side in sides)
    return height, width


def count_flops(model: Network, size: tuple[int, int], *, dtype: torch.dtype) -> Flops:
    """Count FLOPs of convolutions and matrix products; others are negligible.

    Args:
        model: in training mode or not; the mode is kept.
        size: height and width of the padded image.
    """
    # Imported late, like the import below: only dry runs and errors need them.
    from torch.utils.flop_counter import FlopCounterMode

    counts = []
    training = model.training
    for train in (False, True):
        model.train(train)
        with FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
            _step(model, 1, size, dtype=dtype)
        counts.append(counter.get_total_flops())
    model.train(training)
    return Flops(*counts)


def estimate_memory(
    model: Network,
    train: TrainConfig,
    size: tuple[int, int],
    *,
    dtype: torch.dtype,
) -> Memory:
    """Estimate the memory of a training step: live tensors at the peak.

    Workspace inside operators and gaps of the allocator are not included.

    Args:
        size: height and width of the padded images.
    """
    peaks = []
    training = model.training
    model.train()
    for images in (1, 2):
        with _LiveBytes() as live:
            _step(model, images, size, dtype=dtype)
        peaks.append(live.peak)
    model.train(training)
    image = peaks[1] - peaks[0]
    weights, optimizer = state_bytes(model, train)
    return Memory(weights, optimizer, step=max(0, peaks[0] - image), image=image)


def state_bytes(model: Network, train: TrainConfig) -> tuple[int, int]:
    """Return the bytes of weights with their averages, and of the optimizer's state.

    Together they are the size of a checkpoint.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    copies = 2 if train.ema else 1
    states = 2 if train.optimizer == "adamw" else int(train.momentum > 0)
    return (
        copies * _bytes([*model.parameters(), *model.buffers()]),
        states * _bytes(trainable),
    )


def _convolution_backward(
    grad_shape: Sequence[int],
    _inputs: Sequence[int],
    weight_shape: Sequence[int],
    *rest: Any,
    **_options: Any,
) -> int:
    """Count FLOPs of a convolution's backward pass; PyTorch's count ignores groups."""
    wanted = sum(rest[-1][:2])  # gradients of input and weight
    return int(2 * wanted * math.prod(grad_shape) * math.prod(weight_shape[1:]))


def _fused_convolution(
    _inputs: Sequence[int],
    weight_shape: Sequence[int],
    *_rest: Any,
    out_shape: Sequence[int],
    **_options: Any,
) -> int:
    """Count FLOPs of a convolution that also activates its output."""
    return 2 * math.prod(out_shape) * math.prod(weight_shape[1:])


_FORMULAS: dict[Any, Callable[..., int]] = {
    torch.ops.aten.convolution_backward: _convolution_backward
}
if FUSED is not None:
    _FORMULAS[FUSED] = _fused_convolution


def _part(name: str, parameters: Iterable[nn.Parameter]) -> Part:
    parameters = list(parameters)
    return Part(
        name,
        sum(p.numel() for p in parameters),
        sum(p.numel() for p in parameters if p.requires_grad),
    )


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _step(
    model: Network, count: int, size: tuple[int, int], *, dtype: torch.dtype
) -> None:
    """Trace a step with shapes only; with the backward pass in training mode."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    fake = FakeTensorMode()
    state: dict[str, Tensor] = {
        f"model.{name}": fake.from_tensor(tensor)
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
    }
    device = next(model.parameters()).device
    with fake:

        def empty(*shape: int, of: torch.dtype) -> Tensor:
            return torch.empty(count, *shape, dtype=of, device=device)

        images = Images(
            empty(len(model.pixel_mean), *size, of=torch.uint8),
            empty(2, of=torch.int64),
            padded=True,
        )
        truth = None
        if model.training:
            truth = GroundTruth(
                boxes=empty(_OBJECTS, 4, of=torch.float32),
                classes=empty(_OBJECTS, of=torch.int64),
                valid=empty(_OBJECTS, of=torch.bool),
                crowd=empty(_OBJECTS, of=torch.bool),
                masks=Polygons(
                    vertices=empty(_OBJECTS, _VERTICES, 2, of=torch.float32),
                    parts=empty(_OBJECTS, _VERTICES, of=torch.int16),
                    num_parts=1,
                ),
                keypoints=empty(_OBJECTS, _keypoints(model), 3, of=torch.float32),
            )
        given = {}
        if model.reads_proposals:
            rows = _PROPOSALS if model.training else _TEST_PROPOSALS
            given["proposals"] = Proposals(
                boxes=empty(rows, 4, of=torch.float32),
                scores=empty(rows, of=torch.float32),
                valid=empty(rows, of=torch.bool),
            )
        with torch.set_grad_enabled(model.training):
            step = _WholeStep(model, autocast(device, dtype))
            torch.func.functional_call(step, state, (images, truth), given)


class _WholeStep(nn.Module):
    """A pass forward, and in training backward, which may compute blocks again."""

    def __init__(self, model: Network, precision: AbstractContextManager[Any]) -> None:
        super().__init__()
        self.model = model
        self.precision = precision

    def forward(self, *inputs: Any, **given: Any) -> None:
        with self.precision:
            output = self.model(*inputs, **given)
        if isinstance(output, TrainOutput):
            torch.autograd.backward(output.total())


def _keypoints(model: Network) -> int:
    """Return the keypoints of an object that the detector learns; 0 for none."""
    heads = [part for part in model.modules() if isinstance(part, KeypointHead)]
    return heads[0].settings.count if heads else 0


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the bytes of the tensors that operators create, while they live.

    Attributes:
        peak: largest number of bytes so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._live: set[int] = set()

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage())
        self.peak = max(self.peak, self._now)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._live:
            self._live.add(key)
            self._now += storage.nbytes()
            weakref.finalize(storage, self._drop, key, storage.nbytes())

    def _drop(self, key: int, size: int) -> None:
        self._live.discard(key)
        self._now -= size
