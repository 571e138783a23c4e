"""Detectron2's detectors: its names, order of classes and order of anchors.

Letters: K anchors per cell, C classes with background.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..nets.normalisation import NORMALISATIONS
from .checkpoint import CheckpointError
from .conversion import add_never_present, double_scores
from .imported import KEYPOINT_HEAD, MASK_HEAD, Layout

_SIZES = (32, 64, 128, 256, 512)
_RATIOS = (0.5, 1.0, 2.0)
OCTAVES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
"""Sides of RetinaNet's anchors, relative to the first."""

_SHARED: dict[str, Any] = {
    "anchors.ratios": _RATIOS,
    "anchors.centre": "corner",
    "boxes.offset": 0,
    "boxes.nms_offset": 0,
    "boxes.max_log_size": 4.135166556742356,
    "test.nms_threshold": 0.5,
    "test.score_threshold": 0.05,
    "data.test_short_side": 800,
    "data.test_long_side": 1333,
}
_REGIONS = {
    "pooling.mode": "align",
    "pooling.aligned": True,
    "pooling.sampling_ratio": 0,
    "rpn.test_post_nms": 1000,
    "rpn.min_size": 1e-6,  # it drops boxes without area
}
_ONE_MAP = {"anchors.scales": (2, 4, 8, 16, 32), "rpn.test_pre_nms": 6000}
_TWO_FCS = {
    "pooling.size": 7,
    "head.convs": 0,
    "head.fcs": 2,
    "head.fc_channels": 1024,
    "head.norm": "none",
}
_C4 = {"net.head_stride": 2, "pooling.size": 14, "rpn.channels": 1024}
_DC5 = {"net.features": "dc5", "rpn.channels": 2048}
_PYRAMID = {
    "net.features": "fpn",
    "net.fpn_channels": 256,
    "net.fpn_norm": "none",
}
_FPN = {
    "anchors.scales": (8,),
    "rpn.channels": 256,
    "rpn.test_pre_nms": 1000,
}
_CASCADE = {"net.detector": "cascade", "head.cascade": (0.6, 0.7)}
_RETINANET = {
    "net.detector": "retinanet",
    "net.fpn_finest": 8,
    "net.fpn_coarser": 2,
    "net.fpn_coarser_by": "c5",
    "anchors.scales": tuple(4 * octave for octave in OCTAVES),
    "anchors.spacing": "stride",
    "dense.convs": 4,
    "dense.norm": "none",
    "dense.pre_nms": 1000,
    "test.clip_first": False,
}
_MASK = MASK_HEAD | {"mask.targets": "polygon", "test.whole_pixel_masks": False}
_KEYPOINT = KEYPOINT_HEAD | {"keypoint.score": "probability"}
SETTINGS: dict[str, dict[str, Any]] = {
    "c4": _C4 | _ONE_MAP | _REGIONS | _SHARED,
    "dc5": _DC5 | _ONE_MAP | _TWO_FCS | _REGIONS | _SHARED,
    "fpn": _PYRAMID | _FPN | _TWO_FCS | _REGIONS | _SHARED,
    "cascade": _PYRAMID | _FPN | _TWO_FCS | _CASCADE | _REGIONS | _SHARED,
    "retinanet": _PYRAMID | _RETINANET | _SHARED,
}
SETTINGS |= {
    "mask_c4": SETTINGS["c4"] | _MASK | {"mask.convs": 0},
    "mask_dc5": SETTINGS["dc5"] | _MASK,
    "mask_fpn": SETTINGS["fpn"] | _MASK,
    "mask_cascade": SETTINGS["cascade"] | _MASK,
    "keypoint_fpn": SETTINGS["fpn"] | _KEYPOINT,
}
"""Settings by features, behind them those of other detectors than Faster R-CNN; the
ResNet's style is added."""

NETS = {
    "c4": ("res50", "res101", "res152"),
    "dc5": ("res50", "res101", "res152"),
    "fpn": ("res50", "res101", "res152", "resx101"),
    "cascade": ("res50", "res101", "res152", "resx101"),
    "retinanet": ("res50", "res101", "res152", "resx101"),
}
NETS |= {
    f"mask_{features}": NETS[features] for features in NETS if features != "retinanet"
}
NETS["keypoint_fpn"] = NETS["fpn"]

_PIXELS = ("pixel_mean", "pixel_std")
_CELLS = "anchor_generator.cell_anchors."
UNUSED = {
    **dict.fromkeys(_PIXELS, "recorded as the normalisation"),
    **dict.fromkeys(
        (f"proposal_generator.{_CELLS}", _CELLS),
        "anchors follow from the configuration",
    ),
}

_HEADS = {
    "rpn.head.conv": "proposal_generator.rpn_head.conv",
    "rpn.head.scores": "proposal_generator.rpn_head.objectness_logits",
    "rpn.head.deltas": "proposal_generator.rpn_head.anchor_deltas",
    "region_head.fcs.0": "roi_heads.box_head.fc1",
    "region_head.fcs.1": "roi_heads.box_head.fc2",
    "box_head.predictor.scores": "roi_heads.box_predictor.cls_score",
    "box_head.predictor.deltas": "roi_heads.box_predictor.bbox_pred",
    "mask_head.layers.deconv": "roi_heads.mask_head.deconv",
    "mask_head.predictor": "roi_heads.mask_head.predictor",
    "keypoint_head.layers.deconv": "roi_heads.keypoint_head.score_lowres",
    "dense_head.predictor.scores": "head.cls_score",
    "dense_head.predictor.deltas": "head.bbox_pred",
    "pyramid.down.0": "backbone.top_block.p6",
    "pyramid.down.1": "backbone.top_block.p7",
}
_PARTS = {"downsample.0": "shortcut", "downsample.1": "shortcut.norm"}


def style_of(net: str) -> str:
    """Return the ResNet style: where the bottlenecks have their stride."""
    return "pytorch" if net == "resx101" else "caffe"


def input_of(net: str) -> str:
    """Return the normalisation: ResNeXts divide by torchvision's deviation."""
    return "torchvision" if net == "resx101" else "detectron2"


def detectron2_name(key: str, features: str = "c4") -> str:
    """Return Detectron2's name of one of our keys, given a key of `SETTINGS`."""
    layer, _, part = key.rpartition(".")
    features = features.removeprefix("mask_").removeprefix("keypoint_")
    if layer in _HEADS:
        return f"{_HEADS[layer]}.{part}"
    if found := re.fullmatch(r"box_head\.body\.(\d)\.fcs\.(\d)", layer):
        return f"roi_heads.box_head.{found[1]}.fc{int(found[2]) + 1}.{part}"
    found = re.fullmatch(r"box_head\.stage\.(\d)\.predictor\.(scores|deltas)", layer)
    if found:
        module = "cls_score" if found[2] == "scores" else "bbox_pred"
        return f"roi_heads.box_predictor.{found[1]}.{module}.{part}"
    if found := re.fullmatch(r"(mask|keypoint)_head\.layers\.convs\.(\d)", layer):
        name = {"mask": "mask_fcn", "keypoint": "conv_fcn"}[found[1]]
        return f"roi_heads.{found[1]}_head.{name}{int(found[2]) + 1}.{part}"
    if found := re.fullmatch(r"pyramid\.(lateral|output)\.(\d)", layer):
        finest = 3 if features == "retinanet" else 2
        return f"backbone.fpn_{found[1]}{int(found[2]) + finest}.{part}"
    found = re.fullmatch(r"dense_head\.predictor\.(score|delta)_convs\.(\d)", layer)
    if found:
        subnet = "cls" if found[1] == "score" else "bbox"
        return f"head.{subnet}_subnet.{2 * int(found[2])}.{part}"
    shared = "backbone" if features in ("c4", "dc5") else "backbone.bottom_up"
    if stem := re.fullmatch(r"backbone\.(conv|bn)1", layer):
        module = "conv1" if stem[1] == "conv" else "conv1.norm"
        return f"{shared}.stem.{module}.{part}"
    found = re.fullmatch(r"backbone\.layer(\d)\.(\d+)\.(.+)", layer)
    assert found is not None, key
    stage, block, module = int(found[1]) + 1, found[2], found[3]
    module = _PARTS.get(module) or re.sub(r"bn(\d)", r"conv\1.norm", module)
    owner = "roi_heads" if stage == 5 and features == "c4" else shared
    return f"{owner}.res{stage}.{block}.{module}.{part}"


def check_input(tensors: Mapping[str, Tensor], layout: Layout, *, source: str) -> None:
    """Check that the entries that are not loaded equal the values assumed instead.

    Raises:
        CheckpointError: the mean, deviation or set of anchors differs.
    """
    normalisation = NORMALISATIONS[input_of(layout.net)]
    expected = {  # BGR in Detectron2
        name: torch.tensor(values[::-1])
        for name, values in zip(_PIXELS, normalisation, strict=True)
    }
    cells = _CELLS if layout.dense else f"proposal_generator.{_CELLS}"
    levels: list[tuple[float, ...]] = [_SIZES]
    if layout.features == "fpn":
        octaves = OCTAVES if layout.dense else (1.0,)
        levels = [tuple(size * octave for octave in octaves) for size in _SIZES]
    for level, sizes in enumerate(levels):
        expected[f"{cells}{level}"] = _cell_anchors(sizes)
    for name, values in expected.items():
        tensor = tensors.get(name)
        if tensor is None:
            continue
        flat = tensor.double().flatten()
        if flat.shape != values.flatten().shape or not torch.allclose(
            flat, values.double().flatten(), rtol=1e-4, atol=1e-3
        ):
            raise CheckpointError(
                f"{source}: {name}: expected {_short(values)}, as a {layout.kind} "
                f"has, found {_short(tensor)}; weights of that kind cannot be read"
            )


def _cell_anchors(sizes: tuple[float, ...]) -> Tensor:
    """Return the corners of the anchors around 0, ordered by size, then ratio."""
    rows = []
    for size in sizes:
        for ratio in _RATIOS:
            width = (size * size / ratio) ** 0.5
            height = ratio * width
            rows.append([-width / 2, -height / 2, width / 2, height / 2])
    return torch.tensor(rows)


def _short(values: Tensor) -> str:
    numbers = [round(float(v), 3) for v in values.flatten()]
    return f"{numbers[:6]}" + ("..." if len(numbers) > 6 else "")


def convert_heads(state: dict[str, Tensor]) -> None:
    """Reorder the output layers to our conventions, in place.

    Detectron2's background is the last class, without boxes or masks; here it is the
    first, with both. RetinaNet's background has no scores there. The RPN's anchors have
    one score, ours two. Detectron2 orders anchors by size, then ratio; we order them by
    ratio, then scale.
    """
    if "dense_head.predictor.deltas.bias" in state:
        anchors = _reorder_anchors(state, "dense_head.predictor")
        add_never_present(state, anchors)
        return
    _reorder_anchors(state, "rpn.head")
    for key in [key for key in state if key.startswith(("box_head.", "mask_head."))]:
        if "predictor.scores." in key:
            state[key] = state[key].roll(1, 0)  # (C, ...)
        elif key.startswith("box_head.predictor.deltas."):  # a cascade has none a class
            nothing = state[key].new_zeros(4, *state[key].shape[1:])
            state[key] = torch.cat([nothing, state[key]])
        elif key.startswith("mask_head.predictor."):
            nothing = state[key].new_zeros(1, *state[key].shape[1:])
            state[key] = torch.cat([nothing, state[key]])
    double_scores(state)


def _reorder_anchors(state: dict[str, Tensor], layers: str) -> int:
    """Order the rows of scores and deltas by ratio, then scale; return K."""
    anchors, ratios = len(state[f"{layers}.deltas.bias"]) // 4, len(_RATIOS)
    order = torch.arange(anchors).view(-1, ratios).T.flatten()  # (K,)
    for key in (f"{layers}.{kind}" for kind in ("scores", "deltas")):
        for part in ("weight", "bias"):
            rows = state[f"{key}.{part}"]
            per_anchor = rows.view(anchors, -1, *rows.shape[1:])
            state[f"{key}.{part}"] = per_anchor[order].flatten(0, 1)
    return anchors
