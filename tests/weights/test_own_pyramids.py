"""Weights for detectors with a pyramid or a dilated last stage, ours and backbones'."""

import pytest
import torch
import torchvision
from faster_rcnn.config.loading import load_config
from faster_rcnn.model.build import build_detector
from faster_rcnn.weights import import_weights
from faster_rcnn.weights.checkpoint import CheckpointError
from faster_rcnn.weights.recognition import recognise_weights
from faster_rcnn.weights.writing import detector_weights, export_family
from tiny_checkpoints import save_model
from weight_files import detector, load, refusal

FPN = ("net.features", "fpn", "rpn.channels", "8", "head.fc_channels", "16")
V2 = ("net.fpn_norm", "batch", "rpn.convs", "2", "head.convs", "4", "head.fcs", "1")
KINDS = {
    "fpn": ("res18", *FPN),
    "fpn as torchvision's v2": ("res18", *FPN, *V2, "head.norm", "batch"),
    "group norm": ("res18", *FPN, "head.convs", "2", "head.norm", "group"),
    "one map's anchors": ("mobile_v3", *FPN, "anchors.sizes", "[[32,64]]"),
    "vgg": ("vgg16", *FPN, "net.fpn_channels", "32"),
    "dc5": ("res18", *FPN, "net.features", "dc5", "pooling.size", "3"),
    "class-agnostic": ("res18", *FPN, "head.class_agnostic", "true"),
}


def built(net, *words, classes=3, seed=0):
    torch.manual_seed(seed)
    config = load_config([], ["net.name", net, *words])
    return build_detector(config, classes), config


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_own_checkpoint(kind, tmp_path):
    source, config = built(*KINDS[kind])
    path = save_model(tmp_path / "iter.pth", source, config)
    weights = import_weights(path)
    assert weights.net == config.net.name and weights.num_classes == 3
    assert weights.settings["net.features"] == config.net.features
    target, _ = built(*KINDS[kind], seed=1)
    load(target, path)
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key


def test_other_classes_leave_the_output_layers(tmp_path, caplog):
    source, config = built(*KINDS["fpn"])
    path = save_model(tmp_path / "iter.pth", source, config)
    target, _ = built(*KINDS["fpn"], classes=5, seed=1)
    load(target, path)
    (warning,) = [r for r in caplog.records if r.levelname == "WARNING"]
    left = warning.message.partition("random: ")[2].split(", ")
    assert len(left) == 4 and all("box_head.predictor" in key for key in left)
    theirs, ours = source.state_dict(), target.state_dict()
    for key in theirs.keys() - set(left):
        assert torch.equal(theirs[key], ours[key]), key


def test_checkpoint_of_a_pyramid_with_norms(tmp_path):
    source, config = built(*KINDS["fpn"], "net.fpn_norm", "batch")
    path = save_model(tmp_path / "iter.pth", source, config)
    target, _ = built(*KINDS["fpn"])
    with pytest.raises(CheckpointError, match=r"give --set net\.fpn_norm batch$"):
        load(target, path)


def test_detector_with_other_features(tmp_path):
    source, config = built(*KINDS["fpn"])
    path = save_model(tmp_path / "iter.pth", source, config)
    message = refusal(detector("res18"), path)
    assert "_fpn detector, but NET is" in message
    assert "give NET as res18_fpn" in message
    message = refusal(built(*KINDS["dc5"])[0], path)
    assert "or of a res18_dc5 detector" in message


def test_truncated_checkpoint():
    model, config = built(*KINDS["fpn as torchvision's v2"])
    weights = model.state_dict()
    content = {
        "format": "faster_rcnn checkpoint 2",
        "config": config.model_dump(mode="json"),
        "classes": ["__background__", "cat", "dog"],
    }
    for start in ("region_head.convs.3.", "pyramid.output.2.", "rpn.head.more_convs"):
        less = {k: v for k, v in weights.items() if not k.startswith(start)}
        with pytest.raises(CheckpointError, match=f"missing .{start}"):
            recognise_weights(content | {"model": less}, "FILE")
    content["config"]["net"]["fpn_norm"] = "layer"
    with pytest.raises(CheckpointError, match="expected none or batch, found 'layer'"):
        recognise_weights(content | {"model": weights}, "FILE")


def test_one_module_alone(tmp_path):
    model, config = built(*KINDS["fpn"], "net.modules", "rpn")
    path = save_model(tmp_path / "iter.pth", model, config)
    message = refusal(built(*KINDS["fpn"])[0], path)
    assert "expected a whole detector, found the module rpn alone" in message


def test_res101_and_resnext_are_distinguished():
    for net in ("res101", "resx101"):
        config = load_config([], ["net.name", net, *FPN])
        model = detector(net, 3, *FPN)
        assert detector_weights(model, config, ["__background__", "a", "b"]).net == net


@torch.no_grad()
def test_mobilenet_v3_keeps_its_epsilon(tmp_path):
    """Of classification weights 1e-3, though our norms have 1e-5."""
    torch.manual_seed(0)
    theirs = torchvision.models.mobilenet_v3_large().eval()
    for part in theirs.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_var.uniform_(1e-3, 1e-2)  # where epsilon matters
            part.running_mean.normal_(0, 0.01)
    path = tmp_path / "v3.pth"
    torch.save(theirs.state_dict(), path)
    model, _ = built("mobile_v3", *FPN)
    model.eval()
    load(model, path)
    x = torch.randn(1, 3, 64, 64)
    want = theirs.features(x)
    got = model.backbone.feature_maps(x, None).maps[-1]
    scale = want.abs().max().item()
    torch.testing.assert_close(got, want, rtol=0, atol=1e-4 * scale)


def test_not_for_the_family(tmp_path):
    model, config = built(*KINDS["fpn"])
    weights = detector_weights(model, config)
    with pytest.raises(CheckpointError, match="cannot be written for the family"):
        export_family(weights, tmp_path / "out.pth")
