import torch
from faster_rcnn.model.build import build_detector
from faster_rcnn.nets.input_channels import adapt, first_convolution
from faster_rcnn.weights.initial import load_initial_weights
from tiny_checkpoints import save_tiny
from tiny_runs import tiny_config

RAW = ("net.in_channels", 5, "net.pixel_mean", [9.0] * 5, "net.pixel_std", [3.0] * 5)


def test_adapted_weights_see_grey_as_those_for_rgb():
    rgb = build_detector(tiny_config(), 3)
    model = build_detector(tiny_config(*RAW), 3)
    name, layer = first_convolution(model.backbone)
    assert layer.in_channels == 5 and model.pixel_mean.flatten().tolist() == [9.0] * 5
    grey = torch.rand(1, 1, 16, 16)
    _, first = first_convolution(rgb.backbone)
    expected = first(grey.expand(-1, 3, -1, -1))
    key = f"backbone.{name}"
    mean = adapt(rgb.state_dict(), model.backbone, "mean")[key]
    found = layer._conv_forward(grey.expand(-1, 5, -1, -1), mean, None)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    turns = adapt(rgb.state_dict(), model.backbone, "repeat")[key]
    torch.testing.assert_close(turns[:, 4], first.weight[:, 1] * 3 / 5)
    same = adapt(model.state_dict(), model.backbone, "mean")[key]
    assert torch.equal(same, layer.weight)


def test_weights_for_rgb_leave_the_statistics_of_the_data(tmp_path):
    path = save_tiny(tmp_path / "iter_0000004.pth", tiny_config())
    config = tiny_config(*RAW, "net.weights", str(path))
    model = build_detector(config, 3)
    load_initial_weights(model, config.net, ("background", "box", "disc"))
    assert model.pixel_mean.flatten().tolist() == [9.0] * 5
    assert model.pixel_std.flatten().tolist() == [3.0] * 5


def test_weights_for_these_channels_are_those_of_their_checkpoint(tmp_path):
    path = save_tiny(tmp_path / "iter_0000004.pth", tiny_config(*RAW))
    config = tiny_config(*RAW, "net.weights", str(path))
    model = build_detector(config, 3)
    load_initial_weights(model, config.net, ("background", "box", "disc"))
    saved = torch.load(path)["model"]
    key = f"backbone.{first_convolution(model.backbone)[0]}"
    assert torch.equal(model.state_dict()[key], saved[key])
