import copy
import json
from functools import partial

import pytest
import torch
from faster_rcnn.config.loading import load_config
from faster_rcnn.config.settings import TrainConfig
from faster_rcnn.engine.solver import (
    SCHEDULES,
    build_optimizer,
    learning_rate,
    set_learning_rate,
)
from faster_rcnn.model.build import build_detector
from tiny_runs import tiny_config
from torch import nn

# Names of the published port and ours.
NAMES = {
    "vgg.": "backbone.",
    "resnet.": "backbone.",
    "mobilenet.": "backbone.",
    "rpn_net.": "rpn.head.conv.",
    "rpn_cls_score_net.": "rpn.head.scores.",
    "rpn_bbox_pred_net.": "rpn.head.deltas.",
    "cls_score_net.": "box_head.predictor.scores.",
    "bbox_pred_net.": "box_head.predictor.deltas.",
}
PLAIN = {
    "sgd": partial(torch.optim.SGD, momentum=0.9, foreach=False),
    "adamw": partial(torch.optim.AdamW, foreach=False),
}
MOBILE = ["train.backbone_decay", "4e-5", "train.depthwise_decay", "false"]


def our_name(key):
    theirs, ours = next(item for item in NAMES.items() if key.startswith(item[0]))
    return ours + key.removeprefix(theirs)


def detector(*words):
    """A detector of 21 classes, without values in its tensors."""
    with torch.device("meta"):
        return build_detector(load_config([], words), 21).to_empty(device="cpu")


def rates_and_decays(model, train):
    """(learning rate, weight decay) of each parameter that is trained, by name."""
    optimizer = build_optimizer(model, train)
    set_learning_rate(optimizer, train.lr)
    found = {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert names[id(parameter)] not in found
            found[names[id(parameter)]] = group["lr"], group["weight_decay"]
    return found


@pytest.mark.parametrize(
    ("net", "words"),
    [("vgg16", ["train.double_bias", "true"]), ("res50", []), ("mobile", MOBILE)],
)
def test_groups_are_those_of_the_published_port(shared, net, words):
    golden = json.loads((shared / f"golden/state_dict_{net}.json").read_text())
    entries = [e for e in golden["state_dict"] if e["kind"] == "parameter"]
    model = detector("net.name", net, *words)
    shapes = {name: list(p.shape) for name, p in model.named_parameters()}
    assert shapes == {our_name(e["key"]): e["shape"] for e in entries}

    found = rates_and_decays(model, load_config([], words).train)
    want = {
        our_name(e["key"]): (e["lr"], e["weight_decay"])
        for e in entries
        if e["trainable"]
    }
    assert found.keys() == want.keys()
    for name, pair in want.items():
        assert found[name] == pytest.approx(pair, rel=1e-12, abs=0), name


class Parts(nn.Module):
    """One of everything that the groups tell apart."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.grouped = nn.Conv2d(4, 4, 3, groups=2)
        self.norm = nn.BatchNorm2d(4)
        self.group_norm = nn.GroupNorm(1, 4)
        self.linear = nn.Linear(4, 4)
        self.linear.bias.requires_grad_(False)


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        (
            {},
            {
                "conv.weight": (1, 0.5),
                "conv.bias": (1, 0),
                "depthwise.weight": (1, 0.5),
                "depthwise.bias": (1, 0),
                "grouped.weight": (1, 0.5),
                "grouped.bias": (1, 0),
                "norm.weight": (1, 0),
                "norm.bias": (1, 0),
                "group_norm.weight": (1, 0),
                "group_norm.bias": (1, 0),
                "linear.weight": (1, 0.5),
            },
        ),
        ({"depthwise_decay": False}, {"depthwise.weight": (1, 0)}),
        (
            {"double_bias": True},
            {"conv.bias": (2, 0), "depthwise.bias": (2, 0), "grouped.bias": (2, 0)},
        ),
        (
            {"bias_decay": True},
            {
                "conv.bias": (1, 0.5),
                "depthwise.bias": (1, 0.5),
                "grouped.bias": (1, 0.5),
            },
        ),
        ({"backbone_decay": 0.25}, {}),  # this model has no backbone
    ],
)
def test_groups_by_hand(changes, want):
    default = rates_and_decays(Parts(), TrainConfig(lr=1, weight_decay=0.5))
    train = TrainConfig(lr=1, weight_decay=0.5, **changes)
    assert rates_and_decays(Parts(), train) == default | want


def test_backbone_decay_reaches_the_backbone_only():
    model = nn.ModuleDict({"backbone": Parts(), "head": nn.Linear(4, 4)})
    train = TrainConfig(lr=1, weight_decay=0.5, backbone_decay=0, bias_decay=True)
    found = rates_and_decays(model, train)
    assert {v for k, v in found.items() if k.startswith("backbone.")} == {(1, 0)}
    assert {v for k, v in found.items() if k.startswith("head.")} == {(1, 0.5)}


def test_one_update_by_hand():
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, 2.0)
    nn.init.constant_(model.bias, 3.0)
    train = TrainConfig(lr=0.1, weight_decay=0.5, momentum=0.9, double_bias=True)
    optimizer = build_optimizer(model, train)
    weight, bias, moves = 2.0, 3.0, [0.0, 0.0]
    for rate in (0.1, 0.01):
        set_learning_rate(optimizer, rate)
        optimizer.zero_grad()
        (4 * model.weight + 5 * model.bias).sum().backward()
        optimizer.step()
        moves = [0.9 * moves[0] + 4 + 0.5 * weight, 0.9 * moves[1] + 5]
        weight, bias = weight - rate * moves[0], bias - 2 * rate * moves[1]
    assert model.weight.item() == pytest.approx(weight, rel=1e-6)
    assert model.bias.item() == pytest.approx(bias, rel=1e-6)


def test_one_update_of_adamw_by_hand():
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, 2.0)
    nn.init.constant_(model.bias, 3.0)
    words = ["train.optimizer", "adamw", "train.weight_decay", "0.5", "train.lr", "0.1"]
    optimizer = build_optimizer(model, load_config([], words).train)
    set_learning_rate(optimizer, 0.01)
    (4 * model.weight - 5 * model.bias).sum().backward()
    optimizer.step()
    # The first step goes by the gradient's sign; the decay is apart from it.
    assert model.weight.item() == pytest.approx(2 - 0.01 * 0.5 * 2 - 0.01, rel=1e-6)
    assert model.bias.item() == pytest.approx(3 + 0.01, rel=1e-6)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


@pytest.mark.parametrize(
    ("iteration", "share"),
    [(0, 1), (49999, 1), (50000, 0.1), (59999, 0.1), (60000, 0.01), (69999, 0.01)],
)
def test_steps(iteration, share):
    train = TrainConfig(lr=0.02, lr_steps=(50000, 60000))
    assert learning_rate(iteration, train) == pytest.approx(0.02 * share, rel=1e-12)
    default = learning_rate(iteration, TrainConfig())  # with one step
    assert default == pytest.approx(0.001 * max(share, 0.1), rel=1e-12)
    assert learning_rate(iteration, TrainConfig(lr_steps=())) == 0.001


@pytest.mark.parametrize(
    ("iteration", "share"), [(0, 0.2), (1, 0.4), (2, 0.6), (3, 0.8), (4, 1), (5, 1)]
)
def test_warmup_rises_in_a_line(iteration, share):
    train = TrainConfig(lr=0.5, warmup_iterations=4, warmup_factor=0.2)
    assert learning_rate(iteration, train) == pytest.approx(0.5 * share)


def test_warmup_multiplies_the_schedule():
    train = TrainConfig(lr=1, warmup_iterations=4, warmup_factor=0, lr_steps=(2,))
    assert [learning_rate(i, train) for i in range(5)] == pytest.approx(
        [0, 0.25, 0.05, 0.075, 0.1]
    )


def test_cosine():
    train = TrainConfig(lr=2, iterations=100, schedule="cosine", lr_steps=(10,))
    rates = [learning_rate(i, train) for i in range(100)]
    assert rates[0] == 2
    assert rates[25] == pytest.approx(1 + 0.5**0.5)
    assert rates[50] == pytest.approx(1)
    assert 0 < rates[99] < 0.001  # nothing to speak of is left at the end
    assert learning_rate(100, train) == pytest.approx(0, abs=1e-15)
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize(
    ("power", "shares"),
    [
        (1, [1, 0.75, 0.5, 0.25, 0]),
        (2, [1, 0.5625, 0.25, 0.0625, 0]),
        (0.9, [1, 0.75**0.9, 0.5**0.9, 0.25**0.9, 0]),  # the default
    ],
)
def test_polynomial_by_hand(power, shares):
    given = {} if power == 0.9 else {"power": power}
    train = TrainConfig(
        lr=2, iterations=40, schedule="polynomial", lr_steps=(10,), **given
    )
    rates = [learning_rate(i, train) for i in (0, 10, 20, 30, 40)]
    assert rates == pytest.approx([2 * share for share in shares])
    warm = train.model_copy(update={"warmup_iterations": 40, "warmup_factor": 0.0})
    assert learning_rate(20, warm) == pytest.approx(0.5 * rates[2])


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_begins_at_the_full_rate(name):
    train = TrainConfig(lr=0.3, iterations=10, schedule=name, lr_steps=(5,))
    rates = [learning_rate(i, train) for i in range(10)]
    assert rates[0] == 0.3 and rates == sorted(rates, reverse=True) and rates[9] > 0


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("name", "plain"), PLAIN.items())
def test_memory_layouts_do_not_matter(name, plain, layout):
    """PyTorch's fused steps take gradients of another layout in the wrong order."""
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
    other = copy.deepcopy(conv)
    train = tiny_config(
        *("train.optimizer", name, "train.lr", 0.1, "train.weight_decay", 0.05),
        *("train.bias_decay", True, "train.momentum", 0.9),
    ).train
    ours = build_optimizer(conv, train)
    theirs = plain(other.parameters(), lr=0.1, weight_decay=0.05)
    for _ in range(3):
        gradient = torch.randn(8, 4, 3, 3)
        conv.weight.grad = gradient.contiguous(memory_format=layout)
        other.weight.grad = gradient.clone()
        conv.bias.grad = other.bias.grad = torch.randn(8)
        ours.step()
        theirs.step()
    torch.testing.assert_close(conv.weight, other.weight)
    torch.testing.assert_close(conv.bias, other.bias)
    for parameter, state in ours.state.items():
        shapes = {value.shape for value in state.values() if value.dim()}
        assert shapes == {parameter.shape}  # a checkpoint goes to other devices too
