import math

import numpy as np
import pytest
import torch
from box_oracles import JUNK
from equality import assert_equal
from faster_rcnn.layer_utils.losses import head_losses, rpn_losses, smooth_l1


def random_rpn(images=2, anchors=50, seed=0):
    rng = np.random.default_rng(seed)
    return (
        torch.tensor(rng.normal(0, 2, (images, anchors)), dtype=torch.float32),
        torch.tensor(rng.normal(0, 1, (images, anchors, 4)), dtype=torch.float32),
        torch.tensor(rng.integers(-1, 2, (images, anchors))),
        torch.tensor(rng.normal(0, 1, (images, anchors, 4)), dtype=torch.float32),
    )


def random_head(images=2, slots=20, classes=5, columns=None, seed=0):
    rng = np.random.default_rng(seed)
    shape = (images, slots)
    return (
        torch.tensor(rng.normal(0, 2, (*shape, classes)), dtype=torch.float32),
        torch.tensor(
            rng.normal(0, 1, (*shape, columns or classes, 4)), dtype=torch.float32
        ),
        torch.tensor(rng.integers(0, classes, shape)),
        torch.tensor(rng.normal(0, 1, (*shape, 4)), dtype=torch.float32),
        torch.tensor(rng.random(shape) < 0.7),
    )


def slow_smooth_l1(x, sigma):
    if abs(x) < 1 / sigma**2:
        return 0.5 * sigma**2 * x * x
    return abs(x) - 0.5 / sigma**2


def test_smooth_l1_by_hand():
    x = torch.tensor([0.0, 0.5, -0.5, 1.0, -3.0])
    # Sigma 1: x^2 / 2 below 1, |x| - 1/2 above. Sigma 2: 2 x^2 below 1/4, |x| - 1/8.
    assert smooth_l1(x, sigma=1).tolist() == [0, 0.125, 0.125, 0.5, 2.5]
    assert smooth_l1(x, sigma=2).tolist() == [0, 0.375, 0.375, 0.875, 2.875]
    assert smooth_l1(torch.tensor([0.125]), sigma=2).item() == 0.03125


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_smooth_l1_has_no_step(sigma):
    edge = 1 / sigma**2
    x = torch.tensor([edge * 0.9999, edge * 1.0001], dtype=torch.float64)
    x.requires_grad_()
    loss = smooth_l1(x, sigma=sigma)
    loss.sum().backward()
    assert abs(loss[1] - loss[0]) < 3e-4 * edge
    torch.testing.assert_close(x.grad, torch.ones_like(x), rtol=0, atol=1e-3)


def test_rpn_by_hand():
    labels = torch.tensor([[1, 0, -1, -1]])
    logits = torch.tensor([[0.0, math.log(3), 9.0, -9.0]])
    pred = torch.zeros(1, 4, 4)
    target = torch.zeros(1, 4, 4)
    target[0, 0] = torch.tensor([1.0, -0.1, 0.0, 0.0])
    pred[0, 1:] = 7.0
    cls_loss, box_loss = rpn_losses(logits, pred, labels, target, sigma=3)
    # Probabilities 1/2 of object and 1/4 of background: (log 2 + log 4) / 2.
    assert cls_loss.item() == pytest.approx(1.5 * math.log(2))
    # 1 - 1/18 and 9/2 * 0.01, divided by the two labelled anchors.
    assert box_loss.item() == pytest.approx((17 / 18 + 0.045) / 2)


def test_weight_of_the_positives():
    logits, pred, labels, target = random_rpn()
    usual_cls, usual = rpn_losses(logits, pred, labels, target, sigma=3)
    positives, labelled = (labels == 1).sum(), (labels >= 0).sum()
    for weight in (0.0, 0.25, 1.0):
        cls_loss, box_loss = rpn_losses(
            logits, pred, labels, target, sigma=3, positive_weight=weight
        )
        assert torch.equal(cls_loss, usual_cls)
        torch.testing.assert_close(box_loss, usual * labelled / positives * weight)
    pred.requires_grad_()
    for weight in (None, 0.5):  # of background alone
        options = {"sigma": 3, "positive_weight": weight}
        _, box_loss = rpn_losses(logits, pred, labels.clamp(max=0), target, **options)
        assert box_loss == 0 and not backward([box_loss], pred)[0].any()


def test_head_by_hand():
    classes = torch.tensor([[1, 0, 2, 2]])
    valid = torch.tensor([[True, True, True, False]])
    logits = torch.zeros(1, 4, 3)
    logits[0, 2, 2] = math.log(2)
    pred = torch.full((1, 4, 3, 4), 5.0)
    pred[0, 0, 1] = 0.0
    pred[0, 2, 2] = torch.tensor([0.0, 0.0, 0.5, 0.0])
    target = torch.zeros(1, 4, 4)
    target[0, 0, 0] = 2.0
    cls_loss, box_loss = head_losses(logits, pred, classes, target, valid, sigma=1)
    # Probabilities 1/3, 1/3 and 2/4 over the three valid RoIs.
    assert cls_loss.item() == pytest.approx((2 * math.log(3) + math.log(2)) / 3)
    # 2 - 1/2 and 0.25 / 2, divided by three.
    assert box_loss.item() == pytest.approx(1.625 / 3)


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_rpn_as_in_a_loop(sigma):
    logits, pred, labels, target = random_rpn()
    cls_sum = box_sum = count = 0.0
    for i, a in np.ndindex(2, 50):
        label, logit = labels[i, a].item(), logits[i, a].item()
        if label == -1:
            continue
        count += 1
        probability = 1 / (1 + math.exp(-logit))
        cls_sum -= math.log(probability if label else 1 - probability)
        if label == 1:
            difference = (pred[i, a] - target[i, a]).tolist()
            box_sum += sum(slow_smooth_l1(x, sigma) for x in difference)
    cls_loss, box_loss = rpn_losses(logits, pred, labels, target, sigma=sigma)
    assert cls_loss.item() == pytest.approx(cls_sum / count, rel=1e-5)
    assert box_loss.item() == pytest.approx(box_sum / count, rel=1e-5)


@pytest.mark.parametrize("columns", [5, 1])
def test_head_as_in_a_loop(columns):
    logits, pred, classes, target, valid = random_head(columns=columns)
    cls_sum = box_sum = count = 0.0
    for i, s in np.ndindex(2, 20):
        if not valid[i, s]:
            continue
        count += 1
        label = classes[i, s].item()
        scores = [math.exp(v) for v in logits[i, s].tolist()]
        cls_sum -= math.log(scores[label] / sum(scores))
        if label:
            own = pred[i, s, label if columns > 1 else 0]
            box_sum += sum(slow_smooth_l1(x, 1) for x in (own - target[i, s]).tolist())
    cls_loss, box_loss = head_losses(logits, pred, classes, target, valid, sigma=1)
    assert cls_loss.item() == pytest.approx(cls_sum / count, rel=1e-5)
    assert box_loss.item() == pytest.approx(box_sum / count, rel=1e-5)


def backward(losses, *inputs):
    return torch.autograd.grad(sum(losses), inputs)


@pytest.mark.parametrize("junk", JUNK)
def test_ignored_anchors_never_matter(junk):
    logits, pred, labels, target = random_rpn()
    ignored = labels == -1
    want = rpn_losses(
        logits.requires_grad_(), pred.requires_grad_(), labels, target, sigma=3
    )
    want_grads = backward(want, logits, pred)
    # Boxes of background do not matter either.
    logits = logits.detach().masked_fill(ignored, junk).requires_grad_()
    unused = (labels != 1)[..., None]
    pred = pred.detach().masked_fill(unused, junk).requires_grad_()
    target = target.masked_fill(unused, junk)
    got = rpn_losses(logits, pred, labels, target, sigma=3)
    assert_equal(got, want)
    assert_equal(backward(got, logits, pred), want_grads)


@pytest.mark.parametrize("columns", [5, 1])
@pytest.mark.parametrize("junk", JUNK)
def test_unused_slots_never_matter(junk, columns):
    logits, pred, classes, target, valid = random_head(columns=columns)
    want = head_losses(
        logits.requires_grad_(), pred.requires_grad_(), classes, target, valid, sigma=1
    )
    want_grads = backward(want, logits, pred)
    logits = logits.detach().masked_fill(~valid[..., None], junk).requires_grad_()
    # Deltas count in the column of the RoI's class alone, and there if it is an object.
    column = torch.arange(columns) == (classes[..., None] if columns > 1 else 0)
    counts = column & (valid & (classes > 0))[..., None]  # (N, S, columns)
    pred = pred.detach().masked_fill(~counts[..., None], junk).requires_grad_()
    target = target.masked_fill(~(valid & (classes > 0))[..., None], junk)
    classes = classes.masked_fill(~valid, 10_000)
    got = head_losses(logits, pred, classes, target, valid, sigma=1)
    assert_equal(got, want)
    assert_equal(backward(got, logits, pred), want_grads)


@pytest.mark.parametrize("junk", [0.0, *JUNK])
def test_nothing_labelled(junk):
    logits = torch.full((1, 3), junk, requires_grad=True)
    pred = torch.full((1, 3, 4), junk, requires_grad=True)
    labels = torch.full((1, 3), -1)
    losses = rpn_losses(logits, pred, labels, torch.zeros(1, 3, 4), sigma=3)
    assert [loss.item() for loss in losses] == [0, 0]
    assert not any(grad.any() for grad in backward(losses, logits, pred))

    logits = torch.full((1, 3, 2), junk, requires_grad=True)
    pred = torch.full((1, 3, 2, 4), junk, requires_grad=True)
    classes, valid = torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 3) > 0
    losses = head_losses(logits, pred, classes, torch.zeros(1, 3, 4), valid, sigma=1)
    assert [loss.item() for loss in losses] == [0, 0]
    assert not any(grad.any() for grad in backward(losses, logits, pred))


def test_batch_is_its_images_one_by_one():
    # Images of equally many labels weigh the same.
    logits, pred, labels, target = random_rpn(images=3)
    labels[:, :20], labels[:, 20:] = 1, -1
    labels[:, 10:20] = 0
    together = rpn_losses(logits, pred, labels, target, sigma=3)
    alone = [
        rpn_losses(*(x[i : i + 1] for x in (logits, pred, labels, target)), sigma=3)
        for i in range(3)
    ]
    torch.testing.assert_close(
        torch.stack(together), torch.stack([torch.stack(a) for a in alone]).mean(dim=0)
    )
    rows = random_head(images=3)
    rows = (*rows[:4], torch.ones(3, 20, dtype=torch.bool))
    together = head_losses(*rows, sigma=1)
    alone = [head_losses(*(x[i : i + 1] for x in rows), sigma=1) for i in range(3)]
    torch.testing.assert_close(
        torch.stack(together), torch.stack([torch.stack(a) for a in alone]).mean(dim=0)
    )


def test_losses_are_float32():
    logits, pred, labels, target = random_rpn()
    losses = rpn_losses(logits.bfloat16(), pred.bfloat16(), labels, target, sigma=3)
    assert [loss.dtype for loss in losses] == [torch.float32] * 2
    logits, pred, classes, target, valid = random_head()
    losses = head_losses(
        logits.bfloat16(), pred.bfloat16(), classes, target, valid, sigma=1
    )
    assert [loss.dtype for loss in losses] == [torch.float32] * 2


def check_golden(found, published):
    for got, want in zip(found, published, strict=True):
        np.testing.assert_allclose(got.detach().numpy(), want, rtol=1e-5, atol=1e-9)


def test_golden_rpn_losses(shared):
    data = np.load(shared / "golden" / "losses.npz")
    # There: scores (1, 2 K, H, W), K of background, then K of object; labels
    # (1, 1, K * H, W). Here: one logit, object minus background, in order (y, x, k).
    scores = torch.from_numpy(data["rpn_cls_score_nchw"]).requires_grad_()
    logits = (scores[:, 9:] - scores[:, :9]).permute(0, 2, 3, 1).flatten(1)
    labels = torch.from_numpy(data["rpn_labels"]).long().view(1, 9, 38, 63)
    labels = labels.permute(0, 2, 3, 1).flatten(1)
    pred = torch.from_numpy(data["rpn_bbox_pred"]).requires_grad_()
    target = torch.from_numpy(data["rpn_bbox_targets"]).reshape(1, -1, 4)
    # The weights there say the same as the labels.
    inside = torch.from_numpy(data["rpn_inside"]).reshape(1, -1, 4)
    outside = torch.from_numpy(data["rpn_outside"]).reshape(1, -1, 4)
    assert torch.equal(inside, (labels == 1).float()[..., None].expand_as(inside))
    assert torch.equal(outside[..., 0] > 0, labels >= 0)

    losses = rpn_losses(logits, pred.reshape(1, -1, 4), labels, target, sigma=3)
    found = (*losses, *backward(losses, scores, pred))
    names = "cross_entropy", "loss_box", "cls_score_grad", "bbox_pred_grad"
    check_golden(found, [data[f"rpn_{name}"] for name in names])


def test_golden_head_losses(shared):
    data = np.load(shared / "golden" / "losses.npz")
    logits = torch.from_numpy(data["cls_score"]).requires_grad_()
    pred = torch.from_numpy(data["bbox_pred"]).requires_grad_()
    classes = torch.from_numpy(data["labels"]).long().view(1, -1)
    # There, targets of all classes side by side; those of the RoI's class are set.
    targets = torch.from_numpy(data["bbox_targets"]).view(1, -1, 21, 4)
    inside = torch.from_numpy(data["inside"]).view(1, -1, 21, 4)
    own = torch.nn.functional.one_hot(classes, 21) * (classes > 0)[..., None]
    assert torch.equal(inside, own.float()[..., None].expand_as(inside))

    losses = head_losses(
        logits[None],
        pred.view(1, -1, 21, 4),
        classes,
        (targets * inside).sum(dim=2),
        torch.ones_like(classes, dtype=torch.bool),
        sigma=1,
    )
    found = (*losses, *backward(losses, logits, pred))
    names = "cross_entropy", "loss_box", "cls_score_grad", "bbox_pred_grad"
    check_golden(found, [data[name] for name in names])


def test_class_weights_scale_the_cross_entropy_of_their_rois():
    logits, deltas, classes, targets, valid = random_head()
    arguments = (logits, deltas, classes, targets, valid)
    weights = torch.tensor([1, 0.5, 3, 1, 2])
    found, _ = head_losses(*arguments, sigma=1, class_weights=weights)
    each = torch.nn.functional.cross_entropy(
        logits[valid], classes[valid], reduction="none"
    )
    torch.testing.assert_close(found, (each * weights[classes[valid]]).mean())


def test_balanced_softmax_weighs_classes_by_their_number():
    """Offsets of log n make the softmax n exp(logit) / sum of n exp(logit)."""
    logits, deltas, classes, targets, valid = random_head()
    counts = torch.tensor([1, 0.5, 3, 1, 2])
    found, _ = head_losses(
        *(logits, deltas, classes, targets, valid), sigma=1, class_offsets=counts.log()
    )
    shares = counts * logits[valid].exp()
    shares = shares / shares.sum(dim=1, keepdim=True)
    own = shares.gather(1, classes[valid][:, None])
    torch.testing.assert_close(found, -own.log().mean())
