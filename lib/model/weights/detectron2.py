"""Detectron2's C4 detectors: its names, order of classes and order of anchors.

Letters: K anchors per cell, C classes with background.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import CheckpointError
from ..normalisation import NORMALISATIONS

_SIZES = (32, 64, 128, 256, 512)
_RATIOS = (0.5, 1.0, 2.0)

SETTINGS: dict[str, Any] = {
    "net.style": "caffe",
    "net.head_stride": 2,
    "anchors.scales": (2, 4, 8, 16, 32),
    "anchors.ratios": _RATIOS,
    "anchors.centre": "corner",
    "boxes.offset": 0,
    "boxes.nms_offset": 0,
    "boxes.max_log_size": 4.135166556742356,
    "pooling.mode": "align",
    "pooling.size": 14,
    "pooling.aligned": True,
    "pooling.sampling_ratio": 0,
    "rpn.channels": 1024,
    "rpn.test_pre_nms": 6000,
    "rpn.test_post_nms": 1000,
    "test.nms_threshold": 0.5,
    "test.score_threshold": 0.05,
    "data.test_short_side": 800,
    "data.test_long_side": 1333,
}

_PIXELS = ("pixel_mean", "pixel_std")
_CELL = "proposal_generator.anchor_generator.cell_anchors.0"
UNUSED = {
    **dict.fromkeys(_PIXELS, "recorded as the normalisation detectron2"),
    _CELL: "anchors follow from the configuration",
}

_HEADS = {
    "rpn.head.conv": "proposal_generator.rpn_head.conv",
    "rpn.head.scores": "proposal_generator.rpn_head.objectness_logits",
    "rpn.head.deltas": "proposal_generator.rpn_head.anchor_deltas",
    "box_head.predictor.scores": "roi_heads.box_predictor.cls_score",
    "box_head.predictor.deltas": "roi_heads.box_predictor.bbox_pred",
}
_PARTS = {"downsample.0": "shortcut", "downsample.1": "shortcut.norm"}


def detectron2_name(key: str) -> str:
    """Detectron2's name of one of our keys."""
    layer, _, part = key.rpartition(".")
    if layer in _HEADS:
        return f"{_HEADS[layer]}.{part}"
    stem = re.fullmatch(r"backbone\.(conv|bn)1", layer)
    if stem:
        module = "conv1" if stem[1] == "conv" else "conv1.norm"
        return f"backbone.stem.{module}.{part}"
    found = re.fullmatch(r"backbone\.layer(\d)\.(\d+)\.(.+)", layer)
    assert found is not None
    stage, block, module = int(found[1]) + 1, found[2], found[3]
    module = _PARTS.get(module) or re.sub(r"bn(\d)", r"conv\1.norm", module)
    owner = "roi_heads" if stage == 5 else "backbone"
    return f"{owner}.res{stage}.{block}.{module}.{part}"


def check_input(tensors: Mapping[str, Tensor], anchors: int, *, source: str) -> None:
    """Make sure that what is not loaded is what we assume in its place.

    Raises:
        CheckpointError: another mean, deviation or set of anchors.
    """
    mean = NORMALISATIONS["detectron2"].mean[::-1]  # BGR there
    expected = dict(zip(_PIXELS, (torch.tensor(mean), torch.ones(3)), strict=True))
    expected[_CELL] = _cell_anchors()
    if anchors != len(expected[_CELL]):
        raise CheckpointError(
            f"{source}: expected {len(expected[_CELL])} anchors per cell (sides "
            f"{_SIZES}, ratios {_RATIOS}), as the C4 detectors have; found {anchors}"
        )
    for name, values in expected.items():
        tensor = tensors.get(name)
        if tensor is None:
            continue
        flat = tensor.double().flatten()
        if flat.shape != values.flatten().shape or not torch.allclose(
            flat, values.double().flatten(), rtol=1e-4, atol=1e-3
        ):
            raise CheckpointError(
                f"{source}: {name}: expected {_short(values)}, as the C4 detectors "
                f"have, found {_short(tensor)}; weights of that kind cannot be read"
            )


def _cell_anchors() -> Tensor:
    """Corners of the anchors around 0, larger ones later, ratios within."""
    rows = []
    for size in _SIZES:
        for ratio in _RATIOS:
            width = (size * size / ratio) ** 0.5
            height = ratio * width
            rows.append([-width / 2, -height / 2, width / 2, height / 2])
    return torch.tensor(rows)


def _short(values: Tensor) -> str:
    numbers = [round(float(v), 3) for v in values.flatten()]
    return f"{numbers[:6]}" + ("..." if len(numbers) > 6 else "")


def convert_heads(state: dict[str, Tensor]) -> None:
    """Bring the output layers into our order, in place.

    Background is the last class there and the first here, and has boxes only here; an
    anchor has one score there and two here; anchors are ordered by size, then ratio
    there, by ratio, then scale here.
    """
    sizes, ratios = len(_SIZES), len(_RATIOS)
    order = torch.arange(sizes * ratios).view(sizes, ratios).T.flatten()  # (K,)
    for part in ("weight", "bias"):
        scores = state[f"rpn.head.scores.{part}"][order]  # (K, ...)
        background = torch.zeros_like(scores)
        state[f"rpn.head.scores.{part}"] = torch.cat([background, scores])
        deltas = state[f"rpn.head.deltas.{part}"]
        per_anchor = deltas.view(len(order), 4, *deltas.shape[1:])
        state[f"rpn.head.deltas.{part}"] = per_anchor[order].flatten(0, 1)  # (4K, ...)
        logits = state[f"box_head.predictor.scores.{part}"]
        state[f"box_head.predictor.scores.{part}"] = logits.roll(1, 0)  # (C, ...)
        boxes = state[f"box_head.predictor.deltas.{part}"]
        nothing = boxes.new_zeros(4, *boxes.shape[1:])
        state[f"box_head.predictor.deltas.{part}"] = torch.cat([nothing, boxes])
