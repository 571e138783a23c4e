"""Check that the tensors of a file are exactly those that its layout needs."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..config.loading import ConfigError
from ..config.settings import Config
from ..datasets.records import few
from ..model.build import build_detector
from ..model.network import OF_A_RUN
from ..utils.shape_only import shape_only
from .checkpoint import CheckpointError
from .imported import Layout, Numbers, Shape
from .state_shapes import backbone_shapes, detector_shapes


def read_numbers(tensors: Mapping[str, object], layout: Layout) -> Numbers:
    """Read the sizes of a detector's output layers; 0 for a missing layer."""

    def rows(layer: str) -> int:
        for part in ("weight", "bias"):
            tensor = tensors.get(layout.names[f"{layer}.{part}"])
            if isinstance(tensor, Tensor) and tensor.ndim:
                return len(tensor)
        return 0

    if layout.dense:
        anchors = rows("dense_head.predictor.deltas") // 4
        classes = rows("dense_head.predictor.scores") // max(anchors, 1)
        return Numbers(classes + (layout.origin == "detectron2"), anchors, 0)
    return Numbers(
        num_classes=rows(f"{_first_predictor(layout)}.scores"),
        anchors=rows("rpn.head.deltas") // 4,
        rpn_channels=rows("rpn.head.conv"),
    )


def _first_predictor(layout: Layout) -> str:
    cascade = "box_head.stage.0.predictor"
    return cascade if f"{cascade}.scores.bias" in layout.names else "box_head.predictor"


def expected_shapes(layout: Layout, numbers: Numbers) -> dict[str, Shape]:
    """Return the shapes in the file by our keys, for a layout and its output sizes."""
    if layout.backbone_only:
        return backbone_shapes(layout.net).shapes
    shapes = detector_shapes(layout.net, layout.settings, numbers)
    if layout.dense:
        if layout.origin == "detectron2":  # its background has no scores
            scores = numbers.anchors * (numbers.num_classes - 1)
            shapes |= _rows(shapes, "dense_head.predictor.scores", scores)
        return shapes
    if layout.origin in ("torchvision", "detectron2", "detectron"):
        shapes |= _rows(shapes, "rpn.head.scores", numbers.anchors)
    if layout.origin == "detectron2":  # its background has no boxes and no masks
        others = numbers.num_classes - 1
        if "box_head.predictor.deltas.weight" in shapes:  # in a cascade, of no class
            shapes |= _rows(shapes, "box_head.predictor.deltas", 4 * others)
        if "mask_head.predictor.weight" in shapes:
            shapes |= _rows(shapes, "mask_head.predictor", others)
    return shapes


def _rows(shapes: Mapping[str, Shape], layer: str, rows: int) -> dict[str, Shape]:
    """Return the shapes of a layer with another number of outputs."""
    keys = (f"{layer}.weight", f"{layer}.bias")
    return {key: (rows, *shapes[key][1:]) for key in keys}


def check_layout(
    tensors: Mapping[str, object],
    layout: Layout,
    expected: Mapping[str, Shape],
    *,
    source: str,
) -> dict[str, str]:
    """Check that a file has the tensors of its layout; return why others are unused.

    Counters of batches may be missing: files from before PyTorch 0.4 lack them, and
    nothing reads them.

    Raises:
        CheckpointError: a tensor is missing, unknown, or has another shape.
    """
    missing, other = [], []
    for key, name in layout.names.items():
        tensor = tensors.get(name)
        if name not in tensors:
            if not key.endswith("num_batches_tracked"):
                missing.append(name)
        elif not isinstance(tensor, Tensor):
            other.append(f"{name} is {type(tensor).__name__}, expected a tensor")
        elif tuple(tensor.shape) != expected[key]:
            other.append(f"{name} is {tuple(tensor.shape)}, expected {expected[key]}")
        elif not (tensor.is_floating_point() or key.endswith("tracked")):
            other.append(f"{name} is {tensor.dtype}, expected real numbers")
    unused: dict[str, str] = {}
    unknown = []
    for name in tensors.keys() - set(layout.names.values()):
        reasons = [
            why for start, why in layout.unused.items() if name.startswith(start)
        ]
        if reasons:
            unused[name] = reasons[0]
        else:
            unknown.append(name)
    faults = {"missing": missing, "unknown": unknown, "of other shape or type": other}
    if any(faults.values()):
        text = ", ".join(
            f"{len(names)} {what} ({few(sorted(names))})"
            for what, names in faults.items()
            if names
        )
        raise CheckpointError(
            f"{source}: recognised: {layout.kind}, but not wholly: {text}. Is the file "
            "truncated, or of another net?"
        )
    return dict(sorted(unused.items()))


def check_fit(
    weights: Mapping[str, Tensor],
    config: Config,
    classes: int,
    *,
    source: object,
    remedy: str,
) -> None:
    """Compare a detector's weights with its configuration, without allocating memory.

    A configuration alone can request any amount; weights are as large as their file.

    Raises:
        CheckpointError: names or shapes differ.
        ConfigError: no detector has this configuration.
    """
    try:
        with shape_only():
            own = build_detector(config, classes).state_dict()
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"{source}: its settings make no detector: {error}"
        ) from error
    shapes = {
        key: tuple(tensor.shape)
        for key, tensor in own.items()
        if key in weights or key not in OF_A_RUN
    }
    faults = [
        f"{key} is {tuple(weights[key].shape) if key in weights else 'missing'}, "
        f"expected {shape}"
        for key, shape in shapes.items()
        if key not in weights or tuple(weights[key].shape) != shape
    ]
    faults += [f"{key} is unknown" for key in weights.keys() - shapes.keys()]
    if faults:
        raise CheckpointError(
            f"{source}: its weights do not fit the detector that its settings "
            f"describe: {len(faults)} faults ({few(sorted(faults))}); {remedy}"
        )


def take_state(
    tensors: Mapping[str, Tensor], layout: Layout
) -> tuple[dict[str, Tensor], int]:
    """Return a file's tensors by our keys, and their number; missing counters are 0."""
    state, used = {}, 0
    for key, name in layout.names.items():
        tensor = tensors.get(name)
        used += tensor is not None
        state[key] = torch.tensor(0) if tensor is None else tensor
        if state[key].is_floating_point():
            state[key] = state[key].float()
    return state, used
