import pytest
import torch
from faster_rcnn.config.loading import load_config
from faster_rcnn.model.build import build_detector
from faster_rcnn.weights.checkpoint import CheckpointError
from faster_rcnn.weights.recognition import import_weights, recognise_weights
from faster_rcnn.weights.writing import (
    detector_weights,
    export_family,
    family_state,
    save_backbone,
)
from formula_weights import caffe_state, formula_state, golden_entries
from weight_files import classifier, detector, detectron2_content, load, state_of


@pytest.mark.slow
@pytest.mark.parametrize("net", ["res50", "res101", "mobile"])
def test_round_trip_of_the_familys_detectors(shared, tmp_path, net):
    entries = golden_entries(shared, net)
    state = formula_state(entries)
    path = tmp_path / "exported.pth"
    export_family(recognise_weights(state, "FILE"), path)
    written = torch.load(path, weights_only=True)
    assert list(written) == [entry["key"] for entry in entries]
    for key, tensor in written.items():
        assert tensor.dtype == state[key].dtype and torch.equal(tensor, state[key]), key
        assert tensor.is_contiguous()
    again = import_weights(path)
    first = recognise_weights(state, "FILE")
    assert all(torch.equal(again.state[key], first.state[key]) for key in first.state)
    assert again.settings == first.settings


def test_keys_of_vgg16(shared):
    entries = golden_entries(shared, "vgg16")
    zeros = {e["key"]: torch.zeros(()).expand(e["shape"]) for e in entries[:1]}
    zeros |= {e["key"]: torch.zeros(e["shape"][:1]) for e in entries[1:]}
    weights = recognise_weights(
        {e["key"]: torch.zeros(()).expand(e["shape"]) for e in entries}, "FILE"
    )
    small = {k: v if "features.0" in k else v[:1] for k, v in weights.state.items()}
    written = family_state(type(weights)(**{**vars(weights), "state": small}))
    assert list(written) == [entry["key"] for entry in entries]


def test_detector_in_memory(tmp_path):
    words = ["net.name", "mobile", "net.normalisation", "caffe", "rpn.channels", "8"]
    config = load_config([], words)
    torch.manual_seed(0)
    model = build_detector(config, 4)
    export_family(detector_weights(model, config), tmp_path / "x.pth")
    weights = import_weights(tmp_path / "x.pth")
    ours = model.state_dict()
    for key, tensor in weights.state.items():
        assert torch.equal(tensor, ours[key]), key
    first = torch.load(tmp_path / "x.pth")["mobilenet.Conv2d_0.0.weight"]
    assert torch.equal(first[:, 2], model.backbone.Conv2d_0[0].weight[:, 0])


@pytest.mark.parametrize(
    ("net", "words", "reason"),
    [
        ("mobile", ["net.normalisation", "torchvision"], "expect the mean (123.675,"),
        ("mobile", ["net.normalisation", "detectron2"], "expect the mean (123.675,"),
        ("mobile", ["net.head_stride", "2"], "net.head_stride 1 only"),
        ("mobile", ["anchors.centre", "corner"], "anchors.centre cell only"),
        ("mobile", ["boxes.offset", "0"], "boxes.offset 1 only, these weights need 0"),
        ("mobile", ["pooling.size", "14"], "pooling.size 7 only"),
        ("mobile", ["head.class_agnostic", "true"], "head.class_agnostic False only"),
        ("mobile_v2", [], "it has no mobile_v2"),
        ("res50", ["net.style", "pytorch"], "net.style caffe only"),
    ],
)
def test_parts_that_the_family_cannot_express(tmp_path, net, words, reason):
    words = ["net.normalisation", "caffe", *words, "rpn.channels", "8"]
    config = load_config([], ["net.name", net, *words])
    with torch.device("cpu"):
        model = build_detector(config, 3)
    with pytest.raises(CheckpointError) as caught:
        export_family(detector_weights(model, config), tmp_path / "x.pth")
    assert "cannot be written for the family's port: " in str(caught.value)
    assert reason in str(caught.value)
    assert not (tmp_path / "x.pth").exists()


def test_detectron2s_detector_and_backbones_are_not_the_familys():
    weights = recognise_weights(detectron2_content("res50"), "FILE")
    with pytest.raises(CheckpointError, match=r"another mean could not.*head_stride"):
        family_state(weights)
    weights = recognise_weights(state_of(classifier("res18")), "FILE")
    with pytest.raises(CheckpointError, match="has only a backbone"):
        family_state(weights)


@pytest.mark.slow
def test_backbone_with_its_facts(shared, tmp_path):
    state = caffe_state(shared)
    # As a fact, against what the numbers say.
    given = recognise_weights(state, "FILE", normalisation="detectron2")
    path = tmp_path / "backbone.pth"
    save_backbone(given, path)
    weights = import_weights(path)
    assert (weights.net, weights.style) == ("res50", "caffe")
    assert weights.normalisation == "detectron2"
    assert weights.kind == "converted: Caffe resnet50 classification weights"
    assert weights.reason == "recorded with the weights"
    assert all(torch.equal(weights.state[key], given.state[key]) for key in given.state)
    model = detector("res50")
    load(model, path, style="caffe")
    assert model.pixel_std.flatten().tolist() == [1, 1, 1]
    assert torch.equal(
        model.backbone.conv1.weight, given.state["backbone.conv1.weight"]
    )

    content = torch.load(path, weights_only=True)
    for change, reason in (
        ({"net": "res51"}, "found 'res51'"),
        ({"normalisation": None}, "found 'res50' and None"),
        ({"state": 3}, "expected 'state'"),
        ({"state": {}}, "missing (backbone.bn1.bias"),
    ):
        with pytest.raises(CheckpointError) as caught:
            recognise_weights(content | change, "FILE")
        assert reason in str(caught.value)
