"""Every trained parameter of every recipe learns, in float32 or in bfloat16."""

import pytest
import torch
from backbone_checks import shorten
from faster_rcnn.config.loading import load_config
from faster_rcnn.config.recipes import find_recipes, net_settings, recipe_folder
from faster_rcnn.datasets.loading.masks import pack_polygons
from faster_rcnn.model.build import build_detector
from faster_rcnn.nets.resnet import ResNet
from faster_rcnn.nets.rpn import RPNPredictor
from faster_rcnn.nets.vgg import VGG16
from faster_rcnn.utils.device import autocast
from tiny_runs import CPU, ground_truth, random_images, randomise

# One net of each family; deeper ones are the same code.
NETS = (
    *("vgg16", "res18", "res50", "mobile", "mobile_v2", "mobile_v3"),
    *("res18_fpn", "mobile_v2_fpn", "mobile_v3_fpn", "res50_dc5"),
    *("retina_res18_fpn", "cascade_res18_fpn"),
)
SMALL = (
    *("rpn.batch_size", "8", "rpn.border", "-1", "rpn.train_pre_nms", "100"),
    *("rpn.train_post_nms", "32", "anchors.scales", "[1,2]", "net.dropout", "0"),
    *("head.rois_per_image", "4", "head.add_ground_truth", "true"),
    *("head.fc_channels", "32", "rpn.channels", "32", "net.fpn_channels", "64"),
    *("mask.channels", "32", "keypoint.channels", "32"),
)
CLOSENESS = {torch.float32: 1e-3, torch.bfloat16: 0.1}
BUILT_FROM = {"net", "anchors", "boxes", "rpn", "pooling", "head", "dense"}
"""Sections of a configuration that a detector is built from."""


def recipes_and_nets():
    """Each net on VOC, and each other recipe with a light net that it is for.

    Of those that build the same detector, as other schedules do, the first. Nets are
    tried in both types, the other recipes in one of them by turns.
    """
    choices, tried = {}, set()
    for net in NETS:
        recipes = find_recipes("voc", net)
        tried.update(recipes)
        choices[net] = recipes, net
    for path in sorted(set(recipe_folder().glob("*.yml")) - tried):
        kinds = ("mobile_v3_fpn", "mobile_v2_fpn", "mobile_v3", "mobile_v2")
        named = [net for net in (*kinds, "vgg16", "mobile") if net in path.stem]
        kind = path.stem.rpartition("_")[2]
        other = {"fpn": "res18_fpn", "dc5": "res18_dc5"}.get(kind, "res18")
        if "retina" in path.stem:
            other = "retina_res18_fpn"
        choices[path.stem] = [path], named[0] if named else other
    cases = {}
    for name, (recipes, net) in choices.items():
        settings = [*net_settings(net), *SMALL]
        if net != "vgg16":
            settings += ["pooling.size", "4"]
        if "cascade" in name:  # with random weights, later stages overlap little
            settings += ["head.cascade", "[0.05, 0.05]"]
        config = load_config(recipes, settings)
        built_from = config.model_dump_json(include=BUILT_FROM)
        cases.setdefault(built_from, (name, config))
    types = list(CLOSENESS)
    for turn, (name, config) in enumerate(cases.values()):
        chosen = types if name in NETS else [types[turn % 2]]
        yield pytest.param(config, chosen, id=name)


def with_instances(truth, keypoints):
    """Add the outline of each box as its mask, and its centre as every keypoint."""
    boxes = [b[v].numpy() for b, v in zip(truth.boxes, truth.valid, strict=True)]
    outlines = [[(b[[[0, 1], [2, 1], [2, 3], [0, 3]]],) for b in own] for own in boxes]
    centres = (truth.boxes[..., :2] + truth.boxes[..., 2:]) / 2
    points = torch.cat((centres, 2 * truth.valid[..., None]), 2)
    return truth._replace(
        masks=pack_polygons(outlines, slots=truth.boxes.shape[1]),
        keypoints=points[:, :, None].expand(-1, -1, keypoints, -1).contiguous(),
    )


def gradients(model, dtype, keypoints):
    """Losses, and gradients by the parameters' names."""
    model.zero_grad()
    images = random_images((64, 96), (50, 90), multiple=32)
    truth = ground_truth([(1, 10, 12, 40, 45)], [(2, 30, 5, 60, 25), (1, 2, 2, 60, 49)])
    truth = with_instances(truth, keypoints)
    with autocast(CPU, dtype):
        output = model(images, truth, torch.Generator().manual_seed(1))
    sum(output.losses.values()).backward()
    named = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    return output.losses, named


@pytest.mark.slow
@pytest.mark.parametrize(("config", "dtypes"), list(recipes_and_nets()))
def test_every_trained_parameter_has_its_gradient(config, dtypes, monkeypatch):
    monkeypatch.setattr(VGG16, "fc_channels", 32)
    model = build_detector(config, 3)
    if isinstance(model.backbone, ResNet):
        shorten(model.backbone, blocks=2)
    randomise(model)
    model.train()
    for norm in (m for m in model.modules() if hasattr(m, "momentum")):
        norm.momentum = 0.0  # equal statistics in all passes
    for dtype in dtypes:
        losses, found = gradients(model, dtype, config.keypoint.count)
        with monkeypatch.context() as patch:
            patch.setattr(RPNPredictor, "is_cheaper_at", lambda *_: False)
            plain_losses, plain = gradients(model, dtype, config.keypoint.count)
        torch.testing.assert_close(losses, plain_losses, rtol=0.02, atol=1e-3)
        for name, want in plain.items():
            assert want is not None and want.any(), f"{name} has no gradient"
            assert found[name] is not None and found[name].any(), name
            off = (found[name] - want).norm() / want.norm()
            assert off < CLOSENESS[dtype], f"{name} in {dtype}: off by {off:.3f}"
