import dataclasses
import re

import pytest
import torchvision
from command_lines import REPOSITORY
from faster_rcnn.config.settings import NET_NAMES
from faster_rcnn.nets.normalisation import NORMALISATIONS
from faster_rcnn.weights.checkpoint import CheckpointError
from faster_rcnn.weights.zoo.table import ENTRIES, find_entry, imagenet_entry

DETECTORS = {
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
    "keypointrcnn_resnet50_fpn",
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_entries_are_sound(entry):
    assert re.fullmatch(r"(torchvision|detectron2|family)/[\w.-]+", entry.name)
    assert entry.normalisation in NORMALISATIONS
    assert re.fullmatch(r"[\w.-]+\.(pth|pkl)", entry.file)
    assert entry.page.startswith("https://") and entry.licence and entry.reader
    assert find_entry(entry.name) is entry
    assert find_entry(entry.name.split("/")[1]) is entry
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry.url = None
    if entry.url is None:
        return
    assert entry.url.startswith("https://")
    # The publishers put the first digits of their hashes into the names of the files.
    for digits in (entry.sha256, entry.md5):
        assert digits is None or digits in entry.url.rpartition("/")[2]


def test_names_and_files_are_different():
    files = [entry.file for entry in ENTRIES.values()]
    assert len(set(files)) == len(files)
    short = [name.split("/")[1] for name in ENTRIES]
    assert len(set(short)) == len(short)


def test_torchvisions_entries_are_torchvisions():
    names = [name for name in ENTRIES if name.startswith("torchvision/")]
    assert {name.split("/")[1] for name in names} >= DETECTORS
    for name in names:
        entry, model = ENTRIES[name], name.split("/")[1]
        version = "COCO_V1" if model in DETECTORS else "IMAGENET1K_V1"
        theirs = torchvision.models.get_model_weights(model)[version]
        assert entry.url == theirs.url and entry.kind == (
            "detector" if model in DETECTORS else "backbone"
        )
        assert entry.size == round(theirs.meta["_file_size"] * 2**20)
        (metrics,) = theirs.meta["_metrics"].values()
        figure = metrics.get("box_map") or metrics["acc@1"]
        assert entry.published.startswith(f"{figure:.1f} ")
        for kind, name in (("mask_map", "mask AP"), ("kp_map", "keypoint AP")):
            if kind in metrics:
                assert f", {metrics[kind]:.1f} {name}," in entry.published


def test_every_net_has_an_answer():
    for net in set(NET_NAMES) - {"mobile"}:
        assert imagenet_entry(net).net == net
    with pytest.raises(CheckpointError, match="no ImageNet weights of mobile "):
        imagenet_entry("mobile")


def test_documentation_lists_every_entry():
    text = (REPOSITORY / "docs" / "zoo.md").read_text(encoding="utf-8")
    rows = {
        cells[0].strip("` "): [cell.strip() for cell in cells]
        for line in text.splitlines()
        if len(cells := line.strip("|").split("|")) > 3
    }
    for entry in ENTRIES.values():
        row = rows[entry.name]
        digits = entry.sha256 or entry.md5
        kind = "SHA-256" if entry.sha256 else "MD5"
        assert row[1] == entry.net and row[2] == entry.normalisation
        assert row[3] == entry.reader
        assert row[4] == (f"{kind} {digits}" if digits else "not published")
        assert row[5] == (entry.published or "none")
        assert (entry.url or entry.page) in text
