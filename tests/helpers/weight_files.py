"""Contents of weight files of every origin, for tests of what reads them."""

import math
import zlib

import numpy as np
import pytest
import torch
import torchvision
from faster_rcnn.config.loading import load_config
from faster_rcnn.config.settings import NetConfig
from faster_rcnn.model.build import build_detector
from faster_rcnn.nets.normalisation import NORMALISATIONS
from faster_rcnn.utils.shape_only import WithoutDraws
from faster_rcnn.weights import load_initial_weights, load_weights
from faster_rcnn.weights.checkpoint import CheckpointError
from faster_rcnn.weights.recognition import recognise_weights
from faster_rcnn.weights.writing import detector_config

TORCHVISION = {
    "vgg16": "vgg16",
    "res18": "resnet18",
    "res34": "resnet34",
    "res50": "resnet50",
    "res101": "resnet101",
    "res152": "resnet152",
    "mobile_v2": "mobilenet_v2",
    "mobile_v3": "mobilenet_v3_large",
    "resx101": "resnext101_32x8d",
}


def detector(net, classes=3, *words):
    """A detector whose tensors hold no particular values, its input aside."""
    config = load_config([], ["net.name", net, "rpn.channels", "8", *words])
    with torch.device("meta"):
        model = build_detector(config, classes).to_empty(device="cpu")
    # As before the emptying: RGB of torchvision.
    model.pixel_mean.copy_(torch.tensor([123.675, 116.28, 103.53])[:, None, None])
    model.pixel_std.copy_(torch.tensor([58.395, 57.12, 57.375])[:, None, None])
    return model


def loaded_detector(config, weights):
    """The detector of a configuration with these weights, which are all that it has."""
    with WithoutDraws():
        model = build_detector(config, weights.num_classes).eval()
    assert load_weights(model, weights) == []
    return model


def imported_detector(weights):
    """The detector of imported weights, without values."""
    with torch.device("meta"):
        return build_detector(detector_config(weights, []), weights.num_classes)


def check_whole(weights, model=None):
    """The weights are all that a detector holds, in its shapes."""
    ours = (model or imported_detector(weights)).state_dict()
    assert ours.keys() - weights.state.keys() == {"pixel_mean", "pixel_std"}
    for key, tensor in weights.state.items():
        assert tensor.shape == ours[key].shape, key


def check_all_needed(state, keys, kind):
    """Without any of these tensors, the others are recognised, but refused."""
    for key in keys:
        less = {name: tensor for name, tensor in state.items() if name != key}
        with pytest.raises(CheckpointError, match="1 missing") as caught:
            recognise_weights(less, "FILE")
        assert f"recognised: {kind}" in str(caught.value) and key in str(caught.value)


def classifier(net):
    """torchvision's classification network, without values."""
    with torch.device("meta"):
        return getattr(torchvision.models, TORCHVISION[net])()


def value_of(key):
    """A number that stands for a tensor's content; small ones are exact."""
    return float(zlib.crc32(key.encode()) % 1000)


def state_of(module):
    """A state dict of one number per tensor, which is small as a file, too.

    Running means and variances are those of an untrained network, which tell nothing
    of the input.
    """
    state = {}
    for key, tensor in module.state_dict().items():
        value = value_of(key)
        if key.endswith(("running_mean", "running_var")):
            value = float(key.endswith("running_var"))
        state[key] = torch.tensor(value, dtype=tensor.dtype).expand(tensor.shape)
    return state


def name_of(model):
    """The net of a detector."""
    kind = type(model.backbone).__name__
    if kind == "ResNet":
        parts = [len(getattr(model.backbone, f"layer{i}")) for i in (2, 3)]
        wide = hasattr(model.backbone.layer1[0], "conv3")
        depths = {(4, 6): "res50" if wide else "res34", (2, 2): "res18"}
        name = (depths | {(4, 23): "res101", (8, 36): "res152"})[tuple(parts)]
        groups = model.backbone.layer1[0].conv2.groups
        return name if groups == 1 else name.replace("res", "resx")
    names = {"MobileNetV1": "mobile", "MobileNetV2": "mobile_v2"}
    return (names | {"VGG16": "vgg16", "MobileNetV3": "mobile_v3"})[kind]


def load(model, source, **net):
    features = "c4" if model.region_head is None else "dc5"
    net = {"features": features if model.pyramid is None else "fpn"} | net
    load_initial_weights(
        model, NetConfig(name=name_of(model), weights=str(source), **net)
    )


def normalisation_of(model):
    found = tuple(
        tuple(buffer.flatten().tolist())
        for buffer in (model.pixel_mean, model.pixel_std)
    )
    rounded = {
        name: tuple(tuple(torch.tensor(part).tolist()) for part in values)
        for name, values in NORMALISATIONS.items()
    }
    return next((n for n, values in rounded.items() if values == found), found)


def refusal(model, source, **net):
    with pytest.raises(CheckpointError) as caught:
        load(model, source, **net)
    message = str(caught.value)
    assert "\n" not in message
    return message


def check_backbone(model, *, without=()):
    for key, tensor in model.backbone.state_dict().items():
        if not key.endswith((*without, "running_mean", "running_var")):
            low, high = tensor.aminmax()
            assert low.item() == high.item() == value_of(key), key


def ramp(shape, seed):
    """A tensor without two equal rows, of little memory however wide."""
    generator = torch.Generator().manual_seed(seed)
    narrow = torch.randn(shape[0], *[1] * (len(shape) - 1), generator=generator)
    return narrow.expand(*shape)


# Letters of the shapes: C classes with background.
BLOCKS = {"res50": (3, 4, 6, 3), "res101": (3, 4, 23, 3), "resx101": (3, 4, 23, 3)}
PREFIXES = {"c4": "backbone", "dc5": "backbone", "fpn": "backbone.bottom_up"}


def detectron2_shapes(net, classes=81, features="c4"):
    """Shapes of a detector's tensors under Detectron2's names."""
    prefix = PREFIXES[features]
    shapes = {f"{prefix}.stem.conv1": (64, 3, 7, 7)}
    channels, groups = 64, 32 if net == "resx101" else 1
    for stage, count in enumerate(BLOCKS[net], start=2):
        owner = "roi_heads" if stage == 5 and features == "c4" else prefix
        out = 256 * 2 ** (stage - 2)
        width = out // 4 if groups == 1 else out
        for block in range(count):
            name = f"{owner}.res{stage}.{block}"
            if block == 0:
                shapes[f"{name}.shortcut"] = (out, channels, 1, 1)
            shapes[f"{name}.conv1"] = (width, channels, 1, 1)
            shapes[f"{name}.conv2"] = (width, width // groups, 3, 3)
            shapes[f"{name}.conv3"] = (out, width, 1, 1)
            channels = out
    state = {}
    for name, shape in shapes.items():
        state[f"{name}.weight"] = shape
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.norm.{part}"] = shape[:1]
    inner, vector, anchors = {
        "c4": (1024, 2048, 15),
        "dc5": (2048, 1024, 15),
        "fpn": (256, 1024, 3),
    }[features]
    heads = {
        "proposal_generator.rpn_head.conv": (inner, inner, 3, 3),
        "proposal_generator.rpn_head.objectness_logits": (anchors, inner, 1, 1),
        "proposal_generator.rpn_head.anchor_deltas": (4 * anchors, inner, 1, 1),
        "roi_heads.box_predictor.cls_score": (classes, vector),
        "roi_heads.box_predictor.bbox_pred": (4 * (classes - 1), vector),
    }
    if features == "fpn":
        for stage in range(2, 6):
            into = 256 * 2 ** (stage - 2)
            heads[f"backbone.fpn_lateral{stage}"] = (256, into, 1, 1)
            heads[f"backbone.fpn_output{stage}"] = (256, 256, 3, 3)
    if features != "c4":
        heads["roi_heads.box_head.fc1"] = (1024, inner * 49)
        heads["roi_heads.box_head.fc2"] = (1024, 1024)
    for name, shape in heads.items():
        state[f"{name}.weight"] = shape
        state[f"{name}.bias"] = shape[:1]
    return state


def detectron2_state(net, classes=81, features="c4"):
    """A detector under Detectron2's names: distinct rows, meaningless values."""
    state = detectron2_shapes(net, classes, features)
    tensors = {k: ramp(s, zlib.crc32(k.encode())) for k, s in state.items()}
    key = f"{PREFIXES[features]}.stem.conv1.weight"
    tensors[key] = torch.randn(64, 3, 7, 7, generator=torch.Generator().manual_seed(3))
    return tensors


def lively(shapes, seed=0):
    """Random tensors that carry an image through the depth of a network."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in shapes.items():
        # Large ones repeat, which is faster; the period divides no side of a layer.
        period = min(math.prod(shape), 1_000_003)
        drawn = torch.randn(period, generator=generator)
        drawn = drawn.repeat(-(-math.prod(shape) // period))[: math.prod(shape)]
        drawn = drawn.view(shape)
        if key.endswith("running_var"):
            drawn = 1 + 0.3 * drawn.abs()
        elif key.endswith("norm.weight"):
            drawn = (1 + 0.2 * drawn) * (0.3 if "conv3" in key else 1)
        elif len(shape) == 1:
            drawn = 0.1 * drawn
        else:
            drawn = drawn * (2 / drawn[0].numel()) ** 0.5
        state[key] = drawn
    return state


_BRANCHES = {
    "conv1": "branch2a",
    "conv2": "branch2b",
    "conv3": "branch2c",
    "shortcut": "branch1",
}


def detectron_blobs(net, classes=81, features="c4"):
    """Shapes of a detector's blobs under Detectron's names, by Detectron2's names."""
    last = [count - 1 for count in BLOCKS[net]]
    level = "_fpn2" if features == "fpn" else ""
    names = {
        "rpn_head.conv": f"conv_rpn{level}",
        "rpn_head.objectness_logits": f"rpn_cls_logits{level}",
        "rpn_head.anchor_deltas": f"rpn_bbox_pred{level}",
        "box_head.fc1": "fc6",
        "box_head.fc2": "fc7",
        "box_predictor.cls_score": "cls_score",
        "box_predictor.bbox_pred": "bbox_pred",
        "fpn_lateral5": f"fpn_inner_res5_{last[3]}_sum",
        **{
            f"fpn_lateral{i + 2}": f"fpn_inner_res{i + 2}_{last[i]}_sum_lateral"
            for i in range(3)
        },
        **{f"fpn_output{i + 2}": f"fpn_res{i + 2}_{last[i]}_sum" for i in range(4)},
    }
    blobs = {}
    for key, shape in detectron2_shapes(net, classes, features).items():
        layer, _, part = key.rpartition(".")
        if part.startswith("running"):
            continue
        norm = layer.endswith(".norm")
        layer = layer.removesuffix(".norm")
        ending = {"weight": "s", "bias": "b"} if norm else {"weight": "w", "bias": "b"}
        if layer.endswith("stem.conv1"):
            name = "res_conv1_bn" if norm else "conv1"
        elif ".res" in layer:
            stage, block, conv = layer.split(".")[-3:]
            name = f"{stage}_{block}_{_BRANCHES[conv]}{'_bn' if norm else ''}"
        else:
            short = layer.split(".", 1)[1]
            name = names[short]
            if short == "box_predictor.bbox_pred":  # the background has boxes there
                shape = (4 * classes, *shape[1:])
        blobs[key] = (f"{name}_{ending[part]}", shape)
    return blobs


def detectron2_content(net, classes=81, **more):
    """The content of a file of the model zoo: arrays in a wrapper."""
    arrays = {k: v.numpy() for k, v in detectron2_state(net, classes).items()}
    arrays["pixel_mean"] = np.array([103.53, 116.28, 123.675], np.float32)
    arrays["pixel_std"] = np.ones(3, np.float32)
    return {"model": arrays | more, "__author__": "somebody"}
