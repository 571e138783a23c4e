"""RetinaNet: a padded image, one graph, every convention of losses."""

import pytest
import torch
from backbone_checks import shorten
from tiny_runs import (
    RETINANET,
    bare,
    ground_truth,
    one_graph,
    random_images,
    randomise,
    tiny_config,
    tiny_detector,
)

OPTIONS = {
    "detectron2": (),
    "torchvision": ("dense.normaliser", "image", "net.fpn_coarser_by", "p5"),
    "v2": (
        "dense.normaliser",
        "image",
        "dense.norm",
        "group",
        "dense.box_loss",
        "giou",
    ),
    "mmdetection": ("dense.normaliser", "batch", "dense.box_loss", "smooth_l1"),
}
TRUTH = ([(1, 10, 12, 40, 45), (2, 4, 4, 50, 20)], [(2, 20, 5, 60, 25)])


def detector(*overrides):
    model = tiny_detector(tiny_config(*RETINANET, "net.norm", "frozen", *overrides))
    randomise(model)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS)
@torch.no_grad()
def test_padded_image_has_the_predictions_of_the_bare_one(options):
    model = detector(*OPTIONS[options]).eval()
    images = random_images((64, 80), (50, 64))
    got = model(images)
    assert got.pred_deltas.shape[2:] == (1, 4) and got.class_scores.shape[2] == 1
    for i in range(2):
        want = model(bare(images, i))
        # A padded level may have more candidates than the bare one.
        kept, valid = got.proposals.valid[i], want.proposals.valid[0]
        assert kept.sum() == valid.sum() > 100
        for name in ("boxes", "scores"):
            torch.testing.assert_close(
                getattr(got.proposals, name)[i][kept],
                getattr(want.proposals, name)[0][valid],
                rtol=1e-3,
                atol=1e-3,
            )
        assert torch.equal(got.classes[i][kept], want.classes[0][valid])


@pytest.mark.parametrize("options", OPTIONS)
def test_losses_of_a_batch_are_those_of_its_images(options):
    model = detector(*OPTIONS[options]).train()
    images = random_images((64, 80), (50, 64))
    with torch.no_grad():
        whole = model(images, ground_truth(*TRUTH))
        parts = [
            model(bare(images, i), ground_truth(truth)) for i, truth in enumerate(TRUTH)
        ]
    for name, loss in whole.terms.items():
        own = [part.terms[name] for part in parts]
        torch.testing.assert_close(
            loss.total, sum(part.total for part in own), rtol=1e-4, atol=1e-4
        )
        count = sum(part.count for part in own)
        assert loss.count == count > 0
        divisor = 90 + 0.1 * count if options == "detectron2" else count
        torch.testing.assert_close(loss.mean, loss.total / divisor)


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS)
def test_every_parameter_learns(options):
    model = detector(*OPTIONS[options]).train()
    model(random_images((64, 80)), ground_truth(TRUTH[0])).total().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_image_without_objects():
    model = detector("dense.normaliser", "image").train()
    output = model(random_images((64, 80)), ground_truth([]))
    output.total().backward()
    assert output.losses["dense_cls"] > 0 and output.losses["dense_box"] == 0
    assert output.counts["dense_fg"] == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.slow
def test_running_mean_of_the_positives():
    model = detector().train()
    output = model(random_images((64, 80)), ground_truth(TRUTH[0]))
    positives = output.counts["dense_fg"]
    assert model.dense_head.positives.value == 100
    model.settle(output)
    torch.testing.assert_close(
        model.dense_head.positives.value, 90 + 0.1 * positives.float()
    )
    # A checkpoint holds it; weights without it start it anew.
    state = model.state_dict()
    other = detector()
    other.load_state_dict(state)
    assert torch.equal(
        other.dense_head.positives.value, model.dense_head.positives.value
    )
    del state["dense_head.positives.value"]
    other = detector()
    other.load_state_dict(state)
    assert other.dense_head.positives.value == 100


@pytest.mark.slow
@pytest.mark.parametrize("options", ["detectron2", "v2"])
def test_is_one_graph(options):
    images, truth = random_images((64, 80), (50, 64)), ground_truth(*TRUTH)
    results = []
    for wrap in (lambda model: model, one_graph):
        model = detector(*OPTIONS[options], "dense.convs", 1, "net.fpn_coarser", 1)
        shorten(model.backbone)
        output = wrap(model.train())(images, truth)
        output.total().backward()
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        with torch.no_grad():
            found = wrap(model.eval())(images)
        proposals = tuple(found.proposals)
        results.append([*output.losses.values(), *grads, *proposals, found.classes])
    for want, got in zip(*results, strict=True):
        torch.testing.assert_close(got, want)
