"""Modules trained alone and in turns: proposals by file, first weights, joining."""

import logging

import numpy as np
import pytest
import torch
from faster_rcnn.datasets.given_proposals import given_proposals
from faster_rcnn.engine.alternating import join_modules
from faster_rcnn.engine.dry_run import dry_run
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.evaluation.proposal_recall import load_proposals
from faster_rcnn.evaluation.results import load_detections
from faster_rcnn.inference.proposal_evaluation import measure_proposals
from faster_rcnn.weights.checkpoint import CheckpointError, load_checkpoint
from faster_rcnn.weights.initial import load_first_weights
from tiny_runs import (
    CLASSES,
    CPU,
    draw_dataset,
    randomise,
    read_metrics,
    run_test,
    tiny_config,
    tiny_detector,
    train_tiny,
)

pytestmark = pytest.mark.slow

FPN = ("net.features", "fpn", "net.fpn_channels", 16, "head.fc_channels", 32)
SHORT = ("train.iterations", 2, "train.snapshot_every", 2)
SHARD = ("train.shard_optimizer", True)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return draw_dataset(tmp_path_factory.mktemp("images"), 4)


def propose(dataset, config, folder, state=None):
    """A test of proposals; gives their file."""
    model = tiny_detector(config)
    if state is None:
        whole = tiny_detector(tiny_config())
        randomise(whole)
        state = {"model": part(whole, config)}
    model.load_state_dict(state["model"])
    run_test(dataset, config, folder, test=measure_proposals, model=model)
    return folder / "proposals.npz"


def newest(folder):
    return RunFolder(folder).newest_checkpoint()


@pytest.fixture(scope="module", params=[(), FPN], ids=["c4", "fpn"])
def steps(request, dataset, tmp_path_factory):
    """The folder of all four steps, and their settings."""
    folder = tmp_path_factory.mktemp("steps")

    def train(name, *words):
        config = tiny_config(*request.param, *SHORT, *SHARD, *words)
        model = tiny_detector(config)
        load_first_weights(model, config, CLASSES)
        torch.save(model.state_dict(), folder / f"{name}_first.pth")
        train_tiny(dataset, config, folder / name, model=model)
        return newest(folder / name)

    rpn = train("1", "net.modules", "rpn")
    given = ("net.modules", "fast_rcnn", "data.proposals")
    words = (*request.param, "net.modules", "rpn")
    file = propose(dataset, tiny_config(*words), folder / "a", load_checkpoint(rpn))
    fast = train("2", *given, file)
    fixed = ("net.weights", fast, "net.fixed_shared", "true")
    rpn = train("3", "net.modules", "rpn", *fixed)
    file = propose(dataset, tiny_config(*words), folder / "b", load_checkpoint(rpn))
    train("4", *given, file, *fixed)
    return folder


def test_each_step_trains_its_own_losses(steps):
    for name, losses in (
        ("1", {"rpn_cls", "rpn_box"}),
        ("2", {"head_cls", "head_box"}),
        ("3", {"rpn_cls", "rpn_box"}),
        ("4", {"head_cls", "head_box"}),
    ):
        found = read_metrics(steps / name)[-1]
        assert losses == {key for key in found if key in ALL_LOSSES}
        assert all(np.isfinite(found[loss]) for loss in losses)


ALL_LOSSES = {"rpn_cls", "rpn_box", "head_cls", "head_box"}


def test_the_backbone_of_step_2_is_kept(steps):
    first, second, third, fourth = (
        load_checkpoint(newest(steps / name))["model"] for name in "1234"
    )
    shared = first.keys() & second.keys()
    assert any(not first[key].equal(second[key]) for key in shared)
    assert all(third[key].equal(second[key]) for key in shared)
    assert all(fourth[key].equal(second[key]) for key in shared)
    # Step 4 goes on from the head of step 2.
    begun = torch.load(steps / "4_first.pth")
    own = second.keys() - shared
    assert own and all(begun[key].equal(second[key]) for key in own)
    assert any(not fourth[key].equal(second[key]) for key in own)


def test_joined_modules_are_a_detector(steps, dataset, tmp_path):
    run = RunFolder(tmp_path / "run")
    path = join_modules(newest(steps / "3"), newest(steps / "4"), run, iteration=8)
    assert path == run.checkpoint(8)
    state = load_checkpoint(path)
    assert state["config"]["net"]["modules"] == "both"
    assert state["config"]["data"]["proposals"] is None
    assert state["config"]["train"]["shard_optimizer"]  # as in its parts
    third, fourth = (load_checkpoint(newest(steps / name))["model"] for name in "34")
    assert state["model"].keys() == third.keys() | fourth.keys()
    for key, tensor in state["model"].items():
        assert tensor.equal((third | fourth)[key])


def test_different_backbones_are_not_joined(steps, tmp_path):
    run = RunFolder(tmp_path / "run")
    with pytest.raises(CheckpointError, match="do not share their backbone"):
        join_modules(newest(steps / "1"), newest(steps / "4"), run, iteration=8)
    with pytest.raises(CheckpointError, match=r"net\.modules rpn, found fast_rcnn"):
        join_modules(newest(steps / "4"), newest(steps / "4"), run, iteration=8)
    assert not run.path.exists()


@pytest.mark.parametrize("offset", [0, 1])
def test_a_file_of_proposals_is_as_good_as_the_network(dataset, tmp_path, offset):
    """The detector's detections, from its own proposals saved and read again."""
    words = ("boxes.offset", offset, "data.test_short_side", 48)
    both = tiny_detector(tiny_config(*words))
    randomise(both)
    config = tiny_config(*words, "net.modules", "rpn")
    path = propose(dataset, config, tmp_path, {"model": part(both, config)})
    given = ("net.modules", "fast_rcnn", "data.test_proposals", path)
    config = tiny_config(*words, *given)
    alone = tiny_detector(config)
    alone.load_state_dict(part(both, config))
    tables = []
    for model, settings in ((both, tiny_config(*words)), (alone, config)):
        folder = tmp_path / str(len(tables))
        run_test(dataset, settings, folder, model=model)
        tables.append(load_detections(folder / "detections.json", dataset))
    for one, other in zip(*tables, strict=True):
        assert len(one.scores) > 10
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-2)


def part(model, config):
    """Weights that a module takes of a detector."""
    keys = tiny_detector(config).state_dict()
    return {key: value for key, value in model.state_dict().items() if key in keys}


def test_limits_are_those_of_the_rpn(dataset, tmp_path):
    path = propose(dataset, tiny_config("net.modules", "rpn"), tmp_path)
    assert len(load_proposals(path, dataset)[0].scores) > 20
    words = ("net.modules", "fast_rcnn", "data.proposals", path)
    words += ("data.val_proposals", path)
    words += ("rpn.train_post_nms", 7, "rpn.test_post_nms", 3)
    config = tiny_config(*words)
    assert given_proposals(dataset, config, "train").most == 7
    assert np.diff(given_proposals(dataset, config, "val").starts).max() == 3
    with pytest.raises(ValueError, match=r"needs data\.test_proposals: a file"):
        given_proposals(dataset, config, "test")
    assert given_proposals(dataset, tiny_config(), "train") is None


@pytest.mark.parametrize("modules", ["rpn", "fast_rcnn"])
def test_validation_and_dry_run(dataset, tmp_path, modules, capsys):
    path = propose(dataset, tiny_config("net.modules", "rpn"), tmp_path)
    words = ("net.modules", modules, "data.proposals", path, "data.val_proposals", path)
    words += ("train.validate_every", 1, "train.picture_every", 1, *SHORT)
    config = tiny_config(*words)
    train_tiny(dataset, config, tmp_path / "run", validation_set=dataset)
    line = read_metrics(tmp_path / "run")[-1]
    stage = modules.removeprefix("fast_").replace("rcnn", "head")
    losses = {k for k in line if k.startswith("val/") and k.endswith(("_cls", "_box"))}
    assert losses == {f"val/{stage}_cls", f"val/{stage}_box"}
    assert ("val/AR@1000" in line) == (modules == "rpn")
    assert RunFolder(tmp_path / "run").best_checkpoint.exists()
    config = tiny_config(*words, "net.name", "res18")  # of few layers to trace
    dry_run(
        tiny_detector(config),
        dataset,
        config,
        device=CPU,
        dtype=torch.float32,
        picture=tmp_path / "a.png",
    )
    out = capsys.readouterr().out
    assert ("RPN" in out) == (modules == "rpn")
    assert ("predictor" in out) == (modules == "fast_rcnn")
    assert "get a finite gradient" in out


def test_first_weights_from_a_whole_detector(dataset, tmp_path, caplog):
    train_tiny(dataset, tiny_config(*SHORT), tmp_path)
    whole = load_checkpoint(newest(tmp_path))["model"]
    caplog.set_level(logging.INFO, "faster_rcnn")
    for modules in ("rpn", "fast_rcnn"):
        words = ("net.weights", newest(tmp_path), "net.modules", modules)
        config = tiny_config(*words)
        model = tiny_detector(config, seed=5)
        load_first_weights(model, config, CLASSES)
        for key, tensor in model.state_dict().items():
            assert tensor.equal(whole[key]), key
        # Other classes: their layers stay random.
        other = tiny_detector(config, classes=5, seed=5)
        load_first_weights(other, config, ("__background__", *"abcd"))
        left = [k for k, v in other.state_dict().items() if not same(v, whole[k])]
        assert all(key.startswith("box_head.predictor.") for key in left)
        assert bool(left) == (modules == "fast_rcnn")
    assert "kept none; new a, b, c, d; dropped box, disc" in caplog.text


def same(one, other):
    return one.shape == other.shape and one.equal(other)


def test_first_weights_of_another_net_are_refused(dataset, tmp_path):
    config = tiny_config("net.modules", "rpn", *SHORT)
    train_tiny(dataset, config, tmp_path)
    words = ("net.modules", "rpn", "net.weights", newest(tmp_path))
    other = tiny_config(*words, "net.name", "res18")
    with pytest.raises(CheckpointError, match=r"net mobile_v2 .* expected res18"):
        load_first_weights(tiny_detector(other), other, CLASSES)


def test_first_weights_of_a_foreign_backbone(tmp_path):
    """Of a classification network a module takes the shared layers, and a head."""
    whole = tiny_detector(tiny_config("net.name", "mobile_v2"), seed=2)
    state = {
        key.removeprefix("backbone."): value
        for key, value in whole.state_dict().items()
        if key.startswith("backbone.")
    }
    state["classifier.1.weight"] = torch.zeros(1000, 1280)
    state["classifier.1.bias"] = torch.zeros(1000)
    torch.save(state, tmp_path / "mobile_v2.pth")
    words = ("net.weights", tmp_path / "mobile_v2.pth", "net.norm", "batch")
    for modules in ("rpn", "fast_rcnn"):
        config = tiny_config(*words, "net.modules", modules)
        model = tiny_detector(config, seed=5)
        load_first_weights(model, config, CLASSES)
        keys = model.shared_keys() - {"pixel_mean", "pixel_std"}
        assert all(model.state_dict()[k].equal(whole.state_dict()[k]) for k in keys)
