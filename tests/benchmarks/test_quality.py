"""The comparison with torchvision's detector, on a few drawn images."""

import dataclasses

import numpy as np
import pytest
import quality
import torch
from drawn_instances import with_instances
from faster_rcnn.cli.command_line import Job
from faster_rcnn.engine.solver import build_optimizer
from faster_rcnn.evaluation.image_detections import ImageDetections
from faster_rcnn.evaluation.scoring import evaluate
from tiny_runs import CPU, RETINANET, draw_dataset, tiny_config, tiny_detector
from torchvision.ops import roi_align
from torchvision_data import detections_of, inputs, targets
from torchvision_peer import as_ours, build_peer

pytestmark = pytest.mark.slow

PYRAMID = ("net.features", "fpn", "net.fpn_channels", 32, "head.fc_channels", 64)
DENSE = (*RETINANET, "net.name", "mobile_v2", "dense.norm", "group")
MASK = (*PYRAMID, "mask.enabled", "true", "mask.channels", 8, "mask.convs", 1)
KEYPOINT = (
    *(*PYRAMID, "keypoint.enabled", "true", "keypoint.count", 2),
    *("keypoint.channels", 8, "keypoint.convs", 1),
)
KINDS = pytest.mark.parametrize(
    "kind",
    [(), PYRAMID, DENSE, MASK, KEYPOINT],
    ids=["c4", "fpn", "retina", "mask", "keypoint"],
)
FIXED = tuple(
    f"backbone.{body}.{block}." for body in ("features", "body") for block in range(5)
)
SETTINGS = ("net.norm", "frozen", "train.iterations", 2, "test.score_threshold", 0)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return with_instances(draw_dataset(tmp_path_factory.mktemp("drawn"), 5))


def job(*overrides) -> Job:
    config = tiny_config(*SETTINGS, *overrides)
    return Job("tiny", config, [], "default", CPU, torch.float32)


@KINDS
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("system", quality.SYSTEMS)
def test_each_system_trains_and_detects(drawn, system, precision, kind):
    run = quality.SYSTEMS[system]
    found = run(drawn, drawn, job(*kind).config, CPU, precision)
    assert {entry.image_id for entry in found} == {r.image_id for r in drawn.records}
    for entry in found:
        assert len(entry.scores) > 0
        assert (np.diff(entry.scores) <= 0).all()
        assert entry.boxes.min() >= 0
        assert (entry.boxes.max(0) <= (80, 64, 80, 64)).all()
        count = len(entry.scores)
        assert (entry.masks is not None) == (kind == MASK)
        assert kind != MASK or {m.size for m in entry.masks} == {(64, 80)}
        assert (entry.keypoints is not None) == (kind == KEYPOINT)
        assert kind != KEYPOINT or entry.keypoints.shape == (count, 2, 3)


@KINDS
def test_training_moves_all_but_the_fixed_blocks(drawn, kind):
    config = job(*kind).config
    peer = build_peer(config, 3)
    before = {name: value.clone() for name, value in peer.named_parameters()}
    quality.train_peer(peer, drawn, config, device=CPU, dtype=torch.float32)
    moved = {n for n, value in peer.named_parameters() if not value.equal(before[n])}
    fixed = {n for n in before if n.startswith(FIXED)}
    assert len(fixed) > 10
    # A bias of the box head may have gradient zero in two updates.
    assert not moved & fixed and len(moved) > 0.9 * (len(before) - len(fixed))


@KINDS
def test_decay_is_that_of_our_detector(kind):
    settings = ("train.backbone_decay", 0.02, "train.depthwise_decay", "false")
    config = tiny_config(*SETTINGS, *settings, "net.fixed_blocks", 0, *kind)
    ours = build_optimizer(tiny_detector(config), config.train)
    theirs = build_optimizer(as_ours(build_peer(config, 3)), config.train)

    def decayed(optimizer):
        return {
            group["weight_decay"]: sum(p.numel() for p in group["params"])
            for group in optimizer.param_groups
        }

    # The RPN has one score for each of 6 anchors here where ours has two.
    scores = 0 if kind == DENSE else 6
    got, want = decayed(theirs), decayed(ours)
    decay = config.train.weight_decay
    assert got == want | {
        decay: want[decay] - scores * config.rpn.channels,
        0.0: want[0.0] - scores,
    }
    assert len(got) == 3


def test_inputs_and_targets_are_those_of_each_image(drawn):
    batch = next(quality.training(drawn, job().config))
    images = inputs(batch, CPU)
    mean = torch.tensor([123.675, 116.28, 103.53])
    for i, (image, target) in enumerate(zip(images, targets(batch, CPU), strict=True)):
        height, width = batch.images.sizes[i].tolist()
        assert image.shape == (3, height, width)
        want = (batch.images.pixels[i, :, 5, 7] - mean) / torch.tensor(
            [58.395, 57.12, 57.375]
        )
        torch.testing.assert_close(image[:, 5, 7], want)
        count = int(batch.ground_truth.valid[i].sum())
        assert 2 <= count == len(target["boxes"]) == len(target["labels"])
        assert target["labels"].min() >= 1


@pytest.mark.parametrize("kind", [MASK, KEYPOINT], ids=["mask", "keypoint"])
def test_targets_given_back_as_detections_are_the_objects(drawn, kind):
    # An image twice as large, so that the scale of the detections counts.
    large = ("data.short_sides", "[128]", "data.long_side", 192, "data.flip", "false")
    batch = next(quality.training(drawn, job(*kind, *large).config))
    found = []
    for i, target in enumerate(targets(batch, CPU)):
        perfect = {**target, "scores": torch.ones(len(target["boxes"]))}
        if kind == MASK:
            # The mask in its box, as torchvision's head predicts it.
            boxes = target["boxes"]
            rois = torch.cat((torch.arange(len(boxes))[:, None], boxes), 1)
            crops = roi_align(target["masks"][:, None].float(), rois, 28)
            perfect["masks"] = crops
        else:
            perfect["keypoints_scores"] = torch.ones(target["keypoints"].shape[:2])
        found.append(detections_of(perfect, batch, i))
    shown = {entry.image_id for entry in found}
    records = [record for record in drawn.records if record.image_id in shown]
    assert len(records) == 2
    part = dataclasses.replace(drawn, records=tuple(records))
    task = "segm" if kind == MASK else "keypoints"
    result = evaluate(part, found, tasks=[task], rules=["coco"]).totals
    assert result[f"{task}/AP"] > (0.9 if kind == MASK else 0.99)


def test_finished_runs_are_left_out(drawn, tmp_path, monkeypatch):
    calls = []

    def perfect(train_set, test_set, config, device, dtype):
        calls.append(config.train.seed)
        return [
            ImageDetections(
                record.image_id,
                record.boxes,
                np.ones(len(record.boxes), np.float32),
                record.classes,
            )
            for record in test_set.records
        ]

    monkeypatch.setattr(quality, "SYSTEMS", {"ours": perfect, "torchvision": perfect})
    file = tmp_path / "quality.json"

    def compare(*seeds):
        return quality.compare(
            job(),
            drawn,
            drawn,
            seeds=seeds,
            systems=["ours", "torchvision"],
            file=file,
        )

    assert len(compare(1)) == 2
    results = compare(1, 2)
    assert calls == [1, 1, 2, 2] and len(results) == 4
    assert {result["mAP_07"] for result in results} == {1.0}
    text = quality.summary(results)
    assert text.count("mAP_07 1.0000 +- 0.0000") == 2
    assert "(seeds 1 2: 1.0000 1.0000)" in text


def test_arguments_parse():
    options = ["--seeds", "1", "2", "--set", "train.lr", "0.1"]
    parsed = quality.build_parser().parse_args(["folder", "mobile_v2", *options])
    assert parsed.seeds == [1, 2] and parsed.overrides == ["train.lr", "0.1"]
