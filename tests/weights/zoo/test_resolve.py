import json

import pytest
import torch
from faster_rcnn.config.loading import ConfigError, config_from_checkpoint
from faster_rcnn.model.build import build_detector
from faster_rcnn.weights.checkpoint import FORMAT, CheckpointError
from faster_rcnn.weights.class_names import COCO_CLASSES
from faster_rcnn.weights.recognition import recognise_weights
from faster_rcnn.weights.zoo import open_checkpoint
from formula_weights import golden_entries
from tiny_checkpoints import save_model
from tiny_runs import CLASSES, tiny_config, tiny_detector
from weight_files import classifier, detectron2_state, state_of


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The content of a tiny detector's checkpoint."""
    path = tmp_path_factory.mktemp("run") / "iter_0000005.pth"
    config = tiny_config()
    return open_checkpoint(save_model(path, tiny_detector(config), config))


def refusal(path, kind=CheckpointError):
    with pytest.raises(kind) as caught:
        open_checkpoint(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def load(state):
    """The detector of a state, strictly."""
    config = config_from_checkpoint(state, [])
    with torch.device("meta"):
        model = build_detector(config, len(state["classes"])).to_empty(device="cpu")
    model.load_state_dict(state["model"])
    return model


def test_own_checkpoint(content):
    assert content["format"] == FORMAT and content["iteration"] == 5
    assert content["classes"] == list(CLASSES)
    load(content)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["a"]},
        {"classes": ["a", "a", "b"]},
        {"classes": ["a", 3, "b"]},
        {"classes": "abc"},
        {"classes": None},
        {"classes": [str(i) for i in range(100_001)]},
        {"config": None},
        {"model": [1]},
        {"model": {"w": 3}},
        {"model": {3: torch.ones(1)}},
        {"iteration": True},
        {"iteration": "5"},
        {"ema": 3},
        {"ema": {"weights": {"w": None}}},
    ],
    ids=lambda change: str(change)[:30],
)
def test_part_of_another_type(content, file, change):
    message = refusal(file({**content, **change}))
    assert f"is not whole: {next(iter(change))} missing or of another type" in message
    assert len(message) < 1500


@pytest.mark.slow
def test_weights_that_do_not_fit(content, file):
    model = content["model"]
    key = "rpn.head.conv.weight"
    for change in (
        {"model": {k: v for k, v in model.items() if k != key}},
        {"model": {**model, key: torch.ones(3)}},
        {"model": {**model, "more": torch.ones(3)}},
        {"classes": ["__background__", "one"]},
        {"classes": [str(i) for i in range(90_000)]},  # too many for the memory
        {"config": {**content["config"], "rpn": {"channels": 60_000}}},
        {"ema": {"weights": {key: torch.ones(3)}}},
    ):
        message = refusal(file({**content, **change}))
        assert "do not fit the detector that its settings describe" in message


def test_settings_beyond_all_use(content, file):
    for section, key, value in (
        ("rpn", "channels", 10**9),
        ("pooling", "size", 10**6),
        ("data", "test_short_side", 10**9),
        ("anchors", "scales", [1] * 1000),
        ("data", "train_set", "x" * 10**5),
        ("rpn", "nms_threshold", 7),
        ("rpn", "no_such", 7),
    ):
        config = {**content["config"]}
        config[section] = {**config[section], key: value}
        message = refusal(file({**content, "config": config}), ConfigError)
        assert f"{section}.{key}" in message and len(message) < 1000


def test_detector_of_detectron2(file):
    state = open_checkpoint(file({"model": detectron2_state("res50")}))
    assert state["classes"] == ["__background__", *COCO_CLASSES]
    assert state["config"]["net"]["name"] == "res50"
    assert state["config"]["pooling"]["size"] == 14
    load(state)


FAMILY = ("d2_retinanet_R_50_FPN", "tv_retinanet_resnet50_fpn")


@pytest.mark.parametrize("name", FAMILY)
def test_retinanet_of_another_program(shared, file, name):
    """Whose file has no running mean of ours, and 80 classes instead of 5."""
    rows = {45: 80 * 9, 54: 91 * 9}
    text = (shared / "golden" / "family" / f"{name}_state.json").read_text()
    given = {
        key: torch.zeros(()).expand(rows.get(shape[0], shape[0]), *shape[1:])
        if shape
        else torch.tensor(0)
        for key, shape, *_ in json.loads(text)["entries"]
    }
    state = open_checkpoint(file(given))
    assert state["config"]["net"]["detector"] == "retinanet"
    load(state)


def test_detector_of_the_family(shared, file):
    entries = golden_entries(shared, "mobile")
    given = {e["key"]: torch.zeros(()).expand(e["shape"]) for e in entries}
    state = open_checkpoint(file(given))
    assert state["classes"][1] == "aeroplane" and len(state["classes"]) == 21
    assert state["config"]["net"]["normalisation"] == "caffe"
    load(state)


def test_unknown_classes_need_names(file):
    path = file({"model": detectron2_state("res50", classes=5)})
    message = refusal(path)
    assert "--classes NAMES" in message and f"frcnn convert {path}" in message


def test_files_that_detect_nothing(file, tmp_path):
    message = refusal(file(state_of(classifier("res18"))))
    assert "only a backbone" in message and "--weights" in message
    assert "does not exist" in refusal(tmp_path / "gone.pth")
    assert "expected weights of one of" in refusal(file({"a": torch.ones(2)}))


def test_opened_content_is_weights_too(content):
    assert recognise_weights(content, "it").net == "mobile_v2"
