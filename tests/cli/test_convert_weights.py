import functools
import json
import pickle
from pathlib import Path

import pytest
import torch
from command_lines import load_tool
from faster_rcnn.config.loading import config_from_checkpoint, load_config
from faster_rcnn.config.recipes import find_recipes
from faster_rcnn.datasets.formats.voc import VOC_CLASSES
from faster_rcnn.model.build import build_detector
from faster_rcnn.weights.checkpoint import CheckpointError, load_checkpoint
from faster_rcnn.weights.class_names import COCO_CLASSES, read_classes
from formula_weights import caffe_state, formula_state, golden_entries
from torchvision.models import detection
from weight_files import detectron2_content

pytestmark = pytest.mark.slow

TOOL = load_tool("convert_weights")


@pytest.fixture
def convert(run_tool):
    """Runs the tool in this process; gives its exit status and what it prints."""

    return functools.partial(run_tool, "convert_weights")


@pytest.fixture(scope="module")
def family_file(shared, tmp_path_factory):
    path = tmp_path_factory.mktemp("family") / "res50_faster_rcnn_iter_70000.pth"
    torch.save(formula_state(golden_entries(shared, "res50")), path)
    return path


def rebuilt(path, *overrides):
    """The detector of a checkpoint, as test.sh builds it."""
    state = load_checkpoint(path)
    config = config_from_checkpoint(state, overrides)
    model = build_detector(config, len(state["classes"]))
    model.load_state_dict(state["model"])
    return model, config, state


def test_description(convert, family_file):
    status, out, _ = convert(family_file)
    assert status == 0
    lines = [line.split(maxsplit=1) for line in out.splitlines()]
    assert ["net", "res50"] in lines and ["style", "caffe"] in lines
    assert ["normalisation", "caffe (implied by its names)"] in lines
    assert ["classes", "20 and background"] in lines
    assert ["tensors", "used    328"] in lines
    assert ["needs", "boxes.offset 1"] in lines
    assert list(family_file.parent.iterdir()) == [family_file]


def test_familys_detector_and_back(convert, family_file, tmp_path):
    output, back = tmp_path / "ours.pth", tmp_path / "back.pth"
    status, out, _ = convert(family_file, "--output", output)
    assert status == 0 and f"written: {output}" in out
    model, config, state = rebuilt(output)
    assert state["classes"] == ["__background__", *VOC_CLASSES]
    assert (config.net.name, config.net.style) == ("res50", "caffe")
    assert config.net.normalisation == "caffe" and state["iteration"] == 0
    assert config.test.nms_threshold == 0.3 and config.anchors.scales == (8, 16, 32)
    assert model.pixel_std.flatten().tolist() == [1, 1, 1]
    assert model.pixel_mean.flatten()[0].item() == pytest.approx(122.7717)
    assert all(not p.requires_grad for p in model.backbone.bn1.parameters())

    status, out, _ = convert(output, "--output", back, "--to", "family")
    assert status == 0
    before, after = (torch.load(path) for path in (family_file, back))
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)

    status, _, err = convert(output, "--output", back)
    assert status == 2 and "already a checkpoint of ours" in err


def test_detectron2s_detector(convert, tmp_path):
    path, output = tmp_path / "model_final.pkl", tmp_path / "ours.pth"
    path.write_bytes(pickle.dumps(detectron2_content("res50")))
    status, out, _ = convert(path, "--output", output)
    assert status == 0
    assert "not used        pixel_mean: recorded as the normalisation" in out
    model, config, state = rebuilt(output)
    assert tuple(state["classes"][1:]) == COCO_CLASSES
    assert config.pooling.aligned and config.pooling.size == 14
    assert config.net.head_stride == 2 and config.boxes.offset == 0
    assert config.train.iterations == 490000  # COCO's recipe
    assert model.rpn.grid.base.shape == (1, 15, 4)
    assert model.pixel_mean.flatten()[0].item() == pytest.approx(123.675)
    status, _, err = convert(path, "--output", output, "--to", "family")
    assert status == 2 and "cannot be written for the family's port" in err


def test_torchvisions_detector(convert, tmp_path):
    path, output = tmp_path / "theirs.pth", tmp_path / "ours.pth"
    torch.manual_seed(0)
    theirs = detection.fasterrcnn_mobilenet_v3_large_fpn(
        weights=None, weights_backbone=None
    )
    torch.save(theirs.state_dict(), path)
    status, out, _ = convert(path, "--output", output)
    assert status == 0
    lines = out.splitlines()
    name = "fasterrcnn_mobilenet_v3_large_fpn"
    assert f"kind            torchvision {name} detector" in lines
    assert "net             mobile_v3_fpn" in lines
    assert "classes         90 and background" in lines
    assert "anchors         15 per cell" in lines
    assert "needs           rpn.score_threshold 0.05" in lines
    _, config, state = rebuilt(output)
    assert state["classes"][1:3] == ["person", "bicycle"]
    assert state["classes"][12] == "N/A 12" and state["classes"][90] == "toothbrush"
    assert config.net.full_name == "mobile_v3_fpn"
    assert config.anchors.sizes == ((32, 64, 128, 256, 512),)
    recipes = load_config(find_recipes("coco", "mobile_v3_fpn"))
    assert config.train == recipes.train
    status, _, err = convert(path, "--output", output, "--to", "family")
    assert status == 2 and "it has no mobile_v3" in err


def test_epsilon_as_a_fact(convert, tmp_path):
    path, output = tmp_path / "theirs.pth", tmp_path / "ours.pth"
    theirs = detection.fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=3
    )
    torch.save(theirs.state_dict(), path)
    options = ("--output", output, "--classes", "cat,dog", "--norm-eps", "0")
    assert convert(path, *options)[0] == 0
    model, _, _ = rebuilt(output)
    norm = model.backbone.bn1
    assert (norm.running_var + norm.eps - 1).abs().max() < 1e-7


def test_backbone_with_a_fact(convert, shared, tmp_path):
    path, output = tmp_path / "resnet50-caffe.pth", tmp_path / "backbone.pth"
    torch.save(caffe_state(shared), path)
    status, out, _ = convert(path)
    assert status == 0 and "kind            Caffe resnet50" in out
    assert "normalisation   caffe (the variance of the first norm" in out
    status, out, _ = convert(path, "--normalisation", "detectron2", "--output", output)
    assert status == 0 and "normalisation   detectron2 (as given)" in out
    status, out, _ = convert(output)
    assert "normalisation   detectron2 (recorded with the weights)" in out
    status, _, err = convert(output, "--normalisation", "caffe")
    assert status == 2 and "is detectron2 (recorded with the weights)" in err


def test_classes_by_name(convert, shared, tmp_path):
    state = formula_state(golden_entries(shared, "mobile"))
    for part in ("weight", "bias"):
        for layer, rows in (("cls_score_net", 3), ("bbox_pred_net", 12)):
            state[f"{layer}.{part}"] = state[f"{layer}.{part}"][:rows].clone()
    path, output = tmp_path / "mobile.pth", tmp_path / "ours.pth"
    torch.save(state, path)
    status, _, err = convert(path, "--output", output)
    assert status == 2 and "--classes NAMES" in err and not output.exists()
    status, _, _ = convert(path, "--output", output, "--classes", "cat, dog")
    assert status == 0
    assert rebuilt(output)[2]["classes"] == ["__background__", "cat", "dog"]
    convert(path, "--output", output, "--classes", "cat,dog", "--dataset", "coco")
    assert rebuilt(output, "anchors.scales", "[8,16,32]")[1].train.iterations == 490000


def test_names_of_classes(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("traffic light\n\ncat\n")
    assert read_classes(str(file), 3) == ["__background__", "traffic light", "cat"]
    for given in ("cat", "cat,cat", "__background__,cat,dog"):
        with pytest.raises(CheckpointError, match="expected 2 names"):
            read_classes(given, 3)


def test_names_of_coco(shared: Path):
    folder = shared / "data" / "coco_val2014_100"
    table = json.loads((folder / "instances_val2014_100.json").read_text())
    ordered = sorted(table["categories"], key=lambda category: category["id"])
    assert tuple(category["name"] for category in ordered) == COCO_CLASSES


def test_unusable_file(convert, tmp_path):
    status, _, err = convert(tmp_path / "gone.pth")
    assert status == 2 and "does not exist" in err
    (tmp_path / "text.pth").write_text("no weights")
    status, _, err = convert(tmp_path / "text.pth")
    assert status == 2 and "text.pth is damaged" in err
