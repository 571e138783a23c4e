import os
import re
from pathlib import Path

import pytest
from faster_rcnn.config.loading import (
    ConfigError,
    config_from_checkpoint,
    differences,
    load_config,
)
from faster_rcnn.config.settings import Config


@pytest.fixture
def recipe(tmp_path):
    """Writes a recipe and returns its path."""

    def write(text, name="recipe.yml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(recipes=(), overrides=()):
    with pytest.raises(ConfigError) as caught:
        load_config(recipes, overrides)
    return str(caught.value)


def test_defaults_are_those_of_the_family():
    config = load_config()
    assert config == Config()
    train, rpn, head, data = config.train, config.rpn, config.head, config.data
    assert (train.lr, train.gamma, train.momentum, train.seed) == (0.001, 0.1, 0.9, 3)
    assert (train.iterations, train.lr_steps) == (70000, (50000,))
    assert (train.batch_size, train.warmup_iterations) == (1, 0)
    assert (train.weight_decay, train.bias_decay, train.clip_norm) == (1e-4, False, 0)
    assert (train.snapshot_every, train.snapshots_kept) == (5000, 3)
    assert (data.short_sides, data.long_side, data.flip) == ((600,), 1000, True)
    assert (data.test_short_side, data.test_long_side) == (600, 1000)
    assert (rpn.batch_size, rpn.fg_fraction, rpn.sigma) == (256, 0.5, 3)
    assert (rpn.positive_overlap, rpn.negative_overlap, rpn.border) == (0.7, 0.3, 0)
    assert (rpn.train_pre_nms, rpn.train_post_nms) == (12000, 2000)
    assert (rpn.test_pre_nms, rpn.test_post_nms, rpn.nms_threshold) == (6000, 300, 0.7)
    assert (head.rois_per_image, head.fg_fraction, head.sigma) == (256, 0.25, 1)
    assert (head.bg_overlap_low, head.bg_overlap_high) == (0, 0.5)
    assert config.anchors.scales == (8, 16, 32)
    assert config.anchors.ratios == (0.5, 1, 2)
    assert config.boxes.delta_std == (0.1, 0.1, 0.2, 0.2)
    assert (config.test.nms_threshold, config.test.detections_per_image) == (0.3, 100)


def test_recipes_apply_in_order_and_overrides_last(recipe):
    one = recipe("train: {lr: 0.1, seed: 7, momentum: 0.5}\n", "one.yml")
    two = recipe("train: {lr: 0.2, momentum: 0.6}\nnet: {name: vgg16}\n", "two.yml")
    config = load_config([one, two], ["train.momentum", "0.7"])
    assert (config.train.seed, config.train.lr, config.train.momentum) == (7, 0.2, 0.7)
    assert config.net.name == "vgg16"
    assert load_config([two, one]).train.lr == 0.1


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "train: {}\n"])
def test_empty_recipe_changes_nothing(recipe, text):
    assert load_config([recipe(text)]) == Config()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("trian: {lr: 1}\n", "unknown section 'trian'; did you mean train?"),
        ("train: {ls: 1}\n", "unknown key train.ls; did you mean train.lr?"),
        ("rpn: {nms_treshold: 1}\n", "did you mean rpn.nms_threshold?"),
        ("zzz: {lr: 1}\n", "unknown section 'zzz'; known are net, anchors, boxes,"),
        ("boxes: {q: 1}\n", "known are boxes.offset, boxes.nms_offset,"),
        ("1: {lr: 1}\n", "unknown section 1"),
        ("null: {lr: 1}\n", "unknown section None"),
        ("train: {1: 2}\n", "unknown key train.1"),
        ("train: 3\n", "section 'train' must hold keys, found 3"),
        ("train:\n", "section 'train' must hold keys, found None"),
        ("- train\n", "expected sections with keys, found list"),
        ("train\n", "expected sections with keys, found str"),
        ("train: {lr: fast}\n", "train.lr: .*number.*found 'fast'"),
        ("train: {lr: [1]}\n", r"train.lr: .*found \[1\]"),
        ("train: {lr: -1}\n", "train.lr: .*greater than 0, found -1"),
        ("train: {lr: .inf}\n", "train.lr: .*finite"),
        ("rpn: {border: .nan}\n", "rpn.border: .*finite"),
        ("train: {iterations: 1.5}\n", "train.iterations: .*found 1.5"),
        ("train: {iterations: true}\n", "train.iterations: expected no .*found True"),
        ("boxes: {offset: true}\n", "boxes.offset: .*found True"),
        ("boxes: {offset: 2}\n", "boxes.offset: .*0 or 1, found 2"),
        ("boxes: {delta_std: [1, 1, 1]}\n", "boxes.delta_std"),
        ("data: {short_sides: 600}\n", "data.short_sides: .*list, found 600"),
        ("train: {class_weights: {a: 0}}\n", r"train.class_weights\.a: .*found 0"),
        ("data: {scale_jitter: [2, 0.1]}\n", "data: .*smaller factor first"),
        ("data: {hue_jitter: 0.6}\n", "data.hue_jitter: .*found 0.6"),
        ("data: {short_sides: []}\n", "data.short_sides: .*at least 1"),
        ("anchors: {scales: []}\n", "anchors.scales: .*at least 1"),
        ("anchors: {ratios: [0]}\n", "anchors.ratios.0: .*greater than 0, found 0"),
        ("net: {name: res1O1}\n", "net.name: .*'res101'.*found 'res1O1'"),
        ("net: {weights: 5}\n", "net.weights: .*string, found 5"),
        ("train: {lr_steps: [20, 10]}\n", r"lr_steps must rise; found \[20, 10\]"),
        ("train: {lr_steps: [10, 10]}\n", "lr_steps must rise"),
        ("train: {lr: [\n", "not valid YAML(?s:.*)line 2"),
        ("a\tb: [\x00", "not valid YAML"),
        ("train: {lr: 2020-13-45}\n", "not valid YAML: month must be"),
        ("{[1]: 2}\n", "not valid YAML"),
        ("!!python/object/apply:os.abort []\n", "not valid YAML"),
        (
            "train: {lr: 1}\ntrain: {lr: 2}\n",
            "'train' is there twice, in lines 1 and 2",
        ),
        ("train:\n  lr: 1\n  lr: 2\n", "'lr' is there twice, in lines 2 and 3"),
        ("train: {iterations: 0777}\n", "line 1: '0777' is a number of another base"),
        ("train: {iterations: 1:30}\n", "line 1: '1:30' is a number of another base"),
        ("data: {workers: 4096}\n", "data.workers: expected at most 512, found 4096"),
    ],
)
def test_faulty_recipe(recipe, text, problem):
    path = recipe(text)
    message = refusal([path])
    assert str(path) in message
    assert re.search(problem, message), message


def test_error_names_the_faulty_recipe_of_several(recipe):
    good, bad = recipe("train: {lr: 1}", "good.yml"), recipe("rpn: {sigma: x}")
    message = refusal([good, bad])
    assert str(bad) in message and "good.yml" not in message


def test_unreadable_recipe(tmp_path):
    missing = tmp_path / "missing.yml"
    message = refusal([missing])
    assert str(missing) in message and "experiments/cfgs" in message
    assert str(tmp_path) in refusal([tmp_path])  # a folder
    missing.write_bytes(b"\xff\xfe\xfa")
    assert "not valid YAML" in refusal([missing])
    assert "expected a regular file" in refusal([Path(os.devnull)])


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("train.lr", "1e-3", 0.001),
        ("train.lr", "2", 2.0),
        ("train.iterations", "7e4", 70000),
        ("train.lr_steps", "[10, 20]", (10, 20)),
        ("train.lr_steps", "[]", ()),
        ("anchors.scales", "[1e0,2,4.5]", (1.0, 2.0, 4.5)),
        ("TRAIN.Momentum", "0.5", 0.5),
        ("data.flip", "false", False),
        ("net.fixed_blocks", "null", None),
        ("net.fixed_blocks", "2", 2),
        ("rpn.border", "-1", -1.0),
        ("net.weights", "none", "none"),
        # Paths are text, whatever YAML would take them for.
        ("net.weights", "1e5", "1e5"),
        ("data.train_set", "2007", "2007"),
        ("data.train_set", "cells: new #2", "cells: new #2"),
        ("data.test_set", "yes", "yes"),
    ],
)
def test_overrides(key, text, value):
    section, name = key.lower().split(".")
    found = getattr(getattr(load_config([], [key, text]), section), name)
    assert found == value and type(found) is type(value)


def test_folder_with_a_number_for_a_name():
    assert load_config([], ["data.root", "2007"]).data.root.name == "2007"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["train.lr"], "'train.lr' has no value"),
        (["train.lr", "1", "rpn.sigma"], "'rpn.sigma' has no value"),
        (["lr", "1"], "--set lr: expected SECTION.KEY"),
        (["trian.lr", "1"], "--set: unknown section 'trian'; did you mean train?"),
        (["train.ls", "1"], "--set: unknown key train.ls; did you mean train.lr?"),
        (["train.", "1"], "--set: unknown key train."),
        ([".lr", "1"], "--set: unknown section ''"),
        (["train.lr", "fast"], "--set: train.lr: .*found 'fast'"),
        (["train.lr", "nan"], "--set: train.lr: "),
        (["train.iterations", "0777"], "'0777' is a number of another base"),
        (["train.iterations", "1:30"], "'1:30' is a number of another base"),
        (["train.lr", "["], r"--set train.lr '\[' is not a YAML value"),
        (["train.lr", "2020-13-45"], "--set train.lr '2020-13-45' is not a YAML value"),
        (["train.iterations", "0"], "--set: train.iterations: .*found 0"),
        (["train.iterations", "yes"], "--set: train.iterations: .*found True"),
        (["train.lr.x", "1"], "--set: unknown key train.lr.x"),
    ],
)
def test_faulty_overrides(words, problem):
    message = refusal([], words)
    assert re.search(problem, message), message
    assert "\n" not in message


def test_yaml_round_trip(recipe):
    words = ["train.lr", "1e-5", "net.fixed_blocks", "2", "data.root", "some/where"]
    words += ["anchors.scales", "[2, 0.1]", "boxes.max_log_size", "4.135"]
    for config in (Config(), load_config([], words)):
        assert load_config([recipe(config.to_yaml())]) == config


def test_yaml_lists_every_key_in_order():
    lines = Config().to_yaml().splitlines()
    sections = [line.rstrip(":") for line in lines if re.fullmatch(r"\w+:", line)]
    assert sections == list(Config.model_fields)
    keys = [m[1] for line in lines if (m := re.match(r"  (\w+):", line))]
    assert keys == [
        key for name in sections for key in type(getattr(Config(), name)).model_fields
    ]


def test_config_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Config().train.lr = 1


def test_differences():
    words = ["train.lr", "0.5", "data.short_sides", "[480, 600]"]
    one, two = load_config(), load_config([], words)
    assert differences(one, one) == {}
    assert differences(two, one) == {
        "data.short_sides": ([600], [480, 600]),
        "train.lr": (0.001, 0.5),
    }


def test_place_and_speed_of_the_data_are_no_difference():
    moved = load_config([], ["data.root", "/elsewhere", "data.workers", "0"])
    assert differences(moved, Config()) == {}


def test_config_from_checkpoint():
    stored = load_config([], ["train.lr", "0.5", "net.name", "vgg16"])
    state = {"config": stored.model_dump(mode="json")}
    assert config_from_checkpoint(state, []) == stored
    changed = config_from_checkpoint(state, ["test.nms_threshold", "0.45"])
    assert changed.test.nms_threshold == 0.45
    assert changed.train == stored.train
    assert state["config"]["test"]["nms_threshold"] == 0.3
    with pytest.raises(ConfigError, match=r"--set: unknown key test.nms;"):
        config_from_checkpoint(state, ["test.nms", "1"])
    state["config"]["train"]["gone"] = 1
    with pytest.raises(ConfigError, match=r"checkpoint: unknown key train\.gone"):
        config_from_checkpoint(state, [])


def test_keys_of_earlier_versions(recipe):
    old = recipe("net: {fixed_trunk: true}\n")
    assert load_config([old]).net.fixed_shared
    assert not load_config([old], ["net.fixed_trunk", "false"]).net.fixed_shared
    saved = {"config": {"net": {"fixed_trunk": True}}}
    assert config_from_checkpoint(saved, []).net.fixed_shared
