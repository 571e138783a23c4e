"""Backbones of timm (PyTorch Image Models), under their names there: ``timm/NAME``.

timm is an optional dependency, so `build_backbone` imports this file only for them.
"""

import contextlib
import difflib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame, pad_same
from timm.models import FeatureListNet
from torch import Tensor, nn
from torch.func import functional_call

from .backbone import Backbone, FeatureKind, Stage
from .layers import FoldingConv, NormAct, NormKind, shrink
from .normalisation import Normalisation

_FINEST = 4  # stride of the finest map that a pyramid takes
_PROBE = (64, 96)  # an image of no net's own size


class TimmBackbone(Backbone):
    """A classification network of timm, cut at its strides by ``features_only``.

    C4: the layers to stride 16 are shared, the rest is the head, with the strides of
    the classification network. Parameters have timm's names behind ``net.``. Blocks for
    `freeze` end at the maps, stride 2 included if the net has one.

    Deviation: padding is not kept zero within these nets, so near its right and lower
    border a padded image has slightly other features than the bare one.

    Args:
        name: name of a model in timm, with or without the tag of its weights.
        kind: see `FeatureKind`; dc5 for nets with timm's ``output_stride``.
        norm: see `Norm`; norms of other kinds (layer, group) are trained either way.

    Raises:
        ValueError: timm has no such model, or it cannot be used in this way.
    """

    kinds = ("c4", "dc5", "fpn")
    classifier_prefixes = ()

    def __init__(
        self, name: str, *, kind: FeatureKind = "c4", norm: NormKind = "frozen"
    ) -> None:
        super().__init__(kind)
        self.net = _create(name, kind)
        # The last map of each stride, finest first, by the name of its layer.
        infos = self.net.feature_info.get_dicts()
        by_stride = {info["reduction"]: info for info in infos}
        self._ends = [info["module"] for info in by_stride.values()]
        self._layers = _layers_in_order(self.net)
        self._step = max(by_stride)
        self._check(name, tuple(by_stride))
        wanted = {
            "c4": [16],
            "dc5": [self._step],
            "fpn": [stride for stride in by_stride if stride >= _FINEST],
        }[kind]
        self.strides = tuple(wanted)
        self.channels = tuple(by_stride[stride]["num_chs"] for stride in wanted)
        self.head_channels = infos[-1]["num_chs"] if kind == "c4" else 0
        self._taken = [list(by_stride).index(stride) for stride in wanted]
        self.default_fixed_blocks = sum(s <= _FINEST for s in by_stride)  # type: ignore[misc]
        self._last_first = str(getattr(self.net, "output_fmt", "")).endswith("NHWC")
        prepare = self.net.pretrained_cfg
        mean, std = (
            tuple(255 * value for value in prepare[key]) for key in ("mean", "std")
        )
        self.normalisation = Normalisation(mean, std)
        _fold_norms(name, self.net, norm)

    def _check(self, name: str, strides: tuple[int, ...]) -> None:
        found = f"timm's {name} has maps at strides {', '.join(map(str, strides))}"
        used = [stride for stride in strides if stride >= _FINEST]
        pyramid = len(used) > 1 and all(b == 2 * a for a, b in pairwise(used))
        if self.kind == "fpn" and not pyramid:
            raise ValueError(
                f"{found}; a pyramid (_fpn) needs several, each twice the one before"
            )
        if self.kind == "dc5" and self._step != 16:
            raise ValueError(f"{found}; _dc5 needs a last map at stride 16")
        if self.kind == "c4" and (self._layers is None or 16 not in strides[:-1]):
            hint = f"; give NET as timm/{name}_fpn" if pyramid else ""
            raise ValueError(
                f"{found}; without a pyramid it needs one at stride 16 and a plain "
                f"sequence of layers after it, which are the head{hint}"
            )

    def stages(self, images: Tensor, sizes: Tensor | None) -> Iterator[Stage]:
        """Yield the maps of `strides`; see `Backbone.stages`."""
        height, width = images.shape[2:]
        # Nets round odd sizes in either direction; multiples of the last stride do not.
        down, right = -height % self._step, -width % self._step
        padded = F.pad(images, (0, right, 0, down)) if down or right else images
        for stride, x in zip(self.strides, self._maps(padded), strict=True):
            yield (
                x[:, :, : -(-height // stride), : -(-width // stride)],
                shrink(sizes, stride),
            )

    def _maps(self, x: Tensor) -> Iterator[Tensor]:
        if self._layers is None:
            maps = self.run(self.net, x)
            # Several maps may have one stride; `_ends` has the last of each.
            names = [info["module"] for info in self.net.feature_info.get_dicts()]
            yield from (maps[names.index(self._ends[i])] for i in self._taken)
            return
        ends = [self._ends[i] for i in self._taken]
        for layer, module in self._layers:
            x = self.run(self.net.get_submodule(module), x)
            if layer in ends:
                yield x.permute(0, 3, 1, 2) if self._last_first else x
            if layer == ends[-1]:
                return

    def head_map(self, pooled: Tensor) -> Tensor:
        """Apply the layers after stride 16; see `Backbone.head_map`."""
        assert self._layers is not None
        x = pooled.permute(0, 2, 3, 1) if self._last_first else pooled
        shared = [layer for layer, _ in self._layers].index(self._ends[self._taken[0]])
        for _, module in self._layers[shared + 1 :]:
            x = self.net.get_submodule(module)(x)
        return x.permute(0, 3, 1, 2) if self._last_first else x

    def blocks(self) -> Sequence[Sequence[nn.Module]]:
        """Return the layers up to each map, in the order of their definition."""
        ends = [_dotted(end) for end in self._ends[: self._taken[-1] + 1]]
        parts = [(_dotted(name), module) for name, module in self.net.named_modules()]
        groups: list[list[nn.Module]] = []
        first = 0
        for end in ends:
            inside = (i for i, (name, _) in enumerate(parts) if name.startswith(end))
            last = max(inside, default=first - 1)
            groups.append(
                [
                    module
                    for name, module in parts[first : last + 1]
                    if next(module.parameters(recurse=False), None) is not None
                    and not any(
                        other != name and other.startswith(name) for other in ends
                    )
                ]
            )
            first = last + 1
        return groups


def _dotted(name: str) -> str:
    """Return the name of a module as in timm's model: a wrapper may rename it."""
    name = name.removeprefix("model.").removeprefix("body.")
    return f"{name.replace('_', '.')}."


def _create(name: str, kind: FeatureKind) -> Any:
    """Create a model of timm with random weights.

    Raises:
        ValueError: see `TimmBackbone`.
    """
    model = name.partition(".")[0]
    if not timm.is_model(model):
        near = ", ".join(difflib.get_close_matches(model, timm.list_models(), 3))
        hint = f"; did you mean {near}?" if near else ""
        raise ValueError(f"timm {timm.__version__} has no model {model}{hint}")
    tags = timm.list_pretrained(f"{model}.*") if "." in name else [name]
    if name not in tags:
        raise ValueError(
            f"timm {timm.__version__} has no weights {name}; those of {model} are "
            f"{', '.join(tags) or 'none'}"
        )
    dilated = {"output_stride": 16} if kind == "dc5" else {}
    # Transformers take inputs of other sizes than in their training if told to.
    for options in ({}, {"strict_img_size": False}, {"dynamic_img_size": True}):
        with contextlib.suppress(AssertionError, TypeError):
            net = timm.create_model(name, features_only=True, **dilated, **options)
            if options or not net.pretrained_cfg["fixed_input_size"]:
                return net
    if dilated:
        raise ValueError(f"timm's {name} has no output_stride, which _dc5 needs")
    raise ValueError(_of_one_size(name))


def _of_one_size(name: str) -> str:
    size = timm.get_pretrained_cfg(name).input_size
    return (
        f"timm's {name} does not take images of any size (its own is {size[2]}x"
        f"{size[1]}), which a detector has; choose another net, such as "
        "timm/convnext_tiny or timm/swin_tiny_patch4_window7_224"
    )


def _layers_in_order(net: Any) -> list[tuple[str, str]] | None:
    """Return the layers of a net that is a sequence: name in timm, and name in ``net``.

    Returns:
        None if the layers do not simply run one after the other.
    """
    if isinstance(net, FeatureListNet):
        taps = dict(zip(net.return_layers, net.feature_info.module_name(), strict=True))
        return [(taps.get(name, name), name) for name, _ in net.named_children()]
    if hasattr(net, "conv_stem") and hasattr(net, "blocks"):
        names = [name for name, _ in net.named_children() if name != "blocks"]
        stages = [f"blocks.{i}" for i in range(len(net.blocks))]
        return [(name, name) for name in (*names, *stages)]
    return None


def _fold_norms(name: str, net: nn.Module, kind: NormKind) -> None:
    """Make batch norms ours, and let the convolution before each apply it if it can.

    A convolution and its norm are found by a run on the meta device.

    Raises:
        ValueError: the net does not take images of any size.
    """
    outputs: dict[int, tuple[Tensor, nn.Conv2d]] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    handles = []

    def after_conv(conv: nn.Conv2d, _: Any, output: Tensor) -> None:
        outputs[id(output)] = output, conv  # the tensor, so that its id stays its own

    def before_norm(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        if id(inputs[0]) in outputs:
            pairs.append((outputs[id(inputs[0])][1], norm))

    for module in net.modules():
        if type(module) in (nn.Conv2d, Conv2dSame) and module.bias is None:
            handles.append(module.register_forward_hook(after_conv))
        elif isinstance(module, nn.BatchNorm2d):
            handles.append(module.register_forward_pre_hook(before_norm))
    state = [*net.named_parameters(), *net.named_buffers()]
    shapes = {key: tensor.detach().to("meta") for key, tensor in state}
    try:
        with torch.no_grad():
            image = torch.empty(1, 3, *_PROBE, device="meta")
            functional_call(net.eval(), shapes, (image,))
    except (AssertionError, RuntimeError) as error:
        raise ValueError(_of_one_size(name)) from error
    finally:
        for handle in handles:
            handle.remove()
        net.train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            NormAct.adopt(module, kind)
    for conv, norm in pairs:
        FoldingConv.adopt(conv, norm, pad_same if type(conv) is Conv2dSame else None)
