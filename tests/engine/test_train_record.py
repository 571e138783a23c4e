import json
import logging
import math

import pytest
import torch
from faster_rcnn.datasets.loading.batches import collate
from faster_rcnn.engine.batch_gradient import Update
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.engine.train_record import LoadingFaults, TrainRecord
from faster_rcnn.layer_utils.losses import Loss
from faster_rcnn.layer_utils.outputs import TrainOutput
from loader_words import sample_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import CLASSES, draw_dataset, tiny_config, tiny_detector, train_tiny

LOSSES = ("rpn_cls", "rpn_box", "head_cls", "head_box")
COUNTS = ("rpn_fg", "rpn_bg", "head_fg", "head_bg")
PICTURES = [f"pictures/{name}" for name in ("ground_truth", "proposals", "detections")]


def read(folder) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"histograms": 0, "images": 0})
    return events.Reload()


def curve(events, name):
    return [(event.step, event.value) for event in events.Scalars(name)]


def metrics(run):
    return [json.loads(line) for line in run.metrics_file.read_text().splitlines()]


@pytest.fixture
def stepping(tmp_path):
    """Record the same update of a tiny detector under growing numbers."""
    dataset = draw_dataset(tmp_path / "images", 2)
    samples = [
        sample_of(record, short_side=48, long_side=96, offset=0)
        for record in dataset.records
    ]
    batch = collate(samples, size_multiple=16)
    activations = {"class_scores": torch.tensor([0.2, 0.4, 0.4])}
    output = TrainOutput(
        {
            name: Loss(torch.tensor(1.5 * (i + 1)), torch.tensor(3))
            for i, name in enumerate(LOSSES)
        },
        {name: torch.tensor(10 * (i + 1)) for i, name in enumerate(COUNTS)},
        activations,
    )

    class Stepping:
        def __init__(self, *overrides, start=0):
            self.config = tiny_config("train.iterations", 10, *overrides)
            self.model = tiny_detector(self.config).train()
            self.run = RunFolder(tmp_path / "run")
            self.record = TrainRecord(self.run, self.config, CLASSES, start=start)
            self.batch = batch

        def steps(self, *numbers):
            with self.record:
                for done in numbers:
                    self.record.step(
                        done,
                        self.model,
                        batch,
                        Update(output, torch.tensor(7.0), 0, False),
                        images=2,
                        rate=0.01 * done,
                        waited=0.25,
                        dtype=torch.float32,
                    )
            return read(self.run.tensorboard)

    return Stepping


@pytest.mark.slow
def test_tags_of_a_short_run(tmp_path):
    every = ("train.picture_every", 1, "train.histogram_every", 1)
    config = tiny_config("train.iterations", 4, *every)
    dataset = draw_dataset(tmp_path / "images", 4)
    model = train_tiny(dataset, config, tmp_path / "run")
    assert model.training
    run = RunFolder(tmp_path / "run")
    events = read(run.tensorboard)
    scalars = {
        *(f"loss/{name}" for name in (*LOSSES, "total")),
        *(f"samples/{name}" for name in COUNTS),
        *("train/lr", "train/gradient_norm", "train/unreadable_images"),
        *("speed/images_per_second", "speed/waiting_seconds", "memory/mem_mb"),
    }
    assert scalars <= set(events.Tags()["scalars"])
    for name in scalars - {"speed/images_per_second"}:
        points = curve(events, name)
        assert [step for step, _ in points] == [1, 2, 3, 4]
        assert all(math.isfinite(value) for _, value in points)
    assert not any(tag.startswith("not_finite/") for tag in events.Tags()["scalars"])
    assert curve(events, "speed/images_per_second")[-1][1] > 0
    assert events.Tags()["images"] == PICTURES
    for name in PICTURES:  # as large as the network input
        assert [event.step for event in events.Images(name)] == [1, 2, 3, 4]
        for event in events.Images(name):
            assert max(event.width, event.height) <= config.data.long_side
    histograms = set(events.Tags()["histograms"])
    weights = {f"weights/{name}" for name, p in model.named_parameters() if p.dim() > 1}
    assert weights < histograms and "weights/rpn.head.conv.weight" in weights
    assert histograms - weights >= {"features", "objectness", "class_scores"}
    (text,) = events.Tensors("config/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    assert config.to_yaml().rstrip() in shown
    # The same numbers, for scripts.
    lines = metrics(run)
    assert [line["iteration"] for line in lines] == [1, 2, 3, 4]
    for line, (_, total) in zip(lines, curve(events, "loss/total"), strict=True):
        names = {"iteration", "loss", "gradient_norm", "lr", "unreadable_images"}
        assert line.keys() == {*names, *LOSSES, *COUNTS}
        assert line["loss"] == pytest.approx(sum(line[name] for name in LOSSES))
        assert line["loss"] == pytest.approx(total)


def test_numbers_of_an_update(stepping):
    steps = stepping("train.log_every", 2)
    steps.record.progress.rates = lambda: (3.0, 12.0)  # iterations, images per second
    events = steps.steps(1, 2)
    expected = {
        **{f"loss/{name}": 0.5 * (i + 1) for i, name in enumerate(LOSSES)},
        **{f"samples/{name}": 10 * (i + 1) for i, name in enumerate(COUNTS)},
        "loss/total": 5,
        "train/gradient_norm": 7,
        "train/lr": 0.02,
        "train/unreadable_images": 0,
        "speed/images_per_second": 12,
        "speed/waiting_seconds": 0.25,
    }
    found = {name: curve(events, name) for name in expected}
    assert found == {name: [(2, pytest.approx(v))] for name, v in expected.items()}


@pytest.mark.parametrize(
    ("log_every", "logged"), [(1, list(range(1, 11))), (4, [4, 8, 10]), (99, [10])]
)
def test_log_interval(stepping, log_every, logged):
    steps = stepping("train.log_every", log_every)
    events = steps.steps(*range(1, 11))
    assert [step for step, _ in curve(events, "loss/total")] == logged
    assert [line["iteration"] for line in metrics(steps.run)] == logged


@pytest.mark.parametrize(
    ("log_every", "every", "expected"),
    [
        (1, 4, [4, 8]),
        (2, 3, [4, 6, 10]),  # 3 falls to 4, 9 to 10
        (4, 2, [4, 8, 10]),
        (2, 0, []),
    ],
)
def test_picture_and_histogram_intervals(stepping, log_every, every, expected):
    kinds = ("train.picture_every", every, "train.histogram_every", every)
    steps = stepping("train.log_every", log_every, *kinds)
    events = steps.steps(*range(1, 11))
    assert events.Tags()["images"] == (PICTURES if expected else [])
    if expected:
        assert [event.step for event in events.Images(PICTURES[2])] == expected
        shown = events.Histograms("class_scores")
        assert [event.step for event in shown] == expected


def test_pictures_leave_the_detector_as_it_was(stepping):
    steps = stepping("train.picture_every", 1)
    before = {k: v.clone() for k, v in steps.model.state_dict().items()}
    random_state = torch.get_rng_state()
    steps.steps(1)
    assert steps.model.training and steps.model.backbone.features[0][1].training
    after = steps.model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert torch.equal(torch.get_rng_state(), random_state)


def test_unreadable_files_are_counted_and_the_first_ones_logged(stepping, caplog):
    steps, told = stepping(), LoadingFaults()
    with caplog.at_level(logging.WARNING, "faster_rcnn"):
        for number in range(6):
            problems = (f"a{number}.jpg: broken", f"b{number}.jpg: broken")
            told.tell(steps.batch._replace(problems=problems))
    assert len(caplog.messages) == 10
    assert caplog.messages[0] == "replaced by another image: a0.jpg: broken"
    steps.record.counts.unreadable_images = 12
    steps.steps(1)
    assert metrics(steps.run)[0]["unreadable_images"] == 12


def test_lost_objects_are_counted_at_powers_of_ten(stepping, caplog):
    told, batch = LoadingFaults(), stepping().batch
    there = int(batch.ground_truth.valid.sum())
    with caplog.at_level(logging.INFO, "faster_rcnn"):
        for _ in range(40):
            told.tell(batch._replace(lost=3))
    first, second = caplog.messages
    assert f"12 of {4 * (there + 3)} objects lost so far" in first
    assert f"102 of {34 * (there + 3)} objects" in second


def test_resumed_record_replaces_what_comes_after_the_checkpoint(stepping):
    stepping("train.log_every", 2).steps(*range(1, 9))
    resumed = stepping("train.log_every", 2, start=5)
    events = resumed.steps(*range(6, 11))
    every = [2, 4, 6, 8, 10]
    assert [step for step, _ in curve(events, "loss/total")] == every
    assert [line["iteration"] for line in metrics(resumed.run)] == every


def test_run_without_checkpoint_starts_over(stepping):
    stepping().steps(1, 2, 3)
    again = stepping(start=0)
    events = again.steps(1, 2)
    assert [step for step, _ in curve(events, "loss/total")] == [1, 2]
    assert [line["iteration"] for line in metrics(again.run)] == [1, 2]
