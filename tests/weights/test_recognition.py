import hashlib
import json
import pickle

import pytest
import torch
from faster_rcnn.config.loading import load_config
from faster_rcnn.nets.normalisation import NORMALISATIONS
from faster_rcnn.weights.checkpoint import CheckpointError
from faster_rcnn.weights.recognition import import_weights, recognise_weights
from formula_weights import caffe_state, formula_state, golden_entries
from tiny_checkpoints import save_model
from weight_files import (
    TORCHVISION,
    check_whole,
    classifier,
    detector,
    detectron2_content,
    detectron2_state,
    state_of,
)

GOLDEN = ("vgg16", "res50", "res101", "mobile")
FIRST = {"vgg16": "features.0", "mobile": "Conv2d_0.0"}


def first_conv(net):
    return f"backbone.{FIRST.get(net, 'conv1')}.weight"


def hash_of(tensor):
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


def refusal(content, **options):
    with pytest.raises(CheckpointError) as caught:
        recognise_weights(content, "FILE", **options)
    message = str(caught.value)
    assert message.startswith("FILE") and "\n" not in message
    return message


def zeros(entries):
    """A golden state dict whose values do not matter, in no memory."""
    return {e["key"]: torch.zeros(()).expand(e["shape"]) for e in entries}


@pytest.mark.slow
@pytest.mark.parametrize("net", GOLDEN)
def test_detectors_of_the_familys_port(shared, net):
    entries = golden_entries(shared, net)
    # VGG16 has 550 MB, and its fully connected layers take seconds to draw.
    full = net != "vgg16"
    weights = recognise_weights(
        formula_state(entries) if full else zeros(entries), "FILE"
    )
    assert weights.kind.startswith("detector of tf-faster-rcnn's PyTorch port with")
    assert (weights.net, weights.normalisation) == (net, "caffe")
    assert (weights.num_classes, weights.anchors, weights.rpn_channels) == (21, 9, 512)
    assert weights.unused == {} and weights.used == len(entries)
    assert weights.settings["boxes.offset"] == 1
    assert weights.settings["anchors.scales"] == (8, 16, 32)
    assert weights.settings.get("net.style") == weights.style
    assert weights.style == ("caffe" if net.startswith("res") else None)
    # Exactly what a detector of ours holds, in its shapes.
    ours = detector(net, 21, "rpn.channels", "512")
    check_whole(weights, ours)
    for key, tensor in weights.state.items():
        assert tensor.dtype == ours.state_dict()[key].dtype, key
    # Nothing but the first convolution changes: RGB here, BGR there.
    if full:
        hashes = {hash_of(tensor) for tensor in weights.state.values()}
        wanted = {entry["sha256"] for entry in entries}
        assert len(hashes ^ wanted) == 2
        assert hash_of(weights.state[first_conv(net)].flip(1)) in wanted


def test_what_goes_where(shared):
    state = formula_state(golden_entries(shared, "res50"))
    ours = recognise_weights(state, "FILE").state
    for key, name in {
        "backbone.layer3.5.bn2.running_var": "resnet.layer3.5.bn2.running_var",
        "backbone.layer2.0.downsample.0.weight": "resnet.layer2.0.downsample.0.weight",
        "rpn.head.conv.bias": "rpn_net.bias",
        "rpn.head.scores.weight": "rpn_cls_score_net.weight",
        "rpn.head.deltas.bias": "rpn_bbox_pred_net.bias",
        "box_head.predictor.scores.weight": "cls_score_net.weight",
        "box_head.predictor.deltas.weight": "bbox_pred_net.weight",
    }.items():
        assert torch.equal(ours[key], state[name]), key
    assert torch.equal(
        ours["backbone.conv1.weight"][:, 0], state["resnet.conv1.weight"][:, 2]
    )


@pytest.mark.slow
@pytest.mark.parametrize("net", GOLDEN)
def test_familys_detector_that_does_not_fit(shared, net):
    entries = golden_entries(shared, net)
    whole = zeros(entries)
    recognise_weights(whole, "FILE")
    for entry in entries[:3] + entries[-12:]:
        key = entry["key"]
        less = {k: v for k, v in whole.items() if k != key}
        if key.endswith("num_batches_tracked"):
            weights = recognise_weights(less, "FILE")
            assert weights.used == len(entries) - 1
            continue
        message = refusal(less)
        assert "recognised: detector of tf-faster-rcnn's PyTorch port" in message
        assert f"1 missing ({key})" in message
        shape = (*entry["shape"][:-1], entry["shape"][-1] + 1)
        assert key in refusal(whole | {key: torch.zeros(()).expand(shape)})
        assert f"{key} is int, expected a tensor" in refusal(whole | {key: 3})
    more = refusal(whole | {"resnet.layer5.weight": torch.zeros(1)})
    assert "1 unknown (resnet.layer5.weight)" in more
    message = refusal({k: whole[k] for k in list(whole)[: len(whole) // 2]})
    assert "recognised: " in message and "missing" in message


def test_familys_unused_classifier(shared):
    for net, key in (("res50", "resnet.fc.weight"), ("vgg16", "vgg.classifier.6.bias")):
        state = zeros(golden_entries(shared, net)) | {key: torch.zeros(1000)}
        weights = recognise_weights(state, "FILE")
        assert weights.unused.keys() == {key}
        assert "classifier of whole images" in weights.unused[key]


@pytest.mark.slow
@pytest.mark.parametrize("net", TORCHVISION)
def test_classification_weights_of_torchvision(net):
    state = state_of(classifier(net))
    weights = recognise_weights(state, "FILE")
    assert weights.kind == f"torchvision {TORCHVISION[net]} classification weights"
    assert (weights.net, weights.normalisation) == (net, "torchvision")
    bottlenecks = ("res50", "res101", "res152", "resx101")
    assert weights.style == ("pytorch" if net in bottlenecks else None)
    assert weights.num_classes is None
    layers = {
        "vgg16": ["classifier.6"],
        "mobile_v2": ["classifier.1"],
        "mobile_v3": ["classifier.0", "classifier.3"],
    }.get(net, ["fc"])
    unused = {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
    assert weights.unused.keys() == unused
    assert weights.used == len(state) - len(unused)
    for key, tensor in weights.state.items():
        want = state[key.removeprefix("backbone.")]
        if net == "mobile_v3" and key.endswith("running_var"):
            # Its epsilon there, and ours.
            torch.testing.assert_close(tensor, want + (1e-3 - 1e-5))
        else:
            assert torch.equal(tensor, want), key


@pytest.mark.parametrize("net", TORCHVISION)
def test_classification_weights_that_do_not_fit(net):
    state = state_of(classifier(net))
    key = next(k for k in reversed(state) if "num" not in k and "fc" not in k[:2])
    key = "features.0.weight" if net == "vgg16" else key
    if key.startswith("classifier"):
        key = {"mobile_v2": "features.18.1.bias"}.get(net, "features.16.1.bias")
    less = {k: v for k, v in state.items() if k != key}
    message = refusal(less)
    assert f"recognised: {TORCHVISION[net]} classification weights, but" in message
    assert f"1 missing ({key})" in message
    assert "1 unknown (layer9.weight)" in refusal(
        state | {"layer9.weight": torch.ones(1)}
    )
    assert f"{key} is (7,), expected" in refusal(state | {key: torch.ones(7)})
    whole = {key: torch.ones(state[key].shape, dtype=torch.uint8)}
    assert f"{key} is torch.uint8" in refusal(state | whole)


def old_names(state):
    """VGG16 as torchvision named it at first, and Caffe's conversion still does."""
    places = {"classifier.0.": "classifier.1.", "classifier.3.": "classifier.4."}
    return {places.get(k[:13], k[:13]) + k[13:]: v for k, v in state.items()}


@pytest.mark.slow
def test_old_names_of_vgg16():
    state = state_of(classifier("vgg16"))
    old = old_names(state)
    assert "classifier.4.bias" in old and "classifier.3.bias" not in old
    weights = recognise_weights(old, "FILE")
    assert weights.net == "vgg16" and weights.used == 30
    # Such numbers tell nothing, and the names are Caffe's first of all.
    assert weights.normalisation == "caffe" and "by its names" in weights.reason
    ours = weights.state["backbone.classifier.3.weight"]
    assert torch.equal(ours, old["classifier.4.weight"])
    given = recognise_weights(old, "FILE", normalisation="torchvision")
    assert (given.normalisation, given.reason) == ("torchvision", "as given")


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_wrappers(wrapper):
    state = state_of(classifier("res18"))
    parallel = {f"module.{key}": value for key, value in state.items()}
    content = {"epoch": 90, "optimizer": {}, wrapper: parallel}
    weights = recognise_weights(content, "FILE")
    assert weights.net == "res18"
    assert weights.unused.keys() == {"epoch", "optimizer", "fc.weight", "fc.bias"}


@pytest.mark.slow
@pytest.mark.parametrize("net", ["res50", "res101", "mobile"])
def test_caffes_classification_weights(shared, net):
    state = caffe_state(shared, net) | {"fc.weight": torch.zeros(1000, 2048)}
    weights = recognise_weights(state, "FILE")
    assert weights.kind.startswith("Caffe ")
    assert weights.normalisation == "caffe" and "first norm" in weights.reason
    assert weights.style == (None if net == "mobile" else "caffe")
    assert weights.unused.keys() == {"fc.weight"}
    key = first_conv(net)
    theirs = state[key.removeprefix("backbone.")]
    assert torch.equal(weights.state[key], theirs.flip(1))
    given = recognise_weights(state, "FILE", normalisation="torchvision")
    assert torch.equal(given.state[key], theirs)
    assert given.style == (None if net == "mobile" else "pytorch")
    msra = recognise_weights(state, "FILE", normalisation="detectron2")
    assert msra.normalisation == "detectron2"
    assert torch.equal(msra.state[key], theirs.flip(1))


def test_mobilenet_of_the_family(shared):
    state = caffe_state(shared, "mobile")
    prefixed = {f"features.{key}": value for key, value in state.items()}
    one, other = (recognise_weights(s, "FILE") for s in (state, prefixed))
    assert one.net == other.net == "mobile"
    assert all(torch.equal(one.state[key], other.state[key]) for key in one.state)


def test_unknown_weights():
    message = refusal({"encoder.weight": torch.ones(2), "decoder.bias": torch.ones(2)})
    assert "found 2 entries (encoder.weight, decoder.bias" in message
    assert "expected weights of one of vgg16, res18" in message
    assert "found 0 entries (nothing" in refusal({})


def own_file(path, model, *words):
    save_model(path, model, load_config([], words))
    return torch.load(path, weights_only=True)


def test_own_checkpoint(tmp_path):
    words = ("net.name", "res18", "rpn.channels", "8", "head.class_agnostic", "true")
    model = detector("res18", 3, *words[4:])
    for buffer, value in zip(
        (model.pixel_mean, model.pixel_std), NORMALISATIONS["detectron2"], strict=True
    ):
        buffer.copy_(torch.tensor(value)[:, None, None])
    content = own_file(tmp_path / "iter.pth", model, *words)
    weights = import_weights(tmp_path / "iter.pth")
    assert weights.kind == "checkpoint of this program with res18"
    assert weights.classes == ("__background__", "box", "disc")
    assert (weights.num_classes, weights.anchors, weights.rpn_channels) == (3, 9, 8)
    assert weights.normalisation == "detectron2" and "recorded" in weights.reason
    assert weights.settings["anchors.scales"] == [8, 16, 32]
    assert weights.settings["head.class_agnostic"] is True
    wrong = refusal(content, normalisation="caffe")
    assert "is detectron2 (recorded with the weights), asked for was caffe" in wrong
    state = content["model"]
    less = {k: v for k, v in state.items() if k != "backbone.bn1.bias"}
    assert "1 missing (backbone.bn1.bias)" in refusal(content | {"model": less})
    for pixels in (torch.zeros(3, 1, 1), None, 3):
        other = content | {"model": state | {"pixel_mean": pixels}}
        assert "expected pixel_mean and pixel_std" in refusal(other)
    for key in ("model", "config"):
        assert f"expected {key!r}" in refusal({**content, key: None})


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_detectron2_from_a_file(tmp_path, protocol):
    content = detectron2_content("res50")
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    weights = import_weights(path)
    assert (weights.kind, weights.net) == ("Detectron2 R50-C4 detector", "res50")
    assert weights.unused["__author__"] == "stored beside the weights"
    path.write_bytes(path.read_bytes()[: 1 << 20])
    with pytest.raises(CheckpointError, match="truncated or damaged") as caught:
        import_weights(path)
    assert str(path) in str(caught.value)


def test_file_by_content_not_by_ending(tmp_path):
    state = state_of(classifier("res18"))
    path = tmp_path / "resnet18.pkl"
    for old in (False, True):
        torch.save(state, path, _use_new_zipfile_serialization=not old)
        assert import_weights(path).net == "res18"
    path = tmp_path / "model_final.pth"
    path.write_bytes(pickle.dumps(detectron2_content("res50")))
    assert import_weights(path).net == "res50"
    # Detectron2's own training saves tensors.
    torch.save({"model": detectron2_state("res50"), "iteration": 5}, path)
    assert import_weights(path).normalisation == "detectron2"


def test_files_of_other_kinds(tmp_path):
    path = tmp_path / "weights.pkl"
    for content in (pickle.dumps([1]), json.dumps({}).encode(), b"", b"\x80"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            import_weights(path)
        assert str(path) in str(caught.value)
    with pytest.raises(CheckpointError, match="does not exist"):
        import_weights(tmp_path / "gone.pth")
