"""Weights of timm's nets: from a file, by name, and from our own checkpoints."""

import pytest
import torch
import torch.nn.functional as F
from faster_rcnn.weights import load_initial_weights
from faster_rcnn.weights.checkpoint import CheckpointError, load_checkpoint
from faster_rcnn.weights.zoo.card import model_card
from faster_rcnn.weights.zoo.publishing import published_state
from safetensors.torch import save_file
from tiny_checkpoints import save_model
from tiny_runs import tiny_config, tiny_detector

timm = pytest.importorskip("timm")

pytestmark = pytest.mark.slow

TINY = "timm/test_efficientnet"


def config_of(net: str, weights: object, *words: object):
    pyramid = ("net.features", "fpn", "anchors.scales", "[2]", "head.fc_channels", 16)
    return tiny_config("net.name", net, "net.weights", weights, *pyramid, *words)


def load(net: str, weights: object, *words: object):
    config = config_of(net, weights, *words)
    model = tiny_detector(config, seed=1)
    load_initial_weights(model, config.net)
    return model


def whole(name: str = "test_efficientnet", seed: int = 0):
    torch.manual_seed(seed)
    return timm.create_model(name)


def assert_backbone_of(model, net):
    state = net.state_dict()
    for key, tensor in model.backbone.net.state_dict().items():
        name = key if key in state else key.replace("_", ".", 1)
        assert torch.equal(tensor, state[name]), key


@pytest.mark.parametrize("name", ["test_efficientnet", "test_convnext"])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_file_named_as_in_timm(tmp_path, name, ending, caplog):
    net = whole(name)
    path = tmp_path / f"weights{ending}"
    if ending == ".pth":
        torch.save({"state_dict": net.state_dict(), "epoch": 3}, path)
    else:
        save_file(net.state_dict(), path)
    with caplog.at_level("INFO", "faster_rcnn"):
        model = load(f"timm/{name}", path)
    assert_backbone_of(model, net)
    assert f"weights from {path}" in caplog.text


def test_file_of_another_net(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(whole("test_resnet").state_dict(), path)
    with pytest.raises(CheckpointError, match=r"does not fit timm/test_eff.* unknown"):
        load(TINY, path)
    state = whole().state_dict()
    del state["conv_stem.weight"]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=r"1 missing .backbone.net.conv_stem"):
        load(TINY, path)


def test_weights_by_name(monkeypatch):
    net, create = whole(seed=5), timm.create_model
    asked = []

    def pretrained(name, pretrained=False, **options):
        if not pretrained:
            return create(name, **options)
        asked.append(name)
        return net

    monkeypatch.setattr(timm, "create_model", pretrained)
    assert_backbone_of(load(TINY, "imagenet"), net)
    assert_backbone_of(load(TINY, f"{TINY}.r160_in1k"), net)
    assert asked == ["test_efficientnet", "test_efficientnet.r160_in1k"]
    with pytest.raises(CheckpointError, match=r"no pretrained weights .*bad \(it has"):
        load(TINY, f"{TINY}.bad")


def test_weights_by_name_without_internet(monkeypatch):
    create = timm.create_model

    def offline(name, pretrained=False, **options):
        if pretrained:
            raise OSError("no such host. More of it\nand more")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    message = (
        r"\(no such host\)\. Connect .* https://huggingface.co/timm/test_eff.*FILE"
    )
    with pytest.raises(CheckpointError, match=message):
        load(TINY, "imagenet")


def test_own_checkpoint_needs_no_download(tmp_path, monkeypatch):
    """Neither to be opened nor as weights, of a net with another tag too."""
    config = config_of("timm/tf_efficientnet_lite0", "imagenet")
    model = tiny_detector(config, seed=2)
    path = save_model(tmp_path / "iter_0000005.pth", model, config)
    state = load_checkpoint(path)
    assert state["config"]["net"]["name"] == "timm/tf_efficientnet_lite0"
    fine = load("timm/tf_efficientnet_lite0.in1k", path)
    card = model_card(published_state(path), path, sha256="0")
    assert "minus mean (127.5, 127.5, 127.5)" in card
    assert fine.pixel_mean.flatten().tolist() == [127.5] * 3
    for key, tensor in model.state_dict().items():
        assert torch.equal(fine.state_dict()[key], tensor), key


def test_efficientnet_lite0_of_imagenet(shared):
    """The maps are those of a forward written from the facts in the file's README."""
    path = shared / "weights" / "efficientnet_lite0_imagenet_fp16.pth"
    model = load("timm/tf_efficientnet_lite0", path).eval()
    state = {k: v.float() for k, v in torch.load(path, weights_only=True).items()}
    pixels = torch.rand(1, 3, 96, 160, generator=torch.Generator().manual_seed(0)) * 255
    expected = _lite0(state, (pixels / 255 - 0.5) / 0.5)
    with torch.no_grad():
        normalised = (pixels - model.pixel_mean) / model.pixel_std
        maps = model.backbone.feature_maps(normalised, None).maps
    for x, y in zip(maps, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-3)


def _lite0(state, x):
    # kernel, stride, number of blocks; the maps are those after stages 1, 2, 4 and 6.
    stages = (
        (3, 1, 1),
        (3, 2, 2),
        (5, 2, 2),
        (3, 2, 3),
        (5, 1, 3),
        (5, 2, 4),
        (3, 1, 1),
    )

    def layer(x, conv, norm, stride=1):
        weight = state[f"{conv}.weight"]
        kernel = weight.shape[-1]
        if stride == 2:
            x = F.pad(x, {3: (0, 1, 0, 1), 5: (1, 2, 1, 2)}[kernel])
        padding = kernel // 2 if stride == 1 else 0
        groups = x.shape[1] // weight.shape[1]
        x = F.conv2d(x, weight, None, stride, padding, groups=groups)
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{norm}.{name}"] for name in names), eps=1e-3)

    x = F.relu6(layer(x, "_conv_stem", "_bn0", 2))
    maps, index = [], 0
    for stage, (_, stride, count) in enumerate(stages):
        for repeat in range(count):
            name, before = f"_blocks.{index}", x
            step = stride if repeat == 0 else 1
            if index:
                x = F.relu6(layer(x, f"{name}._expand_conv", f"{name}._bn0"))
            x = F.relu6(layer(x, f"{name}._depthwise_conv", f"{name}._bn1", step))
            x = layer(x, f"{name}._project_conv", f"{name}._bn2")
            x = x + before if repeat else x
            index += 1
        if stage in (1, 2, 4, 6):
            maps.append(x)
    return maps
