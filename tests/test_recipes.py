import functools
import itertools
import json
from copy import deepcopy

import pytest
import torch
import yaml
from command_lines import REPOSITORY, SCRIPTS, check_command, script_commands
from faster_rcnn.config import loading
from faster_rcnn.config.dataset_words import WORDS
from faster_rcnn.config.loading import load_config
from faster_rcnn.config.recipes import find_recipes, net_settings, recipe_folder
from faster_rcnn.config.settings import NET_NAMES
from faster_rcnn.detector.about import Shape
from faster_rcnn.engine.solver import build_optimizer
from faster_rcnn.export.program import input_multiple
from faster_rcnn.layer_utils.structures import FeatureMaps
from faster_rcnn.model import build
from faster_rcnn.model.build import build_detector
from faster_rcnn.nets import build_backbone
from faster_rcnn.utils.shape_only import shape_only

RECIPES = recipe_folder()
RESNETS = [net for net in NET_NAMES if net.startswith("res")]
NETS = [
    *NET_NAMES,
    *(f"{n}_fpn" for n in NET_NAMES),
    *(f"{n}_dc5" for n in RESNETS),
    *(f"retina_{n}_fpn" for n in NET_NAMES),
    *(f"cascade_{n}" for n in NET_NAMES),
    *(f"cascade_{n}_fpn" for n in NET_NAMES),
    *(f"mask_{n}" for n in RESNETS),
    *(f"mask_{n}_fpn" for n in NET_NAMES),
    *(f"keypoint_{n}_fpn" for n in NET_NAMES),
    *("mask_res50_dc5", "mask_keypoint_res50_fpn", "cascade_mask_keypoint_res50_fpn"),
    *("cascade_mask_res50", "cascade_mask_res50_fpn", "cascade_keypoint_res50_fpn"),
]
HEADS = ("cascade", "mask", "keypoint")
KINDS = (
    *("cascade_mask", "mask_c4", "mask_fpn"),
    *("fpn", "dc5", "retina", "cascade", "mask", "keypoint"),
)
DATA_SETS = (*WORDS, "my_own_cells")
FILES = sorted(RECIPES.glob("*.yml"))


def stem(path):
    return path.stem


def nets_of(path):
    """The nets that a recipe is for, by its name: <net>, <data set>_<net>, or all."""
    for net in sorted(NETS, key=len, reverse=True):
        if path.stem == net or path.stem.endswith(f"_{net}"):
            return [net]
    for kind in KINDS:
        if path.stem == kind or path.stem.endswith(f"_{kind}"):
            return [net for net in NETS if is_of(net, kind)]
    return list(NET_NAMES)


def is_of(net, kind):
    """Whether recipes of a kind such as fpn, cascade_mask or mask_c4 are for a net."""
    parts = net.split("_")
    one_map = not {"fpn", "dc5"} & {*parts}
    return all(one_map if word == "c4" else word in parts for word in kind.split("_"))


def header_of(path):
    """The comment that a recipe opens with, without its signs."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    return "\n".join(line.removeprefix("#").strip() for line in comment)


def named(path):
    """How --cfg names a recipe."""
    return (f"experiments/cfgs/{path.name}", f"{path.stem} ")


BUILT_FROM = {
    *("net", "anchors", "boxes", "rpn", "pooling", "head", "mask", "keypoint", "dense")
}
_built = set()
_build_backbone = functools.cache(build_backbone)
_read_recipe = functools.cache(loading._read_recipe)


@pytest.fixture
def parts_once(monkeypatch):
    """Build each backbone and read each recipe once, on which nearly all time goes."""
    monkeypatch.setattr(build, "build_backbone", _build_backbone)
    monkeypatch.setattr(loading, "_read_recipe", lambda p: deepcopy(_read_recipe(p)))


def check_builds(config):
    """Assert that the detector fits together, as far as shapes tell."""
    built_from = config.model_dump_json(include=BUILT_FROM)
    if built_from in _built:  # by another recipe, of another schedule
        return
    _built.add(built_from)
    with shape_only():
        model = build_detector(config, 21)
    backbone, strides = model.backbone, model.strides
    channels = (model.pyramid or backbone).channels
    channels = channels if isinstance(channels, int) else channels[0]
    scales = config.anchors.level_scales(strides)[0]
    anchors = len(scales) * len(config.anchors.ratios)
    if config.net.detector == "retinanet":
        proposer = model.dense_head
        maps = [torch.empty(1, channels, 1, 2, device="meta") for _ in strides]
        output = proposer(FeatureMaps(maps, None))
        rows = 2 * len(strides) * anchors
        assert output.class_logits.shape == (1, rows, 21)
        assert output.pred_deltas.shape == (1, rows, 4)
    else:
        proposer = model.rpn
        kinds = config.net.detector.split("_")
        cascade = "cascade" in kinds
        heads = (f"{kind}_head" for kind in HEADS[1:] if kind in kinds)
        assert model.head_names == ("box_head", *heads)
        stages = model.box_head.box_heads if cascade else [model.box_head]
        assert len(stages) == (3 if cascade else 1)
        size = config.pooling.size
        pooled = torch.empty(2, channels, size, size, device="meta")
        for stage in stages:
            logits, deltas = stage.predictor(stage.regions.vectors(pooled))
            assert logits.shape == (2, 21)
            assert deltas.shape == (2, 1 if cascade else 21, 4)
    assert proposer.grid.base.shape == (len(strides), anchors, 4)
    check_exports(config, strides)
    assert any(parameter.requires_grad for parameter in backbone.parameters())


def check_exports(config, strides):
    """Assert that an export of free size finds whole maps of more than one cell."""
    multiple = input_multiple(config.data.size_multiple, strides)
    assert multiple % config.data.size_multiple == 0
    for stride in strides:
        assert multiple % stride == 0 and Shape(multiple=multiple).least >= 2 * stride
    assert config.test.suppression == "nms"  # the only one that ONNX has


def test_there_are_recipes():
    assert (REPOSITORY / "experiments" / "cfgs").samefile(RECIPES)
    assert {*WORDS, "own_data"} <= {path.stem for path in FILES}
    assert not list(RECIPES.glob("*.yaml"))  # which nothing would find


def test_nets_by_name():
    assert nets_of(RECIPES / "mobile.yml") == ["mobile"]
    assert nets_of(RECIPES / "cells_mobile_v2.yml") == ["mobile_v2"]
    assert nets_of(RECIPES / "voc.yml") == list(NET_NAMES)


@pytest.mark.slow
@pytest.mark.usefixtures("parts_once")
@pytest.mark.parametrize("path", FILES, ids=stem)
@torch.no_grad()
def test_recipe_builds(path):
    nets = nets_of(path)
    if nets == list(NET_NAMES):
        nets = NETS
    for net in nets:
        dataset = path.stem.removesuffix(net)
        for kind in KINDS:
            dataset = dataset.removesuffix(kind)
        dataset = dataset.rstrip("_") or "voc"
        recipes = find_recipes(dataset, net)
        if any(f"--cfg {name}" in header_of(path) for name in named(path)):
            if f" {net} " not in header_of(path):
                continue  # it is for some nets only
            data = "path/to/folder" if "path/to/" in header_of(path) else "coco"
            recipes = [*find_recipes(data, net), path]
        assert path in recipes
        word = "my_own_cells" if dataset == "own_data" else dataset
        if word in DATA_SETS and recipes == find_recipes(word, net):
            continue  # test_every_net_builds_on_every_data_set
        check_builds(load_config(recipes, net_settings(net)))


DEEP = ("101", "152", "cascade_", "mask_mob", "mask_res3", "mask_v", "keypoint_")
"""Parts of the names of nets whose building takes long."""


@pytest.mark.usefixtures("parts_once")
@pytest.mark.parametrize(
    "net",
    [
        pytest.param(net, marks=[pytest.mark.slow] * any(part in net for part in DEEP))
        for net in NETS
    ],
)
@torch.no_grad()
def test_every_net_builds_on_every_data_set(net):
    for dataset in DATA_SETS:
        check_builds(load_config(find_recipes(dataset, net), net_settings(net)))


@pytest.mark.parametrize("path", FILES, ids=stem)
def test_no_key_twice(path):
    """YAML silently takes the last of two equal keys."""
    node = yaml.compose(path.read_text(encoding="utf-8"))
    for mapping in (node, *(value for _, value in node.value)):
        keys = [key.value for key, _ in mapping.value]
        assert len(keys) == len(set(keys)), keys


@pytest.mark.parametrize("path", FILES, ids=stem)
def test_recipe_opens_with_a_header(path):
    header = header_of(path)
    assert header, f"{path.name}: expected a comment on top"
    assert SCRIPTS in header, f"{path.name}: expected its command in the header"
    said = ("mAP", "AP", "measured", "Results")
    assert any(word in header for word in said), f"{path.name}: expected its result"


@pytest.mark.parametrize("path", FILES, ids=stem)
def test_command_in_the_header_uses_the_recipe(path):
    for line in header_of(path).replace("\\\n", " ").splitlines():
        _, script, rest = line.partition(SCRIPTS)
        for words in script_commands(script + rest):
            check_command(words)
            dataset, net = words[1], words[2]
            used = any(f"--cfg {name}" in line for name in named(path))
            assert used or path in find_recipes(dataset, net)


@pytest.mark.parametrize("net", ["vgg16", "res50", "mobile"])
def test_nets_learn_and_decay_as_in_the_published_port(shared, net):
    golden = json.loads((shared / f"golden/state_dict_{net}.json").read_text())
    want = [
        (entry["lr"], entry["weight_decay"], entry["shape"])
        for entry in golden["state_dict"]
        if entry.get("trainable")
    ]
    config = load_config(find_recipes("voc", net), ["net.name", net])
    with torch.device("meta"):
        model = build_detector(config, golden["num_classes"]).to_empty(device="cpu")
    found = [
        (config.train.lr * group["lr_factor"], group["weight_decay"], list(p.shape))
        for group in build_optimizer(model, config.train).param_groups
        for p in group["params"]
    ]
    assert sorted(found) == sorted(want)
