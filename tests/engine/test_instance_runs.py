"""Training heads of masks and keypoints: data, losses, resume, passes, processes."""

import dataclasses

import pytest
import torch
from drawn_instances import with_instances
from equality import assert_equal
from faster_rcnn.datasets.wanted_instances import with_keypoints_of
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.engine.training_batches import stream_batches
from faster_rcnn.layer_utils.structures import Bitmaps, Polygons
from faster_rcnn.utils.distributed import collectives
from faster_rcnn.weights.checkpoint import load_checkpoint
from many_processes import in_processes
from tiny_runs import draw_dataset, read_metrics, tiny_config, train_tiny

HEADS = (
    *("net.features", "fpn", "net.fpn_channels", 16, "head.fc_channels", 32),
    *("mask.enabled", "true", "mask.channels", 8, "mask.convs", 1),
    *("keypoint.enabled", "true", "keypoint.channels", 8, "keypoint.convs", 1),
    *("keypoint.count", 2, "rpn.border", -1, "anchors.scales", "[2]"),
    *("head.fg_fraction", 0.5, "net.norm", "frozen"),
)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return with_instances(draw_dataset(tmp_path_factory.mktemp("images"), 6))


def test_masks_and_keypoints_come_with_the_batches(full):
    for targets, kind in (("polygon", Polygons), ("soft", Bitmaps)):
        config = tiny_config(*HEADS, "mask.targets", targets)
        truth = next(stream_batches(full, config)).ground_truth
        assert isinstance(truth.masks, kind)
        labelled = truth.keypoints[..., 2] > 0
        assert torch.equal(labelled.any(2), truth.valid)
        points, boxes = truth.keypoints[truth.valid], truth.boxes[truth.valid]
        assert (points[:, 0, 0] < points[:, 1, 0]).all()  # also where mirrored
        assert (points[..., 0] >= boxes[:, :1]).all()
    plain = next(stream_batches(full, tiny_config())).ground_truth
    assert plain.masks is plain.keypoints is None


def test_data_without_masks_or_keypoints_is_refused(full):
    bare = dataclasses.replace(full, has_masks=False, keypoints=None)
    config = tiny_config(*HEADS)
    with pytest.raises(ValueError, match=r"mask\.enabled: .* boxes alone in tiny"):
        stream_batches(bare, config)
    with pytest.raises(ValueError, match=r"keypoint\.enabled: .* none in tiny"):
        stream_batches(dataclasses.replace(full, keypoints=None), config)
    other = tiny_config(*HEADS, "keypoint.count", 17)
    message = r"expected 17 keypoints, found 2 in tiny: left, right; set keypoint\.coun"
    with pytest.raises(ValueError, match=message):
        stream_batches(full, other)
    assert with_keypoints_of(full, other, {"keypoint.count"}).keypoint.count == 17
    assert with_keypoints_of(full, other, ()).keypoint.count == 2


@pytest.mark.slow
def test_losses_are_logged_and_a_run_resumes_to_the_bit(full, tmp_path):
    words = ("train.snapshot_every", 2, "train.validate_every", 2, "train.ema", 0.5)
    config = tiny_config(*HEADS, *words, "data.val_set", "tiny", "data.mosaic", 0.5)
    ends = []
    for folder, stops in ((tmp_path / "whole", (4,)), (tmp_path / "parts", (2, 4))):
        for stop in stops:
            part = {"iterations": stop}
            train = config.train.model_copy(update=part)
            run = config.model_copy(update={"train": train})
            if stop == 4 and folder.exists():
                RunFolder(folder).config_file.write_text(run.to_yaml())
            train_tiny(full, run, folder, validation_set=full)
        ends.append(load_checkpoint(RunFolder(folder).checkpoint(4)))
    for key in ("model", "optimizer"):
        assert_equal(ends[0][key], ends[1][key])
    lines = read_metrics(tmp_path / "whole")
    assert all(line["mask"] > 0 < line["keypoint"] for line in lines[:2])
    assert any("val/mask" in line and "val/keypoint" in line for line in lines)


def train_here(dataset, config, folder):
    train_tiny(dataset, config, folder)
    return collectives.process_rank().processes


@pytest.mark.processes
def test_two_processes_train_as_one(full, tmp_path):
    """Each process has other numbers of foreground RoIs and of keypoints."""
    words = ("train.batch_size", 1, "train.images_per_update", 2, "train.iterations", 2)
    config = tiny_config(*HEADS, *words)
    train_tiny(full, config, tmp_path / "one")
    assert in_processes(train_here, full, config, tmp_path / "two") == [2, 2]
    pairs = zip(*(read_metrics(tmp_path / n) for n in ("one", "two")), strict=True)
    for one, two in pairs:
        assert one == pytest.approx(two, rel=2e-4, abs=1e-6)
        assert one["mask"] > 0 < one["keypoint"]
