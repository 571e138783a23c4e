import backbone_checks as checks
import pytest
import torch
import torchvision.models
from faster_rcnn.nets.vgg import VGG16


@pytest.fixture
def vgg(monkeypatch) -> VGG16:
    """The network with narrow fc6 and fc7, which otherwise take seconds to draw."""
    monkeypatch.setattr(VGG16, "fc_channels", 16)
    torch.manual_seed(0)
    return VGG16(dropout=0.5)


@pytest.fixture
def classifier(vgg) -> torchvision.models.VGG:
    """Torchvision's network with the weights of `vgg`."""
    checks.randomise(vgg)
    with torch.device("meta"):
        model = torchvision.models.vgg16()
    model.features = model.features.to_empty(device="cpu")
    model.classifier[0] = torch.nn.Linear(512 * 49, 16)
    model.classifier[3] = torch.nn.Linear(16, 16)
    missing, unexpected = model.load_state_dict(vgg.state_dict(), strict=False)
    assert missing == ["classifier.6.weight", "classifier.6.bias"] and not unexpected
    return model.eval()


@torch.no_grad()
def test_features_equal_torchvision(vgg, classifier):
    x = checks.images(1, 3, 77, 64)
    got, sizes = checks.only_map(vgg, x)
    assert sizes is None and got.shape == (1, 512, 4, 4)
    # Index 30 is the last pool, which the detector leaves out.
    want = classifier.features[:30](x)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_head_equals_torchvision(vgg, classifier):
    pooled = checks.images(3, 512, 7, 7)
    got = vgg.eval().head(pooled.contiguous(memory_format=torch.channels_last))
    want = classifier.classifier[:6](pooled.flatten(1))
    assert 0 < (want == 0).float().mean() < 1
    torch.testing.assert_close(got, want)


def test_dropout_is_that_of_training_only():
    with torch.device("meta"):
        backbone = VGG16(dropout=0.25)
    drops = [m for m in backbone.modules() if isinstance(m, torch.nn.Dropout)]
    assert [(m.p, m.training) for m in drops] == [(0.25, True)] * 2
    assert not any(m.training for m in backbone.eval().modules())


def test_head_refuses_other_sizes(vgg):
    with pytest.raises(ValueError, match="expected regions pooled to 7x7, found 14x14"):
        vgg.head(torch.zeros(1, 512, 14, 14))


def test_initial_weights_are_torchvisions(vgg):
    deviations = {
        "features.2.weight": (2 / (64 * 9)) ** 0.5,
        "features.28.weight": (2 / (512 * 9)) ** 0.5,
        "classifier.0.weight": 0.01,
    }
    state = vgg.state_dict()
    for key, deviation in deviations.items():
        assert state[key].std().item() == pytest.approx(deviation, rel=0.02)
    assert all(torch.all(v == 0) for k, v in state.items() if k.endswith("bias"))
