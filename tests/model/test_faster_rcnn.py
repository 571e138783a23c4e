import pytest
import torch
from backbone_checks import shorten
from faster_rcnn.layer_utils.outputs import Predictions
from faster_rcnn.model.two_stage import TwoStage
from tiny_runs import (
    bare,
    ground_truth,
    one_graph,
    random_images,
    randomise,
    tiny_config,
    tiny_detector,
)

LOSSES = {"rpn_cls", "rpn_box", "head_cls", "head_box"}
LEGACY = ("boxes.offset", 1, "pooling.aligned", "false")
SMALL_HEAD = ("net.fpn_channels", 16, "head.fc_channels", 32, "rpn.border", -1)
NETS = {
    "res18": ("net.name", "res18", "pooling.size", 2),
    "mobile_v2": ("net.name", "mobile_v2"),
    "res18_dc5": ("net.name", "res18", "net.features", "dc5", *SMALL_HEAD),
    "res18_fpn": ("net.name", "res18", "net.features", "fpn", *SMALL_HEAD),
    "mobile_v2_fpn": ("net.features", "fpn", *SMALL_HEAD),
}
POOLING = {
    "align": (),
    "adaptive": ("pooling.sampling_ratio", 0, *LEGACY),
    "pool": ("pooling.mode", "pool", *LEGACY),
    "crop": ("pooling.mode", "crop", "pooling.max_pool", "true"),
}


def random_detector(*overrides) -> TwoStage:
    model = tiny_detector(tiny_config(*overrides))
    randomise(model)
    return model.eval()


def assert_same_predictions(got: Predictions, index: int, want: Predictions):
    """Image ``index`` of a batch has the predictions that it has alone."""
    valid = want.proposals.valid[0]
    assert valid.sum() > 10
    assert torch.equal(got.proposals.valid[index], valid)
    pairs = [
        (got.proposals.boxes, want.proposals.boxes, 1e-3),
        (got.proposals.scores, want.proposals.scores, 1e-4),
        (got.class_scores, want.class_scores, 1e-4),
        (got.pred_deltas, want.pred_deltas, 1e-4),
    ]
    for ours, theirs, tolerance in pairs:
        torch.testing.assert_close(
            ours[index][valid], theirs[0][valid], rtol=3e-6, atol=tolerance
        )


@pytest.mark.parametrize(
    ("net", "pooling"),
    dict.fromkeys(
        [(net, "align") for net in NETS]
        + [(net, how) for net in ("mobile_v2", "res18_fpn") for how in POOLING]
    ),
)
@torch.no_grad()
def test_padded_image_has_the_predictions_of_the_bare_one(net, pooling):
    model = random_detector(*NETS[net], *POOLING[pooling])
    images = random_images((70, 93), (64, 96), (51, 64), (80, 49), multiple=32)
    assert images.padded
    together = model(images)
    assert together.proposals.scores.std() > 0.1  # not all alike
    assert together.class_scores.std() > 0.05
    for i in range(4):
        assert_same_predictions(together, i, model(bare(images, i)))


@pytest.mark.parametrize("net", NETS)
@torch.no_grad()
def test_a_batch_is_its_images(net):
    model = random_detector(*NETS[net])
    images = random_images((64, 96), (64, 96))
    assert not images.padded
    together = model(images)
    for i in range(2):
        assert_same_predictions(together, i, model(bare(images, i)))


@pytest.mark.parametrize("border", [0, -1, 20])
@torch.no_grad()
def test_padded_image_has_the_losses_of_the_bare_one(border):
    # Nothing is left to chance: every anchor is labelled and every RoI is taken.
    model = random_detector(
        *("rpn.border", border, "rpn.batch_size", 9999, "rpn.fg_fraction", 1),
        *("head.rois_per_image", 60, "head.fg_fraction", 1),
        *("head.replacement", "false"),
    )
    truth = ground_truth([(1, 10, 12, 40, 45), (2, 30, 5, 60, 25)])
    images = random_images((50, 64), multiple=32)
    assert images.padded
    padded, alone = model(images, truth), model(bare(images, 0), truth)
    assert padded.counts == alone.counts
    assert all(padded.counts.values())
    for name, loss in alone.losses.items():
        torch.testing.assert_close(padded.losses[name], loss, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_prediction_shapes():
    model = random_detector("rpn.test_post_nms", 7)
    predictions = model(random_images((64, 80), (64, 96)))
    assert isinstance(predictions, Predictions)
    assert predictions.proposals.boxes.shape == (2, 7, 4)
    assert predictions.class_scores.shape == (2, 7, 3)
    assert predictions.pred_deltas.shape == (2, 7, 3, 4)
    total = predictions.class_scores.sum(2)
    torch.testing.assert_close(total, torch.ones(2, 7))
    assert model.train()(random_images((64, 80))).proposals.boxes.shape == (1, 40, 4)


@torch.no_grad()
def test_deltas_leave_the_network_in_box_units():
    images = random_images((64, 80))
    unit = random_detector("boxes.delta_std", "[1,1,1,1]")(images)
    scaled = random_detector("boxes.delta_std", "[.1,.2,.3,.4]")(images)
    torch.testing.assert_close(
        scaled.pred_deltas, unit.pred_deltas * torch.tensor([0.1, 0.2, 0.3, 0.4])
    )


def training_loss(model, images, truth, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return model.train()(images, truth, generator)


ONE = (1, 10.0, 12.0, 40.0, 45.0)
CASES = {
    "no objects": (ground_truth([], []), False),
    "one object": (ground_truth([ONE], []), True),
    "all slots": (ground_truth([ONE] * 4, [ONE] * 4), True),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("sizes", [[(64, 80)] * 2, [(64, 80), (50, 64)]])
def test_losses_are_finite(case, sizes):
    truth, has_objects = CASES[case]
    model = tiny_detector(tiny_config())
    output = training_loss(model, random_images(*sizes), truth)
    assert output.losses.keys() == LOSSES
    for loss in output.losses.values():
        assert loss.shape == () and loss.isfinite() and loss >= 0
    assert output.losses["rpn_cls"] > 0.1 and output.losses["head_cls"] > 0.1
    counts = {name: int(count) for name, count in output.counts.items()}
    assert (counts["rpn_fg"] > 0) == (counts["head_fg"] > 0) == has_objects
    assert (output.losses["head_box"] > 0) == has_objects
    assert (output.losses["rpn_box"] > 0) == has_objects
    assert counts["head_fg"] + counts["head_bg"] == 2 * 16
    assert 0 < counts["rpn_fg"] + counts["rpn_bg"] <= 2 * 32
    sum(output.losses.values()).backward()
    grads = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("content", [float("nan"), float("inf"), 1e9, -7.0])
def test_invalid_slots_are_not_read(content):
    images = random_images((64, 80), (64, 80))
    clean = ground_truth([ONE], [])
    dirty = ground_truth([ONE], [])
    dirty.boxes[~dirty.valid] = content
    dirty.classes[~dirty.valid] = 2
    results = []
    for truth in (clean, dirty):
        model = tiny_detector(tiny_config())
        output = training_loss(model, images, truth)
        sum(output.losses.values()).backward()
        grads = [p.grad for p in model.parameters() if p.requires_grad]
        results.append((list(output.losses.values()), grads))
    for one, other in zip(*results, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_samples_come_from_the_generator():
    images, truth = random_images((64, 80), (64, 80)), ground_truth([ONE], [])
    model = tiny_detector(tiny_config())
    state = torch.get_rng_state()
    first, again, other = (
        training_loss(model, images, truth, seed).losses["head_cls"]
        for seed in (1, 1, 2)
    )
    assert first == again and first != other
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("net", NETS)
def test_every_parameter_learns(net):
    model = tiny_detector(tiny_config(*NETS[net]))
    images = random_images((64, 80), (50, 64))
    output = training_loss(model, images, ground_truth([ONE], [ONE, (2, 2, 3, 20, 9)]))
    sum(output.losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_proposals_carry_no_gradient():
    model = tiny_detector(tiny_config())
    output = training_loss(model, random_images((64, 80)), ground_truth([ONE]))
    (output.losses["head_cls"] + output.losses["head_box"]).backward()
    assert all(p.grad is None for p in model.rpn.parameters())
    assert all(p.grad is not None for p in model.backbone.parameters())


@pytest.mark.parametrize("mode", ["align", "crop", "crop_stn"])
def test_head_moves_the_proposals_on_demand(mode):
    plain, moved = (
        tiny_detector(tiny_config("pooling.mode", mode, "pooling.box_gradient", flag))
        for flag in ("false", "true")
    )
    images, truth = random_images((64, 80), (50, 64)), ground_truth([ONE], [ONE])
    outputs = [training_loss(model, images, truth) for model in (plain, moved)]
    for name, loss in outputs[0].losses.items():
        torch.testing.assert_close(outputs[1].losses[name], loss)
    (outputs[1].losses["head_cls"] + outputs[1].losses["head_box"]).backward()
    grad = moved.rpn.head.deltas.weight.grad
    assert grad is not None and grad.isfinite().all() and grad.any()
    assert moved.rpn.head.scores.weight.grad is None


def test_class_agnostic_head_shares_its_boxes():
    model = random_detector("head.class_agnostic", "true")
    images = random_images((64, 80), (50, 64))
    with torch.no_grad():
        predictions = model(images)
    assert predictions.class_scores.shape == (2, 24, 3)
    assert predictions.pred_deltas.shape == (2, 24, 1, 4)
    output = training_loss(model, images, ground_truth([ONE], [ONE]))
    output.losses["head_box"].backward()
    deltas = model.box_head.predictor.deltas
    assert deltas.weight.shape[0] == 4 and deltas.weight.grad.any()


def test_top_proposals_in_tests_only():
    words = ("rpn.test_mode", "top", "rpn.test_top", "50")
    model, usual = random_detector(*words), random_detector()
    images = random_images((64, 80))
    with torch.no_grad():
        top = model(images).proposals
        assert top.boxes.shape == (1, 50, 4) and top.valid.all()
        assert usual(images).proposals.boxes.shape == (1, 24, 4)
        assert torch.equal(top.scores[0].sort(descending=True)[0], top.scores[0])
        regions = model.rpn(model.features(images))
        assert model.train().rpn.propose(regions, images.sizes).boxes.shape[1] == 40


def test_proposals_have_the_least_side():
    images, valid = random_images((64, 80)), {}
    for side in (0, 12, 500):
        with torch.no_grad():
            found = random_detector("rpn.min_size", side)(images).proposals
        corners = found.boxes[found.valid]
        sides = (corners[:, 2:] - corners[:, :2]).amin(1)
        valid[side] = len(sides)
        assert (sides >= side).all()
    assert valid[0] > 0 and valid[12] > 0 and valid[500] == 0


def test_activations_are_detached():
    model = tiny_detector(tiny_config())
    output = training_loss(model, random_images((64, 80)), ground_truth([ONE]))
    assert output.activations.keys() >= {"features", "objectness", "class_scores"}
    assert not any(t.requires_grad for t in output.activations.values())


@pytest.mark.slow
@pytest.mark.parametrize("net", ["res18", "res18_fpn"])
def test_training_is_one_graph(net):
    images, truth = random_images((64, 80), (50, 64)), ground_truth([ONE], [])
    results = []
    for wrap in (lambda model: model, one_graph):
        model = tiny_detector(tiny_config(*NETS[net])).train()
        shorten(model.backbone)
        torch.manual_seed(7)
        output = wrap(model)(images, truth)
        sum(output.losses.values()).backward()
        grads = [parameter.grad for parameter in model.parameters()]
        results.append([*output.losses.values(), *output.counts.values(), *grads])
    for want, got in zip(*results, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "other"), [("res18", (50, 64)), ("res18_fpn", (64, 80))]
)
@torch.no_grad()
def test_inference_is_one_graph(net, other):
    model = random_detector(*NETS[net])
    shorten(model.backbone)
    images = random_images((64, 80), other)
    assert images.padded == (net == "res18")
    got, want = one_graph(model)(images), model(images)
    torch.testing.assert_close(tuple(got.proposals), tuple(want.proposals))
    torch.testing.assert_close(tuple(got[1:]), tuple(want[1:]))


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS)
def test_bfloat16(net):
    images, truth = random_images((64, 80), (50, 64)), ground_truth([ONE], [])
    model = tiny_detector(tiny_config(*NETS[net]))
    with torch.autocast("cpu", torch.bfloat16):
        output = training_loss(model, images, truth)
    assert all(loss.dtype == torch.float32 for loss in output.losses.values())
    sum(output.losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all(), name

    model.eval()
    with torch.no_grad():
        exact = model.rpn(model.features(images))
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model.rpn(model.features(images))
            predictions = model(images)
    assert rounded.objectness_logits.dtype == torch.float32
    torch.testing.assert_close(
        rounded.objectness_logits, exact.objectness_logits, rtol=0.1, atol=0.02
    )
    assert predictions.proposals.boxes.dtype == torch.float32
    assert predictions.class_scores.dtype == torch.float32
