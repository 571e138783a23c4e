import pytest
import torch
import torchvision
from faster_rcnn.config.loading import load_config
from faster_rcnn.model.build import build_detector
from faster_rcnn.weights.initial import load_first_weights
from tiny_checkpoints import save_model
from tiny_runs import CLASSES
from weight_files import (
    TORCHVISION,
    check_backbone,
    classifier,
    detector,
    load,
    name_of,
    normalisation_of,
    refusal,
    state_of,
    value_of,
)

PYRAMID = ("net.features", "fpn", "head.fc_channels", "16")
DILATED = ("net.features", "dc5", "head.fc_channels", "16")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "words"),
    [
        *(("vgg16", ()), ("res18", ()), ("resx101", ()), ("mobile_v2", ())),
        *((net, PYRAMID) for net in TORCHVISION if net != "resx101"),
        ("res18", DILATED),
    ],
)
def test_classification_weights_go_into_each_backbone(file, net, words):
    path = file(state_of(classifier(net)))
    model = detector(net, 3, *words)
    load(model, path)
    check_backbone(model)


def test_weights_of_the_familys_mobilenet(file):
    model = detector("mobile")
    state = state_of(model.backbone)
    state["classifier.weight"] = torch.zeros(1000, 1024)
    load(model, file(state))
    check_backbone(model)


@pytest.mark.parametrize("net", ["res18", "mobile_v2"])
def test_random_torchvision_model(file, net):
    torch.manual_seed(0)
    source = getattr(torchvision.models, TORCHVISION[net])()
    model = detector(net)
    load(model, file(source.state_dict()))
    theirs = source.state_dict()
    ours = model.backbone.state_dict()
    theirs = {key: value for key, value in theirs.items() if key in ours}
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, check_stride=False)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_wrapped_state_dict(file, wrapper):
    model = detector("res18")
    load(model, file({"epoch": 90, wrapper: state_of(classifier("res18"))}))
    check_backbone(model)


def test_weights_without_counters(file):
    state = state_of(classifier("res18"))
    state = {k: v for k, v in state.items() if "num_batches_tracked" not in k}
    model = detector("res18")
    load(model, file(state))
    check_backbone(model, without=["num_batches_tracked"])


def test_loading_leaves_layers_outside_the_backbone_alone(file):
    model = detector("res18")
    for tensor in model.state_dict().values():
        tensor.fill_(-1)
    trained = [p.requires_grad for p in model.parameters()]
    load(model, file(state_of(classifier("res18"))))
    for part in (model.rpn, model.box_head):
        assert all((tensor == -1).all() for tensor in part.state_dict().values())
    assert [p.requires_grad for p in model.parameters()] == trained


def test_none_leaves_all_random(monkeypatch):
    monkeypatch.setattr("faster_rcnn.weights.initial.fetch_entry", pytest.fail)
    model = detector("res18")
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.5)
    load(model, "none")
    assert all((parameter == 0.5).all() for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "other"),
    [
        ("res18", "res34"),
        ("res34", "res18"),
        ("res18", "res50"),
        ("vgg16", "res18"),
        ("mobile", "mobile_v2"),
    ],
)
def test_file_of_another_net(file, net, other):
    path = file(state_of(classifier(other)))
    message = refusal(detector(net), path)
    assert message.startswith(f"{path} holds torchvision {TORCHVISION[other]} class")
    assert f"NET is {net}; give NET as {other}" in message


def test_tensor_of_another_shape(file):
    state = state_of(classifier("res18"))
    state["layer2.0.conv1.weight"] = torch.zeros(128, 64, 1, 1)
    message = refusal(detector("res18"), file(state))
    assert "layer2.0.conv1.weight is (128, 64, 1, 1), expected (128, 64, 3, 3)" in (
        message
    )


def test_unusable_file(tmp_path, file):
    model = detector("res18")
    missing = tmp_path / "gone.pth"
    assert refusal(model, missing).startswith(f"{missing} does not exist")
    path = file(state_of(classifier("res18")))
    path.write_bytes(path.read_bytes()[:20000])
    assert refusal(model, path).startswith(f"{path} is damaged")
    assert "holds list" in refusal(model, file([1, 2]))
    assert "found 0 entries (nothing" in refusal(model, file({}))


def save_detector(path, model):
    """Save a detector as a checkpoint of one number per tensor."""
    for key, tensor in model.state_dict().items():
        if not key.startswith("pixel_"):
            tensor.fill_(value_of(key))
    return save_model(path, model, load_config([], ["net.name", name_of(model)]))


def test_own_checkpoint_as_weights(tmp_path, caplog):
    path = save_detector(tmp_path / "iter_0000005.pth", detector("mobile_v2"))
    model = detector("mobile_v2")
    with caplog.at_level("INFO", "faster_rcnn"):
        load(model, path)
    for key, tensor in model.state_dict().items():
        assert key.startswith("pixel_") or (tensor == value_of(key)).all(), key
    assert f"weights from {path}" in caplog.text
    assert "made for" in caplog.text and "left random" not in caplog.text
    caplog.clear()
    changes = ["net.name", "mobile_v2", "net.weights", str(path), "boxes.offset", "0"]
    with caplog.at_level("INFO", "faster_rcnn"):
        load_first_weights(model, load_config([], changes), CLASSES)
    assert "made for boxes.offset 1" in caplog.text.splitlines()[-1]


def test_own_checkpoint_of_other_classes_leaves_the_output_layers(tmp_path, caplog):
    path = save_detector(tmp_path / "iter_0000005.pth", detector("mobile_v2"))
    model = detector("mobile_v2", 5)
    for tensor in model.state_dict().values():
        tensor.fill_(-1)
    with caplog.at_level("INFO", "faster_rcnn"):
        load(model, path)
    outputs = {
        f"box_head.predictor.{layer}.{part}"
        for layer in ("scores", "deltas")
        for part in ("weight", "bias")
    }
    for key, tensor in model.state_dict().items():
        value = -1 if key in outputs else value_of(key)
        assert key.startswith("pixel_") or (tensor == value).all(), key
    assert normalisation_of(model) == "torchvision"
    (warning,) = [r for r in caplog.records if r.levelname == "WARNING"]
    assert "left random" in warning.message and str(path) in warning.message
    assert all(key in warning.message for key in outputs)


def test_own_checkpoint_of_another_net(tmp_path):
    path = save_detector(tmp_path / "iter_0000005.pth", detector("mobile_v2"))
    message = refusal(detector("res18"), path)
    assert f"{path} holds checkpoint of this program with mobile_v2" in message
    assert "give NET as mobile_v2" in message


def test_weights_beside_the_checkout(shared, caplog):
    config = load_config([], ["net.name", "mobile_v2"])
    model = build_detector(config, 3)
    before = model.backbone.state_dict()["features.0.0.weight"].clone()
    with caplog.at_level("INFO", "faster_rcnn"):
        load(model, shared / "weights" / "mobilenet_v2_imagenet.pth")
    assert not torch.equal(model.backbone.state_dict()["features.0.0.weight"], before)
    assert normalisation_of(model) == "torchvision"
    assert "implied by its names; the first norm has no statistics" in caplog.text
