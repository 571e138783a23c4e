import pickle

import pytest
import torch
from faster_rcnn.weights import import_weights, load_weights
from faster_rcnn.weights.checkpoint import CheckpointError
from formula_weights import caffe_state, formula_state, golden_entries
from weight_files import (
    classifier,
    detector,
    detectron2_content,
    load,
    normalisation_of,
    refusal,
    state_of,
)


@pytest.mark.slow
def test_weights_bring_their_normalisation(shared, file):
    state = caffe_state(shared)
    model = detector("res50", 3, "net.style", "caffe")
    load(model, file(state), style="caffe")
    assert normalisation_of(model) == "caffe"
    ours = model.backbone.conv1.weight
    torch.testing.assert_close(ours, state["conv1.weight"].flip(1), rtol=0, atol=0)
    load(model, file(state_of(classifier("res50"))), style="pytorch")
    assert normalisation_of(model) == "torchvision"


@pytest.mark.slow
def test_another_style(shared, file):
    path = file(caffe_state(shared))
    message = refusal(detector("res50"), path)
    assert "net.style is pytorch; give --set net.style caffe" in message
    path = file(state_of(classifier("res50")))
    message = refusal(detector("res50"), path, style="caffe")
    assert "net.style is caffe; give --set net.style pytorch" in message


@pytest.mark.slow
def test_normalisation_given_in_the_configuration(shared, file):
    path = file(caffe_state(shared))
    model = detector("res50")
    load(model, path, style="caffe", normalisation="caffe")
    before = model.backbone.conv1.weight.clone()
    for wrong in ("torchvision", "detectron2"):
        message = refusal(model, path, style="caffe", normalisation=wrong)
        assert "is caffe (the variance of the first norm" in message
        assert f"but net.normalisation is {wrong}; leave net.normalisation" in message
        assert f"frcnn convert --normalisation {wrong}" in message
    assert torch.equal(model.backbone.conv1.weight, before)
    assert normalisation_of(model) == "caffe"


def test_familys_detector_of_other_classes(shared, file, caplog):
    path = file(formula_state(golden_entries(shared, "mobile")))
    model = detector("mobile", 5, "rpn.channels", "512")
    with caplog.at_level("INFO", "faster_rcnn"):
        load(model, path)
    assert normalisation_of(model) == "caffe"
    (warning,) = [r for r in caplog.records if r.levelname == "WARNING"]
    assert "box_head.predictor.scores.weight" in warning.message
    assert "rpn" not in warning.message.partition("random:")[2]
    weights = import_weights(path)
    ours = model.state_dict()
    for key, value in weights.state.items():
        assert "predictor" in key or torch.equal(ours[key], value), key


def test_strict_loading(shared, file):
    weights = import_weights(file(formula_state(golden_entries(shared, "mobile"))))
    model = detector("mobile", 21, "rpn.channels", "512")
    assert load_weights(model, weights) == []
    ours = model.state_dict()
    assert ours.keys() - weights.state.keys() == {"pixel_mean", "pixel_std"}
    for key, value in weights.state.items():
        assert torch.equal(ours[key], value), key
    with pytest.raises(CheckpointError, match="10 of other shape"):
        load_weights(detector("mobile", 5, "anchors.scales", "[8]"), weights)
    with pytest.raises(
        CheckpointError, match=r"missing \(backbone.bn1.bias, .*unknown"
    ):
        load_weights(detector("res18", 21), weights)


def test_detectron2_as_first_weights(tmp_path, caplog):
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps(detectron2_content("res50"), protocol=4))
    model = detector("res50", 3, "net.style", "caffe", "rpn.channels", "1024")
    with caplog.at_level("INFO", "faster_rcnn"):
        load(model, path, style="caffe")
    assert normalisation_of(model) == "detectron2"
    assert "made for net.style caffe, net.head_stride 2" in caplog.text
    (warning,) = [r for r in caplog.records if r.levelname == "WARNING"]
    assert "rpn.head.scores.weight" in warning.message
    assert "rpn.head.conv" not in warning.message
