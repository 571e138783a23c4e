import gc

import pytest
import torch
from faster_rcnn.engine import costs
from faster_rcnn.engine.costs import (
    count_flops,
    count_parameters,
    estimate_memory,
    largest_size,
)
from faster_rcnn.layer_utils.structures import Images
from tiny_runs import ground_truth, tiny_config, tiny_detector
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    return tiny_detector(tiny_config())


def test_parameters_add_up(model):
    *parts, whole = count_parameters(model)
    assert [part.name for part in parts] == ["backbone", "RPN", "head", "predictor"]
    assert whole.total == sum(p.numel() for p in model.parameters())
    assert whole.total == sum(part.total for part in parts)
    assert whole.trainable == sum(part.trainable for part in parts) == whole.total
    predictor = model.box_head.predictor
    assert parts[3].total == sum(p.numel() for p in predictor.parameters())


def test_frozen_parameters_are_not_trainable():
    model = tiny_detector(tiny_config())
    model.backbone.freeze(2)
    backbone = count_parameters(model)[0]
    assert 0 < backbone.trainable < backbone.total


@pytest.mark.parametrize(
    ("short", "long", "multiple", "size"),
    [
        ("[600]", 1000, 32, (608, 1024)),
        ("[480,800,640]", 1333, 32, (800, 1344)),
        ("[600]", 500, 1, (500, 500)),
    ],
)
def test_largest_size_by_hand(short, long, multiple, size):
    config = tiny_config(
        *("data.short_sides", short, "data.long_side", long),
        *("data.size_multiple", multiple),
    )
    assert largest_size(config.data) == size


@pytest.mark.parametrize("training", [False, True])
def test_flops_are_those_of_a_real_step(model, training):
    """Counted by PyTorch over a step with numbers, its formula for groups mended."""
    model.train(training)
    images = Images(
        torch.zeros(1, 3, 64, 96, dtype=torch.uint8), torch.tensor([[64, 96]]), True
    )
    truth = ground_truth([(1, 5, 5, 40, 40)]) if training else None
    with (
        torch.set_grad_enabled(training),
        FlopCounterMode(display=False, custom_mapping=costs._FORMULAS) as counter,
    ):
        output = model(images, truth)
        if training:
            torch.autograd.backward(sum(output.losses.values()))
    flops = count_flops(model, (64, 96), dtype=torch.float32)
    assert flops[training] == counter.get_total_flops() > 1e6
    assert model.training == training
    model.train()
    model.zero_grad()


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("first", [False, True])
def test_backward_flops_by_hand(groups, first):
    layer = nn.Conv2d(4, 8, 3, padding=1, groups=groups)
    images = torch.zeros(2, 4, 5, 6, requires_grad=not first)
    output = layer(images)
    with FlopCounterMode(display=False, custom_mapping=costs._FORMULAS) as counter:
        torch.autograd.backward(output.sum())
    forward = 2 * output.numel() * 9 * 4 // groups
    assert counter.get_total_flops() == forward * (1 if first else 2)


def test_memory_by_hand(monkeypatch, model):
    """A step of 1000 bytes and 300 for each image, whatever the detector."""
    made = []

    def step(_, count, size, *, dtype):
        assert size == (64, 96) and dtype == torch.bfloat16
        made.append(torch.empty(1000 + 300 * count, dtype=torch.uint8))

    monkeypatch.setattr(costs, "_step", step)
    memory = estimate_memory(model, tiny_config().train, (64, 96), dtype=torch.bfloat16)
    parameters = 4 * sum(p.numel() for p in model.parameters())
    buffers = sum(b.numel() * b.element_size() for b in model.buffers())
    assert memory == (parameters + buffers, parameters, 1000, 300)
    assert memory.total(4) == 2 * parameters + buffers + 2200
    averaged = tiny_config("train.ema", 0.999).train
    memory = estimate_memory(model, averaged, (64, 96), dtype=torch.bfloat16)
    assert memory.weights == 2 * (parameters + buffers)


@pytest.mark.parametrize(
    ("optimizer", "momentum", "states"),
    [("sgd", 0, 0), ("sgd", 0.9, 1), ("adamw", 0, 2)],
)
def test_state_of_the_optimizer(monkeypatch, model, optimizer, momentum, states):
    monkeypatch.setattr(costs, "_step", lambda *_, **__: None)
    config = tiny_config("train.optimizer", optimizer, "train.momentum", momentum)
    memory = estimate_memory(model, config.train, (64, 96), dtype=torch.float32)
    assert memory.optimizer == states * 4 * sum(p.numel() for p in model.parameters())


def test_memory_grows_with_the_image_and_shrinks_with_precision(model):
    train = tiny_config().train
    small, large = (
        estimate_memory(model, train, size, dtype=torch.float32)
        for size in ((64, 96), (192, 288))
    )
    half = estimate_memory(model, train, (192, 288), dtype=torch.bfloat16)
    assert large.weights == small.weights and large.optimizer == small.optimizer
    assert 4 * small.image < large.image < 9 * small.image  # the head's is constant
    assert 0.4 * large.image < half.image < 0.8 * large.image
    assert model.training and all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("head", ["mask", "keypoint"])
def test_other_heads_have_costs_too(head):
    """They need ground truth of their own."""
    net = ("net.name", "res18")  # of few layers, whose count is what takes time
    model = tiny_detector(tiny_config(*net))
    more = tiny_detector(tiny_config(*net, f"{head}.enabled", "true"))
    sizes = {"size": (64, 96), "dtype": torch.float32}
    assert count_flops(more, **sizes).train > count_flops(model, **sizes).train
    train = tiny_config().train
    assert estimate_memory(more, train, **sizes).step > 0


def test_live_bytes_by_hand():
    gc.collect()
    with costs._LiveBytes() as live:
        a = torch.zeros(100)  # 400 bytes
        b = a + 1  # 800
        view = b[:10]
        del a, b  # 400, for the view keeps them
        c = torch.zeros(50)  # 600
        c += 1
        assert (live.peak, live._now) == (800, 600)
        del view, c
        assert live._now == 0
        torch.zeros(300)
    assert live.peak == 1200
