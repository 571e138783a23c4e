"""A proposal network alone, and Fast R-CNN on given proposals."""

import pytest
import torch
from backbone_checks import shorten
from faster_rcnn.layer_utils.structures import Proposals
from faster_rcnn.model.two_stage import TwoStage
from tiny_runs import (
    ground_truth,
    one_graph,
    random_images,
    randomise,
    tiny_config,
    tiny_detector,
)

SMALL = ("net.fpn_channels", 16, "head.fc_channels", 32, "rpn.border", -1)
NETS = {
    "vgg16": ("net.name", "vgg16", "net.head_stride", 1, "pooling.size", 7),
    "res18": ("net.name", "res18"),
    "res18_dc5": ("net.name", "res18", "net.features", "dc5", *SMALL),
    "mobile": ("net.name", "mobile"),
    "mobile_v2": (),
    "mobile_v2_fpn": ("net.features", "fpn", *SMALL),
}
MODULES = ("both", "rpn", "fast_rcnn")
QUICK = [
    pytest.param(net, marks=[pytest.mark.slow] if net.startswith("res") else [])
    for net in NETS
    if net != "vgg16"
]
TRUTH = ground_truth([(1, 10, 12, 40, 45)], [(2, 30, 5, 60, 25)])


def single(net, modules, *overrides) -> TwoStage:
    """One of the modules."""
    words = (*NETS[net], "net.modules", modules)
    return tiny_detector(tiny_config(*words, *overrides))


def detectors(net, *overrides) -> dict[str, TwoStage]:
    """Both modules together and each alone, of the same weights."""
    found = {name: single(net, name, *overrides) for name in MODULES}
    randomise(found["both"])
    state = found["both"].state_dict()
    for alone in (found["rpn"], found["fast_rcnn"]):
        alone.load_state_dict({key: state[key] for key in alone.state_dict()})
    return found


@pytest.mark.parametrize("net", NETS)
def test_the_modules_have_what_they_share_and_nothing_of_each_other(net):
    with torch.device("meta"):  # no numbers are needed
        alone = {modules: single(net, modules) for modules in MODULES}
    kinds = {m: (n.detects, n.reads_proposals) for m, n in alone.items()}
    assert kinds == {
        "both": (True, False),
        "rpn": (False, False),
        "fast_rcnn": (True, True),
    }
    both, rpn, fast = (set(model.state_dict()) for model in alone.values())
    assert rpn | fast == both
    assert rpn & fast == alone["both"].shared_keys()
    assert {key.split(".")[0] for key in rpn - fast} == {"rpn"}
    assert any(key.startswith("box_head.") for key in fast - rpn)
    assert all(model.shared_keys() == rpn & fast for model in alone.values())


@pytest.mark.parametrize("net", QUICK)
@torch.no_grad()
def test_together_they_are_the_detector(net):
    models = detectors(net)
    images = random_images((64, 80), (50, 64))
    want = models["both"].eval()(images)
    proposals = models["rpn"].eval()(images)
    assert isinstance(proposals, Proposals)
    torch.testing.assert_close(tuple(proposals), tuple(want.proposals))
    got = models["fast_rcnn"].eval()(images, proposals=proposals)
    torch.testing.assert_close(tuple(got[1:]), tuple(want[1:]))


@pytest.mark.parametrize("net", QUICK)
def test_losses_are_those_of_the_detector(net):
    # Nothing is left to chance: every anchor is labelled and every RoI is taken.
    models = detectors(
        net,
        *("rpn.batch_size", 9999, "rpn.fg_fraction", 1),
        *("head.rois_per_image", 60, "head.fg_fraction", 1),
        *("head.replacement", "false", "net.norm", "frozen"),
    )
    images = random_images((64, 80), (50, 64))
    want = models["both"].train()(images, TRUTH)
    rpn = models["rpn"].train()(images, TRUTH)
    with torch.no_grad():
        proposals = models["rpn"](images)  # as many as in training
    head = models["fast_rcnn"].train()(images, TRUTH, proposals=proposals)
    assert list(rpn.losses) == ["rpn_cls", "rpn_box"]
    assert list(head.losses) == ["head_cls", "head_box"]
    for name, loss in want.losses.items():
        torch.testing.assert_close((rpn.losses | head.losses)[name], loss)
    assert rpn.counts | head.counts == want.counts
    assert (rpn.activations | head.activations).keys() == want.activations.keys()


@pytest.mark.slow
@pytest.mark.parametrize("modules", ["rpn", "fast_rcnn"])
@pytest.mark.parametrize("net", QUICK)
def test_every_parameter_is_trained(net, modules):
    model = single(net, modules).train()
    given = {"proposals": some_proposals()} if modules == "fast_rcnn" else {}
    output = model(random_images((64, 80), (50, 64)), TRUTH, **given)
    sum(output.losses.values()).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    # The pyramid's coarsest map is for the RPN; here its P6 is subsampled from P5.
    assert frozen == set()


def some_proposals() -> Proposals:
    generator = torch.Generator().manual_seed(3)
    corner, side = (torch.rand(2, 30, 2, generator=generator) * 30 for _ in range(2))
    boxes = torch.cat((corner, corner + side + 4), dim=2)
    valid = torch.arange(30).expand(2, 30) < 20
    return Proposals(boxes, torch.zeros(2, 30), valid)


@torch.no_grad()
def test_padded_proposals_are_not_read():
    model = single("mobile_v2", "fast_rcnn").train()
    images, given = random_images((64, 80), (50, 64)), some_proposals()
    hidden = given.boxes.masked_fill(~given.valid[..., None], 1e6)
    other = given._replace(boxes=hidden)
    one, two = (
        model(images, TRUTH, torch.Generator().manual_seed(1), proposals=p).losses
        for p in (given, other)
    )
    assert one == two


def test_an_image_without_proposals_trains_on_its_objects():
    model = single("mobile_v2", "fast_rcnn").train()
    given = some_proposals()
    none = given._replace(valid=torch.zeros_like(given.valid))
    output = model(random_images((64, 80), (50, 64)), TRUTH, proposals=none)
    assert output.counts["head_fg"] > 0 and output.counts["head_bg"] == 0
    assert all(loss.isfinite() for loss in output.losses.values())


def test_missing_proposals_are_reported():
    model = single("mobile_v2", "fast_rcnn")
    with pytest.raises(ValueError, match=r"needs proposals .* data\.proposals"):
        model(random_images((64, 80)))
    with pytest.raises(ValueError, match="needs proposals"):
        model.propose(random_images((64, 80)))


@pytest.mark.parametrize("net", ["res18", "mobile_v2_fpn"])
@pytest.mark.parametrize("modules", ["both", "rpn", "fast_rcnn"])
def test_fixed_shared_layers(net, modules):
    words = ("net.weights", "some.pth", "net.norm", "batch", "net.fixed_shared", "true")
    model = single(net, modules, *words)
    names = dict(model.named_parameters())
    shared = model.shared_keys()
    trained = {name for name, p in names.items() if p.requires_grad}
    assert trained == set(names) - shared
    before = {key: t.clone() for key, t in model.state_dict().items() if key in shared}
    given = {"proposals": some_proposals()} if modules == "fast_rcnn" else {}
    output = model.train()(random_images((64, 80), (50, 64)), TRUTH, **given)
    sum(output.losses.values()).backward()
    assert all(names[name].grad is not None for name in trained)
    # Nor do statistics change.
    for key, tensor in before.items():
        assert torch.equal(model.state_dict()[key], tensor)
    # Random weights are trained whatever is set.
    random = tiny_detector(tiny_config("net.fixed_shared", "true"))
    assert all(p.requires_grad for p in random.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("modules", ["rpn", "fast_rcnn"])
def test_each_is_one_graph(modules):
    images = random_images((64, 80), (50, 64))
    given = {"proposals": some_proposals()} if modules == "fast_rcnn" else {}
    results = []
    for wrap in (lambda model: model, one_graph):
        model = detectors("res18")[modules]
        shorten(model.backbone)
        torch.manual_seed(7)
        output = wrap(model.train())(images, TRUTH, **given)
        sum(output.losses.values()).backward()
        grads = [parameter.grad for parameter in model.parameters()]
        losses = [*output.losses.values(), *output.counts.values(), *grads]
        with torch.no_grad():
            found = wrap(model.eval())(images, **given)
        found = found if modules == "rpn" else found[1:]
        results.append([*losses, *found])
    for want, got in zip(*results, strict=True):
        torch.testing.assert_close(got, want)
