"""A step's operators never make the host wait for a value."""

import pytest
import torch
from faster_rcnn.datasets.loading.batches import collate
from faster_rcnn.engine.batch_gradient import BatchGradient
from faster_rcnn.engine.ema import WeightAverage
from faster_rcnn.engine.schedule import share_passes
from faster_rcnn.engine.solver import build_optimizer
from faster_rcnn.inference.postprocess import detect_batch
from faster_rcnn.layer_utils.structures import GroundTruth, Images
from loader_words import sample_of
from pairwise import pairwise
from tiny_runs import (
    CPU,
    RETINANET,
    ground_truth,
    random_images,
    tiny_config,
    tiny_detector,
)
from torch.utils._python_dispatch import TorchDispatchMode

NETS = {
    "c4": ("net.name", "res18"),
    "c4 with batch norms": ("net.name", "res18", "net.norm", "batch"),
    "fpn": ("net.name", "res18", "net.features", "fpn", "anchors.scales", "[4]"),
    "depthwise": ("net.name", "mobile_v2"),
    "retinanet": RETINANET,
    "crop": ("net.name", "res18", "pooling.mode", "crop", "pooling.max_pool", True),
}
READS = (
    *("_local_scalar_dense", "item", "is_nonzero", "equal", "allclose"),
    *("nonzero", "masked_select", "_unique2", "unique_dim", "bincount", "histc"),
)
"""Operators that give a number to the host, or whose shape depends on values."""


class NoReads(TorchDispatchMode):
    """Refuses such operators; what our own kernels do inside is theirs."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        by_values = name.startswith("index") and any(
            x is not None and x.dtype in (torch.bool, torch.uint8)
            for x in (args[1] if isinstance(args[1], list | tuple) else ())
        )
        counted = name == "repeat_interleave" and "Tensor" in function._overloadname
        assert name not in READS and not by_values and not counted, function
        return function(*args, **(kwargs or {}))


def test_reads_are_noticed():
    values = torch.tensor([1.0, 2.0])
    for read in (
        lambda: values[0].item(),
        lambda: values[values > 1],
        lambda: bool((values > 1).any()),
        lambda: torch.where(values > 1),
        lambda: values.repeat_interleave(torch.tensor([1, 2])),
    ):
        with pytest.raises(AssertionError, match="aten"), NoReads():
            read()
    with NoReads():
        values[torch.tensor([1])] += 1


@pytest.fixture
def batch(dataset):
    samples = [
        sample_of(record, short_side=48, long_side=96, offset=0)
        for record in dataset.records[:2]
    ]
    return collate(samples, size_multiple=16)


@pytest.mark.slow
@pairwise(
    {
        "optimizer": ["sgd", "adamw"],
        "net": NETS,
        "dtype": [torch.float32, torch.bfloat16],
    }
)
def test_update(batch, net, dtype, optimizer):
    words = ("train.optimizer", optimizer, "train.clip_norm", 10)
    config = tiny_config(*NETS[net], *words)
    model = tiny_detector(config).train()
    passes = share_passes(config.train, rank=0, processes=1)
    generator = torch.Generator().manual_seed(0)
    gradient = BatchGradient(model, config, passes, generator, device=CPU, dtype=dtype)
    steps = build_optimizer(model, config.train)
    average = WeightAverage(model, 0.9)
    gradient(0, [batch])  # kernels check themselves before their first use
    steps.step()
    before = [parameter.clone() for parameter in model.parameters()]
    with NoReads():
        update = gradient(1, [batch])
        steps.step()
        average.update()
    parts = ("dense",) if net == "retinanet" else ("rpn", "head")
    names = {f"{part}_{kind}" for part in parts for kind in ("cls", "box")}
    assert set(update.output.losses) == names
    after = model.parameters()
    assert any(not torch.equal(a, b) for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("net", NETS)
@torch.no_grad()
def test_detection(batch, net):
    config = tiny_config(*NETS[net])
    model = tiny_detector(config).eval()

    def detect():
        return detect_batch(
            model, batch, boxes=config.boxes, test=config.test, dtype=torch.float32
        )

    detect()
    with NoReads():
        found = detect()
    assert found.boxes.shape[0] == 2


class Losses(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixels, sizes, *truth):
        return self.model(Images(pixels, sizes, True), GroundTruth(*truth)).losses


@pytest.mark.slow
@pytest.mark.parametrize("net", ["c4", "fpn"])
def test_training_forward_exports(net):
    model = tiny_detector(tiny_config(*NETS[net])).train()
    images = random_images((64, 80), (50, 64))
    truth = ground_truth([(1, 4, 5, 40, 50)], [])
    arguments = images.pixels, images.sizes, *truth
    program = torch.export.export(Losses(model), arguments)
    torch.manual_seed(3)
    want = model(images, truth).losses
    torch.manual_seed(3)
    got = program.module()(*arguments)
    torch.testing.assert_close(got, want)
