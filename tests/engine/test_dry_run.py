import itertools

import cv2
import numpy as np
import pytest
import torch
from faster_rcnn.engine.dry_run import (
    DryRunError,
    check_gradients,
    draw_batch,
    dry_run,
    first_batch,
    schedule_lines,
    try_batch,
)
from faster_rcnn.engine.non_finite import NonFiniteLossError
from faster_rcnn.engine.train import weigh_classes
from faster_rcnn.engine.training_batches import stream_batches
from tiny_runs import (
    CASCADE,
    CLASSES,
    CPU,
    RETINANET,
    draw_dataset,
    tiny_config,
    tiny_detector,
)
from torch import nn

PLACE = {"device": CPU, "dtype": torch.float32}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return draw_dataset(tmp_path_factory.mktemp("images"), 6)


@pytest.mark.slow
def test_the_report(tmp_path, dataset, capsys):
    config = tiny_config("train.iterations", 30, "data.workers", 2)
    model = tiny_detector(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    picture = tmp_path / "some" / "batch.png"
    dry_run(model, dataset, config, picture=picture, **PLACE)
    told = capsys.readouterr().out
    total = sum(p.numel() for p in model.parameters())
    assert f"together    {total:>13,}{total:>13,}" in told
    assert "FLOPs of an image of 96 x 64: " in told
    assert "with 2 images of 96 x 64 in a pass" in told
    assert "schedule: 30 iterations of 2 images (10.0 epochs), sgd, step" in told
    assert f"first batch: 2 images, {objects(dataset, config)} objects" in told
    assert "losses, all finite: rpn_cls 0." in told
    count = sum(1 for _ in model.parameters())
    assert f"all {count} trainable parameters get a finite gradient" in told
    assert cv2.imread(str(picture)).shape[1] >= 2 * 80
    # Only norms' statistics move, as in any pass; and no gradient stays behind.
    for name, value in model.state_dict().items():
        moved = not torch.equal(value, before[name])
        assert not moved or "running" in name or "num_batches" in name, name
    assert all(p.grad is None for p in model.parameters())


def objects(dataset, config):
    (batch,) = itertools.islice(stream_batches(dataset, config), 1)
    return int(batch.ground_truth.valid.sum())


def test_first_batch_is_that_of_training(dataset):
    config = tiny_config("data.workers", 1, "data.colour_jitter", 0.3)
    (expected,) = itertools.islice(stream_batches(dataset, config), 1)
    batch = first_batch(dataset, config)
    assert batch.image_ids == expected.image_ids
    assert torch.equal(batch.images.pixels, expected.images.pixels)


def test_large_batch_is_drawn_in_part(tmp_path, dataset):
    batch = first_batch(dataset, tiny_config("train.batch_size", 18))
    draw_batch(tmp_path / "all.png", batch, CLASSES, offset=0)
    sheet = cv2.imread(str(tmp_path / "all.png"))
    height, width = batch.images.pixels.shape[-2:]
    assert sheet.shape[1] == 4 * width + 3 * 4
    assert 4 * height < sheet.shape[0] < 6 * height


def test_schedule_by_hand():
    config = tiny_config(
        *("train.iterations", 1000, "train.lr", 0.1, "train.lr_steps", "[800,1200]"),
        *("train.warmup_iterations", 10, "train.batch_size", 4),
        *("train.snapshot_every", 250),
    )
    short = config.train.model_copy(update={"iterations": 2})
    assert "2 iterations of 4 images (0.02 epochs)" in schedule_lines(short, 500)[0]
    assert schedule_lines(config.train, 500) == [
        "schedule: 1000 iterations of 4 images (8.0 epochs), sgd, step",
        "  iteration   0: lr 0.01",
        "  iteration  10: lr 0.1",
        "  iteration 800: lr 0.01",
        "  iteration 999: lr 0.01",
        "  a checkpoint every 250 iterations",
    ]


def test_course_of_other_schedules_is_shown():
    config = tiny_config("train.iterations", 101, "train.schedule", "cosine")
    rates = [line.split(": lr ") for line in schedule_lines(config.train, 10)[1:-1]]
    assert [turn.split()[-1] for turn, _ in rates] == ["0", "25", "50", "75", "100"]
    values = [float(rate) for _, rate in rates]
    assert values == sorted(values, reverse=True)


def test_loss_that_is_not_finite(dataset):
    config = tiny_config()
    model = tiny_detector(config)
    with torch.no_grad():
        model.rpn.head.scores.bias.fill_(float("nan"))
    batch = first_batch(dataset, config)
    with pytest.raises(NonFiniteLossError, match="rpn_cls is nan at iteration 1"):
        try_batch(model, batch, seed=3, **PLACE)


@pytest.mark.slow
def test_parameter_that_no_loss_reaches(tmp_path, dataset):
    config = tiny_config()
    model = tiny_detector(config)
    model.box_head.forgotten = nn.Linear(3, 3)
    with pytest.raises(
        DryRunError, match=r"2 of \d+ .* get no gradient: box_head\.forgotten\.weight"
    ):
        dry_run(model, dataset, config, picture=tmp_path / "batch.png", **PLACE)
    model.box_head.forgotten.requires_grad_(False)  # what is frozen needs none
    try_batch(model, first_batch(dataset, config), seed=3, **PLACE)
    check_gradients(model)


def test_gradient_that_is_not_finite():
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(4)))
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, np.inf)
    with pytest.raises(
        DryRunError, match=r"8 of 8 .* not finite: 0\.weight, .*, \.\.\."
    ):
        check_gradients(model)


@pytest.mark.parametrize("net", [(), CASCADE, RETINANET], ids=["two", "cascade", "one"])
def test_class_weights_reach_every_classifier(dataset, net):
    def losses(*changes):
        config = tiny_config(*net, *changes)
        model = tiny_detector(config)
        weigh_classes(model, dataset, config)
        batch = first_batch(dataset, config)
        return try_batch(model, batch, seed=1, **PLACE)[1].losses

    plain, weighed = losses(), losses("train.class_weights", "{box: 3, disc: 3}")
    classifying = [name for name in plain if name.endswith("_cls")]
    for name, loss in plain.items():
        if name in classifying and name != "rpn_cls":
            assert 1 < weighed[name] / loss < 3, name
        elif name in ("rpn_cls", "rpn_box", "head_box", "dense_box"):
            assert weighed[name] == loss, name
    if net == RETINANET:
        with pytest.raises(ValueError, match=r"logit_adjustment needs .* softmax"):
            losses("train.logit_adjustment", 1)
        return
    adjusted = losses("train.logit_adjustment", 4)
    for name, loss in plain.items():
        if name in classifying:
            assert (adjusted[name] == loss) == (name == "rpn_cls"), name


def test_an_rpn_alone_ignores_the_balance_of_classes(dataset):
    changes = ("train.class_weights", "{disc: 3}", "train.logit_adjustment", 1)
    config = tiny_config("net.modules", "rpn", *changes)
    weigh_classes(tiny_detector(config), dataset, config)
