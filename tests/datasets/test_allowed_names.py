import json

import pytest
import torch
from dataset_folders import load, write_coco, write_voc
from faster_rcnn.config.settings import Config
from faster_rcnn.datasets.allowed_names import check_class_names, faults_of_names
from faster_rcnn.weights.checkpoint import load_checkpoint
from tiny_checkpoints import save_model

BAD = {
    "__background__": "background's name",
    "": "is empty",
    " \t": "is empty",
    "a" * 1001: "has 1001 letters",
    "a\nb": "control characters",
    "\x1b[31mred": "control characters",
    "\u202egnp.exe": "control characters",
    "\udc80": "control characters",
}
GOOD = ["cat", "é" * 1000, "a, b", " cat", "N/A", "background", "猫", "'\"<&>"]


@pytest.mark.parametrize(
    ("name", "fault"), BAD.items(), ids=lambda text: ascii(text)[:20]
)
def test_name_that_cannot_be_used(name, fault):
    with pytest.raises(
        ValueError, match=f"cells: invalid class names: .*{fault}"
    ) as caught:
        check_class_names(("__background__", "cat", name), "cells")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


def test_names_that_are_read_back(tmp_path):
    """Names that may be trained on can be read; others are refused."""
    model = torch.nn.Linear(1, 1)

    def written(*names):
        classes = ("__background__", *names)
        path = save_model(tmp_path / "a.pth", model, Config(), classes=classes)
        return load_checkpoint(path)["classes"][1:]

    assert not faults_of_names(["__background__", *GOOD])
    assert written(*GOOD) == GOOD
    for name in BAD:
        with pytest.raises(ValueError, match="is not whole: classes"):
            written("cat", name)


def test_name_twice_and_too_many():
    assert faults_of_names(["__background__", "a", "b", "a"]) == ["'a' occurs twice"]
    (fault,) = faults_of_names([str(i) for i in range(100_001)])
    assert fault.startswith("there are 100001")
    many = ["__background__"] * 9
    with pytest.raises(ValueError, match=r"and 3 more\. Rename"):
        check_class_names(many, "cells")


def test_data_set_is_refused(tmp_path):
    write_voc(tmp_path / "voc", "cat", "__background__", train=["1"], val=["2"])
    with pytest.raises(
        ValueError, match=r"voc_train: invalid class names: .*'__background__'"
    ):
        load(tmp_path / "voc", tmp_path)
    write_coco(tmp_path / "coco", train=1, val=1)
    file = tmp_path / "coco" / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["categories"].append({"id": 7, "name": "__background__"})
    file.write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"coco_train: invalid class names: .*'__background__'"
    ):
        load(tmp_path / "coco", tmp_path)
