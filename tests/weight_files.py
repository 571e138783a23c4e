"""Contents of weight files of every origin, for tests of what reads them."""

import zlib

import numpy as np
import pytest
import torch
import torchvision
from faster_rcnn.model.checkpoint import CheckpointError
from faster_rcnn.model.config import NetConfig, load_config
from faster_rcnn.model.faster_rcnn import build_detector
from faster_rcnn.model.normalisation import NORMALISATIONS
from faster_rcnn.model.weights import load_initial_weights

TORCHVISION = {
    "vgg16": "vgg16",
    "res18": "resnet18",
    "res34": "resnet34",
    "res50": "resnet50",
    "res101": "resnet101",
    "res152": "resnet152",
    "mobile_v2": "mobilenet_v2",
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
        return (depths | {(4, 23): "res101", (8, 36): "res152"})[tuple(parts)]
    return {"VGG16": "vgg16", "MobileNetV1": "mobile", "MobileNetV2": "mobile_v2"}[kind]


def load(model, source, **net):
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
BLOCKS = {"res50": (3, 4, 6, 3), "res101": (3, 4, 23, 3)}


def detectron2_state(net, classes=81):
    """A C4 detector under Detectron2's names: distinct rows, meaningless values."""
    shapes = {"backbone.stem.conv1": (64, 3, 7, 7)}
    channels = 64
    for stage, count in enumerate(BLOCKS[net], start=2):
        owner = "roi_heads" if stage == 5 else "backbone"
        width = 64 * 2 ** (stage - 2)
        for block in range(count):
            name = f"{owner}.res{stage}.{block}"
            if block == 0:
                shapes[f"{name}.shortcut"] = (4 * width, channels, 1, 1)
            shapes[f"{name}.conv1"] = (width, channels, 1, 1)
            shapes[f"{name}.conv2"] = (width, width, 3, 3)
            shapes[f"{name}.conv3"] = (4 * width, width, 1, 1)
            channels = 4 * width
    state = {}
    for name, shape in shapes.items():
        state[f"{name}.weight"] = shape
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.norm.{part}"] = shape[:1]
    heads = {
        "proposal_generator.rpn_head.conv": (1024, 1024, 3, 3),
        "proposal_generator.rpn_head.objectness_logits": (15, 1024, 1, 1),
        "proposal_generator.rpn_head.anchor_deltas": (60, 1024, 1, 1),
        "roi_heads.box_predictor.cls_score": (classes, 2048),
        "roi_heads.box_predictor.bbox_pred": (4 * (classes - 1), 2048),
    }
    for name, shape in heads.items():
        state[f"{name}.weight"] = shape
        state[f"{name}.bias"] = shape[:1]
    tensors = {k: ramp(s, zlib.crc32(k.encode())) for k, s in state.items()}
    key = "backbone.stem.conv1.weight"
    tensors[key] = torch.randn(64, 3, 7, 7, generator=torch.Generator().manual_seed(3))
    return tensors


def detectron2_content(net, classes=81, **more):
    """The content of a file of the model zoo: arrays in a wrapper."""
    arrays = {k: v.numpy() for k, v in detectron2_state(net, classes).items()}
    arrays["pixel_mean"] = np.array([103.53, 116.28, 123.675], np.float32)
    arrays["pixel_std"] = np.ones(3, np.float32)
    return {"model": arrays | more, "__author__": "somebody"}
