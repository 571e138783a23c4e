import pytest
import torch
import torchvision
from faster_rcnn.weights.scale import estimate_scale, probe_images
from formula_weights import caffe_state, formula_tensor, golden_entries
from weight_files import TORCHVISION


def with_prefix(state):
    return {f"backbone.{key}": value for key, value in state.items()}


@pytest.mark.parametrize("net", ["res18", "res50", "mobile_v2"])
@pytest.mark.parametrize("deviation", [1, 58])
def test_statistics_measured_on_noise(net, deviation):
    """Batch norm that has really seen inputs of this deviation."""
    torch.manual_seed(0)
    model = getattr(torchvision.models, TORCHVISION[net])()
    conv, norm = (
        (model.features[0][0], model.features[0][1])
        if net == "mobile_v2"
        else (model.conv1, model.bn1)
    )
    norm.momentum = None
    with torch.no_grad():
        for _ in range(4):
            norm(conv(torch.randn(4, 3, 32, 32) * deviation))
            norm(conv(probe_images()[:, :, ::4, ::4] * deviation))
    verdict, how = estimate_scale(net, with_prefix(model.state_dict()))
    assert verdict == ("torchvision" if deviation == 1 else "caffe"), how
    assert "first norm" in how


@pytest.mark.parametrize("net", ["res18", "mobile_v2"])
def test_untrained_norm_gives_no_evidence(net):
    state = getattr(torchvision.models, TORCHVISION[net])().state_dict()
    verdict, how = estimate_scale(net, with_prefix(state))
    assert verdict is None and "no statistics" in how


def test_dead_filters_do_not_count():
    state = with_prefix(torchvision.models.resnet18().state_dict())
    state["backbone.bn1.running_mean"] += 0.1
    state["backbone.conv1.weight"][:40] = 0
    assert estimate_scale("res18", state)[0] == "torchvision"
    state["backbone.conv1.weight"].zero_()
    assert estimate_scale("res18", state) == (None, "the first convolution is zero")
    state["backbone.conv1.weight"].fill_(1e9)
    verdict, how = estimate_scale("res18", state)
    assert verdict is None and "unlike any" in how


@pytest.mark.parametrize("net", ["res50", "mobile"])
def test_formula_weights(shared, net):
    state = with_prefix(caffe_state(shared, net))
    verdict, how = estimate_scale(net, state)
    assert verdict == "caffe" and "deviation 4" in how
    key = next(key for key in state if "conv1" in key or "Conv2d_0.0" in key)
    state[key] = state[key] * 64
    assert estimate_scale(net, state)[0] == "torchvision"


@pytest.fixture(scope="module")
def vgg(shared):
    """VGG16 by the formula, and its last layer.

    The fully connected layers are drawn from the same distribution in a faster way.
    """
    generator = torch.Generator().manual_seed(0)
    state = {}
    for entry in golden_entries(shared, "vgg16"):
        key = entry["key"].replace("vgg.", "backbone.")
        if key.startswith("backbone.features"):
            state[key] = formula_tensor(entry["key"], entry["shape"])
        elif key.startswith("backbone.classifier"):
            state[key] = drawn(entry["shape"], generator)
    return state, [drawn((1000, 4096), generator), drawn((1000,), generator)]


def drawn(shape, generator):
    gain = 0.1 if len(shape) == 1 else (2 / shape[1]) ** 0.5
    return torch.randn(shape, generator=generator).mul_(gain)


FIRST = "backbone.features.0.weight"


@pytest.mark.slow
def test_vgg16_by_its_scores(vgg):
    state, last = vgg
    verdict, how = estimate_scale("vgg16", state, last)
    assert verdict == "caffe" and "scores" in how
    unit = state | {FIRST: state[FIRST] * 64}
    verdict, how = estimate_scale("vgg16", unit, last)
    assert verdict == "torchvision", how
    assert float(how.split()[-1]) == pytest.approx(3.4, rel=0.4)
    # Without the last layer there are no scores.
    assert estimate_scale("vgg16", state)[0] is None
    assert estimate_scale("vgg16", state, last[:1])[0] is None
    for value in (0.0, float("nan")):
        broken = [torch.full_like(tensor, value) for tensor in last]
        assert estimate_scale("vgg16", state, broken)[0] is None


@pytest.mark.slow
def test_untrained_vgg16_by_its_first_filters(vgg):
    state, last = vgg
    state = {
        key: torch.zeros_like(value) if key.endswith("bias") else value
        for key, value in state.items()
    }
    assert estimate_scale("vgg16", state, last)[0] == "caffe"
    first = torch.nn.Conv2d(3, 64, 3)
    torch.nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
    verdict, how = estimate_scale("vgg16", state | {FIRST: first.weight.detach()}, last)
    assert verdict == "torchvision" and "filters" in how
    nothing = state | {FIRST: torch.zeros(64, 3, 3, 3)}
    assert estimate_scale("vgg16", nothing, last)[0] is None


def test_probe_images():
    images = probe_images()
    assert images.shape == (2, 3, 224, 224)
    torch.testing.assert_close(
        images.mean((2, 3)), torch.zeros(2, 3), rtol=0, atol=1e-4
    )
    torch.testing.assert_close(images.std((2, 3)), torch.ones(2, 3))
    assert torch.equal(images, probe_images())
    # Neighbours are alike, as in photographs.
    assert (images[..., 1:] - images[..., :-1]).std() < 0.5
