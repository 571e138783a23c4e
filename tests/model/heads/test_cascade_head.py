"""Cascade R-CNN: what each stage is trained on, and what comes out of the last."""

import numpy as np
import pytest
import torch
from backbone_checks import shorten
from faster_rcnn.layer_utils.boxes import BoxCoder
from faster_rcnn.layer_utils.proposal_targets import RoICriteria, label_rois
from faster_rcnn.layer_utils.structures import GroundTruth, Proposals
from faster_rcnn.nets.roi_features import RoIFeatures
from tiny_runs import (
    CASCADE,
    bare,
    ground_truth,
    one_graph,
    random_images,
    randomise,
    tiny_config,
    tiny_detector,
)

FPN = ("net.features", "fpn", "net.fpn_channels", 16, "head.fc_channels", 32)
NETS = {"fpn": FPN, "c4": ("net.name", "res18")}
TRUTH = ground_truth([(1, 10, 12, 40, 45)], [(2, 30, 5, 60, 25)])


def cascade(net, *overrides):
    model = tiny_detector(tiny_config(*NETS[net], *CASCADE, *overrides))
    randomise(model)
    return model


def test_stages_by_detectron2(shared):
    data = np.load(shared / "golden" / "family" / "cascade_units.npz")
    boxes = {k: torch.from_numpy(data[k])[None] for k in data if data[k].ndim == 2}
    valid = torch.ones(1, 8, dtype=torch.bool)
    classes = torch.from_numpy(data["gt_classes"])[None] + 1  # 0 is background here
    truth = GroundTruth(boxes["gt_boxes"], classes, valid)
    coder = BoxCoder(0, float(np.log(1000 / 16)))
    for k, overlap in enumerate((0.5, 0.6, 0.7)):
        std = tuple(s / (k + 1) for s in (0.1, 0.1, 0.2, 0.2))
        rois = boxes[f"stage{k}_boxes"]
        found = label_rois(
            rois,
            torch.ones(rois.shape[:2], dtype=torch.bool),
            truth,
            RoICriteria(overlap, overlap, 0.0, offset=0),
            delta_std=std,
        )
        want = torch.from_numpy(data[f"stage{k}_classes"])
        assert torch.equal(found.classes[0], torch.where(want == 5, 0, want + 1))
        fg = torch.from_numpy(data[f"stage{k}_fg"])
        matched = torch.from_numpy(data[f"stage{k}_matched"])[fg]
        assert torch.equal(found.matched[0, fg], matched)
        targets = boxes[f"stage{k}_targets"][0]
        torch.testing.assert_close(
            found.target_deltas[0, fg], targets, rtol=1e-4, atol=1e-4
        )
        deltas = boxes[f"stage{k}_pred_deltas"] * torch.tensor(std)
        moved = coder.decode(rois, deltas, torch.from_numpy(data["image_size"])[None])
        torch.testing.assert_close(
            moved, boxes[f"stage{k}_clipped"], rtol=1e-4, atol=1e-3
        )


@pytest.mark.parametrize("net", NETS)
def test_every_stage_trains_on_the_boxes_of_the_one_before(net):
    model = cascade(net).train()
    images = random_images((64, 80), (50, 64))
    output = model(images, TRUTH, torch.Generator().manual_seed(0))
    names = [f"{stage}_{kind}" for stage in ("head", "head2", "head3") for kind in "cb"]
    assert [n.replace("cls", "c").replace("box", "b") for n in output.losses][2:] == (
        names
    )
    output.total().backward()
    for name, parameter in model.named_parameters():
        assert not parameter.requires_grad or parameter.grad.isfinite().all(), name

    # By hand: the second stage's samples are the first's boxes, matched anew.
    head, sizes = model.box_head, images.sizes
    with torch.no_grad():
        features = model.features(images)
        proposals = model.rpn.propose(model.rpn(features), sizes)
        generator = torch.Generator().manual_seed(0)
        samples = head.sample(proposals, TRUTH, generator)
        first, second, _ = head.box_heads
        _, deltas = first(features, samples.rois)
        moved = BoxCoder(first.boxes.offset).decode(
            samples.rois, deltas[:, :, 0] * first.delta_std, sizes
        )
        logits, _ = second(features, moved)
        again = head.losses(features, samples, TRUTH, sizes)
    torch.testing.assert_close(
        again.activations["head2_class_scores"], logits.softmax(dim=2)
    )
    torch.testing.assert_close(second.delta_std * 2, first.delta_std)


@pytest.mark.parametrize("net", NETS)
@torch.no_grad()
def test_padded_batch_has_the_losses_and_predictions_of_its_images(net):
    everything = (
        *("rpn.batch_size", 100_000, "rpn.fg_fraction", 1, "rpn.train_post_nms", 24),
        *("head.rois_per_image", 64, "head.fg_fraction", 1, "head.replacement", False),
        *("net.norm", "frozen"),
    )
    model, images = cascade(net, *everything), random_images((64, 80), (50, 64))
    alone = [bare(images, i) for i in range(2)]
    whole = model.train()(images, TRUTH)
    parts = [
        model(image, GroundTruth(*(x[i : i + 1] for x in TRUTH[:3])))
        for i, image in enumerate(alone)
    ]
    for name, loss in whole.terms.items():
        own = [part.terms[name] for part in parts]
        total, count = (sum(getattr(o, k) for o in own) for k in ("total", "count"))
        torch.testing.assert_close(loss.total, total, rtol=1e-4, atol=1e-4)
        assert loss.count == count > 0
    found = model.eval()(images)
    for i, image in enumerate(alone):
        want, valid = model(image), found.proposals.valid[i]
        assert torch.equal(valid, want.proposals.valid[0])
        for got, expected in (
            (found.proposals.boxes, want.proposals.boxes),
            (found.class_scores, want.class_scores),
            (found.pred_deltas, want.pred_deltas),
        ):
            torch.testing.assert_close(
                got[i][valid], expected[0][valid], rtol=1e-3, atol=1e-3
            )


def test_gradient_of_the_maps_is_a_third():
    model = cascade("fpn")
    features = model.features(random_images((64, 80)))
    (level,) = [m.detach().requires_grad_() for m in features.maps[:1]]
    rois = torch.tensor([[[4.0, 4.0, 40.0, 40.0]]])
    regions = model.box_head.box_heads[0].regions
    plain = RoIFeatures(
        regions.body, pooling=regions.pooling, strides=regions.strides[:1]
    )
    grads = []
    for each in (regions, plain):
        maps = features._replace(maps=[level, *features.maps[1:]])
        found = each(maps, rois)
        grads.append(torch.autograd.grad(found.square().sum(), level)[0])
    assert grads[1].any()
    torch.testing.assert_close(grads[0] * 3, grads[1])


@pytest.mark.parametrize("net", NETS)
@torch.no_grad()
def test_scores_are_the_mean_and_boxes_the_last(net):
    model = cascade(net).eval()
    images = random_images((64, 80), (50, 64))
    found = model(images)
    features = model.features(images)
    rois = model.propose(images).boxes
    scores = []
    for stage in model.box_head.box_heads:
        alone = stage.predict(features, Proposals(rois, rois[..., 0], rois[..., 0] > 0))
        scores.append(alone.class_scores)
        last, rois = (
            rois,
            model.box_head.coder.decode(rois, alone.pred_deltas[:, :, 0], images.sizes),
        )
    torch.testing.assert_close(found.class_scores, sum(scores) / 3)
    torch.testing.assert_close(found.proposals.boxes, last)
    torch.testing.assert_close(found.pred_deltas, alone.pred_deltas)
    assert found.pred_deltas.shape[2] == 1


@pytest.mark.slow
@pytest.mark.parametrize("train", [True, False])
def test_one_graph(train):
    images = random_images((64, 80), (50, 64))
    results = []
    for wrapped in (False, True):
        model = cascade("c4").train(train)
        shorten(model.backbone)
        if wrapped:
            model = one_graph(model)
        torch.manual_seed(7)
        if train:
            output = model(images, TRUTH)
            output.total().backward()
            results.append([*output.losses.values(), *output.counts.values()])
            results[-1] += [p.grad for p in model.parameters()]
        else:
            with torch.no_grad():
                results.append([*model(images)[1:3]])
    for want, got in zip(*results, strict=True):
        torch.testing.assert_close(got, want)
