"""The timing beside torchvision's detector, on tiny networks."""

import pytest
import torch
import torchvision_speed as speed
from faster_rcnn.model.command_line import Job
from tiny_runs import CPU, tiny_config
from torchvision_peer import CONVENTION, TRAINING

PYRAMID = ("net.features", "fpn", "net.fpn_channels", 32, "head.fc_channels", 64)
SIZE = (64, 128)


def job(*overrides) -> Job:
    settings = ("net.norm", "frozen", *overrides, *CONVENTION, *TRAINING)
    return Job("tiny", tiny_config(*settings), [], "default", CPU, torch.float32)


@pytest.mark.parametrize("kind", [(), PYRAMID], ids=["c4", "fpn"])
def test_all_do_the_same_work(kind):
    tiny = job(*kind)
    ours, peers = speed.prepare(tiny, 4)
    batch = speed.drawn_batch(2, SIZE, 4)
    counts = {
        name: float(sum((x >= 0.05).sum() for x in call()))
        for name, call in peers_scores(ours, peers, batch, tiny.config).items()
    }
    assert min(counts.values()) > 10
    assert max(counts.values()) < 1.2 * min(counts.values())
    steps = speed.training_steps(ours, peers, batch, tiny.config)
    losses = {name: float(call()[0]) for name, call in steps.items()}
    assert max(losses.values()) < 1.2 * min(losses.values())


def peers_scores(ours, peers, batch, config):
    calls = speed.inferences(ours, peers, batch, config)
    first = calls[speed.OURS]
    return calls | {speed.OURS: lambda: (first().scores,)}


def test_a_step_leaves_the_weights():
    """So that every one meets the same proposals."""
    tiny = job(*PYRAMID)
    ours, peers = speed.prepare(tiny, 4)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    batch = speed.drawn_batch(1, SIZE, 4)
    speed.training_steps(ours, peers, batch, tiny.config)[speed.OURS]()
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_table():
    text = speed.compare(
        job(*PYRAMID), sizes=[SIZE], batch_sizes=[1], repeats=1, limit=0.0, classes=4
    )
    header, _, *rows = text.splitlines()
    assert all(name in header for name in (speed.OURS, *speed.RIVALS))
    assert [row.split("|")[1].strip() for row in rows] == [
        "training step, 1 x 64x128",
        "inference, 1 x 64x128",
    ]


def test_drawn_objects_lie_in_the_pictures():
    batch = speed.drawn_batch(2, (200, 300), 4)
    assert batch.images.pixels.shape == (2, 3, 200, 300)
    boxes = batch.ground_truth.boxes
    assert (
        boxes.min() >= 0 and boxes[..., 2].max() <= 300 and boxes[..., 3].max() <= 200
    )
    assert (boxes[..., 2:] > boxes[..., :2]).all()


def test_arguments_parse():
    parsed = speed.build_parser().parse_args(["x", "mobile_v2_fpn", "--sizes", "8x16"])
    assert parsed.sizes == [(8, 16)] and parsed.batch_sizes == [1, 2]
