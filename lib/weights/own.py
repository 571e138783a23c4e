"""Read weights from our own files: checkpoints of runs, and converted backbones.

Both record what they are, so nothing is estimated.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..config.net_settings import TIMM
from ..model.network import NOT_WEIGHTS
from ..nets.normalisation import NORMALISATIONS
from .checkpoint import CheckpointError
from .imported import WITH_STYLE, ImportedWeights, Layout
from .layout_check import check_layout, expected_shapes, read_numbers, take_state
from .layouts import nearest_layout, own_layout, own_layouts
from .state_shapes import DECISIVE, backbone_shapes

BACKBONE_FORMAT = "faster_rcnn backbone 1"

# The settings of a checkpoint that its weights depend on.
_SHAPING = (
    *("net.style", "net.head_stride", "anchors.scales", "anchors.sizes"),
    *("anchors.ratios", "anchors.centre", "anchors.rounding", "anchors.spacing"),
    "boxes.offset",
    *("boxes.delta_std", "boxes.max_log_size", "rpn.channels", "pooling.mode"),
    *("pooling.aligned", "pooling.max_pool", *DECISIVE),
)

_RAW = ("net.in_channels", "net.pixel_mean", "net.pixel_std")


def own_checkpoint(content: Mapping[str, Any], source: str) -> ImportedWeights:
    """Read the detector of a checkpoint.

    Raises:
        CheckpointError: an entry is missing or does not fit.
    """
    model = dict(_mapping(content, "model", source))
    if "ema" in content:  # the averaged weights, which tests use too
        model |= _mapping(_mapping(content, "ema", source), "weights", source)
    pixels = [model.pop(key, None) for key in NOT_WEIGHTS][:2]
    config = _mapping(content, "config", source)
    section = config.get("net")
    section = section if isinstance(section, Mapping) else {}
    net = section.get("name")
    if not isinstance(net, str) or not net.startswith(TIMM):
        net = nearest_layout(model, own_layouts(), source=source).net
    shaping = _SHAPING if section.get("pixel_mean") is None else (*_SHAPING, *_RAW)
    words = {key: key.split(".") for key in shaping}
    settings = {
        key: config[section][name]
        for key, (section, name) in words.items()
        if isinstance(config.get(section), Mapping) and name in config[section]
    }
    modules = section.get("modules")
    if modules not in (None, "both"):
        raise CheckpointError(
            f"{source}: expected a whole detector, found the module {modules} alone "
            f"(net.modules); it gives weights to a run with net.modules {modules}"
        )
    try:
        layout = own_layout(net, settings)
        numbers = read_numbers(model, layout)
        expected = expected_shapes(layout, numbers)
        if "net.in_channels" in settings:
            expected |= {
                key: (shape[0], settings["net.in_channels"], *shape[2:])
                for key, shape in expected.items()
                if key.startswith("backbone.") and len(shape) == 4 and shape[1] == 3
            }
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{source}: its settings make no detector with {net}: {error}"
        ) from error
    check_layout(model, layout, expected, source=source)
    state, used = take_state(model, layout)
    style = settings.pop("net.style", "pytorch")
    style = style if layout.net in WITH_STYLE else None
    return ImportedWeights(
        source=source,
        kind=f"{layout.kind} with {layout.net}",
        net=layout.net,
        style=style,
        normalisation=_recorded(pixels, net, section, source),
        reason="recorded with the weights",
        state=state,
        unused={},
        used=used,
        classes=tuple(content.get("classes", ())) or None,
        settings=settings | ({} if style is None else {"net.style": style}),
        **numbers._asdict(),
    )


def _recorded(
    pixels: list[Any], net: str, section: Mapping[str, Any], source: str
) -> str:
    """Return the name of a recorded mean and deviation.

    Those of a run's own data have none, and are in the settings of runs on such data.
    """
    if section.get("pixel_mean") is not None:
        return "torchvision"
    found = [p.flatten().tolist() if isinstance(p, Tensor) else None for p in pixels]
    for name, values in NORMALISATIONS.items():
        if found == [torch.tensor(value).tolist() for value in values]:
            return name
    if net.startswith(TIMM):
        return "auto"
    raise CheckpointError(
        f"{source}: expected pixel_mean and pixel_std of one of "
        f"{', '.join(NORMALISATIONS)}, found {found[0]} and {found[1]}; the file is "
        "damaged, or older than this version"
    )


def own_backbone(content: Mapping[str, Any], source: str) -> ImportedWeights:
    """Read the backbone from a file that `writing.save_backbone` wrote.

    Raises:
        CheckpointError: an entry is missing or does not fit.
    """
    net, style = content.get("net"), content.get("style")
    normalisation = content.get("normalisation")
    layout = next((one for one in own_layouts() if one.net == net), None)
    if layout is None or normalisation not in NORMALISATIONS:
        raise CheckpointError(
            f"{source}: expected a converted backbone's net and normalisation, found "
            f"{net!r} and {normalisation!r}; convert the weights again"
        )
    shapes = backbone_shapes(layout.net).shapes
    layout = Layout("converted backbone", "own", layout.net, {k: k for k in shapes}, {})
    tensors = _mapping(content, "state", source)
    check_layout(tensors, layout, shapes, source=source)
    state, used = take_state(tensors, layout)
    return ImportedWeights(
        source=source,
        kind=f"converted: {content.get('kind', layout.net)}",
        net=layout.net,
        style=style,
        normalisation=normalisation,
        reason="recorded with the weights",
        state=state,
        unused={},
        used=used,
        settings={} if style is None else {"net.style": style},
    )


def _mapping(content: Mapping[str, Any], key: str, source: str) -> Mapping[str, Any]:
    value = content.get(key)
    if not isinstance(value, Mapping):
        raise CheckpointError(
            f"{source}: expected {key!r} with the rest of the checkpoint, found none; "
            "the file is damaged"
        )
    return value
